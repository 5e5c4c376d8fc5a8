//! Frames of version 4: nothing of an encrypted segment is changed, forged, taken out or put in without its key, and a torn end is still
//! told from that.

use super::sealed::{change, log_of_version_3, sealed_config, whole_log};
use super::*;
use crate::frame::{FLAG_LAST, FLAG_SEALED, HEADER_BYTES, VERSION, VERSION_SEALED, VERSION_TAGGED, block_up, finish};
use crate::state::State;
use std::collections::BTreeSet;

/// All frames of a file: offset, header.
fn frames(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let heads = (0..bytes.len()).step_by(16).filter_map(|at| Some((at, FrameHeader::decode(bytes.get(at..)?).ok()?)));
    heads.collect()
}

fn payload<'a>(bytes: &'a [u8], at: usize, header: &FrameHeader) -> &'a [u8] {
    &bytes[at + HEADER_BYTES..][..header.payload_len as usize]
}

/// Writes another header in the place of one, with right checksums for the payload that stands there.
fn put_header(bytes: &mut [u8], at: usize, header: &FrameHeader) {
    let crc = crc32c::crc32c(payload(bytes, at, header));
    let mut head = FrameHeader { payload_crc: crc, ..*header }.encode();
    finish(&mut head, header.synced_below, header.has(FLAG_LAST));
    bytes[at..at + HEADER_BYTES].copy_from_slice(&head);
}

/// What opening the log of `whole_log` says, with other bytes in the place of its segment `which`.
fn opened_with(which: usize, bytes: &[u8]) -> Vec<String> {
    let (mut rig, _) = whole_log();
    let path = segment_paths(&rig.disk)[which].clone();
    rig.disk.put(&path, bytes);
    let opened = rig.open();
    assert_eq!(opened.writer.is_none(), !opened.recovered.corrupt.is_empty());
    opened.recovered.corrupt.into_iter().map(|corrupt| corrupt.what).collect()
}

fn segment(which: usize) -> Vec<u8> {
    let (rig, _) = whole_log();
    rig.disk.contents(&segment_paths(&rig.disk)[which]).unwrap()
}

#[test]
fn every_frame_of_an_encrypted_segment_carries_a_tag() {
    for which in 0..2 {
        let bytes = segment(which);
        let all = frames(&bytes);
        assert!(all.iter().all(|(_, header)| header.version == VERSION_TAGGED));
        assert!(all.iter().any(|(_, header)| header.kind != FrameKind::Entry));
    }
}

/// An entry that is taken out must leave something that has its index: a blank frame says nothing, and cost nothing until version 3.
#[test]
fn an_entry_cannot_be_made_a_blank_frame() {
    let whole = segment(0);
    for (at, header) in frames(&whole).into_iter().filter(|(_, header)| header.kind == FrameKind::Entry) {
        for version in [VERSION_TAGGED, VERSION_SEALED, VERSION] {
            let mut bytes = whole.clone();
            bytes[at + HEADER_BYTES..][..header.payload_len as usize].fill(0);
            // of the entry's length: what follows stays in its place
            let flags = header.flags & !FLAG_SEALED;
            put_header(&mut bytes, at, &FrameHeader { version, kind: FrameKind::Blank, flags, ..header });
            let said = opened_with(0, &bytes);
            assert!(!said.is_empty(), "the frame at {at} was taken out with version {version}");
        }
    }
}

#[test]
fn no_frame_is_changed_with_its_checksums() {
    for which in 0..2 {
        let whole = segment(which);
        for (at, header) in frames(&whole).into_iter().filter(|(_, header)| header.kind != FrameKind::Entry) {
            let mut bytes = whole.clone();
            let mut said = payload(&bytes, at, &header).to_vec();
            said[0] ^= 1;
            change(&mut bytes, at, &said);
            let refused = opened_with(which, &bytes);
            assert!(refused.iter().any(|what| what.contains("not what was sealed here")), "{header:?}: {refused:?}");

            let moved = FrameHeader { time: header.time.plus_us(1), ..header };
            let mut bytes = whole.clone();
            put_header(&mut bytes, at, &moved);
            let refused = opened_with(which, &bytes);
            assert!(refused.iter().any(|what| what.contains("not what was sealed here")), "{header:?}: {refused:?}");
        }
    }
}

