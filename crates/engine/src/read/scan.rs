//! Everything, each event once, in storage order: data files first, then each log's tail. The fast way to read it all.
//!
//! A scan owns its view: what is compacted or trimmed meanwhile changes nothing for it. It opens every segment of its
//! tails before it gives the first row, so that a trim cannot take one away later.

use super::error::ReadError;
use super::source::TailBatch;
use crate::store::{Setting, Store};
use crate::subjects::{Opener, Openings};
use crate::tenants::Visible;
use crate::view::cursor::TailCursor;
use crate::view::retired::RetiredSeqs;
use crate::view::tail::LogTail;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_durable::{ReadStats, RowBatch, RowFilter, Veil};
use strandline_event::{EventRef, Micros, StampedBatch};

/// Views that a scan takes before it gives up on logs that are trimmed under it each time.
const VIEWS_MAX: usize = 8;

/// What a row of a data file takes in an answer, about.
const FILE_ROW_BYTES: usize = 256;

/// A running scan. Give it up by dropping it.
pub struct Scan {
    files: Option<strandline_durable::Scan>,
    /// What the files cost, once they are at their end.
    stats: ReadStats,
    tails: VecDeque<LogTail>,
    cursor: Option<TailCursor>,
    filter: RowFilter,
    retired: Option<RetiredSeqs>,
    veil: Arc<Veil>,
    opener: Option<Opener>,
    /// What the caller sees; `None`: everything.
    visible: Option<Visible>,
}

/// Events that lie together. Keeps alive what its rows point into.
pub struct ScanBatch {
    rows: Rows,
    veil: Arc<Veil>,
    openings: Openings<usize>,
}

enum Rows {
    /// All rows of the batch, or some.
    Files(RowBatch, Option<Vec<u32>>),
    /// Some rows of the batch.
    Tail(TailBatch, Vec<u32>),
}

impl ScanBatch {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Files(batch, None) => strandline_durable::Rows::rows(batch),
            Rows::Files(_, Some(rows)) => rows.len(),
            Rows::Tail(_, rows) => rows.len(),
        }
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it takes in an answer, about: without looking at every row.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.rows {
            Rows::Files(..) => self.len() * FILE_ROW_BYTES,
            Rows::Tail(tail, _) => tail.batch.size_bytes(),
        }
    }

    /// An event; `i` is below `len`.
    #[must_use]
    pub fn row(&self, i: usize) -> EventRef<'_> {
        self.veil.over(self.openings.over(i, self.rows.row(i)))
    }

    /// The events.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// The batch as it stands in the log, where all of it is asked for, and nothing of it is redacted or sealed.
    #[must_use]
    pub fn stamped(&self) -> Option<&StampedBatch> {
        match &self.rows {
            Rows::Tail(tail, rows) if rows.len() == tail.batch.rows() && self.is_as_stored(&tail.batch) => {
                Some(&tail.batch)
            }
            _ => None,
        }
    }

    fn is_as_stored(&self, batch: &StampedBatch) -> bool {
        self.openings.is_empty() && !self.veil.hides_any(batch)
    }

    /// The tier that gave them.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match &self.rows {
            Rows::Files(..) => Tier::Durable,
            Rows::Tail(tail, _) => tail.tier,
        }
    }
}

impl Rows {
    fn row(&self, i: usize) -> EventRef<'_> {
        match self {
            Self::Files(batch, rows) => strandline_durable::Rows::row(batch, nth(rows.as_deref(), i)),
            Self::Tail(tail, rows) => tail.batch.row(nth(Some(rows), i)),
        }
    }
}

/// The `i`-th of some rows, or of all.
fn nth(rows: Option<&[u32]>, i: usize) -> usize {
    rows.map_or(i, |rows| rows.get(i).map_or(0, |row| *row as usize))
}

impl Store {
    /// Everything that the filter keeps, once.
    ///
    /// # Errors
    /// [`ReadError`], here or from the iterator, which ends after an error.
    pub fn scan(&self, filter: &RowFilter) -> Result<Scan, ReadError> {
        let setting = self.setting();
        self.refuse_damaged(&setting, filter.stream_type.as_deref())?;
        for _ in 1..VIEWS_MAX {
            match self.open_scan(&setting, filter) {
                Err(error) if error.trim_raced() => {}
                other => return other,
            }
        }
        self.open_scan(&setting, filter)
    }

