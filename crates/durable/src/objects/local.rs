//! A local folder. Refuses to trust the kernel's cache: file and folder are synced at every step.
//!
//! Create-if-absent: write a hidden file aside, sync it, give it its name by a hard link (which fails if
//! the name is taken), remove the aside name, sync the folder. A crash leaves either nothing, or the
//! whole object, and perhaps an aside file that a later open removes.

use super::{Aside, ObjectError, ObjectInfo, Objects, Readable};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::Micros;

/// Names of files that `put_new` has not finished begin with this.
const ASIDE_PREFIX: &str = ".aside-";
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// A folder and all below it.
#[derive(Debug)]
pub struct LocalObjects {
    root: PathBuf,
    aside_counter: AtomicU64,
}

impl LocalObjects {
    /// Opens a folder, making it (and the folders above it) where it does not exist.
    pub fn open(root: &Path) -> Result<Self, ObjectError> {
        make_folders(root).map_err(|e| ObjectError::from_io(&root.to_string_lossy(), e))?;
        Ok(Self::read_only(root))
    }

    /// A folder that is only read: nothing is made. Everything is `NotFound` if it does not exist.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.to_owned(), aside_counter: AtomicU64::new(0) }
    }

    fn full(&self, path: &str) -> Result<PathBuf, ObjectError> {
        let climbs = path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if climbs {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a relative name");
            return Err(ObjectError::Io { path: path.to_owned(), source });
        }
        Ok(self.root.join(path))
    }

    fn put(&self, full: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = full.parent().unwrap_or(&self.root);
        make_folders(folder)?;
        let aside = self.write_aside(folder, bytes)?;
        let linked = fs::hard_link(&aside, full);
        let removed = fs::remove_file(&aside);
        linked?;
        removed?;
        sync_folder(folder)
    }

    fn write_aside(&self, folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        loop {
            let n = self.aside_counter.fetch_add(1, Ordering::Relaxed);
            let aside = folder.join(format!("{ASIDE_PREFIX}{}-{n}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&aside) {
                Ok(mut file) => {
                    let written = file.write_all(bytes).and_then(|()| file.sync_all());
                    if let Err(error) = written {
                        let _ = fs::remove_file(&aside);
                        return Err(error);
                    }
                    return Ok(aside);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn walk(&self, folder: &Path, relative: &str, out: &mut Vec<ObjectInfo>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if meta.is_dir() {
                self.walk(&entry.path(), &path, out)?;
            } else if meta.is_file() {
                out.push(ObjectInfo { path, bytes: meta.len(), modified: modified(&meta) });
            }
        }
        Ok(())
    }
}

impl Objects for LocalObjects {
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let wrap = |e| ObjectError::from_io(path, e);
        let file = File::open(self.full(path)?).map_err(wrap)?;
        let bytes = file.metadata().map_err(wrap)?.len();
        Ok(Box::new(LocalFile { file, bytes }))
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.put(&self.full(path)?, bytes).map_err(|e| ObjectError::from_io(path, e))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        let wrap = |e| ObjectError::from_io(path, e);
        let full = self.full(path)?;
        let folder = full.parent().unwrap_or(&self.root).to_owned();
        make_folders(&folder).map_err(wrap)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&full).map_err(wrap)?;
        let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        Ok(Box::new(LocalAside { path: path.to_owned(), folder, file }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let prefix = prefix.trim_end_matches('/');
        let folder = if prefix.is_empty() { self.root.clone() } else { self.full(prefix)? };
        let mut out = Vec::new();
        self.walk(&folder, prefix, &mut out).map_err(|e| ObjectError::from_io(prefix, e))?;
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        let full = self.full(path)?;
        fs::remove_file(&full)
            .and_then(|()| sync_folder(full.parent().unwrap_or(&self.root)))
            .map_err(|e| ObjectError::from_io(path, e))
    }

    #[allow(clippy::disallowed_methods)] // the one place that renames: the file was synced, the folders are synced here
    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        let (old, new) = (self.full(from)?, self.full(to)?);
        fs::rename(&old, &new)
            .and_then(|()| sync_folder(new.parent().unwrap_or(&self.root)))
            .map_err(|e| ObjectError::from_io(from, e))
    }

    fn stages(&self) -> bool {
        true
    }

    fn local_root(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

struct LocalFile {
    file: File,
    bytes: u64,
}

impl Readable for LocalFile {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = vec![0; length];
        self.file.read_exact_at(&mut out, start)?;
        Ok(out.into())
    }
}

struct LocalAside {
    path: String,
    folder: PathBuf,
    file: BufWriter<File>,
}

impl Write for LocalAside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Aside for LocalAside {
    fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|e| ObjectError::from_io(&self.path, e))
    }
}

/// Makes a folder and those above it; every new name is synced in the folder that holds it.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn modified(meta: &fs::Metadata) -> Micros {
    use std::os::unix::fs::MetadataExt;
    Micros(meta.mtime().saturating_mul(1_000_000).saturating_add(meta.mtime_nsec() / 1000))
}
