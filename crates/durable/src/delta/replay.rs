//! Reads the log: the newest checkpoint and the versions behind it give the newest state, as every Delta reader does it.
//!
//! Refuses to guess: a version that is missing or cannot be read makes the log unfit, and it is then made anew from the manifest.

use super::actions::{self, Line, MetaData, Protocol};
use super::names::{self, LogFile};
use super::parquet_read;
use crate::objects::{ObjectError, Objects};
use std::collections::{BTreeMap, HashMap};

/// The newest state of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Replayed {
    /// The newest version.
    pub(crate) version: u64,
    /// The first version of which any file is there.
    pub(crate) first: u64,
    /// The checkpoint from which it was read.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) meta_data: Option<MetaData>,
    /// How far each application is.
    pub(crate) applications: HashMap<String, i64>,
    /// Names of files (decoded) and their bytes.
    pub(crate) live: HashMap<String, i64>,
    /// Names of files that were removed, and when (milliseconds).
    pub(crate) removed: BTreeMap<String, i64>,
}

/// Why a log gives no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// There is none.
    #[error("there is no Delta log")]
    None,
    /// It cannot be read to its end.
    #[error("{what}")]
    Unfit {
        /// The highest version that any file of it names.
        newest: u64,
        /// In a sentence.
        what: String,
    },
    /// The disk or the object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// Lists the log.
pub(crate) fn list(objects: &dyn Objects) -> Result<Vec<(LogFile, String)>, ObjectError> {
    let listed = objects.list(names::FOLDER)?;
    Ok(listed.into_iter().filter_map(|info| Some((names::parse(&info.path)?, info.path))).collect())
}

/// Reads the newest state.
pub(crate) fn replay(objects: &dyn Objects) -> Result<Replayed, ReplayError> {
    let files = list(objects)?;
    let newest = files.iter().map(|(file, _)| file.version()).max().ok_or(ReplayError::None)?;
    let unfit = |what: String| ReplayError::Unfit { newest, what };
    let is_checkpoint = |file: &LogFile| !matches!(file, LogFile::Commit(_));
    let checkpoint = files.iter().filter(|(file, _)| is_checkpoint(file)).max_by_key(|(file, _)| file.version());
    let mut state = Replayed::default();
    if let Some((file, path)) = checkpoint {
        let bytes = objects.get(path)?;
        let lines = match file {
            LogFile::Parquet(_) => parquet_read::read(bytes),
            _ => actions::from_bytes(&bytes).collect::<Result<_, _>>().map_err(|e| e.to_string()),
        };
        lines.map_err(|e| unfit(format!("`{path}`: {e}")))?.into_iter().for_each(|line| state.take(line));
        state.checkpoint = Some(file.version());
    }
    let first = state.checkpoint.map_or(0, |version| version + 1);
    for version in first..=newest {
        let path = names::commit(version);
        let bytes = match objects.get(&path) {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Err(unfit(format!("`{path}` is missing"))),
            Err(error) => return Err(error.into()),
        };
        for line in actions::from_bytes(&bytes) {
            state.take(line.map_err(|e| unfit(format!("`{path}`: {e}")))?);
        }
    }
    state.version = newest;
    state.first = files.iter().map(|(file, _)| file.version()).min().unwrap_or(newest);
    Ok(state)
}

/// The newest manifest version that the newest Delta version shows, where that is one of this store; cheap: one listing and one
/// object. A log that cannot be read shows nothing.
pub(crate) fn newest_shown(objects: &dyn Objects, store_id: [u8; 16]) -> Result<Option<u64>, ObjectError> {
    let commits = list(objects)?.into_iter().filter(|(file, _)| matches!(file, LogFile::Commit(_)));
    let Some((_, path)) = commits.max_by_key(|(file, _)| file.version()) else { return Ok(None) };
    let bytes = match objects.get(&path) {
        Ok(bytes) => bytes,
        Err(ObjectError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let app_id = names::uuid(store_id);
    let txns = actions::from_bytes(&bytes).filter_map(|line| line.ok()?.txn).filter(|txn| txn.app_id == app_id);
    Ok(txns.filter_map(|txn| u64::try_from(txn.version).ok()).max())
}

impl Replayed {
    fn take(&mut self, line: Line) {
        if let Some(protocol) = line.protocol {
            self.protocol = Some(protocol);
        }
        if let Some(meta_data) = line.meta_data {
            self.meta_data = Some(meta_data);
        }
        if let Some(txn) = line.txn {
            self.applications.insert(txn.app_id, txn.version);
        }
        if let Some(add) = line.add {
            let name = names::decode(&add.path);
            self.removed.remove(&name);
            self.live.insert(name, add.size);
        }
        if let Some(remove) = line.remove {
            let name = names::decode(&remove.path);
            self.live.remove(&name);
            self.removed.insert(name, remove.deletion_timestamp.unwrap_or(0));
        }
    }
}
