//! The node's numbers as Prometheus text (format 0.0.4): counts of the node, what is measured and held by store.

mod cluster;
mod measured;
mod text;

use crate::access::audit::Reloads;
use crate::error::ApiResult;
use crate::http::call::Call;
use crate::routes::no_query;
use crate::security::{CERTIFICATES, TOKENS};
use actix_web::HttpResponse;
use futures_util::future::join_all;
use std::sync::Arc;
use strandline_workers::subscriptions::NamedStatus;
use text::Text;

/// Times are recorded in microseconds and told in seconds.
const US_PER_S: f64 = 1e6;

/// GET /metrics
pub(crate) async fn metrics(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let mut text = Text::default();
    node(&mut text, &call);
    reloads(&mut text, &call);
    cluster::cluster(&mut text, &call);
    stores(&mut text, &call).await;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text.0))
}

/// Files that are read again while the node runs: all of them are told, also those that never failed, so that a first failure is a rise.
fn reloads(text: &mut Text, call: &Call) {
    let mut all = call.app.access.audit.reloads();
    let mut rows: Vec<_> = [TOKENS, CERTIFICATES].map(|what| (what, all.remove(what).unwrap_or_default())).into();
    let (failures, failing) = call.app.node.key_looks();
    rows.push(("keys", Reloads { failures, failing: failing.then(String::new) }));
    text.head("reload_failures_total", "Files that were read again and could not be taken", "counter");
    for (what, of) in &rows {
        text.line("reload_failures_total", &format!("what=\"{what}\""), of.failures);
    }
    text.head("reload_failing", "1 while what was read before stays in force, or is not valid any more", "gauge");
    for (what, of) in &rows {
        text.line("reload_failing", &format!("what=\"{what}\""), u8::from(of.failing.is_some()));
    }
}

