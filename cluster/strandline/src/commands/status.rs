//! `strandline status`: tiers, sizes, lag, compaction and the cluster as tables.

use super::compact::JOB_COLUMNS;
use crate::cli::Status;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use std::time::Duration;
use strandline_workers::clock;

const REFRESH: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Status) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let first = page(&client, options)?;
    if !options.watch {
        return out::line(&first);
    }
    let mut last = first;
    out::screen(&last)?;
    loop {
        std::thread::sleep(REFRESH);
        match page(&client, options) {
            Ok(text) => {
                last = text;
                out::screen(&last)?;
            }
            // a node that restarts is watched on: what was seen last stays, and what is wrong stands above it
            Err(Failure::Server(trouble)) => out::screen(&format!("{trouble}\nas it was before:\n\n{last}"))?,
            Err(other) => return Err(other),
        }
    }
}

/// One that is watched says when it was looked at.
fn page(client: &Client, options: &Status) -> Result<String, Failure> {
    let tiers = client.get(&client.admin_path(&["tiers"])?)?.json();
    let seen = if options.watch { format!(", seen at {}", clock::now()) } else { String::new() };
    let mut text = format!("store {} at {}{seen}\n\n{}\n", client.store()?, client.url(), tier_table(&tiers));
    text.push_str(&compaction(client, options.all)?);
    if let Some(cluster) = cluster(client)? {
        text.push_str(&cluster_tables(&cluster, options.all));
    }
    Ok(text.trim_end().to_owned())
}

/// What compaction does. Where nodes are administrated at addresses of their own, only the one that compacts tells it: of the others
/// everything else is shown, and which node that is.
fn compaction(client: &Client, all: bool) -> Result<String, Failure> {
    let path = client.admin_path(&["compaction"])?;
    let answer = client.send(&Request { path, answer_within: Some(FORWARDED_WITHIN), ..Request::default() })?;
    let json = answer.json();
    if answer.status == 503 && json["details"]["leader"].is_u64() {
        return Ok(format!("\ncompaction: {}\n", answer.error_text()));
    }
    answer.ok()?;
    Ok(compaction_tables(&json, all))
}

fn compaction_tables(json: &Value, all: bool) -> String {
    let fact = |key: &str| match (key, json["paused"] == true) {
        ("next_tick", true) => "next_tick none while it is paused".to_owned(),
        _ => format!("{key} {}", out::cell(&json[key])),
    };
    let facts = ["schedule", "next_tick", "paused", "share_percent", "last_run"].map(fact);
    let mut text = format!("\ncompaction: {}\n", facts.join(", "));
    for (title, key, columns) in [
        ("stream types", "stream_types", WAITING),
        ("running jobs", "running", RUNNING),
        ("last jobs", "jobs", JOB_COLUMNS),
    ] {
        let rows = told_by_bucket(json[key].as_array().map_or(&[][..], Vec::as_slice));
        if !rows.is_empty() {
            text.push_str(&format!("\n{title}\n{}", first_rows(&rows, columns, all)));
        }
    }
    text
}

/// The first rows as a table, or all of them; of those that are left out it says how many.
fn first_rows(rows: &[Value], columns: &[&str], all: bool) -> String {
    let shown = if all { rows } else { &rows[..rows.len().min(ROWS_MAX)] };
    let mut text = format!("{}\n", out::json_table(shown, columns));
    if rows.len() > shown.len() {
        text.push_str(&format!("and {} more: --all shows them\n", rows.len() - shown.len()));
    }
    text
}

/// Rows of logs; their buckets are shown where there are several of one stream type.
fn told_by_bucket(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    if rows.iter().all(|row| row["bucket"].as_u64().unwrap_or(0) == 0) {
        rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove("bucket")));
    }
    rows
}

/// What the node says of its cluster; `None`: it runs alone, or is older than clusters.
fn cluster(client: &Client) -> Result<Option<Value>, Failure> {
    let path = "/admin/v1/cluster".to_owned();
    let answer = client.send(&Request { path, answer_within: Some(ANSWER_WITHIN), ..Request::default() })?;
    if matches!(answer.status, 404 | 501) { Ok(None) } else { answer.ok().map(|answer| Some(answer.json())) }
}

fn cluster_tables(cluster: &Value, all: bool) -> String {
    let facts =
        ["cluster", "node", "replication", "followers"].map(|key| format!("{key} {}", out::cell(&cluster[key])));
    let mut text = format!("\n{}\n", facts.join(", "));
    for (key, columns) in [("members", MEMBERS), ("stores", STORES), ("shards", SHARDS)] {
        let rows = cluster[key].as_array().map_or(&[][..], Vec::as_slice);
        text.push_str(&format!("\n{key}\n{}", first_rows(rows, columns, all)));
    }
    text
}

const WAITING: &[&str] =
    &["stream_type", "bucket", "watermark", "events_waiting", "bytes_waiting", "sealed_segments", "oldest_waiting"];
