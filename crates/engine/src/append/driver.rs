//! Joins a log's state machine to where it becomes durable: accept, push, and answer when the group is.
//!
//! ```text
//!  append ─> accept ─> push ──> take_group ─> (log's disk) ─> group_done ─┐
//!              │                      └─────> (Parquet commit) ─> files_done ─┴> Done: hot tier first, then release
//!              └─ refusal or duplicate: at once, or behind the group that it depends on
//! ```
//!
//! Nothing is visible before it is durable, and no refusal either. Invariant: whatever was accepted is pushed,
//! and pushing cannot fail. A log file is asked for room before. A Parquet commit may fail: then everything that was
//! accepted since the last one is given back as if it had never been asked, because it was judged by what failed.

use crate::append::error::{AppendError, Refusal};
use crate::append::files::{FilesCommitted, FilesFailed};
use crate::append::log::{Decision, Log};
use crate::append::outcome::Answer;
use crate::append::replicated::{Committed, GroupLost, ReplicatedGroup};
use crate::append::request::AppendRequest;
use crate::append::rules::Rules;
use crate::append::settled::Settled;
use crate::append::sink::{Sink, SinkGroup};
use crate::clock::LogClock;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_event::invariant::broken;
use strandline_event::{ErrorKind, LogIndex, Micros, StampedBatch, Stamps};
use strandline_wal::{Group, LeaderId, LogWriter, Rollover};

struct Waiting<R> {
    after: LogIndex,
    reply: R,
    answer: Answer,
}

/// Owner of one log. `R` is what an answer goes to; it is carried, never looked at.
pub struct LogDriver<R> {
    log: Log,
    sink: Sink,
    /// Ordered by `after`.
    waiting: VecDeque<Waiting<R>>,
    refuses: Option<Arc<str>>,
}

/// What became of a group. First give the batches to the hot tier, then release the answers.
#[must_use = "answers wait in it, and the store's closed moment too"]
pub struct Done<R> {
    /// Committed batches, in order.
    pub batches: Vec<(LogIndex, StampedBatch)>,
    /// Batches that were taken out: their moments close too.
    taken: Vec<LogIndex>,
    /// The same of those that will never be, since their commit failed.
    gone: Vec<LogIndex>,
    clock: Arc<LogClock>,
    answers: Vec<(R, Answer)>,
}

impl<R> Done<R> {
    /// Of a log with this clock; nothing was taken out and nothing is gone yet.
    fn new(clock: &Arc<LogClock>, batches: Vec<(LogIndex, StampedBatch)>, answers: Vec<(R, Answer)>) -> Self {
        Self { batches, taken: Vec::new(), gone: Vec::new(), clock: Arc::clone(clock), answers }
    }

    /// Takes the batches out, to be given to the hot tier.
    pub fn take_batches(&mut self) -> Vec<(LogIndex, StampedBatch)> {
        self.taken.extend(self.batches.iter().map(|(index, _)| *index));
        std::mem::take(&mut self.batches)
    }

    /// The batches are visible to every reader now: closes their moments and gives the answers, in order.
    #[must_use = "these are the answers"]
    pub fn release(self) -> Vec<(R, Answer)> {
        // first: what another leader has under the number of one that is gone is another batch
        self.clock.all_gone(self.gone.into_iter());
        self.clock.all_visible(self.batches.iter().map(|(index, _)| *index).chain(self.taken));
        self.answers
    }
}

impl<R> LogDriver<R> {
    /// `log` has replayed what `sink` holds above the watermark.
    #[must_use]
    pub fn new(log: Log, sink: impl Into<Sink>) -> Self {
        Self { log, sink: sink.into(), waiting: VecDeque::new(), refuses: None }
    }

    /// From now on every append is refused with this reason; what was accepted still completes.
    pub fn refuse_writes(&mut self, reason: impl Into<Arc<str>>) {
        let reason: Arc<str> = reason.into();
        // what is given back after a commit of unknown outcome may be stored all the same
        self.log.doubt(&reason);
        self.refuses = Some(reason);
    }

