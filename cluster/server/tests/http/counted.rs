//! Counters and gauges of /metrics against what the routes say of the same things.

use super::common::{Running, start};
use serde_json::Value;
use std::path::Path;

const TICK: &str = r#"{"event_type":"Ticked","data":{}}"#;

/// What a series says; `series` without the prefix that all of them have.
pub(crate) fn told(server: &Running, series: &str) -> f64 {
    let text = server.get("/metrics").text();
    let name = format!("strandline_{series} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn what_is_taken_and_what_is_refused_counts() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("a", &[TICK; 3].join(",")).ok(201);
    let bytes = told(&server, "event_bytes_total");
    server.append("b", TICK).ok(201);
    let refused = format!("{{\"events\":[{TICK}],\"expected_seq\":\"empty\"}}");
    server.post("streams/Call/a", &refused).error(409, "wrong_expected_seq");
    // of a stream type that has no log, and gets none by it
    server
        .post("streams/Other/a", &format!("{{\"events\":[{TICK}],\"expected_seq\":7}}"))
        .error(409, "wrong_expected_seq");
    let counts = ["appends_total", "appends_refused_total", "events_total"].map(|series| told(&server, series));
    assert_eq!(counts, [2.0, 2.0, 4.0]);
    assert!(bytes > 0.0 && told(&server, "event_bytes_total") > bytes);
    assert!(told(&server, "in_flight_bytes") < told(&server, "in_flight_bytes_max"));
}

#[test]
fn jobs_and_merges_count_as_their_ends_say() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let mut ended: Vec<Value> = Vec::new();
    for _ in 0..2 {
        server.append("c", TICK).ok(201);
        let run = server.post("admin:compaction/run?wait=true", "").ok(200);
        ended.extend(run["ended"].as_array().unwrap().iter().cloned());
    }
    for (series, kind, field) in [
        ("compaction_rows_total", "compact", "rows"),
        ("compaction_output_bytes_total", "compact", "output_bytes"),
        ("merge_rows_total", "merge", "rows"),
        ("merge_input_files_total", "merge", "inputs"),
        ("merge_output_files_total", "merge", "files"),
        ("merge_output_bytes_total", "merge", "output_bytes"),
    ] {
        let of = ended.iter().filter(|job| job["kind"] == kind);
        let sum: u64 = of.map(|job| job[field].as_u64().unwrap()).sum();
        assert!(sum > 0, "{series}: {ended:?}");
        assert_eq!(told(&server, series), sum as f64, "{series}: {ended:?}");
    }
    let jobs = ["compaction_jobs_total", "compaction_jobs_failed_total", "merges_total", "merges_failed_total"];
    assert_eq!(jobs.map(|series| told(&server, series)), [2.0, 0.0, 1.0, 0.0]);
    let share = ["compaction_share_percent", "compaction_pauses_total", "compaction_paused_seconds_total"];
    assert_eq!(share.map(|series| told(&server, series)), [100.0, 0.0, 0.0]);
}

/// What comes of it while a file stands in the place of a part of the server's folder.
#[expect(clippy::disallowed_methods, reason = "of a test's folder, which no power loss threatens")]
fn without<T>(folder: &Path, part: &str, run: impl FnOnce() -> T) -> T {
    let (part, aside) = (folder.join(part), folder.join("aside"));
    std::fs::rename(&part, &aside).unwrap();
    std::fs::write(&part, "").unwrap();
    let came = run();
    std::fs::remove_file(&part).unwrap();
    std::fs::rename(&aside, &part).unwrap();
    came
}

