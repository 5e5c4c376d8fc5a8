//! Any bytes as the one segment of a log: recovery, every frame, every event. No panic, and nothing is served whose checksum is wrong.
//!
//! The first byte of an input says how it is used: even, the rest is the file; odd, the frames in it get right checksums first, so that
//! what stands behind the checksums is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::Arc;
use strandline_event::{LogIndex, StampedBatch};
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::{Disk, LogConfig, SegmentPattern, open_read_only};

/// Where each part of a header stands (crates/wal/FORMAT.md).
const HEADER: usize = 96;
const MAGIC: [u8; 4] = *b"SLWF";
const LENGTH_AT: usize = 12;
const PAYLOAD_CRC_AT: usize = 84;
const HEADER_CRC_AT: usize = 92;
const NAME: &str = "events-20261123-12-0000000001.wal";

fuzz_target!(|input: &[u8]| {
    let Some((how, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    if how % 2 == 1 {
        repair(&mut file);
    }
    read(&file);
});

/// Gives every place that begins as a frame right checksums.
fn repair(file: &mut [u8]) {
    let mut at = 0;
    while at + HEADER <= file.len() {
        if file[at..at + 4] != MAGIC {
            at += 16;
            continue;
        }
        let length = u32::from_le_bytes([0, 1, 2, 3].map(|i| file[at + LENGTH_AT + i])) as usize;
        if let Some(payload) = file.get(at + HEADER..).and_then(|rest| rest.get(..length)) {
            let crc = crc32c::crc32c(payload).to_le_bytes();
            file[at + PAYLOAD_CRC_AT..at + PAYLOAD_CRC_AT + 4].copy_from_slice(&crc);
        }
        let crc = crc32c::crc32c(&file[at..at + HEADER_CRC_AT]).to_le_bytes();
        file[at + HEADER_CRC_AT..at + HEADER].copy_from_slice(&crc);
        at += HEADER;
    }
}

fn read(file: &[u8]) {
    let (disk, folder) = (CrashDisk::new(), Path::new("/log"));
    disk.create_dir_all(folder).unwrap();
    disk.put(&folder.join(NAME), file);
    let pattern = SegmentPattern::parse("events-{yyyy}{MM}{dd}-{HH}-{segment}.wal").unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let Ok(opened) = open_read_only(&disk, folder, &LogConfig::new(pattern)) else { return };
    let view = opened.view.load();
    let Ok(frames) = view.frames(view.first_index(), LogIndex(u64::MAX)) else { return };
    for frame in frames {
        let Ok(frame) = frame else { return };
        assert!(frame.header.payload_is_good(&frame.payload), "a frame is what its header says");
        if let Ok(batch) = StampedBatch::from_payload(&frame.payload) {
            assert_eq!(batch.iter().count(), batch.view().rows());
        }
    }
}
