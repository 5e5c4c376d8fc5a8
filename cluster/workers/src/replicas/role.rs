//! Whether this node compacts a store: the meta group names the node that does (`control/compacting.rs` of the consensus crate). It claims the
//! store and commits from its own replicas; all others follow.
//!
//! ```text
//!  named, not claimed    ->  follow what is newest, ask the meta group's leader whether it is still named, claim (the one before is fenced)
//!                                                                                                                 ->  jobs may run
//!  claimed, named no more  ->  nothing is committed any more
//!  files are an older copy ->  as if it were not named: what they do not name may be what the logs gave to the right ones, and would be swept
//!  otherwise               ->  follow, tell the owners of logs and memory
//! ```
//!
//! A node that was paused commits nothing: the version that it would make is there, or its epoch is over. One that is cut off and does not know
//! that another is named claims nothing: it is told by a quorum or not at all.

use super::{LOOK_EVERY, StoreReplicas};
use crate::clock;
use crate::messages::{Compacted, ManifestCommitted};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_consensus::control::Looks;
use strandline_consensus::{BoxFuture, GroupId};
use strandline_durable::{FollowError, FollowedOthers, Snapshot};
use strandline_engine::compact::JobOutcome;
use strandline_event::{LogKey, Micros};
use tokio::time::{Instant, sleep};

/// How often a node that does not compact looks for what was committed: a request to the object store each.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// A store's answer to another node that asks it to look now.
pub(super) struct LooksNow(pub(super) Weak<StoreReplicas>);

impl Looks for LooksNow {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            // a store that was closed shows nothing
            let Some(replicas) = self.0.upgrade() else { return Ok(()) };
            let keys = replicas.look_at_keys().await;
            // whatever becomes of the folder of keys
            replicas.follow_newest().await.map(drop).and(keys)
        })
    }

    fn newest(&self) -> Option<Micros> {
        let replicas = self.0.upgrade()?;
        replicas.newest_passed()
    }

    fn newest_now(&self) -> BoxFuture<'_, Option<Micros>> {
        Box::pin(async move {
            let replicas = self.0.upgrade()?;
            replicas.newest_committed().await
        })
    }

    fn has_had(&self, log: &LogKey) -> bool {
        self.0.upgrade().is_none_or(|replicas| replicas.has_had(log))
    }

    fn has_files(&self, log: &LogKey) -> bool {
        self.0.upgrade().is_none_or(|replicas| replicas.has_files(log))
    }
}

impl StoreReplicas {
    /// Keeps to what this node is in the cluster until it is stopped. A step waits for the object store.
    pub(super) async fn keep_role(self: &Arc<Self>) {
        let (mut changed, mut stopped) = (self.parts.control.watch(), self.stop.subscribe());
        while !*self.stop.borrow() {
            changed.borrow_and_update();
            self.play_role().await;
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = sleep(LOOK_EVERY) => {}
                stop = stopped.changed() => if stop.is_err() { return },
            }
        }
    }

    /// One step towards what this node is in the cluster.
    async fn play_role(self: &Arc<Self>) {
        if self.parts.control.leads() {
            self.spare().await;
        }
        let named = self.is_named() && !self.files_are_old.load(Ordering::SeqCst);
        let claimed = !self.parts.fenced.load(Ordering::SeqCst);
        if claimed && named {
            self.record_statement().await;
            return;
        }
        if claimed {
            self.parts.fenced.store(true, Ordering::SeqCst);
            self.parts.store.durable().give_up_claim();
            tracing::info!(store = self.name(), "this node compacts no more");
        }
        let now = Instant::now();
        let due = self.followed.lock().is_none_or(|last| last + FOLLOW_EVERY <= now);
        if !named && !due {
            return;
        }
        *self.followed.lock() = Some(now);
        let newest = self.follow().await;
        if named && newest && self.is_still_named().await {
            // what was paused under the one before stays so
            self.follow_pause();
            self.claim().await;
        }
    }

    /// The meta group, as far as this node has heard of it, says that this node compacts.
    pub(super) fn is_named(&self) -> bool {
        self.compactor() == Some(self.parts.control.node())
    }

    /// Its leader says so now. Without this a node that is cut off would fence the one that is named by now.
    async fn is_still_named(&self) -> bool {
        self.try_confirm(&GroupId::Meta).await.is_ok() && self.is_named()
    }

    /// Follows what others have committed. `true`: nothing newer is there.
    async fn follow(&self) -> bool {
        self.follow_newest().await.unwrap_or_else(|why| {
            tracing::warn!(store = self.name(), "{why}");
            false
        })
    }

    /// The same; `false`: this node is not ready for what is newest, and shows nothing that it redacts all the same.
    pub(crate) async fn follow_newest(&self) -> Result<bool, String> {
        let store = Arc::clone(&self.parts.store);
        // a log that is given to this node meanwhile is taken back behind it
        let turn = self.following.lock().await;
        let lacking = self.lacking();
        let following = tokio::task::spawn_blocking(move || store.follow_held(&|log| !lacking.contains(log)));
        let cannot = |why: String| format!("what other nodes commit cannot be followed: {why}");
        let followed = following.await.map_err(|error| cannot(error.to_string()))?;
        drop(turn);
        match followed.map_err(|error| cannot(error.to_string()))? {
            FollowedOthers::Newest => Ok(true),
            FollowedOthers::Now(snapshot) => {
                self.tell(&snapshot).await;
                Ok(true)
            }
            FollowedOthers::NotReady => Ok(false),
        }
    }

    /// The owners of logs and memory let go what files hold now.
    async fn tell(&self, snapshot: &Arc<Snapshot>) {
        let resting = self.resting_owners().await;
        for (log, owner) in self.parts.table.all().into_iter().chain(resting) {
            let through = snapshot.watermark(&log);
            let settled = self.parts.store.settled(&log);
            // an owner that has stopped keeps nothing
            let _ = owner.send(Compacted { through, settled }).await;
            let outcome = Arc::new(JobOutcome {
                snapshot: Arc::clone(snapshot),
                through,
                rows: 0,
                segments: 0,
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
}
