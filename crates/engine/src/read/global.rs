//! The store-wide order: all events by (ingested_at, event_id), page by page.
//!
//! A page ends at the smallest closed timestamp of all writers, taken *before* the view: nothing will ever be assigned
//! at or below it, and everything below it is in the view. So `next` is safe to resume from, for ever.
//!
//! `next` is always the place of something that exists (the last event examined), never a clock: after a restart the
//! clocks start above every event of the store, not above every moment that was once announced.
//!
//! Where reads leave the log out, what is committed may be in no tier that is read: not compacted yet, and not in memory.
//! There a view ends before the first such event of any log, since it will be in a file later. And memory is no view: what it
//! lets go while a page is made would be missed, so the page is made anew, at last from files alone; no such view is kept.
//!
//! ```text
//!  durable part  Window: the next rows of the files, sorted, at most WINDOW_ROWS; kept between pages in the cursor
//!  tails         one TailCursor a log, opened anew for each page at `after` (memory, or a bisection of the log)
//!  page          the smallest `limit` of both
//! ```

use super::budget::{PAGE_BYTES_MAX, event_bytes, fitting};
use super::cursors::{Kept, Window};
use super::error::ReadError;
use super::merge::{GlobalRow, merge_global};
use super::source::{PageRows, RowAt, Source, Sources};
use super::tiers::TierSet;
use crate::store::{Buckets, LogShared, Setting, Store};
use crate::view::cursor::TailCursor;
use crate::view::frames;
use crate::view::retired::RetiredSeqs;
use crate::view::tail::LogTail;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Deref;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_durable::{ReadStats, RowFilter, Snapshot};
use strandline_event::invariant::broken;
use strandline_event::{EventId, LogIndex, Micros, Position};
use strandline_hot::HotRange;
use strandline_wal::LogView;

/// Tail batches that one page may load, in bytes, besides the first one of each log: it ends early rather than load more.
const PAGE_TAIL_BYTES_MAX: usize = 64 << 20;
/// Rows of tails that one page may examine when its filter drops nearly all of them.
const PAGE_EXAMINED_MAX: usize = 1 << 20;

/// Views that a read takes before it gives up on logs that are trimmed under it each time.
const VIEWS_MAX: usize = 8;

/// What to read of the store.
#[derive(Clone, Debug)]
pub struct GlobalRead {
    /// Resume behind this position.
    pub after: Position,
    /// Most rows.
    pub limit: usize,
    /// What to keep.
    pub filter: RowFilter,
}

/// Rows in global order. There may be none, and still some behind `next`, unless `at_end`.
pub struct GlobalPage {
    events: PageRows,
    /// `after` of the next page: the last event that was examined, or the `after` of this page.
    pub next: Position,
    /// Everything up to here was examined, though there may be no event at it: true for as long as the store is open, and not after
    /// a restart.
    pub through: Position,
    /// Whether everything that is closed now was examined.
    pub at_end: bool,
    /// Of a caller that is limited to tenants: one call has looked at enough, none of it was the caller's, and there is more. The same read
    /// again goes on behind that.
    pub looks_on: bool,
    /// The tiers that gave rows.
    pub tiers: TierSet,
    /// What the files cost.
    pub stats: ReadStats,
}

impl std::fmt::Debug for GlobalPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GlobalPage({} rows, next {})", self.len(), self.next)
    }
}

impl Deref for GlobalPage {
    type Target = PageRows;

    fn deref(&self) -> &PageRows {
        &self.events
    }
}

impl GlobalPage {
    /// Nothing, and nothing behind it.
    pub(super) fn none(after: Position) -> Self {
        Self {
            events: PageRows::new(Sources::under(&Arc::default()), Vec::new()),
            next: after,
            through: after,
            at_end: true,
            looks_on: false,
            tiers: TierSet::NONE,
            stats: ReadStats::default(),
        }
    }

