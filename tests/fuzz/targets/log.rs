//! Any bytes as the one segment of a log: recovery, every frame, every event. No panic, and nothing is served whose checksum is wrong.
//!
//! The first byte of an input says how it is used, the rest is the file. Bit 0: its frames get right checksums first, so that what stands
//! behind the checksums is reached. Bit 1: the store is encrypted; with bit 0 its frames get right tags as well, and entries, which stand in
//! the input in clear, are sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use strandline_event::{LogIndex, StampedBatch};
use strandline_keys::StoreKeys;
use strandline_keys::testing::store_keys;
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::forge::repair;
use strandline_wal::frame::FLAG_SEALED;
use strandline_wal::{Disk, LogConfig, SegmentPattern, open_read_only};

const NAME: &str = "events-20261123-12-0000000001.wal";

/// Those that the fixtures of crates/wal were made with.
static KEYS: LazyLock<Arc<StoreKeys>> = LazyLock::new(|| store_keys(1));

fuzz_target!(|input: &[u8]| {
    let Some((how, file)) = input.split_first() else { return };
    let keys = (how & 2 != 0).then(|| Arc::clone(&KEYS));
    let mut file = file.to_vec();
    if how & 1 != 0 {
        repair(&mut file, keys.as_deref());
    }
    read(&file, keys);
});

fn read(file: &[u8], keys: Option<Arc<StoreKeys>>) {
    let (disk, folder) = (CrashDisk::new(), Path::new("/log"));
    disk.create_dir_all(folder).unwrap();
    disk.put(&folder.join(NAME), file);
    let pattern = SegmentPattern::parse("events-{yyyy}{MM}{dd}-{HH}-{segment}.wal").unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let Ok(opened) = open_read_only(&disk, folder, &LogConfig { keys, ..LogConfig::new(pattern) }) else { return };
    let view = opened.view.load();
    let Ok(frames) = view.frames(view.first_index(), LogIndex(u64::MAX)) else { return };
    for frame in frames {
        let Ok(frame) = frame else { return };
        let has_seal = frame.header.is_tagged() || frame.header.has(FLAG_SEALED);
        assert!(has_seal || frame.header.payload_is_good(&frame.payload), "a frame is what its header says");
        if let Ok(batch) = StampedBatch::from_payload(&frame.payload) {
            assert_eq!(batch.iter().count(), batch.view().rows());
        }
    }
}
