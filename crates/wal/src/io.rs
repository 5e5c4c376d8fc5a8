//! Groups to the disk: one blocking thread per disk drains every log's group, writes each, syncs each file once and runs
//! the callbacks; in between it does background work in small steps, and gives what is not small to the `cleaner`. `InlineIo` runs the
//! same code in the caller's thread, that of the cleaner too.
//!
//! A small group of the only log that writes may be done in the thread of its owner instead (`submit_here`): for one caller who waits, the two
//! changes of threads around a sync take about as long as the sync. Where several logs write, the thread lets their syncs overlap; where the disk is
//! slow the owner has better things to do than to wait for it.
//!
//! A group whose frames carry no checksums takes two rounds: its frames are written and synced, then the mark that proves
//! them is written and synced; only then is it called durable. That second sync is the price of `wal.checksum = 'none'`.
//!
//! It never retries a failed write or sync: after that nobody knows what is on the disk, so the process ends. The one
//! exception is a lack of room, on the disk or for another file descriptor: nothing of the group is acknowledged, it waits
//! and is written again when there is room.

use crate::at_disk::{AtDisk, END_PATIENCE};
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
use std::time::{Duration, Instant};

/// A larger group is the thread's: its owner judges what comes next meanwhile.
const HERE_BYTES_MAX: usize = 64 << 10;
/// So many groups of one log in a row, and no other log writes beside it.
const ALONE_AFTER: u32 = 8;
/// A disk is slow where a write and its sync take longer: two changes of threads are little beside that, and an owner is kept from much.
pub(crate) const HERE_TIME_MAX: Duration = Duration::from_millis(5);
/// So many times in a row: any disk is slow once.
const SLOW_AFTER: u32 = 2;
/// After so many bytes that were written elsewhere the thread looks what there is to do in the background.
const CHORES_AFTER_BYTES: usize = 256 << 10;

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

    /// Makes a small group durable before it returns, and calls back, where nobody else uses the disk. Given back: it is to be handed over.
    /// One that finds no room is not given back; it is called back when there is some.
    fn submit_here(&self, group: Group, done: OnCommit) -> Option<(Group, OnCommit)> {
        Some((group, done))
    }

    /// For how long the disk has said nothing to whoever writes to it now; `None`: nobody writes, or nobody can tell.
    fn at_disk_for(&self) -> Option<Duration> {
        None
    }

    /// Takes a group back that was handed over and has not begun; it is not called back. `None`: it has begun, or was never here.
    fn take_back(&self, _log: &Arc<LogFiles>, _number: GroupNo) -> Option<Group> {
        None
    }
}

struct Submission {
    group: Group,
    done: OnCommit,
    /// That it waits is said.
    waits: bool,
}

impl Submission {
    const fn new(group: Group, done: OnCommit) -> Self {
        Self { group, done, waits: false }
    }
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
    /// The log that wrote last (where its files stand in memory), and how many groups in a row.
    in_a_row: (usize, u32),
    /// How many times in a row the disk was slow.
    slow: u32,
    /// Told of each of its answers.
    at_disk: Arc<AtDisk>,
}

impl Executor {
    fn new(on_fatal: OnFatal, cleaner: Option<Sender<Chore>>, at_disk: Arc<AtDisk>) -> Self {
        let zeros = AlignedBuf::zeroed(FILL_STEP_BYTES);
        Self {
            on_fatal,
            dead: false,
            zeros,
            stalled: Vec::new(),
            background: VecDeque::new(),
            cleaner,
            in_a_row: (0, 0),
            slow: 0,
            at_disk,
        }
    }

