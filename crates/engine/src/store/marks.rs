//! The folder beside the logs of a store: whose they are, and which there were. It is what tells logs that are lost from
//! logs that were never made, and the logs that the last owner wrote from an older copy of them.
//!
//! ```text
//! <wal.path>/~strandline/epoch-<n>      the owner of epoch n writes the logs that lie here
//! <wal.path>/~strandline/log-<folder>   this log was made: from before its first acknowledgement on
//! <wal.path>/~strandline/store-<id>     the store whose logs lie here, 32 hex digits from its manifest
//! ```
//!
//! Empty files, synced by name. In the life of an epoch:
//!
//! ```text
//!  judged: epoch-<n> is there -> epoch-<n+1> made -> the claim of n+1 is committed -> logs settled -> epoch-<n> removed
//!     crash here:           {n}             {n, n+1}                          {n, n+1}             {n, n+1} or {n+1}
//! ```
//!
//! Whatever is left, the mark of the manifest's epoch is among it, and only the folder that this owner wrote has it: of a claim
//! that another owner has won the mark is taken back. Logs that were accepted though they are not the last owner's get theirs
//! after they are settled: until then another start refuses them again.
//!
//! A folder that names no store was written by an older program: whoever settles it first makes it its own. One that names a store was
//! settled behind the store's first manifest: where there is no manifest at all, it is the files that are gone.
//!
//! Refuses to know what is in a log.

use super::open::LogPlace;
use super::options::OpenError;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use strandline_event::LogKey;
use strandline_wal::names::parse_log_folder_name;
use strandline_wal::{Disk, log_folder_name};

/// No log's folder has this name.
const FOLDER: &str = "~strandline";
const EPOCH: &str = "epoch-";
const LOG: &str = "log-";
const STORE: &str = "store-";

/// The marks of a store with logs.
pub(super) struct Marks {
    disk: Arc<dyn Disk>,
    wal_dir: PathBuf,
}

/// What they say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marked {
    /// Epochs whose owner writes here.
    pub(crate) epochs: BTreeSet<u64>,
    /// Logs that were made here.
    pub(crate) logs: BTreeSet<LogKey>,
    /// Stores whose logs lie here, by their ids: one, or two after a crash in the first start of another.
    pub(crate) stores: BTreeSet<String>,
}

impl Marked {
    /// The store that the folder belongs to, if that is another one than this.
    pub(crate) fn other_store(&self, id: [u8; 16]) -> Option<&str> {
        let other = self.stores.last().filter(|_| !self.stores.contains(&name_of(id)));
        other.map(String::as_str)
    }
}

/// The mark of a store with this id, below the folder of logs.
pub(super) fn store_mark(id: &str) -> String {
    format!("{FOLDER}/{STORE}{id}")
}

/// A store's id as a mark has it.
pub(crate) fn name_of(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

/// The log of a folder of this name.
pub(crate) fn log_of(name: &str) -> Option<LogKey> {
    parse_log_folder_name(name).map(|(stream_type, bucket)| LogKey { stream_type: stream_type.into(), bucket })
}

impl Marks {
    /// `None`: the store has no log.
    pub(super) fn of(place: &LogPlace<'_>) -> Option<Self> {
        let wal_dir = place.dir?.to_owned();
        Some(Self { disk: Arc::clone(place.disk), wal_dir })
    }

    /// Reads them; writes nothing.
    pub(super) fn read(&self) -> Result<Marked, OpenError> {
        read(&*self.disk, &self.wal_dir).map_err(|error| self.fail(error))
    }

    /// The owner of this epoch will write here.
    pub(super) fn claim(&self, epoch: u64) -> Result<(), OpenError> {
        self.make(&format!("{EPOCH}{epoch}"))
    }

    /// Another owner has won this epoch.
    pub(super) fn withdraw(&self, epoch: u64) -> Result<(), OpenError> {
        self.remove(|marked| epochs(marked, |marked| marked == epoch))
    }

    /// The epoch is claimed and the logs are settled: older marks say nothing any more.
    pub(super) fn settle(&self, epoch: u64, store: [u8; 16]) -> Result<(), OpenError> {
        let store = name_of(store);
        self.make(&format!("{STORE}{store}"))?;
        self.claim(epoch)?;
        self.remove(|marked| {
            let others = marked.stores.iter().filter(|other| **other != store).map(|other| format!("{STORE}{other}"));
            others.chain(epochs(marked, |marked| marked != epoch)).collect()
        })
    }

    /// A log is made, and nothing in it was acknowledged yet.
    pub(super) fn note(&self, key: &LogKey) -> Result<(), OpenError> {
        self.make(&format!("{LOG}{}", log_folder_name(&key.stream_type, key.bucket)))
    }

    fn make(&self, name: &str) -> Result<(), OpenError> {
        let folder = self.wal_dir.join(FOLDER);
        let making = || {
            self.disk.create_dir_all(&folder)?;
            match self.disk.create(&folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                // one that was there may not be durable yet
                _ => self.disk.sync_dir(&folder),
            }
        };
        making().map_err(|error| self.fail(error))
    }

    fn remove(&self, which: impl Fn(&Marked) -> Vec<String>) -> Result<(), OpenError> {
        let folder = self.wal_dir.join(FOLDER);
        let removing = || {
            for name in which(&read(&*self.disk, &self.wal_dir)?) {
                self.disk.remove(&folder.join(name))?;
            }
            self.disk.sync_dir(&folder)
        };
        removing().map_err(|error| self.fail(error))
    }

    fn fail(&self, error: io::Error) -> OpenError {
        OpenError::WalFolder { dir: self.wal_dir.join(FOLDER), error }
    }
}

/// The marks of some epochs.
fn epochs(marked: &Marked, which: impl Fn(u64) -> bool) -> Vec<String> {
    marked.epochs.iter().filter(|epoch| which(**epoch)).map(|epoch| format!("{EPOCH}{epoch}")).collect()
}

/// What the marks below a folder of logs say.
pub(crate) fn read(disk: &dyn Disk, wal_dir: &std::path::Path) -> io::Result<Marked> {
    let names = match disk.list(&wal_dir.join(FOLDER)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Marked::default()),
        Err(error) => return Err(error),
    };
    let epochs = names.iter().filter_map(|name| name.strip_prefix(EPOCH)?.parse().ok()).collect();
    let logs = names.iter().filter_map(|name| log_of(name.strip_prefix(LOG)?)).collect();
    let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let stores = names.iter().filter_map(|name| name.strip_prefix(STORE)).filter(is_id).map(str::to_owned).collect();
    Ok(Marked { epochs, logs, stores })
}
