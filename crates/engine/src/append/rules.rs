//! The rules of a store that its logs judge by.

use crate::commands::Scope;
use crate::strict::Strict;
use std::sync::Arc;
use strandline_deql::{CommandScope, StoreConfig};
use strandline_event::{BatchView, IdFormat, Micros};

/// Largest seq: Parquet keeps seqs as signed 64-bit numbers.
pub(crate) const SEQ_MAX: u64 = i64::MAX as u64;

/// Shared by all logs of a store.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What one event can break by itself.
    pub strict: Strict,
    /// Where command ids are unique.
    pub scope: Scope,
    /// Whether a client's seq must be the next one.
    pub require_monotonic_seq: bool,
    /// Version of the ids that are made.
    pub id_format: IdFormat,
    /// Key of the store's digests.
    pub digest_key: (u64, u64),
}

impl Rules {
    /// From the statement and the store's digest key.
    #[must_use]
    pub fn new(config: &StoreConfig, digest_key: (u64, u64)) -> Arc<Self> {
        let scope = match config.id.command_id_unique_scope {
            CommandScope::None => Scope::None,
            CommandScope::Stream => Scope::Stream,
            CommandScope::StreamType => Scope::StreamType,
            CommandScope::Store => Scope::Store,
        };
        Arc::new(Self {
            strict: Strict::new(config),
            scope,
            require_monotonic_seq: config.read.require_monotonic_seq,
            id_format: config.id.event_id_format,
            digest_key,
        })
    }

    /// Whether what is stored already can refuse a row of a bulk body's part: its client gave a seq, an event id, or a command
    /// id that is unique here. Of all other rows [`strict`](Self::strict) alone decides.
    #[must_use]
    pub fn can_conflict(&self, batch: BatchView<'_>) -> bool {
        let commands = self.scope != Scope::None;
        (0..batch.rows()).any(|row| {
            batch.given_seq(row).is_some()
                || batch.given_event_id(row).is_some()
                || (commands && batch.command_id(row).is_some())
        })
    }

    /// Prefix of a batch's ids.
    pub(crate) fn id_prefix(&self, base: Micros, entropy: u128) -> strandline_event::IdPrefix {
        match self.id_format {
            IdFormat::V7 => strandline_event::IdPrefix::v7(base, entropy as u64),
            IdFormat::V4 => strandline_event::IdPrefix::v4(entropy),
        }
    }

    /// The next bits to try after a prefix was taken.
    pub(crate) const fn next_entropy(&self, entropy: u128) -> u128 {
        match self.id_format {
            IdFormat::V7 => entropy.wrapping_add(1),
            IdFormat::V4 => entropy.wrapping_add(1 << strandline_event::id::ROW_BITS),
        }
    }
}
