//! Objects that fail: for tests of what a crash leaves behind.
//!
//! Counts every operation that changes something. At the chosen one it stops, and from then on nothing
//! works any more, as after the end of a process; what was done before stays.
//! Or something else happens at one of all operations, those that read included: another process acts just then.

use super::{Aside, Listed, ObjectError, ObjectInfo, Objects, Readable, SharedObjects};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What happens at the chosen operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process ends before it.
    CrashBefore,
    /// The process ends after it, before it can hear of the success.
    CrashAfter,
    /// It fails once (a lost answer: it was done); all later ones work.
    LostAnswer,
    /// It fails once and was not done; all later ones work.
    FailOnce,
    /// It fails once; a create is done all the same, just before the next operation that changes something: the request was
    /// still under way. Anything else is not done.
    LandsLate,
}

/// Shared by all wrappers of one store, so that operations count over data and manifests together.
struct Plan {
    at: u64,
    fault: Fault,
    count: AtomicU64,
    dead: AtomicBool,
    /// A create that is still under way.
    late: Mutex<Option<Late>>,
    /// Operations, those that read included.
    calls: AtomicU64,
    /// What happens just before one of them.
    meanwhile: Mutex<Option<(When, Meanwhile)>>,
}

/// What another process does, or another thread.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Before which operation.
enum When {
    /// The one with this number, from 1.
    Call(u64),
    /// The first on an object whose path begins so.
    On(&'static str),
}

struct Late {
    objects: SharedObjects,
    path: String,
    bytes: Vec<u8>,
}

/// Wraps objects.
#[derive(Clone)]
pub struct FlakyObjects {
    inner: SharedObjects,
    plan: Arc<Plan>,
}

impl FlakyObjects {
    /// Fails at the `at`-th changing operation, from 1; 0: never.
    #[must_use]
    pub fn new(inner: SharedObjects, at: u64, fault: Fault) -> Self {
        let (count, calls, dead) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let plan = Plan { at, fault, count, dead, late: Mutex::new(None), calls, meanwhile: Mutex::new(None) };
        Self { inner, plan: Arc::new(plan) }
    }

    /// Does something just before the `at`-th operation from now on, from 1, whether it reads or changes; in the thread that asks for it.
    pub fn meanwhile(&self, at: u64, what: impl FnOnce() + Send + 'static) {
        self.plan.calls.store(0, Ordering::SeqCst);
        *self.plan.meanwhile.lock() = Some((When::Call(at), Box::new(what)));
    }

    /// The same before the next operation on an object whose path begins so.
    pub fn meanwhile_on(&self, prefix: &'static str, what: impl FnOnce() + Send + 'static) {
        *self.plan.meanwhile.lock() = Some((When::On(prefix), Box::new(what)));
    }

    /// Whether what [`meanwhile`](Self::meanwhile) or [`meanwhile_on`](Self::meanwhile_on) was told has not happened yet; it will not any more.
    #[must_use]
    pub fn was_not_reached(&self) -> bool {
        self.plan.meanwhile.lock().take().is_some()
    }

    /// Other objects under the same plan.
    #[must_use]
    pub fn with(&self, inner: SharedObjects) -> Self {
        Self { inner, plan: Arc::clone(&self.plan) }
    }

    /// Changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.plan.count.load(Ordering::SeqCst)
    }

    fn step<T>(&self, path: &str, run: impl FnOnce() -> Result<T, ObjectError>) -> Result<T, ObjectError> {
        self.alive(path)?;
        self.land();
        let hit = self.plan.count.fetch_add(1, Ordering::SeqCst) + 1 == self.plan.at;
        if !hit {
            return run();
        }
        let crash = matches!(self.plan.fault, Fault::CrashBefore | Fault::CrashAfter);
        self.plan.dead.store(crash, Ordering::SeqCst);
        if matches!(self.plan.fault, Fault::CrashAfter | Fault::LostAnswer) {
            run()?;
        }
        Err(injected(path))
    }

