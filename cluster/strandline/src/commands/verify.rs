//! `strandline verify`: log, manifests and files of a store that no node has open; one line a finding.

use super::offline;
use crate::cli::Verify;
use crate::exit::Failure;
use crate::out;
use std::sync::Arc;
use strandline_engine::verify;
use strandline_wal::{Disk, RealDisk};

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let mut findings = 0;
    for config in offline::stores(&options.offline, options.store.as_deref())? {
        let report =
            verify::verify(&config, &disk).map_err(|e| Failure::Usage(format!("store {}: {e}", config.name)))?;
        for finding in &report.findings {
            out::line(&format!("store {}: {finding}", config.name))?;
        }
        out::note(&format!("store {}: checked {}", config.name, report.checked));
        findings += report.findings.len();
    }
    match findings {
        0 => out::line("clean"),
        n => Err(Failure::No(format!("{n} findings"))),
    }
}
