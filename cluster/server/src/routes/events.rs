//! Events across streams: bulk append, the global order, one by its id.

use crate::decode::bulk::OnError;
use crate::encode::event::Shape;
use crate::encode::format::{Format, wanted};
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::answer;
use crate::http::call::{Call, ServedStore};
use crate::http::query::Query;
use crate::routes::streams::{arrow, page_limit};
use crate::routes::{confirm, confirm_order, confirms};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use std::io::Write as _;
use strandline_engine::read::{Filter, GlobalPage, GlobalRead};
use strandline_event::{EventId, Position};
use strandline_workers::permits::Permitted;

/// GET /v1/stores/{store}/events
pub(crate) async fn read_global(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let format = wanted(&call.request, &[Format::Json, Format::Ndjson, Format::Arrow])?;
    let query = call.query()?;
    let after = match query.text("after") {
        None => Position::START,
        Some(text) => Position::parse(text).ok_or_else(|| {
            ApiError::bad_request(format!(
                "`after={text}` is no position: use `next` of a page or an event's `position`"
            ))
        })?,
    };
    let read = GlobalRead { after, limit: page_limit(&query)?, filter: filter(&query)? };
    let confirms = confirms(&query)?;
    query.finish()?;
    confirm_order(&served, confirms, read.filter.stream_type.as_deref()).await?;
    let page = served.store.read_global(read).await.map_err(|e| failure::answer(&e, served.names()))?;
    page_answer(&call, &served, page, format)
}

/// The filters of reads across streams.
pub(crate) fn filter(query: &Query) -> ApiResult<Filter> {
    let text = |name| query.given(name).map(str::to_owned);
    sensible(Filter {
        stream_type: text("stream_type"),
        event_type: text("event_type"),
        tenant_id: text("tenant_id"),
        occurred_from: query.moment("occurred_from")?,
        occurred_to: query.moment("occurred_to")?,
        ..Filter::default()
    })
}

/// Refuses a filter that no event could match.
pub(crate) fn sensible(filter: Filter) -> ApiResult<Filter> {
    match filter.refusal() {
        None => Ok(filter),
        Some(why) => Err(ApiError::bad_request(why)),
    }
}

fn page_answer(
    call: &Call,
    served: &ServedStore,
    page: Permitted<GlobalPage>,
    format: Format,
) -> ApiResult<HttpResponse> {
    let mut out = Vec::new();
    match format {
        Format::Json => {
            out.extend_from_slice(b"{\"events\":[");
            for (i, event) in page.rows().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                served.writer.write(&mut out, &event, Shape::Json, true);
            }
            // writing to a Vec cannot fail
            let _ = write!(out, "],\"next\":\"{}\"}}", page.next);
        }
        Format::Ndjson => {
            for event in page.rows() {
                served.writer.write(&mut out, &event, Shape::Line, true);
                out.push(b'\n');
            }
        }
        Format::Arrow => out = arrow(served, page.rows())?,
    }
    let mut answer = HttpResponse::Ok();
    answer.content_type(format.content_type());
    answer.insert_header(("x-strandline-tiers", page.tiers.to_string()));
    answer.insert_header(("x-strandline-next", page.next.to_string()));
    answer::page(answer, (call.app.node.answers(), call.app.patience), page.into_permit(), out)
}

/// GET /v1/stores/{store}/events/{event_id}
pub(crate) async fn by_id(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let text = call.segment(4)?;
    let query = call.query()?;
    let confirms = confirms(&query)?;
    query.finish()?;
    let Some(id) = EventId::parse(&text) else {
        let shown: String = text.chars().take(64).collect();
        return Err(ApiError::bad_request(format!("`{shown}` is no UUID")));
    };
    confirm(&served, confirms, None).await?;
    let found = served.store.event_by_id(id).await.map_err(|e| failure::answer(&e, served.names()))?;
    let Some(found) = found else { return Err(ApiError::not_found(format!("there is no event {id}"))) };
    let mut out = b"{\"event\":".to_vec();
    served.writer.write(&mut out, &found.event(), Shape::Json, true);
    let _ = write!(out, ",\"warnings\":{}}}", serde_json::json!(found.warnings));
    Ok(answer::bytes_of(StatusCode::OK, Format::Json, out))
}

/// The `on_error` of a bulk append.
pub(crate) fn on_error(query: &Query) -> ApiResult<OnError> {
    let choice = query.choice("on_error", &[("abort", OnError::Abort), ("skip", OnError::Skip)])?;
    Ok(choice.unwrap_or_default())
}
