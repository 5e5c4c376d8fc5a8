//! Bytes that nobody should send: no panic, no frame that is not one, no memory for what has not come.

use crate::samples;
use proptest::prelude::*;
use strandline_client::wire::error::WireError;
use strandline_client::wire::header::{HEADER_BYTES, Header};

/// Makes the checksums right again, so that what is behind them is asked.
fn reseal(frame: &mut [u8]) {
    let Some(body) = frame.get(HEADER_BYTES..) else { return };
    let length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
    let crc = crc(body.get(..length).unwrap_or(body));
    let request = u64::from_le_bytes(frame[8..16].try_into().unwrap());
    let header = Header { kind: frame[5], request, body_bytes: length as u32, body_crc: crc };
    frame[..HEADER_BYTES].copy_from_slice(&header.encode());
}

/// crc32c, bit by bit: the test does not believe the crate that the frames use.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_no_frames(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..300) {
        prop_assert!(samples::cut(&bytes, step).map_or(true, |frames| frames.is_empty()));
    }

    #[test]
    fn a_changed_byte_is_found(sample in 0..samples::all().len(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (name, mut frame) = samples::all().swap_remove(sample);
        let place = place.index(frame.len());
        frame[place] ^= 1 << bit;
        let found = samples::cut(&frame, usize::MAX);
        prop_assert!(found.map_or(true, |frames| frames.is_empty()), "{} at {}", name, place);
    }

    #[test]
    fn a_body_that_lies_does_not_end_the_reader(
        sample in 0..samples::all().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (_, mut frame) = samples::all().swap_remove(sample);
        if frame.len() > HEADER_BYTES {
            for (place, value) in changes {
                let place = HEADER_BYTES + place.index(frame.len() - HEADER_BYTES);
                frame[place] = value;
            }
            reseal(&mut frame);
        }
        if let Ok(frames) = samples::cut(&frame, usize::MAX) {
            // it may be good or bad; it must be told without a panic
            frames.iter().for_each(|frame| { samples::decode(frame); });
        }
    }

    #[test]
    fn a_body_that_is_too_short_or_too_long_is_bad(sample in 0..samples::all().len(), cut_off in 1_usize..64, added in any::<bool>()) {
        let (name, frame) = samples::all().swap_remove(sample);
        let length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
        let mut body = frame[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        // events end with the body: whole blocks may be missing
        prop_assume!(!matches!(name, "stream_page" | "global_page" | "scan_part" | "subscribe_part") || added);
        if added {
            body.resize(length + cut_off, 1);
        } else {
            prop_assume!(cut_off <= length);
            body.truncate(length - cut_off);
        }
        let mut changed = frame[..HEADER_BYTES].to_vec();
        changed[16..20].copy_from_slice(&(body.len() as u32).to_le_bytes());
        changed.extend_from_slice(&body);
        reseal(&mut changed);
        changed.resize(changed.len().next_multiple_of(16), 0);
        // an Error is a part of other bodies too: what follows it is theirs
        prop_assume!(!(name.starts_with("error") && added));
        for frame in samples::cut(&changed, usize::MAX).unwrap() {
            prop_assert!(!samples::decode(&frame), "{}", name);
        }
    }
}

#[test]
fn each_way_to_be_no_frame_is_told() {
    let ping = samples::all().into_iter().find(|(name, _)| *name == "ping").unwrap().1;
    let changed = |place: usize, value: u8| {
        let mut frame = ping.clone();
        frame[place] = value;
        samples::cut(&frame, usize::MAX).err()
    };
    assert_eq!(changed(0, b'H'), Some(WireError::Magic));
    assert_eq!(changed(4, 2), Some(WireError::Version(2)));
    assert_eq!(changed(5, 9), Some(WireError::HeaderCrc));
    assert_eq!(samples::cut(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 7).err(), Some(WireError::Magic));
}
