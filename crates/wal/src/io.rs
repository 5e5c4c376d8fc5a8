//! Groups to the disk: one blocking thread per disk drains every log's group, writes each, syncs each file once and runs
//! the callbacks; in between it does background work in small steps, and gives what is not small to the `cleaner`. `InlineIo` runs the
//! same code in the caller's thread, that of the cleaner too.
//!
//! A group whose frames carry no checksums takes two rounds: its frames are written and synced, then the mark that proves
//! them is written and synced; only then is it called durable. That second sync is the price of `wal.checksum = 'none'`.
//!
//! It never retries a failed write or sync: after that nobody knows what is on the disk, so the process ends. The one
//! exception is a lack of room, on the disk or for another file descriptor: nothing of the group is acknowledged, it waits
//! and is written again when there is room.

use crate::buffer::AlignedBuf;
use crate::cleaner::{Chore, Cleaner};
use crate::files::{FILL_STEP_BYTES, LogFiles, is_scarce, lacks_descriptor};
use crate::group::Group;
use crate::num::GroupNo;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a group waits before it asks a full disk again.
const STALLED_RETRY: Duration = Duration::from_millis(100);

/// The group did not reach the disk, and the process should have ended: `OnFatal` came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the log's disk failed")]
pub struct GroupFailed;

/// Called when a group is durable, with the group, which goes back to its writer (`LogWriter::committed`).
pub type OnCommit = Box<dyn FnOnce(Result<Group, GroupFailed>) + Send>;

/// What failed for good.
#[derive(Debug)]
pub struct FatalIo {
    /// Folder of the log.
    pub dir: std::path::PathBuf,
    /// What was done: `write`, `sync`, `background`.
    pub action: &'static str,
    /// What the file system said.
    pub error: io::Error,
}

/// Called on a failure after which the process must not go on. The default ends the process.
pub type OnFatal = Arc<dyn Fn(&FatalIo) + Send + Sync>;

/// The default `OnFatal`: says what failed and aborts.
#[must_use]
pub fn abort_on_fatal() -> OnFatal {
    Arc::new(|fatal: &FatalIo| {
        let what = format!("{} of the log in {} failed: {}", fatal.action, fatal.dir.display(), fatal.error);
        tracing::error!("{what}");
        strandline_event::invariant::broken(&what)
    })
}

/// Takes groups to the disk.
pub trait LogIo: Send + Sync {
    /// Hands a group over; `done` is called from another thread, or before this returns (inline).
    fn submit(&self, group: Group, done: OnCommit);

    /// Whether a group may be handed over behind one of the same log that is not durable: nothing of it is written before that is.
    fn keeps_order(&self) -> bool {
        false
    }

    /// Takes a group back that was handed over and has not begun; it is not called back. `None`: it has begun, or was never here.
    fn take_back(&self, _log: &Arc<LogFiles>, _number: GroupNo) -> Option<Group> {
        None
    }
}

struct Submission {
    group: Group,
    done: OnCommit,
}

/// Whether the log of a group has one among these.
fn has_one_of(list: &[Submission], log: &Arc<LogFiles>) -> bool {
    list.iter().any(|known| Arc::ptr_eq(&known.group.files, log))
}

struct Executor {
    on_fatal: OnFatal,
    dead: bool,
    zeros: AlignedBuf,
    stalled: Vec<Submission>,
    background: VecDeque<Arc<LogFiles>>,
    cleaner: Option<Sender<Chore>>,
}

impl Executor {
    fn new(on_fatal: OnFatal, cleaner: Option<Sender<Chore>>) -> Self {
        let zeros = AlignedBuf::zeroed(FILL_STEP_BYTES);
        Self { on_fatal, dead: false, zeros, stalled: Vec::new(), background: VecDeque::new(), cleaner }
    }

