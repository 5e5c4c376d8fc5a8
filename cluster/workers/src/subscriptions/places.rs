//! Which events a subscription has parked, as far as that was looked up. The place of an event never changes, so who looks at a subscription again and again
//! has each looked up once; anew where rows went under a tombstone or came back.

use super::told::{EventPlace, ParkedEvent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use strandline_event::Position;

/// Of one subscription.
#[derive(Default)]
pub(super) struct Places(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often rows had gone or come back before.
    retirements: u64,
    of: BTreeMap<Position, EventPlace>,
}

impl Places {
    /// Says what is known of parked events, oldest first, and forgets what is not among them.
    pub(super) fn fill(&self, retirements: u64, parked: &mut [ParkedEvent]) {
        let mut known = self.0.lock();
        if known.retirements != retirements {
            *known = Known { retirements, of: BTreeMap::new() };
        }
        known.of.retain(|position, _| parked.binary_search_by_key(position, |event| event.position).is_ok());
        for event in parked {
            event.event = known.of.get(&event.position).cloned();
        }
    }

    /// One was looked up.
    pub(super) fn learn(&self, retirements: u64, position: Position, place: &EventPlace) {
        let mut known = self.0.lock();
        if known.retirements == retirements {
            known.of.insert(position, place.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{EventId, Micros, Seq};

    #[test]
    fn what_was_looked_up_is_known_while_it_is_parked_and_no_row_went() {
        let at = |us| Position { ingested_at: Micros(us), event_id: EventId([1; 16]) };
        let parked = |us| ParkedEvent {
            position: at(us),
            at: Micros(9),
            attempts: 1,
            reason: String::new(),
            replayed: false,
            event: None,
            unread: None,
        };
        let place = EventPlace { stream_type: "T".to_owned(), stream_id: "s".to_owned(), seq: Seq(1) };
        let places = Places::default();
        let known = |retirements, of: &[i64]| -> Vec<bool> {
            let mut all: Vec<ParkedEvent> = of.iter().map(|us| parked(*us)).collect();
            places.fill(retirements, &mut all);
            all.iter().map(|event| event.event.as_ref() == Some(&place)).collect()
        };
        assert_eq!(known(0, &[1, 2, 3]), [false; 3]);
        places.learn(0, at(1), &place);
        places.learn(0, at(3), &place);
        assert_eq!(known(0, &[1, 2, 3]), [true, false, true]);
        assert_eq!(known(0, &[2, 3]), [false, true]);
        assert_eq!(known(0, &[1, 3]), [false, true], "it was forgotten");
        assert_eq!(known(1, &[3]), [false], "it may be gone");
        places.learn(0, at(3), &place);
        assert_eq!(known(1, &[3]), [false], "it was looked up before that");
    }
}
