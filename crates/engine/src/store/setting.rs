//! What a store's statement says, as it is now: one pointer that everybody takes once, at the begin of an operation.
//!
//! Invariant: a setting never changes. A statement that is replaced makes another one (see `replace`); who has begun with the
//! old one ends with it.

use super::open::enabled_tiers;
use crate::append::Rules;
use crate::read::TierSet;
use crate::read::merge::DedupeKey;
use std::sync::Arc;
use strandline_deql::{Inmemory, MissingSeqPolicy, StoreConfig, Tier};
use strandline_hot::{HotOptions, HotTier};

/// A statement, and what follows from it.
pub(crate) struct Setting {
    pub(crate) config: Arc<StoreConfig>,
    /// What its logs judge appends by.
    pub(crate) rules: Arc<Rules>,
    /// Memory, where `inmemory.enabled`.
    pub(crate) hot: Option<Arc<HotTier>>,
    /// Tiers that reads consult.
    pub(crate) read_tiers: TierSet,
    /// Tiers that the store has: what it reads for itself.
    pub(crate) all_tiers: TierSet,
}

impl Setting {
    /// Of a statement. Memory that is there already goes on.
    pub(super) fn new(config: StoreConfig, rules: Arc<Rules>, memory: Option<&Arc<HotTier>>) -> Self {
        let hot = config.inmemory.enabled.then(|| {
            let made = || Arc::new(HotTier::new(hot_options(&config.inmemory)));
            memory.map_or_else(made, Arc::clone)
        });
        let (read_tiers, all_tiers) = (TierSet::of(&config.read.tiers), enabled_tiers(&config));
        Self { config: Arc::new(config), rules, hot, read_tiers, all_tiers }
    }

    /// Whether appends go to a log first.
    const fn has_log(&self) -> bool {
        self.all_tiers.contains(Tier::Wal)
    }

    pub(crate) fn dedupe_key(&self) -> DedupeKey {
        DedupeKey::of(&self.config.read.dedupe_key)
    }

    /// Whether a hole fails a read.
    pub(crate) fn holes_fail(&self) -> bool {
        self.config.read.missing_seq_policy == MissingSeqPolicy::Error
    }

    /// The hot tier, if it is one of these and may hold what is in no file yet.
    pub(crate) fn hot_of(&self, tiers: TierSet) -> Option<&Arc<HotTier>> {
        let needed = self.has_log() || !tiers.contains(Tier::Durable);
        self.hot.as_ref().filter(|_| needed && tiers.contains(Tier::Inmemory))
    }

    /// The hot tier, for a read of every tier: what it holds whole, no other tier has to be asked for.
    pub(crate) fn hot_for_all(&self, tiers: TierSet) -> Option<&Arc<HotTier>> {
        self.hot.as_ref().filter(|_| tiers.covers(self.all_tiers))
    }
}

/// The bounds of memory as a statement gives them.
pub(super) fn hot_options(inmemory: &Inmemory) -> HotOptions {
    let ttl_us = i64::try_from(inmemory.ttl_seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    // without a log everything is in files before it comes here
    HotOptions { max_bytes: inmemory.max_mb.saturating_mul(1 << 20), ttl_us: Some(ttl_us), has_log: true }
}
