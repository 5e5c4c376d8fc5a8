//! Bulk append: decode, hand over by owner, and tell what became of every line.

mod elsewhere;

use crate::access::guard::PartForbidden;
use crate::decode::bulk::{BulkBody, BulkBuilder, OnError, Part, Rejected, listed};
use crate::decode::event::unreadable;
use crate::error::{ApiError, ApiResult, status_of};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::{answer, body};
use crate::native::Relay;
use crate::quiet::quietly;
use crate::routes::events::on_error;
use crate::routes::streams::projections_json;
use crate::trace;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use elsewhere::There;
use futures_util::future::join;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use strandline_client::PartAppended;
use strandline_durable::ipc::{InputBatches, IpcError};
use strandline_engine::append::{self, AppendError, AppendOutcome, Refusal};
use strandline_event::{Chunk, ErrorKind, EventInput, Field, FieldNames, Seq, StampedBatch, limits};
use strandline_workers::permits::{BytePermit, BytePermits};
use strandline_workers::subscriptions::Confirmation;
use strandline_workers::{NodeError, OwnerPart};

const NDJSON: &str = "application/x-ndjson";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// What the body is.
#[derive(Clone, Copy)]
enum Kind {
    Ndjson,
    Array,
    Arrow,
}

/// POST /v1/stores/{store}/events
pub(crate) async fn append(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let query = call.query()?;
    let rule = on_error(&query)?;
    query.finish()?;
    let kind = match body::media_type(&call.request).as_deref() {
        None | Some(NDJSON | "application/ndjson" | "application/jsonl") => Kind::Ndjson,
        Some("application/json") => Kind::Array,
        Some(ARROW) => Kind::Arrow,
        Some(other) => return Err(body::unsupported(other, &[NDJSON, "application/json", ARROW])),
    };
    let chunk = chunk(&call)?;
    let limit = limits::BULK_BYTES_MAX;
    let relay = elsewhere::way(&call, &served);
    let permits = call.app.node.permits().clone();
    let body = body::read(&call.request, call.payload, &permits, "a bulk body", limit).await?;
    let mut account = Account { permits, permit: body.permit, left: limit.saturating_sub(body.bytes.len()) };
    let decoding = Arc::clone(&served);
    // up to 64 MiB of JSON: not on a thread that others wait for
    let span = trace::decode(body.bytes.len());
    let decoded = actix_web::web::block(move || {
        let decoding = || decode(&decoding, body.bytes, &mut account, kind, rule, chunk);
        span.in_scope(decoding).map(|decoded| (decoded, account.permit))
    });
    let (decoded, permit) = decoded.await.map_err(|_| ApiError::bad_request("the body cannot be read"))??;
    store(&served, decoded, rule, (permit, relay)).await
}

/// What a body may unpack to, and what is counted of it.
struct Account {
    permits: BytePermits,
    permit: BytePermit,
    left: usize,
}

impl Account {
    fn take(&mut self, bytes: usize) -> ApiResult<()> {
        let Some(left) = self.left.checked_sub(bytes) else {
            return Err(ApiError::too_large("a bulk body, unpacked,", limits::BULK_BYTES_MAX));
        };
        self.left = left;
        if bytes == 0 || self.permits.grow(&mut self.permit, bytes) { Ok(()) } else { Err(body::overloaded()) }
    }
}

fn decode(
    served: &ServedStore,
    bytes: Vec<u8>,
    account: &mut Account,
    kind: Kind,
    rule: OnError,
    chunk: Option<Chunk>,
) -> ApiResult<BulkBody> {
    let mut builder = BulkBuilder::new(served.names(), rule, chunk);
    match kind {
        Kind::Ndjson => builder.ndjson(&bytes)?,
        Kind::Array => builder.array(&bytes)?,
        Kind::Arrow => {
            // the Arrow reader may panic over hostile bytes; it has no state that outlives the request
            let read = AssertUnwindSafe(|| arrow(&mut builder, account, served.names(), Bytes::from(bytes)));
            quietly(read)
                .ok_or_else(|| ApiError::bad_request("the body is no Arrow IPC stream that can be read"))??;
        }
    }
    let body = builder.finish()?;
    if body.events == 0 {
        return Err(ApiError::bad_request("the body holds no event"));
    }
    Ok(BulkBody { parts: by_owner(served, body.parts)?, ..body })
}

