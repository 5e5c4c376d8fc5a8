//! Redaction of one event's payload, and the list of what was redacted.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::routes::no_query;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use strandline_durable::Redaction;
use strandline_event::EventId;
use strandline_workers::RedactionWish;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    event_id: String,
    #[serde(default)]
    reason: Option<String>,
}

/// POST /admin/v1/stores/{store}/redact: forbidden where the store is immutable, before anything else.
pub(crate) async fn redact(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    served.store.check_redacts().map_err(|e| failure::answer(&e, served.names()))?;
    no_query(&call)?;
    let who = call.asker();
    let wish: Wish = body::small_json(call, "a wish", "send {\"event_id\": ..., \"reason\": ...}").await?;
    let Some(event_id) = EventId::parse(&wish.event_id) else {
        let shown: String = wish.event_id.chars().take(64).collect();
        return Err(ApiError::bad_request(format!("`{shown}` is no UUID")));
    };
    let wish = RedactionWish { event_id, who, reason: wish.reason };
    let (redacted, behind) = served.store.redact(wish).await.map_err(|e| failure::answer(&e, served.names()))?;
    let rows: Vec<Value> = redacted.events.iter().map(row).collect();
    let mut body = json!({ "redacted": rows, "already": redacted.already });
    if !behind.is_empty() {
        body["not_known_to"] = json!(behind);
    }
    Ok(answer::ok(&body))
}

/// GET /admin/v1/stores/{store}/redact
pub(crate) async fn list(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let rows: Vec<Value> = served.store.redactions().iter().map(row).collect();
    Ok(answer::ok(&json!({ "redacted": rows })))
}

fn row(of: &Redaction) -> Value {
    json!({
        "event_id": of.event_id.to_string(),
        "stream_type": of.stream_type,
        "stream_id": of.stream_id,
        "seq": of.seq.0,
        "at": of.at.to_string(),
        "who": of.who,
        "reason": of.reason,
    })
}
