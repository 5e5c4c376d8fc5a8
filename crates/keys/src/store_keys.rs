//! The keys of an open store: gives each thing that is sealed a data key of its own, and finds it again by its name.
//!
//! A data key is derived (HKDF-SHA256) from a key of the store, a salt that is used once, and what the key is for. Its name says
//! the key's number and the salt; it is no secret, and stands beside what was sealed.

use crate::aead::DataKey;
use crate::{KeyError, KeyProvider, Keyring, Secret};
use parking_lot::RwLock;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::hex::{from_hex, to_hex};
use zeroize::Zeroizing;

/// Bytes of a name of a data key.
pub const KEY_NAME_BYTES: usize = 32;
const SALT_BYTES: usize = 24;

/// Which data key: number of the store's key, and the salt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyName {
    number: u64,
    salt: [u8; SALT_BYTES],
}

impl KeyName {
    /// Number of the store's key that it comes from.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Number (little-endian), then the salt.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; KEY_NAME_BYTES] {
        let mut out = [0; KEY_NAME_BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        out[8..].copy_from_slice(&self.salt);
        out
    }

    /// The other way round.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_NAME_BYTES]) -> Self {
        let (mut number, mut salt) = ([0; 8], [0; SALT_BYTES]);
        number.copy_from_slice(&bytes[..8]);
        salt.copy_from_slice(&bytes[8..]);
        Self { number: u64::from_le_bytes(number), salt }
    }

    /// 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        to_hex(&self.to_bytes())
    }

    /// The other way round.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = from_hex(text)?;
        bytes.first_chunk().filter(|_| bytes.len() == KEY_NAME_BYTES).map(Self::from_bytes)
    }
}

/// What a data key is for: keys of two purposes, or for two names, have nothing in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose<'a> {
    /// The frames of a segment of a log: log id and segment.
    Segment(u64, u64),
    /// The Parquet modules of a data file. Its name is not bound: who reads the file elsewhere needs no more than the key.
    DataFile,
    /// The filters of a data file.
    Filters,
    /// An object with this name.
    Object(&'a str),
    /// A file of a node with this name.
    NodeFile(&'a str),
}

impl Purpose<'_> {
    fn info(&self) -> Vec<u8> {
        let mut out = match self {
            Self::Segment(..) => b"strandline segment\0".to_vec(),
            Self::DataFile => b"strandline data file\0".to_vec(),
            Self::Filters => b"strandline filters\0".to_vec(),
            Self::Object(_) => b"strandline object\0".to_vec(),
            Self::NodeFile(_) => b"strandline node file\0".to_vec(),
        };
        match self {
            Self::Segment(log, segment) => {
                out.extend_from_slice(&log.to_le_bytes());
                out.extend_from_slice(&segment.to_le_bytes());
            }
            Self::Object(name) | Self::NodeFile(name) => out.extend_from_slice(name.as_bytes()),
            Self::DataFile | Self::Filters => {}
        }
        out
    }
}

/// The keys of a store.
pub struct StoreKeys {
    /// By number, from 1.
    keys: RwLock<Vec<Secret>>,
    /// Random, new at every start: salts of two starts never meet.
    start: [u8; 16],
    count: AtomicU64,
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        Secret::BYTES
    }
}

impl StoreKeys {
    /// The keys of a ring.
    ///
    /// # Errors
    /// What the provider says.
    pub fn open(ring: &Keyring, provider: &dyn KeyProvider) -> Result<Self, KeyError> {
        let keys = ring.secrets(provider)?;
        let mut start = [0; 16];
        start.copy_from_slice(&provider.generate().expose()[..16]);
        Ok(Self { keys: RwLock::new(keys), start, count: AtomicU64::new(0) })
    }

    /// Takes a newer revision of the ring: what is sealed from here on takes its last key.
    ///
    /// # Errors
    /// What the provider says; nothing has changed then.
    pub fn take(&self, ring: &Keyring, provider: &dyn KeyProvider) -> Result<(), KeyError> {
        let keys = ring.secrets(provider)?;
        let mut known = self.keys.write();
        if keys.len() > known.len() {
            *known = keys;
        }
        Ok(())
    }

