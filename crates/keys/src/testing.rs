//! Keys for tests: a provider without a file, whose randomness counts, and which can be out of reach, or refuse.

use crate::aead::DataKey;
use crate::{Entropy, KeyError, KeyInfo, KeyProvider, Keyring, Secret, StoreKeys, Wrapped};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PROVIDER: &str = "local";

/// Bytes that no two calls share.
#[derive(Debug)]
pub struct Counting(AtomicU64);

impl Counting {
    /// They begin with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed << 32))
    }
}

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

/// A provider with one key.
#[derive(Debug)]
pub struct TestKeys {
    key: Secret,
    random: Counting,
    /// It does not answer.
    pub away: AtomicBool,
    /// It says no.
    pub refuses: AtomicBool,
}

impl TestKeys {
    /// Two of one seed are the same key.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_random(seed, seed)
    }

    /// The key of a seed, with randomness of another: as after a restart.
    #[must_use]
    pub fn with_random(seed: u64, random: u64) -> Self {
        let mut bytes = [0; Secret::BYTES];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (away, refuses) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { key: Secret::new(bytes), random: Counting::new(random), away, refuses }
    }

    fn answer(&self) -> Result<(), KeyError> {
        let key = "the test's key".to_owned();
        if self.away.load(Ordering::Relaxed) {
            return Err(KeyError::Unreachable { key, said: "it is away".to_owned(), advice: "wait" });
        }
        if self.refuses.load(Ordering::Relaxed) {
            return Err(KeyError::Refused {
                key,
                said: "400 DisabledException: no".to_owned(),
                advice: "enable the key",
            });
        }
        Ok(())
    }
}

impl KeyProvider for TestKeys {
    fn describe(&self) -> Result<KeyInfo, KeyError> {
        self.answer()?;
        Ok(KeyInfo { provider: PROVIDER, key_id: "test".to_owned(), version: "1".to_owned() })
    }

    fn generate(&self) -> Secret {
        let mut bytes = [0; Secret::BYTES];
        self.random.fill(&mut bytes);
        Secret::new(bytes)
    }

    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError> {
        self.answer()?;
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce);
        let mut bytes = nonce.to_vec();
        bytes.extend(DataKey::new(&self.key).seal_vec(nonce, context.as_bytes(), key.expose()));
        Ok(Wrapped { provider: PROVIDER.to_owned(), version: "1".to_owned(), bytes })
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError> {
        self.answer()?;
        let opened = wrapped
            .bytes
            .split_first_chunk()
            .and_then(|(nonce, sealed)| DataKey::new(&self.key).open_vec(*nonce, context.as_bytes(), sealed).ok());
        let key = opened.and_then(|bytes| Secret::from_slice(&bytes));
        key.ok_or_else(|| KeyError::WrongKey { key: "the test's key".to_owned(), wanted: context.to_owned() })
    }
}

/// The keys of a new store.
///
/// # Panics
/// Never: the provider is there.
#[must_use]
#[expect(clippy::unwrap_used, reason = "only tests come here")]
pub fn store_keys(seed: u64) -> Arc<StoreKeys> {
    let provider = TestKeys::new(seed);
    let ring = Keyring::new(&provider).unwrap();
    Arc::new(StoreKeys::open(&ring, &provider).unwrap())
}
