//! Appends of one frame: checked, handed to the node in one call, answered in one frame. What another node leads is sent there (`several.rs`).

use crate::http::call::ServedStore;
use crate::native::checks::check;
use crate::native::refusal::{of_api, refused};
use crate::native::relay::Relay;
use crate::native::session::Asker;
use crate::native::several::{Several, Told, send_on};
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_client::wire::append::{Appends, Expected as WireExpected, OnError as WireOnError};
use strandline_client::wire::header::Kind;
pub(super) use strandline_client::wire::outcome::AppendOutcomes;
use strandline_client::wire::outcome::OutcomesWriter;
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_client::{Appended, Client, ClientError, KnownEvent, PartAppended, Refused, RejectedRow};
use strandline_engine::append::{AppendOutcome, Expected, OnError};
use strandline_event::{BatchBytes, ErrorKind, FieldNames, StampedBatch, limits};
use strandline_workers::permits::BytePermit;
use strandline_workers::{AppendedEvent, NodeError, Outcome, OwnerPart, StreamAppend, StreamOutcome, same_owner_again};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::Instrument;

/// A row of an append that was known, in an answer.
const KNOWN_BYTES: usize = 40;
/// An outcome without its rows, also of one that is refused, or a row that was rejected: mostly a sentence.
pub(super) const OUTCOME_BYTES: usize = 256;

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
                appends.push(StreamAppend { batch: append.batch, expected: expected_of(append.expected) });
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

    /// Appends what is right, by `relay` also what other nodes lead; `then` is given the outcomes of all. It must not wait: the owner of a log may
    /// be who calls it.
    pub(super) fn begin(
        self,
        served: &Arc<ServedStore>,
        (relay, asker): (Option<Arc<Relay>>, Option<Asker>),
        permit: Arc<BytePermit>,
        then: impl FnOnce(AppendOutcomes) + Send + Sync + 'static,
    ) {
        let relay = match relay {
            Some(relay) if !self.dry_run && served.store.waits_for_projections() => {
                return self.begin_beside(served, (relay, asker), permit, then);
            }
            relay => relay,
        };
        let (wrong, answering) = (self.refused, Arc::clone(served));
        let sending = relay.map(|relay| {
            let streams = Streams::new(served, self.appends.clone(), self.dry_run, Arc::clone(&permit));
            (streams, relay, Handle::current())
        });
        let then = move |outcomes: Vec<Outcome>| {
            if let Some(asker) = &asker {
                tell(asker, &outcomes, &answering);
            }
            let told = outcomes.iter().any(is_led_elsewhere);
            let Some((streams, relay, runtime)) = sending.filter(|_| told) else {
                let outcomes = outcomes.into_iter().map(|outcome| stream_told(outcome, &answering).said());
                return then(placed(wrong, outcomes));
            };
            runtime.spawn(async move {
                let told = outcomes.into_iter().map(|outcome| stream_told(outcome, &answering)).collect();
                let outcomes = streams.send_on(told, &relay).await;
                then(placed(wrong, outcomes.into_iter()));
            });
        };
        served.store.append_many_then(self.appends, self.dry_run, &permit, then);
    }

    /// The same where appends wait for sync projections: what is stored here waits for them beside what is sent on, which waits where it is stored.
    fn begin_beside(
        self,
        served: &Arc<ServedStore>,
        (relay, asker): (Arc<Relay>, Option<Asker>),
        permit: Arc<BytePermit>,
        then: impl FnOnce(AppendOutcomes) + Send + 'static,
    ) {
        let (wrong, streams) = (self.refused, Streams::new(served, self.appends, self.dry_run, permit));
        let work = async move {
            let outcomes = streams.append(&streams.appends).await;
            if let Some(asker) = &asker {
                tell(asker, &outcomes, &streams.served);
            }
            let told = outcomes.into_iter().map(|outcome| stream_told(outcome, &streams.served)).collect();
            let outcomes = streams.send_on(told, &relay).await;
            then(placed(wrong, outcomes.into_iter()));
        };
        tokio::spawn(work.in_current_span());
    }
}

