//! Where the other nodes were when this one last knew: `{data-dir}/cluster/addresses`, a line each, `id address`.
//!
//! Only a hint: a node that comes back must find somebody before it hears from the cluster again. A damaged or missing file is as
//! good as an empty one, so it is written in place of the old one without a sync.

use super::ClusterError;
use crate::data_dir::{DataDirError, at, create_own, make_own_folder, publish};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use strandline_consensus::NodeId;
use strandline_consensus::control::Control;
use strandline_consensus::stop::told;
use strandline_wal::Disk;
use tokio::sync::watch;

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster").join("addresses")
}

/// What is known.
pub(super) fn read(dir: &Path) -> Result<Vec<(NodeId, String)>, ClusterError> {
    let path = file(dir);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(at(&path)(e).into()),
    };
    let line =
        |line: &str| line.split_once(' ').and_then(|(node, address)| Some((node.parse().ok()?, address.to_owned())));
    Ok(text.lines().filter_map(line).collect())
}

/// Whether the log of the meta group is gone, of a node that has been a member among others: who is `known` is written only when that log has
/// been begun. Begun anew it would vote without what it had acknowledged, and that of the node that made the cluster would be a cluster of its own.
pub(super) fn is_log_gone(
    known: &[(NodeId, String)],
    own: NodeId,
    log: &Path,
    disk: &dyn Disk,
) -> Result<bool, ClusterError> {
    if known.iter().all(|(node, _)| *node == own) {
        return Ok(false);
    }
    let is_segment = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "wal");
    match disk.list(log) {
        Ok(names) => Ok(!names.iter().any(is_segment)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(at(log)(e).into()),
    }
}

fn write(dir: &Path, known: &[(NodeId, String)]) -> Result<(), DataDirError> {
    let path = file(dir);
    make_own_folder(path.parent().unwrap_or(dir))?;
    let text: String = known.iter().map(|(node, address)| format!("{node} {address}\n")).collect();
    let aside = path.with_extension("new");
    let written = create_own(&aside).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(at(&aside))?;
    publish(&aside, &path).map_err(at(&path))
}

/// Keeps the file as the cluster changes.
pub(super) async fn keep(control: Control, dir: PathBuf, mut stopped: watch::Receiver<bool>) {
    let (mut changed, mut written) = (control.watch(), Vec::new());
    loop {
        changed.borrow_and_update();
        let known = control.transport().known();
        if known != written {
            let (dir, lines) = (dir.clone(), known.clone());
            match tokio::task::spawn_blocking(move || write(&dir, &lines)).await {
                Ok(Ok(())) => written = known,
                Ok(Err(error)) => tracing::warn!("addresses of the other nodes are not kept: {error}"),
                Err(_) => return,
            }
        }
        tokio::select! {
            more = changed.changed() => if more.is_err() { return },
            () = told(&mut stopped) => return,
        }
    }
}
