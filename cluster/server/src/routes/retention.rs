//! Retention as operators see and steer it.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use crate::routes::{no_body, no_query};
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strandline_durable::FileEntry;
use strandline_workers::{RetentionRun, RetentionWish};

/// What Hive folders are called where the value is null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// GET /admin/v1/stores/{store}/retention
pub(crate) async fn status(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let status = served.store.retention_status().await.map_err(|e| failure::answer(&e, served.names()))?;
    let config = served.store.config();
    let tombstones = status.tombstones.iter().map(|(tombstone, until)| {
        let mut row = file(&tombstone.entry);
        row["at"] = json!(tombstone.at.to_string());
        row["until"] = json!(until.to_string());
        row["job_id"] = json!(format!("{:032x}", tombstone.job_id));
        row
    });
    Ok(answer::ok(&json!({
        "enabled": status.enabled,
        "durable_days": config.retention.durable_days,
        "delete_mode": config.retention.delete_mode.to_string(),
        "before": status.before.to_string(),
        "candidates": status.candidates.iter().map(|entry| file(entry)).collect::<Vec<_>>(),
        "tombstones": tombstones.collect::<Vec<_>>(),
        "runs": served.store.retention_runs().iter().map(run_json).collect::<Vec<_>>(),
    })))
}

fn file(entry: &FileEntry) -> Value {
    let partition: Map<String, Value> =
        entry.partition.iter().map(|(column, value)| (column.clone(), json!(value))).collect();
    json!({
        "path": entry.path,
        "stream_type": entry.stream_type,
        "partition": partition,
        "rows": entry.rows,
        "bytes": entry.bytes,
        "newest": entry.bounds.occurred_at.1.to_string(),
    })
}

fn run_json(run: &RetentionRun) -> Value {
    let (kind, trigger) = match &run.wish {
        RetentionWish::Retain { by_hand: false } => ("retention", "schedule"),
        RetentionWish::Retain { by_hand: true } => ("retention", "hand"),
        RetentionWish::Restore(_) => ("restore", "hand"),
    };
    json!({
        "id": format!("{:032x}", run.id),
        "kind": kind,
        "trigger": trigger,
        "started_at": run.started_at.to_string(),
        "ended_at": run.ended_at.to_string(),
        "files": run.moved.files,
        "events": run.moved.events,
        "bytes": run.moved.bytes,
        "ranges": run.moved.ranges,
        "commits": run.moved.commits,
        "error": run.error,
    })
}

/// POST /admin/v1/stores/{store}/retention/run
pub(crate) async fn run(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    no_body(call).await?;
    let run = served.store.retain().await.map_err(|e| failure::answer(&e, served.names()))?;
    let mut row = run_json(&run);
    row["enabled"] = json!(served.store.config().retention.enabled);
    Ok(answer::ok(&row))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    partition: Option<Value>,
}

/// POST /admin/v1/stores/{store}/retention/restore, and .../restore
pub(crate) async fn restore(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let permits = call.app.node.permits();
    let body = body::read(&call.request, call.payload, permits, "a wish", SMALL_BODY_BYTES_MAX).await?;
    let wish: Wish = body::object_or_default(&body.bytes, "send nothing or {\"partition\": ...}")?;
    let partition = wish.partition.as_ref().map_or(Ok(Vec::new()), partition)?;
    let config = served.store.config();
    are_columns(&partition, &config.partition.by.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let run = served.store.restore(partition).await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&run_json(&run)))
}

/// `{"dt": "2026-11-23"}` (null: the partition of no value), or the folders: `dt=2026-11-23/stream_type=Call`.
fn partition(value: &Value) -> ApiResult<Vec<(String, Option<String>)>> {
    let wrong = || {
        ApiError::bad_request(
            "`partition` is an object of columns and values, as `partition` of .../files, or its folders: `dt=2026-11-23`",
        )
    };
    let pairs: Option<Vec<_>> = match value {
        Value::Object(columns) if !columns.is_empty() => columns.iter().map(|(name, v)| value_of(name, v)).collect(),
        Value::String(folders) => folders.trim_matches('/').split('/').map(folder).collect(),
        _ => None,
    };
    pairs.ok_or_else(wrong)
}

/// A column that the store does not partition by has no files, ever: whoever names it means another one.
fn are_columns(partition: &[(String, Option<String>)], columns: &[String]) -> ApiResult<()> {
    let Some((strange, _)) = partition.iter().find(|(column, _)| !columns.contains(column)) else { return Ok(()) };
    let shown: String = strange.chars().take(64).collect();
    let known = match columns {
        [] => "its files stand in no partitions: send nothing, and everything under a tombstone comes back".to_owned(),
        columns => format!("its files are partitioned by {}", columns.join(", ")),
    };
    Err(ApiError::bad_request(format!("`{shown}` is no partition column of the store: {known}"))
        .with("columns", columns))
}

fn value_of(column: &str, value: &Value) -> Option<(String, Option<String>)> {
    match value {
        Value::Null => Some((column.to_owned(), None)),
        Value::String(text) => Some((column.to_owned(), Some(text.clone()))),
        _ => None,
    }
}

fn folder(text: &str) -> Option<(String, Option<String>)> {
    let (column, value) = text.split_once('=')?;
    let value = if value == NULL_PARTITION { None } else { Some(strandline_event::decode_path_text(value)?) };
    Some((column.to_owned(), value))
}
