//! Every limit of the store in one file. Units stand at the end of the names.

/// One event, as JSON text fields together.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// Events in one append to a stream.
pub const APPEND_EVENTS_MAX: usize = 10_000;
/// One append to a stream.
pub const APPEND_BYTES_MAX: usize = 16 << 20;
/// A bulk body.
pub const BULK_BYTES_MAX: usize = 64 << 20;
/// The archive of one batch. With what the store adds to it, it fits into a frame of the log.
pub const BATCH_BYTES_MAX: usize = 192 << 20;
/// Rows of one batch: what the row bits of a server-made event id can tell apart.
pub const BATCH_ROWS_MAX: usize = 1 << crate::id::ROW_BITS;
/// stream_type and tenant_id, percent-encoded: they become folder names.
pub const PATH_TEXT_BYTES_MAX: usize = 200;
/// stream_id.
pub const STREAM_ID_BYTES_MAX: usize = 1024;
/// event_type.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;
/// command_id, correlation_id, causation_id.
pub const ID_TEXT_BYTES_MAX: usize = 256;
/// Events of one page of a read.
pub const PAGE_EVENTS_MAX: usize = 100_000;
/// Events of one page of a read that names no limit.
pub const PAGE_EVENTS_DEFAULT: usize = 1000;
/// Stream types of one store, each of their buckets counted as one: each has a log of its own.
pub const STREAM_TYPES_MAX: usize = 10_000;
/// Parts of a stream type, each with a log of its own.
pub const BUCKETS_MAX: u32 = 256;
/// Stream types that one request may bring for the first time, a bulk body or a frame of appends: each makes a log, of more than a megabyte.
pub const NEW_STREAM_TYPES_MAX: usize = 256;
/// Bytes of one group commit before it closes (an append is never cut).
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Bytes of all appends that are in flight on a node: over it 429.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