/// Parts of stream types of several buckets, cut into one for each owner.
fn by_owner(served: &ServedStore, parts: Vec<Part>) -> ApiResult<Vec<Part>> {
    let (batches, lines): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.batch, part.lines)).unzip();
    let owned = served.store.by_owner_here(batches);
    let owned = owned.map_err(|_| ApiError::bad_request("the body cannot be cut by its streams"))?;
    let part = |(of, owned): (usize, OwnerPart)| {
        let lines: &[u32] = lines.get(of).map(Vec::as_slice).unwrap_or_default();
        let line = |row| lines.get(owned.row(row) as usize).copied().unwrap_or(0);
        let rows = 0..owned.batch.view().rows() as u32;
        Part { lines: rows.map(line).collect(), batch: owned.batch }
    };
    Ok(owned.into_iter().map(part).collect())
}

fn arrow(builder: &mut BulkBuilder<'_>, account: &mut Account, names: &FieldNames, bytes: Bytes) -> ApiResult<()> {
    if bytes.starts_with(b"ARROW1") {
        return Err(ApiError::bad_request("this is an Arrow IPC file; send an Arrow IPC stream"));
    }
    let broken = |e: IpcError| ApiError::new(e.kind(), format!("the Arrow IPC stream: {e}"));
    let mut line = 0;
    let mut batches = InputBatches::from_ipc(names, bytes).map_err(broken)?;
    if let Some(column) = batches.left_out() {
        builder.warn(format!("column `{column}` is left out of account: the store gives its own"));
    }
    while let Some(packed) = batches.next_packed() {
        let packed = packed.map_err(broken)?;
        account.take(packed.unpacks_to())?;
        let batch = packed.open().map_err(broken)?;
        for row in 0..batch.rows() {
            line += 1;
            let input = batch.input(row).map_err(|e| ApiError::invalid(e.to_string()).with("field", e.name));
            let input = input.and_then(|input| checked(input, names));
            if !builder.row(line, batch.stream_type(row), input)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Arrow's texts are not JSON by themselves.
fn checked<'a>(input: EventInput<'a>, names: &FieldNames) -> ApiResult<EventInput<'a>> {
    for (field, text) in [(Field::Payload, Some(input.data)), (Field::Metadata, input.metadata)] {
        let Some(text) = text.filter(|t| !t.is_empty() || field == Field::Metadata) else { continue };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let hint = crate::decode::json::hint(&error, text);
            let broken = ApiError::bad_request(format!("broken JSON in `{}`: {error}{hint}", names.get(field)));
            return Err(broken.of(names, field));
        }
        if let Some(refused) = unreadable(names.get(field), text) {
            return Err(ApiError::invalid(refused).of(names, field));
        }
    }
    Ok(input)
}

/// The chunk headers of a resumable ingestion: both or none.
fn chunk(call: &Call) -> ApiResult<Option<Chunk>> {
    let (digest, number) = (call.header("x-strandline-chunk-digest"), call.header("x-strandline-chunk-number"));
    let (Some(digest), Some(number)) = (digest, number) else {
        return match digest.or(number) {
            None => Ok(None),
            Some(_) => {
                Err(ApiError::bad_request("x-strandline-chunk-digest and x-strandline-chunk-number go together"))
            }
        };
    };
    let parsed = u128::from_str_radix(digest, 16).ok().filter(|_| digest.len() == 32);
    let number = number.parse::<u64>().ok().filter(|n| *n > 0);
    match (parsed, number) {
        (Some(digest), Some(number)) => Ok(Some(Chunk { digest: digest.to_be_bytes(), number })),
        (None, _) => Err(ApiError::bad_request("x-strandline-chunk-digest holds 32 hex digits")),
        (_, None) => Err(ApiError::bad_request("x-strandline-chunk-number is a whole number from 1")),
    }
}

