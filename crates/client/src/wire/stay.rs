//! How far the requests of a connection go. See PROTOCOL.md, section 3.

use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::Kind;
use strandline_event::SharedBytes;

/// What is another node's stays at the node that is asked, from this frame on. By default nothing does: it is sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stay {
    /// What another node leads is refused with its address.
    pub led: bool,
    /// Reads are answered by the asked node, whatever its roles.
    pub reads: bool,
}

const LED: u8 = 1;
const READS: u8 = 2;

impl Stay {
    /// Whether there is anything to say.
    #[must_use]
    pub const fn is_said(self) -> bool {
        self.led || self.reads
    }

    /// As a frame.
    #[must_use]
    pub fn encode(self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Stay, request);
        let led = if self.led { LED } else { 0 };
        out.u8(led | if self.reads { READS } else { 0 });
        out.zeros(3);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let facts = body.u8()?;
        if facts & !(LED | READS) != 0 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(3)?;
        body.end()?;
        Ok(Self { led: facts & LED != 0, reads: facts & READS != 0 })
    }
}
