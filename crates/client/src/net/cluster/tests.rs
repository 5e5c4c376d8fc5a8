//! A client of two nodes that are played: who leads is the test's.

use super::*;
use crate::net::tests::{Played, appends_in, batch, listening, on_a_runtime};
use crate::wire::append::decode_bulk;
use crate::wire::frames::Frame;
use crate::wire::header::Kind;
use crate::wire::outcome::OutcomesWriter;
use crate::wire::read::encode_empty;
use strandline_event::{BatchBuilder, BatchUnit, EventInput, Seq};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Node {
    listener: TcpListener,
    address: String,
}

impl Node {
    async fn new() -> Self {
        let (listener, options) = listening().await;
        Self { listener, address: options.address }
    }

    async fn accept(&self) -> Played {
        Played::accept(&self.listener).await
    }
}

/// A client of both that has greeted the first.
async fn client(nodes: &[&Node]) -> (ClusterClient, Played) {
    let mut options = ClusterOptions::new(nodes.iter().map(|node| node.address.clone()));
    options.each.patience = Duration::from_millis(50);
    let connecting = tokio::spawn(ClusterClient::connect(options));
    let mut first = nodes[0].accept().await;
    let ping = first.next().await.unwrap();
    assert_eq!(first.stay, Some(Stay { led: true, reads: false }), "who leads is said, not asked there");
    first.say(encode_empty(Kind::Pong, ping.header.request)).await;
    (connecting.await.unwrap().unwrap(), first)
}

fn append(client: &ClusterClient, command: Option<&'static str>) -> JoinHandle<Result<Appended, ClientError>> {
    let client = client.clone();
    tokio::spawn(async move { client.append(batch(9, command), Expected::Any).await })
}

async fn refuse(played: &mut Played, frame: &Frame, refused: Refused) {
    let mut out = OutcomesWriter::new(Kind::Appended, frame.header.request, 1);
    out.refused(&refused);
    played.say(out.finish()).await;
}

fn not_leader(leader: Option<&Node>) -> Refused {
    let leader = leader.map(|node| node.address.clone());
    Refused { leader, ..Refused::new(ErrorKind::NotLeader, "another node leads") }
}

#[test]
fn the_leader_is_learned_and_asked_first_from_then_on() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        // the second node is not among the addresses: it is learned
        let (client, mut first) = client(&[&one]).await;
        // an append without a command id: nothing was done, so it may go elsewhere
        let asking = append(&client, None);
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, not_leader(Some(&two))).await;
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        second.store(&frame).await;
        assert_eq!(asking.await.unwrap().unwrap().first_seq(), Seq(1));
        let asking = append(&client, None);
        let frame = second.next().await.unwrap();
        second.store(&frame).await;
        asking.await.unwrap().unwrap();
    });
}

#[test]
fn while_nobody_leads_the_client_asks_again() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let asking = append(&client, None);
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, not_leader(None)).await;
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        refuse(&mut second, &frame, not_leader(None)).await;
        let frame = first.next().await.unwrap();
        first.store(&frame).await;
        asking.await.unwrap().unwrap();
    });
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_elsewhere_only_by_command_id() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let (with, without) = (append(&client, Some("c")), append(&client, None));
        let mut appends = 0;
        while appends < 2 {
            let frame = first.next().await.unwrap();
            appends += appends_in(&frame);
        }
        drop((first, one));
        // it may have been stored: nobody else is asked
        assert!(matches!(without.await.unwrap(), Err(ClientError::OutcomeUnknown { .. })));
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        let appends = crate::wire::append::decode_append(&frame.body).unwrap().appends;
        assert_eq!(appends.len(), 1);
        assert_eq!(appends[0].batch.view().command_id(0), Some("c"));
        second.store(&frame).await;
        with.await.unwrap().unwrap();
    });
}

fn rows(stream_type: &str) -> BatchBytes {
    let mut batch = BatchBuilder::new(stream_type, BatchUnit::Rows);
    batch.push(&EventInput { stream_id: "s", event_type: "E", data: "{}", ..EventInput::default() }).unwrap();
    batch.finish().unwrap()
}

fn append_bulk(client: &ClusterClient, types: &[String]) -> JoinHandle<BulkOutcomes> {
    let (client, batches) = (client.clone(), types.iter().map(|name| rows(name)).collect::<Vec<_>>());
    tokio::spawn(async move { client.append_bulk(&batches, OnError::Skip).await })
}

/// The next frame of a kind. Where the test takes long the client asks meanwhile whether the server lives.
async fn next_of(kind: Kind, played: &mut Played) -> Frame {
    loop {
        let frame = played.next().await.unwrap();
        if frame.header.kind != Kind::Ping.to_u8() {
            assert_eq!(frame.header.kind, kind.to_u8());
            return frame;
        }
    }
}

