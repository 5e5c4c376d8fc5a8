//! Encrypted logs: nothing of an entry stands on the disk, what was changed or moved is never served, and the log of one kind is
//! not taken for that of the other.

use super::*;
use crate::frame::{FLAG_SEALED, HEADER_BYTES, VERSION_TAGGED, set_payload_crc};
use crate::replicated::Content;
use strandline_keys::testing::store_keys;

const PLANTED: &[u8] = b"a planted payload that nobody may find";

pub(super) fn sealed_config() -> LogConfig {
    LogConfig { keys: Some(store_keys(1)), ..small_config() }
}

/// A log of two segments.
pub(super) fn whole_log() -> (Rig, Vec<(LogIndex, Vec<u8>)>) {
    let mut rig = Rig::new(sealed_config());
    let mut writer = rig.writer();
    for i in 0..6u8 {
        rig.push(&mut writer, &[PLANTED, &[i]].concat());
        rig.push(&mut writer, &[PLANTED, &[i, i]].concat());
        rig.commit(&mut writer);
        if i == 2 {
            writer.seal();
        }
    }
    writer.clean_stop(rig.now);
    rig.commit(&mut writer);
    rig.io.background(100);
    let wanted = entries(&writer.view());
    assert_eq!(wanted.len(), 12);
    (rig, wanted)
}

/// The sealed frames of a file: offset, header.
fn sealed_frames(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let heads = (0..bytes.len()).step_by(16).filter_map(|at| Some((at, FrameHeader::decode(bytes.get(at..)?).ok()?)));
    heads.filter(|(_, header)| header.has(FLAG_SEALED)).collect()
}

/// Puts other bytes into a sealed payload and makes all checksums right again.
pub(super) fn change(bytes: &mut [u8], at: usize, payload: &[u8]) {
    let header = FrameHeader::decode(&bytes[at..]).unwrap();
    bytes[at + HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
    let frame = &mut bytes[at..at + HEADER_BYTES];
    set_payload_crc(frame, crc32c::crc32c(payload));
    crate::frame::finish(frame, header.synced_below, header.has(crate::frame::FLAG_LAST));
}

fn read_all(rig: &mut Rig) -> Result<Vec<Vec<u8>>, ReadError> {
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    let view = opened.view.load();
    let frames = view.frames(view.first_index(), LogIndex(u64::MAX))?;
    let frames = frames.filter(|frame| frame.as_ref().map_or(true, |f| f.header.kind == FrameKind::Entry));
    frames.map(|frame| frame.map(|f| f.payload.to_vec())).collect()
}

#[test]
fn nothing_of_an_entry_is_on_the_disk_and_all_of_it_is_read_again() {
    let (mut rig, wanted) = whole_log();
    for path in segment_paths(&rig.disk) {
        let bytes = rig.disk.contents(&path).unwrap();
        assert!(!bytes.windows(20).any(|part| part == &PLANTED[..20]), "{}", path.display());
        assert!(sealed_frames(&bytes).iter().all(|(_, header)| header.version == VERSION_TAGGED));
        // what stands in clear is no entry (FORMAT.md, sections 9 and 10)
        let all = (0..bytes.len()).step_by(16).filter_map(|at| FrameHeader::decode(bytes.get(at..)?).ok());
        assert!(all.clone().any(|header| header.kind == FrameKind::State));
        assert!(all.into_iter().all(|header| (header.kind == FrameKind::Entry) == header.has(FLAG_SEALED)));
        assert!(dump(&rig.disk, &path).contains(" sealed"));
    }
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(entries(&opened.view) == wanted);
}

#[test]
fn segments_have_keys_of_their_own() {
    let (mut rig, _) = whole_log();
    rig.writer();
    let mut names = Vec::new();
    for path in segment_paths(&rig.disk) {
        let bytes = rig.disk.contents(&path).unwrap();
        let header = FrameHeader::decode(&bytes).unwrap();
        let payload = &bytes[HEADER_BYTES..][..header.payload_len as usize];
        names.push(state::State::decode(payload, header.version).unwrap().key.unwrap());
    }
    names.sort_by_key(|name| name.to_bytes());
    names.dedup();
    assert!(names.len() >= 2 && names.len() == segment_paths(&rig.disk).len());
}

#[test]
fn a_payload_that_was_changed_with_its_checksums_is_never_served() {
    let (rig, _) = whole_log();
    let path = &segment_paths(&rig.disk)[0];
    let whole = rig.disk.contents(path).unwrap();
    for (at, header) in sealed_frames(&whole) {
        let mut bytes = whole.clone();
        let mut payload = bytes[at + HEADER_BYTES..][..header.payload_len as usize].to_vec();
        payload[3] ^= 1;
        change(&mut bytes, at, &payload);
        let (mut rig, _) = whole_log();
        rig.disk.put(path, &bytes);
        let refused = read_all(&mut rig).unwrap_err();
        assert!(refused.to_string().contains("not what was sealed here"), "{refused}");
    }
}

#[test]
fn payloads_that_were_exchanged_are_never_served() {
    let (mut rig, _) = whole_log();
    let path = segment_paths(&rig.disk)[0].clone();
    let mut bytes = rig.disk.contents(&path).unwrap();
    let frames = sealed_frames(&bytes);
    let (first, third) = (frames[0], frames[2]);
    assert_eq!(first.1.payload_len, third.1.payload_len);
    let payload = |bytes: &[u8], at: usize| bytes[at + HEADER_BYTES..][..first.1.payload_len as usize].to_vec();
    let (one, other) = (payload(&bytes, first.0), payload(&bytes, third.0));
    change(&mut bytes, first.0, &other);
    change(&mut bytes, third.0, &one);
    rig.disk.put(&path, &bytes);
    assert!(matches!(read_all(&mut rig), Err(ReadError::Corrupt { .. })));
}

#[test]
fn without_the_right_keys_a_log_is_not_written_and_gives_nothing() {
    for (keys, said) in [(None, "security.encrypt.at_rest"), (Some(store_keys(2)), "not what was sealed here")] {
        let (mut rig, _) = whole_log();
        rig.config.keys = keys;
        let opened = rig.open();
        let view = opened.view.load();
        let frames = view.frames(LogIndex(2), LogIndex(u64::MAX)).unwrap();
        let read: Vec<_> = frames.map(|frame| frame.map(|_| ()).unwrap_err().to_string()).collect();
        let corrupt: Vec<_> = opened.recovered.corrupt.iter().map(|corrupt| corrupt.what.clone()).collect();
        assert!([read.clone(), corrupt].concat().iter().any(|text| text.contains(said)), "{read:?}");
    }
}

#[test]
fn a_log_that_is_not_sealed_is_not_taken_for_an_encrypted_one() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"forged");
    rig.commit(&mut writer);
    rig.config.keys = Some(store_keys(1));
    let opened = rig.open();
    assert!(opened.writer.is_none());
    assert!(opened.recovered.corrupt[0].what.contains("not sealed"));
}

