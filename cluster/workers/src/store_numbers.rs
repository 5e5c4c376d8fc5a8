//! Numbers of a store, for operators. A caller that is limited to tenants gets none: they are those of all.

use crate::error::NodeError;
use crate::messages::{ReadStatus, StatusPart, StoreStatus};
use crate::metrics::Measured;
use crate::store::StoreHandle;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_engine::status::{FileStatus, LogStatus, ManifestStatus, TiersStatus, Waiting};

impl StoreHandle {
    /// How long things take here, and what pages touch.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.parts.measured
    }

    /// The stream types that this node knows of, in order: those with a log, with data files, and registered ones. None for a caller that is
    /// limited to tenants: they are those of all.
    #[must_use]
    pub fn known_stream_types(&self) -> Vec<Arc<str>> {
        if self.is_limited() {
            return Vec::new();
        }
        let store = &self.parts.store;
        let mut names: BTreeSet<Arc<str>> = store.stream_types().into_iter().collect();
        names.extend(store.durable().pin().logs().map(|(log, _)| Arc::clone(&log.stream_type)));
        names.extend(self.stream_types().iter().map(|entry| Arc::clone(&entry.name)));
        names.into_iter().collect()
    }

    /// What each tier holds.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn tiers(&self) -> Result<TiersStatus, NodeError> {
        match self.status(StatusPart::Tiers).await? {
            StoreStatus::Tiers(tiers) => Ok(tiers),
            _ => Err(NodeError::Defect),
        }
    }

    /// The logs and their segments.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn wal(&self) -> Result<Vec<LogStatus>, NodeError> {
        match self.status(StatusPart::Wal).await? {
            StoreStatus::Wal(logs) => Ok(logs),
            _ => Err(NodeError::Defect),
        }
    }

    /// The current manifest and its history: of the versions before `before` the newest ones, at most `limit`.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn manifest(&self, before: Option<u64>, limit: usize) -> Result<ManifestStatus, NodeError> {
        match self.status(StatusPart::Manifest(before, limit)).await? {
            StoreStatus::Manifest(manifest) => Ok(manifest),
            _ => Err(NodeError::Defect),
        }
    }

    /// The live data files.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn files(&self) -> Result<Vec<FileStatus>, NodeError> {
        match self.status(StatusPart::Files).await? {
            StoreStatus::Files(files) => Ok(files),
            _ => Err(NodeError::Defect),
        }
    }

    /// What waits for compaction, per log.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, NodeError> {
        match self.status(StatusPart::Waiting).await? {
            StoreStatus::Waiting(waiting) => Ok(waiting),
            _ => Err(NodeError::Defect),
        }
    }

    pub(crate) async fn status(&self, part: StatusPart) -> Result<StoreStatus, NodeError> {
        self.check_unlimited()?;
        self.ask(ReadStatus { store: Arc::clone(&self.parts.store), part }).await?
    }
}
