//! `strandline verify`: log, manifests and files of a store that no node has open; one line a finding, or all of it as one JSON object.

use super::keys::provider;
use super::offline;
use crate::cli::{CheckFormat, Verify};
use crate::exit::Failure;
use crate::out;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_engine::subjects::KnownKeys;
use strandline_engine::verify::{self, Report, Step, VerifyError};
use strandline_wal::{Disk, RealDisk};
use strandline_workers::erasable_in;

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let stores = offline::stores(&options.offline, options.store.as_deref())?;
    let is_json = options.format == CheckFormat::Json;
    for finding in stores.findings.iter().filter(|_| !is_json) {
        out::report(&out::escaped(&format!("node: {finding}")))?;
    }
    let (mut findings, mut reports) = (stores.findings.len(), Vec::new());
    for config in &stores.configs {
        let bar = out::bar(ProgressBar::new(0), "{spinner} {msg:30} [{wide_bar}] {human_pos}/{human_len} {eta}");
        let subjects = subjects(options, &config.name, &*disk)?;
        let keys = (provider(config)?, subjects.as_ref());
        let report =
            verify::verify_watched(config, &disk, stores.node, keys, &mut |step| show(&bar, &config.name, step));
        bar.finish_and_clear();
        let report = report.map_err(|error| failed(options, &config.name, &error))?;
        findings += report.findings.len();
        if is_json {
            reports.push(as_json(&config.name, &report));
        } else {
            print(&config.name, &report)?;
        }
    }
    if is_json {
        let all = json!({ "clean": findings == 0, "node": stores.findings, "stores": reports });
        out::report(&serde_json::to_string_pretty(&all).map_err(|e| Failure::Server(e.to_string()))?)?;
    }
    match findings {
        0 => Ok(()),
        n => Err(Failure::No(format!("{n} findings"))),
    }
}

/// The keys of subjects that are named, and what the node's folder knows that they are of.
fn subjects(options: &Verify, store: &str, disk: &dyn Disk) -> Result<Option<KnownKeys>, Failure> {
    let Some(path) = &options.subject_keys else { return Ok(None) };
    let mut known = KnownKeys::look(disk, path).map_err(|error| Failure::Usage(error.to_string()))?;
    let erasable = erasable_in(&options.offline.data_dir, store).map_err(|error| Failure::Usage(error.to_string()))?;
    erasable.iter().for_each(|stream_type| known.add_type(store, stream_type));
    Ok(Some(known))
}

fn failed(options: &Verify, store: &str, error: &VerifyError) -> Failure {
    let text = format!("store {store}: {error}");
    match error {
        VerifyError::Unreachable(_) => Failure::Server(text),
        VerifyError::Open(_) => Failure::Usage(text),
        VerifyError::NoStore(_) => match offline::looked_at(&options.offline) {
            Ok(looked_at) => Failure::Usage(format!("{text}; {looked_at}")),
            Err(failure) => failure,
        },
    }
}

fn show(bar: &ProgressBar, store: &str, step: Step) {
    let (what, done, of) = match step {
        Step::Files { done, of } => ("files", done, of),
        Step::Events { done, of } => ("events", done, of.max(done)),
    };
    bar.set_message(format!("{store}: {what}"));
    bar.set_length(of);
    bar.set_position(done);
}

fn as_json(store: &str, report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| json!({ "place": finding.place, "what": finding.what }));
    json!({
        "store": store, "clean": report.findings.is_empty(), "findings": findings.collect::<Vec<_>>(), "notes": report.notes,
        "logs": report.logs, "segments": report.segments, "files": report.files, "streams": report.streams, "events": report.events,
    })
}

fn print(store: &str, report: &Report) -> Result<(), Failure> {
    for finding in &report.findings {
        out::report(&out::escaped(&format!("store {store}: {finding}")))?;
    }
    for note in &report.notes {
        out::note(&out::escaped(&format!("store {store}: note: {note}")));
    }
    let verdict = if report.findings.is_empty() { "clean" } else { "not clean" };
    out::report(&format!(
        "store {store}: {verdict}: {} logs, {} segments, {} data files, {} streams, {} events",
        report.logs, report.segments, report.files, report.streams, report.events
    ))
}
