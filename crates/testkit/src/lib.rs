//! Dev only: what the tests of all crates share. Nothing of it runs in production.
//!
//! The model store says what must be answered, generators make histories in which requests meet each other, the
//! manual clock moves when told, the faulty disk fails below a real node. The crash disk and the copying of folders live
//! beside the log's own tests and are exported here.

pub mod clock;
pub mod faulty_disk;
pub mod r#gen;
pub mod local_store;
pub mod model;
pub mod settled;

pub use strandline_wal::{crash_disk, folders};
