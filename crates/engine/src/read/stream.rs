//! One stream, forward or backward: the union of the tiers, deduplicated, ordered, and judged.

use super::budget::{self, PAGE_BYTES_MAX};
use super::error::ReadError;
use super::merge::{StreamRow, merge_stream};
use super::order::{Order, beyond_seq};
use super::source::{PageRows, RowAt, Source, Sources};
use super::tiers::TierSet;
use super::verdict::{Expectation, SeqRange, Verdict, judge, range_text};
use crate::append::SettledHead;
use crate::heads::HeadRecord;
use crate::store::{LogShared, Setting, Store};
use crate::view::retired::{Retired, holds, unreadable};
use crate::view::tail::{HotPart, LogTail, StreamWanted, TailRows};
use std::ops::Deref;
use std::sync::Arc;
use strandline_deql::{MissingSeqPolicy, Tier};
use strandline_durable::{ReadStats, RowSet, Snapshot, StreamQuery, Veil};
use strandline_event::hash::stream_hash;
use strandline_event::{Field, LogKey, Seq};

/// Views that a read takes before it gives up on a log that is trimmed under it each time.
const VIEWS_MAX: usize = 8;

/// What to read of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamRead<'a> {
    /// Stream type.
    pub stream_type: &'a str,
    /// Stream.
    pub stream_id: &'a str,
    /// Smallest seq; `None`: from the first.
    pub from_seq: Option<Seq>,
    /// Largest seq, inclusive; `None`: to the head.
    pub to_seq: Option<Seq>,
    /// Most rows, from the start of the range in the wanted order.
    pub limit: usize,
    /// Rising or falling by seq; `None`: rising, and the rows of the page by `read.default_order`.
    pub order: Option<Order>,
}

/// For whom a stream is read.
#[derive(Clone)]
pub(super) struct Manner {
    /// What the statement says: one read sees one.
    setting: Arc<Setting>,
    policy: MissingSeqPolicy,
    tiers: TierSet,
    /// Bytes of events that the page holds at most.
    bytes_max: usize,
    /// The stream ends here, wherever it stands by now.
    head: Option<Seq>,
    /// What is sealed is opened.
    opens: bool,
}

impl Manner {
    fn client(store: &Store) -> Self {
        let setting = store.setting();
        let (policy, tiers) = (setting.config.read.missing_seq_policy, setting.read_tiers);
        Self { setting, policy, tiers, bytes_max: PAGE_BYTES_MAX, head: None, opens: true }
    }

    /// What decides about an append does not depend on what clients read. Holes are not its business.
    pub(super) fn internal(store: &Store) -> Self {
        let setting = store.setting();
        let (policy, tiers) = (MissingSeqPolicy::Ignore, setting.all_tiers);
        Self { setting, policy, tiers, bytes_max: usize::MAX, head: None, opens: false }
    }

    /// Of a stream that ended with `head` when everything of it was in files.
    pub(super) fn past(store: &Store, head: Seq) -> Self {
        Self { tiers: TierSet::of(&[Tier::Durable]), head: Some(head), ..Self::client(store) }
    }
}

/// Rows of a stream and what they prove.
pub struct StreamPage {
    events: PageRows,
    /// The stream's last seq; 0: the stream does not exist.
    pub head: Seq,
    /// What was checked, and what is missing.
    pub verdict: Verdict,
    /// The page ends before the range does, by its limit or because its events are large.
    pub full: bool,
    /// Where to go on: `from_seq` of the next page, falling its `to_seq`. `None`: nothing of what was asked for is left.
    pub next_seq: Option<Seq>,
    /// For the reader, one sentence each.
    pub warnings: Vec<String>,
    /// The tiers that gave rows.
    pub tiers: TierSet,
    /// What the files cost.
    pub stats: ReadStats,
}

/// First and last seq of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamHead {
    /// The last seq.
    pub last_seq: Seq,
    /// The first seq.
    pub first_seq: Seq,
}

impl std::fmt::Debug for StreamPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamPage({} rows, head {}, {:?})", self.len(), self.head, self.verdict)
    }
}

impl Deref for StreamPage {
    type Target = PageRows;

    fn deref(&self) -> &PageRows {
        &self.events
    }
}

impl StreamPage {
    /// The page of a stream that does not exist.
    pub(super) fn none() -> Self {
        Self {
            events: PageRows::new(Sources::under(&Arc::default()), Vec::new()),
            head: Seq::ZERO,
            verdict: Verdict { contiguous: true, ..Verdict::default() },
            full: false,
            next_seq: None,
            warnings: Vec::new(),
            tiers: TierSet::NONE,
            stats: ReadStats::default(),
        }
    }
}

