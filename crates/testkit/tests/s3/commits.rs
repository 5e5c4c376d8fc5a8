//! Commits over a network that loses answers: every row of the tables in `tier/settle.rs` and `objects/create.rs`, on a real
//! server. Whatever is answered, every event is in the store once afterwards, and the caller was told the truth.

use super::{moto, objects, through};
use crate::common::{TIERS, follow, load};
use crate::rigs::{Act, Proxy};
use std::sync::Arc;
use strandline_durable::{CommitError, DurableTier, SharedObjects, verify_manifests};
use strandline_engine::compact::{CompactError, Trigger};
use strandline_event::{LogKey, Micros, Position};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

const EVENTS: usize = 40;

/// A store whose objects are behind a proxy.
struct World {
    store: LocalStore,
    proxy: Proxy,
    prefix: String,
}

impl World {
    /// A store with half of its events in files and half in its log.
    fn new(prefix: &str) -> Self {
        let proxy = Proxy::start(moto().port);
        let places = (through(&proxy, prefix), through(&proxy, &format!("{prefix}/_manifests")));
        let config = declared("/durable", TIERS);
        let mut store = LocalStore::over(config, Arc::new(CrashDisk::new()), Some(places)).unwrap();
        load(&mut store, "T", 0..EVENTS / 2, 4);
        assert_eq!(store.compact(&log()).unwrap(), EVENTS as u64 / 2);
        load(&mut store, "T", EVENTS / 2..EVENTS, 4);
        proxy.seen();
        Self { store, proxy, prefix: prefix.to_owned() }
    }

    fn direct(&self) -> (SharedObjects, SharedObjects) {
        let url = moto().url();
        (objects(&url, &self.prefix), objects(&url, &format!("{}/_manifests", self.prefix)))
    }

    /// Events that the newest manifest says are in files, whoever asks.
    fn durable(&self) -> u64 {
        let (files, manifests) = self.direct();
        let tier = DurableTier::open_read_only_with(files, manifests, &self.store.store().config()).unwrap();
        let findings = verify_manifests(&tier);
        assert!(findings.is_empty(), "{findings:?}");
        for file in tier.pin().files() {
            let findings = strandline_durable::verify_file(&tier, file);
            assert!(findings.is_empty(), "{findings:?}");
        }
        tier.pin().rows()
    }

    /// The end of every story: compacted, swept, started again, every event is there once.
    fn check(&mut self, story: &str) {
        self.proxy.clear();
        self.store.compact(&log()).unwrap_or_else(|error| panic!("{story}: {error}"));
        assert_eq!(self.durable(), EVENTS as u64, "{story}");
        self.store.store().durable().sweep(Micros(i64::MAX)).unwrap();
        self.store.set_objects(Some(self.direct()));
        self.store.restart().unwrap();
        assert_eq!(self.durable(), EVENTS as u64, "{story}");
        let (mut seen, _) = follow(&self.store, Position::START, 1000);
        seen.sort_unstable();
        assert_eq!(seen, (0..EVENTS).collect::<Vec<_>>(), "{story}");
        let parquet = moto().keys(&self.prefix).into_iter().filter(|key| key.ends_with(".parquet")).count();
        assert_eq!(parquet, self.store.store().durable().pin().files().len(), "{story}: no orphan stays");
    }
}

fn log() -> LogKey {
    LogKey::single("T")
}

/// What the caller of the commit is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Done,
    Failed,
    Unknown,
}

fn told(outcome: &Result<u64, CompactError>) -> Told {
    match outcome {
        Ok(rows) => {
            assert_eq!(*rows, EVENTS as u64 / 2);
            Told::Done
        }
        Err(CompactError::Commit(CommitError::Unknown { .. })) => Told::Unknown,
        Err(_) => Told::Failed,
    }
}

