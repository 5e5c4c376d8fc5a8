//! Stores and their stream types.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::{answer, body};
use crate::routes::no_query;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_event::ErrorKind;
use strandline_workers::{StoreHandle, StreamTypeEntry, SubjectKind};

/// Bodies of small commands.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 1 << 20;

/// GET /v1/stores
pub(crate) async fn list(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let one = |store: &StoreHandle| {
        let config = store.config();
        json!({
            "name": store.name(),
            "stream_types": types_for(store).iter().map(|name| &**name).collect::<Vec<_>>(),
            "tiers": config.read.tiers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "durable_path": config.durable.path.to_string(),
        })
    };
    let stores: Vec<Value> = call.app.stores_for(&call.who).iter().map(|served| one(&served.store)).collect();
    Ok(answer::ok(&json!({ "stores": stores })))
}

/// The stream types that have a log. Which of them are there because somebody appended, a caller that is limited to tenants is not
/// told: it sees those that are registered.
fn types_for(store: &StoreHandle) -> Vec<Arc<str>> {
    if store.is_limited() {
        return store.stream_types().iter().map(|entry| Arc::clone(&entry.name)).collect();
    }
    store.engine().stream_types()
}

/// GET /v1/stores/{store}
pub(crate) async fn one(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.store()?;
    Ok(answer::ok(&strandline_deql::store_json(&served.store.config())))
}

/// GET /v1/stores/{store}/stream-types
pub(crate) async fn stream_types(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.store()?;
    let registered = served.store.stream_types();
    let with_log = types_for(&served.store);
    let mut rows: Vec<Value> = registered.iter().map(|entry| row(&served, entry, true)).collect();
    for name in with_log {
        if !registered.iter().any(|entry| entry.name == name) {
            let buckets = served.store.engine().buckets_of(&name);
            rows.push(row(&served, &StreamTypeEntry { name, buckets }, false));
        }
    }
    Ok(answer::ok(&json!({ "stream_types": rows })))
}

fn row(served: &ServedStore, entry: &StreamTypeEntry, registered: bool) -> Value {
    let erasable = served.store.erasable(&entry.name).map_or("no", SubjectKind::word);
    json!({ "name": &*entry.name, "buckets": entry.buckets, "erasable": erasable, "registered": registered })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    name: String,
    #[serde(default = "one_bucket")]
    buckets: u32,
    /// One of three words; what is none is told in our words, as `true` is.
    #[serde(default)]
    erasable: Option<Value>,
}

const fn one_bucket() -> u32 {
    1
}

/// POST /v1/stores/{store}/stream-types
pub(crate) async fn register(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    let wanted: Registration = body::small_json(call, "a registration", "a registration").await?;
    let names = served.names();
    strandline_event::builder::check_stream_type(&wanted.name).map_err(|e| crate::decode::json::invalid(&e, names))?;
    let entry = StreamTypeEntry { name: Arc::from(wanted.name), buckets: wanted.buckets };
    let kind = match wanted.erasable.as_ref().map(Value::as_str) {
        None => served.store.erasable(&entry.name),
        Some(Some("no")) => None,
        Some(word) => match word.and_then(SubjectKind::from_word) {
            Some(kind) => Some(kind),
            None => return Err(ApiError::bad_request("`erasable` is \"no\", \"stream\" or \"tenant\"")),
        },
    };
    let registered = match (kind, served.store.erasable(&entry.name)) {
        (Some(kind), _) => served.store.register_erasable(entry, kind).await,
        (None, None) => served.store.register(entry).await,
        (None, Some(known)) => {
            let sentence = format!("stream type `{}` is erasable by {}, which never changes", entry.name, known.word());
            return Err(ApiError::new(ErrorKind::StrictViolation, sentence));
        }
    };
    let entry = registered.map_err(|e| failure::answer(&e, names))?;
    Ok(answer::json(StatusCode::CREATED, &row(&served, &entry, true)))
}
