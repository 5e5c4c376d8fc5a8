//! Whether the files of a store are where its manifests say, where the two lie apart: a disk that is not mounted leaves an empty folder, and what is
//! written there is missing as soon as the disk is back.
//!
//! ```text
//!  `.files-{id}` beside the manifests | `.store-{id}` at durable.path | what the newest version names |
//!  any                                | there                         | any                           | in place
//!  any                                | not there                     | some of it is there           | in place: an older program wrote it, or it was put back without
//!  any                                | not there                     | nothing of it is there        | refused
//!  there                              | not there                     | it names nothing              | refused
//!  not there                          | not there                     | it names nothing              | in place: new, or of an older program
//! ```
//!
//! Both are objects without a byte: their names say all. An owner and a member make those that lack when they have opened the store, `.store-{id}` first,
//! and look for them the other way round: where `.files-{id}` is seen, the other one was there before. Whoever knows that the files are lost makes
//! `.store-{id}` by hand. A `.files-{id}` without a version beside it is left of a store that was removed: most patterns of a shell pass it by.

use super::names::spellings;
use super::open::names_there;
use super::{DurableTier, MANIFEST_FOLDER, OpenError, Snapshot};
use crate::manifest;
use crate::objects::{NotCreated, ObjectError, Objects, create};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use strandline_deql::StoreConfig;

/// At durable.path: files of the store with this id lie here.
const MARK_PREFIX: &str = ".store-";
/// Beside the manifests: the place of the files bears its mark.
const NOTE_PREFIX: &str = ".files-";
/// Objects beside the manifests that are looked at for it.
const NOTES_LOOKED_AT: usize = 16;
/// Objects that are looked at for what a store without a manifest has left.
const LEFTOVERS_LOOKED_AT: usize = 1000;
/// Named objects of an object store that are looked for.
const LOOKED_FOR: usize = 64;

/// The manifests are there, and the files are not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the manifests in {manifests} are those of a store whose files are not in {files}: neither `{mark}` nor {} is there. Is the disk of \
     durable.path mounted? Mount it, or put the files back; if they are lost for ever, make an empty file `{mark}` there: the store opens without \
     them then, and reads that need one fail", looked_for(.named)
)]
pub struct FilesAway {
    /// Where the manifests are.
    pub manifests: String,
    /// Where the files must be.
    pub files: String,
    /// What says there that they are.
    pub mark: String,
    /// Files and sorted runs that the newest manifest names; 0: none, or it was not read.
    pub named: usize,
}

fn looked_for(named: &usize) -> String {
    match *named {
        0 => "a data file".to_owned(),
        1 => "the one file that the newest of them names".to_owned(),
        many => format!("one of the {many} files that the newest of them names"),
    }
}

impl FilesAway {
    fn new(config: &StoreConfig, mark: String, named: usize) -> Self {
        let durable = &config.durable;
        Self { manifests: durable.manifest_path.to_string(), files: durable.path.to_string(), mark, named }
    }
}

impl DurableTier {
    /// Refuses a store whose manifests are there and whose files are away. Makes nothing.
    ///
    /// # Errors
    /// `FilesAway`; the objects.
    pub fn refuse_files_away(&self, config: &StoreConfig) -> Result<(), OpenError> {
        let (objects, manifests) = (&*self.inner.shared.objects, &*self.inner.shared.manifests);
        if !lie_apart(objects, manifests, config) {
            return Ok(());
        }
        let snapshot = self.pin();
        let id = id_of(&snapshot);
        // who makes both makes this one last
        let is_noted = manifests.exists(&format!("{NOTE_PREFIX}{id}"))?;
        let mark = format!("{MARK_PREFIX}{id}");
        if objects.exists(&mark)? {
            return Ok(());
        }
        let runs = snapshot.manifest().runs().map(|run| run.path.as_str());
        let named: Vec<&str> = snapshot.manifest().kept_paths().chain(runs).collect();
        let is_away = if named.is_empty() { is_noted } else { !is_any_there(objects, &named)? };
        if is_away { Err(FilesAway::new(config, mark, named.len()).into()) } else { Ok(()) }
    }