#[test]
fn every_answer_to_a_commit_is_understood() {
    use Told::{Done, Failed, Unknown};
    // what happens to creates of a version, how often, what the caller is told, and what the manifest then says
    let stories: [(Act, usize, Told, u64); 15] = [
        (Act::LoseAnswer, 1, Done, 40),
        (Act::Cut, 1, Done, 40),
        (Act::Cut, 3, Done, 40),
        (Act::Answer(500), 1, Done, 40),
        (Act::Answer(503), 2, Done, 40),
        (Act::ServeAndAnswer(500), 1, Done, 40),
        (Act::ServeAndAnswer(503), 1, Done, 40),
        (Act::Answer(409), 2, Done, 40),
        (Act::ServeAndAnswer(409), 1, Done, 40),
        (Act::ServeAndAnswer(412), 1, Done, 40),
        (Act::Hang, 1, Done, 40),
        (Act::Answer(403), 1, Failed, 20),
        (Act::Answer(409), 6, Failed, 20),
        (Act::Cut, 6, Unknown, 20),
        // taken, and nothing is there: nobody can say what that means
        (Act::Answer(412), 1, Unknown, 20),
    ];
    for (n, (act, times, wanted, rows)) in stories.into_iter().enumerate() {
        let story = format!("{act:?} {times} times");
        let mut world = World::new(&format!("answers/{n}"));
        world.proxy.rule("PUT", "_manifests/v", 0, times, act);
        let outcome = world.store.compact(&log());
        assert_eq!(told(&outcome), wanted, "{story}: {outcome:?}");
        assert_eq!(world.durable(), rows, "{story}");
        world.check(&story);
    }
}

#[test]
fn a_commit_that_lands_after_everybody_gave_up_is_found_and_not_made_twice() {
    // the first try is under way while the others are lost
    let mut world = World::new("late/found");
    world.proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    world.proxy.rule("PUT", "_manifests/v", 0, 5, Act::Cut);
    let outcome = world.store.compact(&log());
    assert_eq!(told(&outcome), Told::Unknown, "{outcome:?}");
    assert_eq!(world.durable(), 20, "it is not there yet");
    assert_eq!(world.proxy.release(), [200]);
    assert_eq!(world.durable(), 40, "now it is");
    world.store.store().durable().settle().unwrap();
    assert_eq!(world.store.compact(&log()).unwrap(), 0, "there is nothing left to do");
    world.check("landed late, settled");

    // nobody asks before the next job: it meets the one that landed
    let mut world = World::new("late/met");
    world.proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    world.proxy.rule("PUT", "_manifests/v", 0, 5, Act::Cut);
    assert_eq!(told(&world.store.compact(&log())), Told::Unknown);
    assert_eq!(world.proxy.release(), [200]);
    let again = world.store.compact(&log());
    assert!(again.is_err(), "its range is taken: {again:?}");
    world.check("landed late, met");
}

#[test]
fn a_commit_that_is_overtaken_never_lands() {
    // the next job commits while the first is still under way
    let mut world = World::new("late/overtaken");
    world.proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    world.proxy.rule("PUT", "_manifests/v", 0, 5, Act::Cut);
    assert_eq!(told(&world.store.compact(&log())), Told::Unknown);
    assert_eq!(world.store.compact(&log()).unwrap(), 20);
    assert_eq!(world.proxy.release(), [412], "the name is taken");
    world.check("overtaken by the next job");

    // a try that follows wins against the one before it
    let mut world = World::new("late/by-itself");
    world.proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    assert_eq!(told(&world.store.compact(&log())), Told::Done);
    assert_eq!(world.proxy.release(), [412]);
    world.check("overtaken by its own next try");

    // a new owner claims the store while the commit is under way
    let mut world = World::new("late/new-owner");
    world.proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    world.proxy.rule("PUT", "_manifests/v", 0, 5, Act::Cut);
    assert_eq!(told(&world.store.compact(&log())), Told::Unknown);
    let disk = Arc::clone(world.store.disk());
    world.store.set_objects(Some(world.direct()));
    world.store.kill().unwrap();
    assert_eq!(world.proxy.release(), [412]);
    assert!(Arc::ptr_eq(&disk, world.store.disk()));
    world.check("overtaken by a new owner");
}

