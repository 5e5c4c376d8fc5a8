//! `strandline compact`, `pause`, `resume`.

use crate::cli::{Compact, OnStore};
use crate::client::{Client, encode};
use crate::exit::Failure;
use crate::out::{self, Look};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::time::Duration;

/// Runs compaction and waits for its end; on a terminal a bar shows the running job.
pub(crate) fn run(options: &Compact) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let only = options.stream_type.as_ref().map(|name| format!("stream_type={}", encode(name)));
    if options.plan {
        let mut path = client.admin_path(&["compaction", "plan"])?;
        path.extend(only.map(|only| format!("?{only}")));
        return out::line(&planned(&client.get(&path)?.json(), Look::of_stdout()));
    }
    let mut path = format!("{}?wait=true", client.admin_path(&["compaction", "run"])?);
    path.extend(only.map(|only| format!("&{only}")));
    let status = client.admin_path(&["compaction"])?;
    let watcher = Client::new(&options.on)?;
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let answer = std::thread::scope(|scope| {
        if out::watched() {
            scope.spawn(move || watch(&watcher, &status, &ended));
        }
        let answer = client.post_empty(&path);
        drop(done);
        answer
    })?;
    let jobs = answer.json()["ended"].as_array().cloned().unwrap_or_default();
    if jobs.is_empty() {
        return out::line("nothing to compact");
    }
    out::report(&out::json_table(&jobs, JOB_COLUMNS))?;
    verdict(&jobs)
}

/// What a run would do, in its order.
fn planned(plan: &Value, look: Look) -> String {
    let steps = [("compact", "jobs"), ("merge", "merges"), ("merge, where a job writes beside it", "following")];
    let rows = steps.into_iter().flat_map(|(step, key)| {
        plan[key].as_array().into_iter().flatten().map(move |row| {
            let mut row = row.clone();
            // of a merge, how many: their names are in the answer of the route
            row["files"] = row["files"].as_array().map_or(Value::Null, |files| json!(files.len()));
            row["step"] = json!(step);
            row
        })
    });
    let rows: Vec<Value> = rows.collect();
    match rows.is_empty() {
        true => "nothing to compact".to_owned(),
        false => out::json_table_in(look, &rows, PLAN_COLUMNS),
    }
}

const PLAN_COLUMNS: &[&str] = &[
    "step",
    "stream_type",
    "bucket",
    "partition",
    "events",
    "bytes",
    "segments",
    "files",
    "from_exclusive",
    "through",
];

/// A job that failed is the server's failure; one that somebody cancelled is an answer.
fn verdict(jobs: &[Value]) -> Result<(), Failure> {
    let count = |is_one: fn(&Value) -> bool| jobs.iter().filter(|job| is_one(job)).count();
    let (failed, of) = (count(|job| job["error"].is_string()), jobs.len());
    if failed > 0 {
        let text = format!("{failed} of {of} jobs failed; what they did not move or merge stays where it was");
        return Err(Failure::Server(text));
    }
    match count(|job| job["cancelled"] == true) {
        0 => Ok(()),
        cancelled => Err(Failure::No(format!(
            "{cancelled} of {of} jobs were cancelled by somebody; what they did not move or merge stays where it was: run \
             `strandline compact` again"
        ))),
    }
}

/// What is shown of a job that has ended; what stands last is left out first where a terminal is narrow.
pub(crate) const JOB_COLUMNS: &[&str] = &[
    "kind",
    "stream_type",
    "phase",
    "error",
    "partition",
    "rows",
    "ended_at",
    "duration_ms",
    "trigger",
    "inputs",
    "files",
    "input_bytes",
    "output_bytes",
];

/// Draws the running job until the run has ended.
fn watch(client: &Client, path: &str, ended: &std::sync::mpsc::Receiver<()>) {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:30} [{wide_bar}] {human_pos}/{human_len}") {
        bar.set_style(style);
    }
    while ended.recv_timeout(Duration::from_millis(200)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        let Ok(answer) = client.get(path) else { continue };
        let running = answer.json()["running"].as_array().and_then(|jobs| jobs.first().cloned()).unwrap_or(Value::Null);
        bar.set_message(format!("{} {}", out::cell(&running["stream_type"]), out::cell(&running["phase"])));
        bar.set_length(running["rows_total"].as_u64().unwrap_or(0));
        bar.set_position(running["rows_done"].as_u64().unwrap_or(0));
    }
    bar.finish_and_clear();
}

/// Pauses or resumes compaction by schedule and size.
pub(crate) fn switch(on: &OnStore, action: &str) -> Result<(), Failure> {
    let client = Client::new(on)?;
    client.post_empty(&client.admin_path(&["compaction", action])?)?;
    out::line(&format!("compaction of {}: {action}d", client.store()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_follows_its_jobs() {
        let merge = json!({"stream_type": "Call", "bucket": 0, "partition": {"dt": "2026-11-23"}, "files": ["a", "b"],
                           "events": 7, "bytes": 2048});
        let job = json!({"stream_type": "Bill", "bucket": 0, "segments": 1, "events": 5, "bytes": 4096, "from_exclusive": 0,
                         "through": 5});
        let plan = json!({"jobs": [job], "merges": [], "following": [merge]});
        let all = planned(&plan, Look::default());
        for told in ["compact", "Bill", "4.00 KiB", "merge, where a job writes beside it", "dt=2026-11-23", "2.00 KiB"]
        {
            assert!(all.contains(told), "{told} is not in {all}");
        }
        let nothing = json!({"jobs": [], "merges": [], "following": []});
        assert_eq!(planned(&nothing, Look::default()), "nothing to compact");
    }

    #[test]
    fn a_cancelled_job_is_an_answer_and_a_failed_one_a_failure() {
        let done = json!({ "error": null, "cancelled": false });
        let cancelled = json!({ "error": null, "cancelled": true });
        let failed = json!({ "error": "the disk is full", "cancelled": false });
        assert_eq!(verdict(std::slice::from_ref(&done)), Ok(()));
        assert!(matches!(verdict(&[done, cancelled.clone()]), Err(Failure::No(text)) if text.starts_with("1 of 2")));
        assert!(matches!(verdict(&[cancelled, failed]), Err(Failure::Server(_))));
    }
}
