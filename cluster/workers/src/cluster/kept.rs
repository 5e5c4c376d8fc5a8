//! The cluster's stores as this node serves them: `{data-dir}/cluster/stores.deql`, statements with this node's own `wal.path`.
//!
//! For whoever looks at the folder of a node that is stopped (`strandline verify`, `manifest show`): a node that joined has no file of
//! statements of its own. It is written at each start and when a statement is replaced; no start reads it, so nothing depends on it.

use super::stores::{log_folder, statements_of};
use crate::data_dir::{DataDirError, make_own_folder, write_whole};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use strandline_consensus::control::Control;
use strandline_consensus::stop::told;
use strandline_deql::{Location, StoreConfig, parse_file, print};
use tokio::sync::watch;

const HEAD: &str = "-- What this node of a cluster serves, with its own wal.path. The node writes it and does not read it:\n\
                    -- `strandline verify --data-dir` does.\n";

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster").join("stores.deql")
}

/// What the node on a member's folder served last; `None`: it has not said so yet.
///
/// # Errors
/// The file is damaged, or what the file system says, as a sentence.
pub fn kept_stores(dir: &Path) -> Result<Option<Vec<StoreConfig>>, String> {
    let path = file(dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let parsed = parse_file(&path.display().to_string(), &text).map_err(|error| error.render(false))?;
    Ok(Some(parsed.stores.into_iter().map(|declared| declared.config).collect()))
}

/// Writes the file, whole and durable.
pub(super) fn write(dir: &Path, stores: &[StoreConfig]) -> Result<(), DataDirError> {
    let path = file(dir);
    make_own_folder(path.parent().unwrap_or(dir))?;
    let text: String =
        std::iter::once(HEAD.to_owned()).chain(stores.iter().map(|config| print(config) + "\n")).collect();
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    write_whole(&path, text.as_bytes())
}

/// Keeps the file as the cluster's statements change; `served`: what stands in it.
pub(super) async fn keep(control: Control, dir: PathBuf, served: Vec<StoreConfig>, mut stopped: watch::Receiver<bool>) {
    let (mut changed, mut written) = (control.watch(), Vec::new());
    loop {
        changed.borrow_and_update();
        let statements = statements_of(&control.state());
        if statements != written {
            let stores = of_this_node(&statements, &served, &dir);
            let dir = dir.clone();
            match tokio::task::spawn_blocking(move || write(&dir, &stores)).await {
                Ok(Ok(())) => written = statements,
                Ok(Err(error)) => tracing::warn!("what this node serves is not kept for `verify`: {error}"),
                Err(_) => return,
            }
        }
        tokio::select! {
            more = changed.changed() => if more.is_err() { return },
            () = told(&mut stopped) => return,
        }
    }
}

/// The statements with this node's logs. What this program cannot read, this node does not serve.
fn of_this_node(statements: &[(String, String)], served: &[StoreConfig], dir: &Path) -> Vec<StoreConfig> {
    let one = |(name, statement): &(String, String)| {
        let declared = parse_file("statement of the cluster", statement).ok()?.stores.into_iter().next()?;
        let mut config = declared.config;
        config.wal.path = match served.iter().find(|store| store.name == *name) {
            Some(store) => store.wal.path.clone(),
            None => Some(Location::Local(log_folder(dir, name))),
        };
        Some(config)
    };
    statements.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_served() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept_stores(folder.path()), Ok(None));
        let mut stores = vec![StoreConfig::local_dev(Path::new("/a")), StoreConfig::local_dev(Path::new("/b"))];
        "another".clone_into(&mut stores[1].name);
        write(folder.path(), &stores).unwrap();
        assert_eq!(kept_stores(folder.path()), Ok(Some(stores.clone())));
        let statements: Vec<_> = stores.iter().map(|store| (store.name.clone(), print(store))).collect();
        let mut here = stores.clone();
        here[0].wal.path = Some(Location::Local("/here".into()));
        let mine = of_this_node(&statements, &here[..1], Path::new("/data"));
        assert_eq!(mine[0].wal.path, here[0].wal.path);
        assert_eq!(mine[1].wal.path, Some(Location::Local("/data/stores/another/log".into())));
        fs::write(file(folder.path()), "CREATE EVENTSTORE (").unwrap();
        assert!(kept_stores(folder.path()).is_err());
    }
}
