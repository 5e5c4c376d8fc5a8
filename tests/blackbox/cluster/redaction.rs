//! A redaction in a cluster: any node takes it, every node knows it, and who does not yet is named.

use super::nodes::Nodes;
use serde_json::json;

const ROUTE: &str = "/admin/v1/stores/test/redact";

#[test]
fn a_redaction_is_known_to_every_node_and_to_the_next_one_that_compacts() {
    let mut nodes = Nodes::new(3, ", strict.immutable_events = false", &[]);
    let append = |nodes: &Nodes, node: usize, n: u64| {
        let body = json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
        let answer = nodes.http(node).post("streams/Call/a", &body).expect(201);
        answer["events"][0]["event_id"].as_str().unwrap().to_owned()
    };
    let ids: Vec<String> = (0..2).map(|n| append(&nodes, nodes.running()[0], n)).collect();
    // `None`: it does not answer yet
    let shown = |nodes: &Nodes, node: usize, id: &str| {
        let paths = [format!("events/{id}"), "streams/Call/a".to_owned()];
        let answers = paths.map(|path| nodes.http(node).get(&path));
        let [found, page] = answers.map(|answer| (answer.status == 200).then(|| answer.json()));
        let (found, page) = (found?, page?);
        let row = page["events"].as_array().unwrap().iter().find(|event| event["event_id"] == id).unwrap().clone();
        assert_eq!(found["event"]["seq"], row["seq"]);
        Some([found["event"]["data"].clone(), row["data"].clone()])
    };
    let marker = json!({ "redacted": true });
    let shows_nothing = |nodes: &Nodes, node: usize, id: &str| {
        shown(nodes, node, id).is_some_and(|data| data.iter().all(|data| *data == marker))
    };
    // any node takes it
    for node in 1..=3 {
        let done = nodes.http(node).post(ROUTE, &json!({ "event_id": ids[0] })).expect(200);
        assert_eq!(done["already"], node != 1, "{done}");
        // once it is answered nobody shows it, and nobody has to be waited for
        assert!(done.get("not_known_to").is_none(), "{done}");
        for other in 1..=3 {
            let there = shown(&nodes, other, &ids[0]);
            assert!(there.is_none_or(|data| data.iter().all(|data| *data == marker)), "node {other} shows it");
        }
    }
    for node in 1..=3 {
        nodes.until("every node knows it", |nodes| shows_nothing(nodes, node, &ids[0]));
        assert_eq!(shown(&nodes, node, &ids[1]).unwrap()[0], json!({ "n": 1 }));
    }
    nodes.http(1).compact();
    let leader = nodes.leader(None);
    nodes.kill(leader);
    let other = nodes.running()[0];
    nodes.until("another node compacts", |nodes| {
        let body = json!({ "event_id": ids[1], "reason": "again" }).to_string();
        nodes.http(other).try_post(ROUTE, "application/json", body.as_bytes()).is_ok_and(|answer| answer.status == 200)
    });
    nodes.start(leader);
    for node in 1..=3 {
        nodes.until("every node knows both", |nodes| ids.iter().all(|id| shows_nothing(nodes, node, id)));
    }
    let erasable = nodes.http(1).post("stream-types", &json!({ "name": "P", "erasable": "stream" }));
    assert_eq!(erasable.json()["code"], "not_supported", "{erasable:?}");
    let erased = nodes.http(2).post("/admin/v1/stores/test/erase", &json!({ "stream_id": "a" }));
    assert_eq!(erased.json()["code"], "not_supported", "{erased:?}");
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

/// Who could not say in time that it knows of a redaction is named, and shows nothing of it once it speaks again.
#[test]
fn a_node_that_does_not_answer_is_named_as_one_that_does_not_know_of_a_redaction() {
    let nodes = Nodes::new(3, ", strict.immutable_events = false", &[]);
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": 1 } }] });
    let made = nodes.http(1).post("streams/Call/a", &body).expect(201);
    let id = made["events"][0]["event_id"].as_str().unwrap();
    let mut paused = 0;
    nodes.until("one node compacts and two others follow", |nodes| {
        let (compactor, meta, logs) = (nodes.compactor(1).0, nodes.leader(None), nodes.leader(Some("Call")));
        paused = (1..=3).find(|node| ![compactor, meta, logs].contains(node)).unwrap_or(0);
        compactor != 0 && paused != 0
    });
    nodes.until("it has the event", |nodes| nodes.http(paused).get("streams/Call/a?consistency=local").status == 200);
    nodes.pause(paused);
    let asked = nodes.compactor(paused % 3 + 1).0;
    let done = nodes.http(asked).post(ROUTE, &json!({ "event_id": id })).expect(200);
    assert_eq!((&done["already"], &done["not_known_to"]), (&json!(false), &json!([paused])), "{done}");
    // the others do not show it
    for node in (1..=3).filter(|node| *node != paused) {
        let page = nodes.http(node).get("streams/Call/a?consistency=local").expect(200);
        assert_eq!(page["events"][0]["data"], json!({ "redacted": true }), "node {node}: {page}");
    }
    nodes.go_on(paused);
    nodes.until("it knows", |nodes| {
        let page = nodes.http(paused).get("streams/Call/a?consistency=local");
        page.status == 200 && page.json()["events"][0]["data"] == json!({ "redacted": true })
    });
    nodes.until("who was asked hears so", |nodes| {
        let again = nodes.http(asked).post(ROUTE, &json!({ "event_id": id })).expect(200);
        again["already"] == true && again.get("not_known_to").is_none()
    });
}
