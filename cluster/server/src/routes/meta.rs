//! Whether the node lives, whether it takes requests, what it is.

use crate::error::{ApiError, ApiResult};
use crate::http::answer;
use crate::http::call::Call;
use crate::routes::no_query;
use actix_web::HttpResponse;
use serde_json::{Value, json};
use strandline_event::ErrorKind;
use strandline_workers::StoreHandle;

/// GET /health
pub(crate) async fn health(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(answer::ok(&json!({ "status": "ok" })))
}

/// GET /ready
pub(crate) async fn ready(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let fenced = call.app.node.fenced();
    if !fenced.is_empty() {
        let text = format!("another node owns what this one serves: {}; stop one of the two", fenced.join(", "));
        return Err(ApiError::new(ErrorKind::Unavailable, text).with("stores", fenced));
    }
    if call.app.node.is_serving() {
        let damaged: Vec<Value> = call.app.stores().flat_map(|served| damaged(&served.store)).collect();
        return Ok(answer::ok(&match damaged.is_empty() {
            true => json!({ "status": "ready" }),
            false => json!({ "status": "ready", "damaged": damaged }),
        }));
    }
    Err(ApiError::new(ErrorKind::Unavailable, "the node is shutting down"))
}

fn damaged(store: &StoreHandle) -> Vec<Value> {
    let row = |(stream_type, what): (String, String)| json!({ "store": store.name(), "stream_type": stream_type, "error": format!("its log takes no appends: {what}") });
    store.damaged().into_iter().map(row).collect()
}

/// GET /info
pub(crate) async fn info(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let stores: Vec<&str> = call.app.stores().map(|s| s.store.name()).collect();
    Ok(answer::ok(&json!({
        "name": "strandline",
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": call.app.started.to_string(),
        "stores": stores,
        "recovery": call.app.node.report(),
    })))
}
