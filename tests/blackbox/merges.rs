//! Small files become few while others read them: counts of other engines never miss an event, and in the end agree.

use crate::flights::most_open_files;
use crate::harness::{Server, Store};
use crate::oracles::{oracle, python};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const KEYS: &[&str] = &["partition.by = ('dt')", "compaction.schedule = '0 0 29 2 *'"];
const STREAMS: u64 = 7;

/// The n-th events of all streams, over three days.
fn load(server: &Server, round: u64) {
    let line = |n: u64| {
        json!({
            "stream_type": "Meter", "stream_id": format!("m{n}"), "event_type": "Read", "data": {"round": round},
            "occurred_at": format!("2026-11-{:02}T12:00:00Z", 1 + (round + n) % 3),
        })
    };
    server.http().bulk(&(0..STREAMS).map(line).collect::<Vec<_>>());
}

fn files(store: &Store, ending: &str) -> usize {
    fn walk(folder: &Path, ending: &str) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let count = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path(), ending),
            false => usize::from(entry.file_name().to_string_lossy().ends_with(ending)),
        };
        entries.map(count).sum()
    }
    walk(&store.durable(), ending)
}

fn count(store: &Store, rounds: u64) {
    let (events, streams) = ((rounds * STREAMS).to_string(), STREAMS.to_string());
    oracle("count.py", &[&store.durable(), Path::new(&events), Path::new(&streams)]);
}

