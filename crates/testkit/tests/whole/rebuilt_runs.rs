//! Runs of heads and commands that are gone: made anew from data files while these hold every event, primary data afterwards.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, load, request};
use std::path::Path;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_engine::append::{Answer, AppendError, AppendOutcome};
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::verify::verify;
use strandline_event::{BatchUnit, EventId, LogKey, Micros, Seq};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn key() -> LogKey {
    LogKey::single("T")
}

fn made(dir: &Path, settings: &str) -> (LocalStore, StoreConfig) {
    let keys = format!("{TIERS}, id.command_id.unique_scope = 'stream', partition.by = 'dt'{settings}");
    let config = declared(&dir.to_string_lossy(), &keys);
    (LocalStore::new(config.clone()).unwrap(), config)
}

fn findings(store: &LocalStore, config: &StoreConfig) -> Vec<String> {
    let disk: Arc<dyn strandline_wal::Disk> = store.disk().clone();
    verify(config, &disk).unwrap().findings.iter().map(ToString::to_string).collect()
}

/// Removes all runs of a kind, by their names.
fn lose(dir: &Path, kind: &str) -> usize {
    let runs = std::fs::read_dir(dir.join("_runs/T")).unwrap().flatten();
    let of_kind: Vec<_> = runs.filter(|run| run.file_name().to_string_lossy().starts_with(kind)).collect();
    of_kind.iter().for_each(|run| std::fs::remove_file(run.path()).unwrap());
    of_kind.len()
}

fn command(id: &str, event: Event) -> Event {
    Event { command_id: Some(id.to_owned()), ..event }
}

/// Appends as clients send them: with everything given, with little given, as rows of a body, with an id on some events only.
fn requests() -> Vec<Append> {
    let given = |n: usize| Event {
        event_id: Some(EventId(u128::to_be_bytes(0x0190_0000_0000_7000_8000_0000_0000_0000 + n as u128))),
        metadata: Some("{\"by\": 7}".to_owned()),
        ..command("given", event("s0", n))
    };
    let filled_in = |n: usize| Event { occurred_at: None, ..command("filled in", event("s1", n)) };
    let rows = (0..4).map(|n| command(&format!("row {n}"), event("s2", n))).collect();
    let some = vec![event("s3", 0), command("some", event("s3", 1)), event("s3", 2), command("some", event("s3", 3))];
    vec![
        request("T", BatchUnit::Append, (0..3).map(given).collect()),
        request("T", BatchUnit::Append, (0..2).map(filled_in).collect()),
        request("T", BatchUnit::Rows, rows),
        request("T", BatchUnit::Append, some),
    ]
}

fn done(answer: Answer) -> AppendOutcome {
    let Answer::Done(done) = answer else { panic!("{answer:?}") };
    *done
}

/// First seqs and counts of the first answers.
fn first_answers(outcome: &AppendOutcome) -> Vec<(u64, u32, Micros)> {
    assert!(outcome.duplicate && outcome.stamped.is_none(), "{outcome:?}");
    outcome.duplicates.iter().map(|known| (known.first_seq.0, known.count, known.ingested_at)).collect()
}

fn events(store: &LocalStore) -> usize {
    let of_t = Filter { stream_type: Some("T".to_owned()), ..Filter::default() };
    store.store().scan(&of_t).unwrap().map(|batch| batch.unwrap().len()).sum()
}

#[test]
fn a_repeated_command_gets_its_first_answer_after_its_run_was_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path(), "");
    for known in requests() {
        // not the first events of their streams
        let stream = known.events[0].stream_id.clone();
        store.append(&request("T", BatchUnit::Rows, vec![event(&stream, 900)]));
        store.time.advance_us(1_000_000);
        done(store.append(&known));
    }
    store.compact(&key()).unwrap();
    let before: Vec<_> = requests().iter().map(|again| first_answers(&done(store.append(again)))).collect();
    let count = events(&store);
    store.stop();
    assert!(lose(dir.path(), "commands") > 0);
    store.reopen(false).unwrap();
    let told = store.report.warnings.iter().find(|warning| warning.contains("made anew"));
    assert!(told.is_some_and(|told| told.contains("7 records")), "{:?}", store.report);
    assert_eq!(findings(&store, &config), Vec::<String>::new());
    for round in 0..2 {
        let after: Vec<_> = requests().iter().map(|again| first_answers(&done(store.append(again)))).collect();
        assert_eq!(after, before, "round {round}");
        for (n, mut other) in requests().into_iter().enumerate() {
            let last = other.events.last_mut().unwrap();
            match n {
                0 => last.metadata = None,
                1 => last.occurred_at = Some(Micros(1)),
                _ => last.data = "9".to_owned(),
            }
            conflicts(&mut store, &other);
        }
        for mut fewer in requests().into_iter().filter(|request| request.unit == BatchUnit::Append) {
            fewer.events.pop();
            conflicts(&mut store, &fewer);
        }
        assert_eq!(events(&store), count, "nothing was stored");
        // and once more from a start, with newer commands beside the old ones
        load(&mut store, "U", 0..4, 1);
        store.restart().unwrap();
    }
}

