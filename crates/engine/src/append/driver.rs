//! Joins a log's state machine to its file: accept, push, and answer when the group is durable.
//!
//! ```text
//!  append ─> accept ─> push ──> take_group ─> (disk) ─> group_done ─> Done: hot tier first, then release
//!              └─ refusal or duplicate: at once, or behind the group that it depends on
//! ```
//!
//! Nothing is visible before it is durable, and no refusal either. Invariant: whatever was accepted is pushed,
//! and pushing cannot fail: room is asked for before.

use crate::append::error::{AppendError, Refusal};
use crate::append::log::{Decision, Log};
use crate::append::outcome::Answer;
use crate::append::request::AppendRequest;
use crate::append::settled::Settled;
use crate::clock::LogClock;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_event::batch::BATCH_SCHEMA_VERSION;
use strandline_event::invariant::broken;
use strandline_event::{LogIndex, Micros, StampedBatch, Stamps};
use strandline_wal::{Entry, Group, LogWriter, Room};

struct Waiting<R> {
    after: LogIndex,
    reply: R,
    answer: Answer,
}

/// Owner of one log. `R` is what an answer goes to; it is carried, never looked at.
pub struct LogDriver<R> {
    log: Log,
    writer: LogWriter,
    /// Ordered by `after`.
    waiting: VecDeque<Waiting<R>>,
    refuses: Option<Arc<str>>,
}

/// What a durable group brought. First give the batches to the hot tier, then release the answers.
#[must_use = "answers wait in it, and the store's closed moment too"]
pub struct Done<R> {
    /// Committed batches, in order.
    pub batches: Vec<(LogIndex, StampedBatch)>,
    clock: Arc<LogClock>,
    answers: Vec<(R, Answer)>,
}

impl<R> Done<R> {
    /// The batches are visible to every reader now: closes their moments and gives the answers, in order.
    #[must_use = "these are the answers"]
    pub fn release(self) -> Vec<(R, Answer)> {
        for (index, _) in &self.batches {
            self.clock.visible(*index);
        }
        self.answers
    }
}

impl<R> LogDriver<R> {
    /// `log` has replayed what `writer`'s file holds above the watermark.
    #[must_use]
    pub fn new(log: Log, writer: LogWriter) -> Self {
        Self { log, writer, waiting: VecDeque::new(), refuses: None }
    }

    /// From now on every append is refused with this reason; what was accepted still completes.
    pub fn refuse_writes(&mut self, reason: impl Into<Arc<str>>) {
        self.refuses = Some(reason.into());
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
            return Some((reply, Answer::Refused(Box::new(Refusal { row: None, error }))));
        }
        let index = self.writer.last_pushed().next();
        let (after, answer) = match self.log.accept(&request, now, entropy, index) {
            Decision::Answer { after, answer } if after <= self.log.committed_through() => {
                return Some((reply, answer));
            }
            Decision::Answer { after, answer } => (after, answer),
            Decision::Store { batch, outcome } => {
                self.push(&batch, index, now);
                (index, Answer::Done(outcome))
            }
        };
        let at = self.waiting.partition_point(|w| w.after <= after);
        self.waiting.insert(at, Waiting { after, reply, answer });
        None
    }

    fn cannot_take(&self, request: &AppendRequest) -> Option<AppendError> {
        if let Some(reason) = &self.refuses {
            return Some(AppendError::Unavailable { reason: reason.to_string() });
        }
        // rows that are left out only make it smaller
        let bytes = Stamps::len_for(request.batch.view().rows()) + request.batch.bytes().len();
        let full = !request.inspect && self.writer.room(bytes) == Room::Full;
        full.then_some(AppendError::DiskFull { needed_bytes: bytes as u64 })
    }

    fn push(&mut self, batch: &StampedBatch, index: LogIndex, now: Micros) {
        let entry = Entry {
            leader: self.writer.state().vote.leader,
            schema: BATCH_SCHEMA_VERSION,
            count: batch.rows() as u32,
            parts: &batch.payload_parts(),
        };
        match self.writer.push(entry, now) {
            Ok(pushed) if pushed.index == index => {}
            Ok(_) => broken("the log file gave an entry another index than was planned"),
            Err(_) => broken("the log file refused an entry that was accepted"),
        }
    }

    /// The next group for the disk; `None` while one is in flight or nothing was accepted.
    pub fn take_group(&mut self) -> Option<Group> {
        self.writer.take_group()
    }

    /// A group is durable.
    pub fn group_done(&mut self, group: Group) -> Done<R> {
        let through = self.writer.committed(group).last.map_or(LogIndex::ZERO, |last| last.index);
        let batches = self.log.committed(through);
        let ready = self.waiting.partition_point(|w| w.after <= through);
        let answers = self.waiting.drain(..ready).map(|w| (w.reply, w.answer)).collect();
        Done { batches, clock: Arc::clone(self.log.published().clock()), answers }
    }

    /// A manifest took over everything up to `through`.
    pub fn compacted(&mut self, through: LogIndex, settled: Arc<dyn Settled>) {
        self.log.compacted(through, settled);
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

    /// The log file's writer.
    #[must_use]
    pub fn writer(&self) -> &LogWriter {
        &self.writer
    }

    /// The log file's writer: to seal, mark, trim.
    pub fn writer_mut(&mut self) -> &mut LogWriter {
        &mut self.writer
    }
}
