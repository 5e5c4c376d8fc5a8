//! The rows of one stream, by seq.

use super::budget::{READ_BYTES_MAX, cut_by_bytes};
use super::error::ReadError;
use super::file::{DataFile, Within};
use super::filter::Decoded;
use super::rowset::{Candidate, Kept, RowSet, Smallest, fetch, keep};
use super::stats::Counters;
use crate::entry::{FileEntry, within};
use crate::tier::Snapshot;
use arrow::array::{Int64Array, StringArray};
use std::sync::Arc;
use strandline_event::{Field, Seq};

/// A read of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamQuery<'a> {
    /// The stream's type.
    pub stream_type: &'a str,
    /// The stream.
    pub stream_id: &'a str,
    /// First seq.
    pub from_seq: Seq,
    /// Last seq, inclusive.
    pub to_seq: Seq,
    /// From the last one down.
    pub descending: bool,
    /// At most so many rows.
    pub limit: usize,
}

impl StreamQuery<'_> {
    /// Whether a file may hold rows of it, by what the manifest says.
    fn may_match(&self, file: &FileEntry) -> bool {
        file.stream_type == self.stream_type
            && within::<str, String>(&file.bounds.stream_id, self.stream_id)
            && file.bounds.seq.0 <= self.to_seq
            && self.from_seq <= file.bounds.seq.1
    }

    fn seqs(&self) -> (i64, i64) {
        let clamp = |seq: Seq| i64::try_from(seq.0).unwrap_or(i64::MAX);
        (clamp(self.from_seq), clamp(self.to_seq))
    }

    /// Rising in the order that is asked for.
    const fn key(&self, seq: i64) -> i64 {
        if self.descending { -seq } else { seq }
    }
}

impl Snapshot {
    /// The rows of a stream in data files, by seq, at most `limit` and about 64 MiB; `complete` is false where one of them cut it.
    pub fn stream(&self, query: &StreamQuery<'_>) -> Result<RowSet, ReadError> {
        self.stream_within(query, READ_BYTES_MAX)
    }

    /// As [`stream`](Self::stream), of a stream that is in this bucket: no file of another one is looked at.
    pub fn stream_in(&self, bucket: u32, query: &StreamQuery<'_>) -> Result<RowSet, ReadError> {
        let files = self.files.iter().filter(|file| file.bucket == bucket && query.may_match(file));
        self.stream_of(files.cloned().collect(), query, READ_BYTES_MAX)
    }

    pub(crate) fn stream_within(&self, query: &StreamQuery<'_>, bytes_max: u64) -> Result<RowSet, ReadError> {
        let files = self.files.iter().filter(|file| query.may_match(file));
        self.stream_of(files.cloned().collect(), query, bytes_max)
    }

    fn stream_of(
        &self,
        files: Vec<Arc<FileEntry>>,
        query: &StreamQuery<'_>,
        bytes_max: u64,
    ) -> Result<RowSet, ReadError> {
        let counters = Arc::new(Counters::default());
        let mut smallest = Smallest::new(query.limit);
        let mut kept = Kept::new();
        for (n, entry) in files.iter().enumerate() {
            let file = DataFile::open(&self.shared, entry, &counters)?;
            let mut found = false;
            for group in 0..file.groups() {
                if file.may_hold(group, Field::StreamId, query.stream_id.as_bytes())? {
                    found |= choose(&file, n as u32, group, query, &mut smallest)?;
                }
            }
            if found {
                keep(&mut kept, n as u32, file);
            }
        }
        let (mut chosen, mut complete) = smallest.finish();
        if chosen.is_empty() {
            return Ok(RowSet { complete, ..RowSet::empty(counters.stats()) });
        }
        complete &= !cut_by_bytes(&self.shared, &files, &mut chosen, bytes_max, &counters, &mut kept)?;
        fetch(&self.shared, &files, &chosen, complete, &counters, &mut kept)
    }
}

/// Whether there was a row.
fn choose(
    file: &DataFile,
    n: u32,
    group: usize,
    query: &StreamQuery<'_>,
    smallest: &mut Smallest<i64>,
) -> Result<bool, ReadError> {
    const FIELDS: [Field; 2] = [Field::StreamId, Field::Seq];
    let (from, to) = query.seqs();
    let conditions = [Within::Bytes(Field::StreamId, query.stream_id.as_bytes()), Within::Ints(Field::Seq, from, to)];
    let pages = file.pages(group, &conditions)?;
    if pages.is_empty() {
        return Ok(false);
    }
    let mut found = false;
    file.decode(group, &pages, &FIELDS, |rows, batch| {
        let columns = Decoded { fields: &FIELDS, batch };
        let ids: Option<&StringArray> = columns.column(Field::StreamId);
        let seqs: Option<&Int64Array> = columns.column(Field::Seq);
        let (Some(ids), Some(seqs)) = (ids, seqs) else {
            return Err(file.damaged("a column has another type".to_owned()));
        };
        for (i, row) in rows.enumerate() {
            let seq = seqs.value(i);
            if (from..=to).contains(&seq) && ids.value(i) == query.stream_id {
                smallest.push(Candidate { key: query.key(seq), file: n, row });
                found = true;
            }
        }
        Ok(())
    })?;
    Ok(found)
}
