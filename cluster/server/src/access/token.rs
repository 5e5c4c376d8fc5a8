//! Tokens: what a client shows, and what the file keeps of it.
//!
//! A token is 256 random bits. Nobody guesses one, so one round of SHA-256 keeps it: slow hashes are for what people choose.

use crate::access::file::TokenLine;
use ring::digest::{SHA256, digest as hash};
use ring::rand::{SecureRandom, SystemRandom};
use strandline_event::hex::to_hex;

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
    let token = format!("{PREFIX}{}", to_hex(&secret));
    line.sha256 = to_hex(&digest(&token));
    line.check()?;
    let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
    Ok(NewToken { token, line })
}
