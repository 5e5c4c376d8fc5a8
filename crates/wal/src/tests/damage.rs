//! Bytes that rot: never served, never skipped silently.

use super::*;
use crate::crash_disk::{Dice, Faults};
use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::num::SegmentNo;
use crate::state::State;
use crate::verify::verify_log;
use proptest::prelude::*;

/// A log of several segments whose last group is proven by a clean stop.
fn whole_log(checksum: bool) -> (Rig, Vec<(LogIndex, Vec<u8>)>) {
    let mut rig = Rig::new(LogConfig { checksum, ..small_config() });
    let mut writer = rig.writer();
    for i in 0..60u32 {
        rig.push(&mut writer, &vec![i as u8; (i * 131 % 4000) as usize]);
        if i % 3 == 0 {
            rig.commit(&mut writer);
        }
    }
    rig.commit(&mut writer);
    writer.clean_stop(rig.now);
    rig.commit(&mut writer);
    rig.io.background(1000);
    let wanted = entries(&writer.view());
    (rig, wanted)
}

#[test]
fn a_flipped_bit_anywhere_is_reported_or_harmless() {
    let mut dice = Dice::new(7);
    for round in 0..600 {
        let (mut rig, wanted) = whole_log(true);
        let paths = segment_paths(&rig.disk);
        let path = &paths[usize::try_from(dice.below(paths.len() as u64)).unwrap()];
        let at = dice.below(rig.disk.contents(path).unwrap().len() as u64);
        rig.disk.flip(path, at, 1 << dice.below(8));
        let before: Vec<_> = paths.iter().map(|p| rig.disk.contents(p)).collect();
        let opened = rig.open();
        if opened.recovered.corrupt.is_empty() {
            assert!(entries(&opened.view) == wanted, "round {round}: {} at {at}", path.display());
            continue;
        }
        assert!(opened.writer.is_none());
        let after: Vec<_> = paths.iter().map(|p| rig.disk.contents(p)).collect();
        assert!(before == after, "a damaged log is not touched");
        let (findings, _) = verify_log(&rig.disk, &dir(), &rig.config).unwrap();
        assert!(findings.iter().any(|f| !f.torn_end));
        let view = opened.view.load();
        for frame in view.frames(view.first_index(), LogIndex(u64::MAX)).into_iter().flatten().flatten() {
            if frame.header.kind == FrameKind::Entry {
                let place = wanted.iter().find(|(index, _)| *index == frame.header.index).unwrap();
                assert_eq!(place.1[..], frame.payload[..], "a wrong byte was served");
            }
        }
    }
}

#[test]
fn a_missing_segment_is_reported() {
    for lost in 0..2 {
        let (mut rig, _) = whole_log(true);
        let paths = segment_paths(&rig.disk);
        assert!(paths.len() > 2);
        rig.disk.remove(&paths[lost]).unwrap();
        let opened = rig.open();
        assert!(opened.writer.is_none());
        assert!(opened.recovered.corrupt[0].what.contains("missing"), "{:?}", opened.recovered.corrupt);
    }
}

#[test]
fn damage_in_several_segments_is_reported_in_their_order() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    for i in 0..200u8 {
        rig.push(&mut writer, &[i + 1; 2_000]);
        if i % 5 == 0 {
            rig.commit(&mut writer);
        }
    }
    rig.commit(&mut writer);
    rig.io.background(1000);
    let paths = segment_paths(&rig.disk);
    assert!(paths.len() > 5, "{} segments", paths.len());
    let segments = rig.open().view.load().segments();
    for path in &paths[..5] {
        let bytes = rig.disk.contents(path).unwrap();
        let at = (20_000..bytes.len()).find(|at| bytes[*at] != 0).unwrap();
        rig.disk.flip(path, at as u64, 0x10);
    }
    let opened = rig.open();
    assert!(opened.writer.is_none());
    let found: Vec<_> = opened.recovered.corrupt.iter().map(|corrupt| corrupt.segment).collect();
    let damaged: Vec<_> = segments[..5].iter().map(|segment| segment.number).collect();
    assert_eq!(found, damaged);
}

#[test]
fn a_segment_that_is_wholly_durable_elsewhere_may_be_missing_or_damaged() {
    for (lost, is_gone) in [(0, true), (0, false), (1, true), (1, false)] {
        let (mut rig, wanted) = whole_log(true);
        let paths = segment_paths(&rig.disk);
        let next = rig.open().view.load().segments()[lost + 1].first_index;
        match is_gone {
            true => rig.disk.remove(&paths[lost]).unwrap(),
            false => rig.disk.flip(&paths[lost], 40, 0xff),
        }
        rig.check_from = next.prev();
        assert!(rig.open().writer.is_none(), "its last entry is nowhere else");
        rig.check_from = next;
        let mut writer = rig.writer();
        let found = entries(&writer.view());
        let above: Vec<_> = wanted.iter().filter(|entry| entry.0 >= next).cloned().collect();
        assert!(found[found.len() - above.len()..] == above, "everything above is there");
        rig.push(&mut writer, b"goes on");
        assert!(rig.commit(&mut writer));
        assert_eq!(entries(&rig.writer().view()).pop().unwrap().1, b"goes on");
        let there = segment_paths(&rig.disk);
        assert!(
            paths.iter().enumerate().all(|(i, path)| i == lost || there.contains(path)),
            "nothing else was taken away"
        );
    }
}

