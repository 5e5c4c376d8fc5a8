//! Appends of one frame: checked, handed to the node in one call, answered in one frame.

use crate::http::call::ServedStore;
use crate::native::checks::check;
use crate::native::refusal::{of_api, refused};
use std::sync::Arc;
use strandline_client::wire::append::{Appends, Expected as WireExpected, OnError as WireOnError};
use strandline_client::wire::header::Kind;
use strandline_client::wire::outcome::OutcomesWriter;
use strandline_client::{Appended, KnownEvent, PartAppended, Refused, RejectedRow};
use strandline_engine::append::{AppendOutcome, Expected, OnError};
use strandline_event::{BatchBytes, ErrorKind, FieldNames, limits};
use strandline_workers::permits::BytePermit;
use strandline_workers::{AppendedEvent, Outcome, StreamAppend, StreamOutcome};

/// A row of an append that was known, in an answer.
const KNOWN_BYTES: usize = 40;
/// An outcome without its rows, or a row that was rejected: mostly a sentence.
const OUTCOME_BYTES: usize = 256;

/// Appends to streams, each of them checked.
pub(super) struct Checked {
    appends: Vec<StreamAppend>,
    /// Of each append of the frame: what is wrong with it.
    refused: Vec<Option<Refused>>,
    dry_run: bool,
}

impl Checked {
    /// Checks every append by itself.
    pub(super) fn new(decoded: Appends, names: &FieldNames) -> Self {
        let mut appends = Vec::with_capacity(decoded.appends.len());
        let mut refused = Vec::with_capacity(decoded.appends.len());
        for append in decoded.appends {
            let judged = check_size(&append.batch).and_then(|()| check(append.batch.view(), names));
            if judged.is_ok() {
                let expected = match append.expected {
                    WireExpected::Any => Expected::Any,
                    WireExpected::Empty => Expected::Empty,
                    WireExpected::At(seq) => Expected::At(seq),
                };
                appends.push(StreamAppend { batch: append.batch, expected });
            }
            refused.push(judged.err());
        }
        Self { appends, refused, dry_run: decoded.dry_run }
    }

    /// Bytes of its answer, about, and no more but for long sentences.
    pub(super) fn answer_bytes(&self) -> usize {
        let rows: usize = self.appends.iter().map(|append| append.batch.view().rows()).sum();
        rows * KNOWN_BYTES + self.refused.len() * OUTCOME_BYTES
    }

    /// Appends what is right; `then` is given the answer to all. It must not wait: the owner of a log may be who calls it.
    pub(super) fn begin(
        self,
        served: &Arc<ServedStore>,
        request: u64,
        permit: BytePermit,
        then: impl FnOnce(Vec<u8>) + Send + Sync + 'static,
    ) {
        let (wrong, answering) = (self.refused, Arc::clone(served));
        let then = move |outcomes| then(answer(&answering, request, wrong, outcomes));
        served.store.append_many_then(self.appends, self.dry_run, &Arc::new(permit), then);
    }
}

/// The answer to a frame: in each place what is wrong with the append, or its outcome.
fn answer(served: &ServedStore, request: u64, refusals: Vec<Option<Refused>>, outcomes: Vec<Outcome>) -> Vec<u8> {
    let mut out = OutcomesWriter::new(Kind::Appended, request, refusals.len());
    let mut outcomes = outcomes.into_iter();
    for wrong in refusals {
        if let Some(wrong) = wrong {
            out.refused(&wrong);
            continue;
        }
        match outcomes.next() {
            Some(Ok(StreamOutcome::Stored(stamped))) => {
                out.appended(&Appended::Stored(stamped.stamps().clone()));
            }
            Some(Ok(StreamOutcome::Known(events))) => {
                out.appended(&Appended::Known(events.iter().map(known).collect()));
            }
            Some(Err(error)) => out.refused(&refused(&error, served)),
            None => out.refused(&Refused::new(ErrorKind::Io, "the append was lost inside the program")),
        }
    }
    out.finish().into_bytes()
}

fn check_size(batch: &BatchBytes) -> Result<(), Refused> {
    let (bytes, limit) = (batch.bytes().len(), limits::APPEND_BYTES_MAX);
    if bytes <= limit {
        return Ok(());
    }
    let text = format!("an append to a stream of {bytes} bytes is over the limit of {limit}: send several");
    Err(Refused::new(ErrorKind::TooLarge, text))
}

const fn known(event: &AppendedEvent) -> KnownEvent {
    KnownEvent { event_id: event.event_id, seq: event.seq, ingested_at: event.ingested_at }
}

/// Batches of a bulk append, checked: the first row that is wrong refuses all, or its part.
pub(super) struct CheckedBulk {
    batches: Vec<BatchBytes>,
    on_error: OnError,
}

impl CheckedBulk {
    /// Checks all batches. A client that makes batches itself has checked its rows: one that is wrong refuses the frame.
    pub(super) fn new(batches: Vec<BatchBytes>, on_error: WireOnError, names: &FieldNames) -> Result<Self, Refused> {
        for (part, batch) in batches.iter().enumerate() {
            let stream_type = batch.view().stream_type();
            let others = batches.get(..part).unwrap_or(&[]);
            if others.iter().any(|other| other.view().stream_type() == stream_type) {
                let text = format!("two batches of one bulk append are of stream type '{stream_type}': join them");
                return Err(Refused { part: Some(part as u32), ..Refused::new(ErrorKind::BadRequest, text) });
            }
            check(batch.view(), names).map_err(|refused| Refused { part: Some(part as u32), ..refused })?;
        }
        let on_error = match on_error {
            WireOnError::Abort => OnError::Abort,
            WireOnError::Skip => OnError::Skip,
        };
        Ok(Self { batches, on_error })
    }

    /// Bytes of its answer, about.
    pub(super) fn answer_bytes(&self) -> usize {
        let may_reject = |batch: &BatchBytes| if self.on_error == OnError::Skip { batch.view().rows() } else { 1 };
        self.batches.iter().map(|batch| may_reject(batch) * OUTCOME_BYTES).sum()
    }

    /// Appends and answers.
    pub(super) async fn run(self, served: &ServedStore, request: u64, permit: BytePermit) -> Vec<u8> {
        let results = match served.store.append_bulk(self.batches, self.on_error, Arc::new(permit)).await {
            Ok(results) => results,
            Err(error) => return refused(&error, served).encode(request).into_bytes(),
        };
        let stored: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()?.stamped.as_ref()).collect();
        let _ = served.store.confirm_projections(&stored).await;
        let mut out = OutcomesWriter::new(Kind::BulkAppended, request, results.len());
        for result in &results {
            match result {
                Ok(outcome) => out.part(&part(outcome, served.names())),
                Err(error) => out.refused(&refused(error, served)),
            }
        }
        out.finish().into_bytes()
    }
}

fn part(outcome: &AppendOutcome, names: &FieldNames) -> PartAppended {
    let rejected = outcome.rejected.iter().map(|rejected| {
        let Refused { code, text, .. } = of_api(&crate::failure::append(&rejected.error, names));
        RejectedRow { row: rejected.row, code, text }
    });
    PartAppended {
        appended: outcome.stamped.as_ref().map_or(0, |stamped| stamped.rows() as u64),
        known: outcome.duplicate_rows as u64,
        chunk_known: outcome.chunk_known,
        rejected: rejected.collect(),
    }
}
