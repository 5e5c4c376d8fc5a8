//! Any node takes any request of the native protocol: what another node leads or reads is done there, and is answered as if it had been done here.

use super::nodes::Nodes;
use super::roles::APART;
use super::{KEYS, goes_on};
use crate::native::rows::{mixed, there};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_client::{
    AllWanted, BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, ClusterClient, ClusterOptions, EventInput,
    Expected, Filter, OnError, Options, Position, Seq, Stay, StreamWanted, SubscribeWanted, Subscription,
};
use strandline_event::ErrorKind;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn options(nodes: &Nodes, node: usize) -> Options {
    Options { store: "test".to_owned(), ..Options::new(nodes.natives()[node - 1].clone()) }
}

pub(super) async fn connect(nodes: &Nodes, node: usize) -> Client {
    Client::connect(options(nodes, node)).await.unwrap()
}

fn batch(unit: BatchUnit, stream_type: &str, stream_id: &str, n: u64) -> BatchBytes {
    let (data, command) = (json!({ "n": n }).to_string(), format!("c{n}"));
    let command_id = Some(command.as_str());
    let mut batch = BatchBuilder::new(stream_type, unit);
    batch.push(&EventInput { stream_id, event_type: "E", data: &data, command_id, ..EventInput::default() }).unwrap();
    batch.finish().unwrap()
}

pub(super) fn event(stream_type: &str, stream_id: &str, n: u64) -> BatchBytes {
    batch(BatchUnit::Append, stream_type, stream_id, n)
}

pub(super) fn row(stream_type: &str, stream_id: &str, n: u64) -> BatchBytes {
    batch(BatchUnit::Rows, stream_type, stream_id, n)
}

fn number(data: &str) -> u64 {
    serde_json::from_str::<Value>(data).unwrap()["n"].as_u64().unwrap()
}

pub(super) async fn stream(client: &Client, stream_type: &str, stream_id: &str) -> Vec<u64> {
    let wanted = StreamWanted { limit: 100_000, ..StreamWanted::all(stream_type, stream_id) };
    client.read_stream(&wanted).await.unwrap().events.iter().map(|event| number(event.data)).collect()
}

/// Where a node that sends nothing on says that the leader is.
async fn leader_of(client: &Client, stream_type: &str) -> Option<String> {
    match client.append(event(stream_type, "refused", 0), Expected::Any).await {
        Err(ClientError::Refused(refused)) if refused.kind() == Some(ErrorKind::NotLeader) => refused.leader,
        other => panic!("{other:?}"),
    }
}

/// Many appends at once, each judged by whoever leads the log.
async fn appends(client: &Client, stream_id: &str) {
    let mut running = JoinSet::new();
    for n in 0..64 {
        let (client, batch) = (client.clone(), event("Call", stream_id, n));
        running.spawn(async move { client.append(batch, Expected::Any).await.unwrap().first_seq().0 });
    }
    let mut seqs = running.join_all().await;
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=64).collect::<Vec<_>>());
    assert!(client.append(event("Call", stream_id, 3), Expected::Any).await.unwrap().is_known());
    let refused = client.append(event("Call", stream_id, 64), Expected::At(Seq(3))).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(refused) if refused.last_seq == Some(Seq(64))), "{refused:?}");
    client.inspect(event("Call", stream_id, 64), Expected::At(Seq(64))).await.unwrap();
    assert_eq!(client.head("Call", stream_id).await.unwrap().unwrap().last_seq, Seq(64));
}

