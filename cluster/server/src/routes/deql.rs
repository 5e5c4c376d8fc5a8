//! The routes that DeQL names for an event store: its registry and its statements.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{App, Call};
use crate::http::{answer, body};
use crate::routes::no_query;
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_deql::{Declarations, Statement};
use strandline_workers::StreamTypeEntry;

/// GET /api/dereg/eventstores
pub(crate) async fn eventstores(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(answer::ok(&json!({ "eventstores": described(&call.app) })))
}

fn described(app: &App) -> Vec<Value> {
    app.stores().map(|served| strandline_deql::store_json(served.store.config())).collect()
}

/// GET /api/dereg/eventstores/{name}
pub(crate) async fn eventstore(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.store_at(3)?;
    Ok(answer::ok(&strandline_deql::store_json(served.store.config())))
}

/// GET /api/deql/export
pub(crate) async fn export(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(answer::ok(&json!({ "deql": exported(&call.app) })))
}

fn exported(app: &App) -> String {
    let configs: Vec<_> = app.stores().map(|served| served.store.config()).collect();
    let mut types: Vec<String> = Vec::new();
    for served in app.stores() {
        for entry in served.store.stream_types().iter() {
            if !types.iter().any(|known| *known == *entry.name) {
                types.push(entry.name.to_string());
            }
        }
    }
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    strandline_deql::export(&configs, &types)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    deql: String,
}

/// POST /api/deql/create
pub(crate) async fn create(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    body::require_json(&call.request)?;
    let app = call.app.clone();
    let permits = app.node.permits();
    let body = body::read(&call.request, call.payload, permits, "a DeQL text", SMALL_BODY_BYTES_MAX).await?;
    let source: Source = serde_json::from_slice(&body.bytes)
        .map_err(|e| ApiError::bad_request(format!("send {{\"deql\": \"CREATE ...\"}}: {e}")))?;
    let declarations = strandline_deql::parse_file("deql", &source.deql).map_err(|errors| {
        let facts = serde_json::to_value(&errors).unwrap_or(Value::Null);
        ApiError::bad_request(errors.to_string()).with("diagnostics", facts)
    })?;
    refuse_stores(&declarations)?;
    let mut results = Vec::new();
    for statement in &declarations.statements {
        results.push(run(&app, statement).await?);
    }
    Ok(answer::json(StatusCode::CREATED, &json!({ "results": results })))
}

fn refuse_stores(declarations: &Declarations) -> ApiResult<()> {
    let store = declarations.statements.iter().find_map(|statement| match statement {
        Statement::CreateEventStore { name, .. } => Some(name),
        _ => None,
    });
    match store {
        None => Ok(()),
        Some(name) => Err(ApiError::not_supported(format!(
            "store `{name}` cannot be made or replaced while the node runs: put the statement into the file of \
             `strandline serve --config` and start again"
        ))),
    }
}

async fn run(app: &App, statement: &Statement) -> ApiResult<Value> {
    match statement {
        Statement::CreateAggregate { name } => {
            for served in app.stores() {
                let names = served.names();
                strandline_event::builder::check_stream_type(name)
                    .map_err(|e| crate::decode::json::invalid(&e, names))?;
                let entry = StreamTypeEntry { name: Arc::from(name.as_str()), buckets: 1 };
                served.store.register(entry).await.map_err(|e| failure::answer(&e, names))?;
            }
            Ok(json!({ "aggregate": name }))
        }
        Statement::DescribeEventStore { name } => Ok(strandline_deql::store_json(app.store(name)?.store.config())),
        Statement::DescribeEventStores => Ok(json!({ "eventstores": described(app) })),
        Statement::ExportDereg => Ok(json!({ "deql": exported(app) })),
        // refused above
        Statement::CreateEventStore { name, .. } => Ok(json!({ "eventstore": name })),
    }
}