fn conflicts(store: &mut LocalStore, other: &Append) {
    let Answer::Refused(refusal) = store.append(other) else { panic!("{other:?} is taken for what it is not") };
    assert!(matches!(refusal.error, AppendError::CommandConflict { .. }), "{refusal:?}");
}

#[test]
fn heads_are_made_anew_as_long_as_nothing_is_retired() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path(), "");
    load(&mut store, "T", 0..40, 4);
    store.compact(&key()).unwrap();
    store.stop();
    assert!(lose(dir.path(), "heads") > 0);
    store.reopen(false).unwrap();
    assert!(store.report.corrupt.is_empty(), "{:?}", store.report);
    assert!(store.report.warnings.iter().any(|w| w.contains("heads") && w.contains("4 records")), "{:?}", store.report);
    assert_eq!(findings(&store, &config), Vec::<String>::new());
    load(&mut store, "T", 40..44, 4);
    assert_eq!(store.store().stream_head("T", "s0").unwrap().unwrap().last_seq, Seq(11));
}

/// A store of old and new events, of which retention has taken the old ones.
fn retired(dir: &Path, mode: &str) -> (LocalStore, StoreConfig) {
    let settings = format!(
        ", retention.enabled = true, retention.durable_days = 20, retention.delete_mode = '{mode}', wal.retention_hours = 1"
    );
    let (mut store, config) = made(dir, &settings);
    for n in 0..20_usize {
        let now = store.time.now();
        let old = Micros(now.0 - if n.is_multiple_of(2) { 40 * DAY_US } else { 0 });
        let sent = Event { occurred_at: Some(old), ..command(&format!("c{n}"), event(&format!("s{}", n % 4), n)) };
        done(store.append(&request("T", BatchUnit::Rows, vec![sent])));
    }
    store.compact(&key()).unwrap();
    assert_eq!(store.retain().unwrap().events, 10);
    store.stop();
    (store, config)
}

/// The store serves what it has, refuses what needs the run, and says why; however often it is opened.
fn assert_refused(store: &mut LocalStore, config: &StoreConfig, kind: &str) {
    for _ in 0..2 {
        let said = store.report.corrupt.iter().any(|text| text.contains(kind) && text.contains("cannot be made anew"));
        assert!(said, "{kind}: {:?}", store.report);
        let answer = store.append(&request("T", BatchUnit::Rows, vec![command("new", event("s0", 99))]));
        let Answer::Refused(refusal) = answer else { panic!("{kind}: {answer:?}") };
        assert!(matches!(&refusal.error, AppendError::Unavailable { reason } if reason.contains(kind)), "{refusal:?}");
        assert_eq!(events(store), 10, "reads go on");
        let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
        let new = StreamRead { stream_type: "T", stream_id: "s1", from_seq, to_seq, limit: 10, order };
        assert_eq!(store.store().read_stream(&new).unwrap().len(), 5, "also of a stream whose head cannot be read");
        let found = findings(store, config);
        assert!(found.iter().any(|finding| finding.starts_with(&format!("_runs/T/{kind}"))), "{kind}: {found:?}");
        // another stream type is not concerned
        done(store.append(&request("U", BatchUnit::Rows, vec![event("s0", 1)])));
        store.kill().unwrap();
    }
}

#[test]
fn after_a_retirement_lost_runs_are_never_made_anew() {
    for (mode, kind) in [("tombstone", "heads"), ("tombstone", "commands"), ("hard", "heads"), ("hard", "commands")] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, config) = retired(dir.path(), mode);
        let runs: Vec<_> = std::fs::read_dir(dir.path().join("_runs/T")).unwrap().flatten().collect();
        let kept: Vec<_> = runs.iter().map(|run| (run.path(), std::fs::read(run.path()).unwrap())).collect();
        assert!(lose(dir.path(), kind) > 0);
        store.reopen(false).unwrap();
        assert_refused(&mut store, &config, kind);
        // from a backup: all is as it was
        for (path, bytes) in kept.iter().filter(|(path, _)| !path.exists()) {
            std::fs::write(path, bytes).unwrap();
        }
        store.kill().unwrap();
        assert!(store.report.corrupt.is_empty(), "{:?}", store.report);
        assert_eq!(findings(&store, &config), Vec::<String>::new());
        let again = store.append(&request("T", BatchUnit::Rows, vec![command("c0", event("s0", 0))]));
        assert!(matches!(again, Answer::Refused(_)), "it was sent with another date: {again:?}");
        assert_eq!(
            store.store().stream_head("T", "s0").unwrap().unwrap().last_seq,
            Seq(5),
            "heads are not those of files"
        );
    }
}

