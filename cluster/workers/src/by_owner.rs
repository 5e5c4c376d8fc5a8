//! Where a batch goes: its log, the owner of that, and the parts of a body whose streams have several owners.
//!
//! ```text
//!  number of buckets -> log -> owner in the table -> the same number still? -> to the owner
//!                               none: the log is made -> the same number still? -> to the owner
//! ```
//!
//! A stream type may be registered with several buckets as long as it has no log. So the number that a log was found by is looked at again once the
//! log is there: from then on it never changes. Invariant: no event goes to the log of another bucket.

use crate::error::NodeError;
use crate::store::StoreHandle;
use crate::wal_worker::WalWorker;
use actix::Addr;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_consensus::meta::refused_type;
use strandline_engine::store::{OwnerPart, Store};
use strandline_event::{BatchBytes, BatchView, ErrorKind, LogKey, limits};

impl StoreHandle {
    /// The log of a batch and its owner, while the node takes appends; no owner: there is no log yet.
    pub(crate) fn serving_owner(&self, batch: BatchView<'_>) -> Result<(LogKey, Option<Addr<WalWorker>>), NodeError> {
        self.node.check_serving()?;
        self.check_stream_type(batch.stream_type())?;
        self.check_owned()?;
        let store = &self.parts.store;
        let buckets = store.buckets_of(batch.stream_type());
        let log = store.owner_of_batch(batch).ok_or(NodeError::BucketsChanged)?;
        if let Some(reason) = store.log(&log).and_then(|shared| shared.refuses_writes().cloned()) {
            return Err(NodeError::DamagedLog { log, reason });
        }
        let owner = self.parts.table.get(&log);
        if store.buckets_of(batch.stream_type()) != buckets {
            return Err(NodeError::BucketsChanged);
        }
        if owner.is_some() {
            self.check_sealed(batch)?;
        }
        Ok((log, owner))
    }

    /// Knows what the cluster says of stream types by now, as far as this node has heard: before a body is cut.
    fn follow_types(&self) {
        self.parts.replicas.iter().for_each(|replicas| replicas.publish_types());
    }

    /// Refuses a number of buckets that no stream type of this store has.
    pub(crate) fn check_buckets(&self, buckets: u32) -> Result<(), NodeError> {
        let most = limits::BUCKETS_MAX;
        if !(1..=most).contains(&buckets) {
            let why = format!("`buckets` is {buckets}: a stream type has from 1 to {most}");
            return Err(NodeError::Buckets { kind: ErrorKind::BadRequest, why });
        }
        match refused_type(&self.config(), buckets) {
            Some(why) => Err(NodeError::Buckets { kind: ErrorKind::StrictViolation, why }),
            None => Ok(()),
        }
    }

    /// Batches of many streams as [`append_bulk`](Self::append_bulk) takes them: each with one owner, and which of these it is of.
    ///
    /// # Errors
    /// A defect: no batch that was checked ends so.
    pub async fn by_owner(&self, batches: Vec<BatchBytes>) -> Result<Vec<(usize, OwnerPart)>, NodeError> {
        self.follow_types();
        let store = Arc::clone(&self.parts.store);
        let owners: Option<Vec<LogKey>> = batches.iter().map(|batch| store.owner_of_batch(batch.view())).collect();
        if let Some(owners) = owners {
            let whole = batches.into_iter().zip(owners).map(|(batch, log)| OwnerPart::whole(batch, log));
            return Ok(whole.enumerate().collect());
        }
        let cutting = tokio::task::spawn_blocking(move || cut(&store, batches));
        cutting.await.ok().flatten().ok_or(NodeError::Defect)
    }

    /// The same, for who has a thread that nobody waits for: it is as much work as the body is large.
    ///
    /// # Errors
    /// As [`by_owner`](Self::by_owner).
    pub fn by_owner_here(&self, batches: Vec<BatchBytes>) -> Result<Vec<(usize, OwnerPart)>, NodeError> {
        self.follow_types();
        cut(&self.parts.store, batches).ok_or(NodeError::Defect)
    }
}

fn cut(store: &Store, batches: Vec<BatchBytes>) -> Option<Vec<(usize, OwnerPart)>> {
    let mut parts = Vec::with_capacity(batches.len());
    for (of, batch) in batches.into_iter().enumerate() {
        parts.extend(store.by_owner(batch)?.into_iter().map(|part| (of, part)));
    }
    Some(parts)
}

/// The first part whose log another batch of these has rows for too: one body names each log once. A stream type's batches may come apart, by
/// owner, from a node that sends on what this one leads.
#[must_use]
pub fn same_owner_again(parts: &[(usize, OwnerPart)]) -> Option<usize> {
    if parts.len() < 2 {
        return None;
    }
    let mut named = BTreeSet::new();
    parts.iter().position(|(_, part)| !named.insert(&part.log))
}
