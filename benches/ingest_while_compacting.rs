//! What a compaction costs those who append: p50 and p99 of one client's single appends, and the rate of 8 clients' batches, without
//! a compaction and beside one, in turn, on a node in this process with fsync on. Every append carries the seq that it expects.
//! Merges that follow a job end before the next measurement begins. The ratios are beside / without of latencies, and of rates: 1.00 would be a compaction that nobody feels.
//!
//! `cargo bench -p strandline-benches --bench ingest_while_compacting -- [events] [rounds] [share]`: events that are compacted each
//! time (1,000,000), rounds (3), and `serve --compaction-share` in percent (100).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench may be blunt")]

use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::append::{Expected, OnError};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput, Seq};
use strandline_workers::{Job, Node, NodeHandle, NodeOptions, Share, StoreHandle, runtime};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAM_TYPE: &str = "Call";
const STREAMS: usize = 10_000;
const BATCH_ROWS: usize = 1000;
const CLIENTS: usize = 8;
/// How long is measured without a compaction.
const WITHOUT: Duration = Duration::from_secs(5);
/// And beside one at most: a run takes what is sealed while it goes on, and might not end before those who append do.
const BESIDE_MAX: Duration = Duration::from_secs(20);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let events = numbers.next().unwrap_or(1_000_000);
    let rounds = numbers.next().unwrap_or(3);
    let share = numbers.next().map_or(Some(Share::WHOLE), |percent| Share::new(percent.try_into().ok()?)).unwrap();
    println!("ingest_while_compacting: {events} events, share {} %, median of {rounds} rounds", share.percent());
    let folder = tempfile::tempdir().unwrap();
    runtime::run(measure(folder.path(), events, rounds, share)).unwrap();
}

async fn measure(dir: &Path, events: usize, rounds: usize, share: Share) {
    let mut clients = Clients::start(dir, share).await;
    let (mut single, mut bulk) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        clients.load(events).await;
        let without = clients.singles(None).await;
        let job = clients.compact(events).await;
        let beside = clients.singles(Some(&job)).await;
        println!(
            "  {round}: single appends, without: {without}; beside: {beside}, the job took {:.2?}",
            took(&job).await
        );
        job.merges().await;
        single.push([without.p50, without.p99, beside.p50, beside.p99]);
        clients.load(events).await;
        let without = clients.batches(None).await;
        let job = clients.compact(events).await;
        let beside = clients.batches(Some(&job)).await;
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
    let Clients { node, store, .. } = clients;
    drop(store);
    node.stop().await.unwrap();
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn took(job: &Job) -> Duration {
    let end = job.ended().await;
    assert_eq!(end.error, None);
    Duration::from_micros((end.ended_at.0 - job.asked_at.0).unsigned_abs())
}

fn goes_on(began: Instant, job: Option<&Job>) -> bool {
    match job {
        None => began.elapsed() < WITHOUT,
        Some(job) => began.elapsed() < BESIDE_MAX && job.end().is_none(),
    }
}

/// Latencies of single appends.
struct Latencies {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with p50 {:.0?} and p99 {:.0?}", self.count, self.p50, self.p99)
    }
}

/// Those who append, and what they know of the streams.
struct Clients {
    node: NodeHandle,
    store: StoreHandle,
    /// The last seq of each stream.
    seqs: Vec<u64>,
    next: usize,
}

impl Clients {
    async fn start(dir: &Path, share: Share) -> Self {
        let dir = dir.display();
        let text = format!(
            "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '{dir}/durable', wal.enabled = true,
             wal.path = '{dir}/wal', inmemory.enabled = true, inmemory.max_mb = 256, compaction.schedule = '0 0 1 1 *');"
        );
        let declarations = strandline_deql::parse_file("bench.deql", &text).unwrap();
        let options = NodeOptions { compaction_share: share, ..NodeOptions::new(format!("{dir}/node")) };
        let node = Node::start(declarations, options).await.unwrap();
        let store = node.store("calls").unwrap();
        // only what is asked for here
        store.pause(true).await.unwrap();
        Self { node, store, seqs: vec![0; STREAMS], next: 0 }
    }

    /// The next events, with their seqs: each stream in turn.
    fn batch(&mut self, rows: usize, unit: BatchUnit) -> BatchBytes {
        let mut builder = BatchBuilder::new(STREAM_TYPE, unit);
        for n in self.next..self.next + rows {
            let stream = n * 7919 % STREAMS;
            self.seqs[stream] += 1;
            let seq = (unit == BatchUnit::Rows).then_some(Seq(self.seqs[stream]));
            let (stream_id, data) =
                (format!("4917{stream:08}"), format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(160)));
            let event = EventInput {
                stream_id: &stream_id,
                event_type: "CallEnded",
                data: &data,
                seq,
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
        }
        self.next += rows;
        builder.finish().unwrap()
    }

    /// One batch of each client at once.
    async fn append_batches(&mut self) {
        // made one after another: the seqs of a later one follow those of an earlier one, which comes first
        let batches: Vec<BatchBytes> = (0..CLIENTS).map(|_| self.batch(BATCH_ROWS, BatchUnit::Rows)).collect();
        let store = &self.store;
        let permits = self.node.permits();
        let appends = batches.into_iter().map(|batch| async move {
            let permit = Arc::new(permits.take(batch.bytes().len()).unwrap());
            let answers = store.append_bulk(vec![batch], OnError::Abort, permit).await.unwrap();
            answers.into_iter().for_each(|answer| drop(answer.unwrap()));
        });
        join_all(appends).await;
    }

    async fn load(&mut self, events: usize) {
        for _ in 0..events.div_ceil(CLIENTS * BATCH_ROWS) {
            self.append_batches().await;
        }
    }

    async fn compact(&self, events: usize) -> Arc<Job> {
        let waiting: u64 = self.store.plan().await.unwrap().jobs.iter().map(|plan| plan.events).sum();
        assert!(waiting >= events as u64, "{waiting} events wait for the job");
        self.store.compact(None).await.unwrap().remove(0)
    }

    /// Appends one event after another until the job has ended, or as long as is measured without one.
    async fn singles(&mut self, job: Option<&Job>) -> Latencies {
        let (began, mut took) = (Instant::now(), Vec::new());
        while goes_on(began, job) {
            let stream = self.next * 7919 % STREAMS;
            let expected = match self.seqs[stream] {
                0 => Expected::Empty,
                seq => Expected::At(Seq(seq)),
            };
            let batch = self.batch(1, BatchUnit::Append);
            let permit = Arc::new(self.node.permits().take(batch.bytes().len()).unwrap());
            let began = Instant::now();
            self.store.append_stream(batch, expected, false, permit).await.unwrap();
            took.push(began.elapsed());
        }
        took.sort_unstable();
        assert!(!took.is_empty(), "the job ended before the first append: compact more events");
        Latencies { count: took.len(), p50: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
    }

    /// Appends batches of all clients until the job has ended, or as long as is measured without one. Events a second.
    async fn batches(&mut self, job: Option<&Job>) -> f64 {
        let (began, mut events) = (Instant::now(), 0);
        while goes_on(began, job) {
            self.append_batches().await;
            events += CLIENTS * BATCH_ROWS;
        }
        events as f64 / began.elapsed().as_secs_f64()
    }
}