impl Store {
    /// Reads a stream, or a part of it. A stream that does not exist gives an empty page with head 0.
    ///
    /// # Errors
    /// [`ReadError`]; a hole is one where `read.missing_seq.policy` is `error`.
    pub fn read_stream(&self, read: &StreamRead<'_>) -> Result<StreamPage, ReadError> {
        self.read_stream_with(read, Manner::client(self))
    }

    /// The rows of an append that was answered before: to answer its retry. Holes are not its business.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn rows_of_append(
        &self,
        stream_type: &str,
        stream_id: &str,
        first_seq: Seq,
        count: u64,
    ) -> Result<StreamPage, ReadError> {
        let to_seq = Some(Seq(first_seq.0.saturating_add(count.saturating_sub(1))));
        let (limit, order) = (usize::try_from(count).unwrap_or(usize::MAX), Some(Order::Asc));
        let read = StreamRead { stream_type, stream_id, from_seq: Some(first_seq), to_seq, limit, order };
        self.read_stream_with(&read, Manner::internal(self))
    }

    /// A stream's last seq, and the first one that retention left; `None`: there is no such stream.
    ///
    /// # Errors
    /// [`ReadError`]; of a damaged log neither can be told, unless holes are none (`read.missing_seq.policy`).
    pub fn stream_head(&self, stream_type: &str, stream_id: &str) -> Result<Option<StreamHead>, ReadError> {
        let Some(shared) = self.log(&self.owner_of(stream_type, stream_id)) else { return Ok(None) };
        let head = shared.published().head(stream_id)?;
        if let Some(damage) = shared.refuses_writes().filter(|_| self.setting().holes_fail()) {
            return Err(ReadError::Damaged { log: shared.key.clone(), damage: Arc::clone(damage) });
        }
        let Some(head) = head else { return Ok(None) };
        let mut found = StreamHead { last_seq: head.last_seq, first_seq: head.first_seq };
        let retired = self.durable().pin().retired(&shared.key, stream_hash(stream_id)).map_err(unreadable)?;
        if holds(&retired, found.first_seq) {
            found.first_seq = self.first_left(stream_type, stream_id, head.last_seq)?;
        }
        Ok(Some(found))
    }

    /// The first seq that is still there; none: the one behind the last.
    fn first_left(&self, stream_type: &str, stream_id: &str, last: Seq) -> Result<Seq, ReadError> {
        let (from_seq, order) = (Some(Seq::FIRST), Some(Order::Asc));
        let read = StreamRead { stream_type, stream_id, from_seq, to_seq: None, limit: 1, order };
        let page = self.read_stream_with(&read, Manner::internal(self))?;
        Ok(page.rows().next().map_or(last.next(), |event| event.seq))
    }

    pub(super) fn read_stream_with(&self, read: &StreamRead<'_>, manner: Manner) -> Result<StreamPage, ReadError> {
        let opens = manner.opens;
        let mut page = self.read_sealed(read, manner)?;
        if opens {
            page.events.open(self.opener())?;
        }
        Ok(page)
    }

    fn read_sealed(&self, read: &StreamRead<'_>, manner: Manner) -> Result<StreamPage, ReadError> {
        let Some(shared) = self.log(&self.owner_of(read.stream_type, read.stream_id)) else {
            return Ok(StreamPage::none());
        };
        for _ in 1..VIEWS_MAX {
            match self.stream_page(&shared, read, &manner) {
                Err(error) if error.trim_raced() => {}
                other => return other.and_then(|page| apply(manner.policy, page, read)),
            }
        }
        match (self.stream_page(&shared, read, &manner), shared.refuses_writes()) {
            // no trim: the log lacks its beginning
            (Err(error), Some(damage)) if error.trim_raced() => {
                Err(ReadError::Damaged { log: shared.key.clone(), damage: Arc::clone(damage) })
            }
            (page, _) => page.and_then(|page| apply(manner.policy, page, read)),
        }
    }

    /// One try, with one view; the order of its steps is the one that `view` explains.
    fn stream_page(
        &self,
        shared: &Arc<LogShared>,
        read: &StreamRead<'_>,
        manner: &Manner,
    ) -> Result<StreamPage, ReadError> {
        let wanted = wanted(read, manner);
        let last = |head: Option<HeadRecord>| head.map_or(Seq::ZERO, |head| head.last_seq);
        let known = match manner.head {
            Some(head) => Ok((head, None)),
            None => shared.published().look_up(wanted.hash).map(|found| (last(found.head), found.settled)),
        };
        // reads go on without the heads on disk: only where the stream ends cannot be told for certain
        let (head, looked, unread) = match known {
            Ok((head, looked)) => (head, looked, None),
            Err(error) => (Seq::ZERO, None, Some(error)),
        };
        if let Some((found, retired)) = self.all_in_memory(&manner.setting, shared, &wanted, manner.tiers)? {
            return self.finish(read, manner, (head, &retired), found);
        }
        let PinnedStream { hot, tail, snapshot, retired } = self.pin_stream(shared, &wanted, manner)?;
        let wanted = wanted.without(&retired.ranges);
        let mut found = Found::under(self.durable().veil());
        let (tail_rows, tail_end) = tail.stream(&wanted, hot)?;
        found.cut(wanted.order, tail_end);
        // falling, what lies below a cut of the tail is not wanted
        let wants_files = wanted.order == Order::Asc || tail_end.is_none();
        let durable = match snapshot.as_deref().filter(|_| wants_files) {
            Some(snapshot) => files_part(&shared.key, snapshot, &wanted, &tail_rows, looked.as_ref())?,
            None => None,
        };
        if let Some(set) = durable {
            found.files(&wanted, set);
        }
        found.tail(tail_rows);
        let mut page = self.finish(read, manner, (head, &retired), found)?;
        if let Some(error) = unread {
            page.warnings.push(format!("whether the stream goes on behind this page is not known: {error}"));
        }
        self.mind_damage(&manner.setting, shared, read, page)
    }

    /// Memory first, then the log, then the manifest. Of a stream that retention took something out of, memory may hold rows
    /// that are gone: it is asked for so many more.
    fn pin_stream(
        &self,
        shared: &Arc<LogShared>,
        wanted: &StreamWanted<'_>,
        manner: &Manner,
    ) -> Result<PinnedStream, ReadError> {
        let mut known = self.retired_of(&shared.key, wanted.hash, Some(&self.durable().pin()))?;
        let mut more = known.count(wanted.from, wanted.to);
        loop {
            let hot = manner.setting.hot_of(manner.tiers).map_or_else(HotPart::default, |hot| {
                let mut range = wanted.seq_range();
                range.limit = range.limit.saturating_add(more);
                let found = hot.stream(&shared.key, wanted.hash, &range);
                HotPart { rows: found.rows, range: found.range }
            });
            let (tail, snapshot) = self.pin_tail(&manner.setting, shared, manner.tiers);
            let retired = self.retired_of(&shared.key, wanted.hash, snapshot.as_deref())?;
            if more == usize::MAX || retired.ranges == known.ranges {
                return Ok(PinnedStream { hot, tail, snapshot, retired });
            }
            // retention came between: all that memory has is enough
            (known, more) = (retired, usize::MAX);
        }
    }

    /// A page that would need the end of a damaged log cannot be proven whole: an error, or a warning where holes are none.
    fn mind_damage(
        &self,
        setting: &Setting,
        shared: &LogShared,
        read: &StreamRead<'_>,
        mut page: StreamPage,
    ) -> Result<StreamPage, ReadError> {
        let Some(damage) = shared.refuses_writes() else { return Ok(page) };
        let whole = read.to_seq.is_some_and(|to| page.verdict.contiguous && page.verdict.to_seq >= to);
        let rising = read.order != Some(Order::Desc);
        let ends_before = rising && (page.full || page.len() >= read.limit);
        if whole || ends_before {
            return Ok(page);
        }
        let error = ReadError::Damaged { log: shared.key.clone(), damage: Arc::clone(damage) };
        if setting.holes_fail() {
            return Err(error);
        }
        page.warnings.push(error.to_string());
        Ok(page)
    }

    fn finish(
        &self,
        read: &StreamRead<'_>,
        manner: &Manner,
        (head, retired): (Seq, &Retired),
        found: Found,
    ) -> Result<StreamPage, ReadError> {
        let (order, setting) = (read.order.unwrap_or_default(), &manner.setting);
        let Found { sources, rows, end, stats } = found;
        let mut rows = merge_stream(&sources, rows, setting.dedupe_key())?;
        let all = rows.len();
        match (order, end) {
            (_, None) => {}
            (Order::Asc, Some(end)) => rows.retain(|r| r.seq <= end),
            (Order::Desc, Some(end)) => rows.retain(|r| r.seq >= end),
        }
        let events = |r: &StreamRow| sources.row(r.at);
        let fitting = match order {
            Order::Asc => budget::fitting(rows.iter().map(events).take(read.limit), manner.bytes_max),
            Order::Desc => budget::fitting(rows.iter().rev().map(events).take(read.limit), manner.bytes_max),
        };
        let full = end.is_some() || fitting < all;
        match order {
            Order::Asc => rows.truncate(fitting),
            Order::Desc => drop(rows.drain(..rows.len() - fitting)),
        }
        let next_seq = if full { next_seq(read, &rows, (fitting == all).then_some(head)) } else { None };
        let seqs: Vec<(Seq, Tier)> = rows.iter().map(|r| (r.seq, sources.tier(r.at))).collect();
        let expected = Expectation {
            from: read.from_seq.unwrap_or(Seq::FIRST),
            to: read.to_seq,
            head,
            full,
            order,
            monotonic: setting.config.read.require_monotonic_seq,
            // memory is a copy
            partial: manner.head.is_none() && !manner.tiers.covers(setting.all_tiers.without(Tier::Inmemory)),
            retired: &retired.ranges,
        };
        let verdict = judge(&expected, &seqs);
        let mut warnings = retired.warn(&verdict, manner.policy)?;
        let last = seqs.last().map_or(Seq::ZERO, |s| s.0);
        // of a full page without a row the next one tells
        if expected.partial
            && !(full && seqs.is_empty())
            && let Some(hidden) = verdict.not_read_behind(last, head)
        {
            warnings.push(left_out(read, hidden, &manner.setting));
        }
        let mut tiers = TierSet::NONE;
        seqs.iter().for_each(|(_, tier)| tiers.insert(*tier));
        let mut rows: Vec<RowAt> = rows.into_iter().map(|r| r.at).collect();
        match read.order {
            Some(Order::Asc) => {}
            Some(Order::Desc) => rows.reverse(),
            None => by_default_order(&setting.config.read.default_order, &sources, &mut rows),
        }
        let head = head.max(seqs.last().map_or(Seq::ZERO, |s| s.0));
        let events = PageRows::new(sources, rows);
        Ok(StreamPage { events, head, verdict, full, next_seq, warnings, tiers, stats })
    }
}

