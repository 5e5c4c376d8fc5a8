//! The frame header: 96 bytes, little-endian (FORMAT.md section 3). Encoder and decoder stand side by side.
//!
//! A header that decodes is proven by its own crc; whether it belongs here (log, segment, order) is the scanner's question.

use crate::num::{GroupNo, LeaderId, NUMBER_MAX, SegmentNo};
use strandline_event::{LogIndex, Micros};
use strandline_keys::{NONCE_BYTES, TAG_BYTES};

/// First four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"SLWF";
/// The version of frames that the log of a node alone has.
pub const VERSION: u8 = 1;
/// The version of frames that only a replicated log has: entries of several frames, State frames that say more (FORMAT.md section 8).
pub const VERSION_REPLICATED: u8 = 2;
/// The version of frames that only an encrypted log of earlier programs has: sealed entries, State frames that name the segment's key
/// (FORMAT.md section 9). Read, not written.
pub const VERSION_SEALED: u8 = 3;
/// The version of all frames of an encrypted segment: each carries a tag (FORMAT.md section 10).
pub const VERSION_TAGGED: u8 = 4;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 96;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 16;
/// Groups start at multiples of this: the device block.
pub const BLOCK_BYTES: usize = 4096;
/// Largest payload of one frame.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The payload carries no checksum.
pub const FLAG_NO_CHECKSUM: u16 = 1;
/// Last frame of its group.
pub const FLAG_LAST: u16 = 2;
/// Written with `wal.fsync = false`.
pub const FLAG_NO_FSYNC: u16 = 4;
/// The entry goes on in the next frame (from version 2 on).
pub const FLAG_GOES_ON: u16 = 8;

/// The payload is sealed (from version 3 on).
pub const FLAG_SEALED: u16 = 16;

const PAYLOAD_CRC_AT: usize = 84;
const CRC_AT: usize = 92;
const SYNCED_AT: usize = 40;
const FLAGS_AT: usize = 6;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// State of the log; first frame of every segment.
    State = 1,
    /// Membership of the replication group.
    Membership = 2,
    /// A vote.
    Vote = 3,
    /// First entry of a leader's term.
    Blank = 4,
    /// An opaque entry.
    Entry = 5,
    /// Proves the group before it.
    IdleMark = 6,
    /// The log was closed in order.
    CleanStop = 7,
}

impl FrameKind {
    /// Whether the frame takes an index of the log.
    #[must_use]
    pub const fn takes_index(self) -> bool {
        matches!(self, Self::Membership | Self::Blank | Self::Entry)
    }

    /// Whether an encrypted log seals the payload: the others hold nothing that an event says.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Entry)
    }

    /// Whether the payload has a checksum even where `wal.checksum` is none: the log itself depends on it.
    #[must_use]
    pub const fn always_checked(self) -> bool {
        matches!(self, Self::State | Self::Vote)
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::State,
            2 => Self::Membership,
            3 => Self::Vote,
            4 => Self::Blank,
            5 => Self::Entry,
            6 => Self::IdleMark,
            7 => Self::CleanStop,
            _ => return None,
        })
    }
}

/// Everything that a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// One of `VERSION`, `VERSION_REPLICATED`, `VERSION_SEALED` and `VERSION_TAGGED`.
    pub version: u8,
    /// What the frame is.
    pub kind: FrameKind,
    /// `FLAG_*` bits.
    pub flags: u16,
    /// Version of the payload, chosen by who writes the entry.
    pub schema: u16,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// Random number of the log's birth.
    pub log_id: u64,
    /// Segment that the frame stands in.
    pub segment: SegmentNo,
    /// Group that the frame belongs to.
    pub group: GroupNo,
    /// Every group with a smaller number is on stable storage.
    pub synced_below: GroupNo,
    /// Leader that made the entry.
    pub leader: LeaderId,
    /// The entry's index; on a mark the index that the next entry will have.
    pub index: LogIndex,
    /// When the frame was pushed.
    pub time: Micros,
    /// Events in the entry.
    pub count: u32,
    /// crc32c of the payload, 0 without one.
    pub payload_crc: u32,
    /// Place in its group, from 0.
    pub ordinal: u32,
}

