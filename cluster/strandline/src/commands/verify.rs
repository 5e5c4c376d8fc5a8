//! `strandline verify`: log, manifests and files of a store that no node has open; one line a finding.

use super::offline;
use crate::cli::Verify;
use crate::exit::Failure;
use crate::out;
use std::sync::Arc;
use strandline_engine::verify::{self, Report};
use strandline_wal::{Disk, RealDisk};

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let stores = offline::stores(&options.offline, options.store.as_deref())?;
    for finding in &stores.findings {
        out::line(&format!("node: {finding}"))?;
    }
    let mut findings = stores.findings.len();
    for config in &stores.configs {
        let report =
            verify::verify(config, &disk).map_err(|e| Failure::Usage(format!("store {}: {e}", config.name)))?;
        print(&config.name, &report)?;
        findings += report.findings.len();
    }
    match findings {
        0 => Ok(()),
        n => Err(Failure::No(format!("{n} findings"))),
    }
}

fn print(store: &str, report: &Report) -> Result<(), Failure> {
    for finding in &report.findings {
        out::line(&format!("store {store}: {finding}"))?;
    }
    for note in &report.notes {
        out::note(&format!("store {store}: note: {note}"));
    }
    let verdict = if report.findings.is_empty() { "clean" } else { "not clean" };
    out::line(&format!(
        "store {store}: {verdict}: {} logs, {} segments, {} data files, {} streams, {} events",
        report.logs, report.segments, report.files, report.streams, report.events
    ))
}
