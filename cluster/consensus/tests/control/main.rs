//! Three nodes in one process, over real connections and real files: the meta group, joining, and what steers it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod copies;
mod founders;
mod joins;
mod moments;
mod node;
mod projections;
mod strangers;
