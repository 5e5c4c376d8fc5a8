//! The vocabulary of Strandline: the event envelope, ids, batches, limits and error kinds.
//!
//! Every other crate depends on this one; it depends on none of them. It knows no tier, no file,
//! no actor, no HTTP, no wall clock and no randomness: time and random bits are arguments.
//!
//! The bytes of a batch are the same everywhere:
//!
//! ```text
//!  edge: BatchBuilder -> BatchBytes (one rkyv archive)          <- validated once
//!  owner: Stamps (seq, ingested_at, id prefix)                  <- assigned later, stands beside it
//!  log frame payload = Stamps ++ BatchBytes = hot tier entry = mmap view = StampedBatch
//! ```

pub mod access;
pub mod batch;
pub mod builder;
pub mod bytes;
pub mod error;
pub mod field;
pub mod foreign;
pub mod hash;
pub mod hex;
pub mod id;
pub mod invariant;
pub mod limits;
pub mod log_key;
pub mod num;
pub mod path;
pub mod places;
pub mod position;
pub mod row;
pub mod scatter;
mod sip;
pub mod stamped;
pub mod stamps;
pub mod texts;
pub mod time;

pub use self::bytes::SharedBytes;
pub use access::{BatchBytes, BatchError};
pub use batch::{BatchUnit, BatchView, Chunk, EventBatch};
pub use builder::{BatchBuilder, EventInput, InvalidEvent};
pub use error::ErrorKind;
pub use field::{Field, FieldNames};
pub use id::{EventId, IdFormat, IdPrefix};
pub use log_key::{LogKey, bucket_of, bucket_of_stream};
pub use num::{LogIndex, Micros, Seq};
pub use path::{decode_path_text, encode_path_text, path_text_len};
pub use places::Places;
pub use position::Position;
pub use row::{EventRef, REDACTED};
pub use scatter::Scatter;
pub use stamped::StampedBatch;
pub use stamps::{Stamps, StampsBuilder, StampsError};
pub use texts::TextColumn;
