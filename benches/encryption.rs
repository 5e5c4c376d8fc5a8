//! What encryption at rest costs: batches of 8 clients into a store that is encrypted and into one that is not, in turn, each on its node with
//! fsync on, and the compaction of each; the same events, the same machine, one run. A cost of 25 % says that the encrypted store takes
//! a quarter longer, by the medians of all rounds; who goes first changes from round to round.
//!
//! `cargo bench -p strandline-benches --bench encryption -- [events] [rounds]` (1,000,000 and 5).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench may be blunt")]

use std::path::Path;
use std::time::{Duration, Instant};
use strandline_benches::appenders::{Appenders, median, took};
use strandline_keys::KeyFile;
use strandline_workers::keys::SystemEntropy;
use strandline_workers::{Share, runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: usize = 10_000;
/// The stores.
const STORES: [&str; 2] = ["plain", "sealed"];

fn main() {
    // as the program does when it serves
    strandline_workers::memory::take_small_pages();
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (events, rounds) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(5));
    println!("encryption: {events} call records a round, {rounds} rounds");
    let folder = tempfile::tempdir().unwrap();
    runtime::run(measure(folder.path(), events, rounds)).unwrap();
}

async fn measure(dir: &Path, events: usize, rounds: usize) {
    let key = dir.join("key");
    KeyFile::create(&key, &SystemEntropy).unwrap();
    let sealed = format!(
        ", security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '{}'",
        key.display()
    );
    let mut stores = [
        Appenders::start(&dir.join(STORES[0]), "", Share::WHOLE, STREAMS).await,
        Appenders::start(&dir.join(STORES[1]), &sealed, Share::WHOLE, STREAMS).await,
    ];
    let mut spent = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for which in [round % 2, 1 - round % 2] {
            let [ingested, compacted] = pass(&mut stores[which], events).await;
            println!("  {round}: {:>6}: ingested in {ingested:.2?}, compacted in {compacted:.2?}", STORES[which]);
            spent[which].push([ingested, compacted].map(|took| took.as_secs_f64()));
        }
    }
    for (at, name) in ["batch ingestion", "compaction"].into_iter().enumerate() {
        let [plain, sealed] = [0, 1].map(|which| median(spent[which].iter().map(|pass: &[f64; 2]| pass[at])));
        let rate = |seconds: f64| events as f64 / seconds;
        println!(
            "  {name}: {:.0}/s plain, {:.0}/s encrypted: costs {:.0} %",
            rate(plain),
            rate(sealed),
            (sealed / plain - 1.0) * 100.0
        );
    }
    for store in stores {
        store.stop().await;
    }
}

/// Ingests events, then compacts them.
async fn pass(store: &mut Appenders, events: usize) -> [Duration; 2] {
    let began = Instant::now();
    store.load(events).await;
    let ingested = began.elapsed();
    let job = store.compact(events).await;
    let compacted = took(&job).await;
    job.merges().await;
    [ingested, compacted]
}
