//! What somebody can write who knows the format: makes changed bytes a segment again. For tests and fuzzers, so that what stands behind
//! checksums and seals is reached.

use crate::frame::{
    FLAG_LAST, FLAG_SEALED, FRAME_ALIGN, FrameHeader, FrameKind, HEADER_BYTES, MAGIC, finish, set_payload_crc,
};
use crate::num::GroupNo;
use crate::state::State;
use crate::tags;
use strandline_keys::{DataKey, Purpose, StoreKeys, TAG_BYTES};

const SYNCED_AT: usize = 40;
const LENGTH_AT: usize = 12;

/// Gives every place that begins as a frame right checksums. With keys, frames of an encrypted segment get right tags first, and what
/// stands in sealed ones is taken for their plain payload and sealed: as if who has the keys had written it.
pub fn repair(file: &mut [u8], keys: Option<&StoreKeys>) {
    let mut key = None;
    let mut at = 0;
    while at + HEADER_BYTES <= file.len() {
        let rest = &mut file[at..];
        if rest[..4] != MAGIC {
            at += FRAME_ALIGN;
            continue;
        }
        let length = rest[LENGTH_AT..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        let end = HEADER_BYTES.saturating_add(length);
        check(rest, end);
        let sealed = keys.and_then(|keys| {
            let frame = rest.get_mut(..end)?;
            seal(frame, keys, &mut key)?;
            check(rest, end);
            Some(end.next_multiple_of(FRAME_ALIGN))
        });
        at += sealed.unwrap_or(HEADER_BYTES);
    }
}

/// Right checksums for the frame that begins here; for its header alone, where the payload does not fit in.
fn check(rest: &mut [u8], end: usize) {
    if let Some(crc) = rest.get(HEADER_BYTES..end).map(crc32c::crc32c) {
        set_payload_crc(rest, crc);
    }
    let synced = rest[SYNCED_AT..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    finish(&mut rest[..HEADER_BYTES], GroupNo(synced), false);
}

/// `None`: it is no frame that a key says something of, or its segment names none.
fn seal(frame: &mut [u8], keys: &StoreKeys, key: &mut Option<DataKey>) -> Option<()> {
    let header = FrameHeader::decode(frame).ok()?;
    if header.kind == FrameKind::State && key.is_none() {
        let state = State::decode(header.body(&frame[HEADER_BYTES..]), header.version)?;
        *key = keys.find(&state.key?, Purpose::Segment(header.log_id, header.segment.0)).ok();
    }
    if !header.is_tagged() && !header.has(FLAG_SEALED) {
        return None;
    }
    let until = frame.len().checked_sub(TAG_BYTES).filter(|until| *until >= HEADER_BYTES)?;
    let (key, (frame, tag)) = (key.as_ref()?, frame.split_at_mut(until));
    // as it was when it was gathered
    frame[..HEADER_BYTES].copy_from_slice(&header.sealed_with());
    tag.copy_from_slice(&tags::seal(key, &header, frame));
    finish(&mut frame[..HEADER_BYTES], header.synced_below, header.has(FLAG_LAST));
    Some(())
}
