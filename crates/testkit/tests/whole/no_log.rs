//! A store without a log: what waits together is committed together, an answer means that it is in a manifest, and a
//! commit that fails at any point leaves nothing half done.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod full_disk;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use strandline_deql::{StoreConfig, Tier};
use strandline_durable::SharedObjects;
use strandline_durable::objects::{
    Aside, Fault, FlakyObjects, LocalObjects, ObjectError, ObjectInfo, Objects, Readable, StoreObjects, Wrapped,
};
use strandline_engine::append::{Again, Answer, AppendError, Expected, OnError};
use strandline_engine::compact;
use strandline_engine::read::{Order, StreamRead};
use strandline_engine::store::OpenError;
use strandline_engine::verify;
use strandline_event::{BatchUnit, Chunk, ErrorKind, IdPrefix, LogKey, Micros, Seq};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

const SETTINGS: &str = "id.command_id.unique_scope = 'stream', partition.by = ('stream_type')";
const HOT: &str = "inmemory.enabled = true, inmemory.ttl_seconds = 30";

fn config(settings: &str) -> StoreConfig {
    declared("/durable", &format!("{SETTINGS}, {settings}"))
}

fn store(settings: &str) -> LocalStore {
    LocalStore::on_memory(config(settings)).unwrap()
}

/// `count` events for one stream, as one command.
fn append(stream_type: &str, stream: &str, command: &str, count: usize, expected: Expected) -> Append {
    let event = |n: usize| Event {
        stream_id: stream.to_owned(),
        event_type: "E".to_owned(),
        data: format!("{{\"command\":\"{command}\",\"n\":{n}}}"),
        command_id: Some(command.to_owned()),
        ..Event::default()
    };
    Append {
        stream_type: stream_type.to_owned(),
        unit: BatchUnit::Append,
        events: (0..count).map(event).collect(),
        expected,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    }
}

fn simple(stream_type: &str, stream: &str, command: &str) -> Append {
    append(stream_type, stream, command, 1, Expected::Any)
}

fn first_seq(answer: &Answer) -> u64 {
    let Answer::Done(outcome) = answer else { panic!("{answer:?}") };
    match &outcome.stamped {
        Some(stamped) => stamped.seq(0).0,
        None => outcome.duplicates[0].first_seq.0,
    }
}

fn is_duplicate(answer: &Answer) -> bool {
    matches!(answer, Answer::Done(outcome) if outcome.duplicate)
}

fn refusal(answer: &Answer) -> &AppendError {
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    &refusal.error
}

fn version(store: &LocalStore) -> u64 {
    store.store().durable().pin().version()
}

/// The commands of a stream in its order, and the tiers that gave them.
fn read(store: &LocalStore, stream_type: &str, stream: &str) -> (Vec<String>, Vec<Tier>) {
    let read = StreamRead {
        stream_type,
        stream_id: stream,
        from_seq: None,
        to_seq: None,
        limit: usize::MAX,
        order: Some(Order::Asc),
    };
    let page = store.store().read_stream(&read).unwrap();
    assert!(page.verdict.contiguous, "{:?}", page.verdict);
    let seqs: Vec<u64> = page.rows().map(|e| e.seq.0).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    (page.rows().map(|e| e.command_id.unwrap_or_default().to_owned()).collect(), page.tiers.iter().collect())
}

