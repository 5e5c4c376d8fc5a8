//! What each tier does per event, in microseconds: frames made, a log scanned at a start, a stream found in memory, a stream of three
//! tiers merged, a compaction job. How such a job compares with the `parquet` crate alone is a program of its own (`durable_write`).
//!
//! `cargo bench -p strandline-benches --bench tiers -- [filter]`; `--test` runs each once.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may be blunt")]

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use strandline_benches::jobs;
use strandline_engine::append::{Answer, AppendRequest};
use strandline_engine::compact::{JobLimits, NoSteps};
use strandline_engine::read::StreamRead;
use strandline_event::hash::stream_hash;
use strandline_event::{
    BatchBuilder, BatchBytes, BatchUnit, EventInput, IdPrefix, LogIndex, LogKey, Micros, Seq, StampedBatch,
    StampsBuilder,
};
use strandline_hot::{HotOptions, HotTier, SeqRange};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::{
    Disk, Entry, Group, InlineIo, LogConfig, LogIdentity, LogIo, LogWriter, OpenLog, RealDisk, SegmentPattern,
    log_folder_name, open_log, open_read_only,
};
use tempfile::TempDir;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAM_TYPE: &str = "Call";
const STREAMS: usize = 10_000;
/// Events of a compaction job.
const JOB_EVENTS: usize = 50_000;
const NOW: Micros = Micros(1_795_132_800_000_000);

fn stream_id(n: usize) -> String {
    format!("4917{:08}", n % STREAMS)
}

/// Call records: the next events of all streams in turn.
fn batch(first: usize, rows: usize) -> BatchBytes {
    let mut builder = BatchBuilder::new(STREAM_TYPE, BatchUnit::Rows);
    for n in first..first + rows {
        let (stream, data) = (stream_id(n), format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(160)));
        let occurred_at = Some(NOW.plus_us(n as i64));
        let input = EventInput {
            stream_id: &stream,
            event_type: "CallEnded",
            occurred_at,
            data: &data,
            ..EventInput::default()
        };
        builder.push(&input).unwrap();
    }
    builder.finish().unwrap()
}

/// As the owner of the log stamps it.
fn stamped(first: usize, rows: usize) -> StampedBatch {
    let mut stamps = StampsBuilder::new(NOW, IdPrefix::v7(NOW, first as u64), rows);
    for n in first..first + rows {
        stamps.push(Seq((n / STREAMS) as u64 + 1), NOW);
    }
    StampedBatch::new(batch(first, rows), stamps.finish()).unwrap()
}

/// A log of its own on the real disk.
struct Log {
    writer: LogWriter,
    io: InlineIo,
    dir: PathBuf,
    config: LogConfig,
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::new())
}

impl Log {
    fn new(folder: &Path) -> Self {
        let (dir, config) = (folder.join(log_folder_name(STREAM_TYPE, 0)), LogConfig::new(pattern()));
        let opened = open_log(OpenLog {
            disk: disk(),
            dir: dir.clone(),
            config: config.clone(),
            identity: LogIdentity { stream_type: STREAM_TYPE.into(), bucket: 0, node: 1 },
            birth: 1,
            founds: true,
            check_from: LogIndex::ZERO,
            begin_above: LogIndex::ZERO,
            now: NOW,
        });
        let io = InlineIo::new(Arc::new(|fatal| panic!("the disk failed: {fatal:?}")));
        let mut log = Self { writer: opened.unwrap().writer.unwrap(), io, dir, config };
        log.flush();
        log
    }

    fn push(&mut self, batch: &StampedBatch) {
        let leader = self.writer.state().vote.leader;
        let entry = Entry { leader, schema: 1, count: batch.rows() as u32, parts: &batch.payload_parts() };
        black_box(self.writer.push(entry, NOW).unwrap());
    }

    fn flush(&mut self) {
        while let Some(group) = self.writer.take_group() {
            let (send, receive) = channel();
            self.io.submit(group, Box::new(move |done| drop(send.send(done))));
            let group: Group = receive.recv().unwrap().unwrap();
            self.writer.committed(group);
            self.io.background(64);
        }
    }
}

fn pattern() -> SegmentPattern {
    SegmentPattern::parse("wal-{segment}.wal").unwrap()
}