/// What the owner of a log is told of where a stream must stand.
pub(super) const fn expected_of(expected: WireExpected) -> Expected {
    match expected {
        WireExpected::Any => Expected::Any,
        WireExpected::Empty => Expected::Empty,
        WireExpected::At(seq) => Expected::At(seq),
    }
}

/// In each place what is wrong with the append, or its outcome.
fn placed(
    refusals: Vec<Option<Refused>>,
    mut outcomes: impl Iterator<Item = Result<Appended, Refused>>,
) -> AppendOutcomes {
    let outcome = |wrong: Option<Refused>| wrong.map_or_else(|| outcomes.next().unwrap_or_else(lost), Err);
    refusals.into_iter().map(outcome).collect()
}

/// What is said where there should be an outcome.
pub(super) fn lost() -> Result<Appended, Refused> {
    Err(Refused::new(ErrorKind::Io, "the append was lost inside the program"))
}

/// The answer to a frame.
pub(super) fn encode_outcomes(request: u64, outcomes: &[Result<Appended, Refused>]) -> Vec<u8> {
    let mut out = OutcomesWriter::new(Kind::Appended, request, outcomes.len());
    for outcome in outcomes {
        match outcome {
            Ok(appended) => out.appended(appended),
            Err(refused) => out.refused(refused),
        }
    }
    out.finish().into_bytes()
}

/// Tells the audit log of the first append of a frame that is forbidden.
fn tell(asker: &Asker, outcomes: &[Outcome], served: &ServedStore) {
    let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    if let Some(error) = errors.find(|error| error.kind() == ErrorKind::Forbidden) {
        asker.told(&refused(error, served));
    }
}

const fn is_led_elsewhere(outcome: &Outcome) -> bool {
    matches!(outcome, Err(NodeError::NotLeader { .. }))
}

fn stream_told(outcome: Outcome, served: &ServedStore) -> Told<Appended> {
    match outcome {
        Ok(StreamOutcome::Stored(stamped)) => Told::Judged(Ok(Appended::Stored(stamped.stamps().clone()))),
        Ok(StreamOutcome::Known(events)) => Told::Judged(Ok(Appended::Known(events.iter().map(known).collect()))),
        Err(error) => Told::refused(&error, served),
    }
}

/// What this node has stored of a frame and waits for sync projections, beside what other nodes are sent, which wait for theirs. The outcomes have no
/// place for what they say. It ends with this.
#[derive(Default)]
struct Confirming(Mutex<JoinSet<()>>);

impl Confirming {
    /// Begins to wait. On a tokio runtime.
    fn begin(&self, served: &Arc<ServedStore>, stored: impl Iterator<Item = StampedBatch>) {
        if !served.store.waits_for_projections() {
            return;
        }
        let (served, stored) = (Arc::clone(served), stored.collect::<Vec<StampedBatch>>());
        self.0.lock().spawn(async move {
            let batches: Vec<&StampedBatch> = stored.iter().collect();
            let _ = served.store.confirm_projections(&batches).await;
        });
    }

    /// Waits until they have said so, or are late.
    async fn over(&self) {
        let mut confirming = std::mem::take(&mut *self.0.lock());
        while confirming.join_next().await.is_some() {}
    }
}

/// Appends of a frame, of which another node may lead some. The frame's bytes stay counted meanwhile.
struct Streams {
    served: Arc<ServedStore>,
    appends: Vec<StreamAppend>,
    dry_run: bool,
    permit: Arc<BytePermit>,
    confirming: Confirming,
}

impl Streams {
    fn new(served: &Arc<ServedStore>, appends: Vec<StreamAppend>, dry_run: bool, permit: Arc<BytePermit>) -> Self {
        Self { served: Arc::clone(served), appends, dry_run, permit, confirming: Confirming::default() }
    }

    /// Tries some here. What is stored of them waits for sync projections from here on.
    async fn append(&self, appends: &[StreamAppend]) -> Vec<Outcome> {
        let outcomes = self.served.store.append_many(appends, self.dry_run, &self.permit).await;
        if !self.dry_run {
            let stored = |outcome: &Outcome| {
                if let Ok(StreamOutcome::Stored(stamped)) = outcome { Some(stamped.clone()) } else { None }
            };
            self.confirming.begin(&self.served, outcomes.iter().filter_map(stored));
        }
        outcomes
    }

