//! One log's state: heads, commands, ids, chunks and the clock, as of everything that was accepted.
//!
//! ```text
//!  watermark <= committed <= accepted
//!     |            |            |
//!     |            |            in flight: overlay of heads, commands, ids, chunks; moments not closed
//!     |            heads, ids that readers see
//!     runs and Parquet (Settled)
//! ```
//!
//! Pure: no file, no clock, no randomness. Invariant: the state after [`Log::replay`] of what was stored is the
//! state that was there when it was stored; so a restart changes no answer.

mod compacted;
mod replay;

use crate::Few;
use crate::append::error::{AppendError, Refusal, ShapeError};
use crate::append::hashes::{HashedCommand, Hashes};
use crate::append::outcome::{Again, Answer, AppendOutcome, DuplicateOf, Lookup, RejectedRow};
use crate::append::pass::judge;
use crate::append::published::Published;
use crate::append::request::AppendRequest;
use crate::append::rules::Rules;
use crate::append::settle::SettledCommand;
use crate::append::settled::{Settled, SettledError};
use crate::append::settling::Settling;
use crate::append::stamp::Unstamped;
use crate::append::verdict::{NewCommand, Verdict};
use crate::chunks::{ChunkMarks, KnownChunk};
use crate::clock::LogClock;
use crate::commands::{CommandRecord, Commands, commands_of};
use crate::heads::{Heads, Touched, touched, touched_streams};
use crate::ids::{TailIds, TailLoc};
use crate::tenants::joined;
use foldhash::fast::FixedState;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_event::hash::stream_hash;
use strandline_event::invariant::broken;
use strandline_event::{BatchView, EventId, IdPrefix, LogIndex, LogKey, Micros, Seq, StampedBatch};

pub(crate) use replay::Learned;

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It is stored under the index that was given: write it, and answer when it is committed.
    Store {
        /// What to write.
        batch: StampedBatch,
        /// What to answer then.
        outcome: Box<AppendOutcome>,
    },
    /// Nothing is stored; answer once everything up to `after` is committed.
    Answer {
        /// What it was judged by.
        after: LogIndex,
        /// The answer.
        answer: Answer,
    },
}

#[derive(Debug)]
struct InFlight {
    index: LogIndex,
    batch: StampedBatch,
    touched: Few<Touched>,
}

/// What is in flight of a stream.
#[derive(Clone, Copy, Debug)]
struct FlyingHead {
    last: Seq,
    index: LogIndex,
    /// The tenant of what is in flight, as heads keep it.
    tenant: u64,
}

/// The state machine of one log.
pub struct Log {
    key: LogKey,
    rules: Arc<Rules>,
    published: Arc<Published>,
    /// Heads of streams with something in flight.
    overlay: HashMap<u128, FlyingHead, FixedState>,
    in_flight: VecDeque<InFlight>,
    pub(super) commands: Commands,
    chunks: ChunkMarks,
    watermark: LogIndex,
    accepted: LogIndex,
    committed: LogIndex,
    /// Ids at or below it may have left memory: who looked them up in files must have seen these files.
    ids_left: LogIndex,
    /// Without a log: batches above `ids_left` that are in files already, with their last moments.
    lingering: VecDeque<(LogIndex, Micros)>,
    /// What a manifest took over leaves memory, step by step.
    settling: Option<Settling>,
    /// More was taken over since `settling` began.
    settle_again: bool,
}

impl Log {
    /// A log of which everything up to `watermark` is in `settled` and nothing more is known; see [`replay`](Self::replay).
    #[must_use]
    pub fn new(
        key: LogKey,
        rules: Arc<Rules>,
        clock: Arc<LogClock>,
        settled: Arc<dyn Settled>,
        watermark: LogIndex,
    ) -> Self {
        Self {
            key,
            rules,
            published: Arc::new(Published::new(clock, settled, watermark)),
            overlay: HashMap::default(),
            in_flight: VecDeque::new(),
            commands: Commands::default(),
            chunks: ChunkMarks::default(),
            watermark,
            accepted: watermark,
            committed: watermark,
            ids_left: watermark,
            lingering: VecDeque::new(),
            settling: None,
            settle_again: false,
        }
    }

