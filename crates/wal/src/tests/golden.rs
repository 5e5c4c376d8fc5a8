//! Files of format version 1, kept for ever: this code writes exactly these bytes from these inputs, and reads them.

use super::*;
use crate::replicated::Content;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1").join(name)
}

fn written(checksum: bool, fsync: bool) -> Vec<(String, Vec<u8>)> {
    let mut rig = Rig::new(LogConfig { checksum, fsync, ..small_config() });
    let mut writer = rig.writer();
    rig.push(&mut writer, b"a first entry");
    rig.push(&mut writer, &[0xAB; 100]);
    rig.commit(&mut writer);
    rig.push(&mut writer, b"");
    rig.commit(&mut writer);
    writer.idle_mark(rig.now);
    rig.commit(&mut writer);
    writer.seal();
    rig.push(&mut writer, b"in the second segment");
    rig.commit(&mut writer);
    writer.clean_stop(rig.now);
    rig.commit(&mut writer);
    writer.seal();
    rig.push(&mut writer, b"seals the second");
    rig.commit(&mut writer);
    rig.io.background(100);
    let paths = segment_paths(&rig.disk);
    let named = paths.iter().take(2).map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, rig.disk.contents(path).unwrap())
    });
    named.collect()
}

/// Writes them again, then reads them.
fn check(variant: &str, checksum: bool, fsync: bool) {
    let files = written(checksum, fsync);
    assert_eq!(files.len(), 2);
    for (name, bytes) in &files {
        let path = fixture(variant).join(name);
        if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let golden = std::fs::read(&path).unwrap();
        assert!(golden == *bytes, "{} is written in other bytes than in version 1", path.display());
    }
    check_read(variant, checksum, fsync);
}

fn check_read(variant: &str, checksum: bool, fsync: bool) {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(fixture(variant)).unwrap() {
        let entry = entry.unwrap();
        files.push((entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
    }
    let mut rig = Rig::new(LogConfig { checksum, fsync, ..small_config() });
    for (name, bytes) in &files {
        rig.disk.put(&dir().join(name), bytes);
    }
    let opened = rig.open();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(opened.recovered.clean_stop && opened.recovered.cut.is_none());
    let texts: Vec<_> = entries(&opened.view).into_iter().map(|(index, bytes)| (index.0, bytes.len())).collect();
    assert_eq!(texts, [(2, 13), (3, 100), (4, 0), (5, 21)]);
    assert_eq!(opened.recovered.state.unwrap().membership, Membership::one(1));
}

#[test]
fn version_1() {
    check("crc32c", true, true);
}

#[test]
fn version_1_without_checksum() {
    check("none-proven", false, true);
    // as it was written when a group without checksums did not bring its proof along
    check_read("none", false, true);
}

#[test]
fn version_1_without_fsync() {
    check("no-fsync", true, false);
}

/// Entries of several frames, a vote, a membership, and a log that was cut off inside a group.
fn written_replicated() -> Vec<(String, Vec<u8>)> {
    let mut rig = Rig::new(LogConfig { commit_on_sync: false, ..small_config() });
    let mut writer = rig.open().writer.unwrap();
    let leader = LeaderId { term: 2, node: 7 };
    let entry = |parts| (Entry { leader, schema: 1, count: 3, parts }, Micros(1_795_435_200_000_000));
    let membership = Membership { voters: vec![vec![1, 7]], nodes: vec![(1, "a:1".into()), (7, "b:2".into())] };
    writer.push_entry(0, leader, Content::Membership(&membership), rig.now).unwrap();
    writer.push_vote(Vote { leader, committed: true }, rig.now).unwrap();
    writer.push_entry(1, leader, Content::Payloads(&[entry(&[b"one"]), entry(&[b"two"])]), rig.now).unwrap();
    writer.push_entry(2, leader, Content::Payloads(&[entry(&[b"is cut off"])]), rig.now).unwrap();
    rig.commit(&mut writer);
    let last = LogId { leader, index: LogIndex(2) };
    writer.set_committed(last, 1);
    assert!(writer.cut_off(2, rig.now).unwrap());
    rig.commit(&mut writer);
    writer.push_entry(2, LeaderId { term: 3, node: 1 }, Content::Blank, rig.now).unwrap();
    rig.commit(&mut writer);
    rig.io.background(100);
    let named = segment_paths(&rig.disk).into_iter().map(|path| {
        let bytes = rig.disk.contents(&path).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
    });
    named.collect()
}

#[test]
fn version_2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v2/replicated");
    let files = written_replicated();
    assert_eq!(files.len(), 2);
    let mut rig = Rig::new(LogConfig { commit_on_sync: false, ..small_config() });
    for (name, bytes) in &files {
        if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let golden = std::fs::read(folder.join(name)).unwrap();
        assert!(golden == *bytes, "{name} is written in other bytes than in version 2");
        rig.disk.put(&dir().join(name), &golden);
    }
    let opened = rig.open();
    assert_eq!((opened.recovered.corrupt.len(), opened.recovered.cut.is_none()), (0, true));
    let writer = opened.writer.unwrap();
    let found = opened.view.load().entries(0, u64::MAX, usize::MAX).unwrap();
    let found: Vec<_> = found.iter().map(|e| (e.number, e.leader.term, e.frames.len(), e.index().0)).collect();
    assert_eq!(found, [(0, 2, 1, 0), (1, 2, 2, 2), (2, 3, 1, 3)]);
    assert_eq!(writer.vote(), Vote { leader: LeaderId { term: 2, node: 7 }, committed: true });
    assert_eq!(writer.committed_entry().map(|last| last.number), Some(1));
    assert_eq!(opened.view.load().last_index(), LogIndex(2), "readers see what is committed");
}
