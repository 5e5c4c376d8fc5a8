//! Load against a node that runs: call records, connections, latencies, and the loops that drive them.
//!
//! Client and server share the cores of one machine, so everything here is made to cost little: records are bytes patched
//! together, a connection is a socket with two buffers. It refuses to judge what it measures; [`run`] counts, callers report.

pub mod client;
pub mod heads;
pub mod http;
pub mod latency;
pub mod native;
pub mod pace;
pub mod records;
pub mod run;
