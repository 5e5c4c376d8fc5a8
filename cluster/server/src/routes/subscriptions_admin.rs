//! Named subscriptions as operators see them: all in numbers, one with what is parked, and how that is given again.
//!
//! The same state as that of the routes for clients, at the address for operators. A list holds numbers only: thousands of events
//! may be parked.

use crate::error::ApiResult;
use crate::failure;
use crate::http::answer;
use crate::http::call::Call;
use crate::routes::no_query;
use crate::routes::subscriptions::{checked_name, replay_of, subscription, with_parked};
use actix_web::HttpResponse;
use serde_json::{Value, json};
use strandline_event::FieldNames;
use strandline_workers::subscriptions::NamedStatus;

fn name_of(call: &Call) -> ApiResult<String> {
    checked_name(call.segment(5)?)
}

/// As one subscription, with how many are parked in the place of what is.
fn in_numbers(status: &NamedStatus, names: &FieldNames) -> Value {
    let mut told = subscription(&NamedStatus { parked: Vec::new(), ..status.clone() }, names);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("parked".to_owned(), json!(status.counts.parked));
    }
    told
}

/// GET /admin/v1/stores/{store}/subscriptions
pub(crate) async fn list(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    no_query(&call)?;
    let all = served.store.subscriptions().await.map_err(|e| failure::answer(&e, served.names()))?;
    let all: Vec<Value> = all.iter().map(|status| in_numbers(status, served.names())).collect();
    let (followers, _) = call.app.node.followers();
    Ok(answer::ok(&json!({ "subscriptions": all, "followers": followers })))
}

/// GET /admin/v1/stores/{store}/subscriptions/{name}
pub(crate) async fn one(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    no_query(&call)?;
    Ok(answer::ok(&with_parked(&served, &name_of(&call)?).await?))
}

/// POST /admin/v1/stores/{store}/subscriptions/{name}/replay
pub(crate) async fn replay(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    let name = name_of(&call)?;
    replay_of(call, &served, &name).await
}
