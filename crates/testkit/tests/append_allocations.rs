//! What an append allocates: so many times a batch, whatever the number of its events.
//!
//! Counted at the allocator from the decoded batch to the answer: judged, stamped, framed, written and synced, committed, put into
//! memory, which is full here, so that older batches leave. Nothing is timed. Tables that must grow with what they hold (command ids
//! until a compaction) do so now and then: medians show the rule, sums bound the exceptions.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use strandline_engine::append::{Answer, AppendRequest};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 10_000;
/// Batches before: each stream has 10 runs in memory then, amid two sizes of its list.
const WARM_UP: usize = 50;
/// Batches that are measured, of each size.
const BATCHES: usize = 21;
const SMALL: usize = 200;
const LARGE: usize = 2000;
/// What a batch may allocate more for ten times the events: nothing that is counted by events.
const MORE: u64 = 4;
/// Allocations of a batch, however many events it has.
const BATCH_MAX: u64 = 30;
/// Vectors and tables of a batch that is being filled.
const COLUMNS_MAX: u64 = 16;
/// Allocations of a single append.
const SINGLE_MAX: u64 = 30;

/// Makes batches: the next events of all streams in turn.
struct Source {
    commands: bool,
    next: usize,
}

impl Source {
    fn batch(&mut self, rows: usize, unit: BatchUnit) -> BatchBytes {
        let mut builder = BatchBuilder::new("Call", unit);
        for n in self.next..self.next + rows {
            let (stream, command) = (format!("4917{:08}", n * 7919 % STREAMS), format!("command-{n}"));
            let data = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(180));
            let event = EventInput {
                stream_id: &stream,
                event_type: "CallEnded",
                occurred_at: Some(Micros(1_795_132_800_000_000 + n as i64)),
                data: &data,
                command_id: self.commands.then_some(&command),
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
        }
        self.next += rows;
        builder.finish().unwrap()
    }
}

/// Allocations of each append.
fn counts(store: &mut LocalStore, batches: Vec<BatchBytes>) -> Vec<u64> {
    let mut counts = Vec::with_capacity(batches.len());
    for batch in batches {
        store.time.advance_us(1000);
        let request = AppendRequest::new(batch);
        let region = Region::new(MEMORY);
        let answer = store.request(request);
        let change = region.change();
        assert!(matches!(answer, Answer::Done(_)));
        counts.push((change.allocations + change.reallocations) as u64);
    }
    counts.sort_unstable();
    counts
}

/// `Err`: what was counted, where that is too much.
fn check(commands: bool, memory_mb: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let keys = format!(
        "wal.enabled = true, wal.path = '{}', inmemory.enabled = true, inmemory.max_mb = {memory_mb}, \
         id.command_id.unique_scope = 'stream'",
        at("wal")
    );
    let mut store = LocalStore::on_real_disk(declared(&at("durable"), &keys)).unwrap();
    let mut source = Source { commands, next: 0 };
    for _ in 0..WARM_UP {
        let batches = vec![source.batch(LARGE, BatchUnit::Rows)];
        counts(&mut store, batches);
    }
    let mut of = |rows, unit| {
        let batches = (0..BATCHES).map(|_| source.batch(rows, unit)).collect();
        let counts = counts(&mut store, batches);
        (counts[BATCHES / 2], counts.iter().sum::<u64>())
    };
    let (small, large) = (of(SMALL, BatchUnit::Rows), of(LARGE, BatchUnit::Rows));
    let single = of(1, BatchUnit::Append);
    let what = format!(
        "commands: {commands}, memory {memory_mb} MB: {small:?} and {large:?} for {SMALL} and {LARGE} events; {single:?} for one"
    );
    println!("{what}");
    let is_flat = small.0 <= BATCH_MAX && large.0 <= small.0 + MORE;
    let grows_seldom = large.1 <= BATCHES as u64 * BATCH_MAX + (BATCHES * LARGE / 50) as u64;
    if is_flat && grows_seldom && single.0 <= SINGLE_MAX { Ok(()) } else { Err(what) }
}

/// Allocations of putting events into a batch, as the edge does.
fn built(rows: usize) -> u64 {
    let texts: Vec<String> = (0..rows).map(|n| format!("4917{n:08}")).collect();
    let region = Region::new(MEMORY);
    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
    for text in &texts {
        let command_id = Some(text.as_str());
        let event = EventInput { stream_id: text, event_type: "E", data: "{}", command_id, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    builder.finish().unwrap();
    let change = region.change();
    (change.allocations + change.reallocations) as u64
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn an_append_allocates_by_the_batch_and_not_by_the_event() {
    // memory holds events of few streams, of all of them, and all events
    let cases = [false, true].into_iter().flat_map(|commands| [2, 8, 256].map(|memory_mb| (commands, memory_mb)));
    let over: Vec<String> = cases.filter_map(|(commands, memory_mb)| check(commands, memory_mb).err()).collect();
    assert!(over.is_empty(), "{over:#?}");
    // the columns double as they fill
    let (small, large) = (built(SMALL), built(LARGE));
    println!("to build: {small} and {large} for {SMALL} and {LARGE} events");
    assert!(large <= small + COLUMNS_MAX * 4, "{small} and {large} to build a batch");
}
