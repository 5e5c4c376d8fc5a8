//! One stream: append, read, head.

use crate::decode::append::{AppendBody, ExpectedSeq, decode};
use crate::encode::event::{Shape, text};
use crate::encode::format::{Format, wanted};
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::answer;
use crate::http::body;
use crate::http::call::{Call, ServedStore};
use crate::http::query::Query;
use crate::routes::{confirm_stream, confirms};
use crate::trace;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;
use std::io::Write as _;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_engine::append::Expected;
use strandline_engine::read::{AsOf, Order, StreamPage};
use strandline_event::{ErrorKind, Field, Seq, limits, time};
use strandline_workers::permits::Permitted;
use strandline_workers::subscriptions::{Confirmation, ProjectionState};
use strandline_workers::{StreamAppended, StreamQuery};

/// A larger body is not decoded on a thread that other requests wait for.
const DECODE_HERE_BYTES_MAX: usize = 64 << 10;

/// POST /v1/stores/{store}/streams/{stream_type}/{stream_id}
pub(crate) async fn append(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let (stream_type, stream_id) = (call.segment(4)?, call.segment(5)?);
    let query = call.query()?;
    let inspect = query.flag("inspect")?;
    query.finish()?;
    body::require_json_or_form(&call.request)?;
    let limit = limits::APPEND_BYTES_MAX;
    let permits = call.app.node.permits();
    let body = body::read(&call.request, call.payload, permits, "an append to a stream", limit).await?;
    let names = served.names();
    let bytes = body.bytes;
    let decoding = trace::decode(bytes.len());
    let AppendBody { batch, expected } = if bytes.len() <= DECODE_HERE_BYTES_MAX {
        decoding.in_scope(|| decode(&bytes, names, &stream_type, &stream_id))?
    } else {
        let (served, stream) = (Arc::clone(&served), (stream_type.clone(), stream_id.clone()));
        let decoded =
            actix_web::web::block(move || decoding.in_scope(|| decode(&bytes, served.names(), &stream.0, &stream.1)));
        decoded.await.map_err(|_| ApiError::bad_request("the body cannot be read"))??
    };
    let expected = match expected {
        ExpectedSeq::Any => Expected::Any,
        ExpectedSeq::Empty => Expected::Empty,
        ExpectedSeq::At(seq) => Expected::At(seq),
    };
    let appended = served.store.append_stream(batch, expected, inspect, Arc::new(body.permit)).await;
    let appended = appended.map_err(|e| failure::answer(&e, names))?;
    let projections = match appended.stamped.as_ref().filter(|_| !inspect) {
        Some(stamped) => served.store.confirm_projections(&[stamped]).await,
        None => None,
    };
    Ok(appended_answer(&served, (&stream_type, &stream_id), &appended, (inspect, projections)))
}

fn appended_answer(
    served: &ServedStore,
    (stream_type, stream_id): (&str, &str),
    appended: &StreamAppended,
    (inspect, projections): (bool, Option<Vec<Confirmation>>),
) -> HttpResponse {
    let names = served.names();
    let mut out = Vec::with_capacity(256 + appended.events.len() * 128);
    out.push(b'{');
    for (field, value) in [(Field::StreamType, stream_type), (Field::StreamId, stream_id)] {
        text(&mut out, names.get(field));
        out.push(b':');
        text(&mut out, value);
        out.push(b',');
    }
    let first = appended.events.first().map_or(0, |event| event.seq.0);
    let last = appended.events.last().map_or(0, |event| event.seq.0);
    // writing to a Vec cannot fail
    let _ = write!(out, "\"first_seq\":{first},\"last_seq\":{last},\"events\":[");
    let (id_name, seq_name, at_name) = (names.get(Field::EventId), names.get(Field::Seq), names.get(Field::IngestedAt));
    // null: the first answer again, of an event that retention removed meanwhile
    let quoted = |text: Option<String>| text.map_or_else(|| "null".to_owned(), |text| format!("\"{text}\""));
    for (i, event) in appended.events.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let (id, at) =
            (quoted(event.event_id.map(|id| id.to_string())), quoted(event.ingested_at.map(|at| at.to_string())));
        let seq = event.seq;
        let _ = write!(out, "{comma}{{\"{id_name}\":{id},\"{seq_name}\":{seq},\"{at_name}\":{at}}}");
    }
    let _ = write!(out, "],\"duplicate\":{}", appended.duplicate);
    if inspect {
        out.extend_from_slice(b",\"inspect\":true");
    }
    if let Some(projections) = projections {
        let _ = write!(out, ",\"projections\":{}", projections_json(&projections));
    }
    out.push(b'}');
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    answer::bytes_of(status, Format::Json, out)
}