#[test]
fn jobs_and_runs_of_retention_that_fail_count_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let by_date = "partition.by = 'dt', partition.dt.expr = 'DATE(occurred_at)', retention.enabled = true";
    let server = start(folder.path(), &format!(", compaction.schedule = '0 0 1 1 *', {by_date}"));
    server.append("a", r#"{"event_type":"E","data":1,"occurred_at":"2001-02-03T04:05:06Z"}"#).ok(201);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    server.append("a", TICK).ok(201);
    let failed = ["compaction_jobs_failed_total", "retention_runs_failed_total"];
    assert_eq!(failed.map(|series| told(&server, series)), [0.0, 0.0]);
    // nothing can be committed
    let (run, retention) = without(folder.path(), "durable", || {
        let run = server.post("admin:compaction/run?wait=true", "").ok(200);
        (run, server.post("admin:retention/run", ""))
    });
    assert!(run["ended"][0]["error"].is_string(), "{run}");
    assert!(retention.status >= 500, "{}", retention.text());
    assert!(failed.iter().all(|series| told(&server, series) >= 1.0));
    let status = server.get("admin:retention").ok(200);
    assert!(status["runs"][0]["error"].is_string(), "{status}");
}

#[test]
fn a_delta_log_that_cannot_be_written_is_behind_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let numbers = ["delta_behind", "delta_failures_total", "delta_versions_total"];
    let delta = || numbers.map(|name| told(&server, &format!("{name}{{store=\"s\"}}")));
    let compacted = || {
        server.append("a", TICK).ok(201);
        let run = server.post("admin:compaction/run?wait=true", "").ok(200);
        assert!(run["ended"].as_array().unwrap().iter().all(|job| job["error"].is_null()), "{run}");
        server.get("admin:manifest").ok(200)["version"].as_f64().unwrap()
    };
    let shown = compacted();
    let [behind, failures, versions] = delta();
    assert!((behind, failures) == (0.0, 0.0) && versions > 0.0, "{behind} behind, {failures} failed of {versions}");
    let (now, [behind, failures, same]) = without(folder.path(), "durable/_delta_log", || (compacted(), delta()));
    assert_eq!((behind, same), (now - shown, versions), "its commits are all that it does not show");
    assert!(behind > 0.0 && failures > 0.0, "{behind} behind, {failures} failed");
    compacted();
    let [behind, _, more] = delta();
    assert!(behind == 0.0 && more > versions, "{behind} behind, {more} written");
}

#[test]
fn tiers_count_as_their_route_says_and_pages_for_the_tiers_that_gave_rows() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *', read.tiers = ('wal', 'durable')");
    server.append("a", &[TICK; 3].join(",")).ok(201);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    server.append("a", TICK).ok(201);
    let tiers = server.get("admin:tiers").ok(200);
    // the log may write a mark of its own meanwhile
    for (tier, number) in
        [("inmemory", "events"), ("wal", "events"), ("durable", "events"), ("inmemory", "bytes"), ("durable", "bytes")]
    {
        let series = format!("tier_{number}{{store=\"s\",tier=\"{tier}\"}}");
        assert_eq!(Some(told(&server, &series)), tiers[tier][number].as_f64(), "{series}: {tiers}");
    }
    assert!(told(&server, "tier_bytes{store=\"s\",tier=\"wal\"}") > 0.0);
    let pages = || ["wal", "durable"].map(|tier| told(&server, &format!("tier_reads_total{{tier=\"{tier}\"}}")));
    assert_eq!(pages(), [0.0, 0.0]);
    server.get("streams/Call/a").ok(200);
    assert_eq!(pages(), [1.0, 1.0], "one page took rows from both");
}

#[test]
fn what_subscribers_are_given_counts() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("a", &[TICK; 3].join(",")).ok(201);
    assert_eq!(told(&server, "followed_events_total"), 0.0);
    let given = server.get("subscribe?idle_s=0").text();
    assert_eq!(given.matches("\ndata: {\"event_id\"").count(), 3, "{given}");
    assert_eq!(told(&server, "followed_events_total"), 3.0);
}

/// Whoever makes a subscription names it: what would end a label, or begin another series, stays in it.
#[test]
fn the_name_of_a_subscription_stays_in_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.post("subscriptions/a%22%5C%22%7D%201%20%5C", "{}").ok(201);
    assert_eq!(told(&server, r#"subscription_parked{store="s",subscription="a\"\\\"} 1 \\"}"#), 0.0);
}
