//! The append side: one log's rules as a pure state machine, and the driver that joins it to where it becomes durable:
//! the log file, or (a store without a log) a Parquet commit of all that waits together.
//!
//! ```text
//!  AppendRequest ─> Log::accept ──┬─ Store: stamped batch ─> sink ─> group ─> durable ─> visible ─> answer
//!                    (pass.rs)    ├─ Answer: refusal or duplicate, held until what it depends on is committed
//!                                 └─ Again: a read is needed first (a client's seq or id below the watermark),
//!                                            or the word of another log (`registry.rs`), on a cluster
//!                                            of the keeper of command ids (`reservations.rs`)
//! ```
//!
//! Order of the checks: command id, expected seq, a client's seq, strictness, a client's event id. Everything
//! is judged against heads *including what is in flight*, so two appends in one group cannot both win.
//! It knows no clock, no randomness, no actor and no reply type: all are arguments.

mod driver;
mod error;
mod files;
mod hashes;
mod log;
mod outcome;
mod pass;
mod published;
mod registry;
mod replicated;
mod request;
mod reservations;
mod resolve;
mod rules;
pub mod settle;
mod settled;
mod settling;
mod sink;
mod stamp;
mod verdict;

pub use driver::{Done, LogDriver};
pub use error::{AppendError, Refusal};
pub use files::{FilesCommitted, FilesFailed, FilesGroup, FilesWriter};
pub use hashes::Hashes;
pub(crate) use log::Learned;
pub use log::{Decision, Log};
pub use outcome::{Again, Answer, AppendOutcome, DuplicateOf, DuplicateRow, Lookup, RejectedRow, RowMap};
pub use published::Published;
pub(crate) use published::SettledHead;
pub(crate) use registry::Place;
pub use registry::{CommandRegistry, Others};
pub use replicated::{Committed, GroupLost, Replica, ReplicatedGroup, ReplicatedWriter};
pub use request::{AppendRequest, Expected, IdsChecked, Known, KnownSeq, OnError};
pub use reservations::{Gate, Granted, Reservation, Reservations, ToReserve, Word};
pub use resolve::{ids_to_check, resolve_known};
pub use rules::Rules;
pub use settled::{NothingSettled, Settled, SettledError};
pub use sink::{Sink, SinkGroup};
pub(crate) use stamp::with_rows;

#[cfg(test)]
mod tests;