    fn at<'a>(&'a self, places: &'a [usize]) -> impl Iterator<Item = &'a StreamAppend> {
        places.iter().filter_map(|place| self.appends.get(*place))
    }

    async fn send_on(&self, told: Vec<Told<Appended>>, relay: &Relay) -> Vec<Result<Appended, Refused>> {
        let told = send_on(self, told, relay).await;
        self.confirming.over().await;
        match told {
            Ok(told) => told.into_iter().map(Told::said).collect(),
            Err(refused) => self.appends.iter().map(|_| Err(refused.clone())).collect(),
        }
    }
}

impl Several for Streams {
    type Done = Appended;

    async fn here(&self, places: &[usize]) -> Result<Vec<Told<Appended>>, Refused> {
        let appends: Vec<StreamAppend> = self.at(places).cloned().collect();
        let outcomes = self.append(&appends).await;
        Ok(outcomes.into_iter().map(|outcome| stream_told(outcome, &self.served)).collect())
    }

    async fn there(&self, client: &Client, places: &[usize]) -> Result<Vec<Result<Appended, Refused>>, ClientError> {
        let as_asked = |append: &StreamAppend| {
            let expected = match append.expected {
                Expected::Any => WireExpected::Any,
                Expected::Empty => WireExpected::Empty,
                Expected::At(seq) => WireExpected::At(seq),
            };
            (append.batch.clone(), expected)
        };
        let appends: Vec<(BatchBytes, WireExpected)> = self.at(places).map(as_asked).collect();
        client.append_many(&appends, self.dry_run).await
    }
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

    /// Appends, by `relay` also what other nodes lead, and answers. `stays`: what one other node leads as a whole is not sent on.
    pub(super) async fn run(
        self,
        served: &Arc<ServedStore>,
        (relay, stays, asker): (Option<&Relay>, bool, Option<&Asker>),
        request: u64,
        permit: BytePermit,
    ) -> Vec<u8> {
        let (count, on_error) = (self.batches.len(), self.on_error);
        let owned = match served.store.by_owner(self.batches).await {
            Ok(owned) => owned,
            Err(error) => return refused(&error, served).encode(request).into_bytes(),
        };
        if let Some(part) = same_owner_again(&owned) {
            let stream_type = owned.get(part).map_or("", |(_, part)| part.batch.view().stream_type());
            let text = format!("two batches of one bulk append are of stream type '{stream_type}': join them");
            let refused = Refused { part: Some(part as u32), ..Refused::new(ErrorKind::BadRequest, text) };
            return of_batch(refused, &owned).encode(request).into_bytes();
        }
        let all: Vec<usize> = (0..owned.len()).collect();
        let batches = owned.iter().map(|(_, part)| part.batch.clone()).collect();
        let parts = Parts::new(served, batches, on_error, Arc::new(permit));
        let here = parts.here(&all).await;
        if let Some(asker) = asker
            && let Some(refused) = forbidden(&here)
        {
            asker.told(&refused);
        }
        let told = match (here, relay) {
            (Ok(told), Some(relay)) if !(stays && led_by_another(&told).is_some()) => {
                send_on(&parts, told, relay).await
            }
            (told, _) => told,
        };
        parts.confirming.over().await;
        match told.and_then(outcomes) {
            Err(refused) => of_batch(refused, &owned).encode(request).into_bytes(),
            Ok(outcomes) => encode(request, by_batch(count, outcomes, &owned)),
        }
    }
}

fn encode(request: u64, outcomes: Vec<Result<PartAppended, Refused>>) -> Vec<u8> {
    let mut out = OutcomesWriter::new(Kind::BulkAppended, request, outcomes.len());
    for outcome in &outcomes {
        match outcome {
            Ok(done) => out.part(done),
            Err(refused) => out.refused(refused),
        }
    }
    out.finish().into_bytes()
}

/// What became of each batch that was sent, of what became of the parts that its owners have.
fn by_batch(
    count: usize,
    outcomes: Vec<Result<PartAppended, Refused>>,
    owned: &[(usize, OwnerPart)],
) -> Vec<Result<PartAppended, Refused>> {
    let mut batches: Vec<Vec<_>> = vec![Vec::new(); count];
    for (outcome, (of, part)) in outcomes.into_iter().zip(owned) {
        if let Some(batch) = batches.get_mut(*of) {
            batch.push(outcome.map(|done| done_by_owner(done, part)).map_err(|refused| of_owner(refused, part)));
        }
    }
    batches.into_iter().map(joined).collect()
}

