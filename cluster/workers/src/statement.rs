//! CREATE OR REPLACE of a store that the node serves: one statement at a time, in a thread that may block; then everybody follows.
//!
//! ```text
//!  keys that no node serves: refused -> turn -> engine: judge, commit, swap -> owners of logs and memory look at the store before
//!                                                                             they do something; the supervisor is asked to look now
//! ```
//!
//! In a cluster the meta group holds the statement, and every node follows that (`replicas/statement.rs`).
//!
//! A node that stops waits for the one that runs and takes no more: its commit must not come behind the store's last one.

use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::fence;
use crate::messages::LookNow;
use crate::store::StoreHandle;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_deql::StoreConfig;
use strandline_engine::store::ReplaceError;

/// Who holds the statement of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldBy {
    /// This version of the manifest; a node alone, whose next start follows its file.
    Manifest(u64),
    /// The cluster, as this version of the statement: every member follows it, also one that is away when it is back.
    Cluster(u64),
}

/// A statement took the place of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatementReplaced {
    /// The keys whose values are others now, in the order of the reference.
    pub changed: Vec<&'static str>,
    /// Where it is kept.
    pub held_by: HeldBy,
    /// It names another `wal.path`, which belongs to the node: each keeps its own.
    pub wal_path_kept: bool,
    /// What a start says of its keys: a sentence each, with the key.
    pub warnings: Vec<String>,
}

/// What this statement asks for and a cluster does not do yet, though it serves the store: each key, and what holds instead.
#[must_use]
pub fn unheeded(config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    let projection = &config.projection;
    let table = [(
        "projection.notify_on_inspect",
        projection.notify_on_inspect,
        "in a cluster only those are told of a dry run who follow the node that judged it, the one that leads its log",
    )];
    table.into_iter().filter(|(_, is_asked_for, _)| *is_asked_for).map(|(key, _, why)| (key, why)).collect()
}

/// What a start would say of the keys of a statement.
fn warnings(config: &StoreConfig, in_cluster: bool) -> Vec<String> {
    let mut idle = strandline_deql::not_active_yet(config);
    if in_cluster {
        idle.extend(unheeded(config));
    }
    let idle = idle.into_iter().map(|(key, why)| format!("not active yet: {key}: {why}"));
    let others = strandline_deql::warnings(config).into_iter().map(|(key, why)| format!("{key}: {why}"));
    idle.chain(others).collect()
}

/// Turn of one store.
#[derive(Debug, Default)]
pub(crate) struct StatementDesk {
    /// Whether the store stops.
    closed: Mutex<bool>,
}

impl StatementDesk {
    /// Takes no statement any more; waits for the one that is being replaced.
    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
    }
}

impl StoreHandle {
    /// Whether a statement could take the place of the store's own, as far as it alone can tell.
    ///
    /// # Errors
    /// `NotServed`: it sets a key to what this version cannot serve. `Replace`: it changes what is on disk.
    pub fn check_replacement(&self, config: &StoreConfig) -> Result<(), NodeError> {
        let refused = strandline_deql::serve_refusals(config);
        if !refused.is_empty() {
            let lines = refused.iter().map(|(key, reason)| format!("{key}: {reason}")).collect::<Vec<_>>().join("; ");
            return Err(NodeError::NotServed { store: self.name().to_owned(), lines });
        }
        self.parts.store.check_replacement(config).map_err(NodeError::from)
    }

    /// Replaces the store's statement. When it is answered, whatever begins follows the new one.
    ///
    /// # Errors
    /// As [`check_replacement`](Self::check_replacement); what the commit says; `Fenced`, `Draining`.
    pub async fn replace(&self, config: StoreConfig) -> Result<StatementReplaced, NodeError> {
        self.node.check_serving()?;
        self.check_replacement(&config)?;
        let warnings = warnings(&config, self.parts.replicas.is_some());
        if let Some(replicas) = &self.parts.replicas {
            let wal_path_kept = self.config().wal.path != config.wal.path;
            let held = replicas.replace_statement(&config).await?;
            let _ = self.node.supervisor.send(LookNow).await;
            return Ok(StatementReplaced {
                changed: held.changed,
                held_by: HeldBy::Cluster(held.version),
                wal_path_kept,
                warnings,
            });
        }
        let (parts, name) = (Arc::clone(&self.parts), self.name().to_owned());
        let replacing = tokio::task::spawn_blocking(move || {
            let _end = EndOnPanic("the replacement of a statement panicked");
            let closed = parts.statement.closed.lock();
            if *closed {
                return Err(NodeError::Draining);
            }
            if parts.fenced.load(Ordering::SeqCst) {
                return Err(NodeError::Fenced { store: name });
            }
            let done = parts.store.replace(config, crate::random::bits(), clock::now());
            if let Err(ReplaceError::Commit(error)) = &done {
                fence::mind(&parts.fenced, &name, error);
            }
            Ok(done?)
        });
        let replaced = replacing.await.map_err(|_| NodeError::OutcomeUnknown)??;
        tracing::info!(store = self.name(), version = replaced.version, "replaced: {}", replaced.changed.join(", "));
        // it looks by itself soon; a node that stops needs no schedule
        let _ = self.node.supervisor.send(LookNow).await;
        let (held_by, wal_path_kept) = (HeldBy::Manifest(replaced.version), replaced.wal_path_kept);
        Ok(StatementReplaced { changed: replaced.changed, held_by, wal_path_kept, warnings })
    }
}
