//! The first frame of each side. See PROTOCOL.md, section 3.

use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::{Kind, VERSION};
use std::fmt;
use strandline_event::SharedBytes;

/// What a client says first.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Smallest version of frames that it speaks.
    pub version_min: u8,
    /// Largest version of frames that it speaks.
    pub version_max: u8,
    /// Bytes of the largest body that it takes.
    pub body_max: u32,
    /// The store; empty: the only one.
    pub store: String,
    /// Bearer token; empty: none.
    pub token: String,
    /// Name and version of the program.
    pub program: String,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the token
        let shown = (self.version_min, self.version_max, self.body_max, &self.store, &self.program);
        f.debug_tuple("Hello").field(&shown).finish()
    }
}

impl Hello {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Hello, request);
        out.u8(self.version_min);
        out.u8(self.version_max);
        out.zeros(2);
        out.u32(self.body_max);
        [&self.store, &self.token, &self.program].into_iter().for_each(|text| out.text(text));
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let (version_min, version_max) = (body.u8()?, body.u8()?);
        body.zeros(2)?;
        let body_max = body.u32()?;
        let mut text = || body.text().map(str::to_owned);
        let (store, token, program) = (text()?, text()?, text()?);
        body.end()?;
        Ok(Self { version_min, version_max, body_max, store, token, program })
    }

    /// The version that both sides speak.
    #[must_use]
    pub fn agreed_version(&self) -> Option<u8> {
        (self.version_min..=self.version_max).contains(&VERSION).then_some(VERSION)
    }
}

/// What a server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Version of all further frames.
    pub version: u8,
    /// The store knows an append again by its command ids.
    pub checks_commands: bool,
    /// Bytes of the largest body that it takes.
    pub body_max: u32,
    /// Requests that it works on at a time.
    pub requests_max: u32,
    /// Name of the store.
    pub store: String,
    /// Name and version of the program.
    pub program: String,
}

const CHECKS_COMMANDS: u8 = 1;

impl Welcome {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Welcome, request);
        out.u8(self.version);
        out.u8(if self.checks_commands { CHECKS_COMMANDS } else { 0 });
        out.zeros(2);
        out.u32(self.body_max);
        out.u32(self.requests_max);
        out.text(&self.store);
        out.text(&self.program);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let version = body.u8()?;
        let facts = body.u8()?;
        if facts & !CHECKS_COMMANDS != 0 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(2)?;
        let (body_max, requests_max) = (body.u32()?, body.u32()?);
        let (store, program) = (body.text()?.to_owned(), body.text()?.to_owned());
        body.end()?;
        Ok(Self { version, checks_commands: facts == CHECKS_COMMANDS, body_max, requests_max, store, program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_printed_without_its_token() {
        let (store, token, program) = ("calls".to_owned(), "slt_planted".to_owned(), "p".to_owned());
        let hello = Hello { version_min: 1, version_max: 1, body_max: 9, store, token, program };
        let printed = format!("{hello:?} {hello:#?}");
        assert!(printed.contains("calls") && !printed.contains("planted"), "{printed}");
    }
}
