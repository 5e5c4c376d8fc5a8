//! Command ids that are unique in a whole store: one stream has each, whichever nodes lead the logs, whoever keeps the ids apart, and while these change.

use super::nodes::Nodes;
use crate::harness::Http;
use serde_json::json;
use std::time::{Duration, Instant};

const KEYS: &str = ", wal.rollover_mb = 1, id.command_id.unique_scope = 'store'";
const TYPES: [&str; 3] = ["Call", "Invoice", "Order"];
/// No cluster is without a leader for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that stands still answers nobody whose request was sent on to it: the client gives up, and asks again.
const ASKS_AGAIN: Duration = Duration::from_secs(5);

fn client(nodes: &Nodes, node: usize) -> Http {
    Http::patient_for(&format!("http://{}", nodes.http_address(node)), ASKS_AGAIN)
}

/// Sends an append until somebody says yes or no. 200: it was stored before, by an attempt whose answer was lost, or an earlier call.
fn sent(http: &Http, stream_type: &str, command: &str) -> u16 {
    let began = Instant::now();
    let body = json!({ "events": [{ "event_type": "E", "data": {} }], "command_id": command }).to_string();
    loop {
        match http.try_post(&format!("streams/{stream_type}/s"), "application/json", body.as_bytes()) {
            // 429: the others were faster each time
            Ok(answer) if !matches!(answer.status, 429 | 503) => {
                let is_told = matches!(answer.status, 200 | 201) || answer.text().contains("command_conflict");
                assert!(is_told, "{command} in {stream_type}: {}", answer.text());
                return answer.status;
            }
            other => assert!(began.elapsed() < PATIENCE, "nobody takes {command} in {stream_type}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An id and the stream type that has it.
type Owned = (String, &'static str);

/// Every type wants the id at once, each by another of these nodes. One gets it.
fn race(nodes: &Nodes, by: &[usize], command: &str, owned: &mut Vec<Owned>) {
    let clients: Vec<(Http, &'static str)> =
        TYPES.iter().enumerate().map(|(n, stream_type)| (client(nodes, by[n % by.len()]), *stream_type)).collect();
    let told: Vec<(&'static str, u16)> = std::thread::scope(|scope| {
        let sending: Vec<_> = clients
            .into_iter()
            .map(|(http, stream_type)| scope.spawn(move || (stream_type, sent(&http, stream_type, command))))
            .collect();
        sending.into_iter().map(|sending| sending.join().unwrap()).collect()
    });
    let has: Vec<&'static str> = told.iter().filter(|(_, status)| *status < 300).map(|(named, _)| *named).collect();
    assert_eq!(has.len(), 1, "{command}: {told:?}");
    owned.push((command.to_owned(), has[0]));
}

fn races(nodes: &Nodes, by: &[usize], round: &str, owned: &mut Vec<Owned>) {
    (0..6).for_each(|n| race(nodes, by, &format!("{round}-{n}"), owned));
}

/// Every node says the same of every id: known in its type, taken for the others.
fn everybody_knows(nodes: &Nodes, owned: &[Owned]) {
    for node in nodes.running() {
        let http = client(nodes, node);
        for (command, has) in owned {
            for stream_type in TYPES {
                let wanted = if stream_type == *has { 200 } else { 409 };
                assert_eq!(sent(&http, stream_type, command), wanted, "{command} in {stream_type} at node {node}");
            }
        }
        nodes.until("every log has a leader", |nodes| nodes.http(node).get("events?limit=1").status == 200);
        assert_eq!(nodes.http(node).scan().len(), owned.len(), "every event is there once");
    }
}

#[test]
fn an_id_of_a_whole_store_is_one_types_where_nodes_only_ingest_and_some_lack_its_logs() {
    let mut nodes = Nodes::with_roles(&["ingest"; 5], KEYS);
    let mut owned: Vec<Owned> = Vec::new();
    races(&nodes, &[1, 2, 3, 4, 5], "first", &mut owned);
    everybody_knows(&nodes, &owned);
    // whoever may keep them apart has every log, so the next one does at once
    assert_eq!(nodes.shard(4, None)["voters"], json!([1, 2, 3]));
    for (stream_type, node) in TYPES.into_iter().flat_map(|of| (1..=3).map(move |node| (of, node))) {
        nodes.until("it has the log", |nodes| nodes.shard(node, Some(stream_type))["here"] == true);
    }
    let keeper = nodes.leader(None);
    nodes.kill(keeper);
    races(&nodes, &nodes.running(), "next", &mut owned);
    nodes.start(keeper);
    everybody_knows(&nodes, &owned);
    nodes.stop_all();
}

#[test]
fn an_id_of_a_whole_store_is_one_types_whoever_leads() {
    // more nodes than voters: logs may have leaders that cannot lead the others
    let mut nodes = Nodes::new(5, KEYS, &[]);
    let mut owned: Vec<Owned> = Vec::new();
    for (n, stream_type) in TYPES.into_iter().enumerate() {
        let command = format!("first-{stream_type}");
        assert!(sent(&client(&nodes, 1 + n), stream_type, &command) < 300);
        owned.push((command, stream_type));
    }
    races(&nodes, &[1, 2, 3, 4, 5], "new", &mut owned);
    everybody_knows(&nodes, &owned);
    // from memory to files
    let compact = "/admin/v1/stores/test/compaction/run?wait=true";
    nodes.until("a job", |nodes| nodes.http(1).post_as(compact, "application/json", b"").status == 200);
    everybody_knows(&nodes, &owned);
    // who keeps them apart is lost
    let lost = nodes.leader(None);
    nodes.kill(lost);
    let left = nodes.running();
    races(&nodes, &left, "lost", &mut owned);
    everybody_knows(&nodes, &owned);
    nodes.start(lost);
    // it stands still, and does not know that another one does so by now
    let paused = nodes.leader(None);
    let others: Vec<usize> = nodes.running().into_iter().filter(|node| *node != paused).collect();
    nodes.pause(paused);
    races(&nodes, &others, "paused", &mut owned);
    nodes.go_on(paused);
    races(&nodes, &[paused, others[0], others[1]], "again", &mut owned);
    everybody_knows(&nodes, &owned);
    // all of them begin anew
    nodes.stop_all();
    nodes.start_all();
    races(&nodes, &[1, 2, 3], "after", &mut owned);
    everybody_knows(&nodes, &owned);
    nodes.stop_all();
}

#[test]
fn a_body_of_several_types_keeps_what_is_new_and_names_what_is_taken() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    assert!(sent(&client(&nodes, 1), "Order", "taken") < 300);
    let line = |stream_type: &str, command: &str| {
        let event = json!({ "stream_type": stream_type, "stream_id": "s", "event_type": "E", "data": {}, "command_id": command });
        format!("{event}\n")
    };
    let body = [line("Order", "a"), line("Invoice", "taken"), line("Invoice", "b"), line("Call", "c")].concat();
    for node in 1..=3 {
        // nothing of it
        nodes.until("it is refused", |nodes| {
            let answer = nodes.http(node).post_as("events", "application/x-ndjson", body.as_bytes());
            assert!(matches!(answer.status, 409 | 503), "{}", answer.text());
            answer.status == 409 && answer.text().contains("command_conflict")
        });
        assert_eq!(nodes.http(node).scan().len(), 1);
    }
    nodes.until("what is new is stored", |nodes| {
        let answer = nodes.http(2).post_as("events?on_error=skip", "application/x-ndjson", body.as_bytes());
        answer.status < 300
    });
    for (stream_type, command) in [("Order", "a"), ("Invoice", "b"), ("Call", "c"), ("Order", "taken")] {
        assert_eq!(sent(&client(&nodes, 3), stream_type, command), 200, "{command}");
    }
    assert_eq!(nodes.http(3).scan().len(), 4);
    nodes.stop_all();
}
