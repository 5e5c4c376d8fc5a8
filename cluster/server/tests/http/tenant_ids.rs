//! Ids and moments that a token of one tenant is given: of what other tenants append between two of them, or beside them, nothing is told.

use crate::access::{As, TwoTokens, token_in};
use crate::common::{Running, start_guarded};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use strandline_event::{EventId, Position};
use strandline_server::access::Role;

/// Below the millisecond and the version: what is not the time of an id, and its row last.
const NOT_TIME: u128 = (1 << 76) - 1;
const ROW: u128 = (1 << 20) - 1;

fn ids_of(answer: &Value) -> Vec<u128> {
    let ids = answer["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap());
    ids.map(|id| u128::from_be_bytes(EventId::parse(id).unwrap().0)).collect()
}

fn append(who: &As<'_>, stream: &str, tenant: &str, count: usize) -> Vec<u128> {
    let event = json!({ "event_type": "E", "data": {}, "tenant_id": tenant });
    ids_of(&who.post(&format!("streams/{stream}"), &json!({ "events": vec![event; count] }).to_string()).ok(201))
}

#[test]
fn ids_of_one_tenant_do_not_count_what_others_append() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = ["a", "b"].map(|tenant| token_in(&file, tenant, &[Role::Append, Role::Read], &[], &[tenant]));
    let server = start_guarded(folder.path(), &file);
    let [a, b] = tokens.each_ref().map(|token| As::new(&server, token));
    // of the same stream type and of another one, which takes its ids out of the same source
    for (theirs, between) in [("Call/theirs", 0), ("Call/theirs", 1), ("Hidden/theirs", 3)] {
        let mut own = Vec::new();
        for _ in 0..40 {
            own.extend(append(&a, "Call/own", "a", 1));
            for _ in 0..between {
                append(&b, theirs, "b", 2);
            }
        }
        let rest: Vec<u128> = own.iter().map(|id| id & NOT_TIME).collect();
        let steps: BTreeSet<u128> = rest.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        assert_eq!(steps.len(), 39, "{between} batches of {theirs} between: {own:x?}");
        assert!(!rest.is_sorted(), "{between} batches of {theirs} between: {own:x?}");
        // alone in its batch, whatever others append
        assert!(own.iter().all(|id| id & ROW == 0));
        assert!(own.is_sorted_by(|one, next| one >> 80 <= next >> 80), "by the millisecond they stand in order");
    }
    // events of one append lie together, in their order, and are the ones that are read
    let together = append(&a, "Call/together", "a", 5);
    assert_eq!(together.iter().map(|id| id & ROW).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(together.iter().map(|id| id & !ROW).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(ids_of(&a.get("streams/Call/together").ok(200)), together);
    server.stop();
}

/// Rows of others before and between those of a tenant, in a body that somebody else appends for both.
const BESIDE: &[usize] = &[1, 2, 700];

/// The tenant's events of these bodies, by stream and seq.
fn own_of(server: &Running, token: &str) -> BTreeMap<(String, u64), Position> {
    let who = As::new(server, token);
    let page = who.get("events?limit=1000").ok(200);
    let mut own = BTreeMap::new();
    for event in page["events"].as_array().unwrap() {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        let (id, position) = (text("event_id"), Position::parse(&text("position")).unwrap());
        assert_eq!(position.event_id, EventId::parse(&id).unwrap());
        let found = who.get(&format!("events/{id}")).ok(200);
        assert_eq!((&found["event"]["stream_id"], &found["event"]["seq"]), (&event["stream_id"], &event["seq"]));
        own.insert((text("stream_id"), event["seq"].as_u64().unwrap()), position);
    }
    own
}

#[test]
fn a_body_of_several_tenants_tells_each_nothing_of_the_rows_of_others() {
    let tokens = TwoTokens::new(&[Role::Read]);
    let mut server = tokens.start();
    for count in BESIDE {
        let row = |stream: &str, tenant: &str| {
            let stream_id = format!("{stream}-{count}");
            json!({ "stream_type": "Call", "stream_id": stream_id, "event_type": "E", "data": {}, "tenant_id": tenant })
        };
        let theirs = || std::iter::repeat_n(row("theirs", "b"), *count);
        let body: Vec<Value> = theirs()
            .chain([row("own", "a"), row("second", "a")])
            .chain(theirs())
            .chain([row("own", "a"), row("third", "a")])
            .collect();
        let appended = As::new(&server, &tokens.all).post("events", &Value::from(body).to_string()).ok(201);
        assert_eq!(appended["appended"], 2 * count + 4);
    }
    let own = own_of(&server, &tokens.one);
    assert_eq!(own.len(), 4 * BESIDE.len());
    for count in BESIDE {
        let at = |stream: &str, seq: u64| own[&(format!("{stream}-{count}"), seq)];
        let first = at("own", 1);
        let after = |stream: &str, seq: u64| at(stream, seq).ingested_at.0 - first.ingested_at.0;
        assert_eq!((after("second", 1), after("own", 2), after("third", 1)), (0, 1, 0), "{count} beside");
    }
    let places = own.values().map(|position| u128::from_be_bytes(position.event_id.0) & ROW);
    // twelve of 2^20: none of them is a row of the largest body but by chance
    assert!(places.filter(|place| *place < 1405).count() < 3, "{own:?}");
    // from the log, then from files
    server.stop();
    server = tokens.start();
    assert_eq!(own_of(&server, &tokens.one), own);
    As::new(&server, &tokens.all).post("admin:compaction/run?wait=true", "").ok(200);
    assert_eq!(own_of(&server, &tokens.one), own);
    server.stop();
}