/// What an owner did to its rows, by the rows of the batch that was sent.
fn done_by_owner(mut done: PartAppended, owned: &OwnerPart) -> PartAppended {
    done.rejected.iter_mut().for_each(|rejected| rejected.row = owned.row(rejected.row));
    done
}

/// Why the caller may not do all of it; `None`: it may.
fn forbidden(told: &Result<Vec<Told<PartAppended>>, Refused>) -> Option<Refused> {
    let is_it = |refused: &Refused| refused.kind() == Some(ErrorKind::Forbidden);
    let of_part = |part: &Told<PartAppended>| match part {
        Told::Judged(Err(refused)) => Some(refused.clone()).filter(is_it),
        Told::Judged(Ok(done)) => {
            let row = done.rejected.iter().find(|row| row.code == ErrorKind::Forbidden.code())?;
            Some(Refused::new(ErrorKind::Forbidden, row.text.as_str()))
        }
        Told::Elsewhere(..) => None,
    };
    match told {
        Err(refused) => Some(refused.clone()).filter(is_it),
        Ok(parts) => parts.iter().find_map(of_part),
    }
}

/// What became of the parts; `Err`: nothing was done to any of them, for one reason.
fn outcomes(told: Vec<Told<PartAppended>>) -> Result<Vec<Result<PartAppended, Refused>>, Refused> {
    if let Some(refused) = led_by_another(&told) {
        return Err(refused.clone());
    }
    Ok(told.into_iter().map(Told::said).collect())
}

/// What is said of all parts alike, where one other node leads them, or nobody.
fn led_by_another<D>(told: &[Told<D>]) -> Option<&Refused> {
    let Some(Told::Elsewhere(_, first)) = told.first() else { return None };
    told.iter().all(|one| matches!(one, Told::Elsewhere(_, refused) if refused == first)).then_some(first)
}

/// Has the parts of a body done that other nodes lead, as it was said of each: of a body that did not come over this protocol.
pub(crate) async fn led_elsewhere(
    served: &Arc<ServedStore>,
    relay: &Relay,
    parts: Vec<(BatchBytes, &NodeError)>,
    on_error: OnError,
    permit: Arc<BytePermit>,
) -> Vec<Result<PartAppended, Refused>> {
    let told = parts.iter().map(|(_, error)| Told::refused(error, served)).collect();
    let batches: Vec<BatchBytes> = parts.into_iter().map(|(batch, _)| batch).collect();
    let count = batches.len();
    let parts = Parts::new(served, batches, on_error, permit);
    let told = send_on(&parts, told, relay).await;
    parts.confirming.over().await;
    match told {
        Ok(told) => told.into_iter().map(Told::said).collect(),
        Err(refused) => vec![Err(refused); count],
    }
}

/// Parts of a bulk append, of which another node may lead some. The frame's bytes stay counted meanwhile.
struct Parts {
    served: Arc<ServedStore>,
    batches: Vec<BatchBytes>,
    on_error: OnError,
    permit: Arc<BytePermit>,
    confirming: Confirming,
}

impl Parts {
    fn new(served: &Arc<ServedStore>, batches: Vec<BatchBytes>, on_error: OnError, permit: Arc<BytePermit>) -> Self {
        Self { served: Arc::clone(served), batches, on_error, permit, confirming: Confirming::default() }
    }

    fn at(&self, places: &[usize]) -> Vec<BatchBytes> {
        places.iter().filter_map(|place| self.batches.get(*place).cloned()).collect()
    }
}

impl Several for Parts {
    type Done = PartAppended;

