//! What a load does to a store, whichever store and protocol it is.

use crate::records::{Batch, Record};
use std::future::Future;

/// Why a run ends early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One client: one request at a time.
pub trait Client: Send {
    /// Appends one event and waits until it is durable.
    fn append(&mut self, record: Record<'_>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Appends many events over many streams and waits until all are durable.
    fn append_batch(&mut self, batch: &Batch) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reads a stream from its first event, and says how many it has.
    fn read_stream(&mut self, stream_id: &str) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Reads everything, and says how many events there are. `expected`: as many as were acknowledged, for stores whose readers do not
    /// see an end.
    fn scan(&mut self, expected: u64) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Appends that were refused for load and sent again since the last question.
    fn take_overloads(&mut self) -> u64 {
        0
    }
}