fn node(text: &mut Text, call: &Call) {
    let metrics = call.app.node.metrics();
    text.counter("appends_total", "Appends answered with yes", &metrics.appends);
    text.counter("appends_refused_total", "Appends answered with no", &metrics.appends_refused);
    text.counter("events_total", "Events stored", &metrics.events);
    text.counter("event_bytes_total", "Bytes of stored batches", &metrics.event_bytes);
    text.counter("groups_total", "Group commits", &metrics.groups);
    text.counter("reads_total", "Pages read", &metrics.reads);
    text.head("tier_reads_total", "Pages that took rows from a tier", "counter");
    for (tier, count) in ["inmemory", "wal", "durable"].iter().zip(&metrics.reads_by_tier) {
        text.line("tier_reads_total", &format!("tier=\"{tier}\""), count.get());
    }
    text.counter("read_files_total", "Data files that reads opened", &metrics.read_files);
    text.counter("read_row_groups_total", "Row groups of which reads decoded pages", &metrics.read_row_groups);
    text.counter("read_bytes_total", "Bytes of data files that reads took", &metrics.read_bytes);
    text.counter("read_filters_total", "Bloom filters of row groups that reads asked", &metrics.read_filters);
    text.counter("read_filters_no_total", "Bloom filters that ruled their row group out", &metrics.read_filters_no);
    text.head("overloaded_total", "Requests refused because too much was in flight", "counter");
    text.line(
        "overloaded_total",
        "",
        metrics.overloaded.get() + call.app.node.permits().refused() + call.app.node.answers().refused(),
    );
    let (followers, given) = call.app.node.followers();
    text.gauge("followers", "Subscribers that follow a store, and named subscriptions that are read on", followers);
    text.head("followed_events_total", "Events given to subscribers and consumers", "counter");
    text.line("followed_events_total", "", given);
    text.counter("compaction_jobs_total", "Compaction jobs that ended well", &metrics.jobs_done);
    text.counter("compaction_jobs_failed_total", "Compaction jobs that failed or were cancelled", &metrics.jobs_failed);
    text.counter("compaction_jobs_handed_total", "Jobs whose files another compactor wrote", &metrics.jobs_handed);
    text.counter("compaction_jobs_helped_total", "Jobs whose files were written for another one", &metrics.jobs_helped);
    text.counter("compaction_rows_total", "Rows that compaction moved", &metrics.job_rows);
    text.counter("compaction_output_bytes_total", "Bytes of data files written", &metrics.job_output_bytes);
    text.counter("compaction_pauses_total", "Pauses of jobs for their share of the time", &metrics.compaction_pauses);
    text.head("compaction_paused_seconds_total", "Time of these pauses, as it was asked for", "counter");
    text.line("compaction_paused_seconds_total", "", metrics.compaction_paused_us.get() as f64 / US_PER_S);
    text.gauge(
        "compaction_share_percent",
        "The part of the time that a thread of compaction may work",
        call.app.node.compaction_share().percent().into(),
    );
    text.counter("retention_runs_total", "Runs of retention and restores that ended well", &metrics.retention_runs);
    text.counter(
        "retention_runs_failed_total",
        "Runs of retention and restores that failed",
        &metrics.retention_failed,
    );
    text.counter("retention_files_total", "Data files that retention took out", &metrics.retention_files);
    text.counter("retention_events_total", "Events that retention took out", &metrics.retention_events);
    text.counter("retention_bytes_total", "Bytes of data files that retention took out", &metrics.retention_bytes);
    text.counter("restored_files_total", "Data files that were brought back", &metrics.restored_files);
    text.counter("merges_total", "Merges of partitions that ended well", &metrics.merges_done);
    text.counter("merges_failed_total", "Merges that failed or were cancelled", &metrics.merges_failed);
    text.counter("merges_handed_total", "Merges that another compactor did for this one", &metrics.merges_handed);
    text.counter("merges_helped_total", "Merges that were done for another compactor", &metrics.merges_helped);
    text.counter("merge_rows_total", "Rows that merges wrote again", &metrics.merge_rows);
    text.counter("merge_input_files_total", "Data files that merges replaced", &metrics.merge_input_files);
    text.counter("merge_output_files_total", "Data files that merges wrote", &metrics.merge_output_files);
    text.counter("merge_output_bytes_total", "Bytes of data files that merges wrote", &metrics.merge_output_bytes);
    let permits = call.app.node.permits();
    text.gauge("in_flight_bytes", "Bytes of requests in flight", permits.in_flight_bytes());
    text.gauge("answer_bytes", "Bytes of answers to reads on their way", call.app.node.answers().in_flight_bytes());
    text.gauge("in_flight_bytes_max", "Limit of bytes in flight", permits.limit_bytes());
    text.gauge("answer_bytes_max", "Limit of bytes of answers", call.app.node.answers().limit_bytes());
    text.gauge("appends_waiting", "Appends that wait for their answer", metrics.appends_waiting.get());
    let (reads, most) = call.app.node.reads_in_flight();
    text.gauge("reads_waiting", "Reads that are queued or run", reads);
    text.gauge("reads_waiting_max", "Limit of these", most);
}

async fn stores(text: &mut Text, call: &Call) {
    measured::measured(text, call);
    // where files do not answer each of these waits a moment: all of them the same one
    let subscriptions_of = call.app.stores().map(|served| served.store.subscriptions());
    let (named, ()) = tokio::join!(join_all(subscriptions_of), call.app.node.look_at_folders());
    text.head(
        "durable_degraded",
        "1 while the object store of a store's files gives no answer, or their folder is gone or hangs",
        "gauge",
    );
    degraded(text, call, "durable_degraded", &call.app.node.troubled());
    text.head("log_degraded", "1 while the disk of a store's log does not answer who writes to it", "gauge");
    degraded(text, call, "log_degraded", &call.app.node.logs_troubled());
    text.head("keys_degraded", "1 while the next start would not get the keys of an encrypted store", "gauge");
    degraded(text, call, "keys_degraded", &call.app.node.keys_troubled());
    text.head("subject_keys_degraded", "1 while a store takes no new subject and erases none", "gauge");
    let in_trouble = call.app.node.subjects_trouble().is_some();
    for served in call.app.stores() {
        let labels = format!("store=\"{}\"", served.store.name());
        text.line("subject_keys_degraded", &labels, u8::from(in_trouble && served.store.has_erasable()));
    }
    text.head("tier_bytes", "Bytes that a tier holds", "gauge");
    let mut events = Vec::new();
    for served in call.app.stores() {
        // a busy node answers the rest without these
        let Ok(tiers) = served.store.tiers().await else { continue };
        for (tier, numbers) in
            [("inmemory", tiers.hot.as_ref()), ("wal", tiers.wal.as_ref()), ("durable", Some(&tiers.durable))]
        {
            let Some(numbers) = numbers else { continue };
            let labels = format!("store=\"{}\",tier=\"{tier}\"", served.store.name());
            text.line("tier_bytes", &labels, numbers.bytes);
            events.push((labels, numbers.events));
        }
    }
    text.head("tombstone_files", "Data files that retention took out and that can be brought back", "gauge");
    for served in call.app.stores() {
        let count = served.store.engine().durable().pin().manifest().tombstones.len();
        text.line("tombstone_files", &format!("store=\"{}\"", served.store.name()), count);
    }
    text.head("tier_events", "Events that a tier holds", "gauge");
    for (labels, count) in events {
        text.line("tier_events", &labels, count);
    }
    delta_logs(text, call);
    // of a cluster the node that keeps them counts them
    let named = call.app.stores().zip(named).filter_map(|(served, named)| Some((served.store.name(), named.ok()?)));
    subscriptions(text, named);
}