/// Time that the node gets to tell of its cluster.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Time that it gets to have another one tell of its jobs, which may be replaced just now.
const FORWARDED_WITHIN: Duration = Duration::from_secs(60);
const MEMBERS: &[&str] =
    &["id", "state", "roles", "address", "http", "native", "votes_in", "follows", "leads", "away_since"];
const STORES: &[&str] = &["name", "version", "compactor", "compacts_as"];
const SHARDS: &[&str] = &[
    "name",
    "leader",
    "shall_lead",
    "voters",
    "learners",
    "leaving",
    "settled",
    "waits_for",
    "compactor",
    "term",
    "applied",
    "lag",
];
const RUNNING: &[&str] = &[
    "kind",
    "stream_type",
    "bucket",
    "partition",
    "trigger",
    "phase",
    "rows_done",
    "rows_total",
    "eta_s",
    "started_at",
];
/// Rows of a table that are shown, unless all of them are asked for.
const ROWS_MAX: usize = 20;

/// The tiers, from memory down to files.
fn tier_table(tiers: &Value) -> String {
    let rows = ["inmemory", "wal", "durable"].into_iter().filter(|tier| tiers[*tier].is_object()).map(|tier| {
        let mut row = tiers[tier].clone();
        row["tier"] = json!(tier);
        row
    });
    out::json_table(&rows.collect::<Vec<_>>(), &["tier", "events", "bytes", "oldest", "newest"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_three_tables() {
        let cluster = json!({
            "cluster": "c1", "node": 1, "replication": 3, "followers": "needed",
            "members": [{"id": 1, "state": "member", "roles": "ingest,read", "address": "a:1", "votes_in": 2}],
            "stores": [{"name": "orders", "version": 1, "compactor": 4, "compacts_as": "compactor"}],
            "shards": [{"name": "orders/Order", "leader": 1, "shall_lead": 2, "voters": [1, 2, 3], "settled": true, "lag": {"2": 4}}],
        });
        let text = cluster_tables(&cluster, false);
        for part in [
            "cluster c1, node 1, replication 3, followers needed",
            "ingest,read",
            "orders/Order",
            "1, 2, 3",
            "true",
            "compacts_as",
            "shall_lead",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_running_job_says_its_phase_how_far_it_is_and_what_is_left() {
        let job = |eta_s: Value| json!({"kind": "compact", "phase": "writing", "rows_done": 75, "rows_total": 100, "eta_s": eta_s});
        let table = out::json_table(&[job(json!(20.5))], RUNNING);
        for part in ["phase", "writing", "rows_done", "75", "100", "eta_s", "20.5"] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(!out::json_table(&[job(Value::Null)], RUNNING).contains("eta_s"), "nobody can say");
    }

    #[test]
    fn a_schedule_that_is_paused_has_no_next_tick() {
        let status =
            |paused: bool| json!({"schedule": "*/5 * * * *", "next_tick": "2026-03-01T00:05:00Z", "paused": paused});
        assert!(compaction_tables(&status(false), false).contains("next_tick 2026-03-01T00:05:00Z, paused false"));
        let text = compaction_tables(&status(true), false);
        assert!(text.contains("next_tick none while it is paused, paused true") && !text.contains("2026"), "{text}");
    }

    #[test]
    fn rows_that_are_left_out_are_counted_and_shown_where_all_are_asked_for() {
        let rows = |count: usize| (0..count).map(|n| json!({"stream_type": format!("Type{n}")})).collect::<Vec<_>>();
        let status = |count: usize| json!({"stream_types": rows(count)});
        let first = compaction_tables(&status(ROWS_MAX + 3), false);
        assert!(first.contains("Type19") && !first.contains("Type20"), "{first}");
        assert!(first.contains("and 3 more: --all shows them"), "{first}");
        let all = compaction_tables(&status(ROWS_MAX + 3), true);
        assert!(all.contains("Type22") && !all.contains("more:"), "{all}");
        assert!(!compaction_tables(&status(ROWS_MAX), false).contains("more:"));
    }

    #[test]
    fn buckets_are_told_where_there_are_several() {
        let row = |bucket: u64| json!({"stream_type": "Call", "bucket": bucket, "watermark": 9});
        let one = out::json_table(&told_by_bucket(&[row(0)]), WAITING);
        assert!(one.contains("watermark") && !one.contains("bucket"), "{one}");
        let table = out::json_table(&told_by_bucket(&[row(0), row(3)]), WAITING);
        assert!(table.contains("bucket") && table.contains('3'), "{table}");
    }

    #[test]
    fn a_tier_that_is_off_has_no_row() {
        let table = tier_table(&json!({"inmemory": null, "wal": {"bytes": 2048, "events": 3}}));
        assert!(table.contains("wal") && table.contains("KiB") && !table.contains("inmemory"), "{table}");
    }
}
