//! `strandline status`: tiers, sizes, lag, compaction and the cluster as tables.

use super::compact::JOB_COLUMNS;
use crate::cli::Status;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out::{self, Look, Tone};
use serde_json::{Value, json};
use std::time::Duration;
use strandline_workers::clock;

const REFRESH: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Status) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let mut last = seen(&client, options)?;
    if !options.watch {
        return out::line(&page(&last, rows_max(options), Look::of_stdout()));
    }
    out::screen(&screenful(&last, options))?;
    loop {
        std::thread::sleep(REFRESH);
        match seen(&client, options) {
            Ok(now) => {
                last = now;
                out::screen(&screenful(&last, options))?;
            }
            // a node that restarts is watched on: what was seen last stays, and what is wrong stands above it
            Err(Failure::Server(trouble)) => {
                let above =
                    [Part::Line(Tone::Trouble, trouble), Part::Line(Tone::Plain, "as it was before:".to_owned())];
                out::screen(&screenful(&above.into_iter().chain(last.iter().cloned()).collect::<Vec<_>>(), options))?;
            }
            Err(other) => return Err(other),
        }
    }
}

/// A part of what is shown.
#[derive(Clone)]
enum Part {
    Line(Tone, String),
    Table(Table),
}

#[derive(Clone)]
struct Table {
    title: &'static str,
    rows: Vec<Value>,
    columns: &'static [&'static str],
    /// It has few rows, and all of them are shown.
    is_whole: bool,
}