#[test]
fn what_was_brought_back_is_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = retired(dir.path(), "tombstone");
    store.reopen(false).unwrap();
    assert_eq!(store.restore(&[]).unwrap().events, 10);
    store.stop();
    assert!(lose(dir.path(), "heads") > 0 && lose(dir.path(), "commands") > 0);
    store.reopen(false).unwrap();
    assert!(store.report.corrupt.is_empty(), "{:?}", store.report);
    assert_eq!(findings(&store, &config), Vec::<String>::new());
    assert_eq!(events(&store), 20);
    load(&mut store, "T", 20..24, 4);
    assert_eq!(store.store().stream_head("T", "s0").unwrap().unwrap().last_seq, Seq(6));
}

const ROUNDS: usize = 4;
const STREAMS: usize = 3;

/// What came last in each stream is old, and everything in the last one: no file tells any more where they end.
fn aged(now: Micros, round: usize, stream: usize) -> Append {
    let (n, old) = (round * STREAMS + stream, round + 1 == ROUNDS || stream + 1 == STREAMS);
    let at = Micros(now.0 - if old { 40 * DAY_US } else { 0 });
    let sent = Event { occurred_at: Some(at), ..command(&format!("c{n}"), event(&format!("s{stream}"), n)) };
    request("T", BatchUnit::Rows, vec![sent])
}

/// First answers of all commands; others under their ids are conflicts, and nothing is stored.
fn all_known(store: &mut LocalStore, now: Micros) -> Vec<Vec<(u64, u32, Micros)>> {
    let mut answers = Vec::new();
    for (round, stream) in (0..ROUNDS).flat_map(|round| (0..STREAMS).map(move |stream| (round, stream))) {
        let mut sent = aged(now, round, stream);
        answers.push(first_answers(&done(store.append(&sent))));
        sent.events[0].data = "\"another\"".to_owned();
        conflicts(store, &sent);
    }
    answers
}

#[test]
fn heads_and_commands_of_what_is_retired_are_found_from_the_durable_tier_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, config) = made(dir.path(), ", retention.enabled = true, retention.durable_days = 20");
    let now = store.time.now();
    for round in 0..ROUNDS {
        for stream in 0..STREAMS {
            done(store.append(&aged(now, round, stream)));
            store.time.advance_us(13);
        }
        store.compact(&key()).unwrap();
    }
    let old = ROUNDS + STREAMS - 1;
    assert_eq!(store.retain().unwrap().events, old as u64);
    // jobs that know nothing of these streams merge their runs
    for n in 0..ROUNDS {
        done(store.append(&request("T", BatchUnit::Rows, vec![event(&format!("later {n}"), 900 + n)])));
        store.compact(&key()).unwrap();
    }
    let state = store.store().durable().pin().log(&key()).unwrap().clone();
    assert!(state.heads.len() < ROUNDS && state.commands.len() < ROUNDS, "runs were merged: {state:?}");
    let before = all_known(&mut store, now);
    store.stop();
    drop(store);
    // another node, which has nothing but the durable tier
    let mut store = LocalStore::rival(config.clone(), Arc::new(CrashDisk::new()), None, 2).unwrap();
    assert!(store.report.corrupt.is_empty(), "{:?}", store.report);
    for round in 0..2 {
        assert_eq!(all_known(&mut store, now), before, "round {round}");
        assert_eq!(events(&store), ROUNDS * STREAMS - old + ROUNDS + round * STREAMS, "nothing was stored");
        for stream in 0..STREAMS {
            let (id, last) = (format!("s{stream}"), Seq((ROUNDS + round) as u64));
            assert_eq!(store.store().stream_head("T", &id).unwrap().unwrap().last_seq, last, "{id}");
            let next = done(store.append(&request("T", BatchUnit::Rows, vec![event(&id, 100 + round)])));
            let stamped = next.stamped.unwrap();
            assert!(stamped.iter().map(|row| row.seq).eq([last.next()]), "{id} goes on behind what is retired");
        }
        assert_eq!(findings(&store, &config), Vec::<String>::new());
        store.compact(&key()).unwrap();
        store.restart().unwrap();
    }
}
