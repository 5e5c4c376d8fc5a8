//! Erasure of a subject: its keys are destroyed, and the answer is the receipt.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::routes::no_query;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use strandline_event::Micros;
use strandline_workers::{Erasure, ErasureReceipt, SubjectKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    stream_type: Option<String>,
    #[serde(default)]
    stream_id: Option<String>,
    #[serde(default)]
    tenant_id: Option<String>,
}

/// POST /admin/v1/stores/{store}/erase
pub(crate) async fn erase(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    no_query(&call)?;
    let who = call.asker();
    let wish: Wish = body::small_json(call, "a wish", "send {\"stream_id\": ...} or {\"tenant_id\": ...}").await?;
    let (kind, name) = match (wish.stream_id, wish.tenant_id) {
        (Some(stream), None) => (SubjectKind::Stream, stream),
        (None, Some(tenant)) => (SubjectKind::Tenant, tenant),
        _ => return Err(ApiError::bad_request("name one of `stream_id` and `tenant_id`: whose data is to be erased")),
    };
    let erasure = Erasure { kind, name, stream_type: wish.stream_type, who };
    let receipts = served.store.erase(erasure).await.map_err(|e| failure::answer(&e, served.names()))?;
    let mut body = json!({ "erased": receipts.iter().map(receipt).collect::<Vec<_>>() });
    let behind = served.store.hide_erased().await;
    if !behind.is_empty() {
        body["not_known_to"] = json!(behind);
    }
    Ok(answer::ok(&body))
}

fn receipt(of: &ErasureReceipt) -> Value {
    json!({
        "stream_type": of.subject.stream_type,
        "subject": of.kind.word(),
        "name": of.subject.name,
        "at": Micros(of.tombstone.at_us).to_string(),
        "who": of.tombstone.who,
        "events": of.tombstone.events,
        "already": of.already,
    })
}