#[test]
fn segments_that_name_each_other_in_a_circle_are_reported() {
    for later in [0, 1] {
        let (mut rig, _) = whole_log(true);
        let paths = segment_paths(&rig.disk);
        let path = &paths[paths.len() - 2];
        let mut bytes = rig.disk.contents(path).unwrap();
        let header = FrameHeader::decode(&bytes).unwrap();
        let place = HEADER_BYTES..HEADER_BYTES + header.payload_len as usize;
        let mut state = State::decode(&bytes[place.clone()], header.version).unwrap();
        state.before.as_mut().unwrap().segment = SegmentNo(header.segment.0 + later);
        bytes[place.clone()].copy_from_slice(&state.encode());
        let crc = crc32c::crc32c(&bytes[place]);
        bytes[84..88].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..96].copy_from_slice(&crc.to_le_bytes());
        rig.disk.put(path, &bytes);
        let corrupt = rig.open().recovered.corrupt;
        assert!(corrupt.iter().any(|c| c.what.contains("names itself or a later one")), "{corrupt:?}");
    }
}

#[test]
fn frames_under_a_foreign_name_and_doubles_are_reported() {
    for name in ["old-0000000001.wal", "events-20261123-11-0000000001.wal"] {
        let (mut rig, _) = whole_log(true);
        let bytes = rig.disk.contents(&segment_paths(&rig.disk)[0]).unwrap();
        rig.disk.put(&dir().join(name), &bytes);
        assert!(rig.open().writer.is_none(), "{name}");
    }
    let (mut rig, _) = whole_log(true);
    rig.disk.put(&dir().join("README.txt"), b"a note");
    assert!(rig.open().writer.is_some(), "a file without frames is left alone");
}

#[test]
fn a_disk_that_does_not_read_is_reported_not_cut() {
    let (mut rig, _) = whole_log(true);
    rig.disk.set_faults(Faults { reads_fail: true, ..Faults::default() });
    assert!(!rig.open().recovered.corrupt.is_empty());
    rig.disk.set_faults(Faults::default());
    assert!(rig.open().writer.is_some());
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let (mut rig, _) = whole_log(true);
    let path = segment_paths(&rig.disk).pop().unwrap();
    let mut bytes = rig.disk.contents(&path).unwrap();
    let last = bytes.chunks(16).rposition(|c| c.starts_with(&frame::MAGIC)).unwrap() * 16;
    bytes[last + 4] = 5;
    let crc = crc32c::crc32c(&bytes[last..last + 92]);
    bytes[last + 92..last + 96].copy_from_slice(&crc.to_le_bytes());
    rig.disk.put(&path, &bytes);
    let opened = rig.open();
    assert!(opened.writer.is_none());
    assert!(opened.recovered.corrupt[0].what.contains("version 5"), "{:?}", opened.recovered.corrupt);
}

#[test]
fn without_checksums_a_group_is_kept_with_its_mark_and_cut_without_it() {
    for fsync in [true, false] {
        let mut rig = Rig::new(LogConfig { checksum: false, fsync, ..small_config() });
        let mut writer = rig.writer();
        for text in ["a", "b", "c"] {
            rig.push(&mut writer, text.as_bytes());
            rig.commit(&mut writer);
        }
        assert!(!writer.idle_mark(rig.now), "it brought its proof along");
        let held = |view: &SharedView| view.load().opened_with().iter().map(|held| held.entry_bytes).sum::<u64>();
        let opened = rig.open();
        assert!(opened.recovered.cut.is_none());
        assert_eq!((entries(&opened.view).len(), held(&opened.view)), (3, 3));
        // the last block is the mark that proves "c"
        let path = segment_paths(&rig.disk).remove(0);
        let bytes = rig.disk.contents(&path).unwrap();
        rig.disk.put(&path, &bytes[..bytes.len() - frame::BLOCK_BYTES]);
        let opened = rig.open();
        assert!(opened.recovered.cut.is_some() && opened.recovered.corrupt.is_empty());
        assert_eq!((entries(&opened.view).len(), held(&opened.view)), (2, 2), "what was cut is not there");
    }
}

#[test]
fn without_checksums_the_mark_waits_for_the_sync_of_what_it_proves() {
    let mut rig = Rig::new(LogConfig { checksum: false, ..small_config() });
    let mut writer = rig.writer();
    // one sync is for the frames, one for the mark: nothing is acknowledged before both
    for (good, kept) in [(0, 0), (1, 0), (2, 1)] {
        rig.push(&mut writer, b"x");
        rig.disk.set_faults(Faults { syncs_until_failure: Some(good), ..Faults::default() });
        let durable = writer.durable();
        assert_eq!(rig.commit(&mut writer), good == 2);
        assert_eq!(writer.durable().map(|id| id.index.0), durable.map(|id| id.index.0 + kept));
        rig.disk.set_faults(Faults::default());
        writer = rig.writer();
        // its first group, with the sync of the folder
        rig.push(&mut writer, b"y");
        assert!(rig.commit(&mut writer));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000), keep in 0usize..9000, at in 0usize..40) {
        let (mut rig, _) = whole_log(true);
        let path = segment_paths(&rig.disk).remove(1);
        let mut file = rig.disk.contents(&path).unwrap();
        file.truncate(keep);
        let at = (at * 97).min(file.len());
        file.splice(at..at, bytes);
        rig.disk.put(&path, &file);
        let opened = rig.open();
        let view = opened.view.load();
        if let Ok(frames) = view.frames(view.first_index(), LogIndex(u64::MAX)) {
            for frame in frames { let _ = frame; }
        }
        dump(&rig.disk, &path);
    }
}
