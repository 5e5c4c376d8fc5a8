//! What the fuzzer of encrypted segments begins with: plain payloads are sealed, and are read as what they say.

use super::sealed::{log_of_version_3, sealed_config, whole_log};
use super::*;
use crate::forge::repair;
use crate::frame::{FLAG_SEALED, HEADER_BYTES};
use strandline_keys::testing::store_keys;

/// The segments of a log with all entries as zeros, and all tags and checksums wrong.
fn spoiled(rig: &Rig) -> Vec<(PathBuf, Vec<u8>)> {
    let spoil = |path: PathBuf| {
        let mut bytes = rig.disk.contents(&path).unwrap();
        for at in (0..bytes.len()).step_by(16) {
            let Ok(header) = FrameHeader::decode(&bytes[at..]) else { continue };
            let (from, to) = (at + HEADER_BYTES, at + HEADER_BYTES + header.payload_len as usize);
            let kept = if header.has(FLAG_SEALED) { from } else { from + header.body(&bytes[from..to]).len() };
            bytes[kept..to].fill(0);
            bytes[from - 4..from].fill(7);
        }
        (path, bytes)
    };
    segment_paths(&rig.disk).into_iter().map(spoil).collect()
}

#[test]
fn what_is_repaired_with_the_keys_is_a_log_again() {
    for (rig, wanted) in [whole_log(), log_of_version_3()] {
        let mut again = Rig::new(sealed_config());
        for (path, mut bytes) in spoiled(&rig) {
            repair(&mut bytes, Some(&*store_keys(1)));
            again.disk.put(&path, &bytes);
        }
        let opened = again.open();
        assert_eq!(opened.recovered.corrupt, []);
        let read = entries(&opened.view);
        assert_eq!(read.len(), wanted.len());
        for ((index, payload), (other, plain)) in read.iter().zip(&wanted) {
            assert_eq!((index, payload.len()), (other, plain.len()));
            assert!(payload.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn without_the_keys_it_is_none() {
    let (rig, _) = whole_log();
    let mut again = Rig::new(sealed_config());
    for (path, mut bytes) in spoiled(&rig) {
        repair(&mut bytes, None);
        again.disk.put(&path, &bytes);
    }
    assert!(!again.open().recovered.corrupt.is_empty());
}