    /// Lets go of the rows that are not kept.
    pub(super) fn retain<E>(
        &mut self,
        keep: impl FnMut(&strandline_event::EventRef<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.events.retain(keep)
    }
}

/// The store at one moment, for the global order.
pub(crate) struct GlobalView {
    /// The statement that it was taken under.
    setting: Arc<Setting>,
    /// Everything up to here, inclusive, is in the view.
    pub(crate) closed: Micros,
    pub(crate) tails: Vec<LogTail>,
    /// Which of its stream types have several owners.
    buckets: Arc<Buckets>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// What it says of retention; the same as `snapshot` where files are read.
    manifest: Arc<Snapshot>,
    /// Without logs: what memory must still hold of each tail when the page is made, everything behind this entry.
    memory: Vec<LogIndex>,
}

impl GlobalView {
    /// Whether memory still holds what the view counts on.
    fn still_holds(&self) -> bool {
        self.tails.iter().zip(&self.memory).all(|(tail, from)| {
            let now = tail.hot.as_ref().map(|hot| hot.range(&tail.shared.key).after);
            now.is_none_or(|after| after <= *from)
        })
    }
}

impl Store {
    /// A page of the global order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_global(&self, read: &GlobalRead, now: Micros) -> Result<GlobalPage, ReadError> {
        let setting = self.setting();
        self.refuse_damaged(&setting, read.filter.stream_type.as_deref())?;
        let current = self.durable().pin();
        let kept = self.cursors().take(read.after, &read.filter);
        let same = |view: &GlobalView| view.manifest.same_retired(&current) && Arc::ptr_eq(&view.setting, &setting);
        let mut kept = kept.filter(|kept| same(&kept.view));
        drop(current);
        for _ in 1..VIEWS_MAX {
            match self.global_page(&setting, read, now, kept.take(), setting.read_tiers) {
                // the view names segments that are gone: take a new one
                Err(error) if error.trim_raced() => {}
                // memory let something go meanwhile
                Ok(None) => {}
                Ok(Some(page)) => return Ok(page),
                Err(error) => return Err(error),
            }
        }
        let page = self.global_page(&setting, read, now, None, setting.read_tiers.without(Tier::Inmemory))?;
        Ok(page.unwrap_or_else(|| broken("a page that asks no memory waits for it")))
    }

    /// `None`: memory no longer holds what the view counts on.
    fn global_page(
        &self,
        setting: &Arc<Setting>,
        read: &GlobalRead,
        now: Micros,
        kept: Option<Kept>,
        tiers: TierSet,
    ) -> Result<Option<GlobalPage>, ReadError> {
        let fresh = kept.is_none();
        let (view, mut window) = match kept {
            Some(kept) => (kept.view, kept.window),
            None => (Arc::new(self.pin_global(setting, tiers)?), Window::empty(read.after)),
        };
        let retired = RetiredSeqs::of(&view.manifest, view.snapshot.is_some())?;
        let mut page = PageBuilder::new(read, view.closed, retired, Sources::under(self.durable().veil()));
        window.fill(view.snapshot.as_deref(), view.closed, &read.filter, &mut page.stats)?;
        page.merge(&view, &window)?;
        if !view.still_holds() {
            return Ok(None);
        }
        let mut page = page.finish(&view, &mut window)?;
        page.events.open(self.opener())?;
        let lasts = tiers.contains(Tier::Wal) || setting.hot_of(tiers).is_none();
        if !page.at_end && lasts {
            self.cursors().keep(page.next, &read.filter, Kept { view, window }, now);
        }
        // the end of a kept view is not the end of the store: the next page takes a new one
        page.at_end &= fresh;
        Ok(Some(page))
    }

    /// Closed timestamp first, then logs, then the manifest.
    fn pin_global(&self, setting: &Arc<Setting>, tiers: TierSet) -> Result<GlobalView, ReadError> {
        let closed = self.closed().close();
        if tiers.contains(Tier::Wal) {
            let setting = Arc::clone(setting);
            let (tails, snapshot) = self.pin_tails(&setting);
            let manifest = snapshot.clone().unwrap_or_else(|| self.durable().pin());
            let buckets = self.buckets();
            return Ok(GlobalView { setting, closed, tails, buckets, snapshot, manifest, memory: Vec::new() });
        }
        let logs: Vec<_> =
            self.logs().into_iter().map(|shared| (shared.published().committed(), shared.view(), shared)).collect();
        let snapshot = self.pin_files(tiers);
        let manifest = snapshot.clone().unwrap_or_else(|| self.durable().pin());
        let setting = Arc::clone(setting);
        let (tails, buckets, memory) = (Vec::new(), self.buckets(), Vec::new());
        let mut view = GlobalView { setting, closed, tails, buckets, snapshot, manifest, memory };
        for (committed, log, shared) in logs {
            let hot = view.setting.hot_of(tiers).cloned();
            let memory = hot.as_ref().map_or_else(HotRange::default, |hot| hot.range(&shared.key));
            if let Some(snapshot) = &view.snapshot {
                let end = seen_through(snapshot, &shared, &log, memory, committed)?;
                view.closed = view.closed.min(end.unwrap_or(closed));
            }
            let nothing = memory.after >= memory.through;
            view.memory.push(if nothing { LogIndex(u64::MAX) } else { memory.after });
            view.tails.push(LogTail::new(shared, None, hot, view.snapshot.as_deref()));
        }
        Ok(view)
    }
}