/// Frames into the group that gathers, as while the one before is written: header, payload copied once, checksums.
fn frame_encode(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(folder.path());
    let mut group = criterion.benchmark_group("frame_encode");
    for rows in [1, 1000] {
        let batch = stamped(0, rows);
        group.throughput(Throughput::Bytes(batch.size_bytes() as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter_custom(|times| {
                let (mut spent, mut left) = (Duration::ZERO, times);
                while left > 0 {
                    let now = left.min(if rows == 1 { 1024 } else { 8 });
                    let began = Instant::now();
                    (0..now).for_each(|_| log.push(&batch));
                    spent += began.elapsed();
                    left -= now;
                    // not measured: the disk
                    log.flush();
                }
                spent
            });
        });
    }
    group.finish();
}

/// What a start reads of a log that nobody stopped: 64 MB of frames with every checksum.
fn recovery_scan(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(folder.path());
    let mut bytes = 0;
    for n in 0.. {
        let batch = stamped(n * 1000, 1000);
        bytes += batch.size_bytes() as u64;
        log.push(&batch);
        log.flush();
        if bytes > 64 << 20 {
            break;
        }
    }
    let Log { writer, dir, config, .. } = log;
    let wanted = writer.last_pushed();
    drop(writer);
    let disk = disk();
    let mut group = criterion.benchmark_group("recovery_scan");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10);
    group.bench_function("64MB", |bencher| {
        bencher.iter(|| {
            let opened = open_read_only(&disk, &dir, &config).unwrap();
            assert_eq!(opened.recovered.last_index(), wanted);
        });
    });
    group.finish();
}

/// A stream of 10 events among 10,000 in memory, with as many batches between them.
fn hot_lookup(criterion: &mut Criterion) {
    let key = LogKey::single(STREAM_TYPE);
    let tier = HotTier::new(HotOptions { max_bytes: 1 << 30, ttl_us: None, has_log: true });
    for n in 0..100 {
        tier.insert(&key, LogIndex(n + 1), stamped(n as usize * 1000, 1000), NOW);
    }
    let mut n = 0;
    criterion.bench_function("hot_lookup", |bencher| {
        bencher.iter(|| {
            n += 7919;
            let found = tier.stream(&key, stream_hash(&stream_id(n)), &SeqRange::ALL);
            assert_eq!(found.rows.len(), 10);
            found
        });
    });
    criterion.bench_function("hot_insert_1000", |bencher| {
        let mut next = 100;
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let batch = stamped(next * 1000, 1000);
                next += 1;
                let began = Instant::now();
                tier.insert(&key, LogIndex(next as u64), batch, NOW);
                spent += began.elapsed();
            }
            spent
        });
    });
}

/// A stream of 30 events: 10 in Parquet, 10 in the log alone, 10 in memory.
fn read_merge(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let keys = format!("wal.enabled = true, wal.path = '{}', inmemory.enabled = true, inmemory.max_mb = 48", at("wal"));
    let mut store = LocalStore::on_real_disk(declared(&at("durable"), &keys)).unwrap();
    let load = |store: &mut LocalStore, batches: std::ops::Range<usize>| {
        for n in batches {
            assert!(matches!(store.request(AppendRequest::new(batch(n * 1000, 1000))), Answer::Done(_)));
            store.time.advance_us(1000);
        }
    };
    load(&mut store, 0..100);
    store.compact_with(&LogKey::single(STREAM_TYPE), JobLimits::default(), &NoSteps).unwrap();
    load(&mut store, 100..300);
    let mut n = 0;
    criterion.bench_function("read_merge", |bencher| {
        bencher.iter(|| {
            n += 7919;
            let stream_id = stream_id(n);
            let read = StreamRead {
                stream_type: STREAM_TYPE,
                stream_id: &stream_id,
                from_seq: None,
                to_seq: None,
                limit: 1000,
                order: None,
            };
            let page = store.store().read_stream(&read).unwrap();
            assert_eq!(page.len(), 30);
            page
        });
    });
}

/// A whole compaction job: the log read, its rows sorted and split by day, data files written and synced, the commit. Each time of a log of its own.
fn durable_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable_write");
    group.throughput(Throughput::Elements(JOB_EVENTS as u64));
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(2));
    for days in [1, 30] {
        group.bench_function(BenchmarkId::new("days", days), |bencher| {
            let waiting = || {
                let folder = tempfile::tempdir().unwrap();
                (jobs::waiting(folder.path(), JOB_EVENTS, days), folder)
            };
            // what it gives back is taken down when the clock stands
            let job = |(mut store, folder): (LocalStore, TempDir)| {
                let moved = store.compact_with(&jobs::log(), JobLimits::default(), &NoSteps).unwrap();
                assert_eq!(moved, JOB_EVENTS as u64);
                (store, folder)
            };
            bencher.iter_batched(waiting, job, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(tiers, frame_encode, recovery_scan, hot_lookup, read_merge, durable_write);
criterion_main!(tiers);
