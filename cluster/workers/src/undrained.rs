//! What a node says that stops before its disk has taken everything.

use std::time::Duration;

/// Logs whose disk did not take what was in flight when the node stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk did not take what was in flight in {} seconds; not acknowledged, and perhaps not stored, is the last group of {}: \
     make room and start the node again, then repeat what was not answered", .waited.as_secs(), .logs.join(", ")
)]
pub struct Undrained {
    /// `store/stream type` of each.
    pub logs: Vec<String>,
    /// How long the node has waited.
    pub waited: Duration,
}
