//! The frames of the native protocol, as PROTOCOL.md says them byte by byte. No I/O, no runtime. `header`, `frames` and `fields`
//! make and cut those between nodes too.

pub mod append;
pub mod append_rows;
pub mod error;
pub mod events;
pub mod fields;
pub mod frames;
pub mod header;
pub mod hello;
pub mod outcome;
pub mod read;
pub mod refused;
pub mod stay;
pub mod subscribe;
