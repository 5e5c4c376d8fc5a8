//! Provider `local`: keys in a file that nobody else may read (`secret_file`). For development, and where a disk of secrets is mounted.
//!
//! Every version stays in the file, since what it wrapped must be opened for ever; the highest wraps. The file is replaced as a
//! whole: written aside, synced, renamed, the folder synced. Whoever adds a version holds `{file}.lock`
//! from before it is read until what is wrapped by it is on its place: two would make different keys of one number.

use crate::aead::{DataKey, NONCE_BYTES};
use crate::text::{SUM_BYTES, add_sum, checked};
use crate::{Entropy, KeyError, KeyInfo, KeyProvider, Secret, Wrapped, secret_file};
use rustix::fs::{Mode, OFlags};
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use strandline_event::hex::{from_hex, to_hex};
use zeroize::Zeroizing;

/// First line of a key file.
const TITLE: &str = "strandline keys 1";
/// The name of the provider.
const PROVIDER: &str = "local";
/// A longer key file is none.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a line but for the digits of its key.
const LINE_BYTES: usize = 32;

/// A key file that nobody else changes while this is held.
#[derive(Debug)]
pub struct LockedKeyFile {
    file: KeyFile,
    _lock: File,
}

impl LockedKeyFile {
    /// Locks a key file, then reads it.
    ///
    /// # Errors
    /// `FileInUse`; as [`KeyFile::open`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        // a lock beside no key file would only be left lying there
        KeyFile::open(path)?;
        let lock_path = path.with_added_extension("lock");
        let io = at(&lock_path);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&lock_path, flags, Mode::RUSR | Mode::WUSR);
        let lock = File::from(opened.map_err(|error| io(error.into()))?);
        match lock.try_lock() {
            Ok(()) => Ok(Self { file: KeyFile::open(path)?, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(KeyError::FileInUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }

    /// Adds a version, which is the current one from here on.
    ///
    /// # Errors
    /// The file system; the file is as it was then.
    pub fn rotate(&mut self, entropy: &dyn Entropy) -> Result<u64, KeyError> {
        let file = &mut self.file;
        file.keys.push(secret(entropy));
        if let Err(error) = file.write(false) {
            file.keys.pop();
            return Err(error);
        }
        Ok(file.version())
    }
}

/// The versions of a key, oldest first; version 1 is the first.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    keys: Vec<Secret>,
}

impl KeyFile {
    /// Makes a key file with one key.
    ///
    /// # Errors
    /// `FileExists`, `NoFolder`; the file system.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let file = Self { path: path.to_owned(), keys: vec![secret(entropy)] };
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::FileExists(path.to_owned()));
        }
        let folder = folder_of(path);
        let is_there = match folder.metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => false,
            found => found.map_err(at(folder))?.is_dir(),
        };
        if !is_there {
            return Err(KeyError::NoFolder(folder.to_owned()));
        }
        file.write(true)?;
        Ok(file)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `NoFile`, `FileOpen`, `FileDamaged`, `FileUnreadable`.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let io = |error| KeyError::FileUnreadable { path: path.to_owned(), error };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyError::NoFile(path.to_owned())),
            opened => opened.map_err(io)?,
        };
        let meta = file.metadata().map_err(io)?;
        secret_file::check(&meta).map_err(|why| KeyError::FileOpen { path: path.to_owned(), why })?;
        let damaged = |what| KeyError::FileDamaged { path: path.to_owned(), what };
        if meta.len() > FILE_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        // of one piece: what grows leaves copies behind
        let mut text = Zeroizing::new(String::with_capacity(meta.len() as usize + 1));
        match file.read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged("it is no text")),
            read => drop(read.map_err(io)?),
        }
        let keys = parse(&text).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// The current version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Written aside: under its name it is whole.
    fn write(&self, is_new: bool) -> Result<(), KeyError> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let aside = self.path.with_file_name(name);
        let io = at(&aside);
        // left by a crash: nobody uses it
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&aside, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(opened.map_err(|error| io(error.into()))?);
        let written = file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all()).map_err(&io);
        let given = written.and_then(|()| self.give_name(&aside, is_new));
        if given.is_err() {
            // a key that wraps nothing is left lying nowhere
            let _ = std::fs::remove_file(&aside);
        }
        given?;
        let folder = folder_of(&self.path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
    }

    /// The name that its readers know.
    fn give_name(&self, aside: &Path, is_new: bool) -> Result<(), KeyError> {
        let given = if is_new { give_new_name(aside, &self.path) } else { rename(aside, &self.path) };
        given.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::FileExists(self.path.clone()),
            _ => at(&self.path)(error),
        })
    }

    fn text(&self) -> Zeroizing<String> {
        // of one piece: what grows leaves copies behind
        let bytes = TITLE.len() + 1 + self.keys.len() * (LINE_BYTES + 2 * Secret::BYTES) + SUM_BYTES;
        let mut lines = Zeroizing::new(String::with_capacity(bytes));
        lines.push_str(TITLE);
        lines.push('\n');
        for (key, version) in self.keys.iter().zip(1_u64..) {
            let digits = Zeroizing::new(to_hex(key.expose()));
            // a String takes everything
            let _ = writeln!(lines, "key {version} {}", digits.as_str());
        }
        add_sum(&mut lines);
        lines
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn give_new_name(aside: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(aside, path)?;
    std::fs::remove_file(aside)
}

#[expect(clippy::disallowed_methods, reason = "the file was synced, the caller syncs the folder")]
fn rename(aside: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(aside, path)
}

fn secret(entropy: &dyn Entropy) -> Secret {
    let mut bytes = Zeroizing::new([0; Secret::BYTES]);
    entropy.fill(&mut bytes[..]);
    Secret::new(*bytes)
}

fn parse(text: &str) -> Result<Vec<Secret>, &'static str> {
    let mut keys = Vec::new();
    for line in checked(text, TITLE)? {
        let mut words = line.split(' ');
        let (word, version, digits) = (words.next(), words.next(), words.next());
        let expected = (keys.len() + 1).to_string();
        let key = digits.and_then(from_hex).map(Zeroizing::new);
        let key = key.and_then(|bytes| Secret::from_slice(&bytes)).ok_or("a line is no key")?;
        if word != Some("key") || version != Some(&*expected) || words.next().is_some() {
            return Err("a line is no key");
        }
        keys.push(key);
    }
    if keys.is_empty() { Err("it holds no key") } else { Ok(keys) }
}