async fn store(
    served: &Arc<ServedStore>,
    body: BulkBody,
    rule: OnError,
    (permit, relay): (BytePermit, Option<Relay>),
) -> ApiResult<HttpResponse> {
    let BulkBody { parts, rejected, warnings, .. } = body;
    let names = served.names();
    let batches = parts.iter().map(|part| part.batch.clone()).collect();
    let rule = match rule {
        OnError::Abort => append::OnError::Abort,
        OnError::Skip => append::OnError::Skip,
    };
    let permit = Arc::new(permit);
    let appended = served.store.append_bulk(batches, rule, Arc::clone(&permit)).await;
    let mut results = appended.map_err(|e| of_line(&e, &parts, names))?;
    let (there, projections) = beside(served, relay.as_ref(), &parts, &mut results, (rule, permit)).await;
    let failed = results.iter().filter(|r| r.is_err()).count();
    // what is wrong with the node comes before what is wrong with the body: nobody may take it for refused lines
    let not_done = first_not_done(&results);
    let first = results.iter().position(Result::is_err);
    if failed == results.len()
        && let Some(at) = not_done.or(first.filter(|_| rejected.is_empty()))
        && let (Some(Err(error)), Some(part)) = (results.get(at), parts.get(at))
    {
        return Err(part_error(error, part, names));
    }
    let as_lines = failed == results.len() || (rule == append::OnError::Skip && not_done.is_none());
    let mut sum = Sum { rejected, ..Sum::default() };
    for (at, (result, part)) in results.iter().zip(&parts).enumerate() {
        match result {
            Ok(outcome) => sum.add(outcome, part, names),
            Err(error) if as_lines => sum.reject_all(error, part, names),
            Err(_) => {}
        }
        if let Some(done) = there.get(&at) {
            sum.add_there(done, part);
        }
    }
    sum.rejected.sort_by_key(|r| r.line);
    let mut answer = json!({
        "appended": sum.appended, "duplicates": sum.duplicates, "rejected": listed(&sum.rejected),
    });
    if !warnings.is_empty() {
        answer["warnings"] = json!(warnings);
    }
    if let Some(projections) = projections {
        answer["projections"] = projections_json(&projections);
    }
    let forbidden = forbidden(&sum.rejected, &results, names);
    let status = if failed == 0 || as_lines {
        StatusCode::CREATED
    } else {
        answer["streams"] = Value::Array(per_stream(&parts, &results, &there, (names, served.store.is_limited())));
        StatusCode::MULTI_STATUS
    };
    let mut answer = answer::json(status, &answer);
    if let Some(why) = forbidden {
        answer.extensions_mut().insert(PartForbidden(why));
    }
    Ok(answer)
}

/// Has done what other nodes lead, and waits for sync projections meanwhile: each node waits for what it has stored, all of them at once, and a body for
/// the last of them.
async fn beside(
    served: &Arc<ServedStore>,
    relay: Option<&Relay>,
    parts: &[Part],
    results: &mut [Result<AppendOutcome, NodeError>],
    (rule, permit): (append::OnError, Arc<BytePermit>),
) -> (There, Option<Vec<Confirmation>>) {
    let stored: Vec<StampedBatch> = results.iter().filter_map(|r| r.as_ref().ok()?.stamped.clone()).collect();
    let batches: Vec<&StampedBatch> = stored.iter().collect();
    // the bytes of the body are there as long as it waits
    let _counted = Arc::clone(&permit);
    let sending = async {
        match relay {
            Some(relay) => elsewhere::done(served, relay, parts, results, (rule, permit)).await,
            None => There::new(),
        }
    };
    let (there, projections) = join(sending, served.store.confirm_projections_here(&batches)).await;
    let elsewhere = elsewhere::stream_types(&there, parts);
    let projections = projections.filter(|_| !batches.is_empty() || !elsewhere.is_empty());
    let told = |all: Vec<Confirmation>| all.into_iter().map(|one| one.beside(&elsewhere)).collect();
    (there, projections.map(told))
}