#[test]
fn any_node_takes_native_requests_and_answers_as_who_leads() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    runtime().block_on(async {
        for node in 1..=3 {
            let client = connect(&nodes, node).await;
            let new = format!("New{node}");
            // the first append of a stream type is a matter of the node that leads the meta group
            assert_eq!(client.append(event(&new, "a", 0), Expected::Empty).await.unwrap().first_seq(), Seq(1));
            appends(&client, &format!("s{node}")).await;
            // one frame, logs that different nodes may lead; what is refused is refused in its place
            let many = [
                (event("Call", "many", node as u64), Expected::Any),
                (event("Order", "many", 9), Expected::At(Seq(7))),
            ];
            let outcomes = client.append_many(&many, false).await.unwrap();
            assert_eq!(outcomes[0].as_ref().unwrap().first_seq(), Seq(node as u64));
            assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), Some(ErrorKind::WrongExpectedSeq));
            client.append(event("Order", "some", node as u64), Expected::Any).await.unwrap();
            let body = ["Call", "Order"].map(|of| batch(BatchUnit::Rows, of, &format!("bulk{node}"), 0));
            let parts = client.append_bulk(&body, OnError::Skip).await.unwrap();
            assert!(parts.iter().all(|part| part.as_ref().is_ok_and(|part| part.appended == 1)), "{parts:?}");
            // what a node has answered every node shows
            for asked in 1..=3 {
                let client = connect(&nodes, asked).await;
                assert_eq!(stream(&client, "Call", &format!("s{node}")).await.len(), 64);
            }
        }
    });
    // where one node leads all of a body, it judges it as a whole
    nodes.until("one node leads all", |nodes| {
        let meta = nodes.leader(None);
        ["Call", "Order"].into_iter().all(|of| (1..=3).all(|node| nodes.shard(node, Some(of))["leader"] == meta))
    });
    let leader = nodes.leader(None);
    runtime().block_on(async {
        for node in 1..=3 {
            let client = connect(&nodes, node).await;
            let body = ["Call", "Order"].map(|of| batch(BatchUnit::Rows, of, &format!("whole{node}"), 0));
            let parts = client.append_bulk(&body, OnError::Abort).await.unwrap();
            assert!(parts.iter().all(|part| part.as_ref().is_ok_and(|part| part.appended == 1)), "{parts:?}");
        }
        // who follows leaders says so, and hears where they are
        let other = leader % 3 + 1;
        let stay = Stay { led: true, reads: false };
        let follows = Client::connect(Options { stay, ..options(&nodes, other) }).await.unwrap();
        assert_eq!(leader_of(&follows, "Call").await, Some(nodes.natives()[leader - 1].clone()));
    });
    nodes.stop_all();
}

#[test]
fn hundreds_of_single_appends_at_once_are_answered_by_a_node_that_follows() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let first = json!({ "events": [{ "event_type": "E", "data": 0 }] });
    nodes.http(1).post("streams/Mixed/first", &first).expect(201);
    let asked = nodes.leader(Some("Mixed")) % 3 + 1;
    let was_there = runtime().block_on(async { mixed(&connect(&nodes, asked).await).await.0 });
    // and every node shows the same
    runtime().block_on(async {
        for node in 1..=3 {
            assert_eq!(there(&connect(&nodes, node).await).await, was_there);
        }
    });
    nodes.stop_all();
}

