//! Where the meta group's state is kept: `{data-dir}/cluster/meta.kept`, written whole. What is in it the consensus crate says (`META.md`).

use crate::data_dir::{make_own_folder, write_whole};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use strandline_consensus::control::Keep;

/// The file.
pub(super) struct KeptFile(PathBuf);

impl KeptFile {
    /// That of this data folder.
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join("cluster").join("meta.kept"))
    }
}

impl Keep for KeptFile {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            make_own_folder(folder).map_err(io::Error::other)?;
        }
        write_whole(&self.0, bytes).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile::of(folder.path());
        assert_eq!(file.read().unwrap(), None);
        for bytes in [b"one".as_slice(), b"another"] {
            file.write(bytes).unwrap();
            assert_eq!(file.read().unwrap().as_deref(), Some(bytes));
        }
    }
}
