//! Owner of one log: one stream type and bucket. Appends gather while one group is on its way to the disk.
//!
//! ```text
//!  Append -> driver.append --(refused, nothing to wait for)--> reply
//!              | accepted
//!              v
//!  take_group -> I/O thread: write + fdatasync -> GroupWritten -> group_done
//!     ^  one in flight  (no log: the store's commit thread)         | heads advance
//!     |  and one of a log file staged behind it, which takes in what comes until it begins
//!     +------------------------------------------------------------+
//!                                                 Committed -> HotWorker, told --> release: replies
//! ```
//!
//! Invariant: nothing is answered with yes before it is durable and the hot tier has been told.
//! It never blocks for long: files are other threads' affair, but for small groups of the only log that writes (`LogIo::submit_here`), and those wait until
//! what is durable before them is answered. A group that a log's disk did not take ends the process; a commit of
//! files that failed is answered with the error, and where nobody can tell what became of it, no append is taken any more.

mod asked;
mod held;
mod here;

use crate::append::AppendReply;
use crate::clock;
use crate::commit_thread::CommitThread;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::hot_worker::HotWorker;
use crate::messages::{Append, AppendTogether, Committed, GroupWritten};
use crate::metrics::{Measured, Metrics};
use crate::replica::{Replica, ReplicaEvent};
use crate::spans::GroupSpans;
use crate::wiring::{AliveMark, LOG_MAILBOX};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, StreamHandler, WrapFuture};
use held::Held;
use here::WrittenHere;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use strandline_consensus::Applied;
use strandline_engine::append::{
    Answer, AppendRequest, Done, FilesCommitted, FilesFailed, GroupLost, LogDriver, SinkGroup,
};
use strandline_engine::compact::trim_rule;
use strandline_engine::ids::IdSource;
use strandline_engine::store::Store;
use strandline_event::{LogIndex, LogKey, StampedBatch};
use strandline_wal::{Group, GroupFailed, LogIo, LogWriter, OnCommit};
use tokio::sync::{mpsc, oneshot};

/// How often an idle log is looked after: idle mark, rollover by time.
const IDLE_EVERY: Duration = Duration::from_millis(500);
/// How many of those rounds lie between two trims.
const TRIM_EVERY: u32 = 60;

/// What an owner works with.
pub(crate) struct WalWorkerParts {
    pub(crate) log: LogKey,
    pub(crate) store: Arc<Store>,
    pub(crate) driver: LogDriver<AppendReply>,
    pub(crate) io: GroupIo,
    pub(crate) hot: Addr<HotWorker>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) measured: Arc<Measured>,
    /// Set when another node owns the store.
    pub(crate) fenced: Arc<AtomicBool>,
    pub(crate) _alive: AliveMark,
}

/// Who makes groups durable.
#[derive(Clone)]
pub(crate) struct GroupIo {
    /// The thread of the logs' disk.
    pub(crate) log: Arc<dyn LogIo>,
    /// The commit thread of a store without a log.
    pub(crate) files: Option<CommitThread>,
    /// The group of a log that is replicated.
    pub(crate) replica: Option<Arc<Replica>>,
}

/// Both ends of the way by which a worker hears what became of its groups.
pub(crate) type GroupChannel = (mpsc::UnboundedSender<GroupWritten>, mpsc::UnboundedReceiver<GroupWritten>);

/// What waits at the disk behind the group that is in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Staged {
    Nothing,
    /// A group that may be taken back.
    Open,
    /// One that goes as it is.
    Fixed,
}

/// Owner of one log.
pub(crate) struct WalWorker {
    parts: WalWorkerParts,
    written: mpsc::UnboundedSender<GroupWritten>,
    group_began: Instant,
    staged: Staged,
    /// The last group was written in this thread.
    writes_here: bool,
    spans: GroupSpans,
    held: Held<AppendReply>,
    /// Committed, not yet told to the hot tier.
    untold: Vec<Done<AppendReply>>,
    /// Told, not yet acknowledged by it.
    telling: Vec<Done<AppendReply>>,
    /// Who waits until readers see what is untold, and what is being told.
    untold_to: Vec<oneshot::Sender<()>>,
    telling_to: Vec<oneshot::Sender<()>>,
    /// Who waits until an index is durable and answered.
    waiting: Vec<(LogIndex, oneshot::Sender<LogIndex>)>,
    stopping: Option<oneshot::Sender<LogIndex>>,
    stop_mark_written: bool,
    /// The next step of `let_go` will come.
    letting_go: bool,
    quiet: bool,
    rounds: u32,
}