    /// Writes all, then syncs all, then calls back: the syncs of logs that wait together overlap in the device. Groups with
    /// another part to write go round again, and one waits for the one before it of the same log, which goes first.
    fn run(&mut self, batch: &mut Vec<Submission>) {
        // those that wait for room came before
        let mut waiting = std::mem::take(&mut self.stalled);
        waiting.append(batch);
        let mut written = Vec::with_capacity(waiting.len());
        waiting.iter().for_each(|submission| self.note(&submission.group.files));
        while !waiting.is_empty() {
            let (began, mut behind) = (Instant::now(), Vec::new());
            for submission in waiting.drain(..) {
                self.at_disk.answers();
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
                    Err(e) if is_scarce(&e) => self.stall(submission, &e),
                    Err(e) => self.fail(submission, "write", e),
                }
            }
            waiting.extend(written.drain(..).filter_map(|submission| self.finish(submission, began)));
            waiting.append(&mut behind);
        }
    }

    /// A group of a log comes.
    fn note(&mut self, files: &Arc<LogFiles>) {
        let at = Arc::as_ptr(files).addr();
        let (last, count) = self.in_a_row;
        self.in_a_row = (at, if last == at { count.saturating_add(1) } else { 1 });
    }

    /// What was written took this long to be durable.
    fn took(&mut self, time: Duration) {
        self.slow = if time > HERE_TIME_MAX { self.slow.saturating_add(1) } else { 0 };
    }

    /// Whether a log is the only one that writes, and nothing waits.
    fn is_alone(&self, files: &Arc<LogFiles>) -> bool {
        let (last, count) = self.in_a_row;
        !self.dead && self.stalled.is_empty() && last == Arc::as_ptr(files).addr() && count >= ALONE_AFTER
    }

    /// Makes what was written since `began` durable, and calls back if that is all; else the group comes back.
    fn finish(&mut self, mut submission: Submission, began: Instant) -> Option<Submission> {
        let files = Arc::clone(&submission.group.files);
        self.at_disk.answers();
        let synced = if self.dead { Err(io::ErrorKind::Other.into()) } else { files.sync() };
        self.took(began.elapsed());
        match synced {
            Ok(()) if !submission.group.part_done() => return Some(submission),
            Ok(()) => {
                if submission.waits {
                    tracing::warn!(log = %files.dir.display(), "the log goes on");
                }
                files.committed(&mut submission.group);
                (submission.done)(Ok(submission.group));
                if !self.background.iter().any(|known| Arc::ptr_eq(known, &files)) {
                    self.background.push_back(files);
                }
            }
            // the folder could not even be opened for its sync
            Err(e) if lacks_descriptor(&e) => self.stall(submission, &e),
            Err(e) => self.fail(submission, "sync", e),
        }
        None
    }

    /// A group waits. It is said, once: whoever gets its entries from a leader refuses no client anything, and would wait in silence.
    fn stall(&mut self, mut submission: Submission, error: &io::Error) {
        if !std::mem::replace(&mut submission.waits, true) {
            let log = submission.group.files.dir.display();
            let next = if lacks_descriptor(error) { "let it open more files" } else { "make room on that disk" };
            tracing::warn!(%log, "the log takes nothing more until this passes: {error}; {next}, and it goes on by itself");
        }
        self.stalled.push(submission);
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
        Self(Mutex::new(Executor::new(on_fatal, None, Arc::default())))
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
        self.0.lock().run(&mut vec![Submission::new(group, done)]);
    }
}

/// What waits for the thread.
#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    at_disk: Arc<AtDisk>,
}

#[derive(Default)]
struct Waiting {
    groups: Vec<Submission>,
    /// There may be something to do in the background.
    chores: bool,
    /// Bytes that were written by others since.
    bytes_elsewhere: usize,
    /// Nobody submits any more.
    stop: bool,
}

impl Waiting {
    const fn is_nothing(&self) -> bool {
        self.groups.is_empty() && !self.chores && !self.stop
    }
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
    /// Waits for something to do. It sleeps at once: a thread that spins takes the processor from who makes the next group.
    fn wait(&self, patience: &Patience) {
        let mut waiting = self.waiting.lock();
        if waiting.is_nothing() {
            match patience {
                Patience::Busy => {}
                Patience::Stalled => drop(self.wake.wait_for(&mut waiting, STALLED_RETRY)),
                Patience::Idle => self.wake.wait_while(&mut waiting, |waiting| waiting.is_nothing()),
            }
        }
    }

    /// Takes what waits into `batch`; `true`: nothing more will come.
    fn take(&self, batch: &mut Vec<Submission>) -> bool {
        let mut waiting = self.waiting.lock();
        take_firsts(&mut waiting.groups, batch);
        waiting.chores = false;
        waiting.stop && waiting.groups.is_empty()
    }

    /// A group was written by another thread. Whether the thread looks now what there is to do.
    fn was_written(&self, bytes: usize, is_stalled: bool) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.bytes_elsewhere += bytes;
        let is_due = is_stalled || waiting.bytes_elsewhere >= CHORES_AFTER_BYTES;
        if is_due {
            (waiting.bytes_elsewhere, waiting.chores) = (0, true);
            self.wake.notify_one();
        }
        is_due
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

/// The I/O thread of one disk. Dropping it finishes what was submitted and joins, however long that takes; where the disk says nothing for ten seconds it
/// leaves the threads behind, which end with the process.
pub struct IoThread {
    inbox: Arc<Inbox>,
    /// Who writes holds it. Locked before the inbox is, so that a group which has left that is done, or somebody holds this.
    executor: Arc<Mutex<Executor>>,
    thread: Option<JoinHandle<()>>,
    /// Joined after the thread that gives it work.
    cleaner: Option<Cleaner>,
    patience: Duration,
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
        let executor = Executor::new(on_fatal, Some(cleaner.chores()), Arc::clone(&inbox.at_disk));
        let executor = Arc::new(Mutex::new(executor));
        let theirs = (theirs, Arc::clone(&executor));
        let body = move || {
            let _guard = AbortOnPanic;
            work(&theirs.0, &theirs.1);
            theirs.0.at_disk.ended();
        };
        let thread = std::thread::Builder::new().name("strandline-log-io".into()).spawn(body)?;
        Ok(Self { inbox, executor, thread: Some(thread), cleaner: Some(cleaner), patience: END_PATIENCE })
    }
}

