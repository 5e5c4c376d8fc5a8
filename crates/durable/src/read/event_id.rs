//! The rows that carry an event id: by bounds, bloom filters, then one column.

use super::error::ReadError;
use super::file::{DataFile, Within};
use super::filter::Decoded;
use super::rowset::{Candidate, Kept, RowSet, fetch, keep};
use super::stats::Counters;
use crate::entry::{FileEntry, within};
use crate::tier::Snapshot;
use arrow::array::FixedSizeBinaryArray;
use std::sync::Arc;
use strandline_event::{EventId, Field};

impl Snapshot {
    /// All rows with this id: none or one, unless two owners were given the same id by clients.
    pub fn find_event_id(&self, id: EventId) -> Result<RowSet, ReadError> {
        self.find_id_in(self.files.iter().filter(|f| within(&f.bounds.event_id, &id)).cloned().collect(), id)
    }

    /// All rows with this id under tombstones: no read shows them, but while they can be brought back their ids are taken.
    pub fn find_buried_event_id(&self, id: EventId) -> Result<RowSet, ReadError> {
        let buried = self.manifest.tombstones.iter().map(|tombstone| &tombstone.entry);
        let files = buried.filter(|f| within(&f.bounds.event_id, &id));
        self.find_id_in(files.map(|f| Arc::new(f.clone())).collect(), id)
    }

    fn find_id_in(&self, files: Vec<Arc<FileEntry>>, id: EventId) -> Result<RowSet, ReadError> {
        let counters = Arc::new(Counters::default());
        let mut chosen = Vec::new();
        let mut kept = Kept::new();
        for (n, entry) in files.iter().enumerate() {
            let file = DataFile::open(&self.shared, entry, &counters)?;
            let before = chosen.len();
            for group in 0..file.groups() {
                if file.may_hold(group, Field::EventId, &id.0)? {
                    choose(&file, n as u32, group, id, &mut chosen)?;
                }
            }
            if chosen.len() > before {
                keep(&mut kept, n as u32, file);
            }
        }
        if chosen.is_empty() {
            return Ok(RowSet::empty(counters.stats()));
        }
        fetch(&self.shared, &files, &chosen, true, &counters, &mut kept)
    }
}

fn choose(
    file: &DataFile,
    n: u32,
    group: usize,
    id: EventId,
    chosen: &mut Vec<Candidate<()>>,
) -> Result<(), ReadError> {
    const FIELDS: [Field; 1] = [Field::EventId];
    let pages = file.pages(group, &[Within::Bytes(Field::EventId, &id.0)])?;
    if pages.is_empty() {
        return Ok(());
    }
    file.decode(group, &pages, &FIELDS, |rows, batch| {
        let columns = Decoded { fields: &FIELDS, batch };
        let ids: Option<&FixedSizeBinaryArray> = columns.column(Field::EventId);
        let ids = ids.ok_or_else(|| file.damaged("a column has another type".to_owned()))?;
        let found = rows.enumerate().filter(|(i, _)| ids.value(*i) == id.0);
        chosen.extend(found.map(|(_, row)| Candidate { key: (), file: n, row }));
        Ok(())
    })
}