/// Of each store whether it is among those in trouble.
fn degraded(text: &mut Text, call: &Call, name: &str, troubled: &[(&str, Arc<str>)]) {
    for served in call.app.stores() {
        let of = served.store.name();
        text.line(name, &format!("store=\"{of}\""), u8::from(troubled.iter().any(|(store, _)| *store == of)));
    }
}

fn subscriptions<'a>(text: &mut Text, of_stores: impl Iterator<Item = (&'a str, Vec<NamedStatus>)>) {
    let label = |store: &str, name: &str| {
        // a name may hold what would end a label
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("store=\"{store}\",subscription=\"{name}\"")
    };
    let mut all = Vec::new();
    for (store, named) in of_stores {
        all.extend(named.into_iter().map(|status| (label(store, &status.name), status)));
    }
    text.head(
        "subscription_lag_seconds",
        "How long the first event has been there that it is not done with; 0: there is none",
        "gauge",
    );
    all.iter().for_each(|(l, s)| text.line("subscription_lag_seconds", l, s.lag_us as f64 / US_PER_S));
    text.head("subscription_in_flight", "Events that its consumers hold", "gauge");
    all.iter().for_each(|(l, s)| text.line("subscription_in_flight", l, s.counts.in_flight));
    text.head("subscription_waiting", "Events that wait to be given again", "gauge");
    all.iter().for_each(|(l, s)| text.line("subscription_waiting", l, s.counts.waiting));
    text.head("subscription_parked", "Events that are parked", "gauge");
    all.iter().for_each(|(l, s)| text.line("subscription_parked", l, s.counts.parked));
    text.head("subscription_consumers", "Consumers that are connected", "gauge");
    all.iter().for_each(|(l, s)| text.line("subscription_consumers", l, s.counts.consumers));
    text.head("subscription_failing", "1 while its events cannot be read", "gauge");
    all.iter().for_each(|(l, s)| text.line("subscription_failing", l, u8::from(s.trouble.is_some())));
}

fn delta_logs(text: &mut Text, call: &Call) {
    let logs = || {
        let stores = call.app.stores();
        stores.filter_map(|served| {
            let durable = served.store.engine().durable();
            let behind = |shown: u64| durable.pin().version().saturating_sub(shown);
            let numbers = durable.delta_numbers()?;
            Some((format!("store=\"{}\"", served.store.name()), numbers, behind(numbers.manifest_version)))
        })
    };
    text.head("delta_versions_total", "Versions written to the Delta log", "counter");
    logs().for_each(|(labels, numbers, _)| text.line("delta_versions_total", &labels, numbers.versions));
    text.head("delta_failures_total", "Versions of the Delta log that failed and came later", "counter");
    logs().for_each(|(labels, numbers, _)| text.line("delta_failures_total", &labels, numbers.failures));
    text.head("delta_behind", "Manifest versions that the Delta log does not show yet", "gauge");
    logs().for_each(|(labels, _, behind)| text.line("delta_behind", &labels, behind));
}
