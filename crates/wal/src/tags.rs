//! What a segment's key says of a frame (FORMAT.md, sections 9 and 10): entries are sealed, all other frames of version 4 stay readable
//! and carry a tag over their header and payload.
//!
//! The nonce is the frame's place: its group, and its place in it. Invariant: a segment has a key of its own, group numbers rise in it and
//! are given once, and a frame gets its tag once, where it is gathered; what a failed write repeats are the same bytes.

use crate::frame::{FLAG_SEALED, FrameHeader, HEADER_BYTES};
use crate::num::SegmentNo;
use crate::state::State;
use strandline_event::SharedBytes;
use strandline_event::bytes::AlignedBytes;
use strandline_keys::{DataKey, Purpose, StoreKeys, TAG_BYTES};

/// What is said of a frame whose tag does not fit.
pub(crate) const NOT_SEALED_HERE: &str =
    "the frame is not what was sealed here: it was changed, or comes from another place";
/// What is said of a frame that carries no tag where all must, or one where none does.
pub(crate) const OTHER_KIND: &str = "a frame of another version than the segment begins with: somebody put it there";

/// How an encrypted segment is sealed.
pub(crate) struct Seal {
    pub(crate) key: DataKey,
    /// Every frame carries a tag (version 4); `false`: only entries are sealed (version 3).
    pub(crate) tags: bool,
}

/// Seals a frame of version 4 that was just gathered (header without checksums, payload): gives the tag, which belongs behind it.
pub(crate) fn seal(key: &DataKey, header: &FrameHeader, frame: &mut [u8]) -> [u8; TAG_BYTES] {
    match header.has(FLAG_SEALED) {
        true => key.seal(header.nonce(), &header.sealed_with(), frame.get_mut(HEADER_BYTES..).unwrap_or_default()),
        false => key.seal(header.nonce(), frame, &mut []),
    }
}

/// The payload of a sealed frame; `None`: it is not what was sealed in this place.
pub(crate) fn opened(key: &DataKey, header: &FrameHeader, payload: &[u8]) -> Option<SharedBytes> {
    let (sealed, tag) = payload.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = AlignedBytes::with_capacity(sealed.len());
    plain.extend_from_slice(sealed);
    key.open(header.nonce(), &header.sealed_with(), &mut plain, *tag).ok()?;
    Some(SharedBytes::from_aligned(plain))
}

/// Whether a frame of version 4 that is not sealed is what was written in this place.
pub(crate) fn is_proven(key: &DataKey, header: &FrameHeader, payload: &[u8]) -> bool {
    let Some((body, tag)) = payload.split_last_chunk::<TAG_BYTES>() else { return false };
    let said = [&header.sealed_with()[..], body].concat();
    key.open(header.nonce(), &said, &mut [], *tag).is_ok()
}

/// Proves the frames of one segment, one after the other, from its first on.
pub(crate) struct Prover<'a> {
    keys: Option<&'a StoreKeys>,
    /// Whether the segment's frames have tags, once its first was read, and the key, if it is to be had. Without it nothing is proven
    /// here; that it is not to be had is reported where keys are taken.
    begun: Option<(bool, Option<DataKey>)>,
}

impl<'a> Prover<'a> {
    pub(crate) fn new(keys: Option<&'a StoreKeys>) -> Self {
        Self { keys, begun: None }
    }

    /// Takes what the segment begins with; nothing after the first time.
    pub(crate) fn begin(&mut self, header: &FrameHeader, state: &State, segment: SegmentNo) {
        if self.begun.is_some() {
            return;
        }
        let name = state.key.as_ref().filter(|_| header.is_tagged());
        let purpose = Purpose::Segment(header.log_id, segment.0);
        let key = self.keys.zip(name).and_then(|(keys, name)| keys.find(name, purpose).ok());
        self.begun = Some((header.is_tagged(), key));
    }

    /// Why a frame whose checksums are right is none of the segment's. Entries are proven when they are read: a start does not open
    /// them all.
    pub(crate) fn refuses(&self, header: &FrameHeader, payload: &[u8]) -> Option<&'static str> {
        let (tags, key) = self.begun.as_ref()?;
        if header.is_tagged() != *tags {
            return Some(OTHER_KIND);
        }
        let key = key.as_ref().filter(|_| *tags && !header.has(FLAG_SEALED))?;
        (!is_proven(key, header, payload)).then_some(NOT_SEALED_HERE)
    }
}
