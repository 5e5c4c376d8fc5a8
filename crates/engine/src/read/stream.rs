//! One stream, forward or backward: the union of the tiers, deduplicated, ordered, and judged.

use super::error::ReadError;
use super::merge::{StreamRow, merge_stream};
use super::order::Order;
use super::source::{RowAt, Source, Sources};
use super::tiers::TierSet;
use super::verdict::{Expectation, Verdict, judge};
use crate::store::{LogShared, Store};
use crate::view::tail::{HotPart, StreamWanted, TailRows};
use std::sync::Arc;
use strandline_deql::{MissingSeqPolicy, Tier};
use strandline_durable::{ReadStats, Snapshot, StreamQuery};
use strandline_event::hash::stream_hash;
use strandline_event::{EventRef, Seq};

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
    /// Rising or falling.
    pub order: Order,
}

/// Rows of a stream and what they prove. Keeps alive what the rows point into.
pub struct StreamPage {
    sources: Sources,
    rows: Vec<RowAt>,
    /// The stream's last seq; 0: the stream does not exist.
    pub head: Seq,
    /// What was checked, and what is missing.
    pub verdict: Verdict,
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

impl StreamPage {
    /// The events, in the order that was asked for.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        self.rows.iter().map(|at| self.sources.row(*at))
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The page of a stream that does not exist.
    fn none() -> Self {
        Self {
            sources: Sources::default(),
            rows: Vec::new(),
            head: Seq::ZERO,
            verdict: Verdict { contiguous: true, ..Verdict::default() },
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
        self.read_stream_with(read, self.config().read.missing_seq_policy)
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
        let limit = usize::try_from(count).unwrap_or(usize::MAX);
        let read = StreamRead { stream_type, stream_id, from_seq: Some(first_seq), to_seq, limit, order: Order::Asc };
        self.read_stream_with(&read, MissingSeqPolicy::Ignore)
    }

    /// A stream's first and last seq; `None`: there is no such stream.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn stream_head(&self, stream_type: &str, stream_id: &str) -> Result<Option<StreamHead>, ReadError> {
        let Some(shared) = self.log(&self.owner_of(stream_type, stream_id)) else { return Ok(None) };
        let head = shared.published().head(stream_id)?;
        Ok(head.map(|h| StreamHead { last_seq: h.last_seq, first_seq: h.first_seq }))
    }

    pub(crate) fn read_stream_with(
        &self,
        read: &StreamRead<'_>,
        policy: MissingSeqPolicy,
    ) -> Result<StreamPage, ReadError> {
        let Some(shared) = self.log(&self.owner_of(read.stream_type, read.stream_id)) else {
            return Ok(StreamPage::none());
        };
        for _ in 1..VIEWS_MAX {
            match self.stream_page(&shared, read) {
                Err(error) if error.trim_raced() => {}
                other => return other.and_then(|page| apply(policy, page, read)),
            }
        }
        self.stream_page(&shared, read).and_then(|page| apply(policy, page, read))
    }

    /// One try, with one view; the order of its steps is the one that `view` explains.
    fn stream_page(&self, shared: &Arc<LogShared>, read: &StreamRead<'_>) -> Result<StreamPage, ReadError> {
        let head = shared.published().head(read.stream_id)?.map_or(Seq::ZERO, |h| h.last_seq);
        let wanted = wanted(read);
        let hot = match self.hot_for_reads() {
            Some(hot) => {
                let found = hot.stream(&shared.key, wanted.hash, &wanted.seq_range());
                HotPart { rows: found.rows, range: found.range }
            }
            None => HotPart::default(),
        };
        let (tail, snapshot) = self.pin_tail(shared);
        let mut found = Found::default();
        let tail_rows = tail.stream(&wanted, hot)?;
        let (durable, cut) = files_part(snapshot.as_deref(), &wanted, &tail_rows)?;
        found.truncated = cut;
        if let Some(set) = durable {
            found.files(set);
        }
        found.tail(tail_rows);
        let page = self.finish(read, head, found)?;
        self.mind_damage(shared, read, page)
    }