#[test]
fn a_native_client_of_one_node_goes_on_while_leaders_are_killed() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let first = json!({ "events": [{ "event_type": "E", "data": { "n": 0 } }] });
    nodes.http(1).post("streams/Call/first", &first).expect(201);
    let asked = nodes.leader(Some("Call")) % 3 + 1;
    let runtime = runtime();
    let client = runtime.block_on(connect(&nodes, asked));
    let (ends, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = {
        let (client, ends, acknowledged) = (client.clone(), Arc::clone(&ends), Arc::clone(&acknowledged));
        runtime.spawn(async move {
            let mut n = 0;
            while !ends.load(Ordering::SeqCst) {
                // one append at a time, again with the same command id until it is acknowledged
                match client.append(event("Call", "w", n), Expected::Any).await {
                    Ok(_) => {
                        n += 1;
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(ClientError::OutcomeUnknown { .. }) => {}
                    Err(error) => {
                        let passing = [Some(ErrorKind::NotLeader), Some(ErrorKind::Unavailable)];
                        assert!(passing.contains(&error.kind()), "{error:?}");
                    }
                }
            }
            n
        })
    };
    for _ in 0..3 {
        goes_on(&acknowledged, 30);
        let leader = nodes.leader(Some("Call"));
        if leader != asked {
            nodes.kill(leader);
            goes_on(&acknowledged, 30);
            nodes.start(leader);
        }
    }
    ends.store(true, Ordering::SeqCst);
    let written = runtime.block_on(writing).unwrap();
    assert_eq!(runtime.block_on(stream(&client, "Call", "w")), (0..written).collect::<Vec<u64>>());
    nodes.stop_all();
}

/// Nobody sends on for it, and it asks again by itself: by command id, so that each is stored once.
#[test]
fn a_client_that_follows_leaders_loses_and_doubles_nothing_while_they_are_killed() {
    let mut nodes = Nodes::new(3, KEYS, &["--no-forward"]);
    let first = json!({ "events": [{ "event_type": "E", "data": { "n": 0 } }] });
    nodes.http(nodes.leader(None)).post("streams/Call/first", &first).expect(201);
    let runtime = runtime();
    let mut options = ClusterOptions::new(nodes.natives());
    options.each.store = "test".to_owned();
    let client = runtime.block_on(ClusterClient::connect(options)).unwrap();
    let (ends, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = {
        let (ends, acknowledged) = (Arc::clone(&ends), Arc::clone(&acknowledged));
        runtime.spawn(async move {
            let mut n = 0;
            while !ends.load(Ordering::SeqCst) {
                let stored = client.append(event("Call", "w", n), Expected::Any).await.unwrap();
                n += 1;
                assert_eq!(stored.first_seq(), Seq(n));
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            n
        })
    };
    for _ in 0..3 {
        goes_on(&acknowledged, 30);
        let leader = nodes.leader(Some("Call"));
        nodes.kill(leader);
        goes_on(&acknowledged, 30);
        nodes.start(leader);
    }
    ends.store(true, Ordering::SeqCst);
    let written = runtime.block_on(writing).unwrap();
    let any = runtime.block_on(connect(&nodes, 1));
    assert_eq!(runtime.block_on(stream(&any, "Call", "w")), (0..written).collect::<Vec<u64>>());
    nodes.stop_all();
}

async fn take(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(subscription.next().await.unwrap().events.iter().map(|event| number(event.data)));
    }
    seen
}

#[test]
fn native_reads_and_subscriptions_go_to_nodes_with_the_role() {
    let mut nodes = Nodes::with_roles(&APART, KEYS);
    let runtime = runtime();
    let reads = |nodes: &Nodes| (1..=5).map(|node| nodes.metric(node, "reads_total")).collect::<Vec<_>>();
    let before = reads(&nodes);
    let everything = AllWanted { after: Position::START, limit: 1_000, filter: Filter::default() };
    // small: parts wait for what the client grants
    let follow = SubscribeWanted {
        after: Some(Position::START),
        window_bytes: 1 << 10,
        filter: Filter::default(),
        stream_id: None,
    };
    let (client, mut subscription) = runtime.block_on(async {
        let client = connect(&nodes, 4).await;
        for n in 0..8 {
            client.append(event("Call", "a", n), Expected::Any).await.unwrap();
            // at once, and all of it
            assert_eq!(stream(&client, "Call", "a").await.len() as u64, n + 1);
            assert_eq!(client.read_all(&everything).await.unwrap().0.len() as u64, n + 1);
        }
        let mut scan = client.scan(Filter::default(), 1 << 10);
        let mut scanned = 0;
        while let Some(events) = scan.next().await.unwrap() {
            scanned += events.len();
        }
        assert_eq!(scanned, 8);
        let mut subscription = client.subscribe(follow);
        assert_eq!(take(&mut subscription, 8).await, (0..8).collect::<Vec<_>>());
        client.append(event("Call", "a", 8), Expected::Any).await.unwrap();
        assert_eq!(take(&mut subscription, 1).await, [8]);
        (client, subscription)
    });
    let after = reads(&nodes);
    assert_eq!(before[..4], after[..4], "only node 5 has read a page");
    assert!(after[4] >= before[4] + 16, "{before:?} {after:?}");
    let followers: Vec<u64> = (1..=5).map(|node| nodes.metric(node, "followers")).collect();
    assert_eq!(followers, [0, 0, 0, 0, 1]);
    // without it every node answers by itself
    nodes.kill(5);
    runtime.block_on(async {
        assert_eq!(stream(&client, "Call", "a").await.len(), 9);
        client.append(event("Call", "a", 9), Expected::Any).await.unwrap();
        assert_eq!(take(&mut subscription, 1).await, [9], "it goes on behind what was given");
    });
    assert_eq!(nodes.metric(4, "followers"), 1);
    drop((subscription, client));
    nodes.stop_all();
}
