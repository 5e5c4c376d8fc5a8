//! The routes that DeQL names for an event store: its registry and its statements.
//!
//! Of several statements none is run where one is refused by what is known before.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{App, Call, ServedStore};
use crate::http::{answer, body};
use crate::routes::no_query;
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_deql::{Declarations, Statement, StoreConfig};
use strandline_workers::{HeldBy, StreamTypeEntry};

/// GET /api/dereg/eventstores
pub(crate) async fn eventstores(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let stores = call.app.stores_for(&call.who);
    let all: Vec<Value> = stores.iter().map(|s| strandline_deql::store_json(&s.store.config())).collect();
    Ok(answer::ok(&json!({ "eventstores": all })))
}

fn described(app: &App) -> Vec<Value> {
    app.stores().map(|served| strandline_deql::store_json(&served.store.config())).collect()
}

/// GET /api/dereg/eventstores/{name}
pub(crate) async fn eventstore(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.store_at(3)?;
    Ok(answer::ok(&strandline_deql::store_json(&served.store.config())))
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
    let configs: Vec<&StoreConfig> = configs.iter().map(|config| &**config).collect();
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
    let source: Source = body::parsed_unsaid(&body.bytes, "send {\"deql\": \"CREATE ...\"}")?;
    let declarations = strandline_deql::parse_file("deql", &source.deql).map_err(|errors| {
        let facts = serde_json::to_value(&errors).unwrap_or(Value::Null);
        ApiError::bad_request(errors.to_string()).with("diagnostics", facts)
    })?;
    let stores = replacements(&app, &declarations)?;
    let mut results = Vec::new();
    for statement in &declarations.statements {
        results.push(run(&app, &stores, statement).await?);
    }
    Ok(answer::json(StatusCode::CREATED, &json!({ "results": results })))
}

/// A statement that takes the place of a served store's own.
struct Replacement {
    served: Arc<ServedStore>,
    config: StoreConfig,
}

fn replacements(app: &App, declarations: &Declarations) -> ApiResult<Vec<Replacement>> {
    let mut replacements: Vec<Replacement> = Vec::new();
    for statement in &declarations.statements {
        let Statement::CreateEventStore { name, or_replace } = statement else { continue };
        let served = app.store(name).map_err(|_| not_made(name))?;
        if !or_replace {
            return Err(ApiError::bad_request(format!(
                "there is a store `{name}` already: write CREATE OR REPLACE EVENTSTORE to replace its statement"
            ))
            .with("store", name.as_str()));
        }
        // of several for one store the last one holds
        let declared = declarations.stores.iter().find(|declared| declared.config.name == *name);
        let Some(config) = declared.map(|declared| declared.config.clone()) else { continue };
        served.store.check_replacement(&config).map_err(|e| failure::answer(&e, served.names()))?;
        if !replacements.iter().any(|known| known.config.name == *name) {
            replacements.push(Replacement { served, config });
        }
    }
    Ok(replacements)
}

fn not_made(name: &str) -> ApiError {
    ApiError::not_supported(format!(
        "store `{name}` cannot be made while the node runs: put the statement into the file of `strandline serve --config` and \
         start again"
    ))
}

const NOTE_ALONE: &str = "a start follows the file of `strandline serve --config`: put the statement into it, or the next start goes \
                          back to what the file says";
const NOTE_CLUSTER: &str =
    "every member follows the cluster's statement, one that is away when it is back, whatever its file says";

impl Replacement {
    async fn run(&self) -> ApiResult<Value> {
        let (store, names) = (&self.served.store, self.served.names());
        let replaced = store.replace(self.config.clone()).await.map_err(|e| failure::answer(&e, names))?;
        let (held, version, mut note) = match replaced.held_by {
            HeldBy::Manifest(version) => ("manifest_version", version, NOTE_ALONE.to_owned()),
            HeldBy::Cluster(version) => ("statement_version", version, NOTE_CLUSTER.to_owned()),
        };
        if replaced.wal_path_kept {
            note.push_str("; wal.path belongs to the node, which keeps the one that it has while it runs");
        }
        let (name, changed, warnings) = (store.name(), &replaced.changed, &replaced.warnings);
        Ok(json!({
            "eventstore": name, "replaced": true, "changed": changed, held: version, "note": note, "warnings": warnings,
        }))
    }
}

async fn run(app: &App, stores: &[Replacement], statement: &Statement) -> ApiResult<Value> {
    match statement {
        Statement::CreateAggregate { name } => {
            for served in app.stores() {
                let names = served.names();
                strandline_event::builder::check_stream_type(name)
                    .map_err(|e| crate::decode::json::invalid(&e, names))?;
                // the statement says no number
                let buckets = served.store.engine().buckets_of(name);
                let entry = StreamTypeEntry { name: Arc::from(name.as_str()), buckets };
                served.store.register(entry).await.map_err(|e| failure::answer(&e, names))?;
            }
            Ok(json!({ "aggregate": name }))
        }
        Statement::DescribeEventStore { name } => Ok(strandline_deql::store_json(&app.store(name)?.store.config())),
        Statement::DescribeEventStores => Ok(json!({ "eventstores": described(app) })),
        Statement::ExportDereg => Ok(json!({ "deql": exported(app) })),
        Statement::CreateEventStore { name, .. } => match stores.iter().find(|store| store.config.name == *name) {
            Some(store) => store.run().await,
            None => Err(not_made(name)),
        },
    }
}
