//! That compaction of a store is paused, kept over a restart of a node alone: `{data-dir}/stores/{store}/paused`.
//!
//! ```text
//! strandline paused 1\n
//! ```
//!
//! The file is there: paused. It is not: jobs begin by schedule and size. A file that holds anything else (damage, a later version) reads as
//! paused too, which takes nothing away: the log grows, and `resume` removes the file. Of a cluster's store the cluster keeps it: a node alone that
//! becomes its first member says it, and removes the file.

use super::job::JobBook;
use crate::data_dir::{DataDirError, at, make_own_folder, sync_parent, write_whole};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "paused";
const WHOLE: &[u8] = b"strandline paused 1\n";

/// The file of a store.
#[derive(Clone, Debug)]
pub(crate) struct PauseFile(PathBuf);

impl PauseFile {
    /// In the folder of the store's registrations.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.join(NAME))
    }

    /// Keeps it, durable on return. Blocking.
    pub(crate) fn keep(&self, paused: bool) -> Result<(), DataDirError> {
        if paused {
            if let Some(folder) = self.0.parent() {
                make_own_folder(folder)?;
            }
            return write_whole(&self.0, WHOLE);
        }
        match fs::remove_file(&self.0) {
            Ok(()) => sync_parent(&self.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(&self.0)(error)),
        }
    }

    /// Whether it is paused.
    pub(crate) fn is_there(&self) -> Result<bool, DataDirError> {
        self.0.try_exists().map_err(at(&self.0))
    }

    /// Whether a check finds it damaged.
    pub(crate) fn is_damaged(&self) -> Result<bool, DataDirError> {
        match fs::read(&self.0) {
            Ok(bytes) => Ok(bytes != WHOLE),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&self.0)(error)),
        }
    }

    /// Lets a book begin as it was left; says so where compaction is paused.
    pub(crate) fn take_up(&self, book: &JobBook) -> Result<Option<String>, DataDirError> {
        let damage = match fs::read(&self.0) {
            Ok(bytes) if bytes == WHOLE => String::new(),
            Ok(_) => format!(" ({} is damaged, which counts as paused)", self.0.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&self.0)(error)),
        };
        book.set_paused(true);
        Ok(Some(format!("compaction is paused, as it was before{damage}: `strandline resume` lets it go on")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_up(file: &PauseFile) -> (bool, String) {
        let book = JobBook::default();
        let said = file.take_up(&book).unwrap();
        (book.is_paused(), said.unwrap_or_default())
    }

    #[test]
    fn a_file_that_is_there_holds_whatever_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = PauseFile::of(&folder.path().join("a/b"));
        assert_eq!(taken_up(&file), (false, String::new()));
        assert!(!file.is_there().unwrap() && !file.is_damaged().unwrap());
        file.keep(false).unwrap();
        assert_eq!(taken_up(&file), (false, String::new()), "nothing was kept, and nothing is");
        for _ in 0..2 {
            file.keep(true).unwrap();
            let (paused, said) = taken_up(&file);
            assert!(paused && said.contains("strandline resume") && !said.contains("damaged"), "{said}");
            assert!(file.is_there().unwrap() && !file.is_damaged().unwrap());
        }
        for bytes in [&b""[..], b"strandline paused 1", b"strandline paused 2\n", b"\xff"] {
            fs::write(&file.0, bytes).unwrap();
            let (paused, said) = taken_up(&file);
            assert!(paused && said.contains("a/b/paused is damaged"), "{bytes:?}: {said}");
            assert!(file.is_damaged().unwrap(), "{bytes:?}");
        }
        file.keep(false).unwrap();
        assert_eq!(taken_up(&file), (false, String::new()));
    }
}