/// What sync projections did with an append.
pub(crate) fn projections_json(projections: &[Confirmation]) -> serde_json::Value {
    let state = |state| match state {
        ProjectionState::Confirmed => "confirmed",
        ProjectionState::TimedOut => "timed_out",
    };
    let told = |of: &Confirmation| {
        let mut told = json!({ "name": of.name, "state": state(of.state) });
        if let Some(here) = of.here {
            told["here"] = json!(state(here));
        }
        told
    };
    projections.iter().map(told).collect()
}

/// GET /v1/stores/{store}/streams/{stream_type}/{stream_id}
pub(crate) async fn read(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let (stream_type, stream_id) = (call.segment(4)?, call.segment(5)?);
    let format = wanted(&call.request, &[Format::Json, Format::Ndjson, Format::Arrow])?;
    let query = call.query()?;
    let wish = stream_query(&query, stream_type, stream_id)?;
    // a version of the manifest is the same everywhere
    let confirms = confirms(&query)? && wish.as_of.is_none();
    query.finish()?;
    confirm_stream(&served, confirms, (&wish.stream_type, &wish.stream_id)).await?;
    let (shown, as_of) = ((wish.stream_type.clone(), wish.stream_id.clone()), wish.as_of);
    let page = served.store.read_stream(wish).await.map_err(|e| failure::answer(&e, served.names()))?;
    if page.head == Seq::ZERO && page.is_empty() {
        return Err(no_stream(&served, (&shown.0, &shown.1), as_of));
    }
    page_answer(&call, &served, page, format)
}

fn no_stream(served: &ServedStore, (stream_type, stream_id): (&str, &str), as_of: Option<AsOf>) -> ApiError {
    // it may well be there now
    let of = match as_of {
        None => String::new(),
        Some(AsOf::Version(version)) => format!(" in the data files of version {version} of the manifest"),
        Some(AsOf::At(moment)) => format!(" in the data files as of {moment}"),
    };
    let answer = ApiError::not_found(format!("there is no stream '{stream_id}' of stream type '{stream_type}'{of}"));
    failure::with_stream_types(answer, stream_type, &served.store.known_stream_types())
}

fn stream_query(query: &Query, stream_type: String, stream_id: String) -> ApiResult<StreamQuery> {
    let from_seq = query.number("from_seq")?.map(Seq);
    let to_seq = query.number("to_seq")?.map(Seq);
    let order = query.choice("order", &[("asc", Order::Asc), ("desc", Order::Desc)])?;
    let limit = page_limit(query)?;
    let as_of = as_of(query)?;
    if let (Some(from), Some(to)) = (from_seq, to_seq)
        && from > to
    {
        return Err(ApiError::bad_request(format!("from_seq {from} is after to_seq {to}")));
    }
    Ok(StreamQuery { stream_type, stream_id, from_seq, to_seq, limit, order, as_of })
}

/// A version of the manifest, or a moment.
fn as_of(query: &Query) -> ApiResult<Option<AsOf>> {
    let Some(text) = query.text("as_of") else { return Ok(None) };
    let version = text.parse().ok().map(AsOf::Version);
    let wanted = version.or_else(|| time::parse_rfc3339(text).map(AsOf::At));
    wanted.map(Some).ok_or_else(|| {
        let hint = "write the version's number, or a moment like 2026-11-23T10:15:00Z, with + as %2B";
        ApiError::bad_request(format!("`as_of={text}` is no version of the manifest and no RFC 3339 timestamp; {hint}"))
    })
}