fn at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    let path = path.to_owned();
    move |error| KeyError::Io { path: path.clone(), error }
}

/// The provider of a key file. What was wrapped it opens with the file as it is then: it is rotated while nodes run, and who asks whether the next
/// start would get the keys must hear that it is away, or that another one is in its place.
pub struct LocalKeys {
    path: PathBuf,
    file: RwLock<KeyFile>,
    entropy: Arc<dyn Entropy>,
}

impl LocalKeys {
    /// The keys of a file.
    ///
    /// # Errors
    /// As [`KeyFile::open`].
    pub fn open(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        Ok(Self { path: path.to_owned(), file: RwLock::new(KeyFile::open(path)?), entropy })
    }

    fn name(&self) -> String {
        format!("the key file {}", self.path.display())
    }

    fn file(&self) -> RwLockReadGuard<'_, KeyFile> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a version, from 1.
    fn key_of(&self, version: usize) -> Result<Option<Secret>, KeyError> {
        let now = KeyFile::open(&self.path)?;
        let found = version.checked_sub(1).and_then(|at| now.keys.get(at)).cloned();
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(found)
    }
}

impl KeyProvider for LocalKeys {
    fn describe(&self) -> Result<KeyInfo, KeyError> {
        let key_id = self.path.display().to_string();
        Ok(KeyInfo { provider: PROVIDER, key_id, version: self.file().version().to_string() })
    }

    fn generate(&self) -> Secret {
        secret(&*self.entropy)
    }

    /// The nonce is random: a key file wraps a few keys a year.
    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError> {
        let file = self.file();
        let Some(with) = file.keys.last() else { return Err(KeyError::NoFile(self.path.clone())) };
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let mut bytes = nonce.to_vec();
        bytes.extend(DataKey::new(with).seal_vec(nonce, context.as_bytes(), key.expose()));
        Ok(Wrapped { provider: PROVIDER.to_owned(), version: file.version().to_string(), bytes })
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError> {
        let wanted = context.to_owned();
        if wrapped.provider != PROVIDER {
            return Err(KeyError::OtherProvider { wanted, found: wrapped.provider.clone(), provider: PROVIDER });
        }
        let version = wrapped.version.parse::<usize>().ok();
        let with = version.map(|version| self.key_of(version)).transpose()?.flatten();
        let Some(with) = with else {
            return Err(KeyError::NoVersion { key: self.name(), version: wrapped.version.clone(), wanted });
        };
        let opened = wrapped.bytes.split_first_chunk().and_then(|(nonce, sealed)| {
            DataKey::new(&with).open_vec(*nonce, context.as_bytes(), sealed).ok().map(Zeroizing::new)
        });
        let key = opened.and_then(|bytes| Secret::from_slice(&bytes));
        key.ok_or_else(|| KeyError::WrongKey { key: self.name(), wanted })
    }
}

impl std::fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalKeys({})", self.path.display())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Bytes that differ at every call.
    pub(crate) struct Counting(pub(crate) AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    pub(crate) fn entropy(seed: u8) -> Arc<dyn Entropy> {
        Arc::new(Counting(AtomicU8::new(seed)))
    }

    #[test]
    fn every_version_opens_what_it_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(1)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = LocalKeys::open(&path, entropy(50)).unwrap();
        let key = Secret::new([9; 32]);
        let wrapped = first.wrap(&key, "place").unwrap();
        assert_eq!(LockedKeyFile::open(&path).unwrap().rotate(&*entropy(99)).unwrap(), 2);
        let second = LocalKeys::open(&path, entropy(51)).unwrap();
        assert_eq!(second.describe().unwrap().version, "2");
        assert_eq!(second.unwrap(&wrapped, "place").unwrap().expose(), key.expose());
        let again = second.wrap(&key, "place").unwrap();
        assert_eq!(again.version, "2");
        // the file was rotated meanwhile: it is read again for a version that is not known yet
        assert_eq!(first.unwrap(&again, "place").unwrap().expose(), key.expose());
        assert_eq!(first.describe().unwrap().version, "2");
        let later = Wrapped { version: "3".to_owned(), ..again };
        assert!(matches!(first.unwrap(&later, "place"), Err(KeyError::NoVersion { .. })));
        assert!(matches!(second.unwrap(&wrapped, "elsewhere"), Err(KeyError::WrongKey { .. })));
        assert!(!folder.path().join("k.new").exists());
    }

