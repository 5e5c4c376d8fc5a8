//! A local folder. Refuses to trust the kernel's cache: file and folder are synced at every step.
//!
//! Create-if-absent: write a hidden file aside, sync it, give it its name by a hard link (which fails if
//! the name is taken), remove the aside name, sync the folder. A crash leaves either nothing, or the
//! whole object, and perhaps an aside file that a later open removes.

use super::{Aside, ObjectError, ObjectInfo, Objects, Readable};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::Micros;

/// Names of files that `put_new` has not finished begin with this.
const ASIDE_PREFIX: &str = ".aside-";
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// What ext4 keeps in the root of a disk for itself, where nobody else may look.
const LOST_AND_FOUND: &str = "lost+found";

/// A folder and all below it.
#[derive(Debug)]
pub struct LocalObjects {
    root: PathBuf,
    /// The folder that was opened to write; `None`: it is only read.
    opened: Option<Mutex<Opened>>,
    aside_counter: AtomicU64,
    /// Folders whose names are on stable storage, as this process knows.
    durable_folders: Mutex<HashSet<PathBuf>>,
}

/// What tells a folder from every other one that may stand in its place.
#[derive(Debug)]
struct Opened {
    /// Its device and number. They change where a disk or share is mounted again, and on some file systems whenever the kernel forgets them.
    identity: (u64, u64),
    /// What was made in it last, and the CRC32C of what was put there at once: a folder that holds it is the same one.
    last: Option<(PathBuf, Option<u32>)>,
}

impl Opened {
    fn is_in_place(&self) -> bool {
        let Some((path, crc)) = &self.last else { return false };
        match crc {
            Some(crc) => fs::read(path).is_ok_and(|bytes| crc32c::crc32c(&bytes) == *crc),
            None => path.exists(),
        }
    }
}

impl LocalObjects {
    /// Opens a folder, making it (and the folders above it) where it does not exist.
    pub fn open(root: &Path) -> Result<Self, ObjectError> {
        let opened = make_folders(root).and_then(|()| fs::metadata(root));
        let opened = opened.map_err(|e| ObjectError::from_io(&root.to_string_lossy(), e))?;
        let opened = Opened { identity: identity(&opened), last: None };
        Ok(Self { opened: Some(Mutex::new(opened)), ..Self::read_only(root) })
    }