#[test]
fn what_waits_together_is_one_version() {
    let mut store = store("");
    let before = version(&store);
    let answers = store.append_together(&[
        append("T", "a", "c1", 2, Expected::Empty),
        // judged by what is in flight: a retry, a conflict, a loser, and the next one
        append("T", "a", "c1", 2, Expected::Empty),
        append("T", "a", "c1", 1, Expected::Any),
        append("T", "a", "c2", 1, Expected::Empty),
        append("T", "a", "c3", 1, Expected::At(Seq(2))),
        simple("U", "a", "c1"),
        simple("V", "b", "c9"),
    ]);
    assert_eq!(version(&store), before + 1, "three logs, one version");
    let of = |key: &str| answers.iter().filter(|(log, _)| &*log.stream_type == key).map(|(_, a)| a).collect::<Vec<_>>();
    let t = of("T");
    assert_eq!((first_seq(t[0]), first_seq(t[1]), first_seq(t[4])), (1, 1, 3));
    assert!(!is_duplicate(t[0]) && is_duplicate(t[1]));
    assert_eq!(refusal(t[2]).kind(), ErrorKind::CommandConflict);
    assert_eq!(refusal(t[3]).kind(), ErrorKind::WrongExpectedSeq);
    assert_eq!((first_seq(of("U")[0]), first_seq(of("V")[0])), (1, 1));
    // the version is by (owner epoch, commit number)
    let snapshot = store.store().durable().pin();
    assert_eq!(snapshot.manifest().job_id, u128::from(snapshot.epoch()) << 64 | 1);
    assert_eq!(read(&store, "T", "a"), (["c1", "c1", "c3"].map(str::to_owned).to_vec(), vec![Tier::Durable]));
    store.kill().unwrap();
    assert_eq!(read(&store, "T", "a").0.len(), 3);
    assert!(is_duplicate(&store.append(&append("T", "a", "c1", 2, Expected::Empty))));
    assert_eq!(first_seq(&store.append(&append("T", "a", "c4", 1, Expected::At(Seq(3))))), 4);
}

#[test]
fn a_command_of_the_whole_store_waits_for_the_commit_of_another_stream_type() {
    let keys = "id.command_id.unique_scope = 'store', partition.by = ('stream_type')";
    let mut store = LocalStore::on_memory(declared("/durable", keys)).unwrap();
    let answers = store.append_together(&[simple("T", "a", "c"), simple("U", "a", "c"), simple("U", "b", "d")]);
    assert_eq!(answers.len(), 3);
    let (log, first) = &answers[0];
    let waits_for = |log: &LogKey| *log == LogKey::single("T");
    assert!(matches!(first, Answer::Again(Again::Elsewhere { log }) if waits_for(log)), "{log}: {first:?}");
    assert!(answers[1..].iter().all(|(_, answer)| first_seq(answer) == 1 && !is_duplicate(answer)));
    for _ in 0..2 {
        assert!(store.store().commands().is_empty(), "files have them");
        assert_eq!(refusal(&store.append(&simple("U", "a", "c"))).kind(), ErrorKind::CommandConflict);
        assert_eq!(refusal(&store.append(&simple("T", "b", "d"))).kind(), ErrorKind::CommandConflict);
        assert!(is_duplicate(&store.append(&simple("T", "a", "c"))));
        store.kill().unwrap();
    }
}

#[test]
fn memory_gives_what_it_holds_and_files_the_rest() {
    let mut store = store(HOT);
    for n in 0..3 {
        store.append(&simple("T", "a", &format!("c{n}")));
    }
    assert_eq!(read(&store, "T", "a"), (vec!["c0".to_owned(), "c1".to_owned(), "c2".to_owned()], vec![Tier::Inmemory]));
    // the oldest leaves: what is left is not all that is asked for
    store.time.advance_us(31_000_000);
    store.append(&simple("T", "a", "c3"));
    store.store().tick(store.time.now());
    assert_eq!(read(&store, "T", "a").1, [Tier::Durable]);
    let last = StreamRead {
        stream_type: "T",
        stream_id: "a",
        from_seq: Some(Seq(4)),
        to_seq: None,
        limit: 9,
        order: Some(Order::Desc),
    };
    assert_eq!(store.store().read_stream(&last).unwrap().tiers.iter().collect::<Vec<_>>(), [Tier::Inmemory]);
    store.restart().unwrap();
    assert_eq!(read(&store, "T", "a").1, [Tier::Durable]);
}

