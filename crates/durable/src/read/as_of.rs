//! Where a stream stood at an earlier moment, told by the files of now.
//!
//! Files come and go, by merges and retention; the moment at which an event was taken stays with it, and in a stream it rises with
//! the seq. So the state of a stream at a moment is what is not above one seq; what retention removed has left ranges of seqs.

use super::error::ReadError;
use super::file::{DataFile, Within};
use super::filter::Decoded;
use super::stats::{Counters, ReadStats};
use crate::entry::{FileEntry, within};
use crate::tier::Snapshot;
use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use std::sync::Arc;
use strandline_event::hash::stream_hash;
use strandline_event::{Field, LogKey, Micros, Seq};

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

    /// Where a stream ended at a moment, what retention removed since included. Files under a tombstone still tell it; of files
    /// that are gone the ranges of seqs are known, and no moments.
    pub fn end_at(&self, log: &LogKey, stream_id: &str, through: Micros) -> Result<(EndAt, ReadStats), ReadError> {
        let (live, mut stats) = self.last_seq_at(&log.stream_type, stream_id, through)?;
        let hash = stream_hash(stream_id);
        // a run that cannot be read is told where the rows are
        let mut retired = self.retired(log, hash).unwrap_or_default();
        retired.retain(|(_, last)| *last > live);
        let mut end = EndAt { last: live, doubtful: None };
        if retired.is_empty() {
            return Ok((end, stats));
        }
        let counters = Arc::new(Counters::default());
        let buried = self.manifest().tombstones.iter().map(|tombstone| Arc::new(tombstone.entry.clone()));
        let (mut above, mut known) = (None::<Seq>, live);
        for entry in self.files.iter().cloned().chain(buried) {
            let may_hold = entry.stream_type == *log.stream_type
                && within::<str, String>(&entry.bounds.stream_id, stream_id)
                && entry.bounds.seq.1 > live;
            if may_hold {
                let file = DataFile::open(&self.shared, &entry, &counters)?;
                for group in 0..file.groups() {
                    each_in(&file, group, stream_id, live, &mut |seq, moment| match moment <= through {
                        true => known = known.max(seq),
                        false => above = Some(above.map_or(seq, |above| above.min(seq))),
                    })?;
                }
            }
        }
        stats += counters.stats();
        let head = self.head(log, hash).ok().flatten().map_or(known, |head| head.last_seq);
        let upper = above.map_or(head, |above| Seq(above.0.saturating_sub(1)).min(head));
        end.last = known;
        let all_were_there = self.log(log).is_some_and(|state| state.last_ingested_at <= through);
        let unknown = retired.into_iter().map(|(first, last)| (first.max(known.next()), last.min(upper)));
        for (first, last) in unknown.filter(|(first, last)| first <= last) {
            end.last = end.last.max(last);
            if !all_were_there {
                end.doubtful = Some((end.doubtful.map_or(first, |(first, _)| first), last));
            }
        }
        Ok((end, stats))
    }
}

/// Where a stream ended at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndAt {
    /// Its last seq; 0: it was not there.
    pub last: Seq,
    /// Seqs up to the last one that retention removed since; whether they were there at that moment, nobody knows any more.
    pub doubtful: Option<(Seq, Seq)>,
}

/// The largest wanted seq of a group that is above one that is known.
fn last_in(file: &DataFile, group: usize, stream_id: &str, through: Micros, known: i64) -> Result<i64, ReadError> {
    let mut last = Seq(known.cast_unsigned());
    each_in(file, group, stream_id, last, &mut |seq, moment| {
        if moment <= through {
            last = last.max(seq);
        }
    })?;
    Ok(last.0.cast_signed())
}

/// Seq and moment of each event of a stream in a group whose seq is above one; the pages may hold lower ones too.
fn each_in(
    file: &DataFile,
    group: usize,
    stream_id: &str,
    above: Seq,
    each: &mut dyn FnMut(Seq, Micros),
) -> Result<(), ReadError> {
    let above = Within::Ints(Field::Seq, above.0.cast_signed().saturating_add(1), i64::MAX);
    let pages = file.pages(group, &[Within::Bytes(Field::StreamId, stream_id.as_bytes()), above])?;
    if pages.is_empty() {
        return Ok(());
    }
    file.decode(group, &pages, &FIELDS, |_, batch| {
        let columns = Decoded { fields: &FIELDS, batch };
        let ids: Option<&StringArray> = columns.column(Field::StreamId);
        let seqs: Option<&Int64Array> = columns.column(Field::Seq);
        let moments: Option<&TimestampMicrosecondArray> = columns.column(Field::IngestedAt);
        let (Some(ids), Some(seqs), Some(moments)) = (ids, seqs, moments) else {
            return Err(file.damaged("a column has another type".to_owned()));
        };
        for i in (0..batch.num_rows()).filter(|i| ids.value(*i) == stream_id) {
            each(Seq(seqs.value(i).cast_unsigned()), Micros(moments.value(i)));
        }
        Ok(())
    })
}
