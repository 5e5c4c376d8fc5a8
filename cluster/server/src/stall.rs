//! How long a peer may be silent in the middle of something, by any protocol: one rule.

use std::time::Duration;

/// Time without a byte, in the middle of a body, a frame or an answer, after which a peer is given up.
pub(crate) const STALL: Duration = Duration::from_secs(30);