/// The next part of a bulk append, and its stream type.
async fn part(played: &mut Played) -> (Frame, String) {
    let frame = next_of(Kind::AppendBulk, played).await;
    let (batches, _) = decode_bulk(&frame.body).unwrap();
    assert_eq!(batches.len(), 1);
    (frame, batches[0].view().stream_type().to_owned())
}

async fn answer(played: &mut Played, part: &Frame, outcome: Result<u64, Refused>) {
    let mut out = OutcomesWriter::new(Kind::BulkAppended, part.header.request, 1);
    match outcome {
        Ok(appended) => out.part(&PartAppended { appended, ..PartAppended::default() }),
        Err(refused) => out.refused(&refused),
    }
    played.say(out.finish()).await;
}

#[test]
fn parts_of_a_bulk_append_go_side_by_side_and_each_has_its_own_outcome_in_its_place() {
    on_a_runtime(async {
        let one = Node::new().await;
        let (client, mut played) = client(&[&one]).await;
        let types = ["A", "B", "C", "A"].map(str::to_owned);
        let asking = append_bulk(&client, &types);
        // all of them are there before one is answered
        let mut parts = Vec::new();
        for _ in 0..3 {
            parts.push(part(&mut played).await);
        }
        // answered from the last to the first
        parts.sort_by(|(_, one), (_, other)| other.cmp(one));
        for (frame, stream_type) in &parts {
            let outcome = match stream_type.as_str() {
                "A" => Ok(1),
                "B" => Err(Refused::new(ErrorKind::SeqConflict, "no")),
                _ => Ok(3),
            };
            answer(&mut played, frame, outcome).await;
        }
        let outcomes = asking.await.unwrap();
        let told = |at: usize| outcomes[at].as_ref().map(|part| part.appended).map_err(|no| (no.kind(), no.part));
        assert_eq!((told(0), told(2)), (Ok(1), Ok(3)));
        assert_eq!(told(1), Err((Some(ErrorKind::SeqConflict), Some(1))));
        // a second one of a type has no order to the first
        assert_eq!(told(3), Err((Some(ErrorKind::BadRequest), Some(3))));
        assert_eq!(outcomes.len(), 4);
    });
}

#[test]
fn no_more_parts_of_a_bulk_append_are_on_their_way_than_are_allowed() {
    on_a_runtime(async {
        let one = Node::new().await;
        let (client, mut played) = client(&[&one]).await;
        let types: Vec<String> = (0..PARTS_AT_A_TIME + 1).map(|n| format!("T{n}")).collect();
        let asking = append_bulk(&client, &types);
        let mut parts = Vec::new();
        for _ in 0..PARTS_AT_A_TIME {
            parts.push(part(&mut played).await.0);
        }
        // what is asked now would come behind one more
        let heading = tokio::spawn({
            let client = client.clone();
            async move { client.head("T", "s").await }
        });
        let head = next_of(Kind::Head, &mut played).await;
        played.say(HeadIs::default().encode(head.header.request)).await;
        assert_eq!(heading.await.unwrap().unwrap(), None);
        for frame in &parts {
            answer(&mut played, frame, Ok(1)).await;
        }
        let last = part(&mut played).await.0;
        answer(&mut played, &last, Ok(1)).await;
        assert!(asking.await.unwrap().iter().all(Result::is_ok));
    });
}

#[test]
fn the_stores_own_word_ends_it_and_nothing_less_closes_an_open_outcome() {
    let refused = |kind| ClientError::Refused(Refused::new(kind, "no"));
    let of_a_node = [ErrorKind::NotLeader, ErrorKind::Unavailable, ErrorKind::Overloaded, ErrorKind::DiskFull];
    // also one whose limit is smaller, that serves another store, or does not take the token
    let of_another = [ErrorKind::TooLarge, ErrorKind::NotFound, ErrorKind::Forbidden, ErrorKind::Unauthenticated];
    for kind in of_a_node.into_iter().chain(of_another) {
        let error = unless_known(refused(kind), Some("it broke".into()));
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{kind:?}");
        assert_eq!(unless_known(refused(kind), None), refused(kind));
    }
    for kind in [ErrorKind::WrongExpectedSeq, ErrorKind::CommandConflict] {
        assert_eq!(unless_known(refused(kind), Some("it broke".into())), refused(kind));
    }
}

#[test]
fn a_conflict_is_told_and_not_tried_elsewhere() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let asking = append(&client, Some("c"));
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, Refused::new(ErrorKind::WrongExpectedSeq, "elsewhere")).await;
        assert_eq!(asking.await.unwrap().unwrap_err().kind(), Some(ErrorKind::WrongExpectedSeq));
    });
}