    /// The same as far as names alone tell, of places that nobody has opened yet: there is nothing at all of a store where its files should be.
    ///
    /// # Errors
    /// `FilesAway`; the objects.
    pub fn refuse_bare(objects: &dyn Objects, manifests: &dyn Objects, config: &StoreConfig) -> Result<(), OpenError> {
        if !lie_apart(objects, manifests, config) {
            return Ok(());
        }
        let noted = manifests.list_after(NOTE_PREFIX, NOTES_LOOKED_AT)?.objects;
        let ids = noted.iter().filter_map(|info| info.path.strip_prefix(NOTE_PREFIX));
        let mut missed = None;
        for mark in ids.map(|id| format!("{MARK_PREFIX}{id}")) {
            if objects.exists(&mark)? {
                return Ok(());
            }
            missed = Some(mark);
        }
        let Some(mark) = missed else { return Ok(()) };
        if manifest::newest_version(manifests)?.is_none() || leftover(objects)?.is_some() {
            return Ok(());
        }
        Err(FilesAway::new(config, mark, 0).into())
    }

    /// Marks the places of a store that was found in place, where they lie apart. Without a mark it is served all the same.
    pub fn mark_places(&self, config: &StoreConfig) {
        let (objects, manifests) = (&*self.inner.shared.objects, &*self.inner.shared.manifests);
        if !lie_apart(objects, manifests, config) {
            return;
        }
        let id = id_of(&self.pin());
        let marked = make(objects, &format!("{MARK_PREFIX}{id}"));
        if let Err(error) = marked.and_then(|()| make(manifests, &format!("{NOTE_PREFIX}{id}"))) {
            tracing::warn!(store = config.name, %error, "only files that are named will tell a start that durable.path is not mounted");
        }
    }
}

fn id_of(snapshot: &Snapshot) -> String {
    format!("{:032x}", u128::from_be_bytes(snapshot.store_id()))
}

/// Makes an object without a byte if it is not there.
fn make(objects: &dyn Objects, name: &str) -> Result<(), ObjectError> {
    if objects.exists(name)? {
        return Ok(());
    }
    create(objects, name, b"").map(drop).map_err(NotCreated::into_error)
}

/// Whether one of the two may be there without the other. Manifests below the files are, by default; also such ones may be on a disk of their own.
fn lie_apart(objects: &dyn Objects, manifests: &dyn Objects, config: &StoreConfig) -> bool {
    let (files, versions) = (&config.durable.path, &config.durable.manifest_path);
    if files.is_memory() || versions.is_memory() {
        return false;
    }
    let below = format!("{}/", files.to_string().trim_end_matches('/'));
    let devices = device(objects.local_root()).zip(device(manifests.local_root()));
    !versions.to_string().starts_with(&below) || devices.is_some_and(|(one, other)| one != other)
}

/// The disk of a folder; none: it is not there, or is none.
fn device(folder: Option<&Path>) -> Option<u64> {
    Some(folder?.metadata().ok()?.dev())
}

/// Something that a store has made, if it is there.
pub(super) fn leftover(objects: &dyn Objects) -> Result<Option<String>, ObjectError> {
    let listed = match objects.stages() {
        true => objects.list_beside(MANIFEST_FOLDER)?,
        false => objects.list_after("", LEFTOVERS_LOOKED_AT)?.objects,
    };
    let found = listed.into_iter().find(|info| {
        let folder = info.path.split('/').next().unwrap_or_default();
        info.path.ends_with(".parquet") || ["_runs", crate::delta::names::FOLDER].contains(&folder)
    });
    Ok(found.map(|info| info.path))
}

/// Whether one of these is there; of many on an object store some are looked for.
fn is_any_there(objects: &dyn Objects, named: &[&str]) -> Result<bool, ObjectError> {
    if objects.stages() {
        let there = names_there(objects)?;
        return Ok(named.iter().any(|path| spellings(path).any(|name| there.contains(&name))));
    }
    for path in named.iter().step_by(named.len().div_ceil(LOOKED_FOR).max(1)) {
        if objects.exists(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "tests_in_place.rs"]
mod tests;
