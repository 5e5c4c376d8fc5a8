//! What encryption at rest costs: batches of 8 clients into a store that is encrypted and into one that is not, in turn on one node with
//! fsync on, and the compaction of each; the same events, the same machine, one run. A cost of 25 % says that the encrypted store takes
//! a quarter longer, by the medians of all rounds; who goes first changes from round to round.
//!
//! `cargo bench -p strandline-benches --bench encryption -- [events] [rounds]` (1,000,000 and 5).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench may be blunt")]

use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::append::OnError;
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput};
use strandline_keys::KeyFile;
use strandline_workers::keys::SystemEntropy;
use strandline_workers::{Node, NodeHandle, NodeOptions, StoreHandle, runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAM_TYPE: &str = "Call";
const STREAMS: usize = 10_000;
const BATCH_ROWS: usize = 1000;
const CLIENTS: usize = 8;
/// The stores, and whether each is encrypted.
const STORES: [&str; 2] = ["plain", "sealed"];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (events, rounds) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(5));
    println!("encryption: {events} call records a round, {rounds} rounds");
    let folder = tempfile::tempdir().unwrap();
    runtime::run(measure(folder.path(), events, rounds)).unwrap();
}

async fn measure(dir: &Path, events: usize, rounds: usize) {
    let key = dir.join("key");
    KeyFile::create(&key, &SystemEntropy).unwrap();
    let declare = |name: &str, keys: &str| {
        let dir = dir.display();
        format!(
            "CREATE EVENTSTORE {name} WITH (durable.type = 'parquet', durable.path = '{dir}/{name}/durable', wal.enabled = true,
             wal.path = '{dir}/{name}/wal', inmemory.enabled = true, inmemory.max_mb = 256, compaction.schedule = '0 0 1 1 *'{keys});"
        )
    };
    let sealed = format!(
        ", security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '{}'",
        key.display()
    );
    let text = format!("{}\n{}", declare(STORES[0], ""), declare(STORES[1], &sealed));
    let declarations = strandline_deql::parse_file("bench.deql", &text).unwrap();
    let node = Node::start(declarations, NodeOptions::new(format!("{}/node", dir.display()))).await.unwrap();
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for which in [round % 2, 1 - round % 2] {
            let store = node.store(STORES[which]).unwrap();
            store.pause(true).await.unwrap();
            let spent = pass(&node, &store, round * events, events).await;
            println!("  {round}: {:>6}: ingested in {:.2?}, compacted in {:.2?}", STORES[which], spent[0], spent[1]);
            took[which].push(spent);
        }
    }
    for (at, name) in ["batch ingestion", "compaction"].into_iter().enumerate() {
        let [plain, sealed] = [0, 1].map(|which| median(took[which].iter().map(|spent: &[Duration; 2]| spent[at])));
        let rate = |seconds: f64| events as f64 / seconds;
        println!(
            "  {name}: {:.0}/s plain, {:.0}/s encrypted: costs {:.0} %",
            rate(plain),
            rate(sealed),
            (sealed / plain - 1.0) * 100.0
        );
    }
    node.stop().await.unwrap();
}

fn median(values: impl Iterator<Item = Duration>) -> f64 {
    let mut values: Vec<_> = values.map(|took| took.as_secs_f64()).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Ingests events, then compacts them.
async fn pass(node: &NodeHandle, store: &StoreHandle, first: usize, events: usize) -> [Duration; 2] {
    let began = Instant::now();
    for from in (first..first + events).step_by(CLIENTS * BATCH_ROWS) {
        append(node, store, from).await;
    }
    let ingested = began.elapsed();
    let job = store.compact(None).await.unwrap().remove(0);
    let end = job.ended().await;
    assert_eq!(end.error, None);
    let compacted = Duration::from_micros((end.ended_at.0 - job.asked_at.0).unsigned_abs());
    job.merges().await;
    [ingested, compacted]
}

/// One batch of each client at once.
async fn append(node: &NodeHandle, store: &StoreHandle, from: usize) {
    let permits = node.permits();
    let appends = (0..CLIENTS).map(|client| batch(from + client * BATCH_ROWS)).map(|batch| async move {
        let permit = Arc::new(permits.take(batch.bytes().len()).unwrap());
        let answers = store.append_bulk(vec![batch], OnError::Abort, permit).await.unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    });
    join_all(appends).await;
}

fn batch(from: usize) -> BatchBytes {
    let mut builder = BatchBuilder::new(STREAM_TYPE, BatchUnit::Rows);
    for n in from..from + BATCH_ROWS {
        let (stream_id, data) = (
            format!("4917{:08}", n * 7919 % STREAMS),
            format!(
                "{{\"callee\":\"4917{:08}\",\"seconds\":{},\"cell\":\"{:04x}\",\"imsi\":\"26201{:010}\",\"network\":\"5G\",\"cause\":16}}",
                n.wrapping_mul(48_271) % 100_000_000,
                n % 3600,
                n.wrapping_mul(16_807) % 65_536,
                n.wrapping_mul(69_621) % 10_000_000_000,
            ),
        );
        let event = EventInput { stream_id: &stream_id, event_type: "CallEnded", data: &data, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    builder.finish().unwrap()
}
