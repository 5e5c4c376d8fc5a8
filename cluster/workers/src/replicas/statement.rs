//! What the cluster holds of a store beside its places: the statement, and whether its compaction is paused. Every node follows it.
//!
//! ```text
//!  any node: what it knows is the newest -> judged against that statement -> DeclareStore, upon that version
//!  every node, when it applies it (one that was away: when it is back) -> the store follows; the one that compacts writes it into the manifest
//! ```
//!
//! A statement that does not fit is refused before it is proposed: one that is held is followed by all. It refuses to hold one node for another:
//! who is answered knows that his node follows, the others do when they apply the same command.

use super::{PAUSE, StoreReplicas};
use crate::clock;
use crate::error::NodeError;
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::GroupId;
use strandline_consensus::meta::{Command, StoreRefused, cluster_statement};
use strandline_deql::{StoreConfig, changed_keys, parse_file};
use strandline_event::ErrorKind;
use tokio::time::timeout;

/// How long a node that proposed a statement waits until it follows it itself.
const FOLLOW_WITHIN: Duration = Duration::from_secs(5);

/// The statement as this node follows it.
#[derive(Default)]
pub(super) struct Statement {
    /// Its version in the meta group; 0: as it was opened.
    version: u64,
    /// A version that this program cannot follow.
    refused: u64,
}

/// What the cluster did with a statement.
pub(crate) struct Held {
    /// Keys whose values are others now.
    pub(crate) changed: Vec<&'static str>,
    /// The version of the statement.
    pub(crate) version: u64,
}

impl StoreReplicas {
    /// The store follows the statement that the cluster holds, as far as this node has heard. Gives the version that is followed.
    pub(super) async fn follow_statement(&self) -> u64 {
        let mut here = self.statement.lock().await;
        let held = self.parts.control.with_state(|state| {
            let entry = state.stores().get(self.name())?;
            let is_new = entry.version != here.version && entry.version != here.refused;
            is_new.then(|| (entry.version, entry.statement.clone()))
        });
        let Some((version, text)) = held else { return here.version };
        match self.adopt(&text).await {
            Ok(changed) => {
                if !changed.is_empty() {
                    tracing::info!(
                        store = self.name(),
                        version,
                        "the cluster's statement is followed: {}",
                        changed.join(", ")
                    );
                }
                here.version = version;
            }
            Err(why) => {
                tracing::error!(
                    store = self.name(),
                    version,
                    "the cluster's statement cannot be followed by this program: {why}"
                );
                here.refused = version;
            }
        }
        here.version
    }

    async fn adopt(&self, text: &str) -> Result<Vec<&'static str>, String> {
        let parsed = parse_file("statement of the cluster", text).map_err(|errors| errors.to_string())?;
        let config = parsed.stores.into_iter().next().ok_or("it declares no store")?.config;
        if changed_keys(&self.parts.store.config(), &config).is_empty() {
            return Ok(Vec::new());
        }
        let store = Arc::clone(&self.parts.store);
        let adopting = tokio::task::spawn_blocking(move || store.adopt_statement(config));
        adopting.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The node that commits writes the statement into the manifest, for who reads that alone.
    pub(super) async fn record_statement(&self) {
        let store = Arc::clone(&self.parts.store);
        let recording =
            tokio::task::spawn_blocking(move || store.record_statement(crate::random::bits(), clock::now()));
        if let Ok(Err(error)) = recording.await {
            // the next look tries again; one that is fenced will hear of it
            tracing::debug!(store = self.name(), "the statement is not in the manifest yet: {error}");
        }
    }

    /// The statement takes the place of the one that the cluster holds.
    pub(crate) async fn replace_statement(&self, config: &StoreConfig) -> Result<Held, NodeError> {
        self.confirm_group(&GroupId::Meta).await?;
        let replaces = self.follow_statement().await;
        self.parts.store.check_replacement(config)?;
        let refused = |error: StoreRefused| NodeError::Cluster { kind: ErrorKind::BadRequest, why: error.to_string() };
        let (name, statement) = (self.name().to_owned(), cluster_statement(config).map_err(refused)?);
        let changed = changed_keys(&self.parts.store.config(), config);
        if changed.is_empty() {
            return Ok(Held { changed, version: replaces });
        }
        self.parts.control.propose(&Command::DeclareStore { replaces, name, statement }).await?;
        // also where the answer to the first attempt was lost, and the second one found it done
        let version = replaces + 1;
        let following = async {
            while self.follow_statement().await < version {
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(FOLLOW_WITHIN, following).await.map_err(|_| NodeError::Cluster {
            kind: ErrorKind::Unavailable,
            why: format!(
                "version {version} of the statement is held by the cluster; this node does not follow it yet, and will"
            ),
        })?;
        Ok(Held { changed, version })
    }

    /// Compaction is paused here if the cluster says so.
    pub(super) fn follow_pause(&self) {
        let paused = self.parts.control.with_state(|state| state.stores().get(self.name()).is_some_and(|s| s.paused));
        self.parts.book.set_paused(paused);
    }

    /// Compaction of the store is paused, or goes on, whichever node compacts it.
    pub(crate) async fn pause(&self, paused: bool) -> Result<(), NodeError> {
        let store = self.name().to_owned();
        self.parts.control.propose(&Command::Pause { store, paused }).await?;
        // the cluster holds it: this node follows at once where it can, else with its next look
        let _ = self.confirm_group(&GroupId::Meta).await;
        self.follow_pause();
        Ok(())
    }
}
