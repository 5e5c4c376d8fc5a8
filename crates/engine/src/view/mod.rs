//! The tiers at one moment.
//!
//! Events move one way: memory and log first, then the manifest that names their data files; only after that the log is
//! trimmed and memory lets go. So a view is taken in the direction of that movement, and nothing can slip past it:
//!
//! ```text
//!  1 heads, closed timestamp    what must be there at least
//!  2 hot tier's range and rows  (after_h, through_h]      each entry in it is in the log already
//!  3 log views                  up to `through` >= through_h; a view keeps its segments readable
//!  4 manifest                   watermark W >= what was trimmed when 3 was taken
//!
//!  durable: (0, W]     tail: (W, through], from memory where it covers, else from the log
//! ```
//!
//! Taken the other way round, a commit and a trim between 4 and 3 would leave a hole between files and log. What can
//! still happen: a segment that 3 names is unlinked before it is opened for the first time. The log says `Trimmed`
//! then, never "not there", and the read takes a new view, whose manifest has what was trimmed.
//!
//! The tiers of a view are disjoint by log index. `read.tiers` may leave one out: without files the tail begins where
//! the log begins, without the log it is what memory holds. What is only in a tier left out is not seen.

pub(crate) mod cursor;
pub(crate) mod frames;
pub(crate) mod retired;
pub(crate) mod stream_index;
pub(crate) mod tail;
