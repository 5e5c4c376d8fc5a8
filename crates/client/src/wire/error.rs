//! Why bytes are not a frame, or a body not what its kind says.

use strandline_event::{access::BatchError, stamps::StampsError};

/// The bytes do not follow PROTOCOL.md: the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// Not the protocol at all.
    #[error("the bytes are no frame of Strandline's native protocol (is this the HTTP port, or another program?)")]
    Magic,
    /// Another version.
    #[error("frames of version {0} are not spoken here; version 1 is")]
    Version(u8),
    /// The header was damaged on its way.
    #[error("the checksum of a frame's header is wrong")]
    HeaderCrc,
    /// The body was damaged on its way.
    #[error("the checksum of a frame's body is wrong")]
    BodyCrc,
    /// Something stands where zeros must be.
    #[error("bytes that must be zero are not")]
    NotZero,
    /// A frame over the limit.
    #[error("a body of {bytes} bytes is over the limit of {limit}: send less at once")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The body ends too early, goes on too long, or a number in it is out of its range.
    #[error("a body does not hold what its kind says: {0}")]
    Body(&'static str),
    /// An archive of events.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Stamps of events.
    #[error(transparent)]
    Stamps(#[from] StampsError),
    /// A frame that nobody may send now.
    #[error("a frame of kind {0} is not expected here")]
    Unexpected(u8),
}
