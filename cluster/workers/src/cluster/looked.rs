//! What a check finds in what a member keeps of its cluster: the log of the meta group, and the state beside it. Nothing of it changes.

use super::addresses;
use super::kept::kept_stores;
use super::kept_state::KeptFile;
use crate::looked::Findings;
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_consensus::NodeId;
use strandline_consensus::control::{KeptError, LookedMeta, MetaMachine, OpenMetaError, look_at_meta};
use strandline_wal::Disk;

/// What no start of the node goes on with.
pub(crate) fn check(dir: &Path, disk: &Arc<dyn Disk>, node: NodeId, out: &mut Findings) {
    let (folder, log) = (dir.join("cluster"), dir.join("cluster").join("meta"));
    let kept = match MetaMachine::open(Box::new(KeptFile::of(dir))) {
        Ok(machine) => Some(machine),
        Err(error) => {
            let name = if matches!(error, KeptError::Forsaken(_)) { "must-not-vote" } else { "meta.kept" };
            out.wrong(&folder.join(name), error.to_string());
            None
        }
    };
    let damaged = |what: String| OpenMetaError::Damaged { dir: log.clone(), what }.to_string();
    match addresses::read(dir).and_then(|known| addresses::is_log_gone(&known, node, &log, &**disk)) {
        Ok(false) => {}
        Ok(true) => out.wrong(&log, damaged("it is gone".to_owned())),
        Err(error) => out.wrong(&folder.join("addresses"), error.to_string()),
    }
    match look_at_meta(disk, &log, kept.as_ref()) {
        Ok(LookedMeta { damage, torn }) => {
            if !damage.is_empty() {
                out.wrong(&log, damaged(damage.join("; ")));
            }
            if let Some(torn) = torn {
                out.note(&log, format!("it has a torn end, which the next start cuts: {torn}"));
            }
        }
        // of a node that has not begun it
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => out.wrong(&log, error.to_string()),
    }
    if let Err(error) = kept_stores(dir) {
        out.note(&folder.join("stores.deql"), format!("{error}; a node writes it anew at its start"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use strandline_wal::RealDisk;

    fn found(dir: &Path) -> Vec<(String, bool)> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let mut out = Findings::default();
        check(dir, &disk, 1, &mut out);
        out.all.into_iter().map(|of| (format!("{}: {}", of.place, of.what), of.is_wrong)).collect()
    }

    #[test]
    fn what_no_start_goes_on_with_is_told() {
        let data = tempfile::tempdir().unwrap();
        assert!(found(data.path()).is_empty());
        let folder = data.path().join("cluster");
        fs::create_dir_all(&folder).unwrap();
        let files = [
            ("must-not-vote", "entry 7 of meta\n", "entry 7 of meta. It must not vote"),
            ("meta.kept", "SLMKand nothing", "the kept state of the meta group"),
            ("addresses", "1 a:1\n2 b:1\n", "the log of the meta group"),
        ];
        for (name, text, said) in files {
            fs::write(folder.join(name), text).unwrap();
            let found = found(data.path());
            let [(line, true)] = &found[..] else { panic!("{name}: {found:?}") };
            assert!(line.contains(said), "{line}");
            fs::remove_file(folder.join(name)).unwrap();
        }
        fs::write(folder.join("stores.deql"), "CREATE EVENTSTORE (").unwrap();
        assert!(matches!(&found(data.path())[..], [(_, false)]));
    }
}
