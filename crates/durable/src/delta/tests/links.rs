//! Second links of data files that are not the file.

use super::*;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_link_that_is_another_file_is_named_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let objects = folders(dir.path());
    let tier = open_on(&objects);
    (1..=2).for_each(|n| append(&tier, n));
    let files = tier.pin().files().to_vec();
    drop(tier);
    let root = objects.0.local_root().unwrap();
    let (own, link) = (root.join(&files[0].path), root.join(names::link(&files[0].path)));
    let put = |bytes: &[u8]| {
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, bytes).unwrap();
    };
    let found = || {
        let config = config(", partition.by = 'dt'");
        let reader = DurableTier::open_read_only_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config);
        verify_delta_log(&reader.unwrap())
    };
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let mut bytes = std::fs::read(&own).unwrap();
    // a copy of the folder without hard links
    put(&bytes);
    assert_eq!(found(), []);
    put(&std::fs::read(root.join(&files[1].path)).unwrap());
    let named = found();
    assert!(named.len() == 1 && named[0].what.contains("holds other bytes"), "{named:?}");
    let tier = open_on(&objects);
    assert_eq!(inode(&own), inode(&link));
    assert_follows(&objects, &tier);
    drop(tier);
    // a copy of which a byte went bad, behind the end that a start looks at
    bytes[40] ^= 1;
    put(&bytes);
    assert_eq!(found(), named);
    // of a file that has no other name it is not taken away
    bytes.truncate(40);
    put(&bytes);
    std::fs::remove_file(&own).unwrap();
    assert_eq!(found().len(), 1);
    let _tier = open_on(&objects);
    assert_eq!(std::fs::read(&link).unwrap(), bytes);
}
