//! Every row of the tables in `settle.rs` and `objects/create.rs`: answers that are lost, late, or somebody else's.

use super::*;
use crate::objects::{
    Created, Fault, FlakyObjects, NotCreated, ObjectInfo, Objects, Readable, StoreObjects, Wrapped, create,
};
use crate::testing::*;
use crate::{CommitError, OpenOptions};
use parking_lot::Mutex;
use std::collections::VecDeque;
use strandline_event::Micros;

fn memory() -> SharedObjects {
    Arc::new(StoreObjects::memory().unwrap())
}

/// What a scripted store does with a create.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// As it is.
    True,
    /// Done, and the answer is lost.
    Lost,
    /// Not done, and no clear answer.
    Dropped,
    /// Another request was under way: not done.
    Conflict,
    /// No connection: not done.
    NotSent,
    /// Refused for good: not done.
    Refused,
    /// Done before, so to say: another owner's bytes get the name first.
    Overtaken,
    /// The answer is lost, and nothing can be read any more.
    LostAndBlind,
}

/// A store in memory whose creates answer by a script; when it ends, truly.
#[derive(Clone)]
struct Scripted {
    inner: SharedObjects,
    script: Arc<Mutex<VecDeque<Answer>>>,
    blind: Arc<Mutex<bool>>,
    /// Only creates of these names follow the script.
    prefix: &'static str,
}

impl Scripted {
    fn new(prefix: &'static str) -> Self {
        Self { inner: memory(), script: Arc::default(), blind: Arc::default(), prefix }
    }

    fn say(&self, answers: &[Answer]) {
        self.script.lock().extend(answers);
    }

    fn unclear<T>(path: &str) -> Result<T, ObjectError> {
        Err(ObjectError::Unclear { path: path.to_owned(), said: "cut".to_owned(), check: "the test" })
    }

    fn see(&self, path: &str) -> Result<(), ObjectError> {
        if !*self.blind.lock() {
            return Ok(());
        }
        Err(ObjectError::Unreachable { path: path.to_owned(), said: "blind".to_owned(), check: "the test" })
    }
}

impl Wrapped for Scripted {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.see(path)?;
        self.inner.open(path)
    }

    fn on_put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let next = if path.starts_with(self.prefix) { self.script.lock().pop_front() } else { None };
        let path_owned = path.to_owned();
        match next.unwrap_or(Answer::True) {
            Answer::True => self.inner.put_new(path, bytes),
            Answer::Lost => self.inner.put_new(path, bytes).and_then(|()| Self::unclear(path)),
            Answer::Dropped => Self::unclear(path),
            Answer::Conflict => Err(ObjectError::Conflict { path: path_owned, said: "409".to_owned() }),
            Answer::NotSent => {
                Err(ObjectError::Unreachable { path: path_owned, said: "refused".to_owned(), check: "the test" })
            }
            Answer::Refused => {
                Err(ObjectError::Refused { path: path_owned, said: "403".to_owned(), check: "the test" })
            }
            Answer::Overtaken => self.inner.put_new(path, b"another's").and_then(|()| Self::unclear(path)),
            Answer::LostAndBlind => {
                self.inner.put_new(path, bytes)?;
                *self.blind.lock() = true;
                Self::unclear(path)
            }
        }
    }

    fn on_list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.see(prefix)?;
        self.inner.list(prefix)
    }
}

#[test]
fn a_create_says_whose_the_object_is() {
    use Answer::*;
    for (script, wanted, there) in [
        (&[True][..], "ours", "mine"),
        (&[Lost], "ours", "mine"),
        (&[Dropped], "ours", "mine"),
        (&[Dropped, Dropped, Lost], "ours", "mine"),
        (&[Dropped, Lost, True], "ours", "mine"),
        (&[Conflict, Conflict, True], "ours", "mine"),
        (&[NotSent, True], "ours", "mine"),
        (&[Overtaken], "others", "another's"),
        (&[Dropped, Overtaken], "others", "another's"),
        (&[Conflict, Overtaken], "others", "another's"),
        (&[Refused], "no", ""),
        (&[NotSent; 6], "no", ""),
        (&[Conflict; 6], "no", ""),
        (&[NotSent, Refused], "no", ""),
        (&[Dropped; 6], "unclear", ""),
        (&[Dropped, Refused], "unclear", ""),
        (&[Dropped, NotSent, NotSent, NotSent, NotSent, NotSent], "unclear", ""),
        (&[LostAndBlind], "unclear", "mine"),
    ] {
        let store = Scripted::new("v");
        store.say(script);
        let said = match create(&store, "v1", b"mine") {
            Ok(Created::Ours) => "ours",
            Ok(Created::Others) => "others",
            Err(NotCreated::No(_)) => "no",
            Err(NotCreated::Unclear(_)) => "unclear",
        };
        let found = store.inner.get("v1").map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned());
        assert_eq!((said, found.as_str()), (wanted, there), "{script:?}");
    }
    let taken = Scripted::new("v");
    taken.inner.put_new("v1", b"another's").unwrap();
    assert!(matches!(create(&taken, "v1", b"mine"), Ok(Created::Others)));
}