/// For the audit log: why a line of the body is forbidden, or a part of it, if one is.
fn forbidden(
    rejected: &[Rejected],
    results: &[Result<AppendOutcome, NodeError>],
    names: &FieldNames,
) -> Option<String> {
    let is_it = |kind: ErrorKind| kind == ErrorKind::Forbidden;
    let line = rejected.iter().find(|rejected| is_it(rejected.error.kind()));
    let part = || results.iter().filter_map(|result| result.as_ref().err()).find(|error| is_it(error.kind()));
    let of_part = || part().map(|error| failure::answer(error, names).message().to_owned());
    line.map(|line| line.error.message().to_owned()).or_else(of_part)
}

/// What is told about a body in sum.
#[derive(Default)]
struct Sum {
    appended: usize,
    duplicates: usize,
    rejected: Vec<Rejected>,
}

impl Sum {
    fn add(&mut self, outcome: &AppendOutcome, part: &Part, names: &FieldNames) {
        self.appended += outcome.stamped.as_ref().map_or(0, StampedBatch::rows);
        self.duplicates += outcome.duplicate_rows;
        self.rejected.extend(
            outcome
                .rejected
                .iter()
                .map(|row| Rejected { line: line(part, row.row), error: failure::append(&row.error, names) }),
        );
    }

    /// What another node did, but for the rows that it knew.
    fn add_there(&mut self, done: &PartAppended, part: &Part) {
        self.appended += usize::try_from(done.appended).unwrap_or(usize::MAX);
        self.rejected.extend(elsewhere::rejected(done, part));
    }

    /// `on_error = skip`, and an owner refused its part as a whole for what is in it.
    fn reject_all(&mut self, error: &NodeError, part: &Part, names: &FieldNames) {
        self.rejected
            .extend(part.lines.iter().map(|line| Rejected { line: *line, error: failure::answer(error, names) }));
    }
}

fn line(part: &Part, row: u32) -> u32 {
    part.lines.get(row as usize).copied().unwrap_or(0)
}

/// The refusal of the whole body before any part was stored.
fn of_line(error: &NodeError, parts: &[Part], names: &FieldNames) -> ApiError {
    let at = |answer: ApiError, batch: usize, row: u32| {
        let line = parts.get(batch).map_or(0, |part| line(part, row));
        answer.at(&format!("line {line}")).with("line", line)
    };
    match error {
        NodeError::Strict { batch, row, .. } => at(failure::answer(error, names), *batch, *row),
        // in place of its row, which is one of the part
        NodeError::RefusedPart { batch, refusal: Refusal { row: Some(row), error } } => {
            at(failure::append(error, names), *batch, *row)
        }
        _ => failure::answer(error, names),
    }
}

/// Whether an owner could not do its part now, whatever the body is: the same body is to be sent again.
fn is_not_done(error: &NodeError) -> bool {
    let status = status_of(error.kind());
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether nobody knows what became of an owner's part.
const fn is_unknown(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::OutcomeUnknown | NodeError::Refused(Refusal { error: AppendError::OutcomeUnknown { .. }, .. })
    )
}

/// The owner that could not do its part and speaks for the body: one of whose part nobody knows, else another's word would say that nothing was done.
fn first_not_done(results: &[Result<AppendOutcome, NodeError>]) -> Option<usize> {
    let first = |is: fn(&NodeError) -> bool| results.iter().position(|result| result.as_ref().is_err_and(is));
    first(is_unknown).or_else(|| first(is_not_done))
}