    /// Name of the log.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// What readers share with it.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The last batch that was accepted.
    #[must_use]
    pub fn accepted_through(&self) -> LogIndex {
        self.accepted
    }

    /// The last batch that is committed.
    #[must_use]
    pub fn committed_through(&self) -> LogIndex {
        self.committed
    }

    /// The rules it judges by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether it judges by these and no others.
    pub(crate) fn judges_by(&self, rules: &Arc<Rules>) -> bool {
        Arc::ptr_eq(&self.rules, rules)
    }

    /// From the next request on it judges by these. What was accepted stays accepted.
    pub(crate) fn judge_by(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
    }

    /// Ids at or below it stand in files only, as far as this log remembers.
    pub(crate) fn ids_left(&self) -> LogIndex {
        self.ids_left
    }

    /// Judges a request. `index`: what the log file will give the next entry. On [`Decision::Store`] the state
    /// has moved on: the caller must write the batch, and it must not fail.
    pub fn accept(&mut self, request: &AppendRequest, now: Micros, entropy: u128, index: LogIndex) -> Decision {
        let verdict = match self.chunk_known(request.batch.view()) {
            Ok(Some(known)) => {
                let rows = request.batch.view().rows();
                return match request.foreign_row() {
                    None => self.answer(request, known.index, known_chunk(known.refused, rows)),
                    // whose it is not learns nothing, and what is stored is not stored again with the rows beside it
                    row => self.answer(request, LogIndex::ZERO, refused(row, AppendError::OtherTenant)),
                };
            }
            Ok(None) => judge(self, request),
            Err(error) => Err(error),
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                let error = AppendError::Unavailable { reason: unavailable_text(&error) };
                return self.answer(request, LogIndex::ZERO, refused(None, error));
            }
        };
        let after = verdict.depends;
        if let Some(log) = verdict.waits_for {
            return Decision::Answer { after: LogIndex::ZERO, answer: Answer::Again(Again::Elsewhere { log }) };
        }
        if verdict.unread {
            let answer = Answer::Again(Again::Lookup(Lookup { rows: verdict.behind }));
            return Decision::Answer { after, answer };
        }
        if verdict.recheck {
            let answer = Answer::Again(Again::Recheck { through: self.ids_left });
            return Decision::Answer { after: LogIndex::ZERO, answer };
        }
        if let Some(refusal) = verdict.refusal {
            return self.answer(request, after, Answer::Refused(Box::new(refusal)));
        }
        if verdict.stored == 0 {
            return self.answer(request, after, nothing_stored(verdict));
        }
        if let Some(again) = self.must_reserve(request, &verdict) {
            return Decision::Answer { after: LogIndex::ZERO, answer: Answer::Again(again) };
        }
        self.store(request, verdict, now, entropy, index)
    }

    fn store(
        &mut self,
        request: &AppendRequest,
        verdict: Verdict,
        now: Micros,
        entropy: u128,
        index: LogIndex,
    ) -> Decision {
        let Some(unstamped) = Unstamped::new(&request.batch, &verdict) else {
            let error = AppendError::Shape(ShapeError::OverLimits);
            return self.answer(request, LogIndex::ZERO, refused(None, error));
        };
        if index <= self.accepted {
            broken("a log gave an index twice");
        }
        let clock = &self.published.clock;
        let base = if request.inspect { clock.peek(now) } else { clock.assign(now, unstamped.span_us(), index) };
        let batch = self.stamp(&unstamped, &verdict, base, entropy);
        let mut outcome = Box::new(AppendOutcome {
            inspect: request.inspect,
            index: (!request.inspect).then_some(index),
            stamped: Some(batch.clone()),
            rows: unstamped.rows,
            duplicates: verdict.duplicates,
            rejected: verdict.rejected,
            duplicate_rows: verdict.duplicate_rows,
            ..AppendOutcome::default()
        });
        date_body_duplicates(&mut outcome, &batch);
        if request.inspect {
            return Decision::Answer { after: self.accepted, answer: Answer::Done(outcome) };
        }
        // rows that were left out may have taken their streams with them
        let touched = if verdict.stored == verdict.seqs.len() {
            touched_streams(&batch, verdict.streams.iter().map(|stream| stream.hash))
        } else {
            touched(&batch)
        };
        self.remember(index, &batch, touched, &verdict.commands, &verdict.seqs);
        Decision::Store { batch, outcome }
    }

    /// Stamps with the first prefix under which no id is taken.
    fn stamp(&self, unstamped: &Unstamped, verdict: &Verdict, base: Micros, mut entropy: u128) -> StampedBatch {
        let ids = self.published.ids.read();
        let given_ids = ids.has_given() || !verdict.ids.is_empty();
        loop {
            let prefix: IdPrefix = self.rules.id_prefix(base, entropy);
            if !ids.has_prefix(prefix) {
                let batch = unstamped.stamp(verdict, (base, prefix), self.rules.digest_key);
                let taken = |row: usize| {
                    let id = batch.stamps().made_id(row);
                    batch.view().given_event_id(row).is_none() && (verdict.ids.contains(&id) || ids.find(id).is_some())
                };
                if !given_ids || !(0..batch.rows()).any(taken) {
                    return batch;
                }
            }
            entropy = self.rules.next_entropy(entropy);
        }
    }

    /// The state moves on: the batch is in flight.
    fn remember(
        &mut self,
        index: LogIndex,
        batch: &StampedBatch,
        touched: Few<Touched>,
        commands: &[NewCommand],
        seqs: &[u64],
    ) {
        for t in touched.iter() {
            let new = FlyingHead { last: t.last, index, tenant: t.tenant };
            let flying = self.overlay.entry(t.stream).or_insert(new);
            *flying = FlyingHead { tenant: joined(flying.tenant, t.tenant), ..new };
        }
        self.published.ids.write().insert(index, batch);
        self.chunks.insert(batch, index);
        // rows that were left out shift the rows of the stored batch
        let mut commands = commands.iter().peekable();
        let stored = seqs.iter().enumerate().filter(|(_, seq)| **seq > 0);
        for (stored_row, (row, seq)) in stored.enumerate() {
            while let Some(command) = commands.next_if(|c| c.row as usize <= row) {
                let record = CommandRecord {
                    digest: command.digest,
                    first_seq: Seq(*seq),
                    count: command.count,
                    ingested_at: batch.stamps().ingested_at(stored_row),
                };
                self.commands.insert_new(command.key, record, index);
            }
        }
        self.accepted = index;
        self.in_flight.push_back(InFlight { index, batch: batch.clone(), touched });
    }

    /// Everything up to `through` is durable: heads advance, readers may see it. Gives the batches, in order.
    pub fn committed(&mut self, through: LogIndex) -> Vec<(LogIndex, StampedBatch)> {
        let mut batches = Vec::new();
        while let Some(entry) = self.in_flight.pop_front_if(|entry| entry.index <= through) {
            for t in entry.touched.iter() {
                if let Entry::Occupied(flying) = self.overlay.entry(t.stream)
                    && flying.get().index <= entry.index
                {
                    flying.remove();
                }
            }
            self.advance(entry.index, &entry.touched);
            batches.push((entry.index, entry.batch));
        }
        // blank entries and memberships take indices too
        self.committed = self.committed.max(through);
        self.published.committed.store(self.committed.0, Ordering::Release);
        batches
    }

    /// Entries that are no batches took indices, up to here: what says something of a log's group.
    pub fn passed(&mut self, through: LogIndex) {
        self.accepted = self.accepted.max(through);
        self.committed = self.committed.max(through);
        self.published.committed.store(self.committed.0, Ordering::Release);
    }

    /// What was accepted and is not committed never was, as far as this node knows: its commit failed, or its leadership ended. Gives its indices.
    pub fn roll_back(&mut self) -> Vec<LogIndex> {
        let gone = self.in_flight.drain(..).map(|entry| entry.index).collect();
        self.overlay.clear();
        self.accepted = self.committed;
        self.published.ids.write().take_back(self.committed);
        self.commands.take_back(self.committed);
        self.chunks.take_back(self.committed);
        gone
    }

    /// Everything up to `through` is in `settled`, and this log has not seen all of it: it goes on there, as if it had been opened so.
    /// Nothing may be in flight. `newest`: no event up to there is newer.
    pub fn jump(&mut self, through: LogIndex, settled: Arc<dyn Settled>, newest: Micros) {
        if !self.in_flight.is_empty() {
            broken("a log that has appends in flight went on elsewhere");
        }
        let through = through.max(self.committed);
        *self.published.settled.write() = settled;
        *self.published.heads.write() = Heads::default();
        *self.published.ids.write() = TailIds::default();
        self.commands.clear();
        self.chunks = ChunkMarks::default();
        (self.settling, self.settle_again) = (None, false);
        self.published.clock.observe(newest);
        (self.watermark, self.ids_left) = (through, through);
        self.passed(through);
    }

    fn advance(&mut self, index: LogIndex, touched: &[Touched]) {
        let mut heads = self.published.heads.write();
        for t in touched {
            heads.advance(t, index);
        }
        self.committed = index;
        self.published.committed.store(index.0, Ordering::Release);
    }

    /// A stream's head with everything in flight, and the batch that moved it last (`ZERO`: below the watermark).
    pub(crate) fn head(&self, stream: u128) -> Result<(Seq, LogIndex), SettledError> {
        if let Some(found) = self.overlay.get(&stream) {
            return Ok((found.last, found.index));
        }
        if let Some((head, index)) = self.published.heads.read().get(stream) {
            return Ok((head.last_seq, index));
        }
        let settled = self.published.settled().head(stream)?;
        Ok((settled.map_or(Seq::ZERO, |head| head.last_seq), LogIndex::ZERO))
    }

    /// The owner of a stream with everything in flight; `None`: it has no event.
    pub(crate) fn owner(&self, stream: u128) -> Result<Option<u64>, SettledError> {
        let known = self.published.head_by_hash(stream)?.map(|head| head.tenant);
        let flying = self.overlay.get(&stream).map(|flying| flying.tenant);
        Ok(match (known, flying) {
            (Some(known), Some(flying)) => Some(joined(known, flying)),
            (known, flying) => known.or(flying),
        })
    }

    /// A stream's head with everything that was accepted; for tests and the owner's own reads.
    pub fn accepted_head(&self, stream_id: &str) -> Result<Seq, SettledError> {
        self.head(stream_hash(stream_id)).map(|(seq, _)| seq)
    }

    /// Before many commands are asked for. Whether memory has any of them.
    pub(crate) fn look_ahead(&self, commands: impl Iterator<Item = u128> + Clone) -> bool {
        self.commands.look_ahead(commands)
    }

    /// What memory has of the heads of streams, by their place among these: of what is in flight first. As [`head`](Self::head) finds it for one, and
    /// what each look waits for is waited for at the same time.
    pub(crate) fn look_ahead_heads(&self, streams: &[u128], mut found: impl FnMut(usize, (Seq, LogIndex))) {
        for (stream, hash) in streams.iter().enumerate() {
            if let Some(flying) = self.overlay.get(hash) {
                found(stream, (flying.last, flying.index));
            }
        }
        self.published.heads.read().look_ahead(streams, found);
    }

    pub(crate) fn find_id(&self, id: EventId) -> Option<TailLoc> {
        self.published.ids.read().find(id)
    }

    /// Also where an append is refused because of what cannot be read.
    fn chunk_known(&self, batch: BatchView<'_>) -> Result<Option<KnownChunk>, SettledError> {
        let settled = self.published.settled();
        if let Some(error) = settled.refuses(self.rules.scope) {
            return Err(error);
        }
        let Some(chunk) = batch.chunk() else { return Ok(None) };
        let rows = batch.rows() as u32;
        if let Some(known) = self.chunks.get(chunk) {
            // a client may send a shorter body under the same number
            let refused = known.refused.iter().copied().filter(|row| *row < rows).collect();
            return Ok(Some(KnownChunk { refused, ..*known }));
        }
        let key = self.rules.digest_key;
        let index = LogIndex::ZERO;
        let Some(mark) = settled.chunk(&chunk.mark(key))? else {
            let highest = settled.chunk(&chunk.digest)?;
            let known = highest.filter(|highest| chunk.number <= *highest);
            return Ok(known.map(|_| KnownChunk { index, refused: Vec::new() }));
        };
        let mut refused = Vec::new();
        if mark > 1 {
            for row in 0..rows {
                if settled.chunk(&chunk.refused_mark(row, key))?.is_some() {
                    refused.push(row);
                }
            }
        }
        Ok(Some(KnownChunk { index, refused }))
    }

    #[allow(clippy::unused_self)]
    fn answer(&self, request: &AppendRequest, after: LogIndex, mut answer: Answer) -> Decision {
        if let Answer::Done(outcome) = &mut answer {
            outcome.inspect = request.inspect;
        }
        Decision::Answer { after, answer }
    }
}