    /// Number of the current key.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.keys.read().len() as u64
    }

    /// A data key that was never used.
    #[must_use]
    pub fn fresh_secret(&self, purpose: Purpose<'_>) -> (KeyName, Secret) {
        let mut salt = [0; SALT_BYTES];
        salt[..16].copy_from_slice(&self.start);
        salt[16..].copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let keys = self.keys.read();
        let name = KeyName { number: keys.len() as u64, salt };
        let Some(key) = keys.last() else { strandline_event::invariant::broken("a store has no key") };
        (name, derived(key, &name.salt, purpose))
    }

    /// [`fresh_secret`](Self::fresh_secret), to seal with here.
    #[must_use]
    pub fn fresh(&self, purpose: Purpose<'_>) -> (KeyName, DataKey) {
        let (name, secret) = self.fresh_secret(purpose);
        (name, DataKey::new(&secret))
    }

    /// The data key of this name.
    ///
    /// # Errors
    /// `NoKey`: take the newest revision of the ring, and ask again.
    pub fn secret(&self, name: &KeyName, purpose: Purpose<'_>) -> Result<Secret, KeyError> {
        let keys = self.keys.read();
        let at = usize::try_from(name.number).ok().and_then(|number| number.checked_sub(1));
        let key = at.and_then(|at| keys.get(at)).ok_or(KeyError::NoKey(name.number))?;
        Ok(derived(key, &name.salt, purpose))
    }

    /// [`secret`](Self::secret), to open with here.
    ///
    /// # Errors
    /// As there.
    pub fn find(&self, name: &KeyName, purpose: Purpose<'_>) -> Result<DataKey, KeyError> {
        self.secret(name, purpose).map(|secret| DataKey::new(&secret))
    }

    /// A keyed hash of a text, 32 hex digits: what stands for it in names. It stays the same when keys are rotated.
    #[must_use]
    pub fn hidden(&self, text: &str) -> String {
        let keys = self.keys.read();
        let Some(key) = keys.first() else { strandline_event::invariant::broken("a store has no key") };
        let secret = derived(key, b"strandline hidden names", Purpose::DataFile);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()), text.as_bytes());
        to_hex(tag.as_ref().get(..16).unwrap_or_default())
    }
}

fn derived(key: &Secret, salt: &[u8], purpose: Purpose<'_>) -> Secret {
    let info = purpose.info();
    let parts = [&info[..]];
    let mut out = Zeroizing::new([0; Secret::BYTES]);
    let filled =
        Salt::new(HKDF_SHA256, salt).extract(key.expose()).expand(&parts, Bytes32).map(|okm| okm.fill(&mut out[..]));
    match filled {
        Ok(Ok(())) => Secret::new(*out),
        _ => strandline_event::invariant::broken("32 bytes cannot be derived"),
    }
}

impl std::fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreKeys({} keys)", self.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::tests::entropy;
    use crate::{KeyFile, LocalKeys};

    fn provider(seed: u8) -> (tempfile::TempDir, LocalKeys) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(seed)).unwrap();
        let keys = LocalKeys::open(&path, entropy(seed + 7)).unwrap();
        (folder, keys)
    }

    #[test]
    fn a_key_is_found_by_its_name_and_purpose_only() {
        let (_folder, provider) = provider(1);
        let ring = Keyring::new(&provider).unwrap();
        let keys = StoreKeys::open(&ring, &provider).unwrap();
        let all = [
            Purpose::Segment(1, 2),
            Purpose::Segment(2, 1),
            Purpose::DataFile,
            Purpose::Filters,
            Purpose::Object("a"),
            Purpose::Object("b"),
            Purpose::NodeFile("a"),
        ];
        let (name, secret) = keys.fresh_secret(all[0]);
        let same = KeyName::from_hex(&name.to_hex()).unwrap();
        assert_eq!(same, name);
        for purpose in all {
            let found = keys.secret(&same, purpose).unwrap();
            assert_eq!(found.expose() == secret.expose(), purpose == all[0], "{purpose:?}");
        }
        assert_ne!(keys.fresh_secret(all[0]).0, name);
        let reopened = StoreKeys::open(&ring, &provider).unwrap();
        assert_eq!(reopened.secret(&name, all[0]).unwrap().expose(), secret.expose());
    }

    #[test]
    fn a_newer_ring_is_taken_and_older_names_stay() {
        let (_folder, provider) = provider(1);
        let ring = Keyring::new(&provider).unwrap();
        let keys = StoreKeys::open(&ring, &provider).unwrap();
        let (old, secret) = keys.fresh_secret(Purpose::DataFile);
        let hidden = keys.hidden("tenant");
        let rotated = ring.rotated(&provider, |_| {}).unwrap();
        let other = StoreKeys::open(&rotated, &provider).unwrap();
        let (new, _) = other.fresh_secret(Purpose::DataFile);
        assert!(matches!(keys.secret(&new, Purpose::DataFile), Err(KeyError::NoKey(2))));
        keys.take(&rotated, &provider).unwrap();
        assert!(keys.secret(&new, Purpose::DataFile).is_ok());
        assert_eq!(keys.secret(&old, Purpose::DataFile).unwrap().expose(), secret.expose());
        assert_eq!((keys.hidden("tenant"), keys.current()), (hidden, 2));
        assert_ne!(keys.hidden("tenant"), keys.hidden("other"));
    }
}