/// Where the events of a log end that are in files or in memory, if something behind them is committed: right before the first
/// event that is in neither.
fn seen_through(
    snapshot: &Snapshot,
    shared: &LogShared,
    log: &Arc<LogView>,
    memory: HotRange,
    committed: LogIndex,
) -> Result<Option<Micros>, ReadError> {
    let files = snapshot.watermark(&shared.key);
    let unseen = if memory.after >= memory.through {
        [(files, committed), (committed, committed)]
    } else {
        [(files, memory.after.min(committed)), (files.max(memory.through), committed)]
    };
    for (after, through) in unseen.into_iter().filter(|(after, through)| after < through) {
        match frames::first_moment(&shared.key, log, after, through) {
            Ok(None) => {}
            Ok(Some(first)) => return Ok(Some(first.plus_us(-1))),
            Err(error) if error.trim_raced() => return Err(error),
            // where it cannot be read, only what is in files is certain
            Err(_) => return Ok(Some(snapshot.log(&shared.key).map_or(Micros::MIN, |log| log.last_ingested_at))),
        }
    }
    Ok(None)
}

struct PageBuilder<'a> {
    read: &'a GlobalRead,
    closed: Micros,
    sources: Sources,
    rows: Vec<GlobalRow>,
    /// The last row of the tails that was examined.
    examined: Option<Position>,
    /// Rows beyond this were not looked at.
    complete_through: Position,
    retired: Option<RetiredSeqs>,
    stats: ReadStats,
}

/// Rows of one batch, sorted, and where to go on.
struct Head {
    cursor: TailCursor,
    source: u32,
    order: Vec<(Position, u32)>,
    at: usize,
}

const fn end_of(moment: Micros) -> Position {
    Position { ingested_at: moment, event_id: EventId([0xff; 16]) }
}

impl<'a> PageBuilder<'a> {
    fn new(read: &'a GlobalRead, closed: Micros, retired: Option<RetiredSeqs>, sources: Sources) -> Self {
        Self {
            read,
            closed,
            sources,
            rows: Vec::new(),
            examined: None,
            complete_through: end_of(closed),
            retired,
            stats: ReadStats::default(),
        }
    }

    /// Collects at least the smallest `limit` rows, of the files' window and of every tail.
    fn merge(&mut self, view: &GlobalView, window: &Window) -> Result<(), ReadError> {
        self.take_window(window);
        let mut heads: Vec<Head> = Vec::new();
        let mut heap = BinaryHeap::new();
        let (mut bytes, mut first_bytes) = (0, 0);
        for tail in view.tails.iter().filter(|t| !t.is_empty() && wants(self.read, t)) {
            let cursor = TailCursor::new(tail.clone(), self.read.after.ingested_at);
            let mut head = Head { cursor, source: 0, order: Vec::new(), at: 0 };
            if let Some(position) = self.refill(&mut head, &mut first_bytes)? {
                heap.push(Reverse((position, heads.len())));
                heads.push(head);
            }
        }
        let (mut taken, mut taken_bytes) = (0, 0);
        let mut examined = 0;
        while let Some(Reverse((position, i))) = heap.pop() {
            let over = taken >= self.read.limit
                || taken_bytes > PAGE_BYTES_MAX
                || bytes > PAGE_TAIL_BYTES_MAX
                || examined > PAGE_EXAMINED_MAX;
            if position > self.complete_through || (over && self.examined.is_some_and(|last| last < position)) {
                if over {
                    self.complete_through = self.complete_through.min(self.examined.unwrap_or(position));
                }
                break;
            }
            let Some(head) = heads.get_mut(i) else { break };
            let at = RowAt { source: head.source, row: head.order.get(head.at).map_or(0, |(_, row)| *row) };
            head.at += 1;
            examined += 1;
            self.examined = Some(position);
            let event = self.sources.row(at);
            if self.read.filter.matches(&event) && !RetiredSeqs::hold(&mut self.retired, &event) {
                (taken, taken_bytes) = (taken + 1, taken_bytes + event_bytes(&event));
                self.rows.push(GlobalRow { position, at });
            }
            let next = match head.order.get(head.at) {
                Some((position, _)) => Some(*position),
                None => self.refill_at(&mut heads, i, &mut bytes)?,
            };
            if let Some(position) = next {
                heap.push(Reverse((position, i)));
            }
        }
        Ok(())
    }

    fn refill_at(&mut self, heads: &mut [Head], i: usize, bytes: &mut usize) -> Result<Option<Position>, ReadError> {
        match heads.get_mut(i) {
            Some(head) => self.refill(head, bytes),
            None => Ok(None),
        }
    }