    /// Writes all, then syncs all, then calls back: the syncs of logs that wait together overlap in the device. Groups with
    /// another part to write go round again, and one waits for the one before it of the same log, which goes first.
    fn run(&mut self, batch: &mut Vec<Submission>) {
        // those that wait for room came before
        let mut waiting = std::mem::take(&mut self.stalled);
        waiting.append(batch);
        let mut written = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let mut behind = Vec::new();
            for submission in waiting.drain(..) {
                let files = &submission.group.files;
                if has_one_of(&self.stalled, files) {
                    self.stalled.push(submission);
                    continue;
                }
                if has_one_of(&written, files) {
                    behind.push(submission);
                    continue;
                }
                match if self.dead { Err(io::ErrorKind::Other.into()) } else { files.write(&submission.group) } {
                    Ok(()) => written.push(submission),
                    Err(e) if is_scarce(&e) => self.stalled.push(submission),
                    Err(e) => self.fail(submission, "write", e),
                }
            }
            waiting.extend(written.drain(..).filter_map(|submission| self.finish(submission)));
            waiting.append(&mut behind);
        }
    }

    /// Makes what was written durable, and calls back if that is all; else the group comes back.
    fn finish(&mut self, mut submission: Submission) -> Option<Submission> {
        let files = Arc::clone(&submission.group.files);
        match if self.dead { Err(io::ErrorKind::Other.into()) } else { files.sync() } {
            Ok(()) if !submission.group.part_done() => return Some(submission),
            Ok(()) => {
                files.committed(&mut submission.group);
                (submission.done)(Ok(submission.group));
                if !self.background.iter().any(|known| Arc::ptr_eq(known, &files)) {
                    self.background.push_back(files);
                }
            }
            // the folder could not even be opened for its sync
            Err(e) if lacks_descriptor(&e) => self.stalled.push(submission),
            Err(e) => self.fail(submission, "sync", e),
        }
        None
    }

    fn fail(&mut self, submission: Submission, action: &'static str, error: io::Error) {
        self.fatal(&submission.group.files, action, error);
        (submission.done)(Err(GroupFailed));
    }

    fn fatal(&mut self, files: &LogFiles, action: &'static str, error: io::Error) {
        if !self.dead {
            self.dead = true;
            (self.on_fatal)(&FatalIo { dir: files.dir.clone(), action, error });
        }
    }

    /// One step for the next log that has background work; `false` if none has.
    fn background_step(&mut self) -> bool {
        while let (false, Some(files)) = (self.dead, self.background.pop_front()) {
            match self.step(&files) {
                Ok(true) => {
                    self.background.push_back(files);
                    return true;
                }
                Ok(false) => {}
                // what is left comes after the log's next group
                Err(e) if lacks_descriptor(&e) => {}
                Err(e) => self.fatal(&files, "background", e),
            }
        }
        false
    }

    fn step(&self, files: &Arc<LogFiles>) -> io::Result<bool> {
        if let Some(cleaner) = &self.cleaner {
            files.cleaner.get_or_init(|| cleaner.clone());
            let gone = files.take_removals()?;
            if !gone.is_empty() {
                // it has ended: the next start removes them
                let _ = cleaner.send(Chore::Remove(Arc::clone(files), gone));
            }
            if files.wants_fill() {
                // it has ended: the open segment is filled as it is written
                let _ = cleaner.send(Chore::Fill(Arc::clone(files)));
            }
        }
        files.background_step(&self.zeros)
    }
}

/// The same work in the caller's thread: for tests and tools.
pub struct InlineIo(Mutex<Executor>);

impl InlineIo {
    /// Runs `on_fatal` on a failure.
    #[must_use]
    pub fn new(on_fatal: OnFatal) -> Self {
        Self(Mutex::new(Executor::new(on_fatal, None)))
    }

    /// Does background work until there is none, at most `steps` steps; the steps done.
    pub fn background(&self, steps: usize) -> usize {
        let mut executor = self.0.lock();
        (0..steps).take_while(|_| executor.background_step()).count()
    }

    /// Tries again the groups that wait for room; how many still wait.
    pub fn retry_stalled(&self) -> usize {
        let mut executor = self.0.lock();
        executor.run(&mut Vec::new());
        executor.stalled.len()
    }
}

