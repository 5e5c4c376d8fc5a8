//! Registered stream types of one store: from `CREATE AGGREGATE`, or over the interface and then kept in a file.
//!
//! The file is appended to and synced, never rewritten: a header line, then one line a type,
//! `crc32c(8 hex) TAB name, percent-encoded TAB buckets`. A last line that is torn was never answered and is cut. Where streams are is not
//! told by this file: of a type of several buckets the store's manifest has the number, and has it first.

use crate::data_dir::{DataDirError, at, create_own, make_own_folder, sync_parent};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
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
    file: Option<RegistryFile>,
    types: Vec<StreamTypeEntry>,
}

/// What a registry needs of its file; a test's file fails on purpose.
trait Lines: Write + Send {
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl Lines for File {
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.seek(SeekFrom::Start(bytes))?;
        self.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The file, of which the first `bytes` are whole lines.
struct RegistryFile {
    lines: Box<dyn Lines>,
    bytes: u64,
    /// Nobody knows how it ends: nothing may be added.
    poisoned: bool,
}

impl RegistryFile {
    /// Adds a line, or leaves the file as it was. What cannot be undone poisons it: a half line in the middle would be damage.
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("a write failed before and could not be undone: restart the node"));
        }
        if let Err(error) = self.lines.write_all(line) {
            self.poisoned = self.lines.truncate(self.bytes).is_err();
            return Err(error);
        }
        if let Err(error) = self.lines.sync() {
            self.poisoned = true;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl std::fmt::Debug for RegistryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryFile({} bytes)", self.bytes)
    }
}

impl Registry {
    /// Reads the file, if there is one, and adds what the statement declares (not written: it comes with every start).
    pub(crate) fn open(folder: &Path, declared: &[StreamTypeEntry]) -> Result<Self, RegistryError> {
        let path = folder.join("stream-types");
        let (file, mut types) = if path.exists() { load(&path)? } else { (None, Vec::new()) };
        for entry in declared {
            if !types.iter().any(|t: &StreamTypeEntry| t.name == entry.name) {
                types.push(entry.clone());
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

    /// The types of more than one bucket, and how many each has.
    pub(crate) fn buckets(&self) -> BTreeMap<String, u32> {
        let split = self.types.iter().filter(|of| of.buckets > 1);
        split.map(|of| (of.name.to_string(), of.buckets)).collect()
    }

    /// Lines that are of another store: they have other numbers of buckets than its manifest, which says where each stream is.
    pub(crate) fn strange(&self, store: &str, buckets: &BTreeMap<String, u32>) -> Vec<String> {
        strange(&self.path, &self.types, buckets).map(|line| format!("store {store}: {line}")).collect()
    }

    /// Registers a type for ever. The caller has checked that it is new.
    pub(crate) fn add(&mut self, entry: StreamTypeEntry) -> Result<(), RegistryError> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                make_own_folder(folder)?;
            }
            let mut file = create_own(&self.path).map_err(at(&self.path))?;
            file.write_all(HEADER.as_bytes()).map_err(at(&self.path))?;
            sync_parent(&self.path)?;
            self.file = Some(RegistryFile { lines: Box::new(file), bytes: HEADER.len() as u64, poisoned: false });
        }
        if let Some(file) = &mut self.file {
            file.add(line(&entry).as_bytes()).map_err(at(&self.path))?;
        }
        self.types.push(entry);
        Ok(())
    }
}

fn strange<'a>(
    path: &'a Path,
    types: &'a [StreamTypeEntry],
    buckets: &'a BTreeMap<String, u32>,
) -> impl Iterator<Item = String> + 'a {
    let known = move |of: &StreamTypeEntry| buckets.get(&*of.name).copied().unwrap_or(1);
    types.iter().filter(move |of| known(of) != of.buckets).map(move |of| {
        format!(
            "{} gives stream type `{}` {} buckets, and the store's manifest {}: the file is another store's. Put the right one back, or move it away and register the stream types again",
            path.display(),
            of.name,
            of.buckets,
            known(of)
        )
    })
}

/// What a check finds in the file of a store's folder; nothing of it changes.
#[derive(Debug, Default)]
pub(crate) struct LookedRegistry {
    /// What a start would refuse.
    pub(crate) faults: Vec<String>,
    /// The last line is torn: the next start cuts it.
    pub(crate) is_torn: bool,
    /// Stream types of several buckets that it does not name.
    pub(crate) missing: Vec<String>,
}

/// Looks at the file, if it is there. `buckets`: what the store's manifest says of stream types of several buckets, where it is asked.
pub(crate) fn look(folder: &Path, buckets: Option<&BTreeMap<String, u32>>) -> Result<LookedRegistry, RegistryError> {
    let path = folder.join("stream-types");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(at(&path)(error).into()),
    };
    let (types, whole) = read(&path, &bytes)?;
    let mut looked = LookedRegistry { is_torn: whole < bytes.len(), ..LookedRegistry::default() };
    if let Some(buckets) = buckets {
        looked.faults = strange(&path, &types, buckets).collect();
        let is_missing = |name: &&String| types.iter().all(|of| *of.name != ***name);
        looked.missing = buckets.keys().filter(is_missing).cloned().collect();
    }
    Ok(looked)
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