/// The `limit` of a page.
pub(crate) fn page_limit(query: &Query) -> ApiResult<usize> {
    let limit = query.number("limit")?.unwrap_or(limits::PAGE_EVENTS_DEFAULT);
    if (1..=limits::PAGE_EVENTS_MAX).contains(&limit) {
        return Ok(limit);
    }
    let max = limits::PAGE_EVENTS_MAX;
    Err(ApiError::bad_request(format!("`limit={limit}`: a page holds 1 to {max} events")).with("limit_events", max))
}

fn page_answer(
    call: &Call,
    served: &ServedStore,
    page: Permitted<StreamPage>,
    format: Format,
) -> ApiResult<HttpResponse> {
    let bytes = match format {
        Format::Json => page_json(served, &page),
        Format::Ndjson => {
            let mut out = Vec::new();
            for event in page.rows() {
                served.writer.write(&mut out, &event, Shape::Line, false);
                out.push(b'\n');
            }
            out
        }
        Format::Arrow => arrow(served, page.rows())?,
    };
    let mut answer = HttpResponse::Ok();
    answer.content_type(format.content_type());
    answer.insert_header(("x-strandline-tiers", page.tiers.to_string()));
    answer.insert_header(("x-strandline-last-seq", page.head.0.to_string()));
    if let Some(next) = page.next_seq {
        answer.insert_header(("x-strandline-next-seq", next.0.to_string()));
    }
    if !page.warnings.is_empty() {
        let line = page.warnings.join("; ").replace(|c: char| !(' '..='~').contains(&c), "?");
        answer.insert_header(("x-strandline-warning", line));
    }
    answer::page(answer, (call.app.node.answers(), call.app.patience), page.into_permit(), bytes)
}

fn page_json(served: &ServedStore, page: &StreamPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + page.len() * 512);
    out.extend_from_slice(b"{\"events\":[");
    for (i, event) in page.rows().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        served.writer.write(&mut out, &event, Shape::Json, false);
    }
    let verdict = &page.verdict;
    let rest = json!({
        "from_seq": verdict.from_seq.0,
        "to_seq": verdict.to_seq.0,
        "contiguous": verdict.contiguous,
        "missing": verdict.missing.iter().map(failure::range).collect::<Vec<_>>(),
        "retired": verdict.retired.iter().map(failure::range).collect::<Vec<_>>(),
    });
    let (last, next, warnings) = (page.head, json!(page.next_seq.map(|next| next.0)), json!(page.warnings));
    let _ = write!(out, "],\"last_seq\":{last},\"next_seq\":{next},\"verdict\":{rest},\"warnings\":{warnings}");
    let _ = write!(out, ",\"tiers\":{}}}", json!(tier_runs(page)));
    out
}

/// Which tier gave which events of a page: runs of neighbours, in its order.
fn tier_runs(page: &StreamPage) -> Vec<serde_json::Value> {
    let mut runs: Vec<(Tier, u64)> = Vec::new();
    for tier in page.tiers_of_rows() {
        match runs.last_mut() {
            Some((of, rows)) if *of == tier => *rows += 1,
            _ => runs.push((tier, 1)),
        }
    }
    runs.iter().map(|(tier, rows)| json!({ "tier": tier.to_string(), "rows": rows })).collect()
}

/// Events as one Arrow IPC stream.
pub(crate) fn arrow<'a>(
    served: &ServedStore,
    rows: impl Iterator<Item = strandline_event::EventRef<'a>>,
) -> ApiResult<Vec<u8>> {
    strandline_durable::ipc::encode(served.names(), rows)
        .map_err(|e| ApiError::new(ErrorKind::Io, format!("the events cannot be put into Arrow: {e}")))
}

/// GET /v1/stores/{store}/streams/{stream_type}/{stream_id}/head
pub(crate) async fn head(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let (stream_type, stream_id) = (call.segment(4)?, call.segment(5)?);
    let query = call.query()?;
    let confirms = confirms(&query)?;
    query.finish()?;
    confirm_stream(&served, confirms, (&stream_type, &stream_id)).await?;
    let head = served.store.head(stream_type.clone(), stream_id.clone()).await;
    match head.map_err(|e| failure::answer(&e, served.names()))? {
        Some(head) => Ok(answer::ok(&json!({ "last_seq": head.last_seq.0, "first_seq": head.first_seq.0 }))),
        None => Err(no_stream(&served, (&stream_type, &stream_id), None)),
    }
}