#[test]
fn an_object_that_is_taken_and_cannot_be_read_is_another_s_unless_a_try_was_unclear() {
    for (script, unclear) in [(&[][..], false), (&[Answer::Dropped][..], true)] {
        let store = Scripted::new("v");
        store.inner.put_new("v1", b"who knows").unwrap();
        store.say(script);
        *store.blind.lock() = true;
        let said = create(&store, "v1", b"mine");
        assert!(if unclear {
            matches!(said, Err(NotCreated::Unclear(_)))
        } else {
            matches!(said, Ok(Created::Others))
        });
    }
}

#[test]
fn on_a_folder_what_may_be_there_is_unclear() {
    for (fault, unclear) in [(Fault::LostAnswer, true), (Fault::FailOnce, false)] {
        let dir = tempfile::tempdir().unwrap();
        let folder: SharedObjects = Arc::new(crate::objects::LocalObjects::open(dir.path()).unwrap());
        let flaky = FlakyObjects::new(folder, 1, fault);
        let said = create(&flaky, "v1", b"mine");
        assert_eq!(matches!(said, Err(NotCreated::Unclear(_))), unclear, "{fault:?}: {said:?}");
        assert_eq!(matches!(said, Err(NotCreated::No(_))), !unclear, "{fault:?}: {said:?}");
    }
}

/// A store in two scripted places, with one job of 300 events committed.
struct World {
    data: SharedObjects,
    manifests: Scripted,
    events: Vec<Owned>,
}

impl World {
    fn new() -> Self {
        let world = Self { data: memory(), manifests: Scripted::new("v"), events: history(600) };
        let tier = world.open(1);
        let events = world.events[..300].to_vec();
        tier.commit(&commit(&job(1, 0, 100), write(&tier, &job(1, 0, 100), &events).unwrap(), &events)).unwrap();
        world
    }

    fn open(&self, entropy: u128) -> DurableTier {
        let manifests: SharedObjects = Arc::new(self.manifests.clone());
        let options = OpenOptions { entropy, ..options(entropy) };
        DurableTier::open_with(Arc::clone(&self.data), manifests, &config(""), options).unwrap()
    }

    /// The second job, written by a tier.
    fn second(&self, tier: &DurableTier, job_id: u128) -> crate::Commit {
        let events = self.events[300..].to_vec();
        let spec = job(job_id, 100, 200);
        commit(&spec, write(tier, &spec, &events).unwrap(), &events)
    }

    /// Whatever happened: after a restart every event is there once, and nothing that the manifest names is missing.
    fn check(&self, rows: u64) {
        let tier = self.open(99);
        assert_eq!(tier.pin().rows(), rows);
        tier.sweep(Micros(i64::MAX)).unwrap();
        for file in tier.pin().files() {
            assert!(self.data.exists(&file.path).unwrap(), "{} is gone", file.path);
        }
        let read: usize = tier.pin().scan(&crate::RowFilter::default()).map(|b| b.unwrap().rows()).sum();
        assert_eq!(read as u64, rows);
    }
}

/// As the engine does it: files of a commit that is not unknown are discarded.
fn run(tier: &DurableTier, commit: &crate::Commit) -> Result<u64, CommitError> {
    match tier.commit(commit) {
        Ok(snapshot) => Ok(snapshot.rows()),
        Err(error) => {
            if !matches!(error, CommitError::Unknown { .. }) {
                tier.discard(&commit.files);
            }
            Err(error)
        }
    }
}