/// Why 96 bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFault {
    /// All bytes are zero, or the file ends: nothing was written here.
    #[error("nothing written")]
    Nothing,
    /// Not the magic number.
    #[error("no frame starts here")]
    Magic,
    /// Header checksum differs.
    #[error("header checksum differs")]
    Checksum,
    /// A version that this code does not read.
    #[error("frame version {0} is not known")]
    Version(u8),
    /// A kind, flag, length or number that no frame has.
    #[error("header has an impossible field")]
    Field,
}

impl FrameHeader {
    /// Whether `flag` is set.
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of the whole frame in its file, padding included.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_len as usize)
    }

    /// Writes the header, without its crc, which `finish` sets when the group closes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = self.version;
        out[5] = self.kind as u8;
        out[FLAGS_AT..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..10].copy_from_slice(&self.schema.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        let numbers = [
            self.log_id,
            self.segment.0,
            self.group.0,
            self.synced_below.0,
            self.leader.term,
            self.leader.node,
            self.index.0,
        ];
        for (i, number) in numbers.iter().enumerate() {
            out[16 + i * 8..24 + i * 8].copy_from_slice(&number.to_le_bytes());
        }
        out[72..80].copy_from_slice(&self.time.0.to_le_bytes());
        out[80..84].copy_from_slice(&self.count.to_le_bytes());
        out[84..88].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[88..92].copy_from_slice(&self.ordinal.to_le_bytes());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Says why the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(if bytes.iter().all(|b| *b == 0) { HeaderFault::Nothing } else { HeaderFault::Magic });
        };
        if bytes[0..4] != MAGIC {
            return Err(if bytes.iter().all(|b| *b == 0) { HeaderFault::Nothing } else { HeaderFault::Magic });
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(HeaderFault::Checksum);
        }
        if ![VERSION, VERSION_REPLICATED, VERSION_SEALED, VERSION_TAGGED].contains(&bytes[4]) {
            return Err(HeaderFault::Version(bytes[4]));
        }
        Self::fields(bytes).ok_or(HeaderFault::Field)
    }

    fn fields(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let flags = u16::from_le_bytes([bytes[FLAGS_AT], bytes[FLAGS_AT + 1]]);
        let payload_len = u32_at(bytes, 12);
        let known = FLAG_NO_CHECKSUM | FLAG_LAST | FLAG_NO_FSYNC;
        let known = match bytes[4] {
            VERSION => known,
            VERSION_REPLICATED => known | FLAG_GOES_ON,
            _ => known | FLAG_GOES_ON | FLAG_SEALED,
        };
        if flags & !known != 0 || payload_len as usize > PAYLOAD_BYTES_MAX {
            return None;
        }
        let kind = FrameKind::from_byte(bytes[5])?;
        if bytes[4] == VERSION_TAGGED && !is_tagged_form(kind, flags, payload_len) {
            return None;
        }
        let number = |at| Some(u64_at(bytes, at)).filter(|number| *number <= NUMBER_MAX);
        Some(Self {
            version: bytes[4],
            kind,
            flags,
            schema: u16::from_le_bytes([bytes[8], bytes[9]]),
            payload_len,
            log_id: u64_at(bytes, 16),
            segment: SegmentNo(number(24)?),
            group: GroupNo(number(32)?),
            synced_below: GroupNo(number(SYNCED_AT)?),
            leader: LeaderId { term: number(48)?, node: u64_at(bytes, 56) },
            index: LogIndex(number(64)?),
            time: Micros(u64_at(bytes, 72).cast_signed()),
            count: u32_at(bytes, 80),
            payload_crc: u32_at(bytes, 84),
            ordinal: u32_at(bytes, 88),
        })
    }

    /// Whether the frame carries a tag, whatever its kind.
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.version == VERSION_TAGGED
    }

    /// What a payload that is not sealed says: without the tag behind it.
    #[must_use]
    pub fn body<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        let tag = if self.is_tagged() && !self.has(FLAG_SEALED) { TAG_BYTES } else { 0 };
        payload.get(..payload.len().saturating_sub(tag)).unwrap_or_default()
    }

    /// What the seal of its payload is bound to: all of it but what is set when the group closes, and the checksums.
    #[must_use]
    pub(crate) fn sealed_with(&self) -> [u8; HEADER_BYTES] {
        Self { flags: self.flags & !FLAG_LAST, synced_below: GroupNo(0), payload_crc: 0, ..*self }.encode()
    }

    /// The nonce of its payload's seal: the frame's place among the frames of its segment, which has a key of its own.
    #[must_use]
    pub(crate) fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&self.group.0.to_le_bytes());
        nonce[8..].copy_from_slice(&self.ordinal.to_le_bytes());
        nonce
    }

    /// Whether the header alone shows that the payload is whole: it has a checksum, or there is none.
    #[must_use]
    pub const fn proves_itself(&self) -> bool {
        !self.has(FLAG_NO_CHECKSUM) || self.payload_len == 0
    }

    /// Whether `payload` is what the header says. Without a checksum only the length can be judged.
    #[must_use]
    pub fn payload_is_good(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_len as usize
            && (self.has(FLAG_NO_CHECKSUM) || crc32c::crc32c(payload) == self.payload_crc)
    }
}

