//! The way of an append whose stream type is erasable: judged first, sealed with keys that stay only then.
//!
//! ```text
//!  batch -> sealed on trial (keys that are there, else ones that nobody keeps) -> all are there: to its owner
//!                                \-> dry run by its owner -> refused, or asked for no more: no key was made
//!                                                        \-> keys on stable storage -> sealed -> to its owner
//! ```
//!
//! So what is refused leaves no key behind, and tells of an erased subject nobody who may not know it. Invariant of a node alone: between the look at what a stream type
//! is and the answer of its owner no stream type becomes erasable and no subject is erased (`appending`): nothing is stored as it came in a type that is
//! erasable by then, and nothing that a receipt has not counted is acknowledged after it.

use crate::error::NodeError;
use crate::permits::BytePermit;
use crate::random;
use crate::store::StoreHandle;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_engine::append::{AppendError, AppendOutcome, Expected, OnError};
use strandline_engine::read::ReadError;
use strandline_engine::subjects::{SealError, Trial};
use strandline_event::BatchBytes;
use tokio::sync::RwLockReadGuard;

/// How a batch goes on.
pub(crate) enum Sealed {
    /// To its owner, so.
    Ready(BatchBytes),
    /// Nowhere: it was a dry run, which was made.
    Judged(BatchBytes, Box<AppendOutcome>),
}

/// What is said of a refused batch with an erased subject. With its key went what equal events are known by: nobody can say whether a command that is
/// known came again or is another one, and it is refused as anything else of the subject, where the caller may know whose the command was.
pub(crate) fn of_erased(error: NodeError, erased: Option<SealError>) -> NodeError {
    let is_known = match &error {
        NodeError::Refused(refusal) | NodeError::RefusedPart { refusal, .. } => is_known_command(&refusal.error),
        _ => false,
    };
    erased.filter(|_| is_known).map_or(error, NodeError::from)
}

/// Where nobody is told whose command it was, it may be another tenant's.
const fn is_known_command(error: &AppendError) -> bool {
    matches!(error, AppendError::CommandConflict { count: 1.., .. })
}

impl StoreHandle {
    /// Held from the look at a stream type to the answer of its owner. `None`: this node erases nothing, or is one of several that do: there owners are
    /// given what is sealed only (`check_sealed`), and a receipt counts what was acknowledged before.
    pub(crate) async fn appending(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.node.shared.subjects.as_ref().filter(|_| self.parts.replicas.is_none()) {
            Some(subjects) => Some(subjects.gate.read().await),
            None => None,
        }
    }

    /// The batch of one stream as it is stored. Its caller is `appending`.
    pub(crate) async fn sealed(
        &self,
        batch: BatchBytes,
        expected: Expected,
        inspect: bool,
        permit: &Arc<BytePermit>,
    ) -> Result<Sealed, NodeError> {
        let Some(trial) = self.trial(&batch).await? else { return Ok(Sealed::Ready(batch)) };
        if trial.is_final {
            return Ok(Sealed::Ready(trial.batch));
        }
        let permit = Arc::clone(permit);
        let judged = self.submit(trial.batch.clone(), expected, OnError::Abort, true, permit).await;
        let judged = match (judged, trial.erased) {
            (Ok(judged), None) => judged,
            (Ok(_), Some(erased)) => return Err(erased.into()),
            (Err(error), erased) => return Err(of_erased(error, erased)),
        };
        if inspect {
            Ok(Sealed::Judged(trial.batch, Box::new(judged)))
        } else {
            Ok(Sealed::Ready(self.seal(batch).await?))
        }
    }

    /// The batch sealed for a judgement; `None`: its stream type is not erasable.
    pub(crate) async fn trial(&self, batch: &BatchBytes) -> Result<Option<Trial>, NodeError> {
        if self.erasable(batch.view().stream_type()).is_none() {
            return Ok(None);
        }
        let Some(keys) = self.parts.store.subjects().cloned() else { return Ok(None) };
        let (batch, store) = (batch.clone(), self.name().to_owned());
        let sealing = tokio::task::spawn_blocking(move || keys.try_seal(&store, &batch, &random::fill));
        Ok(sealing.await.map_err(|_| NodeError::OutcomeUnknown)??)
    }

    /// The batch sealed with keys that stay, which are made where there are none.
    pub(crate) async fn seal(&self, batch: BatchBytes) -> Result<BatchBytes, NodeError> {
        self.seal_rows(batch, |_, _| true).await
    }

    /// As it is stored where what is refused is left out. Rows that no owner stores for this caller get no key, and nothing is told of their subjects:
    /// their tenant, whose stream it is, and the rules that never change while a store is open, say so.
    pub(crate) async fn seal_what_may_be_stored(&self, batch: BatchBytes) -> Result<BatchBytes, NodeError> {
        let (rules, scope) = (self.parts.store.rules(), self.scope.clone());
        let others = self.streams_of_others(&batch).await?;
        let may_be_stored = move |batch: &BatchBytes, row: usize| {
            let view = batch.view();
            !others.contains(&view.stream_of(row))
                && scope.as_ref().is_none_or(|scope| scope.holds(view.tenant_id(row)))
                && rules.strict.check_row(view, row).is_ok()
        };
        self.seal_rows(batch, may_be_stored).await
    }

    /// Streams of a batch of an erasable type that are there and not this caller's, by their places in it.
    async fn streams_of_others(&self, batch: &BatchBytes) -> Result<BTreeSet<usize>, NodeError> {
        let Some(scope) = self.scope.clone().filter(|_| self.erasable(batch.view().stream_type()).is_some()) else {
            return Ok(BTreeSet::new());
        };
        let (store, batch) = (Arc::clone(&self.parts.store), batch.clone());
        let looking = tokio::task::spawn_blocking(move || store.streams_of_others(&scope, batch.view()));
        let others = looking.await.map_err(|_| NodeError::OutcomeUnknown)?;
        Ok(others.map_err(ReadError::from)?)
    }

    /// The same as [`of_erased`] of rows that were left out of a part that is stored.
    pub(crate) async fn tell_of_erased(&self, batch: BatchBytes, outcome: &mut AppendOutcome) {
        let known = outcome.rejected.iter().filter(|row| is_known_command(&row.error));
        let rows: Vec<u32> = known.map(|row| row.row).collect();
        let Some(keys) = self.parts.store.subjects().cloned().filter(|_| !rows.is_empty()) else { return };
        let store = self.name().to_owned();
        let looking = tokio::task::spawn_blocking(move || keys.erased_rows(&store, &batch, &rows));
        // what is stored is stored, whatever can be said of the rest
        let Ok(Ok(found)) = looking.await else { return };
        for (row, error) in found {
            let left_out = outcome.rejected.iter_mut().filter(|left_out| left_out.row == row);
            left_out.for_each(|left_out| left_out.error = AppendError::SubjectErased { reason: error.to_string() });
        }
    }

    async fn seal_rows(
        &self,
        batch: BatchBytes,
        is_stored: impl Fn(&BatchBytes, usize) -> bool + Send + 'static,
    ) -> Result<BatchBytes, NodeError> {
        if self.erasable(batch.view().stream_type()).is_none() {
            return Ok(batch);
        }
        let Some(keys) = self.parts.store.subjects().cloned() else { return Ok(batch) };
        let store = self.name().to_owned();
        let sealing = tokio::task::spawn_blocking(move || {
            keys.seal_rows(&store, &batch, &random::fill, &|row| is_stored(&batch, row))
        });
        Ok(sealing.await.map_err(|_| NodeError::OutcomeUnknown)??)
    }
}
