//! Which tiers gave rows: a small set, in the order from memory down to files.

use std::fmt;
use strandline_deql::Tier;

/// A set of tiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierSet(u8);

const ORDER: [Tier; 3] = [Tier::Inmemory, Tier::Wal, Tier::Durable];

const fn bit(tier: Tier) -> u8 {
    match tier {
        Tier::Inmemory => 1,
        Tier::Wal => 2,
        Tier::Durable => 4,
    }
}

impl TierSet {
    /// No tier.
    pub const NONE: Self = Self(0);
    /// Every tier.
    pub const ALL: Self = Self(7);

    /// As a number: 1 memory, 2 log, 4 files.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The tiers of a list.
    #[must_use]
    pub fn of(tiers: &[Tier]) -> Self {
        Self(tiers.iter().fold(0, |set, tier| set | bit(*tier)))
    }

    /// Adds a tier.
    pub fn insert(&mut self, tier: Tier) {
        self.0 |= bit(tier);
    }

    /// All but one.
    #[must_use]
    pub const fn without(self, tier: Tier) -> Self {
        Self(self.0 & !bit(tier))
    }

    /// Whether a tier is in it.
    #[must_use]
    pub const fn contains(self, tier: Tier) -> bool {
        self.0 & bit(tier) != 0
    }

    /// Whether no tier is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every tier of `other` is in it.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The tiers in it, memory first.
    pub fn iter(self) -> impl Iterator<Item = Tier> {
        ORDER.into_iter().filter(move |tier| self.contains(*tier))
    }
}

impl fmt::Display for TierSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tier) in self.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{tier}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_the_tiers_from_memory_down() {
        let mut set = TierSet::of(&[Tier::Durable]);
        set.insert(Tier::Inmemory);
        assert_eq!(set.to_string(), "inmemory,durable");
        assert!(TierSet::ALL.covers(set) && !set.covers(TierSet::ALL));
        assert_eq!(TierSet::NONE.to_string(), "");
    }
}
