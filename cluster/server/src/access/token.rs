//! Tokens: what a client shows, and what the file keeps of it.
//!
//! A token is 256 random bits. Nobody guesses one, so one round of SHA-256 keeps it: slow hashes are for what people choose.

use crate::access::file::TokenLine;
use ring::digest::{SHA256, digest as hash};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt::Write as _;

/// What every token begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "slt_";
/// Random bytes of a token.
const SECRET_BYTES: usize = 32;

/// A token that was just made, and the line of the token file that makes it valid.
pub struct NewToken {
    /// To be given to its owner. It stands nowhere else.
    pub token: String,
    /// For the token file.
    pub line: String,
}

/// SHA-256 of a token.
#[must_use]
pub fn digest(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&SHA256, token.as_bytes()).as_ref());
    out
}

/// Makes a token for what a line says; the hash in it is replaced.
///
/// # Errors
/// The line is not valid; the system has no random bits.
pub fn make(mut line: TokenLine) -> Result<NewToken, String> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| "the system gives no random bits".to_owned())?;
    let token = format!("{PREFIX}{}", hex(&secret));
    line.sha256 = hex(&digest(&token));
    line.check()?;
    let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
    Ok(NewToken { token, line })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // writing to a String cannot fail
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// 32 bytes from 64 hex digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}
