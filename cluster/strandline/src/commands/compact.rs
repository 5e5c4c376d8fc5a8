//! `strandline compact`, `pause`, `resume`.

use crate::cli::{Compact, OnStore};
use crate::client::{Client, encode};
use crate::exit::Failure;
use crate::out;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::time::Duration;

/// Runs compaction and waits for its end; on a terminal a bar shows the running job.
pub(crate) fn run(options: &Compact) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let mut path = format!("{}?wait=true", client.admin_path(&["compaction", "run"])?);
    path.extend(options.stream_type.as_ref().map(|name| format!("&stream_type={}", encode(name))));
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
    let json = answer.json();
    let jobs = json["jobs"].as_array().cloned().unwrap_or_default();
    if jobs.is_empty() {
        return out::line("nothing to compact");
    }
    let objects: Vec<Value> =
        jobs.iter().map(|j| if j.is_object() { j.clone() } else { serde_json::json!({"job": j}) }).collect();
    out::line(&out::json_table(&objects))?;
    let failed = objects.iter().filter(|job| job["error"].is_string()).count();
    if failed > 0 {
        return Err(Failure::Server(format!(
            "{failed} of {} jobs failed; the log keeps what they did not move",
            jobs.len()
        )));
    }
    Ok(())
}

/// Draws the running job until the run has ended.
fn watch(client: &Client, path: &str, ended: &std::sync::mpsc::Receiver<()>) {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:30} [{wide_bar}] {human_pos}/{human_len}") {
        bar.set_style(style);
    }
    while ended.recv_timeout(Duration::from_millis(200)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        let Ok(answer) = client.get(path) else { continue };
        let running = answer.json()["running"].as_array().and_then(|jobs| jobs.first().cloned()).unwrap_or(Value::Null);
        let number = |name: &str| running[name].as_u64().or_else(|| running["progress"][name].as_u64());
        bar.set_message(format!("{} {}", out::cell(&running["stream_type"]), out::cell(&running["phase"])));
        bar.set_length(number("rows_total").or(number("total")).unwrap_or(0));
        bar.set_position(number("rows_done").or(number("done")).unwrap_or(0));
    }
    bar.finish_and_clear();
}

/// Pauses or resumes compaction by schedule and size.
pub(crate) fn switch(on: &OnStore, action: &str) -> Result<(), Failure> {
    let client = Client::new(on)?;
    client.post_empty(&client.admin_path(&["compaction", action])?)?;
    out::line(&format!("compaction of {}: {action}d", client.store()?))
}