#[test]
fn a_commit_whose_answer_is_lost_or_late_succeeds() {
    use Answer::*;
    for script in [&[Lost][..], &[Dropped], &[Dropped, Lost], &[Conflict, Lost], &[NotSent, Dropped, True]] {
        let world = World::new();
        let tier = world.open(2);
        let commit = world.second(&tier, 2);
        world.manifests.say(script);
        assert_eq!(run(&tier, &commit).unwrap(), 600, "{script:?}");
        assert_eq!(run(&tier, &commit).unwrap(), 600, "again: {script:?}");
        world.check(600);
    }
}

#[test]
fn a_commit_that_is_refused_leaves_nothing() {
    use Answer::*;
    for script in [&[Refused][..], &[NotSent; 6], &[Conflict; 6]] {
        let world = World::new();
        let tier = world.open(2);
        let commit = world.second(&tier, 2);
        world.manifests.say(script);
        let error = run(&tier, &commit).err().unwrap();
        assert!(matches!(error, CommitError::Objects(_)), "{script:?}: {error}");
        let again = world.second(&tier, 3);
        assert_eq!(run(&tier, &again).unwrap(), 600);
        world.check(600);
    }
}

#[test]
fn an_unknown_commit_that_landed_is_found_by_the_next() {
    let world = World::new();
    let tier = world.open(2);
    let first = world.second(&tier, 2);
    world.manifests.say(&[Answer::LostAndBlind]);
    let error = run(&tier, &first).err().unwrap();
    assert!(matches!(&error, CommitError::Unknown { reason, .. } if reason.contains("cut")), "{error}");
    assert!(matches!(tier.settle(), Err(CommitError::Unknown { .. })));
    assert!(tier.sweep(Micros(i64::MAX)).is_err() || tier.pin().rows() == 300);
    assert!(matches!(run(&tier, &first), Err(CommitError::Unknown { .. })), "the same job must not be told it failed");
    *world.manifests.blind.lock() = false;
    // a new job over the same range: it must see that the range is taken, and take only its own files away
    let second = world.second(&tier, 3);
    assert!(matches!(run(&tier, &second), Err(CommitError::Watermark { .. })));
    assert_eq!(tier.pin().rows(), 600);
    assert_eq!(run(&tier, &first).unwrap(), 600, "who asks again is told");
    world.check(600);
}

#[test]
fn an_unknown_commit_is_settled_by_looking() {
    let world = World::new();
    let tier = world.open(2);
    world.manifests.say(&[Answer::LostAndBlind]);
    run(&tier, &world.second(&tier, 2)).err().unwrap();
    *world.manifests.blind.lock() = false;
    tier.settle().unwrap();
    assert_eq!(tier.pin().rows(), 600);
    world.check(600);
}

#[test]
fn an_unknown_commit_that_never_lands_gives_way() {
    let world = World::new();
    let tier = world.open(2);
    let first = world.second(&tier, 2);
    world.manifests.say(&[Answer::Dropped; 6]);
    assert!(matches!(run(&tier, &first), Err(CommitError::Unknown { .. })));
    assert!(tier.sweep(Micros(i64::MAX)).unwrap().is_empty(), "its files may still be the manifest's");
    let second = world.second(&tier, 3);
    assert_eq!(run(&tier, &second).unwrap(), 600);
    let swept = tier.sweep(Micros(i64::MAX)).unwrap();
    assert!(first.files.iter().all(|f| swept.contains(&f.path)), "they are orphans now: {swept:?}");
    world.check(600);
}

#[test]
fn a_commit_that_lands_late_meets_its_own_next_try() {
    let world = World::new();
    let count = FlakyObjects::new(Arc::new(world.manifests.clone()), 0, Fault::LandsLate);
    drop(open_flaky(&world, &count));
    let late = FlakyObjects::new(Arc::new(world.manifests.clone()), count.operations() + 1, Fault::LandsLate);
    let tier = open_flaky(&world, &late);
    assert_eq!(run(&tier, &world.second(&tier, 2)).unwrap(), 600);
    assert_eq!(tier.pin().version(), 5, "birth, first job, two claims, second job: no version twice");
    world.check(600);
}

