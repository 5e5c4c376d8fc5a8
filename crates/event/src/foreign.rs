//! Batches that another program made: whether they keep what [`BatchBuilder`](crate::BatchBuilder) promises, beside being sound.
//!
//! An archive that validates can be read; it may still name a stream twice, which would give two events one seq, or hold texts over the limits.
//! Whether payloads are JSON is asked elsewhere: this crate reads none.

use crate::batch::{BatchUnit, BatchView};
use crate::builder::{InvalidEvent, check, check_stream_type};
use crate::limits;
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
    let mut named = 0;
    for row in 0..batch.rows() {
        let stream = batch.stream_of(row);
        if stream > named {
            return Err(ForeignError::Streams);
        }
        named = named.max(stream + 1);
        check(&batch.input(row)).map_err(|why| ForeignError::Row { row: row as u32, why })?;
    }
    if named != batch.stream_count() || names_one_twice(batch) {
        return Err(ForeignError::Streams);
    }
    Ok(())
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
    use crate::batch::EventBatch;
    use crate::texts::Texts;
    use crate::{BatchBytes, Field};

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
}
