//! What one append costs as a store grows: a store that grows from 1 to 100 million events, beside one of 1 million, a new one for each size. At
//! each size both are measured in turn, so that a machine that became slower meanwhile shows in both: p50 of one client's single appends, and time
//! and CPU time of an event in 8 clients' batches, clients included. What is measured adds the same events to both, by default 1 million a size. Every append carries the seq that it expects. Streams grow with the events, one
//! for 100, at least 10,000; the log is compacted after every 5 million. The ratio is large / small: 1.00 would be a cost that does not grow.
//!
//! `cargo bench -p strandline-benches --bench growth -- [millions] [rounds] [folder]` (100, 5, the one for temporary files). Takes up to 30 GB of the disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may be blunt")]

use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_benches::appenders::{Appenders, median, took};
use strandline_workers::{Share, runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MILLION: usize = 1_000_000;
const SIZES: [usize; 5] = [1, 3, 10, 30, 100];
/// Events between two compactions.
const COMPACTED_TOGETHER: usize = 5 * MILLION;
const EVENTS_OF_A_STREAM: usize = 100;
const STREAMS_MIN: usize = 10_000;
/// How long each store is measured in a round by single appends.
const SINGLES: Duration = Duration::from_secs(2);
/// Times that all clients send a batch in a round: by a time, millions of events would come to the small store too.
const BATCHES: u64 = 25;

fn main() {
    // as the program does when it serves
    strandline_workers::memory::take_small_pages();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize| arguments.get(at).and_then(|argument| argument.parse::<usize>().ok());
    let (largest, rounds) = (number(0).unwrap_or(100), number(1).unwrap_or(5));
    let folder = match arguments.get(2) {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    runtime::run(measure(folder.unwrap(), largest, rounds)).unwrap();
}

async fn measure(folder: tempfile::TempDir, largest: usize, rounds: usize) {
    println!("growth: to {largest} million events, median of {rounds} rounds; large / small");
    let mut large = Appenders::start(&folder.path().join("large"), "", Share::WHOLE, STREAMS_MIN).await;
    for size in SIZES.into_iter().filter(|size| *size <= largest) {
        grow(&mut large, size * MILLION).await;
        let of_small = folder.path().join(format!("small-{size}"));
        let mut small = Appenders::start(&of_small, "", Share::WHOLE, STREAMS_MIN).await;
        grow(&mut small, MILLION).await;
        let mut rows = Vec::new();
        for _ in 0..rounds {
            rows.push((cost(&mut small).await, cost(&mut large).await));
        }
        let of = |take: fn(&Cost) -> f64| {
            let (small, large) =
                (median(rows.iter().map(|row| take(&row.0))), median(rows.iter().map(|row| take(&row.1))));
            let ratio = median(rows.iter().map(|row| take(&row.1) / take(&row.0)));
            format!("{large:.3} / {small:.3} = {ratio:.2}")
        };
        println!(
            "  {:>5.1} M events, {:>7} streams, beside {:.1} M: single p50, ms {}; batches, us an event {}; of CPU {}",
            large.events() as f64 / 1e6,
            large.streams(),
            small.events() as f64 / 1e6,
            of(|cost| cost.single_ms),
            of(|cost| cost.batch_us),
            of(|cost| cost.batch_cpu_us),
        );
        small.stop().await;
        std::fs::remove_dir_all(&of_small).unwrap();
    }
    large.stop().await;
}

/// Appends up to so many events, and makes most of them durable.
async fn grow(store: &mut Appenders, events: usize) {
    while store.events() < events {
        let more = (events - store.events()).min(COMPACTED_TOGETHER);
        store.spread((store.events() + more) / EVENTS_OF_A_STREAM);
        store.load(more).await;
        let job = store.compact(0).await;
        took(&job).await;
        job.merges().await;
    }
}

/// What an append costs.
struct Cost {
    /// Half of the single appends took less.
    single_ms: f64,
    /// Of an event in batches.
    batch_us: f64,
    /// The same in CPU time of the whole process.
    batch_cpu_us: f64,
}

async fn cost(store: &mut Appenders) -> Cost {
    let end = Instant::now() + SINGLES;
    let single = store.singles(move || Instant::now() < end).await;
    let cpu = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let (before, cpu_before) = (store.events(), cpu());
    let sent = AtomicU64::new(0);
    let rate = store.batches(move || sent.fetch_add(1, Ordering::Relaxed) < BATCHES).await;
    let (events, cpu_spent) = ((store.events() - before) as f64, cpu() - cpu_before);
    Cost {
        single_ms: single.p50.as_secs_f64() * 1e3,
        batch_us: 1e6 / rate,
        batch_cpu_us: cpu_spent.as_secs_f64() * 1e6 / events,
    }
}
