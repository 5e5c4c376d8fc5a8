//! The 32 bytes before every body, and the kinds of frames. See PROTOCOL.md, sections 1 and 2.
//!
//! Nodes speak in the same frames with a [`Magic`] and kinds of their own: what says no magic here is of the native protocol.

use crate::wire::error::WireError;

/// First bytes of every frame of a protocol: they say whose kinds the frames have. All else of a frame is the same in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Magic(pub [u8; 4]);

impl Magic {
    /// The native protocol.
    pub const NATIVE: Self = Self(*b"SLNP");
}

/// The one version of frames there is.
pub const VERSION: u8 = 1;
/// Length of a header.
pub const HEADER_BYTES: usize = 32;
/// Where the kind stands in a header.
pub const KIND_AT: usize = 5;
/// Frames and the parts of a body begin at multiples of it.
pub const ALIGN: usize = 16;
/// Bytes of the largest body of a client's frame that carries no events.
pub const NO_EVENTS_BODY_MAX: usize = 64 << 10;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it stands in the header.
            #[must_use]
            pub const fn to_u8(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// `None`: not of this version.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// First frame of a client.
    Hello = 1,
    /// Its answer.
    Welcome = 2,
    /// A request was not done, or the connection ends.
    Error = 3,
    /// Whether the server lives.
    Ping = 4,
    /// Its answer.
    Pong = 5,
    /// What another node does is not sent on.
    Stay = 6,
    /// Appends to streams.
    Append = 16,
    /// Its answer.
    Appended = 17,
    /// Batches of many streams.
    AppendBulk = 18,
    /// Its answer.
    BulkAppended = 19,
    /// First and last seq of a stream.
    Head = 20,
    /// Its answer.
    HeadIs = 21,
    /// A part of a stream.
    ReadStream = 22,
    /// Its answer.
    StreamPage = 23,
    /// A page in global order.
    ReadAll = 24,
    /// Its answer.
    GlobalPage = 25,
    /// Everything.
    Scan = 26,
    /// A part of the answer.
    ScanPart = 27,
    /// Room for more parts.
    ScanMore = 28,
    /// No more parts.
    ScanCancel = 29,
    /// What is there, and what comes.
    Subscribe = 30,
    /// A part of the answer.
    SubscribePart = 31,
    /// Single events, each an append of its own, as rows of one batch.
    AppendRows = 32,
}

impl Kind {
    /// Whether a client's frame of this kind carries events: it may have a body as large as the server takes, others are small.
    #[must_use]
    pub const fn carries_events(self) -> bool {
        matches!(self, Self::Append | Self::AppendBulk | Self::AppendRows)
    }
}

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// A [`Kind`], one that this version does not know, or one of another protocol.
    pub kind: u8,
    /// Which request; 0: the connection.
    pub request: u64,
    /// Length of the body.
    pub body_bytes: u32,
    /// Its checksum.
    pub body_crc: u32,
}

impl Header {
    /// The body and the zeros behind it.
    #[must_use]
    pub const fn padded_bytes(&self) -> usize {
        (self.body_bytes as usize).next_multiple_of(ALIGN)
    }

    /// As it stands in a frame.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        self.encode_with(Magic::NATIVE)
    }

    /// As it stands in a frame of a protocol.
    #[must_use]
    pub fn encode_with(&self, magic: Magic) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&magic.0);
        out[4] = VERSION;
        out[KIND_AT] = self.kind;
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
    /// [`WireError`]: it is no header of this version.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        Self::decode_with(Magic::NATIVE, bytes)
    }

    /// Reads one of a protocol.
    ///
    /// # Errors
    /// [`WireError`]: it is no header of this version, or of another protocol.
    pub fn decode_with(magic: Magic, bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        if bytes[0..4] != magic.0 {
            return Err(WireError::Magic);
        }
        if bytes[4] != VERSION {
            return Err(WireError::Version(bytes[4]));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u32_at(28) != crc32c::crc32c(&bytes[..28]) {
            return Err(WireError::HeaderCrc);
        }
        if bytes[6..8] != [0; 2] || bytes[24..28] != [0; 4] {
            return Err(WireError::NotZero);
        }
        let mut request = [0; 8];
        request.copy_from_slice(&bytes[8..16]);
        Ok(Self {
            kind: bytes[KIND_AT],
            request: u64::from_le_bytes(request),
            body_bytes: u32_at(16),
            body_crc: u32_at(20),
        })
    }
}
