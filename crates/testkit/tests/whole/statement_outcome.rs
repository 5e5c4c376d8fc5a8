//! A statement, or a number of buckets, whose commit has an unknown outcome: the store follows what the manifests say, as soon as anybody
//! can know.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, load, request};
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_durable::objects::{ObjectError, Objects, StoreObjects, Wrapped};
use strandline_durable::{CommitError, SharedObjects};
use strandline_engine::append::Answer;
use strandline_engine::store::{OpenError, ReplaceError, SplitError};
use strandline_event::{BatchUnit, LogKey};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

/// A create that is under way: name and bytes.
type Late = Arc<Mutex<Option<(String, Vec<u8>)>>>;

/// Manifests whose creates get no answer while they are away; one of them may still arrive.
#[derive(Clone)]
struct Away {
    inner: SharedObjects,
    is_away: Arc<Mutex<bool>>,
    late: Late,
}

impl Away {
    fn land(&self) {
        let (path, bytes) = self.late.lock().take().unwrap();
        self.inner.put_new(&path, &bytes).unwrap();
    }
}

impl Wrapped for Away {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        if !*self.is_away.lock() {
            return self.inner.put_new(path, bytes);
        }
        *self.late.lock() = Some((path.to_owned(), bytes.to_vec()));
        Err(ObjectError::Io { path: path.to_owned(), source: std::io::Error::other("no answer") })
    }
}

fn statement(level: u32) -> strandline_deql::StoreConfig {
    declared("/durable", &format!("{TIERS}, durable.compression.level = {level}"))
}

fn store() -> (LocalStore, Away) {
    let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let away = Away { inner: memory(), is_away: Arc::default(), late: Arc::default() };
    let objects: (SharedObjects, SharedObjects) = (memory(), Arc::new(away.clone()));
    (LocalStore::over(statement(3), Arc::new(CrashDisk::new()), Some(objects)).unwrap(), away)
}

fn level(store: &LocalStore) -> Option<u32> {
    store.store().config().durable.compression_level
}

#[test]
fn a_statement_that_lands_late_is_followed_and_one_that_never_lands_is_not() {
    for lands in [true, false] {
        let (mut store, away) = store();
        load(&mut store, "T", 0..9, 2);
        *away.is_away.lock() = true;
        let unknown = store.replace(statement(7)).err().unwrap();
        assert!(matches!(unknown, ReplaceError::Commit(CommitError::Unknown { .. })), "{unknown}");
        assert!(unknown.to_string().contains("is not known"), "{unknown}");
        *away.is_away.lock() = false;
        assert!(!store.store().decide_statement(), "nobody can tell yet");
        assert_eq!(level(&store), Some(3));
        if lands {
            away.land();
            assert!(store.store().decide_statement());
            assert!(!store.store().decide_statement(), "once");
            assert_eq!(level(&store), Some(7));
        }
        store.compact(&LogKey::single("T")).unwrap();
        assert!(!store.store().decide_statement());
        let wanted = if lands { 7 } else { 3 };
        assert_eq!(level(&store), Some(wanted));
        let said = store.store().durable().pin().config_text().to_owned();
        assert_eq!(said, strandline_deql::print(&store.store().config()), "node and manifest say the same");
        store.replace(statement(9)).unwrap();
        assert_eq!(level(&store), Some(9));
        store.restart().unwrap();
        assert_eq!(level(&store), Some(9));
    }
}

#[test]
fn the_next_statement_decides_what_became_of_the_one_before() {
    let (mut store, away) = store();
    *away.is_away.lock() = true;
    store.replace(statement(7)).err().unwrap();
    away.land();
    *away.is_away.lock() = false;
    // to what it was: it must be committed, since the manifests say otherwise by now
    let replaced = store.replace(statement(3)).unwrap();
    assert_eq!(replaced.changed, ["durable.compression.level"]);
    assert_eq!(store.store().durable().pin().config_text(), strandline_deql::print(&store.store().config()));
}

#[test]
fn a_type_whose_number_of_buckets_nobody_knows_gets_no_log_and_no_other_number() {
    for lands in [true, false] {
        let (mut store, away) = store();
        load(&mut store, "T", 0..9, 2);
        let now = store.time.now();
        let split = |store: &LocalStore, buckets| store.store().split("U", buckets, now);
        *away.is_away.lock() = true;
        let unknown = split(&store, 4).unwrap_err();
        assert!(matches!(unknown, SplitError::Commit(CommitError::Unknown { .. })), "{unknown}");
        *away.is_away.lock() = false;
        // an event that was stored in the first bucket now would be looked for in another one later
        let made = store.store().create_log(&LogKey::single("U"), now);
        assert!(matches!(made, Err(OpenError::Commit(CommitError::Unknown { .. }))));
        assert!(matches!(split(&store, 1), Err(SplitError::Commit(CommitError::Unknown { .. }))));
        if lands {
            away.land();
        }
        match (lands, split(&store, 8)) {
            (true, Err(SplitError::Other { buckets: 4, .. })) | (false, Ok(())) => {}
            other => panic!("{other:?}"),
        }
        let wanted = if lands { 4 } else { 8 };
        for restarts in [false, true] {
            if restarts {
                store.restart().unwrap();
            }
            let said = store.store().durable().pin().manifest().buckets.get("U").copied();
            assert_eq!((store.store().buckets_of("U"), said), (wanted, Some(wanted)));
            let answer = store.append(&request("U", BatchUnit::Rows, vec![event("s1", 1)]));
            assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        }
        let owner = store.store().owner_of("U", "s1");
        assert_eq!(store.compact(&owner).unwrap(), 2);
    }
}