    /// A folder that is only read: nothing is made. Everything is `NotFound` if it does not exist.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            opened: None,
            aside_counter: AtomicU64::new(0),
            durable_folders: Mutex::default(),
        }
    }

    /// Refuses to write where the folder is not the one that was opened: a disk that is not mounted any more leaves an empty folder of this name,
    /// and what is written there is missing as soon as the disk is back. Nothing is removed or renamed there either: an empty folder would
    /// let it count as done, and of another store's folder everything would be an orphan.
    fn check_root(&self) -> io::Result<()> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let now = fs::metadata(&self.root);
        let mut opened = opened.lock();
        match now {
            Ok(now) if identity(&now) == opened.identity => Ok(()),
            Ok(now) if opened.is_in_place() => {
                opened.identity = identity(&now);
                self.durable_folders.lock().clear();
                Ok(())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Err(io::Error::other(
                "the folder is gone, or another one stands in its place: nothing is written until it is back (is its disk mounted?)",
            )),
        }
    }

    /// Something was made, renamed or removed: what the folder is known by from now on.
    fn remember(&self, change: impl FnOnce(&mut Option<(PathBuf, Option<u32>)>)) {
        if let Some(opened) = &self.opened {
            change(&mut opened.lock().last);
        }
    }

    /// This name is gone, or is another one now.
    fn remember_gone(&self, old: &Path, new: Option<&Path>) {
        self.remember(|last| {
            if last.as_ref().is_some_and(|(path, _)| path == old) {
                *last = last.take().zip(new).map(|((_, crc), new)| (new.to_owned(), crc));
            }
        });
    }

    fn full(&self, path: &str) -> Result<PathBuf, ObjectError> {
        let climbs = path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if climbs {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a relative name");
            return Err(ObjectError::Io { path: path.to_owned(), source });
        }
        Ok(self.root.join(path))
    }

    /// Gives a file another name, which is durable when its folder is synced.
    #[allow(clippy::disallowed_methods)] // the file was synced, the folder is synced by who calls
    fn give_name(&self, from: &str, to: &str) -> Result<PathBuf, ObjectError> {
        let (old, new) = (self.full(from)?, self.full(to)?);
        fs::rename(&old, &new).and_then(|()| drop_twin(&old, &new)).map_err(|e| ObjectError::from_io(from, e))?;
        self.remember_gone(&old, Some(&new));
        Ok(new)
    }

    /// Makes a folder below the root durable with all between them: each is synced once in the life of this process.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() && self.durable_folders.lock().contains(folder) {
            return Ok(());
        }
        if let Some(above) = folder.parent().filter(|_| folder != self.root) {
            self.make_durable(above)?;
        }
        make_folders(folder)?;
        self.durable_folders.lock().insert(folder.to_owned());
        Ok(())
    }

    fn put(&self, full: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check_root()?;
        let folder = full.parent().unwrap_or(&self.root);
        self.make_durable(folder)?;
        let aside = self.write_aside(folder, bytes)?;
        let linked = fs::hard_link(&aside, full);
        let removed = fs::remove_file(&aside);
        linked?;
        self.remember(|last| *last = Some((full.to_owned(), Some(crc32c::crc32c(bytes)))));
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

    /// Everything below a folder, but for what is below `without` in it.
    fn walk(&self, folder: &Path, relative: &str, without: Option<&str>, out: &mut Vec<ObjectInfo>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if without == Some(&*name) || relative.is_empty() && name == LOST_AND_FOUND {
                continue;
            }
            let path = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if meta.is_dir() {
                self.walk(&entry.path(), &path, None, out)?;
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
        self.check_root().and_then(|()| self.make_durable(&folder)).map_err(wrap)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&full).map_err(wrap)?;
        self.remember(|last| *last = Some((full, None)));
        let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        Ok(Box::new(LocalAside { path: path.to_owned(), folder, file }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let prefix = prefix.trim_end_matches('/');
        let folder = if prefix.is_empty() { self.root.clone() } else { self.full(prefix)? };
        let mut out = Vec::new();
        self.walk(&folder, prefix, None, &mut out).map_err(|e| ObjectError::from_io(prefix, e))?;
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn list_range(&self, folder: &str, from: &str, to: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let folder = folder.trim_end_matches('/');
        let full = if folder.is_empty() { self.root.clone() } else { self.full(folder)? };
        let mut out = range(&full, folder, from, to).map_err(|e| ObjectError::from_io(folder, e))?;
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn list_beside(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let mut out = Vec::new();
        self.walk(&self.root, "", Some(folder), &mut out).map_err(|e| ObjectError::from_io("", e))?;
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        let full = self.full(path)?;
        self.check_root()
            .and_then(|()| fs::remove_file(&full))
            .inspect(|()| self.remember_gone(&full, None))
            .and_then(|()| sync_folder(full.parent().unwrap_or(&self.root)))
            .map_err(|e| ObjectError::from_io(path, e))
    }

    /// One sync a folder, not one a file.
    fn delete_all(&self, paths: &[String]) -> Result<(), ObjectError> {
        let mut folders = BTreeSet::new();
        // what is not there counts as removed
        self.check_root().map_err(|e| ObjectError::from_io("", e))?;
        for path in paths {
            let full = self.full(path)?;
            self.remember_gone(&full, None);
            match fs::remove_file(&full) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ObjectError::from_io(path, error)),
                Ok(()) | Err(_) => folders.insert(full.parent().unwrap_or(&self.root).to_owned()),
            };
        }
        for folder in folders {
            match sync_folder(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ObjectError::from_io(&folder.to_string_lossy(), error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.check_root().map_err(|e| ObjectError::from_io(from, e))?;
        let new = self.give_name(from, to)?;
        sync_folder(new.parent().unwrap_or(&self.root)).map_err(|e| ObjectError::from_io(from, e))
    }

    /// One sync a folder, not one a file, and only when all have their names: what the first one writes down is then most of it.
    fn rename_all(&self, names: &[(String, String)]) -> Result<(), ObjectError> {
        let (mut folders, mut outcome) = (BTreeSet::new(), Ok(()));
        self.check_root().map_err(|e| ObjectError::from_io("", e))?;
        for (from, to) in names {
            match self.give_name(from, to) {
                Ok(new) => {
                    folders.insert(new.parent().unwrap_or(&self.root).to_owned());
                }
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        for folder in folders {
            let synced = sync_folder(&folder).map_err(|e| ObjectError::from_io(&folder.to_string_lossy(), e));
            outcome = outcome.and(synced);
        }
        outcome
    }

    fn link(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        let (from_full, to_full) = (self.full(from)?, self.full(to)?);
        self.check_root()
            .and_then(|()| make_folders(to_full.parent().unwrap_or(&self.root)))
            .and_then(|()| fs::hard_link(from_full, to_full))
            .map_err(|e| ObjectError::from_io(from, e))
    }

    #[allow(clippy::disallowed_methods)] // the file was synced, the folder is synced here
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let full = self.full(path)?;
        let folder = full.parent().unwrap_or(&self.root);
        self.remember_gone(&full, None);
        self.check_root()
            .and_then(|()| make_folders(folder))
            .and_then(|()| self.write_aside(folder, bytes))
            .and_then(|aside| fs::rename(aside, &full))
            .and_then(|()| sync_folder(folder))
            .map_err(|e| ObjectError::from_io(path, e))
    }

    fn stages(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.check_root().err().map(|error| error.to_string().into())
    }

    fn local_root(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// Files directly in a folder with names in `[from, to)`; only these are looked at.
fn range(folder: &Path, relative: &str, from: &str, to: &str) -> io::Result<Vec<ObjectInfo>> {
    let mut out = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(out),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if *name < *from || *name >= *to {
            continue;
        }
        match entry.metadata() {
            Ok(meta) if meta.is_file() => {
                let path = if relative.is_empty() { name } else { format!("{relative}/{name}") };
                out.push(ObjectInfo { path, bytes: meta.len(), modified: modified(&meta) });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(out)
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

/// Makes a folder and those above it; every name is synced in the folder that holds it, also where somebody else made it, who
/// may have died, or may be about to sync.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let Some(above) = folder.parent() else { return Ok(()) };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    if folder.is_dir() {
        return match sync_folder(above) {
            // a folder that is not ours to look into was there before us
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        };
    }
    make_folders(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_folder(above)
}

/// Between two links of one file rename(2) does nothing and says that it went well: the old name goes by itself then.
fn drop_twin(old: &Path, new: &Path) -> io::Result<()> {
    let old_meta = match fs::symlink_metadata(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let new_meta = fs::symlink_metadata(new)?;
    if identity(&old_meta) == identity(&new_meta) { fs::remove_file(old) } else { Ok(()) }
}

/// Whether two names below a folder are links of one file.
pub(super) fn are_one(root: &Path, one: &str, other: &str) -> Result<bool, ObjectError> {
    let objects = LocalObjects::read_only(root);
    let file = |path: &str| -> Result<(u64, u64), ObjectError> {
        let meta = fs::metadata(objects.full(path)?).map_err(|e| ObjectError::from_io(path, e))?;
        Ok(identity(&meta))
    };
    Ok(file(one)? == file(other)?)
}

/// What tells a file or folder from every other one of the machine.
fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn modified(meta: &fs::Metadata) -> Micros {
    Micros(meta.mtime().saturating_mul(1_000_000).saturating_add(meta.mtime_nsec() / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_others_made_are_synced_before_anything_in_them_counts() {
        let dir = tempfile::tempdir().unwrap();
        let objects = LocalObjects::open(&dir.path().join("root")).unwrap();
        let made = dir.path().join("root/dt=2026-01-01/x");
        fs::create_dir_all(&made).unwrap();
        objects.create("dt=2026-01-01/x/a").unwrap().finish().unwrap();
        objects.put_new("m/b", b"b").unwrap();
        let known = objects.durable_folders.lock().clone();
        for folder in
            [made.clone(), made.parent().unwrap().to_owned(), dir.path().join("root"), dir.path().join("root/m")]
        {
            assert!(known.contains(&folder), "{}", folder.display());
        }
        // a folder that somebody takes away is made again
        fs::remove_dir_all(made.parent().unwrap()).unwrap();
        objects.create("dt=2026-01-01/x/c").unwrap().finish().unwrap();
        assert!(made.join("c").exists());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder is taken away as a disk is, which no one syncs")]
    fn nothing_is_written_into_what_stands_where_the_folder_was() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("root"), dir.path().join("away"));
        let objects = LocalObjects::open(&root).unwrap();
        objects.put_new("a", b"a").unwrap();
        fs::rename(&root, &away).unwrap();
        for stands in [false, true] {
            if stands {
                fs::create_dir(&root).unwrap();
            }
            let refused = [
                objects.put_new("m/b", b"b").unwrap_err(),
                objects.create("b").err().unwrap(),
                objects.replace("a", b"b").unwrap_err(),
                objects.link("a", "l/a").unwrap_err(),
                objects.delete("a").unwrap_err(),
                objects.delete_all(&["a".to_owned()]).unwrap_err(),
                objects.rename("a", "b").unwrap_err(),
                objects.rename_all(&[("a".to_owned(), "b".to_owned())]).unwrap_err(),
            ];
            assert!(refused.iter().all(|error| error.to_string().contains("is its disk mounted?")), "{refused:?}");
            assert!(!stands || fs::read_dir(&root).unwrap().next().is_none());
        }
        fs::remove_dir(&root).unwrap();
        assert!(objects.trouble().is_some());
        fs::rename(&away, &root).unwrap();
        assert!(objects.trouble().is_none());
        objects.put_new("m/b", b"b").unwrap();
        assert_eq!(objects.list("").unwrap().len(), 2);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder gets another number as one that is mounted again may")]
    fn a_folder_that_holds_what_was_made_last_is_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("root"), dir.path().join("away"));
        let objects = LocalObjects::open(&root).unwrap();
        // `with`: what the folder that stands there now holds under the name
        let stands = |name: &str, with: &[u8]| {
            fs::rename(&root, &away).unwrap();
            fs::create_dir(&root).unwrap();
            fs::write(root.join(name), with).unwrap();
            let known = objects.trouble().is_none();
            fs::remove_dir_all(if known { &away } else { &root }).unwrap();
            if !known {
                fs::rename(&away, &root).unwrap();
            }
            known
        };
        assert!(!stands("a", b"a"), "nothing was made yet");
        objects.put_new("a", b"a").unwrap();
        assert!(!stands("a", b"of another store"));
        assert!(!stands("b", b"a"));
        assert!(stands("a", b"a"));
        objects.put_new("b", b"b").unwrap();
        assert!(!stands("a", b"a"), "an older copy");
        objects.create("c.tmp").unwrap().finish().unwrap();
        objects.rename("c.tmp", "c").unwrap();
        assert!(!stands("c.tmp", b"") && stands("c", b""));
        objects.put_new("d", b"d").unwrap();
        objects.delete("d").unwrap();
        assert!(!stands("d", b"d") && objects.trouble().is_none());
    }

    #[test]
    fn a_folder_may_be_a_disk_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let objects = LocalObjects::open(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("lost+found/#12")).unwrap();
        fs::write(dir.path().join("lost+found/x.parquet"), b"of the file system").unwrap();
        objects.put_new("a/lost+found/ours", b"").unwrap();
        for listed in [objects.list("").unwrap(), objects.list_beside("_manifests").unwrap()] {
            assert_eq!(listed.into_iter().map(|info| info.path).collect::<Vec<_>>(), ["a/lost+found/ours"]);
        }
    }

    #[test]
    fn each_of_many_gets_its_name_whatever_becomes_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let objects = LocalObjects::open(dir.path()).unwrap();
        for path in ["a/1.tmp", "a/2.tmp", "b/3.tmp", "c/4.tmp"] {
            objects.create(path).unwrap().finish().unwrap();
        }
        let names = ["a/1", "a/gone", "../2", "b/3", "c/4"].map(|path| (format!("{path}.tmp"), path.to_owned()));
        let error = objects.rename_all(&names).unwrap_err();
        assert!(matches!(&error, ObjectError::Io { path, .. } if path == "../2.tmp"), "{error}");
        let there: Vec<String> = objects.list("").unwrap().into_iter().map(|object| object.path).collect();
        assert_eq!(there, ["a/1", "a/2.tmp", "b/3", "c/4"]);
        objects.rename_all(&[("a/2.tmp".to_owned(), "a/2".to_owned())]).unwrap();
        assert!(objects.exists("a/2").unwrap() && !objects.exists("a/2.tmp").unwrap());
    }
}
