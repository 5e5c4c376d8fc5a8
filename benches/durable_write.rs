//! How fast compaction is: a whole job (log read, rows sorted and split into partitions, encoded, checksummed, synced, committed)
//! against the `parquet` crate alone, which writes the same sorted rows, ready in memory, with the same settings in one thread,
//! and syncs them. Both on local files. The ratio is time of the crate / time of the job; 1.00 would be a job that costs
//! nothing but the encoding. Also as CPU time of the process, which a busy machine does
//! not distort as much: a job looks at rows while it reads, and gathers and encodes them, in two threads.
//!
//! `cargo bench -p strandline-benches --bench durable_write -- [events] [runs]` (1,000,000 and 5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench may be blunt"
)]

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use strandline_durable::Layout;
use strandline_engine::append::{Answer, Expected, OnError};
use strandline_engine::compact::{JobLimits, Phase, Step, Steps, Stopped};
use strandline_event::{BatchUnit, LogKey, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

const STREAM_TYPE: &str = "Call";
const BATCH_ROWS: usize = 1000;
const DAY: i64 = 86_400_000_000;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let events = numbers.next().unwrap_or(1_000_000);
    let runs = numbers.next().unwrap_or(5);
    println!("durable_write: {events} call records, median of {runs} runs, job and crate in turn");
    for days in [1, 30] {
        let took: Vec<(Spent, Spent, String)> = (0..runs).map(|_| run(events, days)).collect();
        for (job, alone, phases) in &took {
            println!(
                "  {days:>2} days: job {:.2?}, crate {:.2?}, ratio {:.2}; CPU {:.2?}, {:.2?}, {:.2}; {phases}",
                job.wall,
                alone.wall,
                ratio(alone.wall, job.wall),
                job.cpu,
                alone.cpu,
                ratio(alone.cpu, job.cpu)
            );
        }
        let wall = median(took.iter().map(|(job, alone, _)| ratio(alone.wall, job.wall)));
        let cpu = median(took.iter().map(|(job, alone, _)| ratio(alone.cpu, job.cpu)));
        let rate = median(took.iter().map(|(job, ..)| events as f64 / job.wall.as_secs_f64()));
        println!("  {days:>2} days: median ratio {wall:.2}, of CPU {cpu:.2}; the job moves {rate:.0} events/s");
    }
}

/// When a job entered each of its phases.
#[derive(Default)]
struct Phases(Mutex<Vec<(Phase, Instant)>>);

impl Steps for Phases {
    fn reached(&self, _step: Step) -> Result<(), Stopped> {
        Ok(())
    }

    fn entered(&self, phase: Phase) {
        self.0.lock().unwrap().push((phase, Instant::now()));
    }
}

impl Phases {
    /// How long each took, the last one until now.
    fn told(self) -> String {
        let entered = self.0.into_inner().unwrap();
        let ends = entered.iter().skip(1).map(|(_, at)| *at).chain(std::iter::once(Instant::now()));
        let took = entered.iter().zip(ends).map(|((phase, at), end)| format!("{phase:?} {:.2?}", end - *at));
        took.collect::<Vec<_>>().join(", ").to_lowercase()
    }
}

/// What something took.
#[derive(Clone, Copy)]
struct Spent {
    wall: Duration,
    /// Of all threads.
    cpu: Duration,
}

fn measured<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let (began, cpu_began) = (Instant::now(), cpu());
    let result = work();
    (result, Spent { wall: began.elapsed(), cpu: cpu() - cpu_began })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratio(alone: Duration, job: Duration) -> f64 {
    alone.as_secs_f64() / job.as_secs_f64()
}

/// Times of a job and of the crate alone over what the job wrote, and of the job's phases.
fn run(events: usize, days: usize) -> (Spent, Spent, String) {
    let folder = tempfile::tempdir().unwrap();
    let keys = format!(
        "wal.enabled = true, wal.path = '{}', wal.rollover_mb = 256, inmemory.enabled = false, partition.by = ('dt')",
        folder.path().join("wal").display()
    );
    let config = declared(&folder.path().join("durable").to_string_lossy(), &keys);
    let mut store = LocalStore::on_real_disk(config.clone()).unwrap();
    let key = LogKey::single(STREAM_TYPE);
    // as under load: appends go on behind what is compacted, so that all but a little of it is in sealed segments
    load(&mut store, 0..events - BATCH_ROWS, days);
    store.seal(&key);
    load(&mut store, events - BATCH_ROWS..events, days);
    let phases = Phases::default();
    let (moved, job) = measured(|| store.compact_with(&key, JobLimits::default(), &phases).unwrap());
    let phases = phases.told();
    assert_eq!(moved, events as u64);

    let layout = Layout::new(&config).unwrap();
    let files = store.store().durable().pin().files().iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    let rows: Vec<Vec<RecordBatch>> =
        files.iter().map(|path| batches(&folder.path().join("durable").join(path))).collect();
    let counted: usize = rows.iter().flatten().map(RecordBatch::num_rows).sum();
    assert_eq!(counted, events, "both write the same rows");
    let alone = |(n, rows): (usize, &Vec<_>)| write(&layout, rows, &folder.path().join(format!("alone-{n}.parquet")));
    let ((), alone) = measured(|| rows.iter().enumerate().for_each(alone));
    (job, alone, phases)
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.with_batch_size(8192).build().unwrap().map(Result::unwrap).collect()
}

fn write(layout: &Layout, rows: &[RecordBatch], path: &Path) {
    let count = rows.iter().map(RecordBatch::num_rows).sum::<usize>();
    let (schema, options) = layout.encoder(count as u64);
    let file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut writer = ArrowWriter::try_new_with_options(file, schema, options).unwrap();
    for batch in rows {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap().into_inner().unwrap().sync_all().unwrap();
}

/// Call records of 10,000 subscribers, in the order of time over so many days.
fn load(store: &mut LocalStore, events: Range<usize>, days: usize) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 + events.start as u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let step = DAY * days as i64 / events.end as i64;
    for first in events.clone().step_by(BATCH_ROWS) {
        let event = |n: usize| Event {
            stream_id: format!("4917{:08}", below(10_000)),
            event_type: "CallEnded".to_owned(),
            occurred_at: Some(Micros(1_795_132_800_000_000 + step * n as i64)),
            data: format!(
                "{{\"callee\":\"4917{:08}\",\"seconds\":{},\"cell\":\"{:04x}\",\"imsi\":\"26201{:010}\",\"leg\":1,\"network\":\"5G\",\"cause\":16}}",
                below(100_000_000),
                below(3_600),
                below(65_536),
                below(10_000_000_000),
            ),
            ..Event::default()
        };
        let events = (first..events.end.min(first + BATCH_ROWS)).map(event).collect();
        let request = Append {
            stream_type: STREAM_TYPE.to_owned(),
            unit: BatchUnit::Rows,
            events,
            expected: Expected::Any,
            on_error: OnError::Abort,
            inspect: false,
            chunk: None,
        };
        assert!(matches!(store.append(&request), Answer::Done(_)));
        store.time.advance_us(1000);
    }
}
