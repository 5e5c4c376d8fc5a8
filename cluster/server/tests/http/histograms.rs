//! Histograms of /metrics: in the form that Prometheus wants, counted once a request, a group, a page and a phase; and what waits.

use super::common::{Running, start};
use std::collections::BTreeMap;

const TICK: &str = r#"{"event_type":"Ticked","data":{}}"#;

/// One reading of /metrics: each series with its value.
fn reading(server: &Running) -> BTreeMap<String, f64> {
    let text = server.get("/metrics").text();
    let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    series.collect()
}

/// The series `name{labels}`.
fn of(reading: &BTreeMap<String, f64>, name: &str, labels: &str) -> f64 {
    let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
    *reading.get(&series).unwrap_or_else(|| panic!("no {series}"))
}

/// Counts of the page histogram by tier: none, inmemory, wal, durable.
fn pages(server: &Running) -> [f64; 4] {
    let now = reading(server);
    ["none", "inmemory", "wal", "durable"]
        .map(|tier| of(&now, "strandline_read_seconds_count", &format!("store=\"s\",tier=\"{tier}\"")))
}

#[test]
fn buckets_rise_to_the_count_of_each_series() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    server.append("a", TICK).ok(201);
    server.get("streams/Call/a").ok(200);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let text = server.get("/metrics").text();
    let mut checked = 0;
    let mut before = (String::new(), 0.0, 0.0);
    for line in text.lines().filter(|line| line.contains("_bucket{")) {
        let (series, count) = line.rsplit_once(' ').unwrap();
        let (labels, le) = series.rsplit_once(",le=\"").unwrap();
        let bound = le.trim_end_matches("\"}");
        let (bound, count): (f64, f64) = (bound.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap());
        if before.0 == labels {
            assert!(before.1 < bound && before.2 <= count, "{line}");
        }
        if bound.is_infinite() {
            let (name, labels) = labels.split_once("_bucket{").unwrap();
            let whole = format!("{name}_count{{{labels}}} {count}");
            assert!(text.lines().any(|line| line == whole), "{whole} is not in\n{text}");
            assert!(text.contains(&format!("\n{name}_sum{{{labels}}} ")), "{name}");
            assert!(text.contains(&format!("# TYPE {name} histogram\n")), "{name}");
            checked += 1;
        }
        before = (labels.to_owned(), bound, count);
    }
    // append, group, batches, files and bytes of a page, four tiers, seven phases
    assert_eq!(checked, 5 + 4 + 7);
}

#[test]
fn an_append_counts_once_and_so_does_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    for n in 0..3 {
        server.append(&format!("a{n}"), TICK).ok(201);
    }
    // refused: it takes as long
    server
        .post("streams/Call/a0", &format!("{{\"events\":[{TICK}],\"expected_seq\":\"empty\"}}"))
        .error(409, "wrong_expected_seq");
    let now = reading(&server);
    let store = "store=\"s\"";
    assert_eq!(of(&now, "strandline_append_seconds_count", store), 4.0);
    assert_eq!(of(&now, "strandline_group_seconds_count", store), of(&now, "strandline_groups_total", ""));
    assert_eq!(of(&now, "strandline_group_batches_sum", store), 3.0);
    // the sync of a disk is in each of them
    let (appends, groups) =
        (of(&now, "strandline_append_seconds_sum", store), of(&now, "strandline_group_seconds_sum", store));
    assert!(groups > 0.0 && appends > 0.0 && appends < 60.0, "{appends} s of appends, {groups} s of groups");
    for gauge in ["strandline_appends_waiting", "strandline_reads_waiting"] {
        assert_eq!(of(&now, gauge, ""), 0.0, "{gauge}: nothing is under way");
    }
    assert!(of(&now, "strandline_reads_waiting_max", "") > 0.0 && of(&now, "strandline_answer_bytes_max", "") > 0.0);
}

#[test]
fn a_page_counts_for_the_furthest_tier_that_gave_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *', read.tiers = ('wal', 'durable')");
    server.append("a", TICK).ok(201);
    server.get("streams/Call/a").ok(200);
    assert_eq!(pages(&server), [0.0, 0.0, 1.0, 0.0]);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    server.append("a", TICK).ok(201);
    server.get("streams/Call/a").ok(200);
    assert_eq!(pages(&server), [0.0, 0.0, 1.0, 1.0], "log and files gave rows");
    server.get("events?stream_type=Nobody").ok(200);
    assert_eq!(pages(&server), [1.0, 0.0, 1.0, 1.0], "nothing gave rows");
    let now = reading(&server);
    let of_store = |name: &str| of(&now, name, "store=\"s\"");
    assert_eq!(of_store("strandline_page_files_count"), of(&now, "strandline_reads_total", ""));
    assert_eq!(of_store("strandline_page_files_sum"), of(&now, "strandline_read_files_total", ""));
    assert_eq!(of_store("strandline_page_bytes_sum"), of(&now, "strandline_read_bytes_total", ""));
}

#[test]
fn memory_gives_what_was_just_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("a", TICK).ok(201);
    server.get("streams/Call/a").ok(200);
    assert_eq!(pages(&server), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn each_phase_of_a_job_and_of_a_merge_counts() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let phases = |kind: &str, phases: &[&str]| -> Vec<f64> {
        let now = reading(&server);
        let series = |phase: &&str| format!("store=\"s\",kind=\"{kind}\",phase=\"{phase}\"");
        phases.iter().map(|p| of(&now, "strandline_compaction_phase_seconds_count", &series(p))).collect()
    };
    const COMPACT: [&str; 4] = ["selecting", "sorting", "writing", "committing"];
    const MERGE: [&str; 3] = ["selecting", "merging", "committing"];
    assert_eq!((phases("compact", &COMPACT), phases("merge", &MERGE)), (vec![0.0; 4], vec![0.0; 3]));
    for round in 1..=2 {
        server.append("a", TICK).ok(201);
        // a run by hand merges, too, as soon as there are two files
        server.post("admin:compaction/run?wait=true", "").ok(200);
        let merges = f64::from(round - 1);
        assert_eq!(phases("compact", &COMPACT), vec![f64::from(round); 4]);
        assert_eq!(phases("merge", &MERGE), vec![merges; 3]);
    }
    let now = reading(&server);
    let committing = "store=\"s\",kind=\"compact\",phase=\"committing\"";
    assert!(of(&now, "strandline_compaction_phase_seconds_sum", committing) > 0.0);
    assert_eq!(of(&now, "strandline_compaction_jobs_running", "store=\"s\""), 0.0);
}
