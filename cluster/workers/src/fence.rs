//! What tells of another owner: the store is not this node's from then on.

use std::sync::atomic::{AtomicBool, Ordering};
use strandline_durable::CommitError;

/// Remembers and says that another node owns a store, where the error of a commit tells so.
pub(crate) fn mind(fenced: &AtomicBool, store: &str, error: &CommitError) {
    if let CommitError::StaleEpoch { found, .. } = error {
        replaced(fenced, store, *found);
    }
}

/// Another node owns a store under this epoch.
pub(crate) fn replaced(fenced: &AtomicBool, store: &str, epoch: u64) {
    fenced.store(true, Ordering::SeqCst);
    tracing::error!(
        store,
        epoch,
        "another node owns this store now: it takes no appends here, and reads only by consistency=local"
    );
}