#[test]
fn two_nodes_on_one_bucket_the_older_loses_and_leaves_orphans_only() {
    let mut world = World::new("two-nodes");
    let older = Arc::clone(world.store.store());
    world.store.kill().unwrap();
    let plan = strandline_engine::compact::plan(&older, &log()).unwrap().unwrap();
    let progress = strandline_engine::compact::Progress::default();
    let now = world.store.time.now();
    let none = &strandline_engine::compact::NoSteps;
    let outcome = strandline_engine::compact::run_job(&older, &plan, 12345, now, &progress, none);
    let stale = matches!(outcome, Err(CompactError::Commit(CommitError::StaleEpoch { .. })));
    assert!(stale, "{:?}", outcome.err());
    assert_eq!(world.durable(), 20);
    assert!(older.durable().sweep(Micros(i64::MAX)).unwrap().is_empty(), "who lost sweeps nothing");
    world.check("two nodes");
}

/// Every request of a job that changes something meets every fault once.
#[test]
fn a_fault_at_every_request_loses_and_doubles_nothing() {
    for act in [Act::LoseAnswer, Act::ServeAndAnswer(500), Act::Cut] {
        for (method, part) in [("PUT", ""), ("DELETE", "")] {
            for at in 0.. {
                let mut world = World::new(&format!("walk/{act:?}/{method}/{at}").replace(['(', ')'], "-"));
                world.proxy.rule(method, part, at, 1, act);
                let outcome = world.store.compact(&log());
                assert!(outcome.is_ok(), "one lost answer is borne: {act:?} at {method} {at}: {outcome:?}");
                let seen = world.proxy.seen().iter().filter(|line| line.starts_with(method)).count();
                world.check(&format!("{act:?} at {method} {at}"));
                if seen <= at {
                    break;
                }
            }
        }
    }
}

/// Meets a fault at every request of a merge with this method, so many times on end. Gives how many merges ended with an error.
fn walk_a_merge(method: &'static str, act: Act, times: usize) -> usize {
    let mut failed = 0;
    for at in 0.. {
        let story = format!("{act:?} {times} times at {method} {at} of a merge");
        let mut world = World::new(&format!("merge/{method}/{act:?}-{times}/{at}").replace(['(', ')'], "-"));
        assert_eq!(world.store.compact(&log()).unwrap(), EVENTS as u64 / 2);
        world.proxy.seen();
        world.proxy.rule(method, "", at, times, act);
        let merged = world.store.merge(Trigger::Hand);
        let requests = world.proxy.seen().iter().filter(|line| line.starts_with(method)).count();
        world.proxy.clear();
        world.store.set_objects(Some(world.direct()));
        world.store.kill().unwrap_or_else(|error| panic!("{story}: {error}"));
        let files = world.store.store().durable().pin().files().len();
        match &merged {
            Ok(replaced) => assert_eq!((*replaced, files), (2, 1), "{story}: what was answered is true"),
            Err(CompactError::Commit(CommitError::Unknown { .. })) => {
                assert!((1..=2).contains(&files), "{story}: {files} files");
            }
            Err(error) => assert_eq!(files, 2, "{story}: {error}"),
        }
        failed += usize::from(merged.is_err());
        assert_eq!(world.durable(), EVENTS as u64, "{story}");
        let rest = if files == 2 { 2 } else { 0 };
        assert_eq!(world.store.merge(Trigger::Hand).unwrap(), rest, "{story}: another try ends it");
        // from here on nobody has an older version open
        world.store.kill().unwrap_or_else(|error| panic!("{story}: {error}"));
        world.check(&story);
        if requests <= at {
            return failed;
        }
    }
    0
}

#[test]
fn a_fault_at_every_request_of_a_merge_is_borne_or_told() {
    for act in [Act::LoseAnswer, Act::ServeAndAnswer(500), Act::Cut] {
        assert_eq!(walk_a_merge("PUT", act, 1), 0, "one lost answer is borne: {act:?}");
    }
    assert_eq!(walk_a_merge("GET", Act::Cut, 1), 0);
    for act in [Act::Answer(403), Act::Cut] {
        assert!(walk_a_merge("PUT", act, 12) > 0, "{act:?}");
    }
    assert!(walk_a_merge("GET", Act::Answer(403), 12) > 0);
}