    fn open_scan(&self, setting: &Setting, filter: &RowFilter) -> Result<Scan, ReadError> {
        let (mut tails, snapshot) = self.pin_tails(setting);
        tails
            .retain(|t| !t.is_empty() && filter.stream_type.as_deref().is_none_or(|s| s == &*t.shared.key.stream_type));
        for tail in &tails {
            open_segments(tail)?;
        }
        let manifest = snapshot.clone().unwrap_or_else(|| self.durable().pin());
        let retired = RetiredSeqs::of(&manifest, snapshot.is_some())?;
        let files = snapshot.map(|s| s.scan(filter));
        Ok(Scan {
            files,
            stats: ReadStats::default(),
            tails: tails.into(),
            cursor: None,
            filter: filter.clone(),
            retired,
            veil: Arc::clone(self.durable().veil()),
            opener: self.opener().cloned(),
            visible: None,
        })
    }
}

/// Opens every segment that the tail needs: from then on it stays readable though it is trimmed.
fn open_segments(tail: &LogTail) -> Result<(), ReadError> {
    let Some(log) = &tail.log else { return Ok(()) };
    for segment in log.segments() {
        let first = segment.first_index.max(tail.after.next());
        if segment.last_index.is_some_and(|last| last >= first) && first <= tail.through {
            tail.entry(log, first)?;
        }
    }
    Ok(())
}

impl Iterator for Scan {
    type Item = Result<ScanBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.end_files();
            self.cursor = None;
            self.tails.clear();
        }
        next
    }
}

impl Scan {
    /// The same, of no event.
    pub(super) fn emptied(mut self) -> Self {
        self.end_files();
        self.tails.clear();
        self
    }

    /// The same, of what a caller sees.
    pub(super) fn seen_by(self, visible: Visible) -> Self {
        Self { visible: Some(visible), ..self }
    }

    /// The rows of some that the caller sees; `None`: all of the batch.
    fn seen_rows(
        &mut self,
        of: &impl strandline_durable::Rows,
        rows: Option<Vec<u32>>,
    ) -> Result<Option<Vec<u32>>, ReadError> {
        let Some(visible) = &mut self.visible else { return Ok(rows) };
        let mut seen = Vec::new();
        for row in rows.unwrap_or_else(|| (0..of.rows() as u32).collect()) {
            if visible.sees(&of.row(row as usize))? {
                seen.push(row);
            }
        }
        Ok(Some(seen))
    }

    /// What the files cost so far.
    #[must_use]
    pub fn stats(&self) -> ReadStats {
        self.files.as_ref().map_or(self.stats, strandline_durable::Scan::stats)
    }

    /// Rows for a client: what is sealed in them is opened.
    fn batch(&self, rows: Rows) -> Result<ScanBatch, ReadError> {
        let mut batch = ScanBatch { rows, veil: Arc::clone(&self.veil), openings: Openings::default() };
        if let Some(opener) = &self.opener {
            batch.openings = Openings::of(opener, (0..batch.len()).map(|i| (i, batch.rows.row(i))))?;
        }
        Ok(batch)
    }

    fn end_files(&mut self) {
        self.stats = self.stats();
        self.files = None;
    }

    fn advance(&mut self) -> Result<Option<ScanBatch>, ReadError> {
        while let Some(files) = &mut self.files {
            let Some(batch) = files.next().transpose()? else {
                self.end_files();
                break;
            };
            let left = self.retired.as_mut().and_then(|retired| retired.left_of(&batch));
            let left = self.seen_rows(&batch, left)?;
            if left.as_ref().is_none_or(|rows| !rows.is_empty()) {
                return self.batch(Rows::Files(batch, left)).map(Some);
            }
        }
        loop {
            let Some(cursor) = &mut self.cursor else {
                let Some(tail) = self.tails.pop_front() else { return Ok(None) };
                self.cursor = Some(TailCursor::new(tail, Micros::MIN));
                continue;
            };
            let Some(batch) = cursor.next()? else {
                self.cursor = None;
                continue;
            };
            let rows: Vec<u32> = batch
                .batch
                .iter()
                .enumerate()
                .filter(|(_, event)| self.filter.matches(event) && !RetiredSeqs::hold(&mut self.retired, event))
                .map(|(row, _)| row as u32)
                .collect();
            let rows = self.seen_rows(&batch.batch, Some(rows))?.unwrap_or_default();
            if !rows.is_empty() {
                return self.batch(Rows::Tail(batch, rows)).map(Some);
            }
        }
    }
}
