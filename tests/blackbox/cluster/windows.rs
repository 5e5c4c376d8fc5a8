//! Two compactors that share the windows of logs: both write files, one alone commits, and neither a pause nor the loss of one loses or doubles
//! an event. The store is encrypted: what one of them writes all others open.

use super::KEYS;
use super::nodes::Nodes;
use super::roles::compacts;
use crate::harness::run;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Stream types; each of the two compactors takes the logs of two.
const TYPES: u64 = 4;
/// Events of one window, of some 6 KiB each: it is large enough to be handed over.
const WINDOW: u64 = 200;
const DAYS: u64 = 5;

/// One window more in each log.
fn a_window_each(nodes: &Nodes, round: u64) {
    let text = "x".repeat(6 << 10);
    for stream_type in 0..TYPES {
        let line = |n: u64| {
            json!({
                "stream_type": format!("Meter{stream_type}"), "stream_id": format!("m{}", n % 7), "event_type": "Read",
                "data": { "round": round, "text": text }, "occurred_at": format!("2026-11-{:02}T12:00:00Z", 1 + n % DAYS),
            })
        };
        let lines: Vec<Value> = (0..WINDOW).map(line).collect();
        for part in lines.chunks(50) {
            nodes.http(1).bulk(part);
        }
    }
}

/// The node that commits, and has since it started, has moved all of it: what it has not applied yet comes with the next run.
fn all_is_in_files(nodes: &Nodes, named: usize, rounds: u64) {
    nodes.until("all of it is in files", |nodes| {
        compacts(nodes, 1) && nodes.metric(named, "compaction_rows_total") == rounds * TYPES * WINDOW
    });
}

fn all_is_there_once(nodes: &Nodes, rounds: u64) {
    let events = nodes.http(1).scan();
    let place = |event: &Value| format!("{}/{}/{}", event["stream_type"], event["stream_id"], event["seq"]);
    let places: BTreeSet<String> = events.iter().map(place).collect();
    let all = rounds * TYPES * WINDOW;
    assert_eq!((events.len() as u64, places.len() as u64), (all, all));
}

#[test]
fn compactors_share_the_windows_of_logs_and_the_loss_of_either_loses_and_doubles_nothing() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key").to_string_lossy().into_owned();
    assert_eq!(run(&["keys", "init", "--file", &key]).code, 0);
    let declared = format!(
        "{KEYS}, partition.by = ('dt'), compaction.schedule = '0 0 29 2 *', security.encrypt.at_rest = true, \
         security.kms.provider = 'local', security.kms.key_id = '{key}'"
    );
    let mut nodes = Nodes::with_roles(&["ingest", "ingest", "ingest", "compact", "compact"], &declared);
    nodes.until("a compactor is named", |nodes| nodes.compactor(1).1 == "compactor");
    let (named, mut rounds) = (nodes.compactor(1).0, 0);
    let other = 9 - named;
    let handed = |nodes: &Nodes| nodes.metric(named, "compaction_jobs_handed_total");
    nodes.until("the other one writes too", |nodes| {
        rounds += 1;
        a_window_each(nodes, rounds);
        all_is_in_files(nodes, named, rounds);
        handed(nodes) > 0
    });
    let before = handed(&nodes);
    assert!(before < rounds * TYPES, "the one that is named writes too: {before}");
    assert!(nodes.metric(other, "compaction_jobs_helped_total") >= before);
    assert_eq!(nodes.metric(other, "compaction_jobs_total"), 0, "one alone commits");
    assert_eq!(nodes.metric(named, "compaction_jobs_failed_total"), 0);
    all_is_there_once(&nodes, rounds);
    // one that stands still is not waited for, and finds everything over when it wakes
    nodes.pause(other);
    rounds += 1;
    a_window_each(&nodes, rounds);
    all_is_in_files(&nodes, named, rounds);
    nodes.go_on(other);
    assert_eq!(handed(&nodes), before);
    all_is_there_once(&nodes, rounds);
    nodes.until("it writes again", |nodes| {
        rounds += 1;
        a_window_each(nodes, rounds);
        all_is_in_files(nodes, named, rounds);
        handed(nodes) > before
    });
    // in the middle of whatever both do: the one that helps, then the one that commits
    for is_named in [false, true] {
        let named = nodes.compactor(1).0;
        let victim = if is_named { named } else { 9 - named };
        rounds += 1;
        a_window_each(&nodes, rounds);
        nodes.http(1).post("/admin/v1/stores/test/compaction/run", &json!({}));
        nodes.kill(victim);
        nodes.until("a compactor is named", |nodes| nodes.compactor(1) == (9 - victim, "compactor".to_owned()));
        nodes.until("it compacts", |nodes| compacts(nodes, 1));
        all_is_there_once(&nodes, rounds);
        nodes.start(victim);
        nodes.until("it is a member that follows", |nodes| nodes.compactor(victim).0 == 9 - victim);
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}
