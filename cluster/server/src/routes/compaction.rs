//! Compaction as operators see and steer it.

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::{answer, body};
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use crate::routes::{no_body, no_query};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use strandline_engine::compact::{MergePlan, Phase, Trigger};
use strandline_event::Micros;
use strandline_workers::{Job, JobEnd, NodeError};

/// The phase of a job whose turn has not come.
const WAITS: &str = "waiting";

/// GET /admin/v1/stores/{store}/compaction
pub(crate) async fn status(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    let waiting = served.store.waiting().await.map_err(|e| failure::answer(&e, served.names()))?;
    let stream_types: Vec<Value> = waiting
        .iter()
        .map(|w| {
            json!({
                "stream_type": &*w.key.stream_type,
                "bucket": w.key.bucket,
                "sealed_segments": w.sealed_segments,
                "segments_waiting": w.segments,
                "bytes_waiting": w.bytes,
                "events_waiting": w.events,
                "oldest_waiting": moment(w.oldest),
                "watermark": w.watermark.0,
            })
        })
        .collect();
    let (config, jobs) = (served.store.config(), served.store.jobs());
    let config = &config.compaction;
    Ok(answer::ok(&json!({
        "enabled": config.enabled,
        "schedule": config.schedule.as_str(),
        "trigger": config.trigger.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "next_tick": moment(jobs.next_tick()),
        "paused": jobs.is_paused(),
        "share_percent": call.app.node.compaction_share().percent(),
        "last_run": moment(jobs.last_run()),
        "stream_types": stream_types,
        "running": jobs.running().iter().map(|j| job_json(j)).collect::<Vec<_>>(),
        "jobs": jobs.ended().iter().map(|j| job_json(j)).collect::<Vec<_>>(),
    })))
}

fn moment(moment: Option<Micros>) -> Value {
    moment.map_or(Value::Null, |m| json!(m.to_string()))
}

/// Partition columns with their values.
fn values(values: &[(String, Option<String>)]) -> Value {
    values.iter().map(|(column, value)| (column.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn job_json(job: &Job) -> Value {
    let trigger = match job.trigger {
        Trigger::Tick => "schedule",
        Trigger::Size => "size",
        Trigger::Hand => "hand",
        Trigger::Redaction => "redaction",
    };
    // looked at once: it may end meanwhile
    let end = job.end();
    // a run of several jobs begins to count anew with each: what it moved in all stands in its end
    let (done, total) = match &end {
        Some(end) if end.is_well() => (end.rows, end.rows),
        _ => (job.progress.rows_done(), job.progress.rows_total()),
    };
    let began = job.progress.began();
    let phase = || began.map_or(WAITS, |_| job.progress.phase().name());
    let mut row = json!({
        "id": format!("{:032x}", job.id),
        "kind": job.partition().map_or("compact", |_| "merge"),
        "stream_type": &*job.log.stream_type,
        "bucket": job.log.bucket,
        "partition": job.partition().map(|partition| values(&partition.values)),
        "trigger": trigger,
        "asked_at": job.asked_at.to_string(),
        "started_at": moment(began),
        "phase": end.as_ref().map_or_else(phase, how),
        "rows_done": done,
        "rows_total": total,
    });
    if end.is_none() {
        let entered = job.progress.step_began();
        let passed_us = entered.map(|entered| strandline_workers::clock::now().0.saturating_sub(entered.0));
        row["eta_s"] = json!(passed_us.and_then(|passed_us| eta_s(passed_us, done, total)));
    }
    if let Some(end) = end {
        row["ended_at"] = json!(end.ended_at.to_string());
        row["duration_ms"] = json!(began.map_or(0, |began| (end.ended_at.0 - began.0).max(0) / 1000));
        row["inputs"] = json!(end.inputs);
        row["input_bytes"] = json!(end.input_bytes);
        row["output_bytes"] = json!(end.output_bytes);
        row["rows"] = json!(end.rows);
        row["files"] = json!(end.files);
        row["error"] = json!(end.error);
        row["cancelled"] = json!(end.cancelled);
        row["ended_in"] = json!(end.ended_in.map(Phase::name));
    }
    row
}

/// How a job ended, in the place of the phase that it is in.
const fn how(end: &JobEnd) -> &'static str {
    match (end.error.is_some(), end.cancelled) {
        (true, _) => "failed",
        (false, true) => "cancelled",
        (false, false) => "done",
    }
}

/// About how long a job still counts rows in its present step, by the rate of this step so far: what it did before, and the time for which
/// it waited for its turn, say nothing of that. The commit at its end is not in it. `None`: nobody can say yet.
fn eta_s(passed_us: i64, done: u64, total: u64) -> Option<f64> {
    let left = total.checked_sub(done)?;
    let tenths = || (passed_us as f64 / 1e5 / done as f64 * left as f64).round();
    (done > 0 && left > 0 && passed_us > 0).then(|| tenths() / 10.0)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    stream_type: Option<String>,
}

/// POST /admin/v1/stores/{store}/compaction/run
pub(crate) async fn run(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    let query = call.query()?;
    let wait = query.flag("wait")?;
    let of_query = query.text("stream_type").map(str::to_owned);
    query.finish()?;
    let permits = call.app.node.permits();
    let body = body::read(&call.request, call.payload, permits, "a wish", SMALL_BODY_BYTES_MAX).await?;
    let wish: Wish = body::object_or_default(&body.bytes, "send nothing or {\"stream_type\": ...}")?;
    let jobs = served.store.compact(of_query.or(wish.stream_type)).await;
    let jobs = jobs.map_err(|e| refused(&served, &e))?;
    let ids: Vec<String> = jobs.iter().map(|job| format!("{:032x}", job.id)).collect();
    if !wait {
        return Ok(answer::json(StatusCode::ACCEPTED, &json!({ "jobs": ids })));
    }
    join_all(jobs.iter().map(|job| job.ended())).await;
    let merges = join_all(jobs.iter().map(|job| job.merges())).await;
    let ended: Vec<Value> = jobs.iter().chain(merges.iter().flatten()).map(|job| job_json(job)).collect();
    Ok(answer::ok(&json!({ "jobs": ids, "ended": ended })))
}

/// Where no stream type has the name that was asked for, it says which there are.
fn refused(served: &ServedStore, error: &NodeError) -> ApiError {
    let answer = failure::answer(error, served.names());
    match error {
        NodeError::UnknownStreamType { name, .. } => {
            failure::with_stream_types(answer, name, &served.store.known_stream_types())
        }
        _ => answer,
    }
}

/// POST /admin/v1/stores/{store}/compaction/pause
pub(crate) async fn pause(call: Call) -> ApiResult<HttpResponse> {
    set_paused(call, true).await
}

/// POST /admin/v1/stores/{store}/compaction/resume
pub(crate) async fn resume(call: Call) -> ApiResult<HttpResponse> {
    set_paused(call, false).await
}

async fn set_paused(call: Call, paused: bool) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    no_body(call).await?;
    served.store.pause(paused).await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "paused": paused })))
}