#[test]
fn a_clean_stop_leaves_no_version_and_indices_go_on() {
    let mut store = store("");
    store.append(&simple("T", "a", "c0"));
    let before = version(&store);
    store.restart().unwrap();
    assert_eq!(version(&store), before + 1, "only the claim of the new owner");
    store.append(&simple("T", "a", "c1"));
    let snapshot = store.store().durable().pin();
    let files: Vec<_> = snapshot.files().iter().map(|f| (f.from_exclusive.0, f.through.0)).collect();
    assert_eq!(files, [(0, 1), (1, 2)]);
    assert!(store.report.lost.is_empty() && store.report.corrupt.is_empty());
}

#[test]
fn ids_that_clients_give_are_checked_though_commits_overtake_the_look_up() {
    let mut store = store("");
    let with_id = |stream: &str, command: &str, n: u32| {
        let mut append = simple("T", stream, command);
        append.events[0].event_id = Some(IdPrefix::v7(Micros(1_000_000), 77).id(n));
        append
    };
    // looked up in the files before anything else happens
    let mut request = with_id("a", "late", 1).request().unwrap();
    let key = LogKey::single("T");
    store.append(&simple("T", "b", "c0"));
    request.ids = store.store().check_ids(&key, request.batch.view()).unwrap();
    for n in 0..50 {
        store.append(&simple("T", "b", &format!("b{n}")));
        store.time.advance_us(100_000);
    }
    let (entropy, now) = (9, store.time.now());
    let driver = store.driver(&key).unwrap();
    assert!(driver.append(request, now, entropy, ()).is_none(), "accepted, not sent back for another look-up");
    assert_eq!(store.flush(&key).len(), 1);
    for command in ["again", "once more"] {
        let answer = store.append(&with_id("c", command, 1));
        assert_eq!(refusal(&answer).kind(), ErrorKind::EventIdConflict);
    }
    // long after, when memory has let the id go, the files know it
    for n in 0..3 {
        store.time.advance_us(30_000_000);
        store.append(&simple("T", "b", &format!("d{n}")));
    }
    assert_eq!(refusal(&store.append(&with_id("c", "late again", 1))).kind(), ErrorKind::EventIdConflict);
    assert!(store.store().event_by_id(IdPrefix::v7(Micros(1_000_000), 77).id(1)).unwrap().is_some());
}

#[test]
fn chunks_of_an_ingestion_are_known_at_once_and_after_a_restart() {
    let mut store = store("");
    let chunk = |number: u64| {
        let mut append = append("T", "a", "c", 1, Expected::Any);
        append.unit = BatchUnit::Rows;
        append.events[0].command_id = None;
        append.chunk = Some(Chunk { digest: [5; 16], number });
        append
    };
    for number in [1, 2, 2, 1] {
        store.append(&chunk(number));
    }
    store.kill().unwrap();
    let Answer::Done(known) = store.append(&chunk(2)) else { panic!("not answered") };
    assert!(known.chunk_known);
    assert_eq!(store.store().stream_head("T", "a").unwrap().unwrap().last_seq, Seq(2));
}

/// A place for objects, local or not, that outlives stores.
struct Place {
    dir: tempfile::TempDir,
    memory: Option<(SharedObjects, SharedObjects)>,
    starts: Cell<i64>,
}

impl Place {
    fn new(local: bool) -> Self {
        let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
        Self { dir: tempfile::tempdir().unwrap(), memory: (!local).then(|| (memory(), memory())), starts: Cell::new(0) }
    }

    fn objects(&self) -> (SharedObjects, SharedObjects) {
        let local = |name: &str| -> SharedObjects { Arc::new(LocalObjects::open(&self.path().join(name)).unwrap()) };
        self.memory.clone().unwrap_or_else(|| (local("durable"), local("manifests")))
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self, more: &str) -> StoreConfig {
        let manifests = self.path().join("manifests");
        let keys = format!("{SETTINGS}, durable.commit.manifest_path = '{}'{more}", manifests.display());
        declared(&self.path().join("durable").to_string_lossy(), &keys)
    }

