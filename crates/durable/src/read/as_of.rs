//! Where a stream stood at an earlier moment, told by the files of now.
//!
//! Files come and go, by merges and retention; the moment at which an event was taken stays with it, and in a stream it rises with
//! the seq. So the state of a stream at a moment is what is not above one seq.

use super::error::ReadError;
use super::file::{DataFile, Within};
use super::filter::Decoded;
use super::stats::{Counters, ReadStats};
use crate::entry::{FileEntry, within};
use crate::tier::Snapshot;
use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use std::sync::Arc;
use strandline_event::{Field, Micros, Seq};

const FIELDS: [Field; 3] = [Field::StreamId, Field::Seq, Field::IngestedAt];

impl Snapshot {
    /// The last seq of a stream that was taken up to a moment (0: there is none in files), and what was touched.
    pub fn last_seq_at(
        &self,
        stream_type: &str,
        stream_id: &str,
        through: Micros,
    ) -> Result<(Seq, ReadStats), ReadError> {
        let counters = Arc::new(Counters::default());
        let wanted = |file: &&Arc<FileEntry>| {
            file.stream_type == stream_type
                && within::<str, String>(&file.bounds.stream_id, stream_id)
                && file.bounds.ingested_at.0 <= through
        };
        let mut files: Vec<_> = self.files.iter().filter(wanted).collect();
        // the newest first: the rest is looked at only where it may hold more
        files.sort_by_key(|file| std::cmp::Reverse(file.bounds.seq.1));
        let mut last = 0;
        for entry in files {
            if i64::try_from(entry.bounds.seq.1.0).unwrap_or(i64::MAX) <= last {
                break;
            }
            let file = DataFile::open(&self.shared, entry, &counters)?;
            for group in 0..file.groups() {
                if file.may_hold(group, Field::StreamId, stream_id.as_bytes())? {
                    last = last.max(last_in(&file, group, stream_id, through, last)?);
                }
            }
        }
        Ok((Seq(last.cast_unsigned()), counters.stats()))
    }
}

/// The largest wanted seq of a group that is above one that is known.
fn last_in(file: &DataFile, group: usize, stream_id: &str, through: Micros, known: i64) -> Result<i64, ReadError> {
    let above = Within::Ints(Field::Seq, known.saturating_add(1), i64::MAX);
    let pages = file.pages(group, &[Within::Bytes(Field::StreamId, stream_id.as_bytes()), above])?;
    let mut last = known;
    if pages.is_empty() {
        return Ok(last);
    }
    file.decode(group, &pages, &FIELDS, |_, batch| {
        let columns = Decoded { fields: &FIELDS, batch };
        let ids: Option<&StringArray> = columns.column(Field::StreamId);
        let seqs: Option<&Int64Array> = columns.column(Field::Seq);
        let moments: Option<&TimestampMicrosecondArray> = columns.column(Field::IngestedAt);
        let (Some(ids), Some(seqs), Some(moments)) = (ids, seqs, moments) else {
            return Err(file.damaged("a column has another type".to_owned()));
        };
        for i in 0..batch.num_rows() {
            if ids.value(i) == stream_id && moments.value(i) <= through.0 {
                last = last.max(seqs.value(i));
            }
        }
        Ok(())
    })?;
    Ok(last)
}
