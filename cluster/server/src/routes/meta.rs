//! Whether the node lives, whether it takes requests, what it is.

use crate::access::Role;
use crate::error::{ApiError, ApiResult};
use crate::http::answer;
use crate::http::call::Call;
use crate::routes::no_query;
use actix_web::HttpResponse;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_consensus::control::Control;
use strandline_event::ErrorKind;
use strandline_workers::StoreHandle;

/// GET /: where to go on from here, for whoever opens the address of a node.
pub(crate) async fn root(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let admin = call.app.addresses.admin;
    let (console, stores) = match admin {
        None => ("/admin/", "/v1/stores"),
        Some(admin) if call.request.app_config().local_addr() == admin => {
            ("/admin/", "/v1/stores at the address for clients (serve --http)")
        }
        Some(_) => ("/admin/ at the address for operators (serve --admin)", "/v1/stores"),
    };
    Ok(answer::ok(&json!({
        "name": "strandline",
        "console": console,
        "health": "/health, and /ready",
        "metrics": "/metrics",
        "routes": "/openapi.json",
        "stores": stores,
        "docs": "docs/README.md of the repository, and `strandline --help`",
    })))
}

/// GET /health
pub(crate) async fn health(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(answer::ok(&json!({ "status": "ok" })))
}

/// GET /ready
pub(crate) async fn ready(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    call.app.node.look_at_folders().await;
    if !call.who.sees_the_node() {
        return ready_without_facts(&call);
    }
    let fenced = call.app.node.fenced();
    if !fenced.is_empty() {
        let text = format!(
            "another node owns what this one serves: {}; it takes no appends here, and reads only by consistency=local; stop \
             one of the two",
            fenced.join(", ")
        );
        return Err(ApiError::new(ErrorKind::Unavailable, text).with("stores", fenced));
    }
    if call.app.node.is_serving() {
        return ready_with(&call);
    }
    Err(ApiError::new(ErrorKind::Unavailable, "the node is shutting down"))
}

/// For whoever shows no token that may hear more: load balancers ask without one.
fn ready_without_facts(call: &Call) -> ApiResult<HttpResponse> {
    if call.app.node.fenced().is_empty() && call.app.node.is_serving() && ready_with(call).is_ok() {
        return Ok(answer::ok(&json!({ "status": "ready" })));
    }
    Err(ApiError::new(ErrorKind::Unavailable, "the node is not ready; a token of role read for all stores is told why"))
}

/// Logs without a leader that are named.
const ROWS_MAX: usize = 20;

/// What the node cannot do while it takes requests. An object store that does not answer holds up only what needs it: where there
/// is a log, appends are taken all the same. A disk of logs that does not answer holds up all of these, and no read; one that was full
/// at the start holds up all but reads. A key that is not to be had holds up nothing but the next start.
fn ready_with(call: &Call) -> ApiResult<HttpResponse> {
    let troubles = call.app.node.cluster().map(Control::troubles).unwrap_or_default();
    if let Some(why) = troubles.not_ready() {
        return Err(ApiError::new(ErrorKind::Unavailable, why));
    }
    let troubled = call.app.node.troubled();
    let row = |(store, why): &(&str, Arc<str>)| json!({ "store": store, "error": &**why });
    let mut degraded: Vec<Value> = troubled.iter().map(row).collect();
    degraded.extend(call.app.node.logs_troubled().iter().map(row));
    degraded.extend(call.app.node.without_room().iter().map(row));
    degraded.extend(call.app.node.keys_troubled().iter().map(row));
    if let Some(why) = call.app.node.subjects_trouble() {
        let with_subjects = call.app.stores().filter(|served| served.store.has_erasable());
        degraded.extend(with_subjects.map(|served| json!({ "store": served.store.name(), "error": why })));
    }
    let without_log = |name: &str| call.app.stores().any(|s| s.store.name() == name && !s.store.config().wal.enabled);
    if troubled.iter().any(|(store, _)| without_log(store)) {
        let text = "an object store does not answer, or a folder of files is gone or hangs, and a store without a log needs it for every append";
        return Err(ApiError::new(ErrorKind::Unavailable, text).with("degraded", degraded));
    }
    let damaged: Vec<Value> = call.app.stores().flat_map(|served| damaged(&served.store)).collect();
    let mut body = json!({ "status": "ready" });
    let leaderless = troubles.leaderless.iter().take(ROWS_MAX).map(|(group, _)| json!(group.to_string())).collect();
    let reloads = call.app.access.audit.reloads().into_iter();
    let not_reloaded =
        reloads.filter_map(|(what, of)| of.failing.map(|why| json!({ "what": what, "error": why }))).collect();
    let lists =
        [("damaged", damaged), ("degraded", degraded), ("leaderless", leaderless), ("not_reloaded", not_reloaded)];
    for (key, rows) in lists.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        body[key] = rows.into();
    }
    Ok(answer::ok(&body))
}

fn damaged(store: &StoreHandle) -> Vec<Value> {
    let row = |(stream_type, what): (String, String)| json!({ "store": store.name(), "stream_type": stream_type, "error": format!("its log takes no appends: {what}") });
    store.damaged().into_iter().map(row).collect()
}

/// GET /info
pub(crate) async fn info(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.app.stores_for(&call.who);
    let stores: Vec<&str> = served.iter().map(|s| s.store.name()).collect();
    let found = || call.app.node.report().iter().map(|line| line.text()).collect::<Vec<_>>();
    let recovery = call.who.sees_the_node().then(found);
    let admin = call.app.addresses.admin.filter(|_| call.who.has(Role::Admin));
    Ok(answer::ok(&json!({
        "name": "strandline",
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": call.app.started.to_string(),
        "stores": stores,
        "http": call.app.addresses.http.to_string(),
        "native": call.app.addresses.native.map(|address| address.to_string()),
        "admin": admin.map(|address| address.to_string()),
        "tls": call.app.certificates.is_some(),
        "in_cluster": call.app.node.cluster().is_some(),
        "recovery": recovery,
    })))
}
