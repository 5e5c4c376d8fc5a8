//! The seq ranges of data files, by stream: what retention writes down when they go, and takes back when they return.
//!
//! Bounded memory: at most [`HELD_MAX`] ranges are held; more are put aside as sorted runs, which nobody's manifest names and
//! which go when the set goes (what a crash leaves of them is swept).

use super::rebuild::each_row;
use super::{DurableTier, RetireError};
use crate::entry::FileEntry;
use crate::objects::ObjectError;
use crate::runs::{Ranges, Record, RetiredRange, Run, coalesced, union, write_run};
use arrow::array::{Int64Array, StringArray};
use std::ops::ControlFlow;
use strandline_event::hash::stream_hash;
use strandline_event::{Field, LogKey, Seq};

/// Ranges that are held in memory: 32 MiB.
const HELD_MAX: usize = 1 << 20;

/// Ranges of one log.
pub(super) struct RangeSet<'t> {
    tier: &'t DurableTier,
    log: LogKey,
    held_max: usize,
    held: Vec<RetiredRange>,
    aside: Vec<(String, Run)>,
    rows: u64,
}

impl<'t> RangeSet<'t> {
    pub(super) const fn new(tier: &'t DurableTier, log: LogKey) -> Self {
        Self { tier, log, held_max: HELD_MAX, held: Vec::new(), aside: Vec::new(), rows: 0 }
    }

    #[cfg(test)]
    pub(super) fn holding(mut self, held_max: usize) -> Self {
        self.held_max = held_max;
        self
    }

    /// Takes the rows of a file in.
    pub(super) fn add_file(
        &mut self,
        file: &FileEntry,
        go_on: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<(), RetireError> {
        let mut stream = (String::new(), stream_hash(""));
        let mut stopped = None;
        each_row(self.tier.shared(), [file], &[Field::StreamId, Field::Seq], &mut |columns, i| {
            if stopped.is_some() {
                return Some(());
            }
            if i == 0 && go_on().is_break() {
                stopped = Some(RetireError::Cancelled);
                return Some(());
            }
            let id = columns.column::<StringArray>(Field::StreamId)?.value(i);
            if id != stream.0 {
                stream = (id.to_owned(), stream_hash(id));
            }
            let seq = Seq(columns.column::<Int64Array>(Field::Seq)?.value(i).cast_unsigned());
            if let Err(error) = self.add(stream.1, seq) {
                stopped = Some(error.into());
            }
            Some(())
        })?;
        stopped.map_or(Ok(()), Err)
    }

    fn add(&mut self, stream: u128, seq: Seq) -> Result<(), ObjectError> {
        self.rows += 1;
        match self.held.last_mut() {
            Some(last) if last.stream == stream && last.last.next() == seq => last.last = seq,
            _ => self.held.push(RetiredRange { stream, first: seq, last: seq }),
        }
        if self.held.len() < self.held_max {
            return Ok(());
        }
        self.tidy();
        // half of it is room enough to go on
        if self.held.len() > self.held_max / 2 { self.put_aside() } else { Ok(()) }
    }

    fn tidy(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.sort_unstable();
        self.held = coalesced(held.into_iter()).collect();
    }

    fn put_aside(&mut self) -> Result<(), ObjectError> {
        let objects = &*self.tier.shared().objects;
        let held = std::mem::take(&mut self.held);
        let path = self.tier.run_path::<RetiredRange>(&self.log)?;
        let run = write_run(objects, &path, held.iter().copied(), held.len() as u64, 0)?;
        let opened = Run::open(objects, &run, RetiredRange::KIND, RetiredRange::BYTES);
        let opened = opened.map_err(|error| ObjectError::from_io(&path, std::io::Error::other(error.to_string())))?;
        self.aside.push((path, opened));
        Ok(())
    }

    /// Ends the collection. What [`ranges`](Self::ranges) gives is complete from here on.
    pub(super) fn finish(&mut self) {
        self.tidy();
    }

    /// All ranges, sorted and joined.
    pub(super) fn ranges(&self) -> impl Iterator<Item = RetiredRange> + '_ {
        let mut sources: Vec<Ranges<'_>> = vec![Box::new(self.held.iter().copied())];
        sources.extend(self.aside.iter().map(|(_, run)| Box::new(run.iter()) as Ranges<'_>));
        union(sources)
    }

    pub(super) const fn log(&self) -> &LogKey {
        &self.log
    }

    /// At least the number of [`ranges`](Self::ranges).
    pub(super) fn count_max(&self) -> u64 {
        self.held.len() as u64 + self.aside.iter().map(|(_, run)| run.len() as u64).sum::<u64>()
    }

    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }
}

impl Drop for RangeSet<'_> {
    fn drop(&mut self) {
        for (path, _) in self.aside.drain(..) {
            match self.tier.shared().objects.delete(&path) {
                Ok(()) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(path, %error, "a run that nobody needs stays until it is swept"),
            }
        }
    }
}