impl WalWorker {
    /// The worker, which hears the word of its I/O thread (or of its group) by this channel.
    pub(crate) fn new(parts: WalWorkerParts, channel: GroupChannel, context: &mut Context<Self>) -> Self {
        let (written, receiver) = channel;
        context.set_mailbox_capacity(LOG_MAILBOX);
        context.add_stream(crate::stream::received(receiver));
        Self {
            parts,
            written,
            group_began: Instant::now(),
            staged: Staged::Nothing,
            writes_here: false,
            spans: GroupSpans::default(),
            held: Held::new(),
            untold: Vec::new(),
            telling: Vec::new(),
            untold_to: Vec::new(),
            telling_to: Vec::new(),
            waiting: Vec::new(),
            stopping: None,
            stop_mark_written: false,
            letting_go: false,
            quiet: false,
            rounds: 0,
        }
    }

    /// Hands the next group to the disk; where one is there, it waits behind that.
    fn pump(&mut self, context: &mut Context<Self>) {
        self.pump_before(!self.untold.is_empty() || !self.telling.is_empty(), context);
    }

    /// The same. `answers_wait` for this thread: then it waits for no disk. Who writes here lets the next group gather until they are given.
    fn pump_before(&mut self, answers_wait: bool, context: &mut Context<Self>) {
        if self.writes_here && answers_wait && self.stopping.is_none() {
            return;
        }
        let Some(group) = self.parts.driver.take_group() else { return self.stage() };
        self.group_began = Instant::now();
        self.spans.handed();
        let written = self.written.clone();
        // a closed channel: the worker has stopped, which it does only when nothing is in flight
        match (group, &self.parts.io.files) {
            (SinkGroup::Log(group), _) => self.write(group, answers_wait, context),
            (SinkGroup::Files(group), Some(files)) => {
                files.submit(group, Box::new(move |result| drop(written.send(GroupWritten::Files(result)))));
            }
            (SinkGroup::Files(_), None) => {
                strandline_event::invariant::broken("a store without a log has no commit thread");
            }
            (SinkGroup::Replicated(group), _) => {
                let Some(replica) = &self.parts.io.replica else {
                    strandline_event::invariant::broken("a log of a node alone was told to replicate");
                };
                replica.propose(group, written);
            }
        }
    }

    /// Has a group of the log file written: here where that is quicker and nobody waits for this thread, else by the thread of its disk.
    fn write(&mut self, group: Group, answers_wait: bool, context: &mut Context<Self>) {
        let (here, written) = (Arc::new(WrittenHere::default()), self.written.clone());
        let told = Arc::clone(&here);
        let done: OnCommit = Box::new(move |result| {
            if let Some(later) = told.put(result) {
                drop(written.send(GroupWritten::Log(later)));
            }
        });
        let mut given_back = Some((group, done));
        if !answers_wait && self.stopping.is_none() {
            given_back = given_back.and_then(|(group, done)| self.parts.io.log.submit_here(group, done));
        }
        self.writes_here = given_back.is_none();
        let result = here.take();
        if let Some((group, done)) = given_back {
            self.parts.io.log.submit(group, done);
        }
        if let Some(result) = result {
            let done = self.written(result);
            let took = self.ended(&done);
            self.committed(done, took, context);
            // of marks nobody is told, so nobody would come back for what is behind them
            self.pump(context);
        }
    }

    /// A group of the log file is durable.
    fn written(&mut self, result: Result<Group, GroupFailed>) -> Done<AppendReply> {
        match result {
            Ok(group) => {
                self.staged_begins();
                self.parts.driver.group_done(group)
            }
            Err(_) => strandline_event::invariant::broken("a log's group did not reach the disk"),
        }
    }

