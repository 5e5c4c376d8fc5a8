//! What a manifest costs with many files: bytes of the version file that each commit writes, bytes of its segments, memory of the
//! entries, time of a commit and of an opening. `crates/durable/SCALE.md` reckons with these numbers.
//!
//! `cargo bench -p strandline-benches --bench manifest_scale -- [files] [files a day]` (200,000 and 2,400).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench may be blunt"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_durable::objects::StoreObjects;
use strandline_durable::{Bounds, Commit, DurableTier, FileEntry, OpenOptions, SharedObjects, TailSums};
use strandline_event::{EventId, LogIndex, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;

const DAY: i64 = 86_400_000_000;
const BEGIN: i64 = 1_795_132_800_000_000;
/// Files of one commit.
const AT_ONCE: u64 = 20;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let files = numbers.next().unwrap_or(200_000);
    let per_day = numbers.next().unwrap_or(2_400);
    let config = declared("/durable", "wal.enabled = true, wal.path = '/wal', partition.by = ('dt')");
    let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let (data, manifests) = (memory(), memory());
    let open = || {
        let options = OpenOptions {
            writer: "n1".to_owned(),
            config_text: strandline_deql::print(&config),
            entropy: 7,
            secret: 8,
            now: Micros(BEGIN),
            cache_bytes: 1 << 20,
            scratch: None,
        };
        DurableTier::open_with(Arc::clone(&data), Arc::clone(&manifests), &config, options).unwrap()
    };
    let tier = open();
    let before = resident();
    let mut last = Vec::new();
    for first in (0..files).step_by(AT_ONCE as usize) {
        let commit = commit(first, per_day);
        let began = Instant::now();
        tier.commit(&commit).unwrap();
        last.push(began.elapsed());
        // what a fold would remove after 30 days would be counted as memory of the entries here
        let version = tier.pin().version();
        manifests.delete(&format!("v{:020}.json.zst", version - 1)).unwrap();
    }
    let after = resident();
    let mut newest: Vec<Duration> = last.split_off(last.len().saturating_sub(100));
    newest.sort_unstable();
    let listed = manifests.list("").unwrap();
    let segments: Vec<_> = listed.iter().filter(|info| info.path.starts_with("segments/")).collect();
    let version = listed.iter().find(|info| info.path.starts_with('v')).unwrap();
    let stored: u64 = segments.iter().map(|info| info.bytes).sum();
    println!("manifest_scale: {files} files, {per_day} a day, {AT_ONCE} a commit");
    println!("  version file: {} bytes; {} segments", version.bytes, segments.len());
    println!("  segments: {} bytes a file", stored / files);
    println!(
        "  memory: about {} bytes a file (growth of the process less segments)",
        (after - before - stored) / files
    );
    println!("  the last 100 commits: median {:.2?} each", newest[newest.len() / 2]);
    drop(tier);
    let began = Instant::now();
    let tier = open();
    println!("  opening: {:.2?}; {} files", began.elapsed(), tier.pin().files().len());
}

fn commit(first: u64, per_day: u64) -> Commit {
    let log = LogKey::single("Call");
    Commit {
        job_id: u128::from(first) << 64 | 1,
        at: Micros(BEGIN + first as i64),
        log,
        from_exclusive: LogIndex(first),
        through: LogIndex(first + AT_ONCE),
        last_ingested_at: Micros(BEGIN + first as i64),
        files: (first..first + AT_ONCE).map(|n| entry(n, first, per_day)).collect(),
        heads: Vec::new(),
        commands: Vec::new(),
        chunks: Vec::new(),
    }
}

fn entry(n: u64, first: u64, per_day: u64) -> FileEntry {
    let day = BEGIN + (n / per_day) as i64 * DAY;
    let date = format!("{}-{:02}-{:02}", 2026 + n / per_day / 336, n / per_day / 28 % 12 + 1, n / per_day % 28 + 1);
    let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    FileEntry {
        path: format!("dt={date}/part-n1-e1-{n:010}.parquet"),
        bytes: 256 << 20,
        crc32c: mixed as u32,
        tail_bytes: 200_000,
        tail_crc32c: (mixed >> 32) as u32,
        tail: Some(TailSums {
            footer_bytes: 9_000,
            footer_crc32c: (mixed >> 40) as u32,
            index_crc32c: (0..12).map(|block| (mixed >> (block * 7)) as u32).collect(),
        }),
        key: None,
        full: None,
        redacted_in: None,
        rows: 3_500_000,
        row_groups: 4,
        stream_type: "Call".to_owned(),
        bucket: 0,
        partition: vec![("dt".to_owned(), Some(date))],
        bounds: Bounds {
            stream_id: (
                format!("4917{:08}", mixed as u32 % 100),
                format!("4917{:08}", 99_999_999 - mixed as u32 % 100),
            ),
            seq: (Seq(1 + n % 1000), Seq(100_000 + n)),
            event_type: ("CallEnded".to_owned(), "CallStarted".to_owned()),
            tenant_id: None,
            occurred_at: (Micros(day), Micros(day + DAY - 1)),
            ingested_at: (Micros(day), Micros(day + DAY - 1)),
            event_id: (EventId(mixed.to_be_bytes()), EventId((!mixed).to_be_bytes())),
        },
        from_exclusive: LogIndex(first),
        through: LogIndex(first + AT_ONCE),
        job_id: u128::from(first) << 64 | 1,
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
