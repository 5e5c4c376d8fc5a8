//! How far was looked for callers that are limited to tenants, behind the last place that they were told.
//!
//! Such a caller resumes behind an event of its own, or where it began: any other place would tell of an event that it does not see. What was looked at
//! behind that place is not looked at again, since the store remembers it. Who is forgotten pays one look more. Bounds: [`LOOKED_MAX`] places, and no
//! file or segment is held by one.

use parking_lot::Mutex;
use std::collections::VecDeque;
use strandline_durable::RowFilter;
use strandline_event::Position;

/// Places that are kept; the oldest one goes.
const LOOKED_MAX: usize = 256;

/// Who reads what, and under which tombstones.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    /// What it asks for, narrowed to its tenants.
    pub(crate) filter: RowFilter,
    /// How often rows had gone under tombstones or come back: what came back is behind no place.
    pub(crate) retirements: u64,
}

struct Place {
    reader: Reader,
    told: Position,
    through: Position,
}

/// The places of a store.
#[derive(Default)]
pub(crate) struct Looked(Mutex<VecDeque<Place>>);

impl Looked {
    /// How far was looked for the reader that was told this place.
    pub(crate) fn behind(&self, reader: &Reader, told: Position) -> Option<Position> {
        let all = self.0.lock();
        all.iter().find(|place| place.told == told && place.reader == *reader).map(|place| place.through)
    }

    /// There is nothing for the reader between `told` and `through`.
    pub(crate) fn keep(&self, reader: Reader, told: Position, through: Position) {
        let mut all = self.0.lock();
        // two reads may end at once: the one that came less far says nothing new
        if let Some(known) = all.iter_mut().find(|place| place.told == told && place.reader == reader) {
            known.through = known.through.max(through);
            return;
        }
        if all.len() >= LOOKED_MAX {
            all.pop_front();
        }
        all.push_back(Place { reader, told, through });
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::Micros;

    fn reader(tenant: &str, retirements: u64) -> Reader {
        let filter = RowFilter { tenants: vec![tenant.to_owned()], ..RowFilter::default() };
        Reader { filter, retirements }
    }

    fn at(moment: i64) -> Position {
        Position::end_of(Micros(moment))
    }

    #[test]
    fn a_place_is_found_by_its_own_reader_only_and_never_goes_back() {
        let looked = Looked::default();
        looked.keep(reader("a", 0), at(1), at(9));
        looked.keep(reader("a", 0), at(1), at(5));
        assert_eq!(looked.behind(&reader("a", 0), at(1)), Some(at(9)));
        for (reader, told) in [(reader("b", 0), at(1)), (reader("a", 1), at(1)), (reader("a", 0), at(2))] {
            assert_eq!(looked.behind(&reader, told), None);
        }
        looked.clear();
        assert_eq!(looked.behind(&reader("a", 0), at(1)), None);
    }

    #[test]
    fn the_oldest_place_goes() {
        let looked = Looked::default();
        let all = LOOKED_MAX as i64 + 1;
        (0..all).for_each(|n| looked.keep(reader("a", 0), at(n), at(n + 1)));
        assert_eq!(looked.behind(&reader("a", 0), at(0)), None);
        assert!((1..all).all(|n| looked.behind(&reader("a", 0), at(n)) == Some(at(n + 1))));
    }
}