    /// The next start reads the file: whether it would open the keys is not known from what was read before.
    #[test]
    fn a_file_that_is_away_opens_nothing_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(1)).unwrap();
        let keys = LocalKeys::open(&path, entropy(50)).unwrap();
        let wrapped = keys.wrap(&Secret::new([9; 32]), "place").unwrap();
        let right = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(keys.unwrap(&wrapped, "place"), Err(KeyError::NoFile(_))));
        // a name that cannot be followed to its end
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let unreadable = keys.unwrap(&wrapped, "place").err().unwrap();
        assert!(matches!(unreadable, KeyError::FileUnreadable { .. }) && unreadable.is_away(), "{unreadable}");
        let said = unreadable.to_string();
        assert!(
            said.contains(&*path.to_string_lossy()) && said.contains("let the user that the node runs as read it"),
            "{said}"
        );
        std::fs::remove_file(&path).unwrap();
        KeyFile::create(&path, &*entropy(99)).unwrap();
        let wrong = keys.unwrap(&wrapped, "place").err().unwrap();
        assert!(
            matches!(wrong, KeyError::WrongKey { .. }) && !wrong.is_away(),
            "a key is there, and it is another one"
        );
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(keys.unwrap(&wrapped, "place"), Err(KeyError::FileOpen { .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, right).unwrap();
        assert_eq!(keys.unwrap(&wrapped, "place").unwrap().expose(), &[9; 32]);
    }

    /// Two that read version 1 would both write a version 2, and what the one's wrapped the other's could not open.
    #[test]
    fn one_at_a_time_adds_a_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        assert!(matches!(LockedKeyFile::open(&path), Err(KeyError::NoFile(_))));
        assert!(!folder.path().join("k.lock").exists());
        KeyFile::create(&path, &*entropy(1)).unwrap();
        let mut first = LockedKeyFile::open(&path).unwrap();
        let refused = LockedKeyFile::open(&path).unwrap_err();
        assert!(matches!(refused, KeyError::FileInUse(_)) && refused.to_string().contains("wait"), "{refused}");
        assert_eq!(first.rotate(&*entropy(2)).unwrap(), 2);
        assert!(LockedKeyFile::open(&path).is_err(), "until what it wraps is on its place");
        drop(first);
        assert_eq!(LockedKeyFile::open(&path).unwrap().rotate(&*entropy(3)).unwrap(), 3);
        let text = KeyFile::open(&path).unwrap().text();
        assert!(text.capacity() < text.len() + 3 * LINE_BYTES, "made of one piece");
    }

    #[test]
    fn a_file_is_never_overwritten_and_never_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        assert!(matches!(KeyFile::open(&path), Err(KeyError::NoFile(_))));
        KeyFile::create(&path, &*entropy(1)).unwrap();
        assert!(matches!(KeyFile::create(&path, &*entropy(2)), Err(KeyError::FileExists(_))));
        // neither a folder that is not there nor a file in its place
        for folder in [folder.path().join("none"), path.clone()] {
            let refused = KeyFile::create(&folder.join("k"), &*entropy(2));
            assert!(matches!(refused, Err(KeyError::NoFolder(named)) if named == folder));
        }
        for mode in [0o620, 0o604, 0o610] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let refused = KeyFile::open(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_key_that_does_not_get_its_place_is_left_lying_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(1)).unwrap();
        let mut locked = LockedKeyFile::open(&path).unwrap();
        // no file is renamed over a folder
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let refused = locked.rotate(&*entropy(2));
        assert!(matches!(refused, Err(KeyError::Io { path: named, .. }) if named == path));
        assert!(!folder.path().join("k.new").exists());
        assert_eq!(locked.file.version(), 1);
    }

    #[test]
    fn another_file_and_a_damaged_one_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("k"), folder.path().join("o"));
        KeyFile::create(&path, &*entropy(1)).unwrap();
        KeyFile::create(&other, &*entropy(2)).unwrap();
        let wrapped = LocalKeys::open(&path, entropy(3)).unwrap().wrap(&Secret::new([9; 32]), "p").unwrap();
        let refused = LocalKeys::open(&other, entropy(4)).unwrap().unwrap(&wrapped, "p").unwrap_err();
        assert!(refused.to_string().contains("not the key that wrapped it"), "{refused}");
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [text.replace("key 1", "key 2"), text[..text.len() / 2].to_owned(), String::new()] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(KeyFile::open(&path), Err(KeyError::FileDamaged { .. })));
        }
    }
}