    /// The group in flight has ended; how long it took.
    fn ended(&mut self, done: &Done<AppendReply>) -> Duration {
        let now = Instant::now();
        self.spans.done(done.batches.len());
        // what was staged behind it began when it ended
        now.saturating_duration_since(std::mem::replace(&mut self.group_began, now))
    }

    /// Counts and tells what is durable now.
    fn committed(&mut self, done: Done<AppendReply>, took: Duration, context: &mut Context<Self>) {
        self.count_group(&done, took);
        self.untold.push(done);
        self.tell(context);
        self.wake();
    }

    /// Hands the disk what it begins by itself when the group that is there is durable: it waits for no thread.
    fn stage(&mut self) {
        if self.staged != Staged::Nothing || !self.parts.io.log.keeps_order() {
            return;
        }
        let Some(group) = self.parts.driver.log_writer().and_then(LogWriter::take_next) else { return };
        let written = self.written.clone();
        self.parts.io.log.submit(group, Box::new(move |result| drop(written.send(GroupWritten::Log(result)))));
        self.staged = Staged::Open;
    }

    /// What is staged takes in what is accepted next, if it has not begun.
    fn reopen_staged(&mut self) {
        if self.staged != Staged::Open {
            return;
        }
        let io = &*self.parts.io.log;
        let is_back = self.parts.driver.log_writer().is_some_and(|writer| writer.reopen_next(io));
        if is_back {
            self.staged = Staged::Nothing;
        } else {
            self.staged = Staged::Fixed;
            self.spans.handed();
        }
    }

    /// The group in flight is durable: the one that is staged has begun.
    fn staged_begins(&mut self) {
        if std::mem::replace(&mut self.staged, Staged::Nothing) == Staged::Open {
            self.spans.handed();
        }
    }

    /// A commit of files has ended.
    fn files_done(&mut self, outcome: Result<FilesCommitted, FilesFailed>) -> Done<AppendReply> {
        if let Err(failed) = &outcome {
            let (store, log) = (self.parts.store.name(), &self.parts.log);
            tracing::error!(store, %log, "{failed}");
            if matches!(failed, FilesFailed::Fenced(_)) {
                self.parts.fenced.store(true, Ordering::SeqCst);
            }
        }
        self.parts.driver.files_done(outcome)
    }

    fn count_group(&self, done: &Done<AppendReply>, took: Duration) {
        if done.batches.is_empty() {
            return; // marks, births
        }
        let (metrics, measured) = (&self.parts.metrics, &self.parts.measured);
        metrics.groups.add(1);
        measured.group_batches.record(done.batches.len() as u64);
        measured.group_us.record_time(took);
        let batches = || done.batches.iter().map(|(_, batch)| batch);
        metrics.events.add(batches().map(|batch| batch.rows() as u64).sum());
        metrics.event_bytes.add(batches().map(|batch| batch.size_bytes() as u64).sum());
    }

    /// Tells the hot tier what is committed, one message at a time so that the order stays; then answers.
    fn tell(&mut self, context: &mut Context<Self>) {
        if !self.telling.is_empty() || (self.untold.is_empty() && self.untold_to.is_empty()) {
            return;
        }
        self.telling = std::mem::take(&mut self.untold);
        self.telling_to = std::mem::take(&mut self.untold_to);
        let batches: Vec<(LogIndex, StampedBatch)> = self.telling.iter_mut().flat_map(Done::take_batches).collect();
        if batches.is_empty() {
            self.release();
            return;
        }
        let told = self.parts.hot.send(Committed { log: self.parts.log.clone(), batches });
        let answered = told.into_actor(self).map(|_, worker, context| {
            let _end = EndOnPanic("the owner of a log panicked over answers");
            worker.release();
            worker.tell(context);
            worker.go_on(context);
        });
        context.spawn(answered);
    }