    /// Why appends are refused, if they are.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<&Arc<str>> {
        self.refuses.as_ref()
    }

    /// Judges a request. `entropy`: see [`IdSource`](crate::ids::IdSource). Gives the answer at once if it waits
    /// for nothing; otherwise it comes out of a [`Done`].
    pub fn append(&mut self, request: AppendRequest, now: Micros, entropy: u128, reply: R) -> Option<(R, Answer)> {
        if let Some(error) = self.cannot_take(&request) {
            return Some((reply, refused(error)));
        }
        let index = self.sink.last_pushed().next();
        let (after, answer) = match self.log.accept(&request, now, entropy, index) {
            Decision::Answer { after, answer } if after <= self.log.committed_through() => {
                return Some((reply, answer));
            }
            Decision::Answer { after, answer } => (after, answer),
            Decision::Store { batch, outcome } => {
                self.sink.push(&batch, index, now);
                (index, Answer::Done(outcome))
            }
        };
        let waiting = Waiting { after, reply, answer };
        if self.waiting.back().is_none_or(|last| last.after <= after) {
            self.waiting.push_back(waiting);
        } else {
            let at = self.waiting.partition_point(|w| w.after <= after);
            self.waiting.insert(at, waiting);
        }
        None
    }

    fn cannot_take(&self, request: &AppendRequest) -> Option<AppendError> {
        if let Some(reason) = &self.refuses {
            return Some(AppendError::Unavailable { reason: reason.to_string() });
        }
        if let Sink::Replicated(writer) = &self.sink
            && !writer.leads()
        {
            return Some(AppendError::NotLeader { leader: writer.replica().leader() });
        }
        let rows = request.batch.view().rows();
        // rows that are left out only make it smaller
        let bytes = Stamps::len_max_for(rows) + request.batch.bytes().len();
        let full = !request.inspect && !self.sink.has_room(bytes);
        full.then_some(AppendError::DiskFull { needed_bytes: bytes as u64 })
    }

    /// This node leads the log's group: everything up to entry `number`, whose last frame has `index`, is applied.
    pub fn lead(&mut self, leader: LeaderId, number: u64, index: LogIndex) {
        self.log.passed(index);
        self.log.reserves_under(leader);
        self.log.published().clock().set_leads(true);
        if let Sink::Replicated(writer) = &mut self.sink {
            writer.lead(leader, number, index);
        }
    }

    /// What is in flight in the log's group does not come back; nothing is accepted before this node [leads](Self::lead) again.
    pub fn abandon(&mut self, lost: &GroupLost) -> Done<R> {
        let Sink::Replicated(writer) = &mut self.sink else { broken("a log that is not replicated lost its leader") };
        writer.give_up();
        let leader = writer.replica().leader();
        self.log.published().clock().set_leads(false);
        let error = || match lost {
            GroupLost::Nothing(_) => AppendError::NotLeader { leader: leader.clone() },
            GroupLost::Unknown(reason) => AppendError::OutcomeUnknown { reason: reason.to_string() },
        };
        self.take_back(error)
    }

    /// Everything up to `through` is in files, and this replica has not seen all of it: it goes on there. What is in flight does not come back.
    pub fn jump(&mut self, through: LogIndex, settled: Arc<dyn Settled>, newest: Micros) -> Done<R> {
        let lost = GroupLost::Unknown(Arc::from("another node has moved the log on"));
        let done = self.abandon(&lost);
        self.log.jump(through, settled, newest);
        done
    }

    /// Whether what is on its way is this proposal. One that was given up may hear of its end while another one is on its way to the same place,
    /// where leadership was told anew.
    #[must_use]
    pub fn has_proposed(&self, group: &ReplicatedGroup) -> bool {
        matches!(&self.sink, Sink::Replicated(writer) if writer.has_proposed(group))
    }

    /// Whether an entry that is about to be applied is what is on its way.
    #[must_use]
    pub fn has_in_flight(&self, entry: &Committed) -> bool {
        matches!(&self.sink, Sink::Replicated(writer) if writer.has_in_flight(entry))
    }

    /// An entry of the log's group is committed, the next in order: what this node had in flight, or somebody else's.
    pub fn applied(&mut self, entry: Committed) -> Done<R> {
        let Sink::Replicated(writer) = &mut self.sink else { broken("an entry came to a log that is not replicated") };
        let is_over = writer.is_over_by(&entry);
        if writer.note_applied(&entry) {
            let batches = self.log.committed(entry.index);
            return self.done(entry.index, batches);
        }
        let mut done = Done::new(self.log.published().clock(), Vec::new(), Vec::new());
        let quiet = self.is_idle() && self.waiting.is_empty();
        if is_over || (!entry.batches.is_empty() && !quiet) {
            // it was judged without this entry, and what comes would be
            done = self.abandon(&GroupLost::Unknown(Arc::from("another leader's entry came first")));
        }
        for (index, batch) in entry.batches {
            if index > self.log.accepted_through() {
                self.log.replay(index, &batch);
                done.batches.push((index, batch));
            }
        }
        if self.is_idle() {
            self.log.passed(entry.index);
        }
        done
    }

    /// The next group to be made durable; `None` while one is in flight or nothing was accepted.
    pub fn take_group(&mut self) -> Option<SinkGroup> {
        self.sink.take_group()
    }

    /// A group of the log file is durable.
    pub fn group_done(&mut self, group: Group) -> Done<R> {
        let Sink::Log(writer) = &mut self.sink else { broken("a group of a log file came to a store without a log") };
        let through = writer.committed(group).last.map_or(LogIndex::ZERO, |last| last.index);
        let batches = self.log.committed(through);
        self.done(through, batches)
    }

    /// A commit of files has ended, well or not.
    pub fn files_done(&mut self, outcome: Result<FilesCommitted, FilesFailed>) -> Done<R> {
        let Sink::Files(writer) = &mut self.sink else { broken("a commit of files came to a store with a log") };
        match outcome {
            Ok(FilesCommitted { through, settled }) => {
                writer.committed(through);
                let batches = self.log.committed(through);
                self.log.settled_at_once(through, settled);
                self.done(through, batches)
            }
            Err(failed) => {
                writer.failed();
                self.give_back(&failed)
            }
        }
    }

    fn done(&mut self, through: LogIndex, batches: Vec<(LogIndex, StampedBatch)>) -> Done<R> {
        let ready = self.waiting.partition_point(|w| w.after <= through);
        let answers = self.waiting.drain(..ready).map(|w| (w.reply, w.answer)).collect();
        Done::new(self.log.published().clock(), batches, answers)
    }

    /// Nothing of what is in flight happened (or nobody may count on it): who waits is told, the state goes back.
    fn give_back(&mut self, failed: &FilesFailed) -> Done<R> {
        let disk_full = matches!(failed, FilesFailed::Nothing { disk_full: true, .. });
        let kind = if disk_full { ErrorKind::DiskFull } else { ErrorKind::Unavailable };
        if !matches!(failed, FilesFailed::Nothing { .. }) {
            self.refuse_writes(failed.to_string());
        }
        let reason = failed.to_string();
        self.take_back(|| AppendError::NotCommitted { kind, reason: reason.clone() })
    }

    fn take_back(&mut self, error: impl Fn() -> AppendError) -> Done<R> {
        let gone = self.log.roll_back();
        let answers = self.waiting.drain(..).map(|w| (w.reply, refused(error()))).collect();
        Done { gone, ..Done::new(self.log.published().clock(), Vec::new(), answers) }
    }

    /// A manifest took over everything up to `through`. Memory lets it go with [`settle_step`](Self::settle_step).
    pub fn compacted(&mut self, through: LogIndex, settled: Arc<dyn Settled>) {
        if self.is_yet_to_hear_of(through) {
            return;
        }
        self.log.compacted(through, settled);
    }

    /// Whether a manifest holds what is on its way here, so that its own word must come first. Of a log file no manifest takes what its
    /// owner does not know to be durable; a commit of files is a manifest before it is told to who asked for it, and another replica may
    /// have been quicker to apply and to compact.
    fn is_yet_to_hear_of(&self, through: LogIndex) -> bool {
        let is_log_file = matches!(self.sink, Sink::Log(_));
        !is_log_file && !self.is_idle() && through > self.log.committed_through()
    }

    /// Lets go of some more of what manifests took over: a step that no append waits long for. `false`: nothing is left.
    pub fn settle_step(&mut self) -> bool {
        self.log.settle_step()
    }

    /// Number of requests that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The state machine.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The last index that is durable.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.sink.durable()
    }

    /// Whether everything that was accepted up to here is durable, or was given back: then how far of it there is. `None`: not yet.
    #[must_use]
    pub fn passed(&self, index: LogIndex) -> Option<LogIndex> {
        let is_idle = self.is_idle();
        let through = if is_idle { self.sink.last_pushed() } else { self.sink.durable() };
        // of what was given back indices are others' from then on, or nobody's
        (is_idle || index <= through).then_some(index.min(through))
    }

    /// The index of the last batch that was accepted.
    #[must_use]
    pub fn last_accepted(&self) -> LogIndex {
        self.sink.last_pushed()
    }

    /// Whether nothing that was accepted is still on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.sink.is_in_flight() && !self.sink.has_pending()
    }

    /// Ends the open segment, where there are segments. Gives the last index that was accepted.
    pub fn seal(&mut self) -> LogIndex {
        match &mut self.sink {
            Sink::Log(writer) => writer.seal(),
            Sink::Files(writer) => writer.last_pushed(),
            Sink::Replicated(writer) => {
                writer.replica().seal();
                writer.last_pushed()
            }
        }
    }

    /// The store's statement was replaced: from the next request on it judges by these rules, and the log file ends its segments so.
    pub(crate) fn follow(&mut self, rules: Arc<Rules>, rollover: Rollover) {
        self.log.judge_by(rules);
        if let Sink::Log(writer) = &mut self.sink {
            writer.set_rollover(rollover);
        }
    }

    /// The writer of the log file, to mark and trim it; `None`: the store has no log.
    pub fn log_writer(&mut self) -> Option<&mut LogWriter> {
        match &mut self.sink {
            Sink::Log(writer) => Some(writer),
            Sink::Files(_) | Sink::Replicated(_) => None,
        }
    }
}

fn refused(error: AppendError) -> Answer {
    Answer::Refused(Box::new(Refusal { row: None, error }))
}
