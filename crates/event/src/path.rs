//! Names in paths: how a stream type or a tenant becomes a folder name.
//!
//! Percent-encoding as Hive readers decode it: everything but ASCII letters, digits, `_`, `-` and `.` becomes `%XX`
//! (upper case); a name of dots only has its first dot encoded, so `.` and `..` never reach a path.

use std::fmt::Write as _;

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn only_dots(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'.')
}

/// The name as one path segment.
#[must_use]
pub fn encode_path_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let dots = only_dots(text);
    for (i, byte) in text.bytes().enumerate() {
        if is_plain(byte) && !(dots && i == 0) {
            out.push(byte as char);
        } else {
            // writing to a String cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The name that a path segment stands for; `None` if it is no encoding of UTF-8.
#[must_use]
pub fn decode_path_text(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Length in bytes of the encoded name.
#[must_use]
pub fn path_text_len(text: &str) -> usize {
    let encoded = text.bytes().filter(|b| !is_plain(*b)).count() + usize::from(only_dots(text));
    text.len() + 2 * encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_never_climb() {
        for name in ["Aircraft", ".", "..", "...", "a/b", "a\\b", "%2f", "ü", "\0", "a b=c", "-x.y_z"] {
            let segment = encode_path_text(name);
            assert_eq!(decode_path_text(&segment).as_deref(), Some(name));
            assert_eq!(segment.len(), path_text_len(name), "{name}");
            assert!(segment != "." && segment != ".." && !segment.contains(['/', '\\', '\0', ' ']));
        }
        assert_eq!(decode_path_text("%"), None);
        assert_eq!(decode_path_text("%+1"), None);
        assert_eq!(decode_path_text("%ff"), None);
    }
}