    /// What is under way arrives now, if anything is. Its name may be taken meanwhile.
    pub fn land(&self) {
        if let Some(Late { objects, path, bytes }) = self.plan.late.lock().take() {
            let _ = objects.put_new(&path, &bytes);
        }
    }

    fn alive(&self, path: &str) -> Result<(), ObjectError> {
        let call = self.plan.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let is_due = |when: &When| match when {
            When::Call(at) => *at == call,
            When::On(prefix) => path.starts_with(prefix),
        };
        let due = self.plan.meanwhile.lock().take_if(|(when, _)| is_due(when));
        if let Some((_, act)) = due {
            act();
        }
        if self.plan.dead.load(Ordering::SeqCst) { Err(injected(path)) } else { Ok(()) }
    }
}

fn injected(path: &str) -> ObjectError {
    ObjectError::Io { path: path.to_owned(), source: io::Error::other("injected fault") }
}

impl Objects for FlakyObjects {
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.alive(path)?;
        self.inner.open(path)
    }

    fn open_known(&self, path: &str, bytes: u64) -> Result<Box<dyn Readable>, ObjectError> {
        self.alive(path)?;
        self.inner.open_known(path, bytes)
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let before = self.operations();
        let outcome = self.step(path, || self.inner.put_new(path, bytes));
        if outcome.is_err() && self.plan.fault == Fault::LandsLate && before + 1 == self.plan.at {
            let late = Late { objects: Arc::clone(&self.inner), path: path.to_owned(), bytes: bytes.to_vec() };
            *self.plan.late.lock() = Some(late);
        }
        outcome
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        let inner = self.step(path, || self.inner.create(path))?;
        Ok(Box::new(FlakyAside { inner, flaky: self.clone(), path: path.to_owned() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.alive(prefix)?;
        self.inner.list(prefix)
    }

    fn list_after(&self, after: &str, limit: usize) -> Result<Listed, ObjectError> {
        self.alive(after)?;
        self.inner.list_after(after, limit)
    }

    fn list_range(&self, folder: &str, from: &str, to: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.alive(folder)?;
        self.inner.list_range(folder, from, to)
    }

    fn list_beside(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.alive(folder)?;
        self.inner.list_beside(folder)
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        self.step(path, || self.inner.delete(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.step(from, || self.inner.rename(from, to))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.step(from, || self.inner.link(from, to))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.step(path, || self.inner.replace(path, bytes))
    }

    fn stages(&self) -> bool {
        self.inner.stages()
    }

    fn local_root(&self) -> Option<&Path> {
        self.inner.local_root()
    }

    fn pause(&self, tries: u32) {
        self.inner.pause(tries);
    }

    fn unanswered(&self) -> Option<Arc<str>> {
        self.inner.unanswered()
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.inner.trouble()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn local_copy(&self, path: &str) -> Result<Option<File>, ObjectError> {
        self.alive(path)?;
        self.inner.local_copy(path)
    }
}

struct FlakyAside {
    inner: Box<dyn Aside>,
    flaky: FlakyObjects,
    path: String,
}

impl Write for FlakyAside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let half = &bytes[..bytes.len() / 2];
        let inner = &mut self.inner;
        let torn = self.flaky.plan.fault == Fault::CrashBefore
            && self.flaky.plan.count.load(Ordering::SeqCst) + 1 == self.flaky.plan.at;
        if torn {
            let _ = inner.write_all(half).and_then(|()| inner.flush());
        }
        let written =
            self.flaky.step(&self.path, || inner.write_all(bytes).map_err(|e| ObjectError::from_io(&self.path, e)));
        written.map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Aside for FlakyAside {
    fn finish(self: Box<Self>) -> Result<(), ObjectError> {
        let Self { inner, flaky, path } = *self;
        flaky.step(&path, || inner.finish())
    }
}
