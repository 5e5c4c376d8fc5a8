//! A node in this process with fsync on, and those who append to it: one client's single appends, or 8 clients' batches. Every append carries
//! the seq that it expects. Its compaction runs only when it is asked for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may be blunt")]

use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::append::{Expected, OnError};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput, Seq};
use strandline_workers::{Job, Node, NodeHandle, NodeOptions, Share, StoreHandle};

const STREAM_TYPE: &str = "Call";
const BATCH_ROWS: usize = 1000;
const CLIENTS: usize = 8;
/// Prime, and no factor of the numbers of streams that are asked for: each stream has its turn.
const STRIDE: usize = 7919;

/// Those who append, and what they know of the streams.
pub struct Appenders {
    /// The node.
    pub node: NodeHandle,
    /// Its one store.
    pub store: StoreHandle,
    /// The last seq of each stream.
    seqs: Vec<u64>,
    next: usize,
}

/// Latencies of single appends.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// How many there were.
    pub count: usize,
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with p50 {:.0?} and p99 {:.0?}", self.count, self.p50, self.p99)
    }
}

impl Appenders {
    /// A node with an empty store below `dir`, over so many streams. `keys` are more keys of its statement, each after a comma.
    pub async fn start(dir: &Path, keys: &str, share: Share, streams: usize) -> Self {
        let dir = dir.display();
        let text = format!(
            "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '{dir}/durable', wal.enabled = true,
             wal.path = '{dir}/wal', inmemory.enabled = true, inmemory.max_mb = 256, compaction.schedule = '0 0 1 1 *'{keys});"
        );
        let declarations = strandline_deql::parse_file("bench.deql", &text).unwrap();
        let options = NodeOptions { compaction_share: share, ..NodeOptions::new(format!("{dir}/node")) };
        let node = Node::start(declarations, options).await.unwrap();
        let store = node.store("calls").unwrap();
        // only what is asked for here
        store.pause(true).await.unwrap();
        Self { node, store, seqs: vec![0; streams], next: 0 }
    }

    /// Ends the node.
    pub async fn stop(self) {
        let Self { node, store, .. } = self;
        drop(store);
        node.stop().await.unwrap();
    }

    /// How many events were appended.
    pub const fn events(&self) -> usize {
        self.next
    }

    /// How many streams have their turns.
    pub const fn streams(&self) -> usize {
        self.seqs.len()
    }

    /// Goes on over so many streams, if they are more.
    pub fn spread(&mut self, streams: usize) {
        self.seqs.resize(streams.max(self.seqs.len()), 0);
    }

    /// The next events, with their seqs: each stream in turn.
    fn batch(&mut self, rows: usize, unit: BatchUnit) -> BatchBytes {
        let mut builder = BatchBuilder::new(STREAM_TYPE, unit);
        for n in self.next..self.next + rows {
            let stream = n * STRIDE % self.seqs.len();
            self.seqs[stream] += 1;
            let seq = (unit == BatchUnit::Rows).then_some(Seq(self.seqs[stream]));
            let (stream_id, data) = (format!("4917{stream:08}"), record(n));
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

    /// One batch of each client at once. Gives the events.
    async fn append_batches(&mut self) -> usize {
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
        CLIENTS * BATCH_ROWS
    }

    /// Appends at least so many events.
    pub async fn load(&mut self, events: usize) {
        let end = self.next + events;
        while self.next < end {
            self.append_batches().await;
        }
    }

    /// Starts a compaction of at least so many events.
    pub async fn compact(&self, events: usize) -> Arc<Job> {
        let waiting: u64 = self.store.plan(None).await.unwrap().jobs.iter().map(|plan| plan.events).sum();
        assert!(waiting >= events as u64, "{waiting} events wait for the job");
        self.store.compact(None).await.unwrap().remove(0)
    }

    /// Appends one event after another.
    pub async fn singles(&mut self, goes_on: impl Fn() -> bool) -> Latencies {
        let mut took = Vec::new();
        while goes_on() {
            let stream = self.next * STRIDE % self.seqs.len();
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
        assert!(!took.is_empty(), "nothing was appended: compact more events");
        Latencies { count: took.len(), p50: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
    }

    /// Appends batches of all clients. Events a second.
    pub async fn batches(&mut self, goes_on: impl Fn() -> bool) -> f64 {
        let (began, mut events) = (Instant::now(), 0);
        while goes_on() {
            events += self.append_batches().await;
        }
        events as f64 / began.elapsed().as_secs_f64()
    }
}

/// What an event of a call says: no two alike.
fn record(n: usize) -> String {
    format!(
        "{{\"callee\":\"4917{:08}\",\"seconds\":{},\"cell\":\"{:04x}\",\"imsi\":\"26201{:010}\",\"network\":\"5G\",\"cause\":16,\"leg\":{n}}}",
        n.wrapping_mul(48_271) % 100_000_000,
        n % 3600,
        n.wrapping_mul(16_807) % 65_536,
        n.wrapping_mul(69_621) % 10_000_000_000,
    )
}

/// How long a job took, from the moment at which it was asked for.
///
/// # Panics
/// If the job failed.
pub async fn took(job: &Job) -> Duration {
    let end = job.ended().await;
    assert_eq!(end.error, None);
    Duration::from_micros((end.ended_at.0 - job.asked_at.0).unsigned_abs())
}

/// The median.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