/// A State frame that says that positions were given up, and that the segment before ended earlier: the entries between would be gone.
#[test]
fn a_jump_over_entries_cannot_be_forged() {
    let mut bytes = segment(1);
    let header = FrameHeader::decode(&bytes).unwrap();
    let body = header.body(payload(&bytes, 0, &header)).to_vec();
    let mut state = State::decode(&body, header.version).unwrap();
    let before = state.before.as_mut().unwrap();
    assert!(before.has_tags);
    before.end = 4096;
    before.last = None;
    let forged = state.encode();
    assert_eq!(forged.len(), body.len());
    let mut said = payload(&bytes, 0, &header).to_vec();
    said[..forged.len()].copy_from_slice(&forged);
    change(&mut bytes, 0, &said);
    let refused = opened_with(1, &bytes);
    assert!(refused.iter().any(|what| what.contains("not what was sealed here")), "{refused:?}");
}

/// What version 3 let pass stands no more in the place of a segment of version 4.
#[test]
fn a_segment_without_tags_is_not_taken_for_one_with_them() {
    let (old, _) = log_of_version_3();
    for which in 0..2 {
        let bytes = old.disk.contents(&segment_paths(&old.disk)[which]).unwrap();
        let refused = opened_with(which, &bytes);
        assert!(refused.iter().any(|what| what.contains("tags")), "segment {which}: {refused:?}");
    }
}

#[test]
fn a_log_of_version_3_goes_on_in_version_4() {
    let (mut rig, mut wanted) = log_of_version_3();
    let mut writer = rig.writer();
    let pushed = rig.push(&mut writer, b"behind it");
    wanted.push((pushed.index, b"behind it".to_vec()));
    rig.commit(&mut writer);
    drop(writer);
    let paths = segment_paths(&rig.disk);
    let bytes = rig.disk.contents(&paths[2]).unwrap();
    assert!(frames(&bytes).iter().all(|(_, header)| header.version == VERSION_TAGGED));
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(entries(&opened.view) == wanted);
    drop(opened);
    // read as a whole again when a third life has written
    let mut writer = rig.writer();
    let pushed = rig.push(&mut writer, b"and once more");
    wanted.push((pushed.index, b"and once more".to_vec()));
    rig.commit(&mut writer);
    assert!(entries(&writer.view()) == wanted);
}

/// The zeros behind the last frame are nobody's: what is put there without the key ends no log in silence, and begins nothing.
#[test]
fn a_frame_without_a_tag_behind_the_last_one_is_refused() {
    let mut rig = Rig::new(sealed_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"an entry");
    rig.commit(&mut writer);
    drop(writer);
    let path = segment_paths(&rig.disk).pop().unwrap();
    let mut bytes = rig.disk.contents(&path).unwrap();
    let (at, last) = *frames(&bytes).last().unwrap();
    let at = block_up((at + last.frame_bytes()) as u64) as usize;
    let (index, group) = (last.index.next(), last.group.next());
    let blank =
        FrameHeader { kind: FrameKind::Blank, flags: FLAG_LAST, payload_len: 0, ordinal: 0, index, group, ..last };
    bytes.resize(bytes.len().max(at + 4096), 0);
    put_header(&mut bytes, at, &FrameHeader { version: VERSION, ..blank });
    rig.disk.put(&path, &bytes);
    let refused = rig.open().recovered.corrupt;
    assert!(refused[0].what.contains("another version"), "{refused:?}");
}

/// Bytes that a power cut left half: no frame is whole there, so it is the end, as in every log.
#[test]
fn a_torn_end_is_cut_and_no_forgery() {
    let (mut rig, wanted) = whole_log();
    let path = segment_paths(&rig.disk).pop().unwrap();
    let mut bytes = rig.disk.contents(&path).unwrap();
    let (at, _) = *frames(&bytes).iter().rev().find(|(_, header)| header.kind == FrameKind::Entry).unwrap();
    let end = bytes.len();
    bytes[at + HEADER_BYTES + 5..end].fill(0);
    rig.disk.put(&path, &bytes);
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(opened.recovered.cut.is_some());
    assert!(entries(&opened.view) == wanted[..wanted.len() - 1]);
}

