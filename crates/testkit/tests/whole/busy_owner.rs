//! A store without a log whose owner commits all the time: each commit is a version of the manifest, and who takes the store over must
//! claim right upon the newest one.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{event, follow, request};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Fault, FlakyObjects, StoreObjects};
use strandline_durable::{Commit, CommitError, SharedObjects, Update};
use strandline_engine::append::Answer;
use strandline_engine::store::{OpenError, Store};
use strandline_event::{BatchUnit, LogKey, Micros, Position};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

/// Operations of the other one between two commits of the owner: fewer than a look at the end of the versions and a judgement take, and
/// as many as a comparison, a read and a create do.
const BETWEEN_COMMITS: u64 = 4;
const RIVAL: u128 = 2;

struct World {
    config: StoreConfig,
    objects: (SharedObjects, SharedObjects),
    owner: LocalStore,
    flaky: FlakyObjects,
}

impl World {
    fn new() -> Self {
        let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
        let (config, objects) = (declared("/durable", "partition.by = ('stream_type')"), (memory(), memory()));
        let mut owner = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(objects.clone())).unwrap();
        assert!(matches!(owner.append(&request("T", BatchUnit::Rows, vec![event("s", 0)])), Answer::Done(_)));
        let flaky = FlakyObjects::new(Arc::clone(&objects.0), 0, Fault::FailOnce);
        Self { config, objects, owner, flaky }
    }

    fn rival(&self) -> Result<LocalStore, OpenError> {
        let manifests: SharedObjects = Arc::new(self.flaky.with(Arc::clone(&self.objects.1)));
        let objects: SharedObjects = Arc::new(self.flaky.clone());
        LocalStore::rival(self.config.clone(), Arc::new(CrashDisk::new()), Some((objects, manifests)), RIVAL)
    }
}

/// A commit that moves the watermark and nothing else.
fn commit(store: &Store) -> Result<(), CommitError> {
    let (durable, log) = (store.durable(), LogKey::single("T"));
    let from_exclusive = durable.pin().watermark(&log);
    let through = from_exclusive.next();
    let commit = Commit {
        job_id: u128::from(through.0) << 64,
        at: Micros(0),
        log,
        from_exclusive,
        through,
        last_ingested_at: Micros::MIN,
        files: vec![],
        heads: vec![],
        commands: vec![],
        chunks: vec![],
    };
    durable.commit(&commit).map(drop)
}

/// The owner commits before every so many operations of the other one, until it cannot any more.
fn keeps_committing(flaky: &FlakyObjects, owner: &Arc<Store>) {
    let (again, store) = (flaky.clone(), Arc::clone(owner));
    flaky.meanwhile(BETWEEN_COMMITS, move || {
        if commit(&store).is_ok() {
            keeps_committing(&again, &store);
        }
    });
}

#[test]
fn an_owner_that_commits_all_the_time_is_taken_over_from() {
    let world = World::new();
    keeps_committing(&world.flaky, world.owner.store());
    let mut rival = world.rival().unwrap();
    let fenced = commit(world.owner.store()).err();
    assert!(matches!(fenced, Some(CommitError::StaleEpoch { ours: 1, found: 2 })), "{fenced:?}");
    // it goes on where the last of these commits was
    assert!(matches!(rival.append(&request("T", BatchUnit::Rows, vec![event("s", 1)])), Answer::Done(_)));
    assert_eq!(follow(&rival, Position::START, 10).0, [0, 1]);
    rival.restart().unwrap();
    assert_eq!(follow(&rival, Position::START, 10).0, [0, 1]);
}

#[test]
fn another_declaration_meanwhile_is_judged_again() {
    let world = World::new();
    let store = Arc::clone(world.owner.store());
    let text = strandline_deql::print(&declared("/durable", "partition.by = ('dt')"));
    // the first one judges the declaration by which the store was made
    world
        .flaky
        .meanwhile_on(".probe-", move || drop(store.durable().update(&Update::Config(text), 9, Micros(0)).unwrap()));
    let refused = world.rival().err().unwrap();
    assert!(matches!(refused, OpenError::ConfigChanged { .. }), "{refused}");
    assert_eq!(commit(world.owner.store()).err().map(|error| error.to_string()), None, "its owner is not fenced");
}