    fn open(&self, objects: (SharedObjects, SharedObjects)) -> Result<LocalStore, OpenError> {
        let store = LocalStore::over(self.config(""), Arc::new(CrashDisk::new()), Some(objects))?;
        // no two starts are at one moment
        self.starts.set(self.starts.get() + 1);
        store.time.advance_us(self.starts.get() * 1_000_000);
        Ok(store)
    }
}

/// What a client knows: command -> whether it was acknowledged, by stream.
type Known = BTreeMap<(&'static str, String), bool>;

/// Rounds of appends to two types that wait together, until one is not answered well.
fn rounds(store: &mut LocalStore, known: &mut Known, from: usize) -> Option<AppendError> {
    for round in from..from + 2 {
        let commands = [format!("c{round}"), format!("d{round}")];
        let answers = store.append_together(&[
            append("T", "a", &commands[0], 2, Expected::Any),
            simple("T", "a", &commands[1]),
            simple("U", "a", &commands[0]),
        ]);
        let mut failed = None;
        for (i, (stream_type, command)) in [("T", 0), ("T", 1), ("U", 0)].into_iter().enumerate() {
            let ok = match &answers[i].1 {
                Answer::Done(_) => true,
                Answer::Refused(refusal) => {
                    failed = Some(refusal.error.clone());
                    false
                }
                Answer::Again(_) => panic!("asked for something"),
            };
            known.insert((stream_type, commands[command].clone()), ok);
        }
        if failed.is_some() {
            return failed;
        }
    }
    None
}

/// Everything acknowledged is there once; a retry of anything is answered and stores nothing twice.
fn check(store: &mut LocalStore, known: &Known) {
    for stream_type in ["T", "U"] {
        let found = read(store, stream_type, "a").0;
        for ((_, command), acknowledged) in known.iter().filter(|((t, _), _)| *t == stream_type) {
            let wanted = if stream_type == "T" && command.starts_with('c') { 2 } else { 1 };
            let count = found.iter().filter(|c| *c == command).count();
            assert!(count == wanted || (count == 0 && !acknowledged), "{stream_type} {command}: {count} {found:?}");
            let again = store.append(&append(stream_type, "a", command, wanted, Expected::Any));
            assert_eq!(is_duplicate(&again), count > 0, "{command} {again:?}");
        }
        let after = read(store, stream_type, "a").0;
        let mut all: Vec<&String> = known.keys().filter(|(t, _)| *t == stream_type).map(|(_, c)| c).collect();
        all.retain(|c| after.iter().any(|a| a == *c));
        assert_eq!(all.len(), known.keys().filter(|(t, _)| *t == stream_type).count(), "every retry was stored");
    }
}

fn fail_everywhere(local: bool, fault: Fault) {
    let mut hit = 0;
    for at in 1.. {
        let place = Place::new(local);
        let mut known = Known::new();
        rounds(&mut place.open(place.objects()).unwrap(), &mut known, 0);
        let (data, manifests) = place.objects();
        let flaky = FlakyObjects::new(data, at, fault);
        let objects: (SharedObjects, SharedObjects) = (Arc::new(flaky.clone()), Arc::new(flaky.with(manifests)));
        // one that fails while it is opened is no store yet
        let Ok(mut store) = place.open(objects) else { continue };
        let error = rounds(&mut store, &mut known, 2);
        if flaky.operations() < at {
            assert_eq!(error, None);
            break;
        }
        hit += usize::from(error.is_some());
        if matches!(fault, Fault::FailOnce | Fault::LostAnswer) {
            goes_on_or_refuses(&mut store, error.as_ref(), &known);
        }
        let mut store = place.open(place.objects()).unwrap();
        check(&mut store, &known);
        let report = verify::verify(&store.store().config(), &(Arc::new(CrashDisk::new()) as _));
        if local {
            assert_eq!(report.unwrap().findings, []);
        }
    }
    assert!(hit > 3, "{fault:?} was hit {hit} times");
}

/// In the same process: what failed is not there and the next append is judged by what is; or none is taken.
fn goes_on_or_refuses(store: &mut LocalStore, error: Option<&AppendError>, known: &Known) {
    let acknowledged = |t: &str| -> usize {
        let of = known.iter().filter(|((stream_type, _), ok)| *stream_type == t && **ok);
        of.map(|((_, c), _)| if t == "T" && c.starts_with('c') { 2 } else { 1 }).sum()
    };
    let head = acknowledged("T") as u64;
    let next = store.append(&append("T", "b", "next", 1, Expected::Empty));
    match (error, &next) {
        (_, Answer::Done(_)) => {
            assert_eq!(store.store().stream_head("T", "a").unwrap().unwrap().last_seq.0, head);
            assert_eq!(read(store, "T", "a").0.len() as u64, head);
            assert_eq!(
                refusal(&store.append(&append("T", "a", "x", 1, Expected::At(Seq(head + 1))))).kind(),
                ErrorKind::WrongExpectedSeq
            );
        }
        (Some(first), Answer::Refused(refused)) => {
            assert_eq!((first.kind(), refused.error.kind()), (ErrorKind::Unavailable, ErrorKind::Unavailable));
            assert!(refused.error.to_string().contains("unknown"), "{}", refused.error);
        }
        _ => panic!("{error:?} {next:?}"),
    }
}

#[test]
fn a_commit_may_end_with_the_process_at_any_operation() {
    for local in [true, false] {
        fail_everywhere(local, Fault::CrashBefore);
        fail_everywhere(local, Fault::CrashAfter);
    }
}

#[test]
fn a_commit_may_fail_at_any_operation_and_the_store_goes_on() {
    for local in [true, false] {
        fail_everywhere(local, Fault::FailOnce);
        fail_everywhere(local, Fault::LostAnswer);
    }
}

#[test]
fn what_gathered_behind_a_failed_commit_goes_with_it() {
    let place = Place::new(false);
    drop(place.open(place.objects()).unwrap());
    let (data, manifests) = place.objects();
    let counting = FlakyObjects::new(data, 0, Fault::FailOnce);
    drop(place.open((Arc::new(counting.clone()), Arc::new(counting.with(manifests)))).unwrap());
    let (data, manifests) = place.objects();
    // the probe of an object store and the claim
    let claim = counting.operations();
    let flaky = FlakyObjects::new(data, claim + 1, Fault::FailOnce);
    let mut store = place.open((Arc::new(flaky.clone()), Arc::new(flaky.with(manifests)))).unwrap();
    assert_eq!(flaky.operations(), claim, "each opening does the same");
    let key = LogKey::single("T");
    store.ensure_log(&key);
    let now = store.time.now();
    let driver = store.driver(&key).unwrap();
    let send = |driver: &mut strandline_engine::append::LogDriver<()>, append: &Append, entropy| {
        driver.append(append.request().unwrap(), now, entropy, ())
    };
    assert!(send(driver, &append("T", "a", "c1", 2, Expected::Empty), 1).is_none());
    let Some(strandline_engine::append::SinkGroup::Files(group)) = driver.take_group() else { panic!("no group") };
    // judged by the group in flight: its own head, a retry of its command
    assert!(send(driver, &append("T", "a", "c2", 1, Expected::At(Seq(2))), 2).is_none());
    assert!(send(driver, &append("T", "a", "c1", 2, Expected::Any), 3).is_none());
    let outcome = strandline_engine::compact::commit_groups(store.store(), &[group], now).remove(0);
    let answers = store.driver(&key).unwrap().files_done(outcome).release();
    let kinds: Vec<_> = answers.iter().map(|((), a)| refusal(a).kind()).collect();
    assert_eq!(kinds, [ErrorKind::Unavailable; 3]);
    assert!(store.driver(&key).unwrap().take_group().is_none());
    assert_eq!(store.store().stream_head("T", "a").unwrap(), None);
    assert_eq!(first_seq(&store.append(&append("T", "a", "c1", 2, Expected::Empty))), 1);
    // the moments of what failed are closed: a follower does not wait for them
    let closed = store.store().closed().close();
    assert!(closed >= now);
    assert!(is_duplicate(&store.append(&append("T", "a", "c1", 2, Expected::Any))));
}

#[test]
fn an_older_owner_is_fenced() {
    let place = Place::new(true);
    let mut first = place.open(place.objects()).unwrap();
    first.append(&simple("T", "a", "c0"));
    let mut second = place.open(place.objects()).unwrap();
    assert_eq!(refusal(&first.append(&simple("T", "a", "c1"))).kind(), ErrorKind::Unavailable);
    let again = first.append(&simple("T", "a", "c2"));
    assert!(refusal(&again).to_string().contains("another node owns the store"), "{again:?}");
    assert_eq!(read(&first, "T", "a").0, ["c0"], "reads go on");
    assert_eq!(first_seq(&second.append(&simple("T", "a", "c1"))), 2);
}

/// Manifests on an object store whose connection breaks right after it has, or has not, made a version.
struct Broken {
    inner: SharedObjects,
    /// How it goes with the next version: made or not; none: as it should.
    next: Mutex<Option<bool>>,
    out: AtomicBool,
}

impl Broken {
    fn answer(&self, path: &str) -> Result<(), ObjectError> {
        match self.out.load(Ordering::SeqCst) {
            true => Err(ObjectError::Unreachable { path: path.to_owned(), said: "cut".to_owned(), check: "check it" }),
            false => Ok(()),
        }
    }
}

impl Wrapped for Broken {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.answer(path)?;
        self.inner.open(path)
    }

    fn on_put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        if let Some(is_made) = self.next.lock().unwrap().take_if(|_| path.starts_with('v')) {
            self.out.store(true, Ordering::SeqCst);
            if is_made {
                self.inner.put_new(path, bytes)?;
            }
            return Err(ObjectError::Unclear { path: path.to_owned(), said: "cut".to_owned(), check: "check it" });
        }
        self.answer(path)?;
        self.inner.put_new(path, bytes)
    }

    fn on_create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        self.answer(path)?;
        self.inner.create(path)
    }

    fn on_list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.answer(prefix)?;
        self.inner.list(prefix)
    }
}

