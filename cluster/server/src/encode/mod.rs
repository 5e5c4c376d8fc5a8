//! From events to bytes: JSON, NDJSON and Arrow, under the store's field names.

pub(crate) mod event;
pub(crate) mod format;
pub(crate) mod sse;