    async fn here(&self, places: &[usize]) -> Result<Vec<Told<PartAppended>>, Refused> {
        let served = &self.served;
        let results = match served.store.append_bulk(self.at(places), self.on_error, Arc::clone(&self.permit)).await {
            Ok(results) => results,
            // judged as a whole by who leads one of them: all of them go there
            Err(error @ NodeError::NotLeader { .. }) => {
                return Ok(places.iter().map(|_| Told::refused(&error, served)).collect());
            }
            Err(error) => return Err(refused(&error, served)),
        };
        let stored = results.iter().filter_map(|result| result.as_ref().ok()?.stamped.clone());
        self.confirming.begin(served, stored);
        let told = |result: &Result<AppendOutcome, NodeError>| match result {
            Ok(outcome) => Told::Judged(Ok(part(outcome, served.names()))),
            Err(error) => Told::refused(error, served),
        };
        Ok(results.iter().map(told).collect())
    }

    async fn there(
        &self,
        client: &Client,
        places: &[usize],
    ) -> Result<Vec<Result<PartAppended, Refused>>, ClientError> {
        let on_error = match self.on_error {
            OnError::Abort => WireOnError::Abort,
            OnError::Skip => WireOnError::Skip,
        };
        client.append_bulk(&self.at(places), on_error).await
    }
}

/// What was said of one owner's rows, by the rows of the batch that was sent.
fn of_owner(refused: Refused, owned: &OwnerPart) -> Refused {
    Refused { row: refused.row.map(|row| owned.row(row)), ..refused }
}

/// What was said of a part, by the batch that was sent.
fn of_batch(refused: Refused, parts: &[(usize, OwnerPart)]) -> Refused {
    match refused.part.and_then(|part| parts.get(part as usize)) {
        Some((of, owned)) => Refused { part: Some(*of as u32), ..of_owner(refused, owned) },
        None => refused,
    }
}

/// What became of a batch whose owners each did their part. Where one stored something and another did not, nobody can say in one word what is
/// stored: the outcome is unknown, and only who would not store twice sends it again. So it is where nobody knows of one of them.
fn joined(outcomes: Vec<Result<PartAppended, Refused>>) -> Result<PartAppended, Refused> {
    // another owner's word would say that nothing was done
    let is_unknown =
        |outcome: &&Result<PartAppended, Refused>| matches!(outcome, Err(refused) if refused.code == OUTCOME_UNKNOWN);
    if let Some(unknown) = outcomes.iter().find(is_unknown) {
        return unknown.clone();
    }
    let is_some_stored = outcomes.iter().any(|outcome| outcome.as_ref().is_ok_and(|part| part.appended > 0));
    let mut whole = PartAppended { chunk_known: !outcomes.is_empty(), ..PartAppended::default() };
    for outcome in outcomes {
        let part = match outcome {
            Ok(part) => part,
            Err(refused) if is_some_stored => {
                let text = format!("a part of the batch is stored, another is not: {}", refused.text);
                return Err(Refused { code: OUTCOME_UNKNOWN.to_owned(), text, ..Refused::default() });
            }
            Err(refused) => return Err(refused),
        };
        whole.appended += part.appended;
        whole.known += part.known;
        whole.chunk_known &= part.chunk_known;
        whole.rejected.extend(part.rejected);
    }
    whole.rejected.sort_by_key(|rejected| rejected.row);
    Ok(whole)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_which_something_may_be_stored_is_not_refused_as_one_of_which_nothing_is() {
        let stored = || Ok(PartAppended { appended: 2, ..PartAppended::default() });
        let no = |kind: ErrorKind| Err(Refused::new(kind, "no"));
        let unknown = || Err(Refused { code: OUTCOME_UNKNOWN.to_owned(), ..Refused::default() });
        let is_unknown = |outcomes| joined(outcomes).is_err_and(|refused| refused.code == OUTCOME_UNKNOWN);
        assert!(is_unknown(vec![no(ErrorKind::NotLeader), unknown()]));
        assert!(is_unknown(vec![unknown(), no(ErrorKind::NotLeader)]));
        assert!(is_unknown(vec![stored(), unknown()]));
        assert!(is_unknown(vec![no(ErrorKind::NotLeader), stored()]));
        assert_eq!(joined(vec![unknown()]), unknown());
        assert_eq!(joined(vec![no(ErrorKind::NotLeader), no(ErrorKind::Overloaded)]), no(ErrorKind::NotLeader));
        assert_eq!(joined(vec![stored(), stored()]).map(|part| part.appended), Ok(4));
    }
}
