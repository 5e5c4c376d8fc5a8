//! A request that was not done. See PROTOCOL.md, section 8.

use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::Kind;
use std::fmt;
use strandline_event::{ErrorKind, Seq};

/// The one code that HTTP does not have: the owner of the log went away with the append, which may be stored.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// Why a server says no.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// The code, as of HTTP.
    pub code: String,
    /// One sentence for people.
    pub text: String,
    /// Which archive of the frame.
    pub part: Option<u32>,
    /// Which row of it.
    pub row: Option<u32>,
    /// Where the stream stands that was expected elsewhere.
    pub last_seq: Option<Seq>,
    /// Of `not_leader`: `host:port` of the leader's native protocol, where it is known.
    pub leader: Option<String>,
}

const ROW: u8 = 1;
const LAST_SEQ: u8 = 2;
const PART: u8 = 4;
const LEADER: u8 = 8;

impl Refused {
    /// A refusal of a kind with its sentence.
    #[must_use]
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { code: kind.code().to_owned(), text: text.into(), ..Self::default() }
    }

    /// Its kind; `None`: a code that this version does not know.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        ErrorKind::from_code(&self.code)
    }

    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Error, request);
        self.write(&mut out);
        out.finish()
    }

    /// As a body or a part of one.
    pub fn write(&self, out: &mut Writer) {
        let bit = |given: bool, bit: u8| if given { bit } else { 0 };
        let place = bit(self.row.is_some(), ROW) | bit(self.part.is_some(), PART);
        out.u8(place | bit(self.last_seq.is_some(), LAST_SEQ) | bit(self.leader.is_some(), LEADER));
        out.zeros(3);
        out.u32(self.part.unwrap_or(0));
        out.u32(self.row.unwrap_or(0));
        out.zeros(4);
        out.u64(self.last_seq.unwrap_or_default().0);
        out.text(&self.code);
        out.text(&self.text);
        if let Some(leader) = &self.leader {
            out.text(leader);
        }
    }

    /// From a body or a part of one.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let facts = body.u8()?;
        if facts & !(ROW | LAST_SEQ | PART | LEADER) != 0 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(3)?;
        let (part, row) = (body.u32()?, body.u32()?);
        body.zeros(4)?;
        let last_seq = Seq(body.u64()?);
        let has = |bit: u8| facts & bit != 0;
        if !has(PART) && part != 0 || !has(ROW) && row != 0 || !has(LAST_SEQ) && last_seq != Seq::ZERO {
            return Err(WireError::NotZero);
        }
        Ok(Self {
            part: has(PART).then_some(part),
            row: has(ROW).then_some(row),
            last_seq: has(LAST_SEQ).then_some(last_seq),
            code: body.text()?.to_owned(),
            text: body.text()?.to_owned(),
            leader: if has(LEADER) { Some(body.text()?.to_owned()) } else { None },
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}
