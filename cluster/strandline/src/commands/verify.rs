//! `strandline verify`: log, manifests and files of a store that no node has open; one line a finding, or all of it as one JSON object.

use super::keys::provider;
use super::{offline, serve};
use crate::cli::{CheckFormat, Verify};
use crate::exit::Failure;
use crate::out;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use strandline_engine::subjects::{KnownKeys, SubjectFileError};
use strandline_engine::verify::{self, Finding, Report, Step, VerifyError};
use strandline_wal::{Disk, RealDisk};
use strandline_workers::{FolderFinding, check_node_folder, check_store_folder, erasable_in};

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let stores = offline::stores(&options.offline, options.store.as_deref())?;
    let is_json = options.format == CheckFormat::Json;
    let data_dir = serve::absolute(&options.offline.data_dir)?;
    let (mut subjects, damaged) = subjects(options, &*disk)?;
    let names: Vec<&str> = stores.configs.iter().map(|config| config.name.as_str()).collect();
    let all = options.store.is_none().then_some(&names[..]);
    let (wrong, notes) = parted(check_node_folder(&data_dir, (&disk, subjects.as_ref()), all));
    let of_folder = wrong.into_iter().map(|of| format!("{}: {}", of.place, of.what));
    let of_node: Vec<String> = stores.findings.iter().cloned().chain(damaged).chain(of_folder).collect();
    let notes: Vec<String> = notes.into_iter().map(|of| format!("{}: {}", of.place, of.what)).collect();
    if !is_json {
        print_node(&of_node, &notes)?;
    }
    let (mut findings, mut reports) = (of_node.len(), Vec::new());
    for config in &stores.configs {
        let bar = out::bar(ProgressBar::new(0), "{spinner} {msg:30} [{wide_bar}] {human_pos}/{human_len} {eta}");
        if let Some(known) = &mut subjects {
            // where what says so is damaged, that is a finding below
            let erasable = erasable_in(&data_dir, &config.name).unwrap_or_default();
            erasable.iter().for_each(|stream_type| known.add_type(&config.name, stream_type));
        }
        let keys = (provider(config)?, subjects.as_ref());
        let report =
            verify::verify_watched(config, &disk, stores.node, keys, &mut |step| show(&bar, &config.name, step));
        bar.finish_and_clear();
        let mut report = report.map_err(|error| failed(options, &config.name, &error))?;
        add_folder(&mut report, &data_dir, &config.name, (&*disk, subjects.as_ref()));
        findings += report.findings.len();
        if is_json {
            reports.push(as_json(&config.name, &report));
        } else {
            print(&config.name, &report)?;
        }
    }
    if is_json {
        let all = json!({ "clean": findings == 0, "node": of_node, "node_notes": notes, "stores": reports });
        out::report(&serde_json::to_string_pretty(&all).map_err(|e| Failure::Server(e.to_string()))?)?;
    }
    match findings {
        0 => Ok(()),
        n => Err(Failure::No(format!("{n} findings"))),
    }
}

/// The keys of subjects that are named; of a file that is damaged, that it is.
fn subjects(options: &Verify, disk: &dyn Disk) -> Result<(Option<KnownKeys>, Option<String>), Failure> {
    let Some(path) = &options.subject_keys else { return Ok((None, None)) };
    match KnownKeys::look(disk, path) {
        Ok(known) => Ok((Some(known), None)),
        Err(damaged @ SubjectFileError::Damaged { .. }) => Ok((None, Some(damaged.to_string()))),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

fn print_node(findings: &[String], notes: &[String]) -> Result<(), Failure> {
    for finding in findings {
        out::report(&out::escaped(&format!("node: {finding}")))?;
    }
    notes.iter().for_each(|note| out::note(&out::escaped(&format!("node: note: {note}"))));
    Ok(())
}

/// What the node's own folder keeps for a store is a part of it.
fn add_folder(report: &mut Report, data_dir: &Path, store: &str, (disk, subjects): (&dyn Disk, Option<&KnownKeys>)) {
    let found = check_store_folder(data_dir, (store, &report.known), (disk, subjects));
    let (wrong, notes) = parted(found);
    report.findings.extend(wrong.into_iter().map(|FolderFinding { place, what, .. }| Finding { place, what }));
    report.notes.extend(notes.into_iter().map(|of| format!("{}: {}", of.place, of.what)));
}

/// What is wrong, and what is only worth knowing.
fn parted(found: Vec<FolderFinding>) -> (Vec<FolderFinding>, Vec<FolderFinding>) {
    found.into_iter().partition(|finding| finding.is_wrong)
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
