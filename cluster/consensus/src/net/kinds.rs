//! What frames between nodes have of their own: the magic, the kinds, and why bytes are none. `PROTOCOL.md`, sections 1 and 2; all else of a
//! frame is that of the native protocol (`strandline_client::wire`).

use crate::fields::FieldError;
use strandline_client::wire::error::WireError;
use strandline_client::wire::header::Magic;

/// First bytes of every frame.
pub const MAGIC: Magic = Magic(*b"SLCN");

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
    /// It was damaged on its way, or is over the limit.
    #[error(transparent)]
    Frame(WireError),
    /// A field of the body.
    #[error("a frame does not hold what its kind says: {0}")]
    Field(#[from] FieldError),
    /// A frame that nobody may send now.
    #[error("a frame of kind {0} is not expected here")]
    Unexpected(u8),
}

impl From<WireError> for NetError {
    /// Where nodes have a sentence of their own, it is that.
    fn from(error: WireError) -> Self {
        match error {
            WireError::Magic => Self::Magic,
            WireError::Version(version) => Self::Version(version),
            other => Self::Frame(other),
        }
    }
}