/// POST /admin/v1/stores/{store}/compaction/cancel
pub(crate) async fn cancel(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let served = call.admin_store()?;
    no_body(call).await?;
    let asked = served.store.cancel().await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "cancelled": asked })))
}

/// GET /admin/v1/stores/{store}/compaction/plan
pub(crate) async fn plan(call: Call) -> ApiResult<HttpResponse> {
    let served = call.admin_store()?;
    let query = call.query()?;
    let stream_type = query.text("stream_type").map(str::to_owned);
    query.finish()?;
    let plans = served.store.plan(stream_type).await.map_err(|e| refused(&served, &e))?;
    let jobs: Vec<Value> = plans
        .jobs
        .iter()
        .map(|plan| {
            json!({
                "stream_type": &*plan.log.stream_type,
                "bucket": plan.log.bucket,
                "from_exclusive": plan.from_exclusive.0,
                "through": plan.through.0,
                "segments": plan.segments,
                "bytes": plan.bytes,
                "events": plan.events,
            })
        })
        .collect();
    Ok(answer::ok(&json!({ "jobs": jobs, "merges": merges(&plans.merges), "following": merges(&plans.following) })))
}

fn merges(plans: &[MergePlan]) -> Vec<Value> {
    let row = |plan: &MergePlan| {
        json!({
            "stream_type": &*plan.partition.log.stream_type,
            "bucket": plan.partition.log.bucket,
            "partition": values(&plan.partition.values),
            "files": plan.inputs.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "bytes": plan.bytes(),
            "events": plan.events(),
        })
    };
    plans.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_of_what_three_took_a_minute_for() {
        assert_eq!(eta_s(60_000_000, 75, 100), Some(20.0));
        assert_eq!(eta_s(1_000_000, 3, 10), Some(2.3), "nobody needs more of it than tenths");
        for unknown in [(60_000_000, 0, 100), (0, 5, 100), (60_000_000, 100, 100), (60_000_000, 5, 0)] {
            assert_eq!(eta_s(unknown.0, unknown.1, unknown.2), None, "{unknown:?}");
        }
    }
}
