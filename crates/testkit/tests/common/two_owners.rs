//! A store that two processes own one after the other: the first one's operations are counted, and at each of them the other may do its work.

// each test uses its part of it; helpers of a test are as blunt as the test itself
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Fault, FlakyObjects, LocalObjects, StoreObjects};
use strandline_durable::{CommitError, DurableTier, SharedObjects, verify_file, verify_manifests};
use strandline_engine::compact::CompactError;
use strandline_engine::verify::verify;
use strandline_event::{LogKey, Micros};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::Disk;
use tempfile::TempDir;

/// Where the random numbers of the others begin.
const RIVAL: u128 = 2;
const THIRD: u128 = 3;

pub(crate) fn key() -> LogKey {
    LogKey::single("T")
}

/// What the store lies on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// Files get their names when they are committed.
    Folder,
    /// Objects have the one name that they were created under.
    Bucket,
}

impl On {
    pub(crate) const BOTH: [Self; 2] = [Self::Folder, Self::Bucket];
}

/// Where it lies.
#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Bucket(SharedObjects, SharedObjects),
}

impl Place {
    /// Data files and manifests, as a process that starts opens them.
    fn objects(&self) -> (SharedObjects, SharedObjects) {
        let at = |dir: &Path| -> SharedObjects { Arc::new(LocalObjects::open(dir).unwrap()) };
        match self {
            Self::Folder(dir) => (at(dir), at(&dir.join("_manifests"))),
            Self::Bucket(data, manifests) => (Arc::clone(data), Arc::clone(manifests)),
        }
    }
}

fn memory() -> SharedObjects {
    Arc::new(StoreObjects::memory().unwrap())
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
    place: Place,
}

impl World {
    /// A store with these keys in a folder, and what `fill` puts into it; the log is sealed behind that.
    pub(crate) fn new(keys: &str, fill: impl FnOnce(&mut LocalStore)) -> Self {
        Self::on(On::Folder, keys, fill)
    }

    /// The same, on either.
    pub(crate) fn on(on: On, keys: &str, fill: impl FnOnce(&mut LocalStore)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = match on {
            On::Folder => Place::Folder(dir.path().to_owned()),
            On::Bucket => Place::Bucket(memory(), memory()),
        };
        let config = declared(&dir.path().to_string_lossy(), keys);
        let (data, manifests) = place.objects();
        let flaky = FlakyObjects::new(data, 0, Fault::FailOnce);
        let wrapped: (SharedObjects, SharedObjects) = (Arc::new(flaky.clone()), Arc::new(flaky.with(manifests)));
        let mut first = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(wrapped)).unwrap();
        fill(&mut first);
        first.seal(&key());
        let log = Arc::new(first.disk().copied());
        Self { first, flaky, others: Others { config, log, place }, _dir: dir }
    }

    pub(crate) fn others(&self) -> Others {
        self.others.clone()
    }
}

impl Others {
    fn open(&self, random: u128) -> LocalStore {
        LocalStore::rival(self.config.clone(), Arc::clone(&self.log), Some(self.place.objects()), random).unwrap()
    }

    /// Takes the store over.
    pub(crate) fn rival(&self) -> LocalStore {
        self.open(RIVAL)
    }

    /// Takes it over behind both.
    pub(crate) fn third(&self) -> LocalStore {
        self.open(THIRD)
    }

    /// Nothing is wrong with what lies there; gives the events that were counted. In a bucket, which is this process's memory, the log and
    /// the heads are not looked at.
    pub(crate) fn verified(&self, what: &str) -> u64 {
        let Place::Bucket(data, manifests) = &self.place else {
            let disk: Arc<dyn Disk> = Arc::clone(&self.log) as _;
            let report = verify(&self.config, &disk).unwrap();
            assert_eq!(report.findings, [], "{what}");
            return report.events;
        };
        let tier = DurableTier::open_read_only_with(Arc::clone(data), Arc::clone(manifests), &self.config).unwrap();
        assert_eq!(verify_manifests(&tier), [], "{what}");
        let snapshot = tier.pin();
        for file in snapshot.files() {
            assert_eq!(verify_file(&tier, file), [], "{what}");
        }
        snapshot.rows()
    }

    /// The sweep takes all orphans away, and a glob finds the files that a manifest names.
    pub(crate) fn assert_swept(&self, store: &LocalStore, what: &str) {
        let durable = store.store().durable().clone();
        durable.sweep(Micros(i64::MAX)).unwrap();
        durable.sweep_runs(Micros(i64::MAX)).unwrap();
        assert_eq!(durable.orphans(Micros(i64::MAX)).unwrap(), [], "{what}: the sweep takes all of them away");
        let named: BTreeSet<String> = durable.pin().files().iter().map(|file| file.path.clone()).collect();
        let listed = self.place.objects().0.list("").unwrap().into_iter().map(|info| info.path);
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