impl LogIo for InlineIo {
    fn submit(&self, group: Group, done: OnCommit) {
        self.0.lock().run(&mut vec![Submission { group, done }]);
    }
}

/// What waits for the thread.
#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    groups: Vec<Submission>,
    /// Nobody submits any more.
    stop: bool,
}

/// How long the thread may wait for the next group.
enum Patience {
    /// There is other work.
    Busy,
    /// Groups wait for room.
    Stalled,
    Idle,
}

impl Inbox {
    /// Takes what waits into `batch`, after a wait for it; `true`: nothing more will come. It sleeps at once: a thread that spins takes
    /// the processor from who makes the next group.
    fn take(&self, batch: &mut Vec<Submission>, patience: &Patience) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.groups.is_empty() && !waiting.stop {
            match patience {
                Patience::Busy => {}
                Patience::Stalled => drop(self.wake.wait_for(&mut waiting, STALLED_RETRY)),
                Patience::Idle => {
                    self.wake.wait_while(&mut waiting, |waiting| waiting.groups.is_empty() && !waiting.stop)
                }
            }
        }
        take_firsts(&mut waiting.groups, batch);
        waiting.stop && waiting.groups.is_empty()
    }
}

/// Takes the first group of each log: one behind it can still be taken back until that is durable.
fn take_firsts(groups: &mut Vec<Submission>, batch: &mut Vec<Submission>) {
    batch.append(groups);
    let mut at = 0;
    while let Some(next) = batch.get(at) {
        if has_one_of(&batch[..at], &next.group.files) {
            groups.push(batch.remove(at));
        } else {
            at += 1;
        }
    }
}

/// The I/O thread of one disk. Dropping it finishes what was submitted and joins.
pub struct IoThread {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    /// Joined after the thread that gives it work.
    _cleaner: Cleaner,
}

impl IoThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(on_fatal: OnFatal) -> io::Result<Self> {
        // not bounded: a log has one group in flight and one behind it
        let inbox = Arc::<Inbox>::default();
        let theirs = Arc::clone(&inbox);
        let cleaner = Cleaner::start(Arc::clone(&on_fatal))?;
        let chores = cleaner.chores();
        let body = move || {
            let _guard = AbortOnPanic;
            work(&theirs, Executor::new(on_fatal, Some(chores)));
        };
        let thread = std::thread::Builder::new().name("strandline-log-io".into()).spawn(body)?;
        Ok(Self { inbox, thread: Some(thread), _cleaner: cleaner })
    }
}

impl LogIo for IoThread {
    fn submit(&self, group: Group, done: OnCommit) {
        self.inbox.waiting.lock().groups.push(Submission { group, done });
        self.inbox.wake.notify_one();
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn take_back(&self, log: &Arc<LogFiles>, number: GroupNo) -> Option<Group> {
        let groups = &mut self.inbox.waiting.lock().groups;
        let is_it = |known: &Submission| known.group.number == number && Arc::ptr_eq(&known.group.files, log);
        let at = groups.iter().position(is_it)?;
        Some(groups.remove(at).group)
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.inbox.waiting.lock().stop = true;
        self.inbox.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // the last handle may be dropped in a callback, on the thread itself
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// A callback that panics would leave accepted entries without an answer for ever.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            strandline_event::invariant::broken("a thread of the log's disk panicked");
        }
    }
}

fn work(inbox: &Inbox, mut executor: Executor) {
    let mut batch = Vec::new();
    let mut busy = false;
    loop {
        let patience = match (busy, executor.stalled.is_empty()) {
            (true, _) => Patience::Busy,
            (false, false) => Patience::Stalled,
            (false, true) => Patience::Idle,
        };
        let stop = inbox.take(&mut batch, &patience);
        if !batch.is_empty() || !busy {
            executor.run(&mut batch);
        }
        if stop {
            return;
        }
        busy = executor.background_step();
    }
}
