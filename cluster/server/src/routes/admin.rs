//! Numbers of a store for operators: tiers, log, manifest, files.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::answer;
use crate::http::call::Call;
use crate::routes::no_query;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use strandline_deql::Location;
use strandline_engine::status::{FileStatus, LogStatus, TierNumbers};
use strandline_event::{Field, FieldNames, LogKey, Micros};

/// Versions of the manifest that are listed at once, where nobody says how many.
const VERSIONS_DEFAULT: usize = 100;
/// And at most: each is read.
const VERSIONS_MAX: usize = 1000;

/// GET /admin/v1/stores/{store}/tiers
pub(crate) async fn tiers(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let tiers = served.store.tiers().await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({
        "inmemory": tiers.hot.as_ref().map(numbers),
        "wal": tiers.wal.as_ref().map(numbers),
        "durable": numbers(&tiers.durable),
    })))
}

fn numbers(tier: &TierNumbers) -> Value {
    json!({
        "bytes": tier.bytes,
        "events": tier.events,
        "oldest": moment(tier.oldest),
        "newest": moment(tier.newest),
    })
}

fn moment(moment: Option<Micros>) -> Value {
    moment.map_or(Value::Null, |m| json!(m.to_string()))
}

/// GET /admin/v1/stores/{store}/wal
pub(crate) async fn wal(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let logs = served.store.wal().await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "logs": logs.iter().map(log).collect::<Vec<_>>() })))
}

fn log(log: &LogStatus) -> Value {
    let segments: Vec<Value> = log
        .segments
        .iter()
        .map(|s| {
            json!({
                "name": s.name,
                "bytes": s.bytes,
                "first_index": s.first_index.0,
                "last_index": s.last_index.map(|i| i.0),
                "sealed": s.sealed,
                "newest": moment(s.newest),
            })
        })
        .collect();
    json!({
        "stream_type": &*log.key.stream_type,
        "bucket": log.key.bucket,
        "first_index": log.first_index.0,
        "last_index": log.last_index.0,
        "watermark": log.watermark.0,
        "refuses_writes": log.refuses_writes.as_deref(),
        "segments": segments,
    })
}

/// GET /admin/v1/stores/{store}/manifest
pub(crate) async fn manifest(call: Call) -> ApiResult<HttpResponse> {
    let query = call.query()?;
    let (before, limit) = (query.number("before")?, query.number("limit")?.unwrap_or(VERSIONS_DEFAULT));
    query.finish()?;
    if !(1..=VERSIONS_MAX).contains(&limit) {
        let refused = ApiError::bad_request(format!("`limit={limit}`: a page lists 1 to {VERSIONS_MAX} versions"));
        return Err(refused.with("limit_versions", VERSIONS_MAX));
    }
    let served = call.admin_store()?;
    let m = served.store.manifest(before, limit).await.map_err(|e| failure::answer(&e, served.names()))?;
    let watermark = |(key, through): &(LogKey, strandline_event::LogIndex)| json!({ "stream_type": &*key.stream_type, "bucket": key.bucket, "compacted_through": through.0 });
    let history: Vec<Value> = m
        .history
        .iter()
        .map(|v| {
            json!({
                "version": v.version,
                "epoch": v.epoch,
                "job_id": format!("{:032x}", v.job_id),
                "committed_at": v.committed_at.to_string(),
                "files": v.files,
                "rows": v.rows,
                "bytes": v.bytes,
            })
        })
        .collect();
    Ok(answer::ok(&json!({
        "version": m.version,
        "epoch": m.epoch,
        "committed_at": m.committed_at.to_string(),
        "files": m.files,
        "rows": m.rows,
        "bytes": m.bytes,
        "replaced": { "files": m.replaced.0, "bytes": m.replaced.1 },
        "logs": m.watermarks.iter().map(watermark).collect::<Vec<_>>(),
        "history": history,
        "next_before": m.next_before,
    })))
}

/// GET /admin/v1/stores/{store}/files
pub(crate) async fn files(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let files = served.store.files().await.map_err(|e| failure::answer(&e, served.names()))?;
    let config = served.store.config();
    let rows: Vec<Value> = files.iter().map(|f| file(f, &config.durable.path, served.names())).collect();
    Ok(answer::ok(&json!({ "files": rows })))
}

fn file(file: &FileStatus, location: &Location, names: &FieldNames) -> Value {
    let (entry, bounds) = (&file.entry, &file.entry.bounds);
    let partition: Map<String, Value> =
        entry.partition.iter().map(|(column, value)| (column.clone(), json!(value))).collect();
    let mut min = Map::new();
    let mut max = Map::new();
    let mut put = |field: Field, low: Value, high: Value| {
        min.insert(names.get(field).to_owned(), low);
        max.insert(names.get(field).to_owned(), high);
    };
    put(Field::StreamId, json!(bounds.stream_id.0), json!(bounds.stream_id.1));
    put(Field::Seq, json!(bounds.seq.0.0), json!(bounds.seq.1.0));
    put(Field::EventType, json!(bounds.event_type.0), json!(bounds.event_type.1));
    put(Field::OccurredAt, json!(bounds.occurred_at.0.to_string()), json!(bounds.occurred_at.1.to_string()));
    put(Field::IngestedAt, json!(bounds.ingested_at.0.to_string()), json!(bounds.ingested_at.1.to_string()));
    put(Field::EventId, json!(bounds.event_id.0.to_string()), json!(bounds.event_id.1.to_string()));
    if let Some((low, high)) = &bounds.tenant_id {
        put(Field::TenantId, json!(low), json!(high));
    }
    json!({
        "path": entry.path,
        "url": location.is_remote().then(|| location.join(&entry.path).to_string()),
        "local_path": file.local_path.as_ref().map(|p| p.display().to_string()),
        "stream_type": entry.stream_type,
        "partition": partition,
        "rows": entry.rows,
        "row_groups": entry.row_groups,
        "bytes": entry.bytes,
        "crc32c": format!("{:08x}", entry.crc32c),
        "from_exclusive": entry.from_exclusive.0,
        "through": entry.through.0,
        "min": min,
        "max": max,
    })
}
