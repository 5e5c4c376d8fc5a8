//! Batches that another program made: whether they keep what [`BatchBuilder`](crate::BatchBuilder) promises, beside being sound.
//!
//! An archive that validates can be read; it may still name a stream twice, which would give two events one seq, or hold texts over the limits.
//! Whether payloads are JSON is asked elsewhere: this crate reads none.

use crate::batch::{BatchUnit, BatchView};
use crate::builder::{InvalidEvent, check, check_stream_type};
use crate::field::Field;
use crate::limits;
use crate::num::Seq;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// What a batch from outside breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForeignError {
    /// The stream type's name.
    #[error("{0}")]
    StreamType(InvalidEvent),
    /// A row.
    #[error("{why}")]
    Row {
        /// Which.
        row: u32,
        /// Why.
        why: InvalidEvent,
    },
    /// The list of streams.
    #[error("the batch must name each stream once, in the order of their first events, and no other")]
    Streams,
    /// An append to a stream over its limit of events.
    #[error("an append to a stream holds at most {} events: send several", limits::APPEND_EVENTS_MAX)]
    AppendTooLong,
}

/// Checks a batch that has been validated.
///
/// # Errors
/// [`ForeignError`].
pub fn check_foreign(batch: BatchView<'_>) -> Result<(), ForeignError> {
    check_stream_type(batch.stream_type()).map_err(ForeignError::StreamType)?;
    if batch.unit() == BatchUnit::Append && batch.rows() > limits::APPEND_EVENTS_MAX {
        return Err(ForeignError::AppendTooLong);
    }
    let looks_at_rows = !keeps_limits(batch);
    let mut named = 0;
    for row in 0..batch.rows() {
        let stream = batch.stream_of(row);
        if stream > named {
            return Err(ForeignError::Streams);
        }
        named = named.max(stream + 1);
        if looks_at_rows {
            check(&batch.input(row)).map_err(|why| ForeignError::Row { row: row as u32, why })?;
        }
    }
    if named != batch.stream_count() || names_one_twice(batch) {
        return Err(ForeignError::Streams);
    }
    Ok(())
}

/// Whether no row breaks a limit, by the columns as wholes; `false`: one may.
fn keeps_limits(batch: BatchView<'_>) -> bool {
    let fits = |field, min: usize, limit: usize| {
        batch.lengths(field).is_none_or(|(shortest, longest)| min <= shortest && longest <= limit)
    };
    let longest = |field| batch.lengths(field).map_or(0, |(_, longest)| longest);
    let may_be =
        |row| batch.given_seq(row) != Some(Seq::ZERO) && batch.given_occurred_at(row).is_none_or(crate::time::in_range);
    fits(Field::StreamId, 1, limits::STREAM_ID_BYTES_MAX)
        && fits(Field::EventType, 1, limits::EVENT_TYPE_BYTES_MAX)
        && fits(Field::CommandId, 1, limits::ID_TEXT_BYTES_MAX)
        && fits(Field::CorrelationId, 0, limits::ID_TEXT_BYTES_MAX)
        && fits(Field::CausationId, 0, limits::ID_TEXT_BYTES_MAX)
        && batch.lengths(Field::TenantId).is_none()
        && longest(Field::Payload) + longest(Field::Metadata) + longest(Field::StreamId) <= limits::EVENT_BYTES_MAX
        && (0..batch.rows()).all(may_be)
}

