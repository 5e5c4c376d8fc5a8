//! Event ids: 16 bytes of UUID, from the client or made by the owner.
//!
//! A server-made id is a prefix that is unique for the batch, and the row in its low 20 bits (where the rows are of several tenants, the row's place:
//! `places.rs`):
//!
//! ```text
//! v7: 48 bits ms of ingested_at | 0111 | 12 bits | 10 | 42 bits, 54 in all of a scattered counter | row: low 20 bits
//! v4: 102 random bits (with version and variant)                                                  | row: low 20 bits
//! ```
//!
//! So ids of a batch cost nothing to store, ascend with the row (not so with places), and one entry of an index finds all of them. Of two batches
//! the later has the greater ids where another millisecond lies between, and nothing else is told by their order: a counter
//! as it is would tell a tenant how much others append (`scatter.rs`). Earlier versions did so: 12 + 30 bits of it, then 12 zero.

use crate::num::Micros;
use std::fmt;

/// Low bits of a server-made id that hold the row in its batch.
pub const ROW_BITS: u32 = 20;
const ROW_MASK: u128 = (1 << ROW_BITS) - 1;
const VERSION_SHIFT: u32 = 76;
const VARIANT_SHIFT: u32 = 62;

/// UUID of an event; ordered as its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventId(pub [u8; 16]);

/// The UUID version that a store makes and accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdFormat {
    /// RFC 9562 version 7: time first.
    V7,
    /// RFC 9562 version 4: random.
    V4,
}

impl IdFormat {
    /// The version number in the id.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::V7 => 7,
            Self::V4 => 4,
        }
    }
}

impl EventId {
    /// Parses the hyphenated (or plain hex) text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|u| Self(u.into_bytes()))
    }

    /// The version nibble.
    #[must_use]
    pub const fn version(self) -> u8 {
        self.0[6] >> 4
    }

    /// Whether it is an RFC 9562 id of this format.
    #[must_use]
    pub const fn is(self, format: IdFormat) -> bool {
        self.version() == format.version() && self.0[8] >> 6 == 0b10
    }

    /// Milliseconds since 1970 of a version 7 id.
    #[must_use]
    pub const fn v7_unix_ms(self) -> Option<u64> {
        if self.version() != 7 {
            return None;
        }
        Some((u128::from_be_bytes(self.0) >> 80) as u64)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

/// What the server-made ids of one batch share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IdPrefix(u128);

impl IdPrefix {
    /// Prefix of version 7 ids: unique while `bits` never repeat within a millisecond. The low
    /// [`SCATTERED_BITS`](crate::scatter::SCATTERED_BITS) of them count.
    #[must_use]
    pub const fn v7(ingested_at: Micros, bits: u64) -> Self {
        let ms = (ingested_at.unix_ms() & 0xffff_ffff_ffff) as u128;
        let high = ((bits >> 30) & 0xfff) as u128;
        let low = (bits & 0x3fff_ffff) as u128;
        // where they stand keeps the ids that earlier versions made of less than 2^42
        let last = ((bits >> 42) & 0xfff) as u128;
        Self(ms << 80 | 7 << VERSION_SHIFT | high << 64 | 0b10 << VARIANT_SHIFT | low << 32 | last << ROW_BITS)
    }

    /// Prefix of version 4 ids from random bits.
    #[must_use]
    pub const fn v4(random: u128) -> Self {
        let cleared = random & !ROW_MASK & !(0xf << VERSION_SHIFT) & !(0b11 << VARIANT_SHIFT);
        Self(cleared | 4 << VERSION_SHIFT | 0b10 << VARIANT_SHIFT)
    }

    /// The prefix that an id would have if a server made it.
    #[must_use]
    pub const fn of(id: EventId) -> Self {
        Self(u128::from_be_bytes(id.0) & !ROW_MASK)
    }

    /// The row that an id would stand at if a server made it, or its place.
    #[must_use]
    pub const fn row_of(id: EventId) -> u32 {
        (u128::from_be_bytes(id.0) & ROW_MASK) as u32
    }

    /// The id of a row, or of a place (below 2^20).
    #[must_use]
    pub const fn id(self, row: u32) -> EventId {
        EventId((self.0 | (row as u128 & ROW_MASK)).to_be_bytes())
    }

    /// As stored in the stamps.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From the stamps.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes) & !ROW_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scatter::SCATTERED_BITS;

    #[test]
    fn v7_ids_ascend_with_the_millisecond_and_the_row() {
        for bits in [0, 5, (1 << SCATTERED_BITS) - 1, u64::MAX] {
            let a = IdPrefix::v7(Micros(1_700_000_000_000_999), bits);
            let b = IdPrefix::v7(Micros(1_700_000_000_001_000), 0);
            assert!(a.id(0) < a.id(1) && a.id(1) < a.id(1_048_575) && a.id(1_048_575) < b.id(0));
            assert!(a.id(3).is(IdFormat::V7) && !a.id(3).is(IdFormat::V4));
            assert_eq!(a.id(3).v7_unix_ms(), Some(1_700_000_000_000));
        }
    }

    #[test]
    fn each_bit_of_a_scattered_number_has_a_place_in_the_prefix_and_no_other_has() {
        let of = |bits: u64| u128::from_be_bytes(IdPrefix::v7(Micros(1_700_000_000_000_000), bits).to_bytes());
        let places: Vec<u128> = (0..SCATTERED_BITS).map(|bit| of(1 << bit) ^ of(0)).collect();
        assert!(places.iter().all(|place| place.count_ones() == 1));
        let taken = places.iter().fold(0_u128, |taken, place| taken | *place);
        assert_eq!(taken.count_ones(), SCATTERED_BITS);
        assert_eq!((of(u64::MAX) ^ of(0), taken & ROW_MASK), (taken, 0));
    }

    #[test]
    fn prefix_and_row_come_back_out_of_an_id() {
        for prefix in [IdPrefix::v7(Micros(77), u64::MAX), IdPrefix::v4(u128::MAX), IdPrefix::v4(0)] {
            let id = prefix.id(99);
            assert_eq!((IdPrefix::of(id), IdPrefix::row_of(id)), (prefix, 99));
            assert_eq!(IdPrefix::from_bytes(prefix.to_bytes()), prefix);
        }
        assert!(IdPrefix::v4(u128::MAX).id(1).is(IdFormat::V4));
    }

    #[test]
    fn text_round_trips() {
        let id = IdPrefix::v7(Micros(1), 2).id(3);
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert_eq!(EventId::parse("not an id"), None);
    }
}