#[test]
fn a_commit_of_unknown_outcome_is_found_out_without_a_start() {
    for is_made in [true, false] {
        let place = Place::new(false);
        let (data, manifests) = place.objects();
        let broken = Arc::new(Broken { inner: manifests, next: Mutex::new(None), out: AtomicBool::new(false) });
        let mut store = place.open((data, Arc::clone(&broken) as SharedObjects)).unwrap();
        store.append(&simple("T", "a", "c0"));
        let (key, now) = (LogKey::single("T"), store.time.now());
        let driver = store.driver(&key).unwrap();
        assert!(driver.append(append("T", "a", "c1", 1, Expected::Any).request().unwrap(), now, 1, ()).is_none());
        let Some(strandline_engine::append::SinkGroup::Files(group)) = driver.take_group() else { panic!("no group") };
        *broken.next.lock().unwrap() = Some(is_made);
        let mut asked = 0;
        let outcome = compact::commit_groups_patiently(store.store(), &[group], now, &mut |tries| {
            asked = tries;
            broken.out.store(tries < 3, Ordering::SeqCst);
            true
        });
        assert_eq!(asked, 3);
        let done = store.driver(&key).unwrap().files_done(outcome.into_iter().next().unwrap());
        store.store().committed(&key, &done.batches, now);
        assert!(matches!(done.release()[..], [((), Answer::Done(_))]));
        assert_eq!(read(&store, "T", "a").0, ["c0", "c1"], "once, whether it was made {is_made}");
        assert_eq!(first_seq(&store.append(&simple("T", "a", "c2"))), 3);
        assert!(is_duplicate(&store.append(&append("T", "a", "c1", 1, Expected::Any))));
    }
}
