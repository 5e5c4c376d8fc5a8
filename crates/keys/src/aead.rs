//! AES-256-GCM under one data key. Who calls counts the nonces.

use crate::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a tag: a sealed message is longer by these.
pub const TAG_BYTES: usize = 16;

/// Bytes that are not what was sealed under this key, nonce and context. Nothing of them may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the bytes are not what was sealed: they were changed, or another key sealed them")]
pub struct Tampered;

/// A key that seals and opens.
pub struct DataKey(LessSafeKey);

impl DataKey {
    /// The key of these 256 bits.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        match UnboundKey::new(&AES_256_GCM, secret.expose()) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => strandline_event::invariant::broken("a key of 32 bytes is no key of AES-256"),
        }
    }

    /// Seals bytes where they stand; gives the tag, which belongs behind them. Never call it twice with one nonce.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], context: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.0.seal_in_place_separate_tag(nonce, Aad::from(context), bytes) {
            Ok(tag) => tag.as_ref().try_into().unwrap_or([0; TAG_BYTES]),
            Err(_) => strandline_event::invariant::broken("a message is too long for AES-256-GCM"),
        }
    }

    /// Opens bytes where they stand.
    ///
    /// # Errors
    /// [`Tampered`]: the bytes are worth nothing then.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        context: &[u8],
        bytes: &mut [u8],
        tag: [u8; TAG_BYTES],
    ) -> Result<(), Tampered> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place_separate_tag(nonce, Aad::from(context), Tag::from(tag), bytes, 0..);
        opened.map(drop).map_err(|_| Tampered)
    }

    /// Seals a message of its own: the sealed bytes with the tag behind them.
    #[must_use]
    pub fn seal_vec(&self, nonce: [u8; NONCE_BYTES], context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + TAG_BYTES);
        out.extend_from_slice(plain);
        let tag = self.seal(nonce, context, &mut out);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens what [`seal_vec`](Self::seal_vec) gave.
    ///
    /// # Errors
    /// [`Tampered`].
    pub fn open_vec(&self, nonce: [u8; NONCE_BYTES], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Tampered)?;
        let mut out = bytes.to_vec();
        self.open(nonce, context, &mut out, *tag)?;
        Ok(out)
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> DataKey {
        DataKey::new(&Secret::new([byte; 32]))
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back_and_nothing_else_does(
            plain in proptest::collection::vec(any::<u8>(), 0..200), context in any::<[u8; 5]>(), bit in any::<usize>(),
        ) {
            let sealed = key(1).seal_vec([7; 12], &context, &plain);
            prop_assert_eq!(key(1).open_vec([7; 12], &context, &sealed), Ok(plain));
            let mut changed = sealed.clone();
            let bit = bit % (changed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key(1).open_vec([7; 12], &context, &changed), Err(Tampered));
            prop_assert_eq!(key(1).open_vec([8; 12], &context, &sealed), Err(Tampered));
            prop_assert_eq!(key(1).open_vec([7; 12], b"other", &sealed), Err(Tampered));
            prop_assert_eq!(key(2).open_vec([7; 12], &context, &sealed), Err(Tampered));
            prop_assert_eq!(key(1).open_vec([7; 12], &context, &sealed[..sealed.len() - 1]), Err(Tampered));
        }
    }

    #[test]
    fn less_than_a_tag_is_no_message() {
        assert_eq!(key(1).open_vec([0; 12], b"", &[0; 15]), Err(Tampered));
    }
}
