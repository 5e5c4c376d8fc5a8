//! The rows of the whole tier by position: the durable part of the global order.

use super::budget::{READ_BYTES_MAX, cut_by_bytes};
use super::error::ReadError;
use super::file::{DataFile, Within};
use super::filter::{Decoded, RowFilter};
use super::rowset::{Candidate, Kept, RowSet, Smallest, fetch};
use super::stats::Counters;
use crate::tier::Snapshot;
use arrow::array::{FixedSizeBinaryArray, TimestampMicrosecondArray};
use std::sync::Arc;
use strandline_event::{EventId, Field, Micros, Position};

impl Snapshot {
    /// The `limit` smallest positions behind `after`, with ingested_at up to `through`, of rows that match.
    ///
    /// `complete`: there is no other one up to `through`; false also where the rows would take more than about 64 MiB.
    /// Holds 40 bytes a row of at most twice `limit` rows, then the rows themselves.
    pub fn by_ingested(
        &self,
        after: Position,
        through: Micros,
        filter: &RowFilter,
        limit: usize,
    ) -> Result<RowSet, ReadError> {
        self.by_ingested_within(after, through, filter, limit, READ_BYTES_MAX)
    }

    pub(crate) fn by_ingested_within(
        &self,
        after: Position,
        through: Micros,
        filter: &RowFilter,
        limit: usize,
        bytes_max: u64,
    ) -> Result<RowSet, ReadError> {
        let counters = Arc::new(Counters::default());
        let wanted = |f: &&Arc<crate::FileEntry>| {
            let (low, high) = f.bounds.ingested_at;
            // who has passed the last moment of a file opens it no more
            after < Position::end_of(high) && low <= through && filter.may_match(f)
        };
        let mut files: Vec<_> = self.files.iter().filter(wanted).cloned().collect();
        files.sort_by_key(|f| f.bounds.ingested_at.0);
        let mut smallest = Smallest::new(limit);
        let query = Query { after, through, filter };
        for (n, entry) in files.iter().enumerate() {
            smallest.shrink();
            let first = Position { ingested_at: entry.bounds.ingested_at.0, event_id: EventId([0; 16]) };
            if smallest.refuses(first) {
                // files come by their first moment: all later ones are refused too
                break;
            }
            let file = DataFile::open(&self.shared, entry, &counters)?;
            for group in 0..file.groups() {
                query.choose(&file, n as u32, group, &mut smallest)?;
            }
        }
        let (mut chosen, mut complete) = smallest.finish();
        if chosen.is_empty() {
            return Ok(RowSet { complete, ..RowSet::empty(counters.stats()) });
        }
        let mut kept = Kept::new();
        complete &= !cut_by_bytes(&self.shared, &files, &mut chosen, bytes_max, &counters, &mut kept)?;
        fetch(&self.shared, &files, &chosen, complete, &counters, &mut kept)
    }
}

struct Query<'a> {
    after: Position,
    through: Micros,
    filter: &'a RowFilter,
}

impl Query<'_> {
    fn choose(
        &self,
        file: &DataFile,
        n: u32,
        group: usize,
        smallest: &mut Smallest<Position>,
    ) -> Result<(), ReadError> {
        let mut fields = self.filter.fields();
        fields.extend([Field::EventId, Field::IngestedAt]);
        fields.sort_unstable();
        let conditions = [Within::Ints(Field::IngestedAt, self.after.ingested_at.0, self.through.0)];
        let pages = file.pages(group, &conditions)?;
        if pages.is_empty() {
            return Ok(());
        }
        file.decode(group, &pages, &fields, |rows, batch| {
            let columns = Decoded { fields: &fields, batch };
            let bad = || file.damaged("a column has another type".to_owned());
            let ids: &FixedSizeBinaryArray = columns.column(Field::EventId).ok_or_else(bad)?;
            let times: &TimestampMicrosecondArray = columns.column(Field::IngestedAt).ok_or_else(bad)?;
            for (i, row) in rows.enumerate() {
                let ingested_at = Micros(times.value(i));
                if ingested_at < self.after.ingested_at || ingested_at > self.through {
                    continue;
                }
                let event_id = EventId(ids.value(i).try_into().map_err(|_| bad())?);
                let key = Position { ingested_at, event_id };
                if key > self.after && !smallest.refuses(key) && self.filter.matches_row(&columns, i).ok_or_else(bad)? {
                    smallest.push(Candidate { key, file: n, row });
                }
            }
            Ok(())
        })
    }
}
