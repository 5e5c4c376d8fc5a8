//! Single events of a frame, each an append of its own, as rows of one batch.
//!
//! ```text
//!  a frame -> checked -> one batch to its owner -> what is stored: told
//!                |                            +--> the others -----+
//!                +-- a payload is no JSON: all of them ------------+-> appends by themselves (`append.rs`) -> told
//! ```

use crate::http::call::ServedStore;
use crate::native::append::{AppendOutcomes, Checked, lost};
use crate::native::checks::{check_limits, check_payloads};
use crate::native::refusal::refused;
use crate::native::relay::Relay;
use crate::native::session::Asker;
use std::sync::Arc;
use strandline_client::wire::append::{Appends, Expected as WireExpected, StreamAppend};
use strandline_client::wire::append_rows::AppendRows;
use strandline_client::{Appended, Refused, StoredEvent};
use strandline_engine::append::{Expected, RowMap};
use strandline_event::{BatchBuilder, BatchUnit, FieldNames, StampedBatch};
use strandline_workers::permits::{BytePermit, BytePermits};
use strandline_workers::{NodeError, RowsOutcome};
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

/// Bytes of an outcome, also of one that is refused: mostly a sentence.
const OUTCOME_BYTES: usize = 256;

/// Single events, checked.
pub(super) struct CheckedRows {
    rows: AppendRows,
    /// One is wrong, which is said of it alone: they are judged by themselves.
    are_apart: bool,
}

impl CheckedRows {
    /// Checks all rows. A client that makes batches itself has checked their limits: a row that is over one refuses the frame.
    pub(super) fn new(rows: AppendRows, names: &FieldNames) -> Result<Self, Refused> {
        check_limits(rows.batch.view(), names)?;
        let are_apart = check_payloads(rows.batch.view(), names).is_err();
        Ok(Self { rows, are_apart })
    }

    /// Bytes of its answer, about, and no more but for long sentences.
    pub(super) fn answer_bytes(&self) -> usize {
        self.rows.expected.len() * OUTCOME_BYTES
    }

    /// Appends what is right, by `relay` also what another node leads; `then` is given the outcomes. It must not wait: the owner of a log may be
    /// who calls it. `permits` count what comes by itself.
    pub(super) fn begin(
        self,
        served: &Arc<ServedStore>,
        (relay, asker): (Option<Arc<Relay>>, Option<Asker>),
        (permits, permit): (BytePermits, Arc<BytePermit>),
        then: impl FnOnce(AppendOutcomes) + Send + Sync + 'static,
    ) {
        let (runtime, span) = (Handle::current(), Span::current());
        let Self { rows, are_apart } = self;
        let each = rows.expected.iter().map(|expected| expected_of(*expected)).collect();
        let (batch, counted, store) = (rows.batch.clone(), Arc::clone(&permit), Arc::clone(served));
        let told = move |outcome: RowsOutcome| {
            let outcomes = match outcome {
                RowsOutcome::Failed(error) => {
                    let refused = refused(&error, &store);
                    return then(rows.expected.iter().map(|_| Err(refused.clone())).collect());
                }
                RowsOutcome::Stored(stamped, map) => stored(rows.expected.len(), &stamped, &map),
                RowsOutcome::Apart => rows.expected.iter().map(|_| None).collect(),
            };
            let left: Vec<usize> =
                outcomes.iter().enumerate().filter(|(_, o)| o.is_none()).map(|(row, _)| row).collect();
            if left.is_empty() {
                return then(outcomes.into_iter().flatten().map(Ok).collect());
            }
            let apart = async move {
                let Some(appends) = by_themselves(&rows, &left) else { return then(merged(outcomes, Vec::new())) };
                // each has for itself what rows have together: it counts as if it had come so
                drop((rows, permit));
                let Some(permit) = permits.take(bytes_of(&appends)) else {
                    let text = "too many bytes of appends are in flight: try again";
                    let refused = refused(&NodeError::Overloaded(text), &store);
                    return then(merged(outcomes, left.iter().map(|_| Err(refused.clone())).collect()));
                };
                let apart = Checked::new(appends, store.names());
                apart.begin(&store, (relay, asker), Arc::new(permit), move |others| then(merged(outcomes, others)));
            };
            runtime.spawn(apart.instrument(span));
        };
        if are_apart {
            return told(RowsOutcome::Apart);
        }
        served.store.append_rows_then(batch, each, &counted, told);
    }
}

const fn expected_of(expected: WireExpected) -> Expected {
    match expected {
        WireExpected::Any => Expected::Any,
        WireExpected::Empty => Expected::Empty,
        WireExpected::At(seq) => Expected::At(seq),
    }
}

/// By row of the frame: what is stored.
fn stored(count: usize, stamped: &StampedBatch, map: &RowMap) -> Vec<Option<Appended>> {
    let mut outcomes = vec![None; count];
    for row in 0..stamped.rows() {
        let event = StoredEvent {
            event_id: stamped.event_id(row),
            seq: stamped.seq(row),
            ingested_at: stamped.stamps().ingested_at(row),
        };
        if let Some(outcome) = outcomes.get_mut(map.request_row(row)) {
            *outcome = Some(Appended::One(event));
        }
    }
    outcomes
}

/// Some of the rows, each as an append that came by itself. `None`: one is over a limit, and would have been refused.
fn by_themselves(rows: &AppendRows, left: &[usize]) -> Option<Appends> {
    let view = rows.batch.view();
    let one = |row: &usize| {
        let expected = *rows.expected.get(*row)?;
        let mut batch = BatchBuilder::new(view.stream_type(), BatchUnit::Append);
        batch.push(&view.input(*row)).ok()?;
        Some(StreamAppend { batch: batch.finish().ok()?, expected })
    };
    let appends = left.iter().map(one).collect::<Option<Vec<_>>>()?;
    Some(Appends { appends, dry_run: false })
}

fn bytes_of(appends: &Appends) -> usize {
    appends.appends.iter().map(|append| append.batch.bytes().len()).sum()
}

/// What is stored, and in the places that are left what became of the others, in their order.
fn merged(stored: Vec<Option<Appended>>, others: AppendOutcomes) -> AppendOutcomes {
    let mut others = others.into_iter();
    stored.into_iter().map(|one| one.map_or_else(|| others.next().unwrap_or_else(lost), Ok)).collect()
}
