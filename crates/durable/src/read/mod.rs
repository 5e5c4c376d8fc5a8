//! Reads of data files under one manifest version: lookups prune by manifest, filter and page index, then decode few pages.
//!
//! Refuses to merge tiers and to judge holes: rows come out as they stand in files.
//!
//! ```text
//! manifest bounds -> footer (cached) -> statistics -> bloom filter -> page index -> deciding columns -> rows (all columns)
//! ```
//!
//! Of a large file a lookup reads what it needs: the footer, one block of a filter, the page index of one row group, some pages. Every byte
//! that is decoded was checked: the tail of a file against the manifest, its blocks against the tail.

mod as_of;
mod batch;
mod budget;
mod cache;
mod checked;
mod error;
mod event_id;
mod file;
mod filter;
mod index;
mod ingested;
mod meta;
mod pages;
mod probe;
mod rowset;
mod scan;
mod sealed_filters;
mod stats;
mod stream;
mod sums;

pub use as_of::EndAt;
pub use batch::{Place, RowBatch};
pub(crate) use cache::FileCache;
pub use error::ReadError;
pub(crate) use file::{DataFile, open_entry};
pub(crate) use filter::Decoded;
pub use filter::RowFilter;
pub use rowset::RowSet;
pub use scan::Scan;
pub(crate) use stats::Counters;
pub use stats::ReadStats;
pub use stream::StreamQuery;
