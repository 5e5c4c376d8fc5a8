//! The folder beside the logs of a store: whose they are, and which there were. It is what tells logs that are lost from
//! logs that were never made, and the logs that the last owner wrote from an older copy of them.
//!
//! ```text
//! <wal.path>/~strandline/epoch-<n>      the owner of epoch n writes the logs that lie here
//! <wal.path>/~strandline/log-<folder>   this log was made: from before its first acknowledgement on
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
        self.remove(|marked| *marked == epoch)
    }

    /// The epoch is claimed and the logs are settled: older marks say nothing any more.
    pub(super) fn settle(&self, epoch: u64) -> Result<(), OpenError> {
        self.claim(epoch)?;
        self.remove(|marked| *marked != epoch)
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

    fn remove(&self, which: impl Fn(&u64) -> bool) -> Result<(), OpenError> {
        let folder = self.wal_dir.join(FOLDER);
        let removing = || {
            for epoch in read(&*self.disk, &self.wal_dir)?.epochs.iter().filter(|epoch| which(epoch)) {
                self.disk.remove(&folder.join(format!("{EPOCH}{epoch}")))?;
            }
            self.disk.sync_dir(&folder)
        };
        removing().map_err(|error| self.fail(error))
    }

    fn fail(&self, error: io::Error) -> OpenError {
        OpenError::WalFolder { dir: self.wal_dir.join(FOLDER), error }
    }
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
    Ok(Marked { epochs, logs })
}
