//! Keys of subjects: what an erasable stream type says of one stream, or of one tenant, is sealed with a key of that subject alone.
//! Whoever destroys the key has erased it, in every tier, replica and copy.
//!
//! ```text
//!  payload, metadata ── seal (edge of appends) ──> {"sealed":"1.<key id>.<nonce, text, tag>"} ── open (edge of reads) ──> payload, metadata
//! ```
//!
//! What is sealed is JSON text, so that nothing between the two edges, and no other engine, must know it. The nonce is a keyed hash of the
//! text and its context: the same text in the same context gives the same bytes, so that a retry of an append is equal to the first one, and a
//! digest of what is stored tells nobody a guess is right who does not have the key. Invariant: one nonce seals one text only, but for two texts whose
//! hashes agree in 96 bits.

pub mod folder;
pub mod reached;
pub mod record;

use crate::{DataKey, NONCE_BYTES, Secret, Tampered};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// What reads show in the place of a payload, and of metadata where there was some, once the subject's key is destroyed.
pub const ERASED: &str = r#"{"erased":true}"#;

const HEAD: &str = r#"{"sealed":"1."#;
const TAIL: &str = r#""}"#;
const ID_DIGITS: usize = 32;

/// Names a key; random.
pub type SubjectKeyId = [u8; 16];

/// The key of one subject.
pub struct SubjectKey {
    id: SubjectKeyId,
    seals: DataKey,
    nonces: hmac::Key,
}

/// A sealed text, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The key that opens it.
    pub key: SubjectKeyId,
    nonce: [u8; NONCE_BYTES],
    bytes: Vec<u8>,
}

impl SubjectKey {
    /// The key of this id and these 256 bits.
    #[must_use]
    pub fn new(id: SubjectKeyId, secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let derived = |word: &[u8]| {
            let tag = hmac::sign(&root, word);
            // 32 bytes by its definition
            Secret::from_slice(tag.as_ref())
                .unwrap_or_else(|| strandline_event::invariant::broken("SHA-256 has 32 bytes"))
        };
        let seals = DataKey::new(&derived(b"strandline subject seal"));
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, derived(b"strandline subject nonce").expose());
        Self { id, seals, nonces }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SubjectKeyId {
        self.id
    }

    /// Seals a text. `context`: what it belongs to; it opens only in the same.
    #[must_use]
    pub fn seal(&self, context: &[u8], text: &str) -> String {
        let mut hash = hmac::Context::with_key(&self.nonces);
        hash.update(&(context.len() as u64).to_le_bytes());
        hash.update(context);
        hash.update(text.as_bytes());
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hash.sign().as_ref()[..NONCE_BYTES]);
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&self.seals.seal_vec(nonce, context, text.as_bytes()));
        format!("{HEAD}{}.{}{TAIL}", strandline_event::hex::to_hex(&self.id), URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a text that [`seal`](Self::seal) gave.
    ///
    /// # Errors
    /// [`Tampered`].
    pub fn open(&self, context: &[u8], sealed: &Sealed) -> Result<String, Tampered> {
        let plain = self.seals.open_vec(sealed.nonce, context, &sealed.bytes)?;
        String::from_utf8(plain).map_err(|_| Tampered)
    }
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectKey")
    }
}

/// Whether a stored text begins as a sealed one does.
#[must_use]
pub fn may_be_sealed(text: &str) -> bool {
    text.starts_with(HEAD)
}

impl Sealed {
    /// Takes a stored text apart; `None`: it is not sealed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, bytes) = text.strip_prefix(HEAD)?.strip_suffix(TAIL)?.split_once('.')?;
        if id.len() != ID_DIGITS {
            return None;
        }
        let key = strandline_event::hex::from_hex(id)?.try_into().ok()?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let (nonce, bytes) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        Some(Self { key, nonce: *nonce, bytes: bytes.to_vec() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `STRANDLINE_GOLDEN=write` writes the fixture: only while nobody has written this version yet.
    pub(crate) fn golden(name: &str, now: &[u8]) -> Vec<u8> {
        let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
            std::fs::write(&path, now).unwrap();
        }
        std::fs::read(path).unwrap()
    }

    fn key(byte: u8) -> SubjectKey {
        SubjectKey::new([byte; 16], &Secret::new([byte; 32]))
    }

    proptest! {
        #[test]
        fn a_text_opens_with_its_key_in_its_context_only(text in ".*", context in any::<[u8; 3]>()) {
            let sealed = key(1).seal(&context, &text);
            prop_assert!(sealed.is_ascii() && (text.len() < 8 || !sealed.contains(&text)));
            prop_assert_eq!(&key(1).seal(&context, &text), &sealed, "a retry is equal");
            let parsed = Sealed::parse(&sealed).unwrap();
            prop_assert_eq!(parsed.key, [1; 16]);
            prop_assert_eq!(key(1).open(&context, &parsed), Ok(text));
            prop_assert_eq!(key(2).open(&context, &parsed), Err(Tampered));
            prop_assert_eq!(key(1).open(b"elsewhere", &parsed), Err(Tampered));
        }

        #[test]
        fn other_texts_are_not_sealed(text in ".*") {
            prop_assert_eq!(Sealed::parse(&text), None);
        }
    }

    #[test]
    fn what_was_stored_once_opens_for_ever() {
        let sealed = key(7).seal(b"context", "{\"caller\":\"+491\"}");
        assert_eq!(sealed.as_bytes(), golden("sealed-v1.json", sealed.as_bytes()));
        assert!(Sealed::parse(&sealed.replace("1.07", "2.07")).is_none(), "another version");
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        assert_eq!(format!("{:?}", key(0xab)), "SubjectKey");
    }
}
