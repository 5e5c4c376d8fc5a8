//! `verify` compares heads and command records with the events of data files, and names each that is wrong.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, load, request};
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::{Commit, HeadRecord, JobSpec};
use strandline_engine::read::{Order, StreamRead};
use strandline_engine::verify::verify;
use strandline_event::hash::stream_hash;
use strandline_event::{BatchUnit, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

fn made(dir: &std::path::Path) -> (LocalStore, StoreConfig) {
    let settings = format!("{TIERS}, id.command_id.unique_scope = 'stream'");
    let config = declared(&dir.to_string_lossy(), &settings);
    (LocalStore::new(config.clone()).unwrap(), config)
}

fn findings(store: &LocalStore, config: &StoreConfig) -> Vec<String> {
    let disk: Arc<dyn strandline_wal::Disk> = store.disk().clone();
    verify(config, &disk).unwrap().findings.iter().map(ToString::to_string).collect()
}

fn commit(store: &LocalStore, change: impl FnOnce(&mut Commit)) {
    let log = LogKey::single("T");
    let through = store.store().durable().pin().watermark(&log);
    let mut commit = Commit {
        job_id: 4711,
        at: store.time.now(),
        log,
        from_exclusive: through,
        through,
        last_ingested_at: Micros::MIN,
        files: vec![],
        heads: vec![],
        commands: vec![],
        chunks: vec![],
    };
    change(&mut commit);
    store.store().durable().commit(&commit).unwrap();
}

/// Compacts a stream as a job would that forgets heads and commands.
fn compact_without_records(store: &LocalStore, stream: &str, keep: impl Fn(&mut Commit)) {
    let read = StreamRead {
        stream_type: "T",
        stream_id: stream,
        from_seq: None,
        to_seq: None,
        limit: 1000,
        order: Some(Order::Asc),
    };
    let page = store.store().read_stream(&read).unwrap();
    let log = LogKey::single("T");
    let through = store.store().log(&log).unwrap().published().committed();
    let from_exclusive = store.store().durable().pin().watermark(&log);
    let job = JobSpec { job_id: 4711, log, from_exclusive, through };
    let mut go_on = |_| ControlFlow::Continue(());
    let (batches, durable) = ([page.rows().collect::<Vec<_>>()], store.store().durable());
    let order = strandline_durable::sort_rows(&durable.layout(), &batches);
    let files = durable.write_files(&durable.layout(), &job, &batches, &order, &mut go_on).unwrap();
    commit(store, |commit| {
        (commit.from_exclusive, commit.through, commit.files) = (from_exclusive, through, files);
        keep(commit);
    });
}

#[test]
fn a_head_that_is_too_low_is_found_though_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path());
    load(&mut store, "T", 0..10, 1);
    let low = HeadRecord { stream: stream_hash("s0"), last_seq: Seq(9), first_seq: Seq(1), owner_tenant: 0 };
    compact_without_records(&store, "s0", |commit| commit.heads = vec![low]);
    load(&mut store, "T", 10..20, 1);
    let found = findings(&store, &config);
    assert_eq!(found, ["stream `s0` of `T`: its head says seq 9, but its events in data files end at 10"]);
}

#[test]
fn a_head_that_is_too_high_or_of_no_stream_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path());
    load(&mut store, "T", 0..20, 2);
    store.compact(&LogKey::single("T")).unwrap();
    load(&mut store, "T", 20..40, 2);
    let head = |stream: &str, last| HeadRecord {
        stream: stream_hash(stream),
        last_seq: Seq(last),
        first_seq: Seq(if stream == "s0" { 11 } else { 1 }),
        owner_tenant: 0,
    };
    commit(&store, |commit| commit.heads = vec![head("s0", 15), head("nobody", 3)]);
    let found = findings(&store, &config);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|f| f.contains("`s0`") && f.contains("says seq 15") && f.contains("end at 10")));
    assert!(found.iter().any(|f| f.contains("says seq 3, but no data file")));
}

#[test]
fn a_stream_without_a_head_and_commands_without_a_record_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path());
    for n in 0..8 {
        let command = Event { command_id: Some(format!("c{n}")), ..event("s", n) };
        store.append(&request("T", BatchUnit::Rows, vec![command]));
    }
    let head = HeadRecord { stream: stream_hash("s"), last_seq: Seq(8), first_seq: Seq(1), owner_tenant: 0 };
    compact_without_records(&store, "s", |_| {});
    let found = findings(&store, &config);
    assert!(
        found.iter().any(|f| f == "stream `s` of `T`: it has no head, but its events in data files end at 8"),
        "{found:?}"
    );
    let commands: Vec<&String> = found.iter().filter(|f| f.starts_with("commands of `T`")).collect();
    assert!(commands.iter().any(|f| f.contains("'c0' (seq 1 of stream `s`) is missing")), "{found:?}");
    assert!(commands.iter().any(|f| f.contains("3 more records")), "{found:?}");
    commit(&store, |commit| {
        (commit.job_id, commit.heads) = (4712, vec![head]);
    });
    let found = findings(&store, &config);
    assert!(!found.is_empty() && found.iter().all(|f| f.starts_with("commands of")), "{found:?}");
}

#[test]
fn every_kind_of_command_has_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path());
    let command = |id: &str, n| Event { command_id: Some(id.to_owned()), ..event("s", n) };
    store.append(&request("T", BatchUnit::Append, vec![command("a", 1), command("a", 2), command("a", 3)]));
    store.append(&request("T", BatchUnit::Rows, vec![command("b", 4), command("c", 5), event("s", 6)]));
    store.append(&request("T", BatchUnit::Append, vec![event("s", 7), command("d", 8)]));
    store.compact(&LogKey::single("T")).unwrap();
    assert_eq!(findings(&store, &config), Vec::<String>::new());
}
