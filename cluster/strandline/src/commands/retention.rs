//! `strandline retention`: takes out what is too old, or says what would go; and brings it back.

use crate::cli::{CheckFormat, Retention, RetentionRestore, RetentionRun};
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};

/// What is shown of a file that would go.
const FILE_COLUMNS: &[&str] = &["path", "stream_type", "partition", "rows", "bytes", "newest"];
/// What is shown of a run.
const RUN_COLUMNS: &[&str] =
    &["kind", "files", "events", "bytes", "error", "ranges", "commits", "started_at", "ended_at"];

pub(crate) fn run(command: &Retention) -> Result<(), Failure> {
    match command {
        Retention::Run(options) if options.dry_run => plan(options),
        Retention::Run(options) => retain(options),
        Retention::Restore(options) => restore(options),
    }
}

/// What a run would take.
fn plan(options: &RetentionRun) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let status = client.get(&client.admin_path(&["retention"])?)?.json();
    let files = candidates(&status, options.stream_type.as_deref());
    match options.format {
        CheckFormat::Json => out::json(&json!({
            "enabled": status["enabled"],
            "before": status["before"],
            "candidates": files,
        })),
        CheckFormat::Table if status["enabled"] == false => out::line(&off(client.store()?)),
        CheckFormat::Table if files.is_empty() => out::line(&format!(
            "nothing would go: no data file has only events before {}",
            out::cell(&status["before"])
        )),
        CheckFormat::Table => out::line(&out::json_table(&files, FILE_COLUMNS)),
    }
}

fn candidates(status: &Value, stream_type: Option<&str>) -> Vec<Value> {
    let files = status["candidates"].as_array().into_iter().flatten();
    let wanted = |file: &&Value| stream_type.is_none_or(|name| file["stream_type"] == name);
    files.filter(wanted).cloned().collect()
}

fn off(store: &str) -> String {
    format!("nothing goes: `retention.enabled` is false in the store {store}")
}

fn retain(options: &RetentionRun) -> Result<(), Failure> {
    if options.stream_type.is_some() {
        let text = "--stream-type (or STRANDLINE_STREAM_TYPE) is for --dry-run: a run takes what is too old of all stream types";
        return Err(Failure::Usage(text.to_owned()));
    }
    let client = Client::new(&options.on)?;
    let done = client.post_empty(&client.admin_path(&["retention", "run"])?)?.json();
    match options.format {
        CheckFormat::Table if done["enabled"] == false => out::report(&off(client.store()?))?,
        format => told(&done, format, "nothing went: no data file is old enough")?,
    }
    verdict(&done)
}

fn restore(options: &RetentionRestore) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let path = client.admin_path(&["retention", "restore"])?;
    let wish = wish(options.partition.as_deref());
    let request = Request { path, body: Some(wish.as_bytes()), content_type: "application/json", ..Request::default() };
    let done = client.send(&request)?.ok()?.json();
    told(&done, options.format, "nothing came back: no such file is in its grace period")?;
    verdict(&done)
}

fn wish(partition: Option<&str>) -> String {
    let wish = partition.map_or_else(|| json!({}), |folders| json!({ "partition": folders }));
    wish.to_string()
}

/// It is done whoever reads of it.
fn told(done: &Value, format: CheckFormat, nothing: &str) -> Result<(), Failure> {
    match format {
        CheckFormat::Json => out::report(&out::pretty(done)),
        CheckFormat::Table if done["files"] == 0 && done["error"].is_null() => out::report(nothing),
        CheckFormat::Table => out::report(&out::json_table(std::slice::from_ref(done), RUN_COLUMNS)),
    }
}

fn verdict(done: &Value) -> Result<(), Failure> {
    match done["error"].as_str() {
        None => Ok(()),
        Some(error) => Err(Failure::Server(format!(
            "it ended before all was done: {}; what it did not reach is as it was: run it again",
            out::escaped(error)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_those_of_the_stream_type() {
        let status =
            json!({"candidates": [{"path": "a", "stream_type": "Call"}, {"path": "b", "stream_type": "Bill"}]});
        assert_eq!(candidates(&status, None).len(), 2);
        assert_eq!(candidates(&status, Some("Bill")), [json!({"path": "b", "stream_type": "Bill"})]);
        assert!(candidates(&status, Some("bill")).is_empty() && candidates(&Value::Null, None).is_empty());
    }

    #[test]
    fn a_restore_names_its_partition_or_nothing() {
        assert_eq!(wish(None), "{}");
        assert_eq!(wish(Some("dt=2026-11-23")), "{\"partition\":\"dt=2026-11-23\"}");
    }

    #[test]
    fn a_run_that_failed_is_the_servers_failure() {
        assert_eq!(verdict(&json!({"files": 1, "error": null})), Ok(()));
        let failed = verdict(&json!({"files": 1, "error": "the disk is full"}));
        assert!(matches!(failed, Err(Failure::Server(text)) if text.contains("the disk is full")));
    }
}