/// The commands of a stored batch, with the records that answer their retries. `hashes`: the batch's; none where nobody checks command ids.
pub(crate) fn command_records<'a>(
    batch: &'a StampedBatch,
    hashes: &'a Hashes,
) -> impl Iterator<Item = SettledCommand> + 'a {
    let view = batch.view();
    commands_of(view).filter_map(move |(_, rows)| {
        let HashedCommand { key, digest } = hashes.command(rows.start)?;
        let stream = hashes.streams().get(view.stream_of(rows.start)).copied()?;
        let record = CommandRecord {
            digest,
            first_seq: batch.seq(rows.start),
            count: rows.len() as u32,
            ingested_at: batch.stamps().ingested_at(rows.start),
        };
        Some(SettledCommand { key, stream, record })
    })
}

/// Rows known by an earlier row of their body get that row's moment.
fn date_body_duplicates(outcome: &mut AppendOutcome, batch: &StampedBatch) {
    for known in &mut outcome.duplicates {
        if let DuplicateOf::Row(first) = known.of {
            let stored = match &outcome.rows.0 {
                Some(map) => map.binary_search(&first).unwrap_or(0),
                None => first as usize,
            };
            known.ingested_at = batch.stamps().ingested_at(stored);
        }
    }
}

fn refused(row: Option<u32>, error: AppendError) -> Answer {
    Answer::Refused(Box::new(Refusal { row, error }))
}

fn known_chunk(refused: Vec<u32>, rows: usize) -> Answer {
    Answer::Done(Box::new(AppendOutcome {
        duplicate: refused.is_empty(),
        chunk_known: true,
        duplicate_rows: rows.saturating_sub(refused.len()),
        rejected: refused.into_iter().map(|row| RejectedRow { row, error: AppendError::RefusedBefore }).collect(),
        ..AppendOutcome::default()
    }))
}

fn nothing_stored(verdict: Verdict) -> Answer {
    Answer::Done(Box::new(AppendOutcome {
        duplicate: verdict.rejected.is_empty(),
        duplicates: verdict.duplicates,
        rejected: verdict.rejected,
        duplicate_rows: verdict.duplicate_rows,
        ..AppendOutcome::default()
    }))
}

fn unavailable_text(error: &SettledError) -> String {
    format!("this stream type refuses writes: {error}; run `strandline verify`, which names the damaged file")
}
