//! Bytes as hex digits, where people and text files keep them.

use std::fmt::Write;

/// Lower-case hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // a String takes everything
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The bytes of hex digits; `None`: these are none.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        }
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(from_hex(&to_hex(&[0, 0xab, 0xff])), Some(vec![0, 0xab, 0xff]));
        for bad in ["a", "+1", "g0", "0"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
