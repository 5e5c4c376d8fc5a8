//! `strandline status`: tiers, sizes, lag and compaction as tables.

use super::compact::JOB_COLUMNS;
use crate::cli::Status;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Status) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    loop {
        let text = page(&client)?;
        if !options.watch {
            return out::line(&text);
        }
        // clear the screen and go home, as `watch` does
        out::line(&format!("\x1b[2J\x1b[H{text}"))?;
        std::thread::sleep(REFRESH);
    }
}

fn page(client: &Client) -> Result<String, Failure> {
    let tiers = client.get(&client.admin_path(&["tiers"])?)?.json();
    let compaction = client.get(&client.admin_path(&["compaction"])?)?.json();
    let mut text = format!("store {} at {}\n\n{}\n", client.store()?, client.url(), tier_table(&tiers));
    let facts = ["schedule", "next_tick", "paused", "share_percent", "last_run"]
        .map(|key| format!("{key} {}", out::cell(&compaction[key])));
    text.push_str(&format!("\ncompaction: {}\n", facts.join(", ")));
    for (title, key, columns) in [
        ("stream types", "stream_types", WAITING),
        ("running jobs", "running", RUNNING),
        ("last jobs", "jobs", JOB_COLUMNS),
    ] {
        let rows = compaction[key].as_array().map_or(&[][..], Vec::as_slice);
        if !rows.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", out::json_table(&rows[..rows.len().min(ROWS_MAX)], columns)));
        }
    }
    Ok(text.trim_end().to_owned())
}

const WAITING: &[&str] =
    &["stream_type", "watermark", "events_waiting", "bytes_waiting", "sealed_segments", "oldest_waiting"];
const RUNNING: &[&str] =
    &["kind", "stream_type", "partition", "trigger", "phase", "rows_done", "rows_total", "started_at"];
/// Rows of a table that are shown.
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
    fn a_tier_that_is_off_has_no_row() {
        let table = tier_table(&json!({"inmemory": null, "wal": {"bytes": 2048, "events": 3}}));
        assert!(table.contains("wal") && table.contains("KiB") && !table.contains("inmemory"), "{table}");
    }
}
