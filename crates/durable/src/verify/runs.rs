//! Runs of the newest version: each readable, its records in order, and none that its filter does not show: a lookup would
//! take such a stream or command for a new one.

use super::Finding;
use crate::manifest::ChunkMark;
use crate::runs::{CommandRecord, HeadRecord, RetiredRange, Run, RunKind};
use crate::tier::Snapshot;

pub(super) fn verify_runs(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        snapshot.broken_runs().map(|broken| Finding::new(&broken.path, broken.to_string())).collect();
    for (key, state) in snapshot.logs() {
        let Some(runs) = snapshot.runs.get(key) else { continue };
        for (run, slot) in runs.pairs(state) {
            let Ok(open) = slot else { continue };
            findings.extend(check(open).map(|what| Finding::new(&run.path, what)));
        }
    }
    findings
}

fn check(run: &Run) -> Option<String> {
    match run.kind() {
        RunKind::Heads => run.fault::<HeadRecord>(),
        RunKind::Commands => run.fault::<CommandRecord>(),
        RunKind::Chunks => run.fault::<ChunkMark>(),
        RunKind::Retired => run.fault::<RetiredRange>(),
    }
}