fn load(path: &Path) -> Result<(Option<RegistryFile>, Vec<StreamTypeEntry>), RegistryError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(at(path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(at(path))?;
    let (types, whole) = read(path, &bytes)?;
    if whole == 0 {
        // died while the file was made
        return Ok((None, types));
    }
    file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)).map(|_| ())).map_err(at(path))?;
    Ok((Some(RegistryFile { lines: Box::new(file), bytes: whole as u64, poisoned: false }), types))
}

/// The lines of a file, and how many bytes are whole ones.
fn read(path: &Path, bytes: &[u8]) -> Result<(Vec<StreamTypeEntry>, usize), RegistryError> {
    let damaged = |line| RegistryError::Damaged { path: path.to_owned(), line };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(bytes.get(..whole).unwrap_or(&[])).map_err(|_| damaged(1))?;
    if text.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let body = text.strip_prefix(HEADER).ok_or_else(|| damaged(1))?;
    let mut types = Vec::new();
    for (i, line) in body.lines().enumerate() {
        types.push(parse(line).ok_or_else(|| damaged(i + 2))?);
    }
    Ok((types, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> StreamTypeEntry {
        StreamTypeEntry { name: Arc::from(name), buckets: 1 }
    }

    /// A device that takes `room` bytes more, and perhaps nothing after that.
    struct Full {
        file: File,
        room: usize,
        truncates: bool,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            self.room -= len;
            if len == 0 { Err(io::ErrorKind::StorageFull.into()) } else { self.file.write(&bytes[..len]) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines for Full {
        fn truncate(&mut self, bytes: u64) -> io::Result<()> {
            if self.truncates { self.file.truncate(bytes) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn sync(&self) -> io::Result<()> {
            self.file.sync_all()
        }
    }

    #[test]
    fn a_line_that_is_half_written_is_taken_back() {
        for truncates in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut registry = Registry::open(folder.path(), &[]).unwrap();
            registry.add(entry("a")).unwrap();
            let path = folder.path().join("stream-types");
            let good = std::fs::read(&path).unwrap();
            let mut file = OpenOptions::new().write(true).open(&path).unwrap();
            file.seek(SeekFrom::End(0)).unwrap();
            let full = Full { file, room: 5, truncates };
            registry.file.as_mut().unwrap().lines = Box::new(full);
            assert!(registry.add(entry("b")).is_err());
            assert_eq!(std::fs::read(&path).unwrap() == good, truncates);
            let mut file = OpenOptions::new().write(true).open(&path).unwrap();
            file.seek(SeekFrom::End(0)).unwrap();
            registry.file.as_mut().unwrap().lines = Box::new(file);
            assert_eq!(registry.add(entry("c")).is_ok(), truncates);
            let kept = Registry::open(folder.path(), &[]).unwrap();
            assert_eq!(kept.types().len(), if truncates { 2 } else { 1 });
        }
    }

    #[test]
    fn a_file_of_another_store_is_told_by_its_buckets() {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(folder.path(), &[]).unwrap();
        registry.add(entry("a")).unwrap();
        registry.add(StreamTypeEntry { buckets: 4, ..entry("b") }).unwrap();
        let manifest = |buckets: &[(&str, u32)]| -> BTreeMap<String, u32> {
            buckets.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
        };
        assert_eq!(registry.strange("s", &manifest(&[("b", 4), ("c", 9)])), Vec::<String>::new());
        for (buckets, type_named) in [(manifest(&[]), "`b` 4"), (manifest(&[("a", 2), ("b", 4)]), "`a` 1")] {
            let lines = registry.strange("s", &buckets);
            assert!(lines.len() == 1 && lines[0].contains(type_named), "{lines:?}");
        }
    }

    #[test]
    fn a_check_says_what_a_start_would_refuse_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let looked = |buckets: &[(&str, u32)]| {
            let buckets: BTreeMap<String, u32> = buckets.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
            look(folder.path(), Some(&buckets))
        };
        assert!(look(folder.path(), None).unwrap().faults.is_empty(), "nothing is registered");
        let mut registry = Registry::open(folder.path(), &[]).unwrap();
        registry.add(entry("a")).unwrap();
        registry.add(StreamTypeEntry { buckets: 4, ..entry("b") }).unwrap();
        let path = folder.path().join("stream-types");
        let whole = std::fs::read(&path).unwrap();
        let clean = looked(&[("b", 4)]).unwrap();
        assert!(clean.faults.is_empty() && clean.missing.is_empty() && !clean.is_torn, "{clean:?}");
        let strange = looked(&[("b", 2)]).unwrap();
        assert!(strange.faults.len() == 1 && strange.faults[0].contains("`b` 4 buckets"), "{strange:?}");
        assert_eq!(looked(&[("b", 4), ("c", 2)]).unwrap().missing, ["c"]);
        let torn = [&whole[..], b"0000"].concat();
        std::fs::write(&path, &torn).unwrap();
        assert!(looked(&[("b", 4)]).unwrap().is_torn);
        assert_eq!(std::fs::read(&path).unwrap(), torn);
        for at in 0..whole.len() - 1 {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(looked(&[("b", 4)]), Err(RegistryError::Damaged { .. })), "byte {at}");
        }
    }

    #[test]
    fn registrations_survive_and_a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("s");
        let mut registry = Registry::open(&dir, &[entry("Declared")]).unwrap();
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
