//! What a commit tells of another owner: the store takes no appends here from then on.

use std::sync::atomic::{AtomicBool, Ordering};
use strandline_durable::CommitError;

/// Remembers and says that another node owns a store, where the error of a commit tells so.
pub(crate) fn mind(fenced: &AtomicBool, store: &str, error: &CommitError) {
    if matches!(error, CommitError::StaleEpoch { .. }) {
        fenced.store(true, Ordering::SeqCst);
        tracing::error!(store, "another node owns this store now: it takes no appends here");
    }
}
