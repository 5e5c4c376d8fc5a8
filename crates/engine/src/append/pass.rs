//! One pass over a request's rows: what happens to each, without changing anything.
//!
//! Rows see the log as it is with everything in flight, and the rows before them in the same body. A row that
//! is refused or known leaves no trace for the rows after it.

use crate::Few;
use crate::append::error::{AppendError, Refusal, ShapeError};
use crate::append::hashes::{HashedCommand, Hashes};
use crate::append::log::Log;
use crate::append::outcome::{DuplicateOf, DuplicateRow, RejectedRow};
use crate::append::registry::Found;
use crate::append::request::{AppendRequest, KnownSeq, OnError};
use crate::append::rules::SEQ_MAX;
use crate::append::settled::{Settled, SettledError};
use crate::append::verdict::{JudgedStream, NewCommand, Verdict};
use crate::commands::{CommandRecord, Scope};
use crate::heads::tenant_hash;
use crate::strict::one_command;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_durable::DIGEST_UNKNOWN;
use strandline_event::{BatchUnit, BatchView, EventId, LogIndex, Micros, Seq};

/// Records of heads in runs, of 40 bytes, that caches of processors hold about: to look ahead for them costs more than it saves.
const HEADS_IN_CACHES: usize = 100_000;

/// What one row is.
enum Row {
    New(Seq),
    Known(DuplicateRow),
    /// Known or not: the read will tell. Counts as known until then.
    Unread,
}

/// What the command of some rows is.
enum Command {
    /// They have none, or begin it.
    New,
    Known(DuplicateRow),
    /// Known; whether by these events the read will tell.
    Unread,
}

struct Pass<'a> {
    log: &'a Log,
    request: &'a AppendRequest,
    batch: BatchView<'a>,
    hashes: &'a Hashes,
    /// What left memory, from when it is first asked: it does not change while a request is judged.
    settled: Option<Arc<dyn Settled>>,
    /// Each command of the body is new, and stands there once: none has to be looked for.
    all_new: bool,
    /// Of a bulk body in which a command may stand twice, by key: places of `out.commands`.
    body_commands: HashTable<u32>,
    /// By distinct stream and seq: the row of this body, filled when first asked for.
    body_seqs: Option<HashMap<(usize, u64), u32>>,
    out: Verdict,
}

/// Judges a request.
pub(crate) fn judge(log: &Log, request: &AppendRequest) -> Result<Verdict, SettledError> {
    let batch = request.batch.view();
    let rows = batch.rows();
    let made;
    let hashes = match request.hashes.as_deref().filter(|hashes| hashes.are_of(batch, log.rules())) {
        Some(hashes) => hashes,
        None => {
            made = Hashes::of(batch, log.rules());
            &made
        }
    };
    let mut pass = Pass {
        log,
        request,
        batch,
        hashes,
        settled: None,
        all_new: false,
        body_commands: HashTable::new(),
        body_seqs: None,
        out: Verdict {
            seqs: Few::from_elem(0, rows),
            streams: hashes.streams().iter().map(|hash| JudgedStream::new(*hash)).collect(),
            claim: log.claim(hashes.command_keys(), request.inspect),
            ..Verdict::default()
        },
    };
    let whole = match pass.whole()? {
        Whole::Rows => pass.rows()?,
        Whole::Refused(refusal) => Some(refusal),
        Whole::Known => None,
    };
    pass.out.refusal = whole;
    Ok(pass.out)
}

enum Whole {
    Rows,
    Refused(Refusal),
    Known,
}

/// Keys of commands are keyed hashes: nobody chooses which of them meet.
const fn hash_of(key: u128) -> u64 {
    key as u64
}

/// The id of the command that a row names, for who is told of it.
fn command_id_of(batch: BatchView<'_>, row: usize) -> impl Fn() -> String {
    move || batch.command_id(row).unwrap_or_default().to_owned()
}

