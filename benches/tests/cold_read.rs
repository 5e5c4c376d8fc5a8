//! The bounds of cold lookups, on a smaller store than that of the bench: counts of files and bytes, never times.

#![allow(clippy::unwrap_used, reason = "a test may be blunt")]

use std::path::Path;
use std::sync::OnceLock;
use strandline_benches::calls::Calls;
use strandline_benches::cold::{STREAM_BYTES_MAX, build, cold, find_event, read_stream};

const CALLS: Calls = Calls::of(300_000);

/// One store for all tests of the process.
fn store() -> &'static Path {
    static STORE: OnceLock<tempfile::TempDir> = OnceLock::new();
    STORE
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            build(folder.path(), CALLS, &mut |_| {}).unwrap();
            folder
        })
        .path()
}

#[test]
fn a_cold_read_of_a_stream_touches_little_however_large_the_files_are() {
    let snapshot = cold(store()).unwrap().pin();
    let (files, bytes) = (snapshot.files().len(), snapshot.bytes());
    let read = read_stream(store(), &CALLS.middle_stream()).unwrap();
    println!("{read:?} of {files} files, {bytes} bytes");
    assert_eq!(read.rows, 100);
    // what is told of partitions is what the counter counted: each file that may hold the stream, opened once
    assert_eq!(read.partitions.values().map(|asked| asked.opened).sum::<u64>(), read.stats.files, "{read:?}");
    let holders: Vec<_> = read.partitions.values().filter(|asked| asked.rows > 0).collect();
    // late events are in the partition of the day before
    assert!((3..=4).contains(&holders.len()), "{read:?}");
    assert!(read.keeps_its_bounds().is_ok(), "{read:?}");
    assert_eq!(read.stats.row_groups, holders.iter().map(|asked| asked.holding).sum::<u64>(), "{read:?}");
    assert!(read.stats.bytes < STREAM_BYTES_MAX.min(bytes / 10), "{read:?} of {bytes}");
    // the filter of every other file said no
    assert_eq!(read.stats.filters - read.stats.filters_no, read.stats.row_groups, "{read:?}");
}

#[test]
fn a_stream_that_is_not_there_costs_a_footer_and_a_block_of_a_filter_a_file() {
    let snapshot = cold(store()).unwrap().pin();
    let read = read_stream(store(), "call-8000000000000000").unwrap();
    println!("{read:?}");
    assert_eq!((read.rows, read.stats.row_groups), (0, 0));
    assert_eq!((read.stats.filters, read.stats.filters_no), (read.stats.files, read.stats.files));
    // at most: a tail of 16 KiB with 4 KiB before it, a block of the list of checksums, two of the data
    assert!(read.stats.bytes <= snapshot.files().len() as u64 * (20 + 4 + 16) * 1024, "{read:?}");
}

#[test]
fn an_event_is_looked_up_in_the_files_of_its_time_by_one_block_of_each_filter() {
    let snapshot = cold(store()).unwrap().pin();
    for (day, nth) in [(0, 0), (2, 777), (4, 20_000), (6, 5)] {
        let id = CALLS.day(day).nth(nth).unwrap().event().event_id;
        let holders: Vec<_> = snapshot
            .files()
            .iter()
            .filter(|file| file.bounds.event_id.0 <= id && id <= file.bounds.event_id.1)
            .collect();
        let found = find_event(store(), id).unwrap();
        println!("{found:?}");
        // ids rise with time: of eight files there are that of the day, and that of the day after with its late events
        assert!(holders.len() <= 2, "{} files may hold it", holders.len());
        assert_eq!((found.rows, found.stats.files), (1, holders.len() as u64));
        assert_eq!(found.stats.filters, holders.len() as u64);
        // the ids of one row group, once more a page of each column, and no filter whole
        let most = holders.iter().map(|file| file.rows).max().unwrap() * 17 + 700_000;
        assert!(found.stats.bytes < most, "{found:?} of {most}");
    }
}

#[test]
fn an_id_that_is_not_there_costs_filters_alone() {
    let mut id = CALLS.day(3).nth(99).unwrap().event().event_id;
    id.0[15] ^= 1;
    let found = find_event(store(), id).unwrap();
    println!("{found:?}");
    assert_eq!((found.rows, found.stats.row_groups), (0, 0));
    assert_eq!(found.stats.filters_no, found.stats.filters);
    assert!(found.stats.bytes <= found.stats.files * 40 * 1024, "{found:?}");
}
