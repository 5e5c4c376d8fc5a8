//! Refuses to begin a store anew where there was one: no manifest and no data file is there, but something beside them says that there were some.
//!
//! ```text
//!  who says it                      where it stands
//!  the marks of a store with logs   wal.path (see `marks`)
//!  the node that served the store   in its own folder: the caller names the file; asked where no marks of logs are
//! ```
//!
//! Asked of a node alone and of a member of a cluster, before anything is made where they should be: the keyring of an encrypted store, the first
//! manifest.
//!
//! What is in memory is gone with every process, and says nothing. It only looks: what stands where the files should be may be the bare folder that
//! a disk is mounted on.

use super::marks::{self, Marked};
use super::options::{OpenError, OpenOptions};
use super::{Store, wal_dir};
use std::path::Path;
use strandline_deql::StoreConfig;
use strandline_durable::{DurableTier, SharedObjects};
use strandline_wal::Disk;

/// Who says that a store was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// The marks beside its logs.
    Logs,
    /// The node that served it.
    Node,
}

impl Witness {
    /// What it says; `dir` is where.
    pub(super) fn told(self, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::Logs => format!("the logs in {dir} are those of a store that had both"),
            Self::Node => format!("this node has served a store that had both, as {dir} says"),
        }
    }

    /// What a new store would begin with.
    pub(super) const fn left(self) -> &'static str {
        match self {
            Self::Logs => " with what is in these logs",
            Self::Node => "",
        }
    }
}

/// Where there is no manifest: whether the logs are a store's that had some, or the node says that it has served one (`served`: where).
pub(super) fn refuse_new_beside(
    config: &StoreConfig,
    dir: Option<&Path>,
    marked: &Marked,
    served: Option<&Path>,
) -> Result<(), OpenError> {
    if let Some((dir, id)) = dir.zip(marked.stores.last()) {
        return refuse(config, Witness::Logs, dir, marks::store_mark(id));
    }
    if *marked != Marked::default() {
        // the logs are there, and whoever took the store's mark from them wants a new one
        return Ok(());
    }
    match served.and_then(|mark| mark.parent().zip(mark.file_name())) {
        Some((dir, name)) => refuse(config, Witness::Node, dir, name.to_string_lossy().into_owned()),
        None => Ok(()),
    }
}

/// Refuses to begin a store anew in these places that was there. Makes nothing.
pub(super) fn refuse_gone(
    options: &OpenOptions,
    (objects, manifests): &(SharedObjects, SharedObjects),
) -> Result<(), OpenError> {
    if DurableTier::is_there(&**objects, &**manifests, &options.config)? {
        return Ok(());
    }
    Store::may_begin(&options.config, &*options.disk, options.served.as_deref())
}

fn refuse(config: &StoreConfig, witness: Witness, dir: &Path, mark: String) -> Result<(), OpenError> {
    let durable = &config.durable;
    if durable.path.is_memory() || durable.manifest_path.is_memory() {
        return Ok(());
    }
    let (manifests, files) = (durable.manifest_path.to_string(), durable.path.to_string());
    Err(OpenError::FilesGone { manifests, files, witness, dir: dir.to_owned(), mark })
}

impl Store {
    /// Whether a store may begin where there is neither a manifest nor a data file: not if its logs or a mark of the node say that there were some.
    /// `served`: that mark. Makes nothing.
    ///
    /// # Errors
    /// `FilesGone`; the folder of the logs.
    pub fn may_begin(config: &StoreConfig, disk: &dyn Disk, served: Option<&Path>) -> Result<(), OpenError> {
        let Some(dir) = wal_dir(config)? else {
            return refuse_new_beside(config, None, &Marked::default(), served);
        };
        match marks::read(disk, &dir) {
            Ok(marked) => refuse_new_beside(config, Some(&dir), &marked, served),
            Err(error) => Err(OpenError::WalFolder { dir, error }),
        }
    }
}
