//! `strandline status`: tiers, sizes, lag and compaction as tables.

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
    let mut text =
        format!("store {} at {}\n\ntiers\n{}\n", client.store()?, client.url(), rows(&tiers["tiers"], "tier"));
    let facts =
        ["schedule", "next_tick", "paused", "last_run"].map(|key| format!("{key} {}", out::cell(&compaction[key])));
    text.push_str(&format!("\ncompaction: {}\n", facts.join(", ")));
    for (title, key) in [("stream types", "stream_types"), ("running jobs", "running"), ("last jobs", "jobs")] {
        let list = &compaction[key];
        if list.as_array().is_some_and(|l| !l.is_empty()) || list.as_object().is_some_and(|l| !l.is_empty()) {
            text.push_str(&format!("\n{title}\n{}\n", rows(list, "name")));
        }
    }
    Ok(text.trim_end().to_owned())
}

/// A list of objects, or an object of objects, as a table; of long lists the last ten rows.
fn rows(value: &Value, key_name: &str) -> String {
    let mut rows: Vec<Value> = match value {
        Value::Array(items) => items.clone(),
        Value::Object(items) => items.iter().map(|(name, row)| named(key_name, name, row)).collect(),
        _ => Vec::new(),
    };
    rows.drain(..rows.len().saturating_sub(10));
    out::json_table(&rows.iter().map(readable).collect::<Vec<_>>())
}

fn named(key_name: &str, name: &str, row: &Value) -> Value {
    let mut object = serde_json::Map::from_iter([(key_name.to_owned(), json!(name))]);
    match row {
        Value::Object(fields) => object.extend(fields.clone()),
        other => object.extend([("value".to_owned(), other.clone())]),
    }
    Value::Object(object)
}

/// Numbers of fields that end in `bytes` become sizes.
fn readable(row: &Value) -> Value {
    let Some(fields) = row.as_object() else { return row.clone() };
    let field = |(name, value): (&String, &Value)| match value.as_u64() {
        Some(bytes) if name.ends_with("bytes") => (name.clone(), json!(out::size(bytes))),
        _ => (name.clone(), value.clone()),
    };
    Value::Object(fields.iter().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_of_tiers_become_rows() {
        let map = rows(&json!({"wal": {"bytes": 2048, "events": 3}}), "tier");
        assert!(map.contains("wal") && map.contains("KiB") && map.contains('3'), "{map}");
        let list = rows(&json!([{"tier": "wal", "events": 3}]), "tier");
        assert!(list.contains("wal"), "{list}");
    }
}
