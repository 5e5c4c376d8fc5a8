//! What a reader of the global order left behind: the view of its last page and the files' rows that come next.
//!
//! Files are sorted by stream, so the next page of the global order lies scattered over all of them. One pass collects
//! the next [`WINDOW_ROWS`] rows; pages are cut from that window until it is used up. A cursor is found by the `next`
//! of its page; one that nobody asks for is forgotten, and a reader whose cursor is gone pays one pass.
//!
//! Bounds: [`CURSORS_MAX`] cursors, each one window of rows, none older than [`IDLE_SECONDS`]; a kept view pins the
//! files and segments that it names no longer than that.

use super::error::ReadError;
use super::global::GlobalView;
use super::looked::Looked;
use super::named::Named;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use strandline_durable::{ReadStats, RowFilter, RowSet, Snapshot};
use strandline_event::{EventId, Micros, Position};

/// Rows of the files that one pass collects at most.
const WINDOW_ROWS: usize = 32 << 10;
/// Rows that it collects however large they are.
const WINDOW_ROWS_MIN: usize = 64;
/// Bytes that a window should have at most.
const WINDOW_BYTES: u64 = 64 << 20;
/// How much larger rows are in memory than in a file, as a guess.
const UNPACKED: u64 = 8;
/// Cursors that are kept.
const CURSORS_MAX: usize = 16;
/// How long a cursor waits for its reader.
const IDLE_SECONDS: u64 = 60;

/// The files' next rows.
pub(crate) struct Window {
    rows: Option<Arc<RowSet>>,
    /// Rows before this one were given.
    at: usize,
    /// Every row up to here is in `rows` (or was given).
    known: Known,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// Up to a position: there may be more behind it.
    Through(Position),
    /// Up to the closed moment of the view.
    All,
}

impl Window {
    /// Knows everything up to `after`, which was given.
    pub(crate) const fn empty(after: Position) -> Self {
        Self { rows: None, at: 0, known: Known::Through(after) }
    }

    /// Whether every row was given.
    pub(crate) fn is_spent(&self) -> bool {
        self.rows.as_ref().is_none_or(|set| self.at >= set.len())
    }

    /// Whether every row of the files up to the closed moment is here or was given.
    pub(crate) fn is_complete(&self) -> bool {
        self.known == Known::All
    }

    /// Everything up to here is known.
    pub(crate) const fn known_through(&self, closed: Micros) -> Position {
        match self.known {
            Known::Through(position) => position,
            Known::All => Position { ingested_at: closed, event_id: EventId([0xff; 16]) },
        }
    }

    /// The rows that were not given yet.
    pub(crate) fn rest(&self) -> Option<(&Arc<RowSet>, Range<usize>)> {
        let set = self.rows.as_ref()?;
        (self.at < set.len()).then_some((set, self.at..set.len()))
    }

    /// Makes one pass over the files if the window is used up and there may be more.
    pub(crate) fn fill(
        &mut self,
        snapshot: Option<&Snapshot>,
        closed: Micros,
        filter: &RowFilter,
        stats: &mut ReadStats,
    ) -> Result<(), ReadError> {
        let Known::Through(after) = self.known else { return Ok(()) };
        if !self.is_spent() {
            return Ok(());
        }
        let Some(snapshot) = snapshot else {
            (self.rows, self.known) = (None, Known::All);
            return Ok(());
        };
        // how many of its own rows a limited caller is given at once must not tell how large those of others are: here bytes alone bound them
        let mut wanted =
            if filter.tenants.is_empty() { window_rows(snapshot, after.ingested_at, closed) } else { WINDOW_ROWS };
        loop {
            let set = snapshot.by_ingested(after, closed, filter, wanted)?;
            *stats += set.stats;
            if set.complete {
                (self.rows, self.at, self.known) = (Some(Arc::new(set)), 0, Known::All);
                return Ok(());
            }
            // rows of one position belong together: the last position may have more of them behind the cut
            let last = set.len().checked_sub(1).map(|i| set.row(i).position());
            let before_last = (0..set.len()).rev().map(|i| set.row(i).position()).find(|p| Some(*p) != last);
            if let Some(known) = before_last {
                (self.rows, self.at, self.known) = (Some(Arc::new(set)), 0, Known::Through(known));
                return Ok(());
            }
            wanted = wanted.saturating_mul(2);
        }
    }

    /// Everything up to `next` was given.
    pub(crate) fn advance(&mut self, next: Position) {
        let Some(set) = &self.rows else { return };
        while self.at < set.len() && set.row(self.at).position() <= next {
            self.at += 1;
        }
        if let Known::Through(known) = self.known {
            // what lies behind the known part is collected again by the next pass
            if next >= known {
                (self.rows, self.at, self.known) = (None, 0, Known::Through(next));
            }
        }
    }
}

/// Rows of a window, by the largest average row of the files that it is collected from.
fn window_rows(snapshot: &Snapshot, after: Micros, closed: Micros) -> usize {
    let here = snapshot.files().iter().filter(|f| f.bounds.ingested_at.1 >= after && f.bounds.ingested_at.0 <= closed);
    let row_bytes = here.map(|f| f.bytes / f.rows.max(1)).max().unwrap_or(0).saturating_mul(UNPACKED).max(1);
    usize::try_from(WINDOW_BYTES / row_bytes).unwrap_or(WINDOW_ROWS).clamp(WINDOW_ROWS_MIN, WINDOW_ROWS)
}

/// A view and a window, between two pages of one reader.
pub(crate) struct Kept {
    pub(crate) view: Arc<GlobalView>,
    pub(crate) window: Window,
}

struct Entry {
    next: Position,
    filter: RowFilter,
    kept: Kept,
    at: Micros,
}

/// The cursors of a store.
#[derive(Default)]
pub(crate) struct Cursors {
    pages: Mutex<VecDeque<Entry>>,
    looked: Looked,
    named: Named,
}

impl Cursors {
    /// Takes the cursor of a page's `next`, if it is still there.
    pub(crate) fn take(&self, after: Position, filter: &RowFilter) -> Option<Kept> {
        let mut all = self.pages.lock();
        let i = all.iter().position(|e| e.next == after && e.filter == *filter)?;
        all.remove(i).map(|entry| entry.kept)
    }

    /// Keeps a cursor for the reader of `next`; the oldest one goes if there are too many.
    pub(crate) fn keep(&self, next: Position, filter: &RowFilter, kept: Kept, now: Micros) {
        let mut all = self.pages.lock();
        let oldest = now.minus_seconds(IDLE_SECONDS);
        all.retain(|e| e.at >= oldest);
        if all.len() >= CURSORS_MAX {
            all.pop_front();
        }
        all.push_back(Entry { next, filter: filter.clone(), kept, at: now });
    }

    /// How far was looked for callers that were not told.
    pub(crate) const fn looked(&self) -> &Looked {
        &self.looked
    }

    /// The tenants that events of streams have said.
    pub(crate) const fn named(&self) -> &Named {
        &self.named
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.pages.lock().clear();
        self.looked.clear();
        self.named.clear();
    }

    /// Forgets what nobody asked for.
    pub(crate) fn expire(&self, now: Micros) {
        let oldest = now.minus_seconds(IDLE_SECONDS);
        self.pages.lock().retain(|e| e.at >= oldest);
    }
}
