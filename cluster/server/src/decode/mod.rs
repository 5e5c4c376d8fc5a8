//! From request bodies to batches. Knows JSON and field names; asks no store and keeps no state.
//!
//! Payload and metadata are never turned into a tree: they stay the client's bytes. One pass finds
//! where they lie, one copy puts them into the batch.

pub(crate) mod append;
pub(crate) mod bulk;
pub(crate) mod event;
mod field;
pub(crate) mod json;
#[cfg(test)]
mod tests;
