//! What the table is: protocol, schema, and the `add` of a data file. All of it follows from the store and its manifest.
//!
//! | field | Delta | why |
//! |---|---|---|
//! | event_id | binary | Delta has no UUID and no fixed length |
//! | seq | long | |
//! | event_version | long | unsigned 32 bits do not fit into `integer` |
//! | occurred_at, ingested_at | timestamp | microseconds, UTC |
//! | the others | string | JSON too |
//!
//! No partition columns: all fields stand in the files, and readers of Delta disagree about files that hold a partition column (Polars
//! takes it from the folder, where an empty tenant reads as null). Statistics choose files as well as folders would.
//!
//! Reader version 1: anybody reads. Writer version 7 with a feature that nobody else knows: nobody else writes. A `VACUUM`
//! by another engine would take data files for garbage, an append would stand in no manifest.

use super::actions::{Add, Format, MetaData, Protocol, Txn};
use super::names;
use super::stats::stats;
use crate::entry::FileEntry;
use crate::schema::is_nullable;
use serde_json::json;
use std::collections::BTreeMap;
use strandline_event::{Field, FieldNames, Micros};

/// Says that only the store writes this table.
const WRITER_FEATURE: &str = "strandlineOwned";

/// A `VACUUM` by an engine that does not look at the writer's features (delta-rs 1.6 does not) finds nothing that is old enough.
const RETENTION: (&str, &str) = ("delta.deletedFileRetentionDuration", "interval 36500 days");

/// A table: one store's.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) store_id: [u8; 16],
    pub(crate) store_name: String,
    pub(crate) columns: FieldNames,
    /// Whether data files have a second link that the log names.
    pub(crate) linked: bool,
}

fn schema_of(meta_data: &MetaData) -> Option<serde_json::Value> {
    serde_json::from_str(&meta_data.schema_string).ok()
}

/// Milliseconds since 1970, as the protocol counts.
pub(crate) const fn millis(moment: Micros) -> i64 {
    moment.0.div_euclid(1000)
}

impl Table {
    /// Name of the application whose version is the manifest's.
    pub(crate) fn app_id(&self) -> String {
        names::uuid(self.store_id)
    }

    /// What readers and writers must know.
    pub(crate) fn protocol() -> Protocol {
        Protocol {
            min_reader_version: 1,
            min_writer_version: 7,
            reader_features: None,
            writer_features: Some(vec![WRITER_FEATURE.to_owned()]),
        }
    }

    /// The table's description.
    pub(crate) fn meta_data(&self, created: Micros) -> MetaData {
        MetaData {
            id: names::uuid(self.store_id),
            name: Some(self.store_name.clone()),
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: self.schema(),
            partition_columns: Vec::new(),
            configuration: [(RETENTION.0.to_owned(), Some(RETENTION.1.to_owned()))].into(),
            created_time: Some(millis(created)),
        }
    }

    /// Whether a log is this table's, as we write it.
    pub(crate) fn fits(&self, protocol: &Protocol, meta_data: &MetaData) -> bool {
        let ours = self.meta_data(Micros(0));
        let same_schema = schema_of(meta_data).is_some_and(|schema| Some(schema) == schema_of(&ours));
        let theirs = MetaData {
            created_time: ours.created_time,
            schema_string: ours.schema_string.clone(),
            ..meta_data.clone()
        };
        *protocol == Self::protocol() && same_schema && theirs == ours
    }

    fn schema(&self) -> String {
        let column = |field: Field| {
            let kind = match field {
                Field::EventId => "binary",
                Field::Seq | Field::EventVersion => "long",
                Field::OccurredAt | Field::IngestedAt => "timestamp",
                _ => "string",
            };
            json!({ "name": self.columns.get(field), "type": kind, "nullable": is_nullable(field), "metadata": {} })
        };
        json!({ "type": "struct", "fields": Field::ALL.map(column) }).to_string()
    }

    /// The manifest version that a Delta version shows.
    pub(crate) fn txn(&self, manifest_version: u64, at: Micros) -> Txn {
        let version = i64::try_from(manifest_version).unwrap_or(i64::MAX);
        Txn { app_id: self.app_id(), version, last_updated: Some(millis(at)) }
    }

    /// A data file's name as the log spells it.
    pub(crate) fn name(&self, entry: &FileEntry) -> String {
        if self.linked { names::link(&entry.path) } else { entry.path.clone() }
    }

    /// The file as an action.
    pub(crate) fn add(&self, entry: &FileEntry, data_change: bool) -> Add {
        Add {
            path: names::encode(&self.name(entry)),
            partition_values: BTreeMap::new(),
            size: i64::try_from(entry.bytes).unwrap_or(i64::MAX),
            // not the file's own time: an entry gives the same action whenever it is written
            modification_time: millis(entry.bounds.ingested_at.1),
            data_change,
            stats: Some(stats(entry, &self.columns)),
        }
    }
}
