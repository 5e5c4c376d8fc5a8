//! The keyring of a store: its keys, wrapped. One small text, replaced as a whole by its next revision.
//!
//! It is no secret: who has it needs the provider's key. Invariant: a key that was ever in it stays, since what it sealed must be
//! opened for ever.

use crate::text::{checked, with_sum};
use crate::{KeyError, KeyProvider, Secret, Wrapped};
use std::fmt::Write;
use strandline_event::hex::{from_hex, to_hex};

/// First line.
const TITLE: &str = "strandline keyring 1";

/// A wrapped key of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingKey {
    /// Its number, from 1.
    pub number: u64,
    /// As the provider wrapped it.
    pub wrapped: Wrapped,
}

/// The keys of a store; the last one is the current one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyring {
    /// 32 hex digits that bind its keys to it.
    id: String,
    keys: Vec<RingKey>,
}

impl Keyring {
    /// The keyring of a new store, with one key.
    ///
    /// # Errors
    /// What the provider says.
    pub fn new(provider: &dyn KeyProvider) -> Result<Self, KeyError> {
        let id = to_hex(&provider.generate().expose()[..16]);
        let mut ring = Self { id, keys: Vec::new() };
        ring.add(provider)?;
        Ok(ring)
    }

    /// Adds a new key, which is the current one from here on.
    fn add(&mut self, provider: &dyn KeyProvider) -> Result<(), KeyError> {
        let number = self.keys.len() as u64 + 1;
        let wrapped = provider.wrap(&provider.generate(), &self.context(number))?;
        self.keys.push(RingKey { number, wrapped });
        Ok(())
    }

    /// The same keys, wrapped by the provider's current version, and a new key. `on_key` is told of each one that is done.
    ///
    /// # Errors
    /// What the provider says; nothing has changed then.
    pub fn rotated(&self, provider: &dyn KeyProvider, mut on_key: impl FnMut(u64)) -> Result<Self, KeyError> {
        let mut next = Self { id: self.id.clone(), keys: Vec::with_capacity(self.keys.len() + 1) };
        for (key, secret) in self.keys.iter().zip(self.secrets(provider)?) {
            let wrapped = provider.wrap(&secret, &self.context(key.number))?;
            next.keys.push(RingKey { number: key.number, wrapped });
            on_key(key.number);
        }
        next.add(provider)?;
        Ok(next)
    }

    /// The keys, in the order of their numbers.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The keys themselves, in the order of their numbers.
    ///
    /// # Errors
    /// What the provider says.
    pub fn secrets(&self, provider: &dyn KeyProvider) -> Result<Vec<Secret>, KeyError> {
        self.keys.iter().map(|key| provider.unwrap(&key.wrapped, &self.context(key.number))).collect()
    }

    /// Whether the provider opens the current key.
    ///
    /// # Errors
    /// What the provider says.
    pub fn opens_current(&self, provider: &dyn KeyProvider) -> Result<(), KeyError> {
        self.keys.last().map_or(Ok(()), |key| provider.unwrap(&key.wrapped, &self.context(key.number)).map(drop))
    }

    fn context(&self, number: u64) -> String {
        format!("{number} of keyring {}", self.id)
    }

    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut lines = format!("{TITLE}\nid {}\n", self.id);
        for RingKey { number, wrapped } in &self.keys {
            let Wrapped { provider, version, bytes } = wrapped;
            // a String takes everything
            let _ = writeln!(lines, "key {number} {provider} {version} {}", to_hex(bytes));
        }
        with_sum(lines)
    }

    /// Reads the text of the object `name`.
    ///
    /// # Errors
    /// `RingDamaged`.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = |what| KeyError::RingDamaged { name: name.to_owned(), what };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let mut lines = checked(text, TITLE).map_err(damaged)?;
        let id = lines.next().and_then(|line| line.strip_prefix("id ")).ok_or_else(|| damaged("it has no id"))?;
        if id.len() != 32 || from_hex(id).is_none() {
            return Err(damaged("its id is none"));
        }
        let mut ring = Self { id: id.to_owned(), keys: Vec::new() };
        for line in lines {
            let key = key_of(line).filter(|key| key.number == ring.keys.len() as u64 + 1);
            ring.keys.push(key.ok_or_else(|| damaged("a line is no key"))?);
        }
        if ring.keys.is_empty() { Err(damaged("it holds no key")) } else { Ok(ring) }
    }
}

fn key_of(line: &str) -> Option<RingKey> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["key", number, provider, version, digits] = words[..] else { return None };
    let (provider, version) = (provider.to_owned(), version.to_owned());
    Some(RingKey { number: number.parse().ok()?, wrapped: Wrapped { provider, version, bytes: from_hex(digits)? } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::tests::entropy;
    use crate::{KeyFile, LocalKeys, LockedKeyFile};

    #[test]
    fn a_rotation_keeps_every_key_and_adds_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(1)).unwrap();
        let old = LocalKeys::open(&path, entropy(2)).unwrap();
        let ring = Keyring::new(&old).unwrap();
        LockedKeyFile::open(&path).unwrap().rotate(&*entropy(80)).unwrap();
        let new = LocalKeys::open(&path, entropy(3)).unwrap();
        let mut told = Vec::new();
        let rotated = ring.rotated(&new, |number| told.push(number)).unwrap();
        assert_eq!((told, rotated.keys().len()), (vec![1], 2));
        assert!(rotated.keys().iter().all(|key| key.wrapped.version == "2"));
        let (before, after) = (ring.secrets(&old).unwrap(), rotated.secrets(&new).unwrap());
        assert_eq!(before[0].expose(), after[0].expose());
        assert_ne!(after[0].expose(), after[1].expose());
        assert_eq!(Keyring::decode("r", rotated.encode().as_bytes()).unwrap(), rotated);
    }

    #[test]
    fn keys_of_two_rings_are_never_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        KeyFile::create(&path, &*entropy(1)).unwrap();
        let keys = LocalKeys::open(&path, entropy(2)).unwrap();
        let (a, b) = (Keyring::new(&keys).unwrap(), Keyring::new(&keys).unwrap());
        let mixed = Keyring { id: a.id.clone(), keys: b.keys };
        assert!(matches!(mixed.secrets(&keys), Err(KeyError::WrongKey { .. })));
    }

    #[test]
    fn what_is_no_ring_is_told() {
        for bad in ["", "strandline keyring 1\n", "\u{fffd}"] {
            assert!(matches!(Keyring::decode("r", bad.as_bytes()), Err(KeyError::RingDamaged { .. })), "{bad:?}");
        }
    }
}
