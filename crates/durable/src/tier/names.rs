//! The names that a data file may have on a local disk in its life.
//!
//! `x.parquet.tmp` while it is staged, `x.parquet` once its commit was published, `x.parquet.old` when it was replaced
//! and a pinned reader may still need it. The manifest always says `x.parquet`. The Delta log has a link of its own, which is the
//! last to go.

use crate::delta::names::link;
use crate::objects::{ObjectError, Objects, Readable};

/// Names of objects that ask a store what it can; they go at once.
pub(crate) const PROBE_PREFIX: &str = ".probe-";

/// The folder of the sorted runs.
pub(crate) const RUN_FOLDER: &str = "_runs";

/// What `{writer}` stands for: the node and the epoch under which it owns the store. No two owners share it, so that a name
/// made of it and of a number is nobody else's, also on object stores, where a large upload overwrites what has its name.
pub(crate) fn writer_name(node: &str, epoch: u64) -> String {
    format!("{node}-e{epoch}")
}

/// All spellings, the most likely first.
pub(crate) fn spellings(path: &str) -> impl Iterator<Item = String> {
    let own = ["", ".tmp", ".old"].into_iter().map(move |suffix| format!("{path}{suffix}"));
    own.chain(std::iter::once(link(path)))
}

/// All spellings for one who deletes: the link of the Delta log first, so that a crash leaves a name by which the rest is found
/// again, then those in the order of a file's life, which no rename outruns.
pub(crate) fn to_delete(path: &str) -> impl Iterator<Item = String> {
    let own = [".tmp", "", ".old"].into_iter().map(move |suffix| format!("{path}{suffix}"));
    std::iter::once(link(path)).chain(own)
}

/// Opens a data file under the name that it has now.
pub(crate) fn open_file(objects: &dyn Objects, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
    if !objects.stages() {
        return objects.open(path);
    }
    // a rename may happen between two looks: look twice before calling it gone
    for name in spellings(path).chain(spellings(path)) {
        match objects.open(&name) {
            Err(ObjectError::NotFound { .. }) => {}
            other => return other,
        }
    }
    Err(ObjectError::NotFound { path: path.to_owned() })
}

/// Gives a committed file its final name. Nothing to do where it has it already.
pub(crate) fn publish(objects: &dyn Objects, path: &str) -> Result<(), ObjectError> {
    rename(objects, &format!("{path}.tmp"), path)
}

/// Gives committed files their final names, each that can have it.
pub(crate) fn publish_all<'p>(objects: &dyn Objects, paths: impl Iterator<Item = &'p str>) -> Result<(), ObjectError> {
    if !objects.stages() {
        return Ok(());
    }
    let names: Vec<_> = paths.map(|path| (format!("{path}.tmp"), path.to_owned())).collect();
    objects.rename_all(&names)
}

/// Takes the name away from a file that is live no more, so that a glob does not see it. Nothing to do where that is done.
pub(crate) fn set_aside(objects: &dyn Objects, path: &str) -> Result<(), ObjectError> {
    // a crash may have come before it was published
    rename(objects, &format!("{path}.tmp"), &format!("{path}.old"))?;
    rename(objects, path, &format!("{path}.old"))
}

/// Gives a file that is live again its name back. Nothing to do where it has it.
pub(crate) fn take_back(objects: &dyn Objects, path: &str) -> Result<(), ObjectError> {
    rename(objects, &format!("{path}.old"), path)
}

/// Leaves a live file no name beside its own: the one that a glob finds counts.
pub(crate) fn only_own(objects: &dyn Objects, path: &str) -> Result<(), ObjectError> {
    // what was listed may have been renamed since
    if !objects.exists(path)? {
        return Ok(());
    }
    for suffix in [".tmp", ".old"] {
        match objects.delete(&format!("{path}{suffix}")) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn rename(objects: &dyn Objects, from: &str, to: &str) -> Result<(), ObjectError> {
    if !objects.stages() {
        return Ok(());
    }
    match objects.rename(from, to) {
        Err(ObjectError::NotFound { .. }) => Ok(()),
        other => other,
    }
}
