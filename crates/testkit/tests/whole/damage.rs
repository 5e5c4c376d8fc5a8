//! Damage below the watermark: what it concerns is refused and named, the rest serves, and what can be made anew is.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_durable::{KeyLook, RunKind};
use strandline_engine::append::{Answer, AppendError, Expected, OnError};
use strandline_engine::read::{Order, StreamRead};
use strandline_engine::verify;
use strandline_event::{BatchUnit, ErrorKind, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};
use strandline_wal::Disk;

const SETTINGS: &str =
    "wal.enabled = true, wal.path = '/wal', partition.by = 'dt', id.command_id.unique_scope = 'stream_type'";

/// 200 events of two streams over many days, durable, each with a command of its own.
fn prepared(dir: &Path) -> LocalStore {
    let mut store = LocalStore::new(declared(dir.to_str().unwrap(), SETTINGS)).unwrap();
    load(&mut store, "T", 0..200);
    store.compact(&LogKey::single("T")).unwrap();
    store
}

fn commanded(n: usize) -> Append {
    numbered("T", n)
}

/// Event `n` of one of two streams, some two hours behind the one before, with a command of its own.
fn numbered(stream_type: &str, n: usize) -> Append {
    let event = Event {
        stream_id: format!("s{}", n % 2),
        event_type: "Flown".to_owned(),
        data: n.to_string(),
        occurred_at: Some(Micros(1_795_000_000_000_000 + n as i64 * 7_000_000_000)),
        command_id: Some(format!("command-{n}")),
        ..Event::default()
    };
    Append {
        stream_type: stream_type.to_owned(),
        unit: BatchUnit::Append,
        events: vec![event],
        expected: Expected::Any,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    }
}

fn load(store: &mut LocalStore, stream_type: &str, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let answer = store.append(&numbered(stream_type, n));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        store.time.advance_us(13);
    }
}

fn run_path(store: &LocalStore, dir: &Path, kind: RunKind) -> PathBuf {
    let snapshot = store.store().durable().pin();
    let state = snapshot.log(&LogKey::single("T")).unwrap();
    let runs = if kind == RunKind::Heads { &state.heads } else { &state.commands };
    dir.join(&runs.last().unwrap().path)
}

/// As a bad sector does it: the old map of the file stays what it was.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[9] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Removes a file under each name that it has below a folder: the Delta log has a link of its own.
fn remove_all_names(folder: &Path, ino: u64) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            remove_all_names(&entry.path(), ino);
        } else if meta.ino() == ino {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn last_file(store: &LocalStore) -> PathBuf {
    let durable = store.store().durable();
    let snapshot = durable.pin();
    let file = snapshot.files().iter().max_by_key(|f| f.bounds.occurred_at).unwrap();
    durable.local_path(file).unwrap()
}

fn refusal(answer: &Answer) -> &AppendError {
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    &refusal.error
}

fn read(store: &LocalStore, to: u64) -> Result<usize, ErrorKind> {
    let read = StreamRead {
        stream_type: "T",
        stream_id: "s0",
        from_seq: None,
        to_seq: Some(Seq(to)),
        limit: 1000,
        order: Some(Order::Asc),
    };
    store.store().read_stream(&read).map(|page| page.len()).map_err(|error| error.kind())
}

#[test]
fn broken_heads_are_made_anew_when_the_store_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    damage(&run_path(&store, dir.path(), RunKind::Heads));
    store.restart().unwrap();
    let warnings = store.report.warnings.join("\n");
    assert!(warnings.contains("heads") && warnings.contains("made anew"), "{warnings}");
    assert!(store.report.corrupt.is_empty());
    assert!(matches!(store.append(&commanded(200)), Answer::Done(_)));
    assert_eq!(read(&store, 101), Ok(101));
    store.compact(&LogKey::single("T")).unwrap();
}