    /// A page that would need the end of a damaged log cannot be proven whole: an error, or a warning where holes are none.
    fn mind_damage(
        &self,
        shared: &LogShared,
        read: &StreamRead<'_>,
        mut page: StreamPage,
    ) -> Result<StreamPage, ReadError> {
        let Some(damage) = shared.refuses_writes() else { return Ok(page) };
        let whole = read.to_seq.is_some_and(|to| page.verdict.contiguous && page.verdict.to_seq >= to);
        let ends_before = read.order == Order::Asc && page.len() >= read.limit;
        if whole || ends_before {
            return Ok(page);
        }
        let error = ReadError::Damaged { log: shared.key.clone(), damage: Arc::clone(damage) };
        if self.holes_fail() {
            return Err(error);
        }
        page.warnings.push(error.to_string());
        Ok(page)
    }

    fn finish(&self, read: &StreamRead<'_>, head: Seq, found: Found) -> Result<StreamPage, ReadError> {
        let Found { sources, rows, truncated, stats } = found;
        let mut rows = merge_stream(&sources, rows, self.dedupe_key())?;
        let full = truncated || rows.len() > read.limit;
        if rows.len() > read.limit {
            match read.order {
                Order::Asc => rows.truncate(read.limit),
                Order::Desc => drop(rows.drain(..rows.len() - read.limit)),
            }
        }
        let seqs: Vec<(Seq, Tier)> = rows.iter().map(|r| (r.seq, sources.tier(r.at))).collect();
        let expected = Expectation {
            from: read.from_seq.unwrap_or(Seq::FIRST),
            to: read.to_seq,
            head,
            full,
            order: read.order,
            monotonic: self.config().read.require_monotonic_seq,
            partial: self.reads_are_partial(),
            retired: &[],
        };
        let verdict = judge(&expected, &seqs);
        let mut tiers = TierSet::NONE;
        seqs.iter().for_each(|(_, tier)| tiers.insert(*tier));
        let mut rows: Vec<RowAt> = rows.into_iter().map(|r| r.at).collect();
        if read.order == Order::Desc {
            rows.reverse();
        }
        let head = head.max(seqs.last().map_or(Seq::ZERO, |s| s.0));
        Ok(StreamPage { sources, rows, head, verdict, warnings: Vec::new(), tiers, stats })
    }
}

fn wanted<'a>(read: &StreamRead<'a>) -> StreamWanted<'a> {
    StreamWanted {
        stream_type: read.stream_type,
        stream_id: read.stream_id,
        hash: stream_hash(read.stream_id),
        from: read.from_seq.unwrap_or(Seq::FIRST).max(Seq::FIRST),
        to: read.to_seq.unwrap_or(Seq(u64::MAX)),
        // one more than asked tells a full page from one that just fits
        limit: read.limit.saturating_add(1),
        order: read.order,
    }
}

/// The durable rows, unless the tail has everything that is wanted; and whether the limit cut them.
fn files_part(
    snapshot: Option<&Snapshot>,
    wanted: &StreamWanted<'_>,
    tail: &[TailRows],
) -> Result<(Option<strandline_durable::RowSet>, bool), ReadError> {
    let Some(snapshot) = snapshot.filter(|_| wanted.from <= wanted.to) else { return Ok((None, false)) };
    let lowest = tail.first().and_then(|t| t.rows.first().map(|row| t.batch.batch.seq(*row as usize)));
    let enough = match wanted.order {
        Order::Asc => lowest == Some(wanted.from),
        Order::Desc => tail.iter().map(|t| t.rows.len()).sum::<usize>() >= wanted.limit,
    };
    if enough {
        return Ok((None, false));
    }
    let set = snapshot.stream(&StreamQuery {
        stream_type: wanted.stream_type,
        stream_id: wanted.stream_id,
        from_seq: wanted.from,
        to_seq: wanted.to,
        descending: wanted.order == Order::Desc,
        limit: wanted.limit,
    })?;
    let cut = !set.complete;
    Ok((Some(set), cut))
}

/// What the tiers gave, before the merge.
#[derive(Default)]
struct Found {
    sources: Sources,
    rows: Vec<StreamRow>,
    truncated: bool,
    stats: ReadStats,
}

impl Found {
    fn files(&mut self, set: strandline_durable::RowSet) {
        self.stats = set.stats;
        let seqs: Vec<Seq> = set.iter().map(|e| e.seq).collect();
        let source = self.sources.push(Source::Files(Arc::new(set)));
        self.rows.extend(
            seqs.into_iter().enumerate().map(|(row, seq)| StreamRow { seq, at: RowAt { source, row: row as u32 } }),
        );
    }

    fn tail(&mut self, tail: Vec<TailRows>) {
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
