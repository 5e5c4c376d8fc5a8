//! What a compaction costs those who append: p50 and p99 of one client's single appends, and the rate of 8 clients' batches, without
//! a compaction and beside one, in turn, on a node in this process with fsync on. Every append carries the seq that it expects.
//! Merges that follow a job end before the next measurement begins. The ratios are beside / without of latencies, and of rates: 1.00 would be a compaction that nobody feels.
//!
//! `cargo bench -p strandline-benches --bench ingest_while_compacting -- [events] [rounds] [share]`: events that are compacted each
//! time (1,000,000), rounds (3), and `serve --compaction-share` in percent (100).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench may be blunt")]

use std::path::Path;
use std::time::{Duration, Instant};
use strandline_benches::appenders::{Appenders, median, took};
use strandline_workers::{Job, Share, runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: usize = 10_000;
/// How long is measured without a compaction.
const WITHOUT: Duration = Duration::from_secs(5);
/// And beside one at most: a run takes what is sealed while it goes on, and might not end before those who append do.
const BESIDE_MAX: Duration = Duration::from_secs(20);

fn main() {
    // as the program does when it serves
    strandline_workers::memory::take_small_pages();
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let events = numbers.next().unwrap_or(1_000_000);
    let rounds = numbers.next().unwrap_or(3);
    let share = numbers.next().map_or(Some(Share::WHOLE), |percent| Share::new(percent.try_into().ok()?)).unwrap();
    println!("ingest_while_compacting: {events} events, share {} %, median of {rounds} rounds", share.percent());
    let folder = tempfile::tempdir().unwrap();
    runtime::run(measure(folder.path(), events, rounds, share)).unwrap();
}

async fn measure(dir: &Path, events: usize, rounds: usize, share: Share) {
    let mut clients = Appenders::start(dir, "", share, STREAMS).await;
    let (mut single, mut bulk) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        clients.load(events).await;
        let without = clients.singles(goes_on(None)).await;
        let job = clients.compact(events).await;
        let beside = clients.singles(goes_on(Some(&job))).await;
        println!(
            "  {round}: single appends, without: {without}; beside: {beside}, the job took {:.2?}",
            took(&job).await
        );
        job.merges().await;
        single.push([without.p50, without.p99, beside.p50, beside.p99]);
        clients.load(events).await;
        let without = clients.batches(goes_on(None)).await;
        let job = clients.compact(events).await;
        let beside = clients.batches(goes_on(Some(&job))).await;
        println!(
            "  {round}: batches, without: {without:.0}/s; beside: {beside:.0}/s, the job took {:.2?}",
            took(&job).await
        );
        job.merges().await;
        bulk.push([without, beside]);
    }
    let of = |at: usize| median(single.iter().map(|row| row[at].as_secs_f64() * 1e3));
    let (without, beside) = ([of(0), of(1)], [of(2), of(3)]);
    for (name, at) in [("p50", 0), ("p99", 1)] {
        let ratio = beside[at] / without[at];
        println!("  single appends, {name}: {:.3} ms, {:.3} ms beside, ratio {ratio:.2}", without[at], beside[at]);
    }
    let (without, beside) = (median(bulk.iter().map(|row| row[0])), median(bulk.iter().map(|row| row[1])));
    println!("  batches: {without:.0}/s, {beside:.0}/s beside, ratio {:.2}", beside / without);
    let metrics = clients.node.metrics();
    let paused = Duration::from_micros(metrics.compaction_paused_us.get());
    println!("  pauses of compaction: {}, {paused:.2?} in all", metrics.compaction_pauses.get());
    clients.stop().await;
}

/// Until the job has ended, or as long as is measured without one.
fn goes_on(job: Option<&Job>) -> impl Fn() -> bool {
    let began = Instant::now();
    move || match job {
        None => began.elapsed() < WITHOUT,
        Some(job) => began.elapsed() < BESIDE_MAX && job.end().is_none(),
    }
}