    /// The next batch that has rows behind `after` and not beyond the closed moment.
    fn refill(&mut self, head: &mut Head, bytes: &mut usize) -> Result<Option<Position>, ReadError> {
        while let Some(batch) = head.cursor.next()? {
            if batch.batch.stamps().first_ingested_at() > self.closed {
                return Ok(None);
            }
            let mut order: Vec<(Position, u32)> = batch
                .batch
                .iter()
                .enumerate()
                .map(|(row, event)| (event.position(), row as u32))
                .filter(|(position, _)| *position > self.read.after && position.ingested_at <= self.closed)
                .collect();
            let Some(_) = order.first() else { continue };
            if !order.is_sorted() {
                order.sort_unstable();
            }
            *bytes += batch.batch.size_bytes();
            head.source = self.sources.push(Source::Batch(batch));
            head.at = 0;
            head.order = order;
            return Ok(head.order.first().map(|(position, _)| *position));
        }
        Ok(None)
    }

    /// The files' rows: at most as many as the page holds, and no row of a tail beyond what the window knows.
    fn take_window(&mut self, window: &Window) {
        self.complete_through = self.complete_through.min(window.known_through(self.closed));
        let Some((set, rest)) = window.rest() else { return };
        let source = self.sources.push(Source::Files(Arc::clone(set)));
        let mut bytes = 0;
        for row in rest {
            let at = RowAt { source, row: row as u32 };
            let event = set.row(row);
            let position = event.position();
            let last = self.rows.last().map(|r| r.position);
            if (self.rows.len() > self.read.limit || bytes > PAGE_BYTES_MAX) && last.is_some_and(|last| last < position)
            {
                // the page will be full before it comes here
                self.complete_through = self.complete_through.min(last.unwrap_or(position));
                return;
            }
            if RetiredSeqs::hold(&mut self.retired, &event) {
                continue;
            }
            bytes += event_bytes(&event);
            self.rows.push(GlobalRow { position, at });
        }
    }

    fn finish(mut self, view: &GlobalView, window: &mut Window) -> Result<GlobalPage, ReadError> {
        let through = self.complete_through;
        let (rows, key) = (std::mem::take(&mut self.rows), view.setting.dedupe_key());
        let mut rows = merge_global(&self.sources, rows, key, &view.buckets)?;
        rows.retain(|r| r.position <= through);
        let fitting = fitting(rows.iter().map(|r| self.sources.row(r.at)).take(self.read.limit), PAGE_BYTES_MAX);
        let cut = cut_at(&rows, fitting);
        let full = cut < rows.len();
        rows.truncate(cut);
        let last_row = rows.last().map(|r| r.position);
        let at_end = !full && through == end_of(view.closed);
        let next = if full {
            last_row
        } else {
            let examined = self.examined.filter(|p| *p <= through);
            let known = if through < end_of(view.closed) { Some(through) } else { durable_end(view, window) };
            [last_row, examined, known].into_iter().flatten().max()
        }
        .unwrap_or(self.read.after)
        .max(self.read.after);
        let through = if full { next } else { through.max(next) };
        window.advance(next);
        let mut tiers = TierSet::NONE;
        rows.iter().for_each(|r| tiers.insert(self.sources.tier(r.at)));
        let rows = rows.into_iter().map(|r| r.at).collect();
        let (events, stats) = (PageRows::new(self.sources, rows), self.stats);
        Ok(GlobalPage { events, next, through, at_end, looks_on: false, tiers, stats })
    }
}

fn wants(read: &GlobalRead, tail: &LogTail) -> bool {
    read.filter.stream_type.as_deref().is_none_or(|t| t == &*tail.shared.key.stream_type)
}

/// Where a page ends: at its limit, but never between two rows of one position.
fn cut_at(rows: &[GlobalRow], limit: usize) -> usize {
    let mut cut = limit.max(1).min(rows.len());
    while cut > 0 && cut < rows.len() && rows[cut].position == rows[cut - 1].position {
        cut += 1;
    }
    cut
}

/// The last moment of the files, once all of their rows up to the closed moment are known: a filter may have dropped the
/// rows at the end, and the next page need not look at them again.
fn durable_end(view: &GlobalView, window: &Window) -> Option<Position> {
    if !window.is_complete() {
        return None;
    }
    let snapshot = view.snapshot.as_deref()?;
    let last = snapshot.logs().map(|(_, log)| log.last_ingested_at).filter(|t| *t <= view.closed).max()?;
    (last > Micros::MIN).then_some(end_of(last))
}
