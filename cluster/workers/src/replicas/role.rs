//! Who compacts a store: the leader of the meta group. It claims the store and commits from its own replicas; all others follow.
//!
//! ```text
//!  leads the meta group, not claimed  ->  follow what is newest, claim (the one before is fenced)   ->  jobs may run
//!  claimed, leads no more             ->  jobs are asked to end, nothing is committed any more
//!  otherwise                          ->  follow, tell the owners of logs and memory
//! ```
//!
//! A node that was paused commits nothing: the version that it would make is there, or its epoch is over.

use super::StoreReplicas;
use crate::clock;
use crate::messages::{Compacted, ManifestCommitted};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_consensus::Leadership;
use strandline_durable::{FollowError, FollowedOthers, Snapshot};
use strandline_engine::compact::JobOutcome;
use strandline_event::LogKey;
use tokio::time::Instant;

/// How often a node that does not compact looks for what was committed: a request to the object store each.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// How long another node may lead a log before the leader of the meta group asks for it: one node that leads all answers store-wide reads.
const APART_FOR: Duration = Duration::from_secs(5);

impl StoreReplicas {
    /// One step towards what this node is in the cluster.
    pub(super) async fn play_role(self: &Arc<Self>) {
        let leads = self.parts.control.leads();
        let claimed = !self.parts.fenced.load(Ordering::SeqCst);
        if claimed && leads {
            self.gather_leaderships().await;
            return;
        }
        if claimed {
            self.parts.fenced.store(true, Ordering::SeqCst);
            self.parts.store.durable().give_up_claim();
            tracing::info!(store = self.name(), "another node compacts from now on");
        }
        let now = Instant::now();
        let due = self.followed.lock().is_none_or(|last| last + FOLLOW_EVERY <= now);
        if !leads && !due {
            return;
        }
        *self.followed.lock() = Some(now);
        let newest = self.follow().await;
        if leads && newest {
            self.claim().await;
        }
    }

    /// Follows what others have committed. `true`: nothing newer is there.
    async fn follow(&self) -> bool {
        let store = Arc::clone(&self.parts.store);
        let following = tokio::task::spawn_blocking(move || store.follow_others(false));
        match following.await {
            Ok(Ok(FollowedOthers::Newest)) => true,
            Ok(Ok(FollowedOthers::Now(snapshot))) => {
                self.tell(&snapshot).await;
                true
            }
            Ok(Ok(FollowedOthers::NotReady)) => false,
            Ok(Err(error)) => {
                tracing::warn!(store = self.name(), "what other nodes commit cannot be followed: {error}");
                false
            }
            Err(_) => false,
        }
    }

    /// The owners of logs and memory let go what files hold now.
    async fn tell(&self, snapshot: &Arc<Snapshot>) {
        for (log, owner) in self.parts.table.all() {
            let through = snapshot.watermark(&log);
            let settled = self.parts.store.settled(&log);
            // an owner that has stopped keeps nothing
            let _ = owner.send(Compacted { through, settled }).await;
            let outcome = Arc::new(JobOutcome {
                snapshot: Arc::clone(snapshot),
                through,
                rows: 0,
                input_bytes: 0,
                output_bytes: 0,
                files: 0,
                more: false,
            });
            let _ = self.parts.hot.tell(ManifestCommitted { log, outcome }).await;
        }
    }

    async fn claim(&self) {
        let store = Arc::clone(&self.parts.store);
        let claiming = tokio::task::spawn_blocking(move || store.claim(crate::random::bits(), clock::now()));
        match claiming.await {
            Ok(Ok(epoch)) => {
                self.parts.fenced.store(false, Ordering::SeqCst);
                tracing::info!(store = self.name(), epoch, "this node compacts from now on");
            }
            // the next look follows it
            Ok(Err(FollowError::Moved)) => {}
            Ok(Err(error)) => tracing::warn!(store = self.name(), "this node cannot compact yet: {error}"),
            Err(_) => {}
        }
    }

    /// Asks for the logs that another node has led for a while.
    async fn gather_leaderships(&self) {
        let logs: Vec<LogKey> = self.machines.lock().keys().cloned().collect();
        for log in logs {
            let Some(group) = self.group(&log) else { continue };
            let elsewhere = matches!(group.leadership(), Leadership::Follows { leader: Some(_) });
            if self.is_apart_too_long(&log, elsewhere) && self.is_established(&log) {
                // it wins only if its log is as long; a group that has stopped stays as it is
                let _ = group.elect().await;
            }
        }
    }

    /// Whether another node has led the log for a while; then the while begins anew.
    fn is_apart_too_long(&self, log: &LogKey, elsewhere: bool) -> bool {
        let mut apart = self.apart.lock();
        let too_long = elsewhere && apart.entry(log.clone()).or_insert_with(Instant::now).elapsed() > APART_FOR;
        if too_long || !elsewhere {
            apart.remove(log);
        }
        too_long
    }
}
