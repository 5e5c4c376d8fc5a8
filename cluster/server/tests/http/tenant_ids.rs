//! Ids that a token of one tenant is given: of what other tenants append between two of them nothing is told.

use crate::access::{As, token_in};
use crate::common::start_guarded;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strandline_event::EventId;
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
