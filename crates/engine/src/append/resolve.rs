//! What the edge does for `Again`: compares rows with what is stored under their seqs, and lists ids to look up.

use crate::append::outcome::Lookup;
use crate::append::request::{Known, KnownSeq};
use std::collections::HashMap;
use strandline_event::{BatchView, EventId, EventRef, Seq};

/// The client-given ids of a batch, with their rows.
pub fn ids_to_check(batch: BatchView<'_>) -> impl Iterator<Item = (u32, EventId)> + '_ {
    (0..batch.rows()).filter_map(move |row| Some((row as u32, batch.given_event_id(row)?)))
}

/// Reads what is stored under the (stream, seq) of each row and compares. `read` gives the events of a stream with
/// seqs in a range, ends included, to its last argument, in any order; an absent one is just not given. What an event that is
/// redacted said nobody knows any more: a replay of it is equal if all else is.
pub fn resolve_known<E>(
    batch: BatchView<'_>,
    lookup: &Lookup,
    is_redacted: impl Fn(&EventRef<'_>) -> bool,
    mut read: impl FnMut(&str, Seq, Seq, &mut dyn FnMut(&EventRef<'_>)) -> Result<(), E>,
) -> Result<Known, E> {
    let mut by_stream: HashMap<usize, Vec<(Seq, u32)>> = HashMap::new();
    for (row, seq) in &lookup.rows {
        by_stream.entry(batch.stream_of(*row as usize)).or_default().push((*seq, *row));
    }
    let mut known = Vec::with_capacity(lookup.rows.len());
    for (stream, mut wanted) in by_stream {
        wanted.sort_unstable();
        // neighbours in one read, strangers apart
        for run in wanted.chunk_by(|a, b| b.0.0 <= a.0.0.saturating_add(64)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let mut found: HashMap<u32, KnownSeq> = run.iter().map(|(_, row)| (*row, KnownSeq::Absent)).collect();
            read(batch.stream(stream), first.0, last.0, &mut |event| {
                let start = run.partition_point(|(seq, _)| *seq < event.seq);
                for (_, row) in run.get(start..).unwrap_or(&[]).iter().take_while(|(seq, _)| *seq == event.seq) {
                    found.insert(*row, compare(batch, *row as usize, event, is_redacted(event)));
                }
            })?;
            known.extend(found);
        }
    }
    Ok(Known::new(known))
}

/// Whether a row is the event that is stored: every field that the client gives is equal, and every field that
/// it leaves out is one that the store filled in or that is absent there too.
fn compare(batch: BatchView<'_>, row: usize, event: &EventRef<'_>, is_redacted: bool) -> KnownSeq {
    let occurred_at = batch.given_occurred_at(row).unwrap_or(event.ingested_at);
    let same = batch.given_event_id(row).is_none_or(|id| id == event.event_id)
        && occurred_at == event.occurred_at
        && batch.event_type(row) == event.event_type
        && batch.event_version(row) == event.event_version
        && (is_redacted || (batch.data(row) == event.data && batch.metadata(row) == event.metadata))
        && batch.command_id(row) == event.command_id
        && batch.correlation_id(row) == event.correlation_id
        && batch.causation_id(row) == event.causation_id
        && batch.tenant_id(row) == event.tenant_id;
    if same { KnownSeq::Same { ingested_at: event.ingested_at, event_id: event.event_id } } else { KnownSeq::Different }
}