/// What the reader of some tiers alone is told of events that are in others.
fn left_out(read: &StreamRead<'_>, (first, last): SeqRange, setting: &Setting) -> String {
    let left_out = setting.read_tiers.iter().fold(setting.all_tiers, TierSet::without);
    let (seqs, id, of) = (range_text(first, last), read.stream_id, read.stream_type);
    format!("stream `{id}` of `{of}` goes on: seq {seqs} is in tiers that `read.tiers` leaves out ({left_out})")
}

/// Rows of one stream, sorted by seq, into `read.default_order`; ties stay by seq.
fn by_default_order(order: &[Field], sources: &Sources, rows: &mut [RowAt]) {
    if let Some(fields) = beyond_seq(order) {
        rows.sort_by(|a, b| strandline_durable::compare(fields, &sources.row(*a), &sources.row(*b)));
    }
}

fn wanted<'a>(read: &StreamRead<'a>, manner: &Manner) -> StreamWanted<'a> {
    StreamWanted {
        stream_type: read.stream_type,
        stream_id: read.stream_id,
        hash: stream_hash(read.stream_id),
        from: read.from_seq.unwrap_or(Seq::FIRST).max(Seq::FIRST),
        to: read.to_seq.unwrap_or(Seq(u64::MAX)),
        // one more than asked tells a full page from one that just fits
        limit: read.limit.saturating_add(1),
        bytes_max: manner.bytes_max,
        order: read.order.unwrap_or_default(),
        retired: &[],
    }
}

