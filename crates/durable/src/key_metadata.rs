//! What an encrypted data file says of its own key, before anything of it is opened: the name, in the words of Parquet's format
//! (`FileCryptoMetaData.key_metadata`, in front of the encrypted footer).

use crate::write::KEY_METADATA_PREFIX;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use strandline_keys::{KEY_NAME_BYTES, KeyName};

/// At the end of a file with an encrypted footer.
const MAGIC: [u8; 4] = *b"PARE";
/// A longer footer is none of ours.
const FOOTER_BYTES_MAX: u64 = 256 << 20;

/// The name of the key of a data file; `None`: it is not encrypted, or not ours.
///
/// # Errors
/// The file cannot be read.
pub fn key_metadata(path: &Path) -> io::Result<Option<KeyName>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(8) else { return Ok(None) };
    let mut last = [0; 8];
    file.read_exact_at(&mut last, end)?;
    let (footer, magic) = (u32::from_le_bytes([last[0], last[1], last[2], last[3]]), &last[4..]);
    let Some(start) = end.checked_sub(u64::from(footer)).filter(|_| u64::from(footer) <= FOOTER_BYTES_MAX) else {
        return Ok(None);
    };
    if *magic != MAGIC {
        return Ok(None);
    }
    // the words in front of the footer are short: an algorithm, a random prefix, the name
    let mut bytes = vec![0; usize::try_from(u64::from(footer).min(4096)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    let prefix = KEY_METADATA_PREFIX.as_bytes();
    let Some(at) = bytes.windows(prefix.len()).position(|window| window == prefix) else { return Ok(None) };
    let digits = bytes.get(at + prefix.len()..at + prefix.len() + KEY_NAME_BYTES * 2);
    Ok(digits.and_then(|digits| KeyName::from_hex(std::str::from_utf8(digits).ok()?)))
}
