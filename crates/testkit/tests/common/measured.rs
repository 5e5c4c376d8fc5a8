//! A store on the real disk whose memory is counted: what goes into it.

// each test uses its part of it; helpers of a test are as blunt as the test itself
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use strandline_engine::append::{Answer, Expected, OnError};
use strandline_event::{BatchUnit, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

pub(crate) const MB: usize = 1 << 20;
const BATCH_ROWS: usize = 1000;
const STREAMS: usize = 500;
const DAY_US: i64 = 86_400_000_000;

/// A store below a folder, its files as large as their rows.
pub(crate) fn store(folder: &Path, keys: &str) -> LocalStore {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let keys = format!(
        "wal.enabled = true, wal.path = '{}', wal.rollover_mb = 4, inmemory.enabled = false, durable.compression = 'none', {keys}",
        at("wal")
    );
    LocalStore::on_real_disk(declared(&at("durable"), &keys)).unwrap()
}

/// Events of some 450 bytes, in turn of so many days.
pub(crate) fn load(store: &mut LocalStore, numbers: std::ops::Range<usize>, days: usize) {
    for first in numbers.step_by(BATCH_ROWS) {
        append(store, first, days);
    }
}

fn append(store: &mut LocalStore, first: usize, days: usize) {
    let event = |n: usize| Event {
        stream_id: format!("4917{:08}", n * 7919 % STREAMS),
        event_type: "CallEnded".to_owned(),
        occurred_at: Some(Micros(1_795_132_800_000_000 + n as i64 + (n % days) as i64 * DAY_US)),
        data: format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(400)),
        ..Event::default()
    };
    let request = Append {
        stream_type: "Call".to_owned(),
        unit: BatchUnit::Rows,
        events: (first..first + BATCH_ROWS).map(event).collect(),
        expected: Expected::Any,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    };
    assert!(matches!(store.append(&request), Answer::Done(_)));
    store.time.advance_us(1000);
}
