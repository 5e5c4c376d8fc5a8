//! Everything that runs on a node: the only crate with actors.
//!
//! An actor receives, calls one engine function, runs the effects. Rules, merges and formats live in the engine;
//! HTTP and JSON live in the server. See [`wiring`] for who talks to whom and what happens when one fails.

mod answers;
mod append;
mod append_many;
pub mod clock;
pub mod cluster;
mod commit_thread;
mod compaction;
mod data_dir;
pub mod descriptors;
mod error;
mod fatal;
mod fence;
mod hot_keeper;
mod hot_worker;
mod member_file;
mod member_stores;
pub mod memory;
mod messages;
pub mod metrics;
mod node;
pub mod permits;
pub mod random;
mod readers;
mod redaction;
mod registry;
mod replica;
mod replicas;
mod retention;
mod router;
pub mod runtime;
mod statement;
mod store;
mod store_cluster;
mod store_lock;
mod stream;
pub mod subscriptions;
mod unborn;
mod wal_worker;
pub mod wiring;

pub use append_many::{StreamAppend, StreamOutcome};
pub use compaction::job::{Job, JobBook, JobEnd, JobKind};
pub use data_dir::{DataDirError, parse_node_id};
pub use error::{LeaderAt, NodeError};
pub use member_file::{MemberFile, whose_folder};
pub use messages::{Plans, StreamQuery};
pub use node::{Node, NodeDisk, NodeHandle, NodeOptions, StartError, Undrained};
pub use registry::{RegistryError, StreamTypeEntry};
pub use retention::{RetentionRun, Wish as RetentionWish};
pub use store::{AppendedEvent, ScanHandle, StoreHandle, StreamAppended};
pub use store_lock::StoreLock;
pub use strandline_engine::compact::Share;
pub use strandline_engine::redact::{Redacted, Wish as RedactionWish};