impl LogIo for IoThread {
    fn submit(&self, group: Group, done: OnCommit) {
        self.inbox.waiting.lock().groups.push(Submission::new(group, done));
        self.inbox.wake.notify_one();
    }

    fn submit_here(&self, group: Group, done: OnCommit) -> Option<(Group, OnCommit)> {
        let bytes = group.bytes().len();
        // who begins a segment changes the folder, may wait for zeros that the cleaner writes, and leaves work behind
        if bytes > HERE_BYTES_MAX || group.begins || !group.removals.is_empty() {
            return Some((group, done));
        }
        let Some(mut executor) = self.executor.try_lock() else { return Some((group, done)) };
        let is_slow = executor.slow >= SLOW_AFTER;
        if is_slow || !executor.is_alone(&group.files) || !self.inbox.waiting.lock().groups.is_empty() {
            return Some((group, done));
        }
        let _guard = AbortOnPanic;
        let _stay = self.inbox.at_disk.stay();
        let queued = executor.background.len();
        executor.run(&mut vec![Submission::new(group, done)]);
        let is_stalled = !executor.stalled.is_empty();
        if !self.inbox.was_written(bytes, is_stalled) {
            // until the thread looks it may be long, and what is queued keeps its files open
            executor.background.truncate(queued);
        }
        None
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn at_disk_for(&self) -> Option<Duration> {
        self.inbox.at_disk.keeps_for()
    }

    fn take_back(&self, log: &Arc<LogFiles>, number: GroupNo) -> Option<Group> {
        let groups = &mut self.inbox.waiting.lock().groups;
        let is_it = |known: &Submission| known.group.number == number && Arc::ptr_eq(&known.group.files, log);
        let at = groups.iter().position(is_it)?;
        Some(groups.remove(at).group)
    }
}

#[cfg(test)]
impl IoThread {
    /// Waits until the thread has nothing to do.
    pub(crate) fn rest(&self) {
        loop {
            let executor = self.executor.lock();
            if executor.background.is_empty() && self.inbox.waiting.lock().is_nothing() {
                return;
            }
            drop(executor);
            std::thread::yield_now();
        }
    }

    /// Its end waits for nobody who is at the disk.
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = Duration::ZERO;
        self.impatient_of_cleaner()
    }

    /// Its end waits for no removal that the disk does not end.
    pub(crate) fn impatient_of_cleaner(mut self) -> Self {
        self.cleaner = self.cleaner.take().map(Cleaner::impatient);
        self
    }

    /// The disk took so long for a group.
    pub(crate) fn took(&self, time: Duration) {
        self.executor.lock().took(time);
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.inbox.waiting.lock().stop = true;
        self.inbox.wake.notify_one();
        let Some(thread) = self.thread.take() else { return };
        // the last handle may be dropped in a callback, on the thread itself
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        if self.inbox.at_disk.ends_unless_kept_for(self.patience) {
            let _ = thread.join();
        } else {
            tracing::warn!("the disk of the logs gives no answer: what it was given last is not waited for");
            // nor for what is cleaned on that disk
            std::mem::forget(self.cleaner.take());
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

fn work(inbox: &Inbox, executor: &Mutex<Executor>) {
    let mut batch = Vec::new();
    let mut patience = Patience::Idle;
    loop {
        inbox.wait(&patience);
        let mut executor = executor.lock();
        let _stay = inbox.at_disk.stay();
        let stop = inbox.take(&mut batch);
        if !batch.is_empty() || !matches!(patience, Patience::Busy) {
            executor.run(&mut batch);
        }
        if stop {
            return;
        }
        patience = match (executor.background_step(), executor.stalled.is_empty()) {
            (true, _) => Patience::Busy,
            (false, false) => Patience::Stalled,
            (false, true) => Patience::Idle,
        };
    }
}