/// The refusal of one owner, with the line in place of its row.
fn part_error(error: &NodeError, part: &Part, names: &FieldNames) -> ApiError {
    match error {
        NodeError::Refused(refusal) => {
            let answer = failure::append(&refusal.error, names);
            match refusal.row.map(|row| line(part, row)) {
                Some(line) => answer.at(&format!("line {line}")).with("line", line),
                None => answer,
            }
        }
        _ => of_line(error, std::slice::from_ref(part), names),
    }
}

/// What goes wrong inside a node may name what is another tenant's, also where it is a part of an answer (`access/guard.rs` sees to the whole ones).
fn told(error: ApiError, is_limited: bool) -> ApiError {
    if is_limited && status_of(error.kind()).is_server_error() { error.for_tenants() } else { error }
}

/// The result per stream, where some owners committed and others did not. `stored`: null where nobody knows. `first_seq` and
/// `last_seq`: the smallest and the largest seq of the body's events in the stream, those that were stored before included; null:
/// they are not told again, or another node stored them.
fn per_stream(
    parts: &[Part],
    results: &[Result<AppendOutcome, NodeError>],
    there: &There,
    (names, is_limited): (&FieldNames, bool),
) -> Vec<Value> {
    let mut rows = Vec::new();
    for (at, (part, result)) in parts.iter().zip(results).enumerate() {
        let view = part.batch.view();
        let (type_name, id_name) = (names.get(Field::StreamType), names.get(Field::StreamId));
        let seqs = result.as_ref().map_or_else(|_| Vec::new(), |outcome| seqs_by_stream(outcome, part));
        let known = result.as_ref().is_ok_and(|outcome| outcome.chunk_known);
        let is_known = !result.as_ref().is_err_and(is_unknown);
        let stored_there = there.get(&at).map(|done| elsewhere::stored(done, view)).unwrap_or_default();
        let error = result.as_ref().err().map(|e| told(part_error(e, part, names), is_limited));
        for stream in 0..view.stream_count() {
            let seqs = seqs.get(stream).copied().flatten();
            let stored = known || seqs.is_some() || stored_there.contains(&stream);
            let mut row = json!({
                type_name: view.stream_type(), id_name: view.stream(stream), "stored": is_known.then_some(stored),
            });
            if let Some(error) = &error {
                row["code"] = json!(error.code());
                row["error"] = json!(error.message());
            } else {
                row["first_seq"] = json!(seqs.map(|(first, _)| first.0));
                row["last_seq"] = json!(seqs.map(|(_, last)| last.0));
            }
            rows.push(row);
        }
    }
    rows
}

