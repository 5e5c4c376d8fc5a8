//! That this node has served a store: `{data-dir}/stores/{store}/served-{id}`, a file without a byte whose name holds the id in the store's manifests.
//!
//! ```text
//!  the first start: the claim is committed, or a member has opened it -> served-{id} is made -> appends are taken
//!  a later one:     no manifest, no data file, but served-{id}: refused, before anything is made where they should be
//!                   manifests elsewhere that are there, and say that durable.path was marked, which holds nothing: refused, whatever stands here
//! ```
//!
//! What is away then is a disk that is not mounted, as a rule: a store that began anew in the folder below it would take appends that nobody sees once
//! the disk is back. A store with a log has marks beside it too (the engine's `store/marks.rs`); one without has only this. A node with a new data
//! folder knows of no store: it may begin one. A store in memory has no mark.

use crate::data_dir::{DataDir, DataDirError, at, create_own, make_own_folder, store_folder_in, sync_parent};
use crate::node::StartError;
use crate::opening::store_error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use strandline_deql::{Location, StoreConfig};
use strandline_durable::objects::{Purpose, Settings, open_location};
use strandline_durable::{DurableTier, OpenError as DurableError};
use strandline_engine::store::Store;
use strandline_wal::Disk;

const PREFIX: &str = "served-";
/// What ext4 keeps in the root of a disk for itself.
const LOST_AND_FOUND: &str = "lost+found";

/// Refuses to begin stores anew that were there, in local folders that are not there, or hold nothing: their logs say so, or this node has served
/// them. It makes nothing, not even the folders and locks. `dir`: the node's data folder. Of what lies elsewhere the engine asks the same when it
/// has found no manifest (see [`mark_of`]), and whether the files are there that the newest one names.
///
/// # Errors
/// `FilesGone`; `FilesAway`; a folder cannot be looked at.
pub(crate) fn refuse_bare<'a>(
    stores: impl IntoIterator<Item = &'a StoreConfig>,
    disk: &dyn Disk,
    dir: &Path,
) -> Result<(), StartError> {
    for config in stores {
        let refused = |error| store_error(&config.name, error);
        if is_bare(config) {
            let mark = mark_of(dir, &config.name)?;
            Store::may_begin(config, disk, mark.as_deref()).map_err(refused)?;
        } else if config.durable.path.as_local().is_some_and(holds_nothing) {
            refuse_unmounted(config).map_err(|error| refused(error.into()))?;
        }
    }
    Ok(())
}

/// Of a store whose folder of files holds nothing: its manifests, which are elsewhere, may say that files were there.
fn refuse_unmounted(config: &StoreConfig) -> Result<(), DurableError> {
    let open = |location: &Location| open_location(location, Purpose::Read, &Settings::from_env());
    let (files, manifests) = (open(&config.durable.path)?, open(&config.durable.manifest_path)?);
    DurableTier::refuse_bare(&*files, &*manifests, config)
}

/// What says in this data folder that the node has served a store.
pub(crate) fn mark_of(dir: &Path, store: &str) -> Result<Option<PathBuf>, DataDirError> {
    Ok(marks_in(&store_folder_in(dir, store))?.pop())
}

fn is_bare(config: &StoreConfig) -> bool {
    let places = [&config.durable.path, &config.durable.manifest_path];
    places.into_iter().all(|place| place.as_local().is_some_and(holds_nothing))
}

fn holds_nothing(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOST_AND_FOUND)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Keeps that the store is served. Where there is no room for it the store is served all the same.
pub(crate) fn keep(store: &Store, data_dir: &DataDir) {
    let config = store.config();
    if config.durable.path.is_memory() || config.durable.manifest_path.is_memory() {
        return;
    }
    let id = u128::from_be_bytes(store.durable().pin().store_id());
    if let Err(error) = keep_in(&data_dir.store_folder(store.name()), &format!("{PREFIX}{id:032x}")) {
        tracing::warn!(
            store = store.name(),
            "nothing will tell a start whose files are away that they were there: {error}"
        );
    }
}

fn keep_in(folder: &Path, name: &str) -> Result<(), DataDirError> {
    let (marks, mark) = (marks_in(folder)?, folder.join(name));
    if !marks.contains(&mark) {
        make_own_folder(folder)?;
        create_own(&mark).and_then(|file| file.sync_all()).map_err(at(&mark))?;
    }
    // of a store of this name that was there before
    for other in marks.iter().filter(|other| **other != mark) {
        fs::remove_file(other).map_err(at(other))?;
    }
    // one that was there may not be durable yet
    sync_parent(&mark)
}

/// The marks in a store's folder: none, or one.
fn marks_in(folder: &Path) -> Result<Vec<PathBuf>, DataDirError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut marks = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at(folder))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            marks.push(entry.path());
        }
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_of_the_store_that_was_served_last() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("stores/s");
        assert!(marks_in(&folder).unwrap().is_empty());
        for name in ["served-1", "served-1", "served-2"] {
            keep_in(&folder, name).unwrap();
            fs::write(folder.join("paused"), "").unwrap();
            assert_eq!(marks_in(&folder).unwrap(), [folder.join(name)]);
        }
    }

    #[test]
    fn a_folder_that_a_disk_is_mounted_on_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("durable");
        assert!(holds_nothing(&folder));
        fs::create_dir_all(folder.join("lost+found")).unwrap();
        assert!(holds_nothing(&folder));
        fs::create_dir(folder.join("_manifests")).unwrap();
        assert!(!holds_nothing(&folder));
    }
}
