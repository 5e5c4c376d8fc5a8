//! Numbers of the hot tier, for people and for metrics. They may be a moment old against each other.

use crate::batch::HotRange;
use strandline_event::{LogKey, Micros};

/// The whole tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Bytes that it holds, index included.
    pub bytes: u64,
    /// Its bound.
    pub max_bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Events.
    pub events: u64,
    /// ingested_at of the oldest event.
    pub oldest_ingested_at: Option<Micros>,
    /// ingested_at of the newest event.
    pub newest_ingested_at: Option<Micros>,
    /// By log, ordered by key.
    pub logs: Vec<HotLogStats>,
}

/// One log's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotLogStats {
    /// The log.
    pub key: LogKey,
    /// Bytes, index included.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Events.
    pub events: u64,
    /// Entries that are here.
    pub range: HotRange,
    /// ingested_at of the oldest event.
    pub oldest_ingested_at: Option<Micros>,
    /// ingested_at of the newest event.
    pub newest_ingested_at: Option<Micros>,
}
