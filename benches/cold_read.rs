//! What a cold read of one stream of 100 events among 10 million touches, by the store's own counters, and how long a scan takes. It ends
//! with an error where that is more than it may be.
//!
//!     cargo bench -p strandline-benches --bench cold_read [-- EVENTS [FOLDER]]
//!
//! A folder that is named is made once, and read as it is afterwards.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;
use strandline_benches::calls::Calls;
use strandline_benches::cold::{Asked, Cold, Failure, build, cold, find_event, read_stream, scan};

/// What a lookup found, and what of files it touched.
fn touched(lookup: &Cold) -> String {
    let stats = lookup.stats;
    format!(
        "{} rows: {} files, {} row groups, {} bytes, {} filters asked of which {} said no",
        lookup.rows, stats.files, stats.row_groups, stats.bytes, stats.filters, stats.filters_no
    )
}

/// What the lookup of a stream did in each partition.
fn by_partition(lookup: &Cold) {
    for (name, Asked { opened, holding, rows }) in &lookup.partitions {
        println!("  {name}: {opened} files opened, {holding} of them hold {rows} rows");
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let events = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let calls = Calls::of(events);
    let temporary = tempfile::tempdir()?;
    let root = arguments.next().map_or_else(|| temporary.path().join("store"), PathBuf::from);
    if !root.exists() {
        let start = Instant::now();
        build(&root, calls, &mut |what| println!("{:6.1} s  {what}", start.elapsed().as_secs_f64()))?;
    }
    for file in cold(&root)?.pin().files() {
        let mb = file.bytes as f64 / f64::from(1 << 20);
        println!(
            "{}  {mb:.1} MB, {} rows, {} groups, tail {} B",
            file.path, file.rows, file.row_groups, file.tail_bytes
        );
    }
    let start = Instant::now();
    let read = read_stream(&root, &calls.middle_stream())?;
    println!("stream: {:.2} ms, {}", start.elapsed().as_secs_f64() * 1e3, touched(&read));
    by_partition(&read);
    // an error is told at the end: the rest is measured all the same
    let kept = read.keeps_its_bounds();
    let absent = read_stream(&root, "call-8000000000000000x")?;
    println!("absent stream: {}", touched(&absent));
    by_partition(&absent);
    for day in [1, 4] {
        let id = calls.day(day).nth(1000).ok_or("there is no such event")?.event().event_id;
        let start = Instant::now();
        let found = find_event(&root, id)?;
        println!("event id: {:.2} ms, {}", start.elapsed().as_secs_f64() * 1e3, touched(&found));
    }
    for _ in 0..2 {
        let start = Instant::now();
        let (rows, stats) = scan(&root)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("scan: {rows} rows in {seconds:.2} s, {:.0} rows/s, {stats:?}", rows as f64 / seconds);
    }
    kept
}