#[test]
fn a_commit_that_is_under_way_loses_to_a_new_owner() {
    let world = World::new();
    let tier = world.open(2);
    let first = world.second(&tier, 2);
    world.manifests.say(&[Answer::Dropped; 6]);
    assert!(matches!(run(&tier, &first), Err(CommitError::Unknown { .. })));
    let other = world.open(7);
    tier.settle().unwrap();
    assert!(matches!(run(&tier, &first), Err(CommitError::StaleEpoch { .. })));
    let theirs = world.second(&other, 8);
    assert_eq!(run(&other, &theirs).unwrap(), 600);
    world.check(600);
}

fn open_flaky(world: &World, flaky: &FlakyObjects) -> DurableTier {
    DurableTier::open_with(Arc::clone(&world.data), Arc::new(flaky.clone()), &config(""), options(2)).unwrap()
}

#[test]
fn a_claim_whose_answer_is_lost_is_one_claim() {
    use Answer::*;
    for script in [&[Lost][..], &[Dropped], &[Dropped, Lost], &[Conflict, True]] {
        let world = World::new();
        world.manifests.say(script);
        let tier = world.open(5);
        assert_eq!((tier.epoch(), tier.pin().version()), (Some(2), 3), "{script:?}");
        world.check(300);
    }
}

#[test]
fn a_data_file_that_is_gone_from_an_object_store_is_damage() {
    let world = World::new();
    let path = world.open(2).pin().files()[0].path.clone();
    world.data.delete(&path).unwrap();
    let tier = world.open(3);
    assert_eq!(tier.open_warnings(), [] as [&str; 0], "files on an object store are not listed at a start");
    let error = tier.pin().scan(&crate::RowFilter::default()).find_map(Result::err).unwrap();
    assert!(error.kind() == strandline_event::ErrorKind::Integrity && error.to_string().contains(&path), "{error}");
    assert!(!crate::verify_file(&tier, &tier.pin().files()[0]).is_empty());
}

#[test]
fn a_data_file_that_was_cut_on_an_object_store_is_damage() {
    let world = World::new();
    let path = world.open(2).pin().files()[0].path.clone();
    let whole = world.data.get(&path).unwrap();
    for (entropy, length) in [(3, 0), (4, whole.len() / 2), (5, whole.len() - 1)] {
        world.data.replace(&path, &whole[..length]).unwrap();
        let tier = world.open(entropy);
        let error = tier.pin().scan(&crate::RowFilter::default()).find_map(Result::err).unwrap();
        assert!(error.kind() == strandline_event::ErrorKind::Integrity && error.to_string().contains(&path), "{error}");
        assert!(!crate::verify_file(&tier, &tier.pin().files()[0]).is_empty());
        assert_eq!(tier.unanswered(), None, "the store has answered");
    }
}

#[test]
fn names_of_two_owners_never_meet() {
    let world = World::new();
    let (old, new) = (world.open(2), world.open(3));
    let (ours, theirs) = (world.second(&old, 4), world.second(&new, 5));
    let names = |commit: &crate::Commit| commit.files.iter().map(|f| f.path.clone()).collect::<Vec<_>>();
    assert!(names(&ours).iter().all(|name| !names(&theirs).contains(name)));
    assert!(names(&ours)[0].contains("n1-e2-") && names(&theirs)[0].contains("n1-e3-"), "{:?}", names(&theirs));
    assert!(matches!(run(&old, &ours), Err(CommitError::StaleEpoch { .. })));
    assert_eq!(run(&new, &theirs).unwrap(), 600);
    world.check(600);
}

#[test]
fn a_fault_at_every_operation_on_an_object_store_leaves_the_old_or_the_new_state() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce, Fault::LandsLate] {
        for at in 1.. {
            let world = World::new();
            let flaky = FlakyObjects::new(Arc::clone(&world.data), at, fault);
            let manifests: SharedObjects = Arc::new(flaky.with(Arc::new(world.manifests.clone())));
            let opened = DurableTier::open_with(Arc::new(flaky.clone()), manifests, &config(""), options(2));
            let done = opened.as_ref().is_ok_and(|tier| {
                let events = world.events[300..].to_vec();
                let spec = job(2, 100, 200);
                write(tier, &spec, &events).is_ok_and(|files| run(tier, &commit(&spec, files, &events)).is_ok())
            });
            drop(opened);
            let rows = world.open(50).pin().rows();
            flaky.land();
            assert!(rows == 600 || rows == 300 && !done, "{fault:?} at {at}: {rows}");
            world.check(rows);
            if flaky.operations() < at {
                break;
            }
        }
    }
}
