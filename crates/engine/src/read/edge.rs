//! Reads that the append rules ask the edge for, so that accepting an append stays a pure function.

use super::error::ReadError;
use super::order::Order;
use super::stream::{Manner, StreamRead};
use crate::append::{IdsChecked, Known, Lookup, ids_to_check, resolve_known};
use crate::store::Store;
use strandline_event::{BatchView, EventId, EventRef, LogKey, Seq};

/// Rows of a stream that are looked at together.
const PAGE_ROWS: usize = 4096;

impl Store {
    /// Looks the client-given event ids of a batch up in the owner's files. Most batches have none: that is free.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn check_ids(&self, log: &LogKey, batch: BatchView<'_>) -> Result<IdsChecked, ReadError> {
        let snapshot = self.durable().pin();
        let through = snapshot.watermark(log);
        let mut found = Vec::new();
        for (row, id) in ids_to_check(batch) {
            if self.is_in_files(&snapshot, log, id)? {
                found.push(row);
            }
        }
        Ok(IdsChecked { through, found })
    }

    fn is_in_files(
        &self,
        snapshot: &strandline_durable::Snapshot,
        log: &LogKey,
        id: EventId,
    ) -> Result<bool, ReadError> {
        let ours = |event: EventRef<'_>| self.owner_of(event.stream_type, event.stream_id) == *log;
        // what is under a tombstone may come back
        Ok(snapshot.find_event_id(id)?.iter().any(ours) || snapshot.find_buried_event_id(id)?.iter().any(ours))
    }

    /// Reads what is stored under client-given seqs that are at or below their streams' heads.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn resolve(&self, batch: BatchView<'_>, lookup: &Lookup) -> Result<Known, ReadError> {
        let (stream_type, veil) = (batch.stream_type(), self.durable().veil());
        let is_redacted = |event: &EventRef<'_>| veil.hides(event.event_id, (event.stream_type, event.stream_id));
        let read = |stream_id: &str, from: Seq, to: Seq, each: &mut dyn FnMut(&EventRef<'_>)| {
            self.each_row(stream_type, stream_id, (from, to), each)
        };
        resolve_known(batch, lookup, is_redacted, read)
    }

    fn each_row(
        &self,
        stream_type: &str,
        stream_id: &str,
        range: (Seq, Seq),
        each: &mut dyn FnMut(&EventRef<'_>),
    ) -> Result<(), ReadError> {
        let (mut from, to) = range;
        while from <= to {
            let read = StreamRead {
                stream_type,
                stream_id,
                from_seq: Some(from),
                to_seq: Some(to),
                limit: PAGE_ROWS,
                order: Some(Order::Asc),
            };
            let page = self.read_stream_with(&read, Manner::internal(self))?;
            page.rows().for_each(|event| each(&event));
            let last = page.rows().last().map(|event| event.seq);
            match last.filter(|_| page.full) {
                Some(last) => from = last.next(),
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
