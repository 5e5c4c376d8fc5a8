//! Single events that came together, each an append of its own: one request to their owner, one batch in the log.
//!
//! ```text
//!  rows of one log -> WalWorker: judged one by one, what is new is one batch -> stored, and told in the owner's thread
//!      |                                       +-> the others: refused, known, or to be asked for again --+
//!      +-- a store or a log that needs more than its owner ----------------------------------------------+-> appends by themselves
//! ```
//!
//! Here events are only stored. Whatever else becomes of one is said where it comes as an append by itself, so there is one place that says it.
//! Invariant: nothing was done to what is given back.

use crate::answers::AnswerList;
use crate::append::{AppendReply, HASH_HERE_BYTES_MAX, comes_again};
use crate::error::NodeError;
use crate::permits::BytePermit;
use crate::store::StoreHandle;
use std::sync::Arc;
use strandline_engine::append::{Answer, AppendOutcome, AppendRequest, Expected, Hashes, OnError, RowMap};
use strandline_engine::commands::Scope;
use strandline_event::{BatchBytes, StampedBatch};

/// What became of single events.
#[derive(Debug)]
pub enum RowsOutcome {
    /// Some are stored, all of them or not: as which rows. The others are to come by themselves.
    Stored(StampedBatch, RowMap),
    /// All are to come by themselves.
    Apart,
    /// The same of all of them.
    Failed(NodeError),
}

impl StoreHandle {
    /// Appends single events, `each` being where the stream of a row must stand. `then` must not wait: the owner of the log may be who calls
    /// it. Nothing here holds `permit` by then.
    pub fn append_rows_then(
        &self,
        batch: BatchBytes,
        each: Vec<Expected>,
        permit: Arc<BytePermit>,
        then: impl FnOnce(RowsOutcome) + Send + Sync + 'static,
    ) {
        let rules = self.parts.store.rules();
        // ids of a whole store are reserved for each append by itself
        let is_reserved = rules.scope == Scope::Store && self.parts.replicas.is_some();
        let owner = self.straight_owner_of(std::iter::once(batch.view())).filter(|_| !is_reserved);
        let Some(owner) = owner else {
            drop(permit);
            return then(RowsOutcome::Apart);
        };
        let mut request = AppendRequest::new(batch);
        // of a larger one its owner makes them: here other requests wait for this thread
        if request.batch.bytes().len() <= HASH_HERE_BYTES_MAX {
            request.hashes = Some(Arc::new(Hashes::of(request.batch.view(), &rules)));
        }
        request.on_error = OnError::Skip;
        let waiting = &self.node.shared.metrics.appends_waiting;
        let reply = AppendReply::of_rows(each.len(), &permit, waiting, move |answers| then(said(answers)));
        drop(permit);
        request.each = Some(each.into());
        self.send_to(&owner, vec![(request, reply)]);
    }
}

fn said(answers: AnswerList) -> RowsOutcome {
    match answers.into_iter().next().flatten() {
        None => RowsOutcome::Failed(NodeError::OutcomeUnknown),
        Some(Ok(Answer::Again(_))) => RowsOutcome::Apart,
        Some(Ok(Answer::Done(outcome))) => {
            let AppendOutcome { stamped, rows, .. } = *outcome;
            stamped.map_or(RowsOutcome::Apart, |stamped| RowsOutcome::Stored(stamped, rows))
        }
        Some(Ok(Answer::Refused(refusal))) if comes_again(&refusal.error) => RowsOutcome::Apart,
        Some(Ok(Answer::Refused(refusal))) => RowsOutcome::Failed(NodeError::Refused(*refusal)),
        Some(Err(error)) => RowsOutcome::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_engine::append::{AppendError, Refusal};

    #[test]
    fn what_is_said_of_all_rows_together_is_told_only_where_it_is_so_of_each() {
        let is_apart = |answer| matches!(said(vec![answer]), RowsOutcome::Apart);
        let refused = |error| Some(Ok(Answer::Refused(Box::new(Refusal { row: None, error }))));
        let reason = String::new;
        for error in [
            AppendError::NotLeader { leader: None },
            // there may be room for some of them
            AppendError::DiskFull { needed_bytes: 9 },
            // what others name may be known
            AppendError::Unavailable { reason: reason() },
        ] {
            assert!(is_apart(refused(error.clone())), "{error}");
        }
        // they were accepted: nobody may try them again for their callers
        for error in [
            AppendError::OutcomeUnknown { reason: reason() },
            AppendError::NotCommitted { kind: strandline_event::ErrorKind::Unavailable, reason: reason() },
        ] {
            assert!(!is_apart(refused(error.clone())), "{error}");
        }
        assert!(matches!(said(vec![None]), RowsOutcome::Failed(NodeError::OutcomeUnknown)));
        assert!(matches!(said(vec![Some(Err(NodeError::Draining))]), RowsOutcome::Failed(NodeError::Draining)));
        assert!(is_apart(Some(Ok(Answer::Done(Box::default())))));
    }
}