/// Where a full page is gone on, behind its rows (by rising seq). `head`: whether more rows are there is not known, but they end
/// here (0: nor is that).
fn next_seq(read: &StreamRead<'_>, rows: &[StreamRow], head: Option<Seq>) -> Option<Seq> {
    if read.order == Some(Order::Desc) {
        let next = Seq(rows.first()?.seq.0.saturating_sub(1));
        return (next >= read.from_seq.unwrap_or(Seq::FIRST).max(Seq::FIRST)).then_some(next);
    }
    let next = rows.last()?.seq.next();
    let ends = [read.to_seq, head.filter(|head| *head > Seq::ZERO)];
    ends.into_iter().flatten().all(|end| next <= end).then_some(next)
}

/// Whether rows of the upper end of a stream are all that is wanted: seqs rise with the log, so what is above one of its
/// events is in the same tier or a higher one.
pub(super) fn has_all(wanted: &StreamWanted<'_>, tail: &[TailRows]) -> bool {
    let lowest = tail.first().and_then(|t| t.rows.first().map(|row| t.batch.batch.seq(*row as usize)));
    let falling = || tail.iter().map(|t| t.rows.len()).sum::<usize>() >= wanted.limit;
    lowest == Some(wanted.from) || (wanted.order == Order::Desc && falling())
}