/// Whether a frame of version 4 can be so: room for its tag, entries sealed and nothing else, and a checksum but on entries.
const fn is_tagged_form(kind: FrameKind, flags: u16, payload_len: u32) -> bool {
    let is_sealed = flags & FLAG_SEALED != 0;
    let is_checked = flags & FLAG_NO_CHECKSUM == 0;
    payload_len as usize >= TAG_BYTES && is_sealed == kind.is_sealed() && (is_checked || is_sealed)
}

/// Sets the checksum of a payload that was sealed behind its header.
pub(crate) fn set_payload_crc(header: &mut [u8], crc: u32) {
    header[PAYLOAD_CRC_AT..PAYLOAD_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Sets what only the closing group knows, and the crc over it all.
pub(crate) fn finish(header: &mut [u8], synced_below: GroupNo, last: bool) {
    header[SYNCED_AT..SYNCED_AT + 8].copy_from_slice(&synced_below.0.to_le_bytes());
    if last {
        // the bits of FLAG_LAST are in the low byte
        header[FLAGS_AT] |= FLAG_LAST.to_le_bytes()[0];
    }
    let crc = crc32c::crc32c(&header[..CRC_AT]);
    header[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Takes back that a frame is the last of its group. The crc is set anew when the group closes again.
pub(crate) fn unfinish(header: &mut [u8]) {
    header[FLAGS_AT] &= !FLAG_LAST.to_le_bytes()[0];
}

/// Bytes of a frame with this payload, padding included.
#[must_use]
pub const fn frame_bytes(payload_len: usize) -> usize {
    (HEADER_BYTES + payload_len).next_multiple_of(FRAME_ALIGN)
}

/// The next multiple of the block, at or after `offset`.
#[must_use]
pub const fn block_up(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK_BYTES as u64)
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = FrameHeader> {
        let number = || 0..=NUMBER_MAX;
        let numbers = (any::<u64>(), number(), number(), number(), number(), any::<u64>(), number());
        let small = (1u8..8, 0u16..64, any::<u16>(), 0u32..=(PAYLOAD_BYTES_MAX as u32));
        (small, numbers, any::<i64>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |((kind, flags, schema, payload_len), n, time, count, payload_crc, ordinal)| {
                let header = FrameHeader {
                    version: match flags & (FLAG_GOES_ON | FLAG_SEALED) {
                        0 => VERSION,
                        FLAG_GOES_ON => VERSION_REPLICATED,
                        _ => VERSION_SEALED,
                    },
                    kind: FrameKind::from_byte(kind).unwrap(),
                    flags: flags & 31,
                    schema,
                    payload_len,
                    log_id: n.0,
                    segment: SegmentNo(n.1),
                    group: GroupNo(n.2),
                    synced_below: GroupNo(n.3),
                    leader: LeaderId { term: n.4, node: n.5 },
                    index: LogIndex(n.6),
                    time: Micros(time),
                    count,
                    payload_crc,
                    ordinal,
                };
                if flags & 32 == 0 { header } else { tagged(header) }
            },
        )
    }

    /// The same as a frame of version 4 can say it.
    fn tagged(header: FrameHeader) -> FrameHeader {
        let flags = match header.kind.is_sealed() {
            true => header.flags | FLAG_SEALED,
            false => header.flags & !FLAG_SEALED & !FLAG_NO_CHECKSUM,
        };
        FrameHeader { version: VERSION_TAGGED, flags, payload_len: header.payload_len.max(16), ..header }
    }

    proptest! {
        #[test]
        fn round_trip(mut wanted in header(), synced in 0..=NUMBER_MAX, last in any::<bool>()) {
            let mut bytes = wanted.encode();
            finish(&mut bytes, GroupNo(synced), last);
            wanted.synced_below = GroupNo(synced);
            if last { wanted.flags |= FLAG_LAST; }
            prop_assert_eq!(FrameHeader::decode(&bytes), Ok(wanted));
        }

        #[test]
        fn every_flipped_bit_is_seen(wanted in header(), bit in 0usize..HEADER_BYTES * 8) {
            let mut bytes = wanted.encode();
            finish(&mut bytes, GroupNo(1), false);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FrameHeader::decode(&bytes).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FrameHeader::decode(&bytes);
        }
    }

    #[test]
    fn nothing_is_told_from_garbage() {
        assert_eq!(FrameHeader::decode(&[0; 96]), Err(HeaderFault::Nothing));
        assert_eq!(FrameHeader::decode(&[]), Err(HeaderFault::Nothing));
        assert_eq!(FrameHeader::decode(&[1; 10]), Err(HeaderFault::Magic));
    }

    #[test]
    fn older_versions_know_no_flag_of_later_ones() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[5] = FrameKind::Entry as u8;
        let known = [(FLAG_GOES_ON, VERSION_REPLICATED), (FLAG_SEALED, VERSION_SEALED)];
        for (flag, first) in known {
            bytes[FLAGS_AT] = flag.to_le_bytes()[0];
            for version in [VERSION, VERSION_REPLICATED, VERSION_SEALED] {
                bytes[4] = version;
                finish(&mut bytes, GroupNo(0), false);
                assert_eq!(FrameHeader::decode(&bytes).is_ok(), version >= first);
            }
        }
    }

    #[test]
    fn a_frame_of_version_4_has_a_tag_and_only_entries_are_sealed() {
        let all = [
            (FrameKind::Entry, FLAG_SEALED, 16, true),
            (FrameKind::Entry, FLAG_SEALED | FLAG_NO_CHECKSUM, 16, true),
            (FrameKind::Entry, FLAG_SEALED, 15, false),
            (FrameKind::Entry, 0, 16, false),
            (FrameKind::Blank, 0, 16, true),
            (FrameKind::Blank, 0, 0, false),
            (FrameKind::Blank, FLAG_SEALED, 16, false),
            (FrameKind::IdleMark, FLAG_NO_CHECKSUM, 16, false),
        ];
        for (kind, flags, payload_len, is_good) in all {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0..4].copy_from_slice(&MAGIC);
            (bytes[4], bytes[5], bytes[12]) = (VERSION_TAGGED, kind as u8, payload_len);
            bytes[FLAGS_AT] = flags.to_le_bytes()[0];
            finish(&mut bytes, GroupNo(0), false);
            assert_eq!(FrameHeader::decode(&bytes).is_ok(), is_good, "{kind:?}, flags {flags}, {payload_len} bytes");
        }
    }

    #[test]
    fn a_number_that_nobody_could_count_on_from_is_refused() {
        for at in [24, 32, SYNCED_AT, 48, 64] {
            for (number, is_good) in [(NUMBER_MAX, true), (NUMBER_MAX + 1, false), (u64::MAX, false)] {
                let mut bytes = [0; HEADER_BYTES];
                bytes[0..4].copy_from_slice(&MAGIC);
                (bytes[4], bytes[5]) = (VERSION, FrameKind::Entry as u8);
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                let crc = crc32c::crc32c(&bytes[..CRC_AT]);
                bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
                assert_eq!(FrameHeader::decode(&bytes).is_ok(), is_good, "{number} at {at}");
            }
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = 9;
        finish(&mut bytes, GroupNo(0), false);
        assert_eq!(FrameHeader::decode(&bytes), Err(HeaderFault::Version(9)));
    }
}
