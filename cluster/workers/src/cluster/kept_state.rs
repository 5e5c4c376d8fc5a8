//! Where the meta group's state is kept: `{data-dir}/cluster/meta.kept`, written whole. What is in it the consensus crate says (`META.md`).
//!
//! Beside it `must-not-vote`, where the folder lacks what the node had acknowledged: one line, what that is. No start goes on with such a folder.

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

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            make_own_folder(folder).map_err(io::Error::other)?;
        }
        write_whole(path, bytes).map_err(io::Error::other)
    }

    fn must_not_vote(&self) -> PathBuf {
        self.0.with_file_name("must-not-vote")
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
        self.put(&self.0, bytes)
    }

    fn forsaken(&self) -> io::Result<Option<String>> {
        match fs::read(self.must_not_vote()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|bytes| Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
        }
    }

    fn forsake(&self, why: &str) -> io::Result<()> {
        self.put(&self.must_not_vote(), format!("{why}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_consensus::control::MetaMachine;

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

    #[test]
    fn a_folder_that_must_not_vote_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile::of(folder.path());
        assert_eq!(file.forsaken().unwrap(), None);
        assert!(MetaMachine::open(Box::new(KeptFile::of(folder.path()))).is_ok());
        file.forsake("entry 7 of meta").unwrap();
        assert_eq!(file.forsaken().unwrap().as_deref(), Some("entry 7 of meta"));
        let refused = MetaMachine::open(Box::new(KeptFile::of(folder.path()))).unwrap_err().to_string();
        assert!(refused.contains("entry 7 of meta. It must not vote"), "{refused}");
    }
}