/// The durable rows, unless the tail has everything that is wanted, or the files have nothing of it.
fn files_part(
    log: &LogKey,
    snapshot: &Snapshot,
    wanted: &StreamWanted<'_>,
    tail: &[TailRows],
    looked: Option<&SettledHead>,
) -> Result<Option<RowSet>, ReadError> {
    if has_all(wanted, tail) || wanted.from > wanted.to || files_end_before(log, snapshot, wanted, looked) {
        return Ok(None);
    }
    let query = StreamQuery {
        stream_type: wanted.stream_type,
        stream_id: wanted.stream_id,
        from_seq: wanted.from,
        to_seq: wanted.to,
        descending: wanted.order == Order::Desc,
        limit: wanted.limit,
    };
    Ok(Some(snapshot.stream_in(log.bucket, &query)?))
}

/// Whether a stream ends below what is wanted in the files of a version, or is not in them, by the heads of the same version: then no
/// file is opened. Where these cannot be read, the files tell. `looked`: what was looked up already, mostly in the same runs.
fn files_end_before(
    log: &LogKey,
    snapshot: &Snapshot,
    wanted: &StreamWanted<'_>,
    looked: Option<&SettledHead>,
) -> bool {
    let last = match looked.filter(|looked| looked.records.has_heads_of(snapshot, log)) {
        Some(looked) => Ok(looked.head.map(|head| head.last_seq)),
        None => snapshot.head(log, wanted.hash).map(|head| head.map(|head| head.last_seq)),
    };
    last.is_ok_and(|last| last.is_none_or(|last| last < wanted.from))
}

/// The tiers of one log, pinned for one stream.
struct PinnedStream {
    hot: HotPart,
    tail: LogTail,
    snapshot: Option<Arc<Snapshot>>,
    retired: Retired,
}

/// What the tiers gave, before the merge.
pub(super) struct Found {
    sources: Sources,
    rows: Vec<StreamRow>,
    /// In the wanted order, rows behind this one are not all here.
    end: Option<Seq>,
    stats: ReadStats,
}

impl Found {
    pub(super) fn under(veil: &Arc<Veil>) -> Self {
        Self { sources: Sources::under(veil), rows: Vec::new(), end: None, stats: ReadStats::default() }
    }

    fn cut(&mut self, order: Order, at: Option<Seq>) {
        self.end = match (self.end, at, order) {
            (Some(a), Some(b), Order::Asc) => Some(a.min(b)),
            (Some(a), Some(b), Order::Desc) => Some(a.max(b)),
            (a, b, _) => a.or(b),
        };
    }

    fn files(&mut self, wanted: &StreamWanted<'_>, set: RowSet) {
        self.stats = set.stats;
        let seqs: Vec<Seq> = set.iter().map(|e| e.seq).collect();
        if !set.complete {
            // rows come in the wanted order
            self.cut(wanted.order, seqs.last().copied());
        }
        let source = self.sources.push(Source::Files(Arc::new(set)));
        let rows = seqs.into_iter().enumerate().filter(|(_, seq)| !holds(wanted.retired, *seq));
        self.rows.extend(rows.map(|(row, seq)| StreamRow { seq, at: RowAt { source, row: row as u32 } }));
    }

    pub(super) fn tail(&mut self, tail: Vec<TailRows>) {
        for TailRows { batch, rows } in tail {
            let seqs: Vec<(u32, Seq)> = rows.into_iter().map(|row| (row, batch.batch.seq(row as usize))).collect();
            let source = self.sources.push(Source::Batch(batch));
            self.rows.extend(seqs.into_iter().map(|(row, seq)| StreamRow { seq, at: RowAt { source, row } }));
        }
    }
}

fn apply(policy: MissingSeqPolicy, mut page: StreamPage, read: &StreamRead<'_>) -> Result<StreamPage, ReadError> {
    if page.verdict.missing.is_empty() {
        return Ok(page);
    }
    let missing = page.verdict.missing_text();
    match policy {
        MissingSeqPolicy::Error => {
            return Err(ReadError::Missing {
                stream_type: read.stream_type.to_owned(),
                stream_id: read.stream_id.to_owned(),
                missing,
                ranges: page.verdict.missing,
            });
        }
        MissingSeqPolicy::Warn => page.warnings.push(format!(
            "stream `{}` of `{}` has a hole: seq {missing} is missing",
            read.stream_id, read.stream_type
        )),
        MissingSeqPolicy::Ignore => {}
    }
    Ok(page)
}