impl Table {
    const fn part(title: &'static str, rows: Vec<Value>, columns: &'static [&'static str]) -> Part {
        Part::Table(Self { title, rows, columns, is_whole: false })
    }

    /// The first rows, or all of them; of those that are left out it says how many.
    fn lines(&self, rows_max: usize, look: Look) -> Vec<String> {
        let count = if self.is_whole { self.rows.len() } else { self.rows.len().min(rows_max) };
        let shown: Vec<Value> = self.rows.iter().take(count).cloned().collect();
        let mut lines = Vec::new();
        if !self.title.is_empty() {
            lines.push(look.painted(Tone::Head, self.title));
        }
        lines.extend(out::json_table_in(look, &shown, self.columns).lines().map(str::to_owned));
        if self.rows.len() > count {
            lines.push(format!("and {} more: --all shows them", self.rows.len() - count));
        }
        lines
    }
}

const fn rows_max(options: &Status) -> usize {
    if options.all { usize::MAX } else { ROWS_MAX }
}

/// All parts, so drawn.
fn page(parts: &[Part], rows_max: usize, look: Look) -> String {
    let part = |part: &Part| match part {
        Part::Line(tone, text) => look.wrapped(text).iter().map(|line| look.painted(*tone, line)).collect::<Vec<_>>(),
        Part::Table(table) => table.lines(rows_max, look),
    };
    let parts: Vec<String> = parts.iter().map(|one| part(one).join("\n")).collect();
    parts.join(if look.is_bare { "\n" } else { "\n\n" })
}

/// As much of it as the terminal holds, unless all of it is asked for.
fn screenful(parts: &[Part], options: &Status) -> String {
    let look = Look::of_stdout();
    match out::terminal_size().filter(|_| !options.all) {
        // the cursor stands in the line below
        Some((_, rows)) => fitted(parts, look, usize::from(rows).saturating_sub(1).max(1)),
        None => page(parts, rows_max(options), look),
    }
}

/// The first of these that has room: with fewer and fewer rows, then without lines between them, then without what stands last.
fn fitted(parts: &[Part], look: Look, room: usize) -> String {
    let bare = Look { is_bare: true, ..look };
    let drawn = [(ROWS_MAX, look), (5, look), (ROWS_MAX, bare), (10, bare), (5, bare), (3, bare), (2, bare), (1, bare)];
    let mut text = String::new();
    for (rows_max, look) in drawn {
        text = page(parts, rows_max, look);
        if text.lines().count() <= room {
            return text;
        }
    }
    let (all, shown) = (text.lines().count(), room - 1);
    let mut lines: Vec<&str> = text.lines().take(shown).collect();
    let left_out = format!("… and {} lines more: `strandline status` shows them", all - shown);
    let told = look.wrapped(&left_out);
    lines.extend(told.first().map(String::as_str));
    lines.join("\n")
}

/// What there is to see. One that is watched says when it was looked at.
fn seen(client: &Client, options: &Status) -> Result<Vec<Part>, Failure> {
    let tiers = client.get(&client.admin_path(&["tiers"])?)?.json();
    let at = if options.watch { format!(", seen at {}", clock::now()) } else { String::new() };
    let mut parts =
        vec![Part::Line(Tone::Head, format!("store {} at {}{at}", client.store()?, client.url())), tier_table(&tiers)];
    parts.extend(compaction(client)?);
    parts.extend(subscriptions(client)?);
    if let Some(cluster) = cluster(client)? {
        parts.extend(cluster_tables(&cluster));
    }
    Ok(parts)
}

/// What compaction does. Where nodes are administrated at addresses of their own, only the one that compacts tells it: of the others
/// everything else is shown, and which node that is.
fn compaction(client: &Client) -> Result<Vec<Part>, Failure> {
    let path = client.admin_path(&["compaction"])?;
    let answer = client.send(&Request { path, answer_within: Some(FORWARDED_WITHIN), ..Request::default() })?;
    let json = answer.json();
    if answer.status == 503 && json["details"]["leader"].is_u64() {
        return Ok(vec![Part::Line(Tone::Warning, format!("compaction: {}", answer.error_text()))]);
    }
    answer.ok()?;
    Ok(compaction_tables(&json))
}

/// Named subscriptions whose events cannot be read; none where nobody tells of them now.
fn subscriptions(client: &Client) -> Result<Vec<Part>, Failure> {
    let path = client.admin_path(&["subscriptions"])?;
    let asked = Request { path, answer_within: Some(ASIDE_WITHIN), ..Request::default() };
    Ok(client.send(&asked).map(|answer| failing(&answer.json())).unwrap_or_default())
}

fn failing(json: &Value) -> Vec<Part> {
    let line = |one: &Value| {
        let error = one["last_error"].as_object()?;
        let text = |value: Option<&Value>| out::escaped(value.and_then(Value::as_str).unwrap_or_default()).into_owned();
        let (name, at) = (text(one.get("name")), text(error.get("at")));
        let why = text(error.get("error"));
        Some(Part::Line(Tone::Warning, format!("subscription {name} cannot be read (last met at {at}): {why}")))
    };
    json["subscriptions"].as_array().into_iter().flatten().filter_map(line).collect()
}

fn compaction_tables(json: &Value) -> Vec<Part> {
    let is_paused = json["paused"] == true;
    let fact = |key: &str| match (key, is_paused) {
        ("next_tick", true) => "next_tick none while it is paused".to_owned(),
        _ => format!("{key} {}", out::cell(&json[key])),
    };
    let facts = ["schedule", "next_tick", "paused", "share_percent", "last_run"].map(fact);
    let tone = if is_paused { Tone::Warning } else { Tone::Plain };
    let mut parts = vec![Part::Line(tone, format!("compaction: {}", facts.join(", ")))];
    for (title, key, columns) in [
        ("stream types", "stream_types", WAITING),
        ("running jobs", "running", RUNNING),
        ("last jobs", "jobs", JOB_COLUMNS),
    ] {
        let rows = told_by_bucket(json[key].as_array().map_or(&[][..], Vec::as_slice));
        if !rows.is_empty() {
            parts.push(Table::part(title, rows, columns));
        }
    }
    parts
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

fn cluster_tables(cluster: &Value) -> Vec<Part> {
    let facts =
        ["cluster", "node", "replication", "followers"].map(|key| format!("{key} {}", out::cell(&cluster[key])));
    let mut parts = vec![Part::Line(Tone::Plain, facts.join(", "))];
    for (key, columns) in [("members", MEMBERS), ("stores", STORES), ("shards", SHARDS)] {
        parts.push(Table::part(key, cluster[key].as_array().cloned().unwrap_or_default(), columns));
    }
    parts
}

const WAITING: &[&str] =
    &["stream_type", "bucket", "events_waiting", "bytes_waiting", "oldest_waiting", "watermark", "sealed_segments"];
/// Time that the node gets to tell of its cluster.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Time that it gets for what is shown beside the rest.
const ASIDE_WITHIN: Duration = Duration::from_secs(3);
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
    "phase",
    "partition",
    "rows_done",
    "rows_total",
    "eta_s",
    "trigger",
    "started_at",
];
/// Rows of a table that are shown, unless all of them are asked for.
const ROWS_MAX: usize = 20;

/// The tiers, from memory down to files.
fn tier_table(tiers: &Value) -> Part {
    let rows = ["inmemory", "wal", "durable"].into_iter().filter(|tier| tiers[*tier].is_object()).map(|tier| {
        let mut row = tiers[tier].clone();
        row["tier"] = json!(tier);
        row
    });
    let (rows, columns) = (rows.collect(), &["tier", "events", "bytes", "oldest", "newest"]);
    Part::Table(Table { title: "", rows, columns, is_whole: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a program reads it.
    fn shown(parts: &[Part]) -> String {
        page(parts, ROWS_MAX, Look::default())
    }

    #[test]
    fn a_subscription_that_cannot_be_read_is_a_line_and_others_are_none() {
        let trouble = json!({"at": "2026-11-23T10:00:00Z", "code": "integrity_error", "error": "a.parquet is damaged"});
        let all =
            json!({"subscriptions": [{"name": "fine", "last_error": null}, {"name": "bills", "last_error": trouble}]});
        let line = "subscription bills cannot be read (last met at 2026-11-23T10:00:00Z): a.parquet is damaged";
        assert_eq!(shown(&failing(&all)), line);
        assert!(failing(&json!({"error": "not found"})).is_empty() && failing(&json!(null)).is_empty());
    }

    #[test]
    fn a_cluster_is_three_tables() {
        let cluster = json!({
            "cluster": "c1", "node": 1, "replication": 3, "followers": "needed",
            "members": [{"id": 1, "state": "member", "roles": "ingest,read", "address": "a:1", "votes_in": 2}],
            "stores": [{"name": "orders", "version": 1, "compactor": 4, "compacts_as": "compactor"}],
            "shards": [{"name": "orders/Order", "leader": 1, "shall_lead": 2, "voters": [1, 2, 3], "settled": true, "lag": {"2": 4}}],
        });
        let text = shown(&cluster_tables(&cluster));
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
        let table = out::json_table_in(Look::default(), &[job(json!(20.5))], RUNNING);
        for part in ["phase", "writing", "rows_done", "75", "100", "eta_s", "20.5"] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(!out::json_table_in(Look::default(), &[job(Value::Null)], RUNNING).contains("eta_s"), "nobody can say");
    }

    #[test]
    fn a_schedule_that_is_paused_has_no_next_tick() {
        let status =
            |paused: bool| json!({"schedule": "*/5 * * * *", "next_tick": "2026-03-01T00:05:00Z", "paused": paused});
        assert!(shown(&compaction_tables(&status(false))).contains("next_tick 2026-03-01T00:05:00Z, paused false"));
        let text = shown(&compaction_tables(&status(true)));
        assert!(text.contains("next_tick none while it is paused, paused true") && !text.contains("2026"), "{text}");
    }

    #[test]
    fn rows_that_are_left_out_are_counted_and_shown_where_all_are_asked_for() {
        let rows = |count: usize| (0..count).map(|n| json!({"stream_type": format!("Type{n}")})).collect::<Vec<_>>();
        let status = |count: usize| json!({"stream_types": rows(count)});
        let first = shown(&compaction_tables(&status(ROWS_MAX + 3)));
        assert!(first.contains("Type19") && !first.contains("Type20"), "{first}");
        assert!(first.contains("and 3 more: --all shows them"), "{first}");
        let all = page(&compaction_tables(&status(ROWS_MAX + 3)), usize::MAX, Look::default());
        assert!(all.contains("Type22") && !all.contains("more:"), "{all}");
        assert!(!shown(&compaction_tables(&status(ROWS_MAX))).contains("more:"));
    }

    #[test]
    fn buckets_are_told_where_there_are_several() {
        let row = |bucket: u64| json!({"stream_type": "Call", "bucket": bucket, "watermark": 9});
        let one = out::json_table_in(Look::default(), &told_by_bucket(&[row(0)]), WAITING);
        assert!(one.contains("watermark") && !one.contains("bucket"), "{one}");
        let table = out::json_table_in(Look::default(), &told_by_bucket(&[row(0), row(3)]), WAITING);
        assert!(table.contains("bucket") && table.contains('3'), "{table}");
    }

    #[test]
    fn a_tier_that_is_off_has_no_row() {
        let table = shown(&[tier_table(&json!({"inmemory": null, "wal": {"bytes": 2048, "events": 3}}))]);
        assert!(table.contains("wal") && table.contains("KiB") && !table.contains("inmemory"), "{table}");
    }

    /// A store at work, with more of everything than a small terminal holds.
    fn busy() -> Vec<Part> {
        let moment = "2026-11-23T10:00:00.123456Z";
        let tier = json!({"events": 1_234_567_u64, "bytes": 987_654_321_u64, "oldest": moment, "newest": moment});
        let waiting = |n: usize| {
            json!({"stream_type": format!("Customer-{n}"), "bucket": 0, "watermark": 123_456, "events_waiting": 1_234,
                   "bytes_waiting": 123_456, "sealed_segments": 3, "oldest_waiting": moment})
        };
        let running = |n: usize| {
            json!({"kind": "merge", "stream_type": format!("Customer-{n}"), "partition": {"dt": "2026-11-23"}, "trigger": "schedule",
                   "phase": "merging", "rows_done": 5_000, "rows_total": 1_000_000, "eta_s": 12.5, "started_at": moment})
        };
        let job = |n: usize| {
            json!({"kind": "compact", "stream_type": format!("Customer-{n}"), "trigger": "schedule", "phase": "failed", "ended_at": moment,
                   "rows": 0, "inputs": 0, "files": 0, "input_bytes": 0, "output_bytes": 0, "duration_ms": 12,
                   "error": "cannot write the manifest: no space left on the device"})
        };
        let mut status = json!({"schedule": "*/5 * * * *", "next_tick": moment, "paused": false, "share_percent": 25, "last_run": moment});
        status["stream_types"] = (0..30).map(waiting).collect();
        status["running"] = (0..30).map(running).collect();
        status["jobs"] = (0..30).map(job).collect();
        let head = Part::Line(Tone::Head, format!("store local_dev at http://127.0.0.1:7070, seen at {moment}"));
        let tiers = tier_table(&json!({"inmemory": tier, "wal": tier, "durable": tier}));
        [head, tiers].into_iter().chain(compaction_tables(&status)).collect()
    }

    #[test]
    fn what_is_watched_fits_the_terminal() {
        for (columns, rows) in [(80, 24), (80, 60), (132, 43), (200, 100), (40, 10)] {
            let look = Look { width: Some(columns), ..Look::default() };
            let text = fitted(&busy(), look, rows - 1);
            assert!(text.lines().count() < rows, "{columns}x{rows}: {text}");
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= usize::from(columns), "{columns}x{rows}: {text}");
        }
        let small = fitted(&busy(), Look { width: Some(80), ..Look::default() }, 23);
        for told in [
            "durable",
            "compaction:",
            "stream types",
            "running jobs",
            "last jobs",
            "merging",
            "dt=2026-11-23",
            "cannot",
            "…",
        ] {
            assert!(small.contains(told), "{told} is not in {small}");
        }
    }
}
