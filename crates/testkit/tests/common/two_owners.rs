//! A store that two processes own one after the other: the first one's operations are counted, and at each of them the other may do its work.

// each test uses its part of it; helpers of a test are as blunt as the test itself
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Fault, FlakyObjects, LocalObjects};
use strandline_durable::{CommitError, SharedObjects};
use strandline_engine::compact::CompactError;
use strandline_event::{LogKey, Micros};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use tempfile::TempDir;

/// Where the random numbers of the others begin.
const RIVAL: u128 = 2;
const THIRD: u128 = 3;

pub(crate) fn key() -> LogKey {
    LogKey::single("T")
}

fn objects(dir: &Path) -> (SharedObjects, SharedObjects) {
    let at = |dir: &Path| -> SharedObjects { Arc::new(LocalObjects::open(dir).unwrap()) };
    (at(dir), at(&dir.join("_manifests")))
}

/// The store and its first owner.
pub(crate) struct World {
    pub(crate) first: LocalStore,
    pub(crate) flaky: FlakyObjects,
    others: Others,
    _dir: TempDir,
}

/// What another process finds.
#[derive(Clone)]
pub(crate) struct Others {
    pub(crate) config: StoreConfig,
    /// Their copy of the log.
    pub(crate) log: Arc<CrashDisk>,
    dir: PathBuf,
}

impl World {
    /// A store with these keys, and what `fill` puts into it; the log is sealed behind that.
    pub(crate) fn new(keys: &str, fill: impl FnOnce(&mut LocalStore)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = declared(&dir.path().to_string_lossy(), keys);
        let (data, manifests) = objects(dir.path());
        let flaky = FlakyObjects::new(data, 0, Fault::FailOnce);
        let wrapped: (SharedObjects, SharedObjects) = (Arc::new(flaky.clone()), Arc::new(flaky.with(manifests)));
        let mut first = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(wrapped)).unwrap();
        fill(&mut first);
        first.seal(&key());
        let log = Arc::new(first.disk().copied());
        Self { first, flaky, others: Others { config, log, dir: dir.path().to_owned() }, _dir: dir }
    }

    pub(crate) fn others(&self) -> Others {
        self.others.clone()
    }
}

impl Others {
    fn open(&self, random: u128) -> LocalStore {
        LocalStore::rival(self.config.clone(), Arc::clone(&self.log), Some(objects(&self.dir)), random).unwrap()
    }

    /// Takes the store over.
    pub(crate) fn rival(&self) -> LocalStore {
        self.open(RIVAL)
    }

    /// Takes it over behind both.
    pub(crate) fn third(&self) -> LocalStore {
        self.open(THIRD)
    }

    /// The sweep takes all orphans away, and a glob finds the files that a manifest names.
    pub(crate) fn assert_swept(&self, store: &LocalStore, what: &str) {
        let durable = store.store().durable().clone();
        durable.sweep(Micros(i64::MAX)).unwrap();
        durable.sweep_runs(Micros(i64::MAX)).unwrap();
        assert_eq!(durable.orphans(Micros(i64::MAX)).unwrap(), [], "{what}: the sweep takes all of them away");
        let named: BTreeSet<String> = durable.pin().files().iter().map(|file| file.path.clone()).collect();
        let listed = objects(&self.dir).0.list("").unwrap().into_iter().map(|info| info.path);
        let globbed: BTreeSet<String> =
            listed.filter(|path| path.ends_with(".parquet") && !path.starts_with("_delta")).collect();
        assert_eq!(globbed, named, "{what}");
    }
}

/// What the one says that lost: never anything but that another one was there.
pub(crate) fn lost(error: &CompactError) {
    let told = match error {
        CompactError::StalePlan => true,
        CompactError::Commit(error) => matches!(
            error,
            CommitError::StaleEpoch { .. } | CommitError::Watermark { .. } | CommitError::NotLive { .. }
        ),
        _ => false,
    };
    assert!(told, "{error:?}");
}

/// At every operation of the first one's work, from its first look at the store to what follows its commit, another process takes the
/// store over and does all of its own. `whole`: what the first one still serves; `settled`: what is left when both are done.
pub(crate) fn walk(
    works: &str,
    world: impl Fn() -> World,
    work: impl Fn(&mut LocalStore) -> Result<u64, CompactError>,
    rival: impl Fn(&Others) -> Result<u64, CompactError> + Clone + Send + 'static,
    (whole, settled): (impl Fn(&LocalStore), impl Fn(&World, &str)),
) {
    let mut outcomes = BTreeSet::new();
    for at in 1.. {
        let mut world = world();
        let what = format!("{works}, at operation {at}");
        let (others, rival, (tell, told)) = (world.others(), rival.clone(), channel());
        world.flaky.meanwhile(at, move || tell.send(rival(&others).map(drop)).unwrap());
        let done = work(&mut world.first);
        if world.flaky.was_not_reached() {
            break;
        }
        told.recv().unwrap().unwrap_or_else(|error| panic!("{what}: the newer owner may do all: {error:?}"));
        if let Err(error) = &done {
            lost(error);
        }
        outcomes.insert(done.is_ok());
        // it serves what it knew, and another try of it is another's loss, or there is nothing left to do
        whole(&world.first);
        match work(&mut world.first) {
            Ok(moved) => assert_eq!(moved, 0, "{what}"),
            Err(error) => lost(&error),
        }
        settled(&world, &what);
    }
    assert_eq!(outcomes, BTreeSet::from([false, true]), "{works}: it lost, and it was first");
}
