//! What the writer is bound by, measured on files: sizes of row groups, rates of bloom filters.

use super::*;
use crate::read::{Counters, DataFile};
use crate::testing::*;
use strandline_event::Field;

fn data_file(tier: &DurableTier, n: usize) -> DataFile {
    let counters = Arc::new(Counters::default());
    DataFile::open(tier.shared(), &tier.pin().files()[n], &counters).unwrap()
}

fn written(keys: &str, events: &[Owned]) -> (tempfile::TempDir, DurableTier) {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(keys));
    let job = job(1, 0, 100);
    let files = write(&tier, &job, &events.to_vec()).unwrap();
    tier.commit(&commit(&job, files, &[])).unwrap();
    (dir, tier)
}

fn sealed_written(keys: &str, events: &[Owned]) -> (tempfile::TempDir, DurableTier) {
    let dir = tempfile::tempdir().unwrap();
    let config = super::tests_sealed::encrypted(keys);
    let tier = super::tests_sealed::open(dir.path(), &config, 1).unwrap();
    let job = job(1, 0, 100);
    let files = write(&tier, &job, &events.to_vec()).unwrap();
    tier.commit(&commit(&job, files, &[])).unwrap();
    (dir, tier)
}

/// Bytes that no codec makes smaller, as text.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + 2 + (state >> 40) as u8 % 90)
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn no_row_group_exceeds_its_bytes() {
    const MB: u64 = 1 << 20;
    for (codec, sizes) in [
        ("none", [30_000, 30_000, 30_000]),
        ("zstd", [30_000, 30_000, 30_000]),
        ("none", [100, 5, 900_000]),
        ("snappy", [0, 60_000, 1_000_000]),
    ] {
        let mut events = history(240);
        for (n, event) in (0..).zip(&mut events) {
            // large ones come in a row, behind many small ones
            event.data = noise(n, sizes[(n as usize / 80).min(2)] / if n > 170 { 3 } else { 1 });
        }
        let keys =
            format!(", row_group.target_mb = 1, durable.compression = '{codec}', row_group.sort_by = 'ingested_at'");
        let (_dir, tier) = written(&keys, &events);
        let file = data_file(&tier, 0);
        let groups = file.meta.parquet().row_groups();
        let bytes: Vec<u64> = groups.iter().map(|g| g.compressed_size().cast_unsigned()).collect();
        assert!(bytes.iter().all(|bytes| *bytes <= MB), "{codec} {sizes:?}: {bytes:?}");
        assert!(bytes.len() > 3, "{codec} {sizes:?}: {bytes:?}");
        // none ends long before its bound, unless the next row would not have fitted
        let largest = events.iter().map(|e| e.data.len() as u64).max().unwrap();
        let full = MB - largest.max(MB / 4);
        assert!(bytes[..bytes.len() - 1].iter().all(|bytes| *bytes >= full), "{codec} {sizes:?}: {bytes:?}");
    }
}

/// The share of values that are not there and that the filter lets through.
fn rate(tier: &DurableTier, field: Field, absent: impl Iterator<Item = Vec<u8>>) -> f64 {
    let file = data_file(tier, 0);
    let filter = file.filter(0, field).unwrap().unwrap();
    let (mut tries, mut through) = (0_u32, 0_u32);
    for value in absent {
        tries += 1;
        through += u32::from(filter.check(&value[..]));
    }
    f64::from(through) / f64::from(tries)
}

#[test]
fn bloom_filters_have_the_rate_that_was_asked_for() {
    for fpp in [0.1, 0.01, 0.001] {
        for distinct in [100, 1000, 5000, 40_000_u64] {
            let mut events = history(distinct);
            for (n, event) in (0..).zip(&mut events) {
                event.stream_id = format!("stream {n}");
                event.seq = 1;
            }
            let (_dir, tier) = written(&format!(", bloom.fpp = {fpp}"), &events);
            let streams = rate(&tier, Field::StreamId, (0..200_000).map(|n| format!("absent {n}").into_bytes()));
            let ids = (distinct..distinct + 200_000).map(|n| owned(n).event_id.0.to_vec());
            let ids = rate(&tier, Field::EventId, ids);
            println!("fpp {fpp}, {distinct} distinct: stream_id {streams}, event_id {ids}");
            for rate in [streams, ids] {
                // a filter has a power of two of blocks: half of them would let too many through
                assert!(rate <= fpp * 1.25 && rate >= fpp / 20.0, "{fpp}, {distinct} distinct: {rate}");
            }
        }
    }
}