/// Which frame is a group's last no tag says: so a vote is never behind an entry in its group, where it could be taken away alone.
#[test]
fn a_vote_is_the_first_of_its_group() {
    let mut rig = Rig::new(LogConfig { commit_on_sync: false, ..sealed_config() });
    let mut writer = rig.open().writer.unwrap();
    let leader = LeaderId { term: 3, node: 1 };
    writer.push_membership(Membership::one(1), leader, rig.now).unwrap();
    writer.push_vote(Vote { leader, committed: false }, rig.now).unwrap();
    writer.push_blank(leader, rig.now).unwrap();
    writer.push_vote(Vote { leader, committed: true }, rig.now).unwrap();
    rig.commit(&mut writer);
    drop(writer);
    let bytes = rig.disk.contents(&segment_paths(&rig.disk)[0]).unwrap();
    let unnumbered: Vec<_> = frames(&bytes).into_iter().filter(|(_, header)| !header.kind.takes_index()).collect();
    assert_eq!(unnumbered.len(), 3);
    assert!(unnumbered.iter().all(|(_, header)| header.ordinal == 0));
}

/// A segment's key and a frame's nonce together, for every frame that stands anywhere on the disk.
fn sealed_under(disk: &CrashDisk) -> Vec<([u8; 32], [u8; 12], Vec<u8>)> {
    let mut out = Vec::new();
    for path in segment_paths(disk) {
        let bytes = disk.contents(&path).unwrap();
        let Ok(first) = FrameHeader::decode(&bytes) else { continue };
        let Some(state) = State::decode(first.body(payload(&bytes, 0, &first)), first.version) else { continue };
        let key = state.key.unwrap().to_bytes();
        for (at, header) in frames(&bytes).into_iter().filter(|(_, header)| header.segment == first.segment) {
            let sealed = bytes[at + HEADER_BYTES..].get(..header.payload_len as usize);
            // what a crash tore was whole when it was sealed, and was looked at then
            if let Some(sealed) = sealed.filter(|sealed| header.payload_is_good(sealed)) {
                out.push((key, header.nonce(), sealed.to_vec()));
            }
        }
    }
    out
}

/// What was sealed under each key and nonce so far; another text under one that was used is the end of the seal.
#[derive(Default)]
pub(super) struct Nonces {
    seen: std::collections::BTreeMap<([u8; 32], [u8; 12]), Vec<u8>>,
}

impl Nonces {
    pub(super) fn look(&mut self, disk: &CrashDisk, about: &str) {
        let mut here = BTreeSet::new();
        for (key, nonce, sealed) in sealed_under(disk) {
            assert!(here.insert((key, nonce)), "{about}: two frames have one key and nonce");
            let before = self.seen.insert((key, nonce), sealed.clone());
            assert!(before.is_none_or(|before| before == sealed), "{about}: a key and nonce sealed a second text");
        }
    }
}

/// A segment of version 3 behind the newest one, which says that nothing stands before it: everything would be a leftover of a trim.
#[test]
fn a_segment_without_tags_is_not_the_newest_behind_one_with_them() {
    let (old, _) = log_of_version_3();
    let began = old.disk.contents(&segment_paths(&old.disk)[0]).unwrap();
    let header = FrameHeader::decode(&began).unwrap();
    let state = State::decode(header.body(payload(&began, 0, &header)), header.version).unwrap();
    assert!(state.before.is_none() && header.version == VERSION_SEALED);
    let (mut rig, _) = whole_log();
    let paths = segment_paths(&rig.disk);
    let last = rig.disk.contents(paths.last().unwrap()).unwrap();
    let newest = FrameHeader::decode(&last).unwrap();
    // all that the forger needs stands in clear
    let number = SegmentNo(newest.segment.0 + 1);
    let mut forged = began;
    for (at, header) in frames(&forged) {
        put_header(&mut forged, at, &FrameHeader { segment: number, log_id: newest.log_id, ..header });
    }
    let name = paths.last().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let name = name.replace(&format!("{:010}", newest.segment.0), &format!("{:010}", number.0));
    rig.disk.put(&dir().join(name), &forged);
    let opened = rig.open();
    let said: Vec<String> = opened.recovered.corrupt.into_iter().map(|corrupt| corrupt.what).collect();
    assert!(said.iter().any(|what| what.contains("somebody put it there")), "{said:?}");
    assert!(opened.writer.is_none());
    let left = segment_paths(&rig.disk);
    assert!(paths.iter().all(|path| left.contains(path)), "no segment goes: {left:?}");
}
