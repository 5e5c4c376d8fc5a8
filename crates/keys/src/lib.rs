//! Keys of encryption at rest: who wraps them, what a store's keyring holds, how bytes are sealed with them.
//!
//! ```text
//!  provider's key (key file, KMS)  --wraps-->  the store's keys (keyring)  --derive-->  one data key a segment, file, object
//!       several versions                        numbered, the highest is current          named by (number, salt)
//! ```
//!
//! The provider is asked when a store is opened, and when its keyring changes: not once a segment and file. So a provider that
//! is away stops nothing that is open, and a rotation wraps the keyring again instead of every object.
//!
//! It refuses to know what is sealed, and to make randomness: that is an argument ([`Entropy`]). Invariant: no data key seals two
//! messages under one nonce, since every data key is derived from a salt of its own and counts its messages. `FORMAT.md` says every byte.

mod aead;
mod error;
mod keyring;
mod local;
mod provider;
mod secret;
pub mod secret_file;
mod store_keys;
pub mod subject;
#[cfg(any(test, feature = "testkit"))]
pub mod testing;
mod text;

pub use aead::{DataKey, NONCE_BYTES, TAG_BYTES, Tampered};
pub use error::KeyError;
pub use keyring::{Keyring, RingKey};
pub use local::{KeyFile, LocalKeys, LockedKeyFile};
pub use provider::{Entropy, KeyInfo, KeyProvider, Wrapped};
pub use secret::Secret;
pub use store_keys::{KEY_NAME_BYTES, KeyName, Purpose, StoreKeys};
// whoever holds secrets wipes them by the same means
pub use zeroize::{Zeroize, Zeroizing};