    fn release(&mut self) {
        // all that wait are answered in one moment
        let now = Instant::now();
        for done in std::mem::take(&mut self.telling) {
            for (reply, answer) in done.release() {
                self.answer(reply, answer, now);
            }
        }
        for applied in self.telling_to.drain(..) {
            // a group that has stopped does not mind
            let _ = applied.send(());
        }
        self.wake();
    }

    fn answer(&self, reply: AppendReply, answer: Answer, now: Instant) {
        let metrics = &self.parts.metrics;
        let (done, refused) = reply.decided(&answer);
        metrics.appends.add(done);
        metrics.appends_refused.add(refused);
        // before it goes: who hears it may look
        self.parts.measured.append_us.record_times(reply.took(now), reply.times(done + refused));
        reply.send(answer);
    }

    /// Judges requests one after the other and hands the disk what was accepted of them in one group.
    fn take_all(&mut self, requests: impl Iterator<Item = (AppendRequest, AppendReply)>, context: &mut Context<Self>) {
        self.quiet = false;
        if self.stopping.is_some() {
            requests.for_each(|(_, reply)| reply.refuse(NodeError::Draining));
            return;
        }
        self.reopen_staged();
        self.parts.store.instruct(&mut self.parts.driver);
        // they came in one moment; the log's clock tells them apart
        let now = clock::now();
        for (request, reply) in requests {
            let log_clock = self.parts.driver.log().published().clock();
            let Some((request, reply)) = self.held.pass(request, reply, log_clock, clock::now) else { continue };
            let entropy = self.parts.ids.next_of(crate::random::bits);
            let (span, before) = (reply.span().clone(), self.parts.driver.last_accepted());
            let answered = self.parts.driver.append(request, now, entropy, reply);
            if let Some((reply, answer)) = answered {
                self.answer(reply, answer, Instant::now());
            } else if self.parts.driver.last_accepted() > before {
                self.spans.accepted(&span);
            }
        }
        self.let_in(context);
        self.go_on(context);
    }

    /// The log's group says something, in its order.
    fn group_said(&mut self, event: ReplicaEvent, context: &mut Context<Self>) {
        self.quiet = false;
        match event {
            ReplicaEvent::Applied(entries, applied) => {
                for entry in entries {
                    self.apply(&entry);
                }
                self.untold_to.push(applied);
            }
            ReplicaEvent::Leads(first, unheard) => {
                if !self.parts.io.replica.as_ref().is_some_and(|replica| replica.leads_later(&unheard)) {
                    self.parts.driver.lead(first.leader, first.number, first.index);
                }
                drop(unheard);
            }
            ReplicaEvent::Follows => {
                let lost = GroupLost::Unknown(Arc::from("this node leads the log no more"));
                self.spans.abandoned();
                let done = self.parts.driver.abandon(&lost);
                self.untold.push(done);
            }
            ReplicaEvent::Lost(proposed, lost) => {
                if self.parts.driver.has_proposed(&proposed) {
                    self.spans.abandoned();
                    let done = self.parts.driver.abandon(&lost);
                    self.untold.push(done);
                }
            }
            ReplicaEvent::Jump(jumped) => {
                let (through, settled, newest) = self.parts.store.jump_of(&self.parts.log);
                self.spans.abandoned();
                let done = self.parts.driver.jump(through, settled, newest);
                self.parts.store.has_jumped(&self.parts.log, through);
                self.untold.push(done);
                self.untold_to.push(jumped);
            }
        }
        self.tell(context);
        self.wake();
        self.go_on(context);
        self.let_go(context);
    }

    fn apply(&mut self, entry: &Applied) {
        let committed = match strandline_consensus::owner::committed_of(entry) {
            Ok(committed) => committed,
            Err(what) => {
                tracing::error!(log = %self.parts.log, "{what}");
                strandline_event::invariant::broken("a committed entry holds no batch");
            }
        };
        let mine = self.parts.driver.has_in_flight(&committed);
        let done = self.parts.driver.applied(committed);
        if mine {
            self.count_group(&done, self.group_began.elapsed());
            self.spans.done(done.batches.len());
        } else if self.parts.driver.is_idle() {
            // what was on its way may have been given up for this entry
            self.spans.abandoned();
        }
        self.untold.push(done);
    }

