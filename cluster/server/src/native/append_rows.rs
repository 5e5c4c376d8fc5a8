//! Single events of a frame, each an append of its own, as rows of one batch.
//!
//! ```text
//!  a frame -> checked -> one batch to its owner -> what is stored: told
//!                |                            +--> the others -----+
//!                +-- a payload is no JSON: all of them ------------+-> appends by themselves (`append.rs`) -> told
//! ```

use crate::http::call::ServedStore;
use crate::native::append::{AppendOutcomes, Checked, OUTCOME_BYTES, expected_of, lost};
use crate::native::checks::{check_limits, check_payloads};
use crate::native::connection::DECODE_HERE_BYTES_MAX;
use crate::native::refusal::{no_room, refused};
use crate::native::relay::Relay;
use crate::native::session::Asker;
use std::sync::Arc;
use strandline_client::wire::append::{Appends, StreamAppend};
use strandline_client::wire::append_rows::AppendRows;
use strandline_client::{Appended, Refused, StoredEvent};
use strandline_engine::append::RowMap;
use strandline_event::{BatchBuilder, BatchUnit, FieldNames, StampedBatch};
use strandline_workers::RowsOutcome;
use strandline_workers::permits::{BytePermit, BytePermits};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{Instrument, Span};

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
            let others = async move {
                let (count, judging) = (left.len(), Arc::clone(&store));
                let check = move |appends: Appends| {
                    // each has for itself what rows have together: it counts as if it had come so
                    drop(permit);
                    let permit = permits.take(bytes_of(&appends))?;
                    Some((Checked::new(appends, judging.names()), Arc::new(permit)))
                };
                match apart(rows, left, check).await {
                    None => then(merged(outcomes, Vec::new())),
                    Some(None) => then(merged(outcomes, vec![Err(no_room(&store)); count])),
                    Some(Some((checked, permit))) => {
                        checked.begin(&store, (relay, asker), permit, move |others| then(merged(outcomes, others)));
                    }
                }
            };
            runtime.spawn(others.instrument(span));
        };
        if are_apart {
            drop(counted);
            return told(RowsOutcome::Apart);
        }
        served.store.append_rows_then(batch, each, counted, told);
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

/// Some of the rows, each as an append that came by itself, and what `then` makes of them. All that they hold is copied and looked at once more: of a
/// large frame on a thread that no other request waits for. `None`: nothing is made of them.
async fn apart<T: Send + 'static>(
    rows: AppendRows,
    left: Vec<usize>,
    then: impl FnOnce(Appends) -> T + Send + 'static,
) -> Option<T> {
    let is_large = rows.batch.bytes().len() > DECODE_HERE_BYTES_MAX;
    let make = move || {
        let appends = by_themselves(&rows, &left)?;
        drop(rows);
        Some(then(appends))
    };
    if is_large { spawn_blocking(make).await.ok().flatten() } else { make() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::mpsc;
    use strandline_client::Expected;
    use strandline_event::{ErrorKind, EventId, EventInput, Micros, Seq};

    #[test]
    fn what_became_of_the_others_stands_in_their_places() {
        let one =
            |seq| Appended::One(StoredEvent { event_id: EventId::default(), seq: Seq(seq), ingested_at: Micros(1) });
        let stored = vec![None, Some(one(1)), None, Some(one(2)), None];
        let others = vec![Ok(one(9)), Err(Refused::new(ErrorKind::CommandConflict, "no"))];
        let told = merged(stored, others).into_iter();
        let told: Vec<_> = told.map(|one| one.map(|one| one.first_seq().0).map_err(|no| no.kind())).collect();
        let (conflict, lost) = (Err(Some(ErrorKind::CommandConflict)), Err(Some(ErrorKind::Io)));
        assert_eq!(told, [Ok(9), Ok(1), conflict, Ok(2), lost]);
    }

    #[test]
    fn a_row_says_by_itself_what_it_said_among_others() {
        let full = EventInput {
            stream_id: "s",
            event_type: "E",
            event_version: Some(3),
            occurred_at: Some(Micros(1)),
            data: "{}",
            metadata: Some("[]"),
            command_id: Some("c"),
            correlation_id: Some(""),
            causation_id: Some("a"),
            tenant_id: Some("t"),
            ..EventInput::default()
        };
        let plain =
            EventInput { stream_id: "r", event_type: "F", data: "1", tenant_id: Some("t"), ..EventInput::default() };
        let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
        [plain, full, full].iter().for_each(|row| batch.push(row).unwrap());
        let expected = vec![Expected::Any, Expected::Empty, Expected::At(Seq(7))];
        let rows = AppendRows { batch: batch.finish().unwrap(), expected };
        let appends = by_themselves(&rows, &[0, 2]).unwrap().appends;
        for (append, (row, expected)) in appends.iter().zip([(plain, Expected::Any), (full, Expected::At(Seq(7)))]) {
            let view = append.batch.view();
            assert_eq!((view.unit(), view.rows(), append.expected), (BatchUnit::Append, 1, expected));
            assert_eq!((view.stream_type(), format!("{:?}", view.input(0))), ("T", format!("{row:?}")));
        }
        assert_eq!(appends.len(), 2);
    }

    #[test]
    fn rows_of_a_large_frame_become_appends_by_no_thread_of_the_runtime() {
        let rows = |count: usize| {
            let data = format!("\"{}\"", "x".repeat(1000));
            let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
            for _ in 0..count {
                batch
                    .push(&EventInput { stream_id: "s", event_type: "E", data: &data, ..EventInput::default() })
                    .unwrap();
            }
            AppendRows { batch: batch.finish().unwrap(), expected: vec![Expected::Any; count] }
        };
        let count = |appends: Appends| appends.appends.len();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // the one thread for such work is held
            let (free, held) = mpsc::channel::<()>();
            let holding = spawn_blocking(move || held.recv());
            assert_eq!(apart(rows(3), vec![0, 2], count).now_or_never(), Some(Some(2)));
            let mut later = Box::pin(apart(rows(100), (0..100).collect(), count));
            assert!((&mut later).now_or_never().is_none(), "it waits for the thread");
            free.send(()).unwrap();
            assert_eq!(later.await, Some(100));
            holding.await.unwrap().unwrap();
        });
    }
}
