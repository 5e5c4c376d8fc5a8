//! How fast compaction is: a whole job (log read, rows sorted and split into partitions, encoded, checksummed, synced, committed)
//! against the `parquet` crate alone, which writes the same sorted rows, ready in memory, with the same settings in one thread,
//! and syncs them. Both on local files. The ratio is time of the crate / time of the job; 1.00 would be a job that costs
//! nothing but the encoding. Also as CPU time of the process, which a busy machine does
//! not distort as much: a job looks at rows while it reads, and gathers and encodes them, in two threads.
//!
//! And a merge of some files of one partition, each with rows of many streams, against the crate alone, which reads the same files and writes the
//! rows that came of them. A merge is one thread.
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
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use strandline_benches::jobs;
use strandline_durable::Layout;
use strandline_engine::compact::{JobLimits, NoSteps, Phase, Step, Steps, Stopped, Trigger};
use strandline_testkit::local_store::LocalStore;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // as the program does when it serves
    strandline_workers::memory::take_small_pages();
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
    let took: Vec<(Spent, Spent)> = (0..runs).map(|_| merge(events)).collect();
    for (merge, alone) in &took {
        let ratio = ratio(alone.wall, merge.wall);
        println!(
            "  merge: {:.2?}, crate {:.2?}, ratio {ratio:.2}; CPU {:.2?}, {:.2?}",
            merge.wall, alone.wall, merge.cpu, alone.cpu
        );
    }
    let wall = median(took.iter().map(|(merge, alone)| ratio(alone.wall, merge.wall)));
    let rate = median(took.iter().map(|(merge, _)| events as f64 / merge.wall.as_secs_f64()));
    println!("  merge: median ratio {wall:.2}; it moves {rate:.0} events/s");
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

impl Spent {
    fn and(self, more: Self) -> Self {
        Self { wall: self.wall + more.wall, cpu: self.cpu + more.cpu }
    }
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
    let mut store = jobs::waiting(folder.path(), events, days);
    let phases = Phases::default();
    let (moved, job) = measured(|| store.compact_with(&jobs::log(), JobLimits::default(), &phases).unwrap());
    let phases = phases.told();
    assert_eq!(moved, events as u64);

    let rows = rows_of(&store, folder.path(), events);
    (job, written_alone(&rows, folder.path()), phases)
}

/// Jobs whose files a merge makes one of: several days would be several merges.
const JOBS: usize = 8;

/// Times of a merge, and of the crate alone over what it read and wrote.
fn merge(events: usize) -> (Spent, Spent) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = jobs::waiting(folder.path(), events, 1);
    let limits = JobLimits { rows_max: events.div_ceil(JOBS) as u64, ..JobLimits::default() };
    store.compact_with(&jobs::log(), limits, &NoSteps).unwrap();
    let (inputs, read) = measured(|| rows_of(&store, folder.path(), events));
    assert!(inputs.len() > 1, "{} files", inputs.len());
    drop(inputs);
    let (replaced, merge) = measured(|| store.merge(Trigger::Hand).unwrap());
    assert!(replaced > 1, "{replaced} files");
    let rows = rows_of(&store, folder.path(), events);
    (merge, written_alone(&rows, folder.path()).and(read))
}

/// The rows of all files, read by the crate.
fn rows_of(store: &LocalStore, folder: &Path, events: usize) -> Vec<Vec<RecordBatch>> {
    let files = store.store().durable().pin().files().iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    let rows: Vec<Vec<RecordBatch>> = files.iter().map(|path| batches(&folder.join("durable").join(path))).collect();
    let counted: usize = rows.iter().flatten().map(RecordBatch::num_rows).sum();
    assert_eq!(counted, events, "both write the same rows");
    rows
}

/// What the crate alone takes to write these rows into as many files.
fn written_alone(rows: &[Vec<RecordBatch>], folder: &Path) -> Spent {
    let layout = Layout::new(&jobs::config(folder)).unwrap();
    let alone = |(n, rows): (usize, &Vec<_>)| write(&layout, rows, &folder.join(format!("alone-{n}.parquet")));
    measured(|| rows.iter().enumerate().for_each(alone)).1
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
