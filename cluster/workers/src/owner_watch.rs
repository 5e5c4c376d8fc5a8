//! Looks now and then whether another owner came after this node, at a store that it owns alone. An owner with a log commits seldom: without
//! a look it would go on acknowledging what stands in its own log and nowhere else until its next job.
//!
//! ```text
//!  every two seconds: is there a version of a newer epoch? --no, or no answer--> again
//!                         | yes
//!                         v
//!                 fenced: no append, no read but `consistency=local`, /ready says so; who follows is told the end
//! ```
//!
//! Without an answer nothing changes: while the object store is away appends go on, as ever, and `/ready` says that it is.

use crate::clock;
use crate::fence;
use crate::store::StoreParts;
use crate::wiring::Alive;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often an owner looks, where nothing else is said: one small request for a store.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The looks of a node that runs.
#[derive(Debug, Default)]
pub(crate) struct OwnerWatches(Mutex<Vec<JoinHandle<()>>>);

impl OwnerWatches {
    /// Begins to look after every store that no cluster shares: there roles decide.
    pub(crate) fn start(stores: &[Arc<StoreParts>], every: Duration, alive: &Alive) -> Self {
        let alone = stores.iter().filter(|parts| parts.replicas.is_none());
        let watch = |parts: &Arc<StoreParts>| {
            let (parts, mark) = (Arc::clone(parts), alive.mark());
            tokio::spawn(async move {
                look_after(&parts, every).await;
                drop(mark);
            })
        };
        Self(Mutex::new(alone.map(watch).collect()))
    }

    /// Looks no more: the node stops.
    pub(crate) fn stop(&self) {
        self.0.lock().drain(..).for_each(|watch| watch.abort());
    }
}

/// Until another owner is there.
async fn look_after(parts: &Arc<StoreParts>, every: Duration) {
    let mut answers = true;
    loop {
        tokio::time::sleep(every).await;
        if parts.fenced.load(Ordering::SeqCst) {
            // a commit found it out
            parts.feed.close();
            return;
        }
        let store = Arc::clone(&parts.store);
        let looking = move || {
            if store.decide_statement() {
                tracing::info!(store = store.name(), "the statement was replaced: its commit is found now");
            }
            store.newer_owner(clock::now())
        };
        // a look that panics is none
        let Ok(looked) = tokio::task::spawn_blocking(looking).await else { continue };
        match looked {
            Ok(Some(epoch)) => {
                fence::replaced(&parts.fenced, parts.store.name(), epoch);
                parts.feed.close();
                return;
            }
            Ok(None) => answers = true,
            Err(error) => {
                if std::mem::take(&mut answers) {
                    let store = parts.store.name();
                    tracing::warn!(store, "whether another node owns this store cannot be told now: {error}");
                }
            }
        }
    }
}
