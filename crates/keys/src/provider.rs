//! Who wraps keys: the narrow, blocking view of a key file or of a key management service.
//!
//! A provider refuses to know what the keys are for; `context` binds a wrapped key to its place, so that one is never taken for
//! another.

use crate::{KeyError, Secret};

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills the bytes with random ones that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// A key as a provider wrapped it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrapped {
    /// The provider: `local`, `aws_kms`.
    pub provider: String,
    /// Version of its key, as it names it; no white space.
    pub version: String,
    /// The wrapped bytes.
    pub bytes: Vec<u8>,
}

/// The key that a provider wraps with now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// The provider.
    pub provider: &'static str,
    /// As `security.kms.key_id` names the key.
    pub key_id: String,
    /// Its current version.
    pub version: String,
}

impl std::fmt::Display for KeyInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the key `{}` of provider {}", self.key_id, self.provider)
    }
}

/// Wraps and unwraps keys under a key that never leaves it.
pub trait KeyProvider: Send + Sync {
    /// The key that wraps from now on.
    ///
    /// # Errors
    /// The provider does not say.
    fn describe(&self) -> Result<KeyInfo, KeyError>;

    /// A new random key.
    fn generate(&self) -> Secret;

    /// Wraps a key under the current version.
    ///
    /// # Errors
    /// The provider does not answer, or refuses.
    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError>;

    /// Unwraps a key that any of its versions wrapped in this context.
    ///
    /// # Errors
    /// `WrongKey`, `NoVersion`, `OtherProvider`; the provider does not answer, or refuses.
    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError>;
}