/// By distinct stream of a part: the smallest and the largest seq of its events.
fn seqs_by_stream(outcome: &AppendOutcome, part: &Part) -> Vec<Option<(Seq, Seq)>> {
    let view = part.batch.view();
    let mut seqs: Vec<Option<(Seq, Seq)>> = vec![None; view.stream_count()];
    let mut add = |row: usize, first: Seq, last: Seq| {
        if let Some(range) = seqs.get_mut(view.stream_of(row)) {
            *range = Some(range.map_or((first, last), |known| (known.0.min(first), known.1.max(last))));
        }
    };
    if let Some(stamped) = &outcome.stamped {
        for row in 0..stamped.rows() {
            add(outcome.rows.request_row(row), stamped.seq(row), stamped.seq(row));
        }
    }
    for known in &outcome.duplicates {
        let last = Seq(known.first_seq.0 + u64::from(known.count).saturating_sub(1));
        add(known.row as usize, known.first_seq, last);
    }
    seqs
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchBuilder, BatchUnit, LogKey};

    /// A part of one line.
    fn part(stream_type: &str) -> Part {
        let mut batch = BatchBuilder::new(stream_type, BatchUnit::Rows);
        batch.push(&EventInput { stream_id: "s", event_type: "E", data: "1", ..EventInput::default() }).unwrap();
        Part { batch: batch.finish().unwrap(), lines: vec![1] }
    }

    #[test]
    fn who_is_limited_to_tenants_is_not_told_what_went_wrong_with_a_part() {
        let parts = [part("Whole"), part("Damaged")];
        let damaged = NodeError::DamagedLog { log: LogKey::single("Damaged"), reason: Arc::from("planted") };
        let results = [Ok(AppendOutcome::default()), Err(damaged)];
        let told = |is_limited| {
            let rows = per_stream(&parts, &results, &There::default(), (&FieldNames::default(), is_limited));
            Value::Array(rows).to_string()
        };
        assert!(told(false).contains("planted"));
        assert!(!told(true).contains("planted") && told(true).contains("unavailable"), "{}", told(true));
    }

    #[test]
    fn of_a_part_that_nobody_knows_it_is_not_said_that_it_is_not_stored() {
        let parts = [part("Known"), part("Lost"), part("Refused")];
        let stored = AppendOutcome { chunk_known: true, ..AppendOutcome::default() };
        let refused = NodeError::Refused(Refusal { row: Some(0), error: AppendError::OtherTenant });
        let results = [Ok(stored), Err(NodeError::OutcomeUnknown), Err(refused)];
        let rows = per_stream(&parts, &results, &There::default(), (&FieldNames::default(), false));
        let stored: Vec<_> = rows.iter().map(|row| row["stored"].clone()).collect();
        assert_eq!(stored, [json!(true), Value::Null, json!(false)]);
        assert!(rows[1]["code"].is_string() && rows[1]["error"].is_string());
    }

    #[test]
    fn the_audit_log_is_told_of_a_line_or_a_part_that_is_forbidden() {
        let names = FieldNames::default();
        let no = |kind: ErrorKind| Err(NodeError::Cluster { kind, why: "not yours".to_owned() });
        let line = |kind: ErrorKind| Rejected { line: 1, error: ApiError::new(kind, "not this line") };
        type Results<'a> = &'a [Result<AppendOutcome, NodeError>];
        let told = |rejected: &[Rejected], results: Results<'_>| forbidden(rejected, results, &names);
        assert_eq!(told(&[line(ErrorKind::SeqGap)], &[no(ErrorKind::Unavailable)]), None);
        let of_line = told(&[line(ErrorKind::SeqGap), line(ErrorKind::Forbidden)], &[no(ErrorKind::Forbidden)]);
        assert!(of_line.is_some_and(|why| why.contains("not this line")));
        let of_part = told(&[], &[Ok(AppendOutcome::default()), no(ErrorKind::Forbidden)]);
        assert!(of_part.is_some_and(|why| why.contains("not yours")));
    }

    #[test]
    fn a_body_of_which_something_may_be_stored_is_not_answered_as_one_of_which_nothing_is() {
        let not_leader = || Err(NodeError::NotLeader { leader: None });
        let lost = AppendError::OutcomeUnknown { reason: "another node leads".to_owned() };
        let lost = || Err(NodeError::Refused(Refusal { row: None, error: lost.clone() }));
        let unknown = || Err(NodeError::OutcomeUnknown);
        assert_eq!(first_not_done(&[not_leader(), lost()]), Some(1));
        assert_eq!(first_not_done(&[not_leader(), not_leader(), unknown()]), Some(2));
        assert_eq!(first_not_done(&[unknown(), not_leader()]), Some(0));
        let shape = Err(NodeError::Refused(Refusal { row: Some(1), error: AppendError::OtherTenant }));
        assert_eq!(first_not_done(&[shape, not_leader(), Ok(AppendOutcome::default())]), Some(1));
        assert_eq!(first_not_done(&[Ok(AppendOutcome::default())]), None);
    }
}
