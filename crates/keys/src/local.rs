//! Provider `local`: keys in a file that only its owner may read. For development, and where a disk of secrets is mounted.
//!
//! Every version stays in the file, since what it wrapped must be opened for ever; the highest wraps. The file is replaced as a
//! whole: written aside, synced, renamed, the folder synced. It refuses a file that others may read.

use crate::aead::{DataKey, NONCE_BYTES};
use crate::text::{checked, with_sum};
use crate::{Entropy, KeyError, KeyInfo, KeyProvider, Secret, Wrapped};
use rustix::fs::{Mode, OFlags};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::hex::{from_hex, to_hex};
use zeroize::Zeroizing;

/// First line of a key file.
const TITLE: &str = "strandline keys 1";
/// The name of the provider.
const PROVIDER: &str = "local";
/// A longer key file is none.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Permission bits of others.
const OTHERS: u32 = 0o077;

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
    /// `FileExists`; the file system.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let file = Self { path: path.to_owned(), keys: vec![secret(entropy)] };
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::FileExists(path.to_owned()));
        }
        file.write(true)?;
        Ok(file)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `NoFile`, `FileOpen`, `FileDamaged`; the file system.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let io = at(path);
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyError::NoFile(path.to_owned())),
            opened => opened.map_err(&io)?,
        };
        let meta = file.metadata().map_err(&io)?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(KeyError::FileOpen { path: path.to_owned(), mode });
        }
        let damaged = |what| KeyError::FileDamaged { path: path.to_owned(), what };
        if meta.len() > FILE_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        let mut text = Zeroizing::new(String::new());
        match file.read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged("it is no text")),
            read => drop(read.map_err(&io)?),
        }
        let keys = parse(&text).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// Adds a version, which is the current one from here on.
    ///
    /// # Errors
    /// The file system; the file is as it was then.
    pub fn rotate(&mut self, entropy: &dyn Entropy) -> Result<u64, KeyError> {
        self.keys.push(secret(entropy));
        if let Err(error) = self.write(false) {
            self.keys.pop();
            return Err(error);
        }
        Ok(self.version())
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
        file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all()).map_err(&io)?;
        let given = if is_new { give_new_name(&aside, &self.path) } else { rename(&aside, &self.path) };
        match given {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // it holds nothing that anybody needs
                let _ = std::fs::remove_file(&aside);
                return Err(KeyError::FileExists(self.path.clone()));
            }
            given => given.map_err(at(&self.path))?,
        }
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
    }

    fn text(&self) -> Zeroizing<String> {
        let mut lines = format!("{TITLE}\n");
        for (key, version) in self.keys.iter().zip(1_u64..) {
            // a String takes everything
            let _ = writeln!(lines, "key {version} {}", to_hex(key.expose()));
        }
        Zeroizing::new(with_sum(lines))
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

/// The provider of a key file.
pub struct LocalKeys {
    file: KeyFile,
    entropy: Arc<dyn Entropy>,
}

impl LocalKeys {
    /// The keys of a file.
    ///
    /// # Errors
    /// As [`KeyFile::open`].
    pub fn open(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        Ok(Self { file: KeyFile::open(path)?, entropy })
    }

    fn name(&self) -> String {
        format!("the key file {}", self.file.path.display())
    }
}

impl KeyProvider for LocalKeys {
    fn describe(&self) -> Result<KeyInfo, KeyError> {
        let key_id = self.file.path.display().to_string();
        Ok(KeyInfo { provider: PROVIDER, key_id, version: self.file.version().to_string() })
    }

    fn generate(&self) -> Secret {
        secret(&*self.entropy)
    }

    /// The nonce is random: a key file wraps a few keys a year.
    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError> {
        let Some(with) = self.file.keys.last() else { return Err(KeyError::NoFile(self.file.path.clone())) };
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let mut bytes = nonce.to_vec();
        bytes.extend(DataKey::new(with).seal_vec(nonce, context.as_bytes(), key.expose()));
        Ok(Wrapped { provider: PROVIDER.to_owned(), version: self.file.version().to_string(), bytes })
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError> {
        let wanted = context.to_owned();
        if wrapped.provider != PROVIDER {
            return Err(KeyError::OtherProvider { wanted, found: wrapped.provider.clone(), provider: PROVIDER });
        }
        let version = wrapped.version.parse::<usize>().ok().and_then(|version| version.checked_sub(1));
        let Some(with) = version.and_then(|at| self.file.keys.get(at)) else {
            return Err(KeyError::NoVersion { key: self.name(), version: wrapped.version.clone(), wanted });
        };
        let opened = wrapped.bytes.split_first_chunk().and_then(|(nonce, sealed)| {
            DataKey::new(with).open_vec(*nonce, context.as_bytes(), sealed).ok().map(Zeroizing::new)
        });
        let key = opened.and_then(|bytes| Secret::from_slice(&bytes));
        key.ok_or_else(|| KeyError::WrongKey { key: self.name(), wanted })
    }
}

impl std::fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalKeys({})", self.file.path.display())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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
        assert_eq!(KeyFile::open(&path).unwrap().rotate(&*entropy(99)).unwrap(), 2);
        let second = LocalKeys::open(&path, entropy(51)).unwrap();
        assert_eq!(second.describe().unwrap().version, "2");
        assert_eq!(second.unwrap(&wrapped, "place").unwrap().expose(), key.expose());
        let again = second.wrap(&key, "place").unwrap();
        assert_eq!(again.version, "2");
        assert!(matches!(first.unwrap(&again, "place"), Err(KeyError::NoVersion { .. })));
        assert!(matches!(second.unwrap(&wrapped, "elsewhere"), Err(KeyError::WrongKey { .. })));
        assert!(!folder.path().join("k.new").exists());
    }

    #[test]
    fn a_file_is_never_overwritten_and_never_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        assert!(matches!(KeyFile::open(&path), Err(KeyError::NoFile(_))));
        KeyFile::create(&path, &*entropy(1)).unwrap();
        assert!(matches!(KeyFile::create(&path, &*entropy(2)), Err(KeyError::FileExists(_))));
        for mode in [0o640, 0o604, 0o610] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let refused = KeyFile::open(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
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
