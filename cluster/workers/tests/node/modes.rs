//! Who may read what a node writes: its user alone, but for the files of `durable.path`, which are as the umask says. What is locked is for its
//! user alone everywhere.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files under a folder.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_log_and_the_nodes_own_files_are_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("other"), "").unwrap();
    std::fs::create_dir(dir.join("others")).unwrap();
    let by_umask = (mode(&dir.join("other")), mode(&dir.join("others")));
    runtime::run(async {
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        store.register(StreamTypeEntry { name: Arc::from("Call"), buckets: 1 }).await.unwrap();
        append(&node, &store, "c1", 3).await.unwrap();
        for job in store.compact(None).await.unwrap() {
            assert_eq!(job.ended().await.error, None);
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
    let (mut own, mut shared) = (Vec::new(), Vec::new());
    files(&dir.join("node"), &mut own);
    files(&dir.join("wal"), &mut own);
    files(&dir.join("durable"), &mut shared);
    for name in ["node/lock", "node/node-id", "node/stores/calls/stream-types"] {
        assert!(own.contains(&dir.join(name)), "{name}: {own:?}");
    }
    let ends_with = |files: &[PathBuf], ending: &str| files.iter().any(|path| path.to_string_lossy().ends_with(ending));
    assert!(ends_with(&own, ".wal") && ends_with(&shared, ".parquet"), "{own:?} {shared:?}");
    own.extend(["wal", "node/stores/calls"].map(|name| dir.join(name)));
    for path in &own {
        assert_eq!(mode(path) & 0o077, 0, "{}", path.display());
    }
    for path in &shared {
        // whoever can open it could lock it
        let wanted = if path.ends_with("durable/.lock") { 0o600 } else { by_umask.0 };
        assert_eq!(mode(path), wanted, "{}", path.display());
    }
    assert!(shared.contains(&dir.join("durable/.lock")), "{shared:?}");
    for name in ["durable", "node"] {
        assert_eq!(mode(&dir.join(name)), by_umask.1, "{name}");
    }
}

/// Earlier versions made some of them open to others, who could lock them and so keep the node from starting.
#[test]
fn locks_that_others_could_open_are_narrowed() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = folder.path();
    let locks =
        [dir.join("node/lock"), dir.join("wal/.lock"), dir.join("durable/.lock"), keys.path().join("keys.lock")];
    runtime::run(async {
        for start in 0..2 {
            let options = NodeOptions { subject_keys: Some(keys.path().join("keys")), ..options(dir) };
            stop(Node::start(declarations(dir, ""), options).await.unwrap()).await;
            for path in &locks {
                assert_eq!(mode(path), 0o600, "start {start}: {}", path.display());
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
    })
    .unwrap();
}