#[test]
fn what_cannot_be_made_anew_refuses_writes_and_serves_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    load(&mut store, "Other", 0..20);
    store.compact(&LogKey::single("Other")).unwrap();
    let (run, file) = (run_path(&store, dir.path(), RunKind::Heads), last_file(&store));
    damage(&run);
    damage(&file);
    store.restart().unwrap();
    let corrupt = store.report.corrupt.join("\n");
    let name = run.file_name().unwrap().to_str().unwrap();
    assert!(corrupt.contains(name) && corrupt.contains("cannot be made anew"), "{corrupt}");
    for append in [commanded(200), commanded(0)] {
        let answer = store.append(&append);
        let error = refusal(&answer);
        assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains(name), "{error}");
    }
    assert_eq!(read(&store, 40), Ok(40), "what the damaged file does not hold");
    assert_eq!(read(&store, 100), Err(ErrorKind::Integrity));
    load(&mut store, "Other", 20..30);

    let disk: Arc<dyn Disk> = Arc::clone(store.disk()) as Arc<dyn Disk>;
    let report = verify::verify(&declared(dir.path().to_str().unwrap(), SETTINGS), &disk).unwrap();
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|f| f.contains(name)), "{found:?}");
    let (damaged, others): (Vec<_>, Vec<_>) = found.iter().partition(|f| f.contains(".parquet"));
    assert!(!damaged.is_empty() && damaged.iter().all(|f| f.contains(file.file_name().unwrap().to_str().unwrap())));
    assert!(others.iter().all(|f| f.contains("_runs/")), "no hole and no head is reported beside it: {others:?}");
    assert!(report.events > 200, "the other files were read: {}", report.events);
}

#[test]
fn a_retry_of_a_command_that_was_made_anew_gets_its_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    assert!(matches!(store.append(&commanded(7)), Answer::Done(outcome) if outcome.duplicate));
    damage(&run_path(&store, dir.path(), RunKind::Commands));
    store.restart().unwrap();
    assert!(store.report.warnings.join("\n").contains("commands"), "{}", store.report);
    assert!(matches!(store.append(&commanded(7)), Answer::Done(outcome) if outcome.duplicates[0].first_seq == Seq(4)));
    assert!(matches!(store.append(&commanded(200)), Answer::Done(outcome) if !outcome.duplicate));
}

#[test]
fn a_file_that_lost_its_own_name_only_gets_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    let file = last_file(&store);
    std::fs::remove_file(&file).unwrap();
    store.restart().unwrap();
    assert!(store.report.corrupt.is_empty() && file.exists(), "{}", store.report);
    assert_eq!(read(&store, 100), Ok(100));
}

#[test]
fn a_file_that_is_gone_stops_only_the_reads_that_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    let file = last_file(&store);
    remove_all_names(dir.path(), std::fs::metadata(&file).unwrap().ino());
    store.restart().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(store.report.corrupt.iter().any(|line| line.contains(name)), "{}", store.report);
    assert!(matches!(store.append(&commanded(200)), Answer::Done(_)));
    assert_eq!((read(&store, 40), read(&store, 100)), (Ok(40), Err(ErrorKind::Integrity)));
    store.compact(&LogKey::single("T")).unwrap();
}

#[test]
fn orphans_go_once_they_are_old_enough() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = prepared(dir.path());
    let left = dir.path().join("dt=2026-01-01/part-n7-9999999999.parquet.tmp");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, b"half a file").unwrap();
    let now = std::fs::metadata(&left).unwrap().modified().unwrap();
    let now = Micros(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64);
    assert!(store.store().sweep(now).unwrap().is_empty() && left.exists());
    let day = Micros(now.0 + 25 * 3_600_000_000);
    assert!(store.store().sweep(day).unwrap().iter().any(|path| path.ends_with("9999999999.parquet.tmp")));
    assert!(!left.exists());
    store.restart().unwrap();
    assert_eq!(read(&store, 100), Ok(100));
}

/// A key service that hangs would hold it up for half a minute, and the end of the node with it: the looks at the keys have a thread of their own.
#[test]
fn a_sweep_looks_at_no_key() {
    let sealed =
        "security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '/keys/of/the/test'";
    let store = LocalStore::on_memory(declared("/durable", &format!("{SETTINGS}, {sealed}"))).unwrap();
    let (_, manifests) = store.objects().unwrap();
    for keyring in manifests.list("keyring").unwrap() {
        manifests.delete(&keyring.path).unwrap();
    }
    store.store().sweep(store.time.now()).unwrap();
    let durable = store.store().durable();
    assert_eq!(durable.key_trouble(), None);
    durable.look_at_keys(KeyLook::Current);
    assert!(durable.key_trouble().unwrap().contains("gone"));
}
