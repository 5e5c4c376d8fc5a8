//! The names that a data file may have on a local disk in its life.
//!
//! `x.parquet.tmp` while it is staged, `x.parquet` once its commit was published, `x.parquet.old` when it was replaced
//! and a pinned reader still needs it. The manifest always says `x.parquet`.

use crate::objects::{ObjectError, Objects, Readable};

/// All spellings, the most likely first.
pub(crate) fn spellings(path: &str) -> impl Iterator<Item = String> {
    ["", ".tmp", ".old"].into_iter().map(move |suffix| format!("{path}{suffix}"))
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
    if !objects.stages() {
        return Ok(());
    }
    match objects.rename(&format!("{path}.tmp"), path) {
        Err(ObjectError::NotFound { .. }) => Ok(()),
        other => other,
    }
}