#[test]
fn entries_of_a_group_are_sealed_and_cut_off_as_others_are() {
    let mut rig = Rig::new(LogConfig { commit_on_sync: false, ..sealed_config() });
    let mut writer = rig.open().writer.unwrap();
    let leader = LeaderId { term: 2, node: 7 };
    let entry = |parts| (Entry { leader, schema: 1, count: 3, parts }, Micros(1_795_435_200_000_000));
    writer.push_entry(0, leader, Content::Membership(&Membership::one(7)), rig.now).unwrap();
    writer.push_entry(1, leader, Content::Payloads(&[entry(&[b"one"]), entry(&[b"two"])]), rig.now).unwrap();
    writer.push_entry(2, leader, Content::Payloads(&[entry(&[b"is cut off"])]), rig.now).unwrap();
    rig.commit(&mut writer);
    assert!(writer.cut_off(2, rig.now).unwrap());
    writer.push_entry(2, leader, Content::Payloads(&[entry(&[b"instead"])]), rig.now).unwrap();
    rig.commit(&mut writer);
    drop(writer);
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    let found = opened.view.load().entries(0, u64::MAX, usize::MAX).unwrap();
    let texts: Vec<Vec<u8>> = found.iter().flat_map(|e| e.frames.iter().map(|f| f.payload.to_vec())).skip(1).collect();
    assert_eq!(texts, [&b"one"[..], b"two", b"instead"]);
}

/// The entries of `whole_log`, in a log of format version 3, whose files are kept for ever.
pub(super) fn log_of_version_3() -> (Rig, Vec<(LogIndex, Vec<u8>)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v3/sealed");
    let (_, wanted) = whole_log();
    let rig = Rig::new(sealed_config());
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        rig.disk.put(&dir().join(entry.file_name()), &std::fs::read(entry.path()).unwrap());
    }
    assert_eq!(segment_paths(&rig.disk).len(), 2);
    (rig, wanted)
}

#[test]
fn version_3() {
    let (mut rig, wanted) = log_of_version_3();
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(entries(&opened.view) == wanted);
}

/// Files of format version 4, kept for ever.
#[test]
fn version_4() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v4/tagged");
    let (mut rig, wanted) = whole_log();
    let paths = segment_paths(&rig.disk);
    for path in &paths {
        let bytes = rig.disk.contents(path).unwrap();
        let file = folder.join(path.file_name().unwrap());
        if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let golden = std::fs::read(&file).unwrap();
        assert!(golden == bytes, "{} is written in other bytes than in version 4", file.display());
        rig.disk.put(path, &golden);
    }
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(entries(&opened.view) == wanted);
}
