//! Registered stream types of one store: from `CREATE AGGREGATE`, or over the interface and then kept in a file.
//!
//! The file is appended to and synced, never rewritten: a header line, then one line a type,
//! `crc32c(8 hex) TAB name, percent-encoded TAB buckets`. A last line that is torn was never answered and is cut.

use crate::data_dir::{DataDirError, at, make_folder, sync_parent};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::{decode_path_text, encode_path_text};

const HEADER: &str = "strandline stream-types 1\n";

/// A registered stream type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamTypeEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Parts that it is split into; fixed at registration.
    pub buckets: u32,
}

/// Why the registrations cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file system said no.
    #[error(transparent)]
    Io(#[from] DataDirError),
    /// A line in the middle is damaged.
    #[error("{}: line {line} is damaged; restore the file", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

/// The registrations of a store. One writer: the store's router.
#[derive(Debug)]
pub(crate) struct Registry {
    path: PathBuf,
    file: Option<File>,
    types: Vec<StreamTypeEntry>,
}

impl Registry {
    /// Reads the file, if there is one, and adds what the statement declares (not written: it comes with every start).
    pub(crate) fn open(folder: &Path, declared: &[String]) -> Result<Self, RegistryError> {
        let path = folder.join("stream-types");
        let (file, mut types) = if path.exists() { load(&path)? } else { (None, Vec::new()) };
        for name in declared {
            if !types.iter().any(|t: &StreamTypeEntry| &*t.name == name) {
                types.push(StreamTypeEntry { name: Arc::from(name.as_str()), buckets: 1 });
            }
        }
        Ok(Self { path, file, types })
    }

    /// All types, in order of registration.
    pub(crate) fn types(&self) -> &[StreamTypeEntry] {
        &self.types
    }

    /// The type of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&StreamTypeEntry> {
        self.types.iter().find(|t| &*t.name == name)
    }

    /// Registers a type for ever. The caller has checked that it is new.
    pub(crate) fn add(&mut self, entry: StreamTypeEntry) -> Result<(), RegistryError> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                make_folder(folder)?;
            }
            let mut file = File::create(&self.path).map_err(at(&self.path))?;
            file.write_all(HEADER.as_bytes()).map_err(at(&self.path))?;
            sync_parent(&self.path)?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(line(&entry).as_bytes()).and_then(|()| file.sync_all()).map_err(at(&self.path))?;
        }
        self.types.push(entry);
        Ok(())
    }
}

fn line(entry: &StreamTypeEntry) -> String {
    let body = format!("{}\t{}", encode_path_text(&entry.name), entry.buckets);
    format!("{:08x}\t{body}\n", crc32c::crc32c(body.as_bytes()))
}

fn parse(line: &str) -> Option<StreamTypeEntry> {
    let (crc, body) = line.split_once('\t')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
        return None;
    }
    let (name, buckets) = body.split_once('\t')?;
    Some(StreamTypeEntry { name: Arc::from(decode_path_text(name)?), buckets: buckets.parse().ok()? })
}

fn load(path: &Path) -> Result<(Option<File>, Vec<StreamTypeEntry>), RegistryError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(at(path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(at(path))?;
    let damaged = |line| RegistryError::Damaged { path: path.to_owned(), line };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(bytes.get(..whole).unwrap_or(&[])).map_err(|_| damaged(1))?;
    if text.is_empty() {
        // died while the file was made
        return Ok((None, Vec::new()));
    }
    let body = text.strip_prefix(HEADER).ok_or_else(|| damaged(1))?;
    let mut types = Vec::new();
    for (i, line) in body.lines().enumerate() {
        types.push(parse(line).ok_or_else(|| damaged(i + 2))?);
    }
    file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)).map(|_| ())).map_err(at(path))?;
    Ok((Some(file), types))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> StreamTypeEntry {
        StreamTypeEntry { name: Arc::from(name), buckets: 1 }
    }

    #[test]
    fn registrations_survive_and_a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("s");
        let mut registry = Registry::open(&dir, &["Declared".to_owned()]).unwrap();
        registry.add(entry("a/b\n")).unwrap();
        let path = dir.join("stream-types");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"0000");
        std::fs::write(&path, bytes).unwrap();
        let mut registry = Registry::open(&dir, &[]).unwrap();
        assert_eq!(registry.types(), [entry("a/b\n")]);
        registry.add(entry("c")).unwrap();
        assert_eq!(Registry::open(&dir, &[]).unwrap().types(), [entry("a/b\n"), entry("c")]);
        let text = std::fs::read_to_string(&path).unwrap().replace("a%2Fb", "a%2Fc");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Registry::open(&dir, &[]), Err(RegistryError::Damaged { line: 2, .. })));
    }
}
