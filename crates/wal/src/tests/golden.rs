//! Files of format version 1, kept for ever: this code writes exactly these bytes from these inputs, and reads them.

use super::*;

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
