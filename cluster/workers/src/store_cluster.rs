//! What a store's callers ask of its cluster, where there is one: who leads, whether reads are whole, who compacts. A node alone leads
//! everything and has everything.

use crate::error::NodeError;
use crate::store::StoreHandle;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use strandline_event::{BatchBytes, LogKey};

impl StoreHandle {
    /// A refusal of a log that another node leads says where that is.
    pub(crate) fn with_leader(&self, error: NodeError) -> NodeError {
        match &self.parts.replicas {
            Some(replicas) => replicas.with_address(error),
            None => error,
        }
    }

    /// `NotLeader`, if another node leads the log of a batch that has one owner, as far as this one knows.
    pub(crate) fn led_elsewhere(&self, batch: &BatchBytes) -> Option<NodeError> {
        let replicas = self.parts.replicas.as_ref()?;
        replicas.log_led_elsewhere(&self.parts.store.owner_of_batch(batch.view())?)
    }

    /// Whether nothing was ever stored in a log: there is none here, and none elsewhere that this node is about to be given.
    pub(crate) fn is_unborn(&self, log: &LogKey) -> bool {
        let may_hold = || self.parts.replicas.as_ref().is_some_and(|replicas| replicas.may_hold(log));
        self.parts.store.log(log).is_none() && !may_hold()
    }

    /// Everything that was acknowledged before this call (of one stream type, or of all) is seen by the reads that follow; `NotLeader` with
    /// the node to ask otherwise. A node alone has everything, unless another one took the store over.
    ///
    /// # Errors
    /// `NotLeader`, `Fenced`.
    pub async fn confirm(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        match &self.parts.replicas {
            Some(replicas) => replicas.confirm(stream_type).await,
            None => self.check_owned(),
        }
    }

    /// The same of what one stream's log holds.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm).
    pub async fn confirm_stream(&self, stream_type: &str, stream_id: &str) -> Result<(), NodeError> {
        match &self.parts.replicas {
            Some(replicas) => replicas.confirm_stream(stream_type, stream_id).await,
            None => self.check_owned(),
        }
    }

    /// Errors: another node took the store over.
    pub(crate) fn check_owned(&self) -> Result<(), NodeError> {
        // in a cluster the word means that another node compacts
        if self.parts.replicas.is_none() && self.parts.fenced.load(Ordering::SeqCst) {
            return Err(NodeError::Fenced { store: self.name().to_owned() });
        }
        Ok(())
    }

    /// Reads of what this node has by itself (of one stream type, or of all) miss no log that should be here, and this node holds all logs.
    ///
    /// # Errors
    /// `DamagedLog`; `NotLeader` with a node that holds them.
    pub fn check_whole(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        self.parts.replicas.as_ref().map_or(Ok(()), |replicas| replicas.check_whole(stream_type))
    }

    /// The same of reads of one stream, and of its log alone.
    ///
    /// # Errors
    /// As [`check_whole`](Self::check_whole).
    pub fn check_whole_stream(&self, stream_type: &str, stream_id: &str) -> Result<(), NodeError> {
        self.parts.replicas.as_ref().map_or(Ok(()), |replicas| replicas.check_whole_stream(stream_type, stream_id))
    }

    /// Errors: another node of the cluster compacts this store.
    pub(crate) async fn check_compacts(&self) -> Result<(), NodeError> {
        match &self.parts.replicas {
            Some(replicas) => replicas.check_compacts().await,
            None => Ok(()),
        }
    }

    /// Whether this node compacts the store: it is alone, or has claimed it.
    #[must_use]
    pub fn compacts(&self) -> bool {
        !self.parts.fenced.load(Ordering::SeqCst)
    }

    /// Stream types whose log is damaged, or does not run here, and how: their appends are refused, reads that need the end of the log too.
    #[must_use]
    pub fn damaged(&self) -> Vec<(String, String)> {
        let mut damaged = BTreeMap::new();
        for (log, why) in self.parts.replicas.iter().flat_map(|replicas| replicas.broken()) {
            damaged.insert(log.stream_type.to_string(), why.to_string());
        }
        for log in self.parts.store.logs() {
            if let Some(why) = log.refuses_writes() {
                damaged.insert(log.key.stream_type.to_string(), why.to_string());
            }
        }
        damaged.into_iter().collect()
    }
}