#[test]
fn a_count_never_misses_an_event_while_files_are_merged() {
    let store = Store::new(KEYS);
    let server = store.start();
    let (durable, stop) = (store.path().join("durable-events"), store.path().join("stop"));
    let mut told = std::fs::File::create(&durable).unwrap();
    let mut tell = |events: u64| writeln!(told, "{events}").unwrap();
    tell(0);
    let script = crate::harness::root().join("tests/oracles/count_live.py");
    let mut counting = Command::new(python());
    counting.arg(script).arg(store.durable()).arg(env!("CARGO_BIN_EXE_strandline")).arg(server.url());
    let counting = counting.args([&durable, &stop]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let rounds = 40;
    for round in 1..=rounds {
        load(&server, round);
        server.http().compact();
        tell(round * STREAMS);
    }
    std::fs::write(&stop, "").unwrap();
    let output = counting.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    println!("{said}");
    assert_eq!(files(&store, ".parquet"), 3, "one a day");
    let manifest: Value = server.http().get("/admin/v1/stores/test/manifest").expect(200);
    assert_eq!(manifest["replaced"]["files"], files(&store, ".parquet.old"));
    assert!(files(&store, ".parquet.old") > 30);
    count(&store, rounds);
    server.stop();
    let verified = store.verify();
    assert_eq!((verified.code, verified.stdout.contains(".old")), (0, false), "{}", verified.stdout);
}

#[test]
fn replaced_files_go_after_their_grace_period_and_a_kill_between_leaves_an_exact_glob() {
    let store = Store::new(KEYS);
    for round in 1..=12 {
        let server = store.start();
        let http = server.http();
        load(&server, 2 * round - 1);
        http.compact();
        // so the next run has something to merge behind it
        load(&server, 2 * round);
        std::thread::scope(|scope| {
            let run = "/admin/v1/stores/test/compaction/run?wait=true";
            let compacting = scope.spawn(move || http.try_post(run, "application/json", b"").is_ok());
            // somewhere in the job, or in the merges behind it
            std::thread::sleep(std::time::Duration::from_millis(round * 4));
            server.kill();
            compacting.join().unwrap();
        });
        store.assert_clean();
        let server = store.start();
        assert_eq!(server.http().scan().len() as u64, 2 * round * STREAMS);
        let listed = server.client(&["files", "--format", "paths"]).stdout;
        assert_eq!(files(&store, ".parquet"), listed.lines().count(), "{listed}");
        server.stop();
    }
    let server = store.start();
    server.http().compact();
    assert!(files(&store, ".parquet.old") > 0);
    server.stop();
    let server = Server::start_from(store.program().args(store.serve_arguments()).args(["--grace-files", "0s"]));
    assert_eq!((files(&store, ".parquet.old"), files(&store, ".parquet")), (0, 3));
    assert_eq!(server.http().scan().len() as u64, 24 * STREAMS);
    count(&store, 24);
    server.stop();
    store.assert_clean();
}

/// Small jobs by size, merges by hand: nobody else makes one of many.
const SMALL: &[&str] = &[
    "partition.by = ('dt')",
    "durable.compression = 'none'",
    "compaction.trigger = 'size_mb'",
    "compaction.min_segment_mb = 1",
    "compaction.schedule = '0 0 29 2 *'",
    "compaction.target_file_mb = 1",
    "compaction.max_file_mb = 2",
    "compaction.max_open_files = 4",
];
const DAYS: u64 = 8;

/// 1.3 MB, a part of it on each of the days: late events for all of them but one.
fn load_days(server: &Server, round: u64) {
    let line = |n: u64| {
        json!({
            "stream_type": "Meter", "stream_id": format!("m{n}"), "event_type": "Read",
            "data": format!("{round} {}", "reading ".repeat(2_000)),
            "occurred_at": format!("2026-11-{:02}T12:00:00Z", 1 + n % DAYS),
        })
    };
    server.http().bulk(&(0..DAYS * 10).map(line).collect::<Vec<_>>());
    let events = round * DAYS * 10;
    let durable =
        || server.http().get("/admin/v1/stores/test/tiers").expect(200)["durable"]["events"].as_u64().unwrap();
    for _ in 0..6_000 {
        if durable() == events {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the size starts no job");
}

/// Bytes of the data files by day.
fn sizes(server: &Server) -> BTreeMap<String, Vec<u64>> {
    let files = server.http().get("/admin/v1/stores/test/files").expect(200);
    let mut by_day: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for file in files["files"].as_array().unwrap() {
        by_day.entry(file["partition"].to_string()).or_default().push(file["bytes"].as_u64().unwrap());
    }
    by_day
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = server.http().get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("strandline_{name} "))).unwrap();
    line.parse().unwrap()
}

#[test]
fn many_small_files_become_few_of_the_target_and_few_are_open() {
    let store = Store::new(SMALL);
    let server = store.start();
    let rounds = 14;
    for round in 1..=rounds {
        load_days(&server, round);
    }
    let before = sizes(&server);
    assert_eq!(before.len() as u64, DAYS);
    assert!(before.values().all(|files| files.len() as u64 == rounds), "{before:?}");
    let plan = server.http().get("/admin/v1/stores/test/compaction/plan").expect(200);
    assert_eq!((plan["jobs"].as_array().unwrap().len(), plan["merges"].as_array().unwrap().len() as u64), (0, DAYS));
    let open = most_open_files(&server);
    assert!((2..=4).contains(&open), "{open} data files were open at once");
    let after = sizes(&server);
    for files in after.values() {
        assert!(files.iter().all(|bytes| *bytes <= 2 << 20), "{after:?}");
        assert!(files.iter().filter(|bytes| **bytes < 1 << 20).count() <= 1 && files.len() <= 2, "{after:?}");
    }
    let count = |files: &BTreeMap<String, Vec<u64>>| files.values().map(Vec::len).sum::<usize>() as u64;
    let (inputs, outputs) = (metric(&server, "merge_input_files_total"), metric(&server, "merge_output_files_total"));
    assert_eq!(inputs - outputs, count(&before) - count(&after));
    assert_eq!(metric(&server, "merges_total"), DAYS);
    let status = server.http().get("/admin/v1/stores/test/compaction").expect(200);
    let merges = status["jobs"].as_array().unwrap().iter().filter(|job| job["kind"] == "merge");
    assert_eq!(merges.map(|job| job["inputs"].as_u64().unwrap()).sum::<u64>(), inputs);
    assert_eq!(server.http().scan().len() as u64, rounds * DAYS * 10);
    server.stop();
    store.assert_clean();
}