#[test]
fn files_of_small_rows_with_many_filters_reach_their_bound() {
    const MB: u64 = 1 << 20;
    // columns of few values, of some, and of one a row: what is kept for their filters is what these take
    let columns =
        "'stream_id', 'event_id', 'event_type', 'tenant_id', 'command_id', 'causation_id', 'seq', 'occurred_at'";
    // a job of so many rows is written in two lanes: each of them fills a file and goes on
    let mut events = history(600_000);
    events.iter_mut().for_each(|event| event.data = "{}".to_owned());
    for (keys, encrypted) in [("", false), (", row_group.max_rows = 100000", false), ("", true)] {
        let keys =
            format!(", compaction.target_file_mb = 2, compaction.max_file_mb = 2, bloom.columns = ({columns}){keys}");
        let (_dir, tier) = if encrypted { sealed_written(&keys, &events) } else { written(&keys, &events) };
        let files = tier.pin().files().to_vec();
        let bytes: Vec<u64> = files.iter().map(|file| file.bytes).collect();
        assert!(bytes.iter().all(|bytes| *bytes <= 2 * MB), "{keys}: {bytes:?}");
        let full: Vec<u64> = files.iter().filter(|file| file.full.is_some()).map(|file| file.bytes).collect();
        // pages that are not full yet count as they are, before they are compressed; four bytes a row and column would end files at a fifth
        assert!(!full.is_empty() && full.iter().all(|bytes| *bytes >= MB), "{keys}: {full:?} of {bytes:?}");
    }
}

/// What the index says of pages is not little where rows are large and their column has statistics.
#[test]
fn no_file_of_many_pages_exceeds_its_bound() {
    const MB: u64 = 1 << 20;
    let mut events = history(6000);
    for (n, event) in (0..).zip(&mut events) {
        event.data = noise(n, 4000);
    }
    for (keys, encrypted) in [("", false), (", stats.columns = ('data', 'stream_id')", false), ("", true)] {
        let keys = format!(
            ", durable.compression = 'none', compaction.target_file_mb = 16, compaction.max_file_mb = 16{keys}"
        );
        let (_dir, tier) = if encrypted { sealed_written(&keys, &events) } else { written(&keys, &events) };
        let files = tier.pin().files().to_vec();
        let bytes: Vec<u64> = files.iter().map(|file| file.bytes).collect();
        assert!(files.len() == 2 && files[0].full.is_some(), "{keys}: {bytes:?}");
        assert!(bytes[0] <= 16 * MB && bytes[0] > 16 * MB - MB / 4, "{keys}: {bytes:?}");
    }
}

#[test]
fn an_event_that_takes_more_than_a_file_may_have_stands_alone() {
    const MB: u64 = 1 << 20;
    let mut events = history(200);
    for (n, event) in (0..3).zip(events.iter_mut().step_by(60)) {
        event.data = noise(n, 1 << 20);
    }
    let keys = ", durable.compression = 'none', compaction.target_file_mb = 1, compaction.max_file_mb = 1";
    let (_dir, tier) = written(keys, &events);
    let files: Vec<(u64, u64)> = tier.pin().files().iter().map(|file| (file.rows, file.bytes)).collect();
    let alone = files.iter().filter(|(rows, bytes)| *rows == 1 && *bytes > MB).count();
    assert!(alone == 3 && files.iter().all(|(rows, bytes)| *rows == 1 || *bytes <= MB), "{files:?}");
    assert_eq!(files.iter().map(|(rows, _)| rows).sum::<u64>(), 200);
}
