//! The offline check of one log: what recovery would find, as findings. Nothing in the folder changes.

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::num::SegmentNo;
use crate::open::look;
use crate::recovery::Recovered;
use std::io;
use std::path::Path;

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Segment.
    pub segment: SegmentNo,
    /// Offset in its file.
    pub offset: u64,
    /// What it is.
    pub what: String,
    /// A torn end that the next start cuts: nothing acknowledged is in it, so it is no damage.
    pub torn_end: bool,
}

/// Checks every frame of the log in `dir`.
///
/// # Errors
/// What the file system says about the folder; what it says about a file is a finding.
pub fn verify_log(disk: &dyn Disk, dir: &Path, config: &LogConfig) -> io::Result<(Vec<Finding>, Recovered)> {
    let recovered = look(disk, dir, config)?;
    let mut findings: Vec<_> = recovered
        .corrupt
        .iter()
        .map(|c| Finding { segment: c.segment, offset: c.offset, what: c.what.clone(), torn_end: false })
        .collect();
    if let Some(cut) = &recovered.cut {
        findings.push(Finding { segment: cut.segment, offset: cut.offset, what: cut.what.clone(), torn_end: true });
    }
    Ok((findings, recovered))
}
