//! A log that waits for a compaction job: call records of 10,000 subscribers in the order of time, on the real disk, all but the last batch in
//! sealed segments.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may be blunt")]

use std::ops::Range;
use std::path::Path;
use strandline_deql::StoreConfig;
use strandline_engine::append::{Answer, Expected, OnError};
use strandline_event::{BatchUnit, LogKey, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

const STREAM_TYPE: &str = "Call";
const BATCH_ROWS: usize = 1000;
const DAY: i64 = 86_400_000_000;

/// The log.
#[must_use]
pub fn log() -> LogKey {
    LogKey::single(STREAM_TYPE)
}

/// The declaration of a store in a folder: a log, data files by day below `durable`, nothing in memory.
#[must_use]
pub fn config(folder: &Path) -> StoreConfig {
    let keys = format!(
        "wal.enabled = true, wal.path = '{}', wal.rollover_mb = 256, inmemory.enabled = false, partition.by = ('dt')",
        folder.join("wal").display()
    );
    declared(&folder.join("durable").to_string_lossy(), &keys)
}

/// Such a store with so many events, at least a batch of 1,000, over so many days.
#[must_use]
pub fn waiting(folder: &Path, events: usize, days: usize) -> LocalStore {
    let mut store = LocalStore::on_real_disk(config(folder)).unwrap();
    // as under load: appends go on behind what is compacted, so that all but a little of it is in sealed segments
    load(&mut store, 0..events - BATCH_ROWS, days);
    store.seal(&log());
    load(&mut store, events - BATCH_ROWS..events, days);
    store
}

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
