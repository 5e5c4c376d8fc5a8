//! Checkpoints: all of a version in one object, so that a reader needs few others; and the end of what stands before them.
//!
//! On object stores a classic checkpoint (Parquet), which every reader knows. In local folders one in JSON with a UUID in its name:
//! a name in `.parquet` would be found by a glob over the data files. Readers by delta-kernel (delta-rs, DuckDB, Polars) take both.

use super::actions::{self, CheckpointMetadata, Line};
use super::names::{self, LogFile};
use super::parquet_write;
use super::state::State;
use super::table::Table;
use crate::objects::{ObjectError, Objects};
use serde_json::json;
use std::io;
use strandline_event::Micros;

/// Versions between two checkpoints at least: a reader of JSON takes some 0.2 ms for each, a request to an object store 20 ms.
const EVERY_LOCAL: u64 = 1000;
const EVERY_REMOTE: u64 = 100;
/// A checkpoint costs as much as the table has files; so it waits for a version per this many files.
const FILES_PER_VERSION: u64 = 16;
/// How long a version is kept behind the checkpoint that makes it superfluous.
const KEPT_SECONDS: u64 = 30 * 24 * 3600;
/// How many such versions are kept.
const KEPT_VERSIONS: u64 = 100_000;

/// Whether the newest version wants one.
pub(crate) fn is_due(state: &State, table: &Table) -> bool {
    let since = state.next() - state.checkpoint.map_or(0, |version| version + 1);
    let least = if table.linked { EVERY_LOCAL } else { EVERY_REMOTE };
    since >= least.max(state.files() as u64 / FILES_PER_VERSION)
}

/// Writes one of the newest version.
pub(crate) fn write(objects: &dyn Objects, table: &Table, state: &mut State) -> Result<(), ObjectError> {
    let Some(version) = state.version else { return Ok(()) };
    let lines = state.checkpoint_lines(table);
    let mut size = 0_u64;
    let counted = lines.inspect(|_| size += 1);
    let (path, bytes) = if table.linked {
        let head = Line::from(CheckpointMetadata { version });
        let bytes = actions::to_bytes(std::iter::once(head).chain(counted)).map_err(io::Error::from);
        (names::json_checkpoint(version, table.store_id), bytes)
    } else {
        (names::parquet_checkpoint(version), parquet_write::write(counted).map_err(io::Error::other))
    };
    let bytes = bytes.map_err(|e| ObjectError::from_io(&path, e))?;
    match objects.put_new(&path, &bytes) {
        // of this version: it says the same
        Ok(()) | Err(ObjectError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    state.checkpoint = Some(version);
    let size = size + u64::from(table.linked);
    let hint = json!({ "version": version, "size": size, "sizeInBytes": bytes.len(), "numOfAddFiles": state.files() });
    objects.replace(names::LAST_CHECKPOINT, hint.to_string().as_bytes())
}

/// Removes versions and checkpoints that stand before a checkpoint which is old enough, or so many versions back.
pub(crate) fn clean(objects: &dyn Objects, newest: u64, now: Micros) -> Result<(), ObjectError> {
    let before = now.minus_seconds(KEPT_SECONDS);
    let listed = objects.list(names::FOLDER)?;
    let files = || listed.iter().filter_map(|info| Some((names::parse(&info.path)?, info)));
    let settled = |(file, info): &(LogFile, &crate::objects::ObjectInfo)| {
        let checkpoint = !matches!(file, LogFile::Commit(_));
        checkpoint && (info.modified < before || file.version() < newest.saturating_sub(KEPT_VERSIONS))
    };
    let Some(first) = files().filter(settled).map(|(file, _)| file.version()).max() else { return Ok(()) };
    remove(objects, files().filter(|(file, _)| file.version() < first).map(|(_, info)| info.path.as_str()))
}

/// Removes all that stands before a version.
pub(crate) fn clean_before(objects: &dyn Objects, version: u64) -> Result<(), ObjectError> {
    let listed = super::replay::list(objects)?;
    remove(objects, listed.iter().filter(|(file, _)| file.version() < version).map(|(_, path)| path.as_str()))
}

fn remove<'a>(objects: &dyn Objects, paths: impl Iterator<Item = &'a str>) -> Result<(), ObjectError> {
    for path in paths {
        match objects.delete(path) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