impl Pass<'_> {
    /// What concerns the request as a whole: shape, the command and the expected seq of a stream append.
    fn whole(&mut self) -> Result<Whole, SettledError> {
        let refuse = |error| Ok(Whole::Refused(Refusal { row: None, error }));
        if self.batch.stream_type() != &*self.log.key().stream_type {
            return refuse(AppendError::Shape(ShapeError::OtherStreamType));
        }
        let expected = self.request.expected;
        if self.batch.unit() == BatchUnit::Rows {
            let any = expected == crate::append::Expected::Any;
            return if any { Ok(Whole::Rows) } else { refuse(AppendError::Shape(ShapeError::ExpectedInBulk)) };
        }
        if self.batch.stream_count() != 1 {
            return refuse(AppendError::Shape(ShapeError::SeveralStreams));
        }
        // before anything that could tell a number of the stream
        for row in 0..self.batch.rows() {
            if let Some(error) = self.of_another_tenant(row)? {
                return Ok(Whole::Refused(Refusal { row: Some(row as u32), error }));
            }
        }
        if let Err((row, violation)) = one_command(self.batch) {
            return Ok(Whole::Refused(Refusal { row: Some(row), error: AppendError::Strict(violation) }));
        }
        let rows = self.batch.rows();
        if let Some(row) = (0..rows).find(|row| self.batch.command_id(*row).is_some())
            && let Some(hashed) = self.hashes.command(row)
        {
            match self.command(hashed, row, 0..rows)? {
                Ok(Command::New) => {}
                Ok(Command::Unread) => {
                    self.out.unread = true;
                    return Ok(Whole::Known);
                }
                Ok(Command::Known(known)) => {
                    self.out.duplicates.push(DuplicateRow { row: 0, ..known });
                    self.out.duplicate_rows = rows;
                    return Ok(Whole::Known);
                }
                Err(error) => return refuse(error),
            }
        }
        let actual = self.head(0)?;
        if !expected.allows(actual) {
            let stream_id = self.batch.stream(0).to_owned();
            return refuse(AppendError::WrongExpectedSeq { stream_id, expected, actual });
        }
        Ok(Whole::Rows)
    }

    /// Row by row. Gives the refusal of the whole request, if there is one.
    fn rows(&mut self) -> Result<Option<Refusal>, SettledError> {
        let bulk = self.batch.unit() == BatchUnit::Rows;
        if bulk {
            self.look_ahead();
        }
        for row in 0..self.batch.rows() {
            let error = match self.row(row, bulk)? {
                Ok(Row::New(seq)) => {
                    self.store(row, seq);
                    continue;
                }
                Ok(Row::Known(known)) => {
                    self.out.duplicates.push(known);
                    self.out.duplicate_rows += 1;
                    continue;
                }
                Ok(Row::Unread) => {
                    self.out.unread = true;
                    continue;
                }
                Err(error) => error,
            };
            if !bulk || self.request.on_error == OnError::Abort {
                return Ok(Some(Refusal { row: Some(row as u32), error }));
            }
            self.out.rejected.push(RejectedRow { row: row as u32, error });
        }
        // a stream append is stored whole or not at all
        if !bulk
            && self.out.stored > 0
            && !self.out.unread
            && let Some(known) = self.out.duplicates.first().copied()
        {
            let error = self.seq_conflict(0, known.first_seq)?;
            return Ok(Some(Refusal { row: Some(known.row), error }));
        }
        Ok(None)
    }

    /// Reads what the rows of a body will ask of tables and of runs. A look at one waits for memory; looks at many of which none depends on another
    /// wait at the same time.
    fn look_ahead(&mut self) {
        let (log, hashes) = (self.log, self.hashes);
        let is_in_memory = log.look_ahead(hashes.command_keys());
        let streams = &mut self.out.streams;
        log.look_ahead_heads(hashes.streams(), |stream, head| {
            if let Some(judged) = streams.get_mut(stream) {
                judged.ahead.get_or_insert(head);
            }
        });
        let settled = self.settled.get_or_insert_with(|| log.published().settled());
        settled.look_ahead(&mut hashes.command_keys());
        let is_elsewhere = settled.may_have_commands() || self.out.claim.is_some();
        self.all_new = !is_in_memory && !is_elsewhere && !hashes.may_repeat();
        if settled.head_records() > HEADS_IN_CACHES {
            let missing = self.out.streams.iter().filter(|judged| judged.ahead.is_none());
            settled.look_ahead_heads(&missing.map(|judged| judged.hash).collect::<Vec<u128>>());
        }
    }

    fn row(&mut self, row: usize, bulk: bool) -> Result<Result<Row, AppendError>, SettledError> {
        if bulk && let Some(error) = self.of_another_tenant(row)? {
            return Ok(Err(error));
        }
        if bulk && let Some(hashed) = self.hashes.command(row) {
            match self.command(hashed, row, row..row + 1)? {
                Ok(Command::New) => {}
                Ok(Command::Unread) => return Ok(Ok(Row::Unread)),
                Ok(Command::Known(known)) => return Ok(Ok(Row::Known(known))),
                Err(error) => return Ok(Err(error)),
            }
        }
        if let Some(error) = self.stands_elsewhere(row)? {
            return Ok(self.without_command(row, Err(error)));
        }
        let seq = match self.seq(row)? {
            Ok(Row::New(seq)) => seq,
            other => return Ok(self.without_command(row, other)),
        };
        if let Err(violation) = self.log.rules().strict.check_row(self.batch, row) {
            return Ok(self.without_command(row, Err(AppendError::Strict(violation))));
        }
        if let Some(event_id) = self.batch.given_event_id(row)
            && self.id_is_taken(row, event_id)
        {
            return Ok(self.without_command(row, Err(AppendError::EventIdConflict { event_id })));
        }
        Ok(Ok(Row::New(seq)))
    }

    /// Of a row that is an append of its own: why its stream does not stand where it should.
    fn stands_elsewhere(&mut self, row: usize) -> Result<Option<AppendError>, SettledError> {
        let each = self.request.each.as_ref();
        let Some(expected) = each.and_then(|each| each.get(row)).copied() else { return Ok(None) };
        let stream = self.batch.stream_of(row);
        let actual = self.head(stream)?;
        let stream_id = || self.batch.stream(stream).to_owned();
        Ok((!expected.allows(actual)).then(|| AppendError::WrongExpectedSeq {
            stream_id: stream_id(),
            expected,
            actual,
        }))
    }

    /// Why a caller that is limited to tenants may not append a row: by its tenant, or by the owner of its stream.
    fn of_another_tenant(&mut self, row: usize) -> Result<Option<AppendError>, SettledError> {
        let Some(scope) = &self.request.tenants else { return Ok(None) };
        let tenant = self.batch.tenant_id(row);
        if !scope.holds(tenant) {
            return Ok(Some(AppendError::OtherTenant));
        }
        let (tenant, stream) = (tenant_hash(tenant), self.batch.stream_of(row));
        self.head(stream)?;
        let Some(judged) = self.out.streams.get_mut(stream) else { return Ok(None) };
        let owner = match judged.owner {
            Some(owner) => owner,
            None => self.log.owner(judged.hash)?.unwrap_or(tenant),
        };
        judged.owner = Some(owner);
        let stream_id = || self.batch.stream(stream).to_owned();
        Ok((owner != tenant).then(|| AppendError::OtherOwner { stream_id: stream_id() }))
    }

    /// The row is not stored, so it begins no command.
    fn without_command(&mut self, row: usize, result: Result<Row, AppendError>) -> Result<Row, AppendError> {
        if self.out.commands.last().is_some_and(|c| c.row == row as u32 && c.count == 1)
            && self.batch.unit() == BatchUnit::Rows
            && let Some(command) = self.out.commands.pop()
            && self.hashes.may_repeat()
        {
            let at = self.out.commands.len() as u32;
            if let Ok(known) = self.body_commands.find_entry(hash_of(command.key), |other| *other == at) {
                known.remove();
            }
        }
        result
    }

    fn store(&mut self, row: usize, seq: Seq) {
        let stream = self.batch.stream_of(row);
        if let Some(JudgedStream { heads: Some((_, head)), .. }) = self.out.streams.get_mut(stream) {
            *head = seq;
        }
        if let Some(slot) = self.out.seqs.get_mut(row) {
            *slot = seq.0;
        }
        self.out.stored += 1;
        if let Some(seqs) = &mut self.body_seqs {
            seqs.insert((stream, seq.0), row as u32);
        }
        if let Some(id) = self.batch.given_event_id(row) {
            self.out.ids.insert(id);
            self.out.recheck |= self.request.ids.through < self.log.ids_left();
        }
    }

    /// Whether the command of these rows, the first of which that names it is `row`, is known; a new one is remembered. Only who is told of a
    /// conflict looks at the id's text, which another processor has read last.
    fn command(
        &mut self,
        HashedCommand { key, digest }: HashedCommand,
        row: usize,
        rows: std::ops::Range<usize>,
    ) -> Result<Result<Command, AppendError>, SettledError> {
        if self.all_new {
            self.begin(key, digest, rows);
            return Ok(Ok(Command::New));
        }
        let rules = self.log.rules();
        let command_id = command_id_of(self.batch, row);
        // a command of another stream may be another tenant's: who is limited is told nothing of it
        let tells = self.request.tenants.is_none() || rules.scope == Scope::Stream;
        let conflict = |first_seq, count| {
            let (first_seq, count) = if tells { (first_seq, count) } else { (Seq::ZERO, 0) };
            AppendError::CommandConflict { command_id: command_id(), first_seq, count }
        };
        if let Some(NewCommand { digest: earlier, row: first_row, .. }) = self.body_command(key) {
            let first_seq = Seq(self.out.seqs.get(first_row as usize).copied().unwrap_or(0));
            if earlier != digest {
                return Ok(Err(conflict(first_seq, 1)));
            }
            return Ok(Ok(Command::Known(self.known(row, DuplicateOf::Row(first_row), first_seq, 1, Micros::MIN))));
        }
        if let Some((record, index)) = self.stored_command(key)? {
            self.out.depends = self.out.depends.max(index);
            let CommandRecord { first_seq, count, ingested_at, digest: known } = record;
            if known == DIGEST_UNKNOWN {
                return Ok(self.as_stored(row, rows, record).ok_or_else(|| conflict(first_seq, count)));
            }
            if known != digest {
                return Ok(Err(conflict(first_seq, count)));
            }
            return Ok(Ok(Command::Known(self.known(row, DuplicateOf::Command, first_seq, count, ingested_at))));
        }
        if let Some(known) = self.in_another_log(row, key)? {
            return Ok(known);
        }
        self.begin(key, digest, rows);
        Ok(Ok(Command::New))
    }

    /// A command that the log has, and the batch that it came with (`ZERO`: below the watermark).
    fn stored_command(&mut self, key: u128) -> Result<Option<(CommandRecord, LogIndex)>, SettledError> {
        if let Some(found) = self.log.commands.get(key) {
            return Ok(Some(found));
        }
        let log = self.log;
        let settled = self.settled.get_or_insert_with(|| log.published().settled());
        Ok(settled.command(key)?.map(|record| (record, LogIndex::ZERO)))
    }

    /// These rows begin a command.
    fn begin(&mut self, key: u128, digest: u128, rows: std::ops::Range<usize>) {
        let (row, count) = (rows.start as u32, rows.len() as u32);
        if self.batch.unit() == BatchUnit::Append {
            // no other row asks for it
            self.out.commands.push(NewCommand { key, digest, row, count });
            return;
        }
        let (at, left) = (self.out.commands.len(), self.batch.rows() - rows.start);
        if at == 0 {
            // most often each row that is left begins a command
            self.out.commands.reserve(left);
        }
        self.out.commands.push(NewCommand { key, digest, row, count });
        if !self.hashes.may_repeat() {
            return;
        }
        if at == 0 {
            self.body_commands.reserve(left, |_| 0);
        }
        let commands = &self.out.commands;
        let hash = |at: &u32| commands.get(*at as usize).map_or(0, |command| hash_of(command.key));
        self.body_commands.insert_unique(hash_of(key), at as u32, hash);
    }

    /// The command of this key that a row before began.
    fn body_command(&self, key: u128) -> Option<NewCommand> {
        let commands = &self.out.commands;
        let has_key = |at: &u32| commands.get(*at as usize).is_some_and(|command| command.key == key);
        let at = self.body_commands.find(hash_of(key), has_key)?;
        commands.get(*at as usize).copied()
    }

    /// Whether a command that is new to this log is another one's: an event of another stream type is another event.
    fn in_another_log(&mut self, row: usize, key: u128) -> Result<Option<Result<Command, AppendError>>, SettledError> {
        let Some(claim) = &self.out.claim else { return Ok(None) };
        let command_id = command_id_of(self.batch, row);
        // what the keeper of the ids knows, this node may not have applied yet
        let taken = self.request.reservation.as_ref().and_then(|reservation| reservation.taken(key));
        let found = taken.map_or_else(|| claim.look(key), |log| Ok(Found::In(log.clone())))?;
        Ok(match found {
            Found::Nowhere => None,
            Found::InFlight(log) => {
                self.out.waits_for = Some(log);
                Some(Ok(Command::Unread))
            }
            // whose it is not learns no more than that it is taken
            Found::In(_) if self.request.tenants.is_some() => {
                Some(Err(AppendError::CommandConflict { command_id: command_id(), first_seq: Seq::ZERO, count: 0 }))
            }
            Found::In(log) => {
                let stream_type = log.stream_type;
                Some(Err(AppendError::CommandElsewhere { command_id: command_id(), stream_type }))
            }
        })
    }

    /// Whether these rows are the events of a command whose digest is not known any more, `row` the first of them that names
    /// it. `None`: they are others.
    fn as_stored(&mut self, row: usize, rows: std::ops::Range<usize>, record: CommandRecord) -> Option<Command> {
        let names_it = rows.clone().filter(|row| self.batch.command_id(*row).is_some()).count();
        let first_seq = Seq(record.first_seq.0.checked_sub((row - rows.start) as u64).filter(|seq| *seq > 0)?);
        if names_it as u64 != u64::from(record.count) {
            return None;
        }
        let (mut unread, mut ingested_at) = (false, record.ingested_at);
        for row in rows.clone().rev() {
            match self.request.known.get(row as u32) {
                None => unread = true,
                Some(KnownSeq::Same { ingested_at: at, .. }) => ingested_at = at,
                Some(KnownSeq::Different | KnownSeq::Absent) => return None,
            }
        }
        let seqs = (first_seq.0..).map(Seq);
        self.out.behind.extend(rows.clone().map(|row| row as u32).zip(seqs));
        if unread {
            return Some(Command::Unread);
        }
        Some(Command::Known(self.known(row, DuplicateOf::Command, first_seq, rows.len() as u32, ingested_at)))
    }

    #[allow(clippy::unused_self)]
    fn known(&self, row: usize, of: DuplicateOf, first_seq: Seq, count: u32, ingested_at: Micros) -> DuplicateRow {
        DuplicateRow { row: row as u32, of, first_seq, count, ingested_at }
    }

    /// The head of a distinct stream, with what is in flight and the rows before.
    fn head(&mut self, stream: usize) -> Result<Seq, SettledError> {
        let Some(judged) = self.out.streams.get_mut(stream) else { return Ok(Seq::ZERO) };
        if let Some((_, head)) = judged.heads {
            return Ok(head);
        }
        let (head, index) = judged.ahead.map_or_else(|| self.log.head(judged.hash), Ok)?;
        judged.heads = Some((head, head));
        self.out.depends = self.out.depends.max(index);
        Ok(head)
    }

    /// The head of a distinct stream before the body, if it was asked for.
    fn head_before(&self, stream: usize) -> Option<Seq> {
        self.out.streams.get(stream)?.heads.map(|(before, _)| before)
    }

    fn seq(&mut self, row: usize) -> Result<Result<Row, AppendError>, SettledError> {
        let stream = self.batch.stream_of(row);
        let head = self.head(stream)?;
        let next = Seq(head.0.saturating_add(1));
        let given = self.batch.given_seq(row).unwrap_or(next);
        let stream_id = || self.batch.stream(stream).to_owned();
        if given <= head {
            return self.seq_behind(row, stream, given);
        }
        if given.0 > SEQ_MAX {
            return Ok(Err(AppendError::SeqTooLarge { stream_id: stream_id() }));
        }
        if given > next && self.log.rules().require_monotonic_seq {
            return Ok(Err(AppendError::SeqGap { stream_id: stream_id(), next, given }));
        }
        Ok(Ok(Row::New(given)))
    }

    /// A client's seq at or below the head: the same event again, or a conflict.
    fn seq_behind(&mut self, row: usize, stream: usize, given: Seq) -> Result<Result<Row, AppendError>, SettledError> {
        let before = self.head_before(stream).unwrap_or(Seq::ZERO);
        if given > before {
            return match self.body_row(stream, given) {
                Some(first) if self.same_row(row, first as usize) => {
                    Ok(Ok(Row::Known(self.known(row, DuplicateOf::Row(first), given, 1, Micros::MIN))))
                }
                _ => Ok(Err(self.seq_conflict(stream, given)?)),
            };
        }
        self.out.behind.push((row as u32, given));
        match self.request.known.get(row as u32) {
            None => Ok(Ok(Row::Unread)),
            Some(KnownSeq::Same { ingested_at, .. }) => {
                Ok(Ok(Row::Known(self.known(row, DuplicateOf::Seq, given, 1, ingested_at))))
            }
            Some(KnownSeq::Different | KnownSeq::Absent) => Ok(Err(self.seq_conflict(stream, given)?)),
        }
    }

    /// Names the head that the stream has once this is answered: where the request is refused as a whole, the one before it.
    fn seq_conflict(&mut self, stream: usize, given: Seq) -> Result<AppendError, SettledError> {
        let now = self.head(stream)?;
        let before = self.head_before(stream).unwrap_or(now);
        let head = if self.request.on_error == OnError::Skip { now } else { before };
        Ok(AppendError::SeqConflict { stream_id: self.batch.stream(stream).to_owned(), given, head })
    }

    /// The row of this body that was given this seq.
    fn body_row(&mut self, stream: usize, seq: Seq) -> Option<u32> {
        let (batch, seqs) = (self.batch, &self.out.seqs);
        let by_seq = self.body_seqs.get_or_insert_with(|| {
            let stored = seqs.iter().enumerate().filter(|(_, seq)| **seq > 0);
            stored.map(|(row, seq)| ((batch.stream_of(row), *seq), row as u32)).collect()
        });
        by_seq.get(&(stream, seq.0)).copied()
    }

    fn same_row(&self, a: usize, b: usize) -> bool {
        let key = self.log.rules().digest_key;
        self.batch.command_id(a) == self.batch.command_id(b)
            && self.batch.row_digest(a, key) == self.batch.row_digest(b, key)
    }

    fn id_is_taken(&mut self, row: usize, id: EventId) -> bool {
        if self.out.ids.contains(&id) || self.request.ids.found.binary_search(&(row as u32)).is_ok() {
            return true;
        }
        let found = self.log.find_id(id);
        if let Some(at) = found {
            self.out.depends = self.out.depends.max(at.index);
        }
        found.is_some()
    }
}