fn names_one_twice(batch: BatchView<'_>) -> bool {
    let count = batch.stream_count();
    if count < 2 {
        return false;
    }
    // seeded by the process: what another program sends must not choose the collisions
    let hasher = RandomState::default();
    let hash = |stream: &u32| hasher.hash_one(batch.stream(*stream as usize));
    let mut seen: HashTable<u32> = HashTable::with_capacity(count);
    (0..count as u32).any(|stream| {
        let (text, key) = (batch.stream(stream as usize), hash(&stream));
        let known = seen.find(key, |other| batch.stream(*other as usize) == text).is_some();
        seen.insert_unique(key, stream, hash);
        known
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{EventBatch, flags};
    use crate::texts::Texts;
    use crate::{BatchBytes, Micros};

    fn texts(all: &[&str]) -> Texts {
        let mut texts = Texts::default();
        all.iter().for_each(|text| texts.push(text));
        texts
    }

    fn batch(streams: &[&str], stream_of: &[u32]) -> EventBatch {
        let rows = stream_of.len();
        EventBatch {
            stream_type: "T".to_owned(),
            streams: texts(streams),
            stream_of: stream_of.to_vec(),
            flags: vec![0; rows],
            event_types: texts(&vec!["E"; rows]),
            data: texts(&vec!["{}"; rows]),
            ..EventBatch::default()
        }
    }

    fn judged(batch: &EventBatch) -> Result<(), ForeignError> {
        check_foreign(BatchBytes::archive(batch).unwrap().view())
    }

    #[test]
    fn streams_are_named_once_in_order() {
        assert_eq!(judged(&batch(&["a", "b"], &[0, 1, 0])), Ok(()));
        for (streams, stream_of) in [
            (&["a", "a"][..], &[0, 1][..]), // two seqs for one event place
            (&["a", "b"], &[0, 0]),
            (&["b", "a"], &[1, 0]),
        ] {
            assert_eq!(judged(&batch(streams, stream_of)), Err(ForeignError::Streams));
        }
    }

    #[test]
    fn limits_of_the_builder_hold() {
        let row = |why| Err(ForeignError::Row { row: 0, why });
        assert_eq!(judged(&batch(&[""], &[0])), row(InvalidEvent::Empty(Field::StreamId)));
        let long = "x".repeat(limits::STREAM_ID_BYTES_MAX + 1);
        let limit = limits::STREAM_ID_BYTES_MAX;
        assert_eq!(judged(&batch(&[&long], &[0])), row(InvalidEvent::TooLong { field: Field::StreamId, limit }));
        let mut no_type = batch(&["a"], &[0]);
        no_type.stream_type.clear();
        assert!(matches!(judged(&no_type), Err(ForeignError::StreamType(_))));
        let mut long = batch(&["a"], &vec![0; limits::APPEND_EVENTS_MAX + 1]);
        assert_eq!(judged(&long), Ok(()));
        long.unit = BatchUnit::Append.to_u8();
        assert_eq!(judged(&long), Err(ForeignError::AppendTooLong));
    }

    /// Three rows that have what rows can have but a tenant, with a change.
    fn full(change: impl FnOnce(&mut EventBatch)) -> EventBatch {
        let given = flags::SEQ | flags::OCCURRED_AT | flags::METADATA | flags::COMMAND_ID | flags::CORRELATION_ID;
        let mut full = batch(&["a"], &[0, 0, 0]);
        full.flags = vec![given | flags::CAUSATION_ID; 3];
        full.seqs = vec![1, 2, 3];
        full.occurred_at = vec![1, 2, 3];
        full.metadata = texts(&["{}"; 3]);
        full.command_ids = texts(&["c"; 3]);
        full.correlation_ids = texts(&["", "c", ""]);
        full.causation_ids = texts(&["c", "", ""]);
        change(&mut full);
        full
    }

    /// The same, where the second row says that it has nothing of it.
    fn unsaid(change: impl FnOnce(&mut EventBatch)) -> EventBatch {
        full(|batch| {
            batch.flags[1] = 0;
            change(batch);
        })
    }

    #[test]
    fn what_is_judged_by_columns_is_what_is_judged_row_by_row() {
        let by_rows = |batch: &EventBatch| {
            let archive = BatchBytes::archive(batch).unwrap();
            let view = archive.view();
            let row = |row: usize| check(&view.input(row)).map_err(|why| ForeignError::Row { row: row as u32, why });
            (0..view.rows()).try_for_each(row)
        };
        let (id, kind) = ("x".repeat(limits::ID_TEXT_BYTES_MAX + 1), "x".repeat(limits::EVENT_TYPE_BYTES_MAX + 1));
        let (id, kind, large) = (id.as_str(), kind.as_str(), "1".repeat(limits::EVENT_BYTES_MAX - 4));
        let changed = [
            (true, full(|_| ())),
            (false, full(|b| b.event_types = texts(&["E", kind, "E"]))),
            (false, full(|b| b.event_types = texts(&["E", "E", ""]))),
            (false, full(|b| b.command_ids = texts(&["c", id, "c"]))),
            (false, full(|b| b.command_ids = texts(&["c", "", "c"]))),
            (false, full(|b| b.correlation_ids = texts(&["c", id, "c"]))),
            (false, full(|b| b.causation_ids = texts(&["c", id, "c"]))),
            (false, full(|b| b.seqs[1] = 0)),
            (false, full(|b| b.occurred_at[1] = i64::MAX)),
            (false, full(|b| b.data = texts(&["1", "1", &"1".repeat(limits::EVENT_BYTES_MAX)]))),
            // two rows that are large enough together
            (true, full(|b| (b.data, b.metadata) = (texts(&["1", "1", &large]), texts(&["{}", "{\"a\":1}", "{}"])))),
            (true, unsaid(|b| b.command_ids = texts(&["c", id, "c"]))),
            (true, unsaid(|b| b.command_ids = texts(&["c", "", "c"]))),
            (true, unsaid(|b| b.seqs[1] = 0)),
            (true, unsaid(|b| b.occurred_at[1] = Micros::MIN.0)),
        ];
        for (n, (keeps, batch)) in changed.iter().enumerate() {
            assert_eq!((judged(batch), judged(batch).is_ok()), (by_rows(batch), *keeps), "{n}");
        }
        let tenants = |tenant: &str| {
            full(|b| {
                b.flags[1] |= flags::TENANT_ID;
                b.tenant_ids = texts(&["", tenant, ""]);
            })
        };
        assert_eq!((judged(&tenants("t")).is_ok(), judged(&tenants(id)).is_ok()), (true, false));
    }
}
