//! The hot tier: recently committed batches in memory, by stream and by position.
//!
//! ```text
//!  writer ── insert(index, batch) ──> ring of batches ─┐            readers: no mailbox,
//!                                  -> 16 shards:       ├─ covers    a shard's lock only while
//!                                     stream -> runs ──┘ (after, through]   Arcs are cloned
//!  writer ── evict: first `after` rises, then batches leave, oldest first across all logs
//! ```
//!
//! It is a copy of what a lower tier holds, never the only place of an event: it refuses to evict above
//! what the lower tier has, and it knows no file, no durability, no manifest.
//!
//! Invariant: whatever a reader is given is complete and unique for the range `(after, through]` that comes
//! with it. The reader's order makes it so: `through` is read first, then rows are taken, then `after`;
//! the writer's is the reverse: rows enter before `through` rises, `after` rises before rows leave.
//!
//! Sharded locks, not published immutable maps: an insert touches one map entry a stream, and a lock is held
//! for the time of some pointer copies, never while rows are used.

mod batch;
mod log;
mod shard;
mod stats;
mod tier;

pub use batch::{HotBatch, HotBatches, HotRange, HotRow, HotRows, SeqRange};
pub use stats::{HotLogStats, HotStats};
pub use tier::{HotOptions, HotTier};
