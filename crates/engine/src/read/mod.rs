//! Reads: the union of the tiers, one row per dedupe key, in order, checked for holes.
//!
//! A read never waits for a mailbox and takes no lock over I/O; it pins a view (see `view`) and keeps what its rows
//! point into. It knows no HTTP, no JSON, no clock.

mod as_of;
pub(crate) mod budget;
pub(crate) mod by_id;
pub(crate) mod cursors;
mod edge;
mod error;
pub(crate) mod global;
mod limited;
mod looked;
mod memory;
pub(crate) mod merge;
mod named;
mod order;
mod scan;
pub(crate) mod source;
mod stream;
mod tiers;
mod verdict;

pub use as_of::AsOf;
pub use budget::PAGE_BYTES_MAX;
pub use by_id::FoundEvent;
pub use error::ReadError;
pub use global::{GlobalPage, GlobalRead};
pub use limited::of_tenants;
pub use order::Order;
pub use scan::{Scan, ScanBatch};
pub use source::{Doubled, PageRows};
pub use strandline_durable::{ReadStats, RowFilter as Filter};
pub use stream::{StreamHead, StreamPage, StreamRead};
pub use tiers::TierSet;
pub use verdict::{SeqRange, Verdict};
