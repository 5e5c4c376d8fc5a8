//! The store-wide position: what a reader of the global order resumes from. Valid for ever.

use crate::id::EventId;
use crate::num::Micros;
use std::fmt;

/// Place of an event in the global order (ingested_at, event_id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// When the store took the event.
    pub ingested_at: Micros,
    /// Its id, which breaks ties.
    pub event_id: EventId,
}

impl Position {
    /// Before every event.
    pub const START: Self = Self { ingested_at: Micros::MIN, event_id: EventId([0; 16]) };

    /// The place right before this one: nothing lies between.
    #[must_use]
    pub fn before(self) -> Self {
        match u128::from_be_bytes(self.event_id.0).checked_sub(1) {
            Some(id) => Self { event_id: EventId(id.to_be_bytes()), ..self },
            None => Self { ingested_at: self.ingested_at.plus_us(-1), event_id: EventId([0xff; 16]) },
        }
    }

    /// The last place of a moment.
    #[must_use]
    pub const fn end_of(moment: Micros) -> Self {
        Self { ingested_at: moment, event_id: EventId([0xff; 16]) }
    }

    /// Parses the text form: 16 hex digits of ingested_at (offset binary, so that texts sort as positions), `-`, 32 hex digits of the id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, id) = text.split_once('-')?;
        if time.len() != 16 || id.len() != 32 || !text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
            return None;
        }
        let biased = u64::from_str_radix(time, 16).ok()?;
        let id = u128::from_str_radix(id, 16).ok()?;
        Some(Self { ingested_at: Micros((biased ^ SIGN) as i64), event_id: EventId(id.to_be_bytes()) })
    }
}

const SIGN: u64 = 1 << 63;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:032x}", self.ingested_at.0 as u64 ^ SIGN, u128::from_be_bytes(self.event_id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_sorts_and_round_trips() {
        let at = |us, id| Position { ingested_at: Micros(us), event_id: EventId([id; 16]) };
        let all = [Position::START, at(-5, 1), at(0, 0), at(9, 3), at(9, 4), at(i64::MAX, 255)];
        for pair in all.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for p in all {
            assert_eq!(Position::parse(&p.to_string()), Some(p));
        }
        for p in &all[1..] {
            assert!(p.before() < *p && p.before() >= Position::START && Position::end_of(p.ingested_at) >= *p);
        }
        assert_eq!(at(0, 0).before(), at(-1, 255));
        for bad in ["", "-", "zz", "8000000000000000-+0000000000000000000000000000000"] {
            assert_eq!(Position::parse(bad), None);
        }
    }
}
