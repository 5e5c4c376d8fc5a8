//! The second links of local data files, which the log names.
//!
//! Invariant: a link is the file itself, or a copy that holds what the manifest says of the file (a copy of a folder without hard links
//! makes files of them). Whatever else has its name is read by engines as rows of the table.

use super::names;
use crate::entry::FileEntry;
use crate::objects::{ObjectError, Objects, checksum};
use crate::tier::names as file_names;

/// A link to a file under whichever name it has. Nothing to do where something has the link's name.
pub(super) fn make(objects: &dyn Objects, path: &str) -> Result<(), ObjectError> {
    let link = names::link(path);
    for name in file_names::spellings(path).chain(file_names::spellings(path)) {
        match objects.link(&name, &link) {
            Ok(()) | Err(ObjectError::AlreadyExists { .. }) => return Ok(()),
            Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ObjectError::NotFound { path: path.to_owned() })
}

/// Makes a link anew that is another file. Length and end tell it, which a start can afford to read of each copy: the end holds the
/// checksums of all that stands before it.
pub(super) fn renew(objects: &dyn Objects, file: &FileEntry) -> Result<(), ObjectError> {
    let end = file.bytes.saturating_sub(file.tail_bytes);
    // where only the link is left it is all that there is of the file
    if is_own(objects, &file.path)? != Some(false) || holds(objects, file, end, file.tail_crc32c)? {
        return Ok(());
    }
    tracing::warn!(path = file.path, "its link for readers of the Delta log was another file: it is linked again");
    objects.delete(&names::link(&file.path))?;
    make(objects, &file.path)
}

/// What is wrong with the bytes of a link, if it is there.
pub(crate) fn fault(objects: &dyn Objects, file: &FileEntry) -> Option<String> {
    let whole = is_own(objects, &file.path)
        .and_then(|own| if own == Some(true) { Ok(true) } else { holds(objects, file, 0, file.crc32c) });
    match whole {
        Ok(true) | Err(ObjectError::NotFound { .. }) => None,
        Ok(false) => Some(format!(
            "`{}` holds other bytes than the file that it stands for, and engines that read the Delta log take them for its rows",
            names::link(&file.path)
        )),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether the link is the file that has a name of its own; `None`: one of them is not there.
fn is_own(objects: &dyn Objects, path: &str) -> Result<Option<bool>, ObjectError> {
    let link = names::link(path);
    for name in file_names::spellings(path).filter(|name| *name != link) {
        match objects.are_one(&name, &link) {
            Err(ObjectError::NotFound { .. }) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// Whether a link is as long as its file, and its bytes from `start` on have this checksum.
fn holds(objects: &dyn Objects, file: &FileEntry, start: u64, crc32c: u32) -> Result<bool, ObjectError> {
    let link = names::link(&file.path);
    let object = objects.open(&link)?;
    Ok(object.len() == file.bytes && checksum(&*object, &link, start)? == crc32c)
}
