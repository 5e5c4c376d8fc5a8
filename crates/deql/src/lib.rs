//! The statement that declares an event store: text to typed, checked configuration and back.
//!
//! ```text
//!  text -> syntax::lex (total) -> syntax::parse (goes on after errors) -> resolve -> derive -> checks -> StoreConfig
//!                                                                          ^ config: the table of the 84 keys
//!  StoreConfig -> print (statement) | rows (check, DESCRIBE, JSON) | pending, notes | replace (OR REPLACE)
//! ```
//!
//! It opens no file, knows no tier and no clock. Invariant: a [`StoreConfig`] that this crate gives out is complete and
//! free of contradictions, and printing it gives a statement that parses to an equal one.

mod checks;
pub mod config;
mod cron;
mod declarations;
mod derive;
mod diagnostic;
mod local_dev;
mod location;
mod names;
mod notes;
mod partition;
mod pattern;
mod pending;
mod print;
mod replace;
mod resolve;
mod rows;
mod shown;
mod suggest;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

pub use crate::cron::CronSchedule;
pub use config::choice::{
    Checksum, Choice, CommandScope, CommitProtocol, CompactionTrigger, Compression, DeleteMode, DurableType,
    Granularity, KmsProvider, MergeStrategy, MissingSeqPolicy, PartitionColumn, ProjectionMode, Rollover, SortOrder,
    Tier,
};
pub use config::key::{KEY_COUNT, Key, KeySet, Kind, Range, Replace, keys};
pub use config::{
    Bloom, Compaction, Durable, Id, Inmemory, Ordering, Partition, Projection, Read, Retention, RowGroup, Security,
    Stats, StoreConfig, Strict, Wal,
};
pub use declarations::{Declarations, Declared, Statement, parse_bytes, parse_file};
pub use diagnostic::{Diagnostic, DiagnosticKind, Diagnostics};
pub use location::Location;
pub use notes::{hints, warnings};
pub use partition::{PartitionExpr, PartitionSource};
pub use pattern::{
    FilePattern, HIVE_NULL, PATH_PART_BYTES_MAX, PartitionValues, PathPart, SegmentPattern, partition_value_bytes,
};
pub use pending::{not_active_yet, serve_refusals};
pub use print::{export, print, print_full};
pub use replace::{changed_keys, on_this_node, replaceable_changes};
pub use rows::{CheckRow, check_json, check_rows, reference, store_json};
pub use suggest::nearest;
pub use syntax::ast::{Literal, Span, Spanned};
pub use value::Value;