    /// Everything that was accepted is durable and answered.
    fn is_settled(&self) -> bool {
        self.untold.is_empty() && self.telling.is_empty() && self.parts.driver.is_idle()
    }

    fn wake(&mut self) {
        for (index, waiter) in std::mem::take(&mut self.waiting) {
            if let Some(passed) = self.parts.driver.passed(index) {
                let _ = waiter.send(passed);
            } else {
                self.waiting.push((index, waiter));
            }
        }
    }

    /// Next group, and the end if somebody waits for it.
    fn go_on(&mut self, context: &mut Context<Self>) {
        self.pump(context);
        if self.stopping.is_none() || !self.is_settled() {
            return;
        }
        if !self.stop_mark_written {
            self.stop_mark_written = true;
            if self.parts.driver.log_writer().is_some_and(|writer| writer.clean_stop(clock::now())) {
                self.pump(context);
                return;
            }
        }
        if let Some(waiter) = self.stopping.take() {
            let _ = waiter.send(self.parts.driver.durable());
        }
        context.stop();
    }

    fn look_after(&mut self, context: &mut Context<Self>) {
        let _end = EndOnPanic("the owner of a log panicked while it was idle");
        if self.stopping.is_some() {
            return;
        }
        self.parts.store.instruct(&mut self.parts.driver);
        if std::mem::replace(&mut self.quiet, true) && self.is_settled() {
            self.parts.driver.log_writer().map(|writer| writer.idle_mark(clock::now()));
            if let Some(replica) = &self.parts.io.replica {
                replica.mark_idle();
            }
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(TRIM_EVERY) {
            self.trim();
        }
        self.go_on(context);
    }

    /// Lets go of what manifests took over, a step each time that the thread comes round: appends come in between.
    fn let_go(&mut self, context: &mut Context<Self>) {
        if self.letting_go || !self.parts.driver.log().settles() {
            return;
        }
        self.letting_go = true;
        let next = tokio::task::yield_now().into_actor(self).map(|(), worker, context| {
            let _end = EndOnPanic("the owner of a log panicked while it let go of what is compacted");
            worker.letting_go = false;
            worker.parts.driver.settle_step();
            worker.let_go(context);
        });
        context.spawn(next);
    }

    fn trim(&mut self) {
        if let Some(replica) = &self.parts.io.replica {
            replica.trim(&self.parts.store, &self.parts.log, clock::now());
        }
        let Some(writer) = self.parts.driver.log_writer() else { return };
        let now = clock::now();
        let rule = trim_rule(&self.parts.store, &self.parts.log, now);
        writer.trim(rule.through, rule.older_than, now);
    }
}

impl Actor for WalWorker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(IDLE_EVERY, Self::look_after);
        self.pump(context);
    }
}

impl Handler<Append> for WalWorker {
    type Result = ();

    fn handle(&mut self, message: Append, context: &mut Self::Context) {
        let _end = EndOnPanic("the owner of a log panicked over an append");
        self.take_all(std::iter::once((message.request, message.reply)), context);
    }
}

impl Handler<AppendTogether> for WalWorker {
    type Result = ();

    fn handle(&mut self, message: AppendTogether, context: &mut Self::Context) {
        let _end = EndOnPanic("the owner of a log panicked over appends");
        self.take_all(message.requests.into_iter(), context);
    }
}

impl StreamHandler<GroupWritten> for WalWorker {
    fn handle(&mut self, written: GroupWritten, context: &mut Self::Context) {
        let _end = EndOnPanic("the owner of a log panicked over a commit");
        let done = match written {
            GroupWritten::Log(result) => self.written(result),
            GroupWritten::Files(outcome) => self.files_done(outcome),
            GroupWritten::Replica(event) => {
                self.group_said(event, context);
                return;
            }
        };
        let took = self.ended(&done);
        // the disk first: it has nothing to do until then
        self.pump_before(true, context);
        self.committed(done, took, context);
        self.go_on(context);
        self.let_go(context);
    }

    /// The channel cannot end while the worker holds a sender.
    fn finished(&mut self, _: &mut Self::Context) {}
}
