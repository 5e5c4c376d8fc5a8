//! The bytes around a manifest's JSON: which version it has is read before anything else.
//!
//! A zstd skippable frame with our header, then one zstd frame with the JSON: `zstdcat` shows it as it is.

use crate::objects::is_sealed;
use std::io;

const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const MAGIC: [u8; 4] = *b"SLMF";
/// The version of what redacts nothing and has one bucket a stream type.
const VERSION_PLAIN: u16 = 2;
/// The version of what redacts something.
const VERSION_REDACTING: u16 = 3;
/// The version of what has stream types of several buckets.
const VERSION_OF_BUCKETS: u16 = 4;
/// The newest version, of what seals tombstones; all from the first on are read.
pub(crate) const VERSION: u16 = 5;
const VERSION_FIRST: u16 = 1;
const HEADER_BYTES: usize = 24;
const LEVEL: i32 = 3;
/// A manifest over this is refused before memory is taken for it.
const JSON_BYTES_MAX: u32 = 1 << 30;

/// What the JSON is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// A version file that redacts nothing, with one bucket a stream type; reads a version file of any kind.
    Version,
    /// A version file that redacts events: a program that does not know them would show what they said, so it must not read it.
    VersionRedacting,
    /// A version file with stream types of several buckets: a program that does not know them would look for each stream in the first.
    VersionOfBuckets,
    /// A version file that names sealed segments of tombstones: a program that does not know them would take their files for nobody's.
    VersionBurying,
    /// A sealed segment of file entries.
    Segment,
    /// A sealed segment of replaced files.
    Replaced,
    /// A checkpoint of the chain.
    Checkpoint,
    /// A sealed segment of redactions.
    Redactions,
    /// A sealed segment of tombstones.
    Tombstones,
}

impl Content {
    const fn to_u16(self) -> u16 {
        match self {
            Self::Version | Self::VersionRedacting | Self::VersionOfBuckets | Self::VersionBurying => 1,
            Self::Segment => 2,
            Self::Replaced => 3,
            Self::Checkpoint => 4,
            Self::Redactions => 5,
            Self::Tombstones => 6,
        }
    }

    /// The version under which it is written.
    const fn version(self) -> u16 {
        match self {
            Self::VersionBurying | Self::Tombstones => VERSION,
            Self::VersionOfBuckets => VERSION_OF_BUCKETS,
            Self::VersionRedacting | Self::Redactions => VERSION_REDACTING,
            Self::Version | Self::Segment | Self::Replaced | Self::Checkpoint => VERSION_PLAIN,
        }
    }
}

/// Why bytes are not a manifest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// A newer program wrote it.
    #[error("it has format version {0}; this program reads versions {VERSION_FIRST} to {VERSION}")]
    Version(u16),
    /// The bytes are not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It is that of an encrypted store.
    #[error(
        "it is sealed: the store was made with security.encrypt.at_rest = true. Declare it so, with its key \
         (security.kms.provider, security.kms.key_id); if it is declared so, its keyring is gone: put it back"
    )]
    Sealed,
    /// The JSON is not ours.
    #[error("its JSON cannot be read: {0}")]
    Json(String),
}

/// Puts JSON into its envelope.
pub(crate) fn wrap(content: Content, json: &[u8]) -> io::Result<Vec<u8>> {
    wrap_within(content, json, JSON_BYTES_MAX)
}

/// What could not be read again is not written.
pub(crate) fn wrap_within(content: Content, json: &[u8], bytes_max: u32) -> io::Result<Vec<u8>> {
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= bytes_max);
    let length = length.ok_or_else(|| {
        io::Error::other(format!("the manifest's JSON has {} bytes; {bytes_max} can be read again", json.len()))
    })?;
    let body = zstd::bulk::compress(json, LEVEL)?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&SKIPPABLE_MAGIC);
    out.extend_from_slice(&((HEADER_BYTES - 8) as u32).to_le_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&content.version().to_le_bytes());
    out.extend_from_slice(&content.to_u16().to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

/// Takes JSON out of its envelope.
pub(crate) fn unwrap(content: Content, bytes: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let damaged = EnvelopeError::Damaged;
    if is_sealed(bytes) {
        return Err(EnvelopeError::Sealed);
    }
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(damaged("it is shorter than its header"))?;
    let frame_length = ((HEADER_BYTES - 8) as u32).to_le_bytes();
    if header[..4] != SKIPPABLE_MAGIC || header[8..12] != MAGIC {
        return Err(damaged("it does not begin as a manifest"));
    }
    let version = u16::from_le_bytes([header[12], header[13]]);
    if !(VERSION_FIRST..=VERSION).contains(&version) {
        return Err(EnvelopeError::Version(version));
    }
    if header[4..8] != frame_length || u16::from_le_bytes([header[14], header[15]]) != content.to_u16() {
        return Err(damaged("its header is of another kind"));
    }
    let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    let crc = u32::from_le_bytes([header[20], header[21], header[22], header[23]]);
    if crc32c::crc32c(body) != crc {
        return Err(damaged("the checksum differs"));
    }
    if length > JSON_BYTES_MAX {
        return Err(damaged("it is too large"));
    }
    let json = zstd::bulk::decompress(body, length as usize).map_err(|_| damaged("it does not decompress"))?;
    if json.len() != length as usize {
        return Err(damaged("its length differs"));
    }
    Ok(json)
}
