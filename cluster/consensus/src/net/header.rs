//! The 32 bytes before every body, the kinds of frames, and why bytes are not one. `PROTOCOL.md`, sections 1 and 2.

use crate::fields::FieldError;

/// First bytes of every frame.
pub(super) const MAGIC: [u8; 4] = *b"SLCN";
/// The one version of frames there is.
pub(super) const VERSION: u8 = 1;
/// Length of a header.
pub const HEADER_BYTES: usize = 32;
/// Frames, and what is used in place in a body, begin at multiples of it.
pub const ALIGN: usize = 16;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// First frame of who connects.
    Hello,
    /// Its answer.
    Welcome,
    /// A request was not done; with request 0: the connection ends.
    Refused,
    /// A request of a group to one of its members.
    Call,
    /// A request about the cluster itself.
    Ask,
    /// What was asked for.
    Answer,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Hello, Self::Welcome, Self::Refused, Self::Call, Self::Ask, Self::Answer];

    /// As it stands in the header.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Refused => 3,
            Self::Call => 16,
            Self::Ask => 17,
            Self::Answer => 18,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Hello),
            2 => Some(Self::Welcome),
            3 => Some(Self::Refused),
            16 => Some(Self::Call),
            17 => Some(Self::Ask),
            18 => Some(Self::Answer),
            _ => None,
        }
    }
}

/// The bytes do not follow `PROTOCOL.md`: the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetError {
    /// Not the protocol at all.
    #[error("the bytes are no frame between nodes of Strandline (is this the HTTP port, or another program?)")]
    Magic,
    /// Another version.
    #[error("frames of version {0} are not spoken here; version 1 is: update the older node")]
    Version(u8),
    /// The header was damaged on its way.
    #[error("the checksum of a frame's header is wrong")]
    HeaderCrc,
    /// The body was damaged on its way.
    #[error("the checksum of a frame's body is wrong")]
    BodyCrc,
    /// A frame over the limit.
    #[error("a body of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A field of the header or of the body.
    #[error("a frame does not hold what its kind says: {0}")]
    Field(#[from] FieldError),
    /// A frame that nobody may send now.
    #[error("a frame of kind {0} is not expected here")]
    Unexpected(u8),
}

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// A [`Kind`], or one that this version does not know.
    pub kind: u8,
    /// Which request; 0: the connection.
    pub request: u64,
    /// Length of the body.
    pub body_bytes: u32,
    /// Its checksum.
    pub body_crc: u32,
}

impl Header {
    /// As it stands in a frame.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = self.kind;
        out[8..16].copy_from_slice(&self.request.to_le_bytes());
        out[16..20].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[20..24].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads one. The version is looked at first: another one may mean anything by what follows.
    ///
    /// # Errors
    /// [`NetError`]: it is no header of this version.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, NetError> {
        if bytes[0..4] != MAGIC {
            return Err(NetError::Magic);
        }
        if bytes[4] != VERSION {
            return Err(NetError::Version(bytes[4]));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u32_at(28) != crc32c::crc32c(&bytes[..28]) {
            return Err(NetError::HeaderCrc);
        }
        if bytes[6..8] != [0; 2] || bytes[24..28] != [0; 4] {
            return Err(FieldError::NotZero.into());
        }
        let mut request = [0; 8];
        request.copy_from_slice(&bytes[8..16]);
        let request = u64::from_le_bytes(request);
        Ok(Self { kind: bytes[5], request, body_bytes: u32_at(16), body_crc: u32_at(20) })
    }
}
