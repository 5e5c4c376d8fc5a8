//! Bulk appends: many streams of many types in one body, judged as a whole where nothing of it may be stored if a part is refused.

use crate::error::NodeError;
use crate::permits::BytePermit;
use crate::store::StoreHandle;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_engine::append::{AppendError, AppendOutcome, Expected, OnError, Refusal};
use strandline_event::{BatchBytes, LogKey, limits};

impl StoreHandle {
    /// Appends batches of many streams, one a log, as [`by_owner`](Self::by_owner) gives them. Under `Abort` all of them are
    /// checked before any is stored: what is left is a race with another writer, or an owner that cannot. The outer error:
    /// nothing was stored. Inner ones: that owner's part was not.
    ///
    /// # Errors
    /// The first refusal of the whole body; too many new stream types; `Overloaded`; `Draining`.
    pub async fn append_bulk(
        &self,
        batches: Vec<BatchBytes>,
        on_error: OnError,
        permit: Arc<BytePermit>,
    ) -> Result<Vec<Result<AppendOutcome, NodeError>>, NodeError> {
        self.node.check_serving()?;
        let batches = batches.into_iter().map(|batch| self.own(batch)).collect::<Result<Vec<_>, _>>()?;
        let _appending = self.appending().await;
        let logs = batches.iter().filter_map(|batch| self.parts.store.owner_of_batch(batch.view()));
        self.check_new_logs(&logs.filter(|log| self.is_new_log(log)).collect())?;
        let sealed = match on_error {
            OnError::Abort => self.checked(batches, &permit).await?,
            OnError::Skip => {
                let mut sealed = Vec::with_capacity(batches.len());
                for batch in batches {
                    sealed.push(self.seal_what_may_be_stored(batch).await?);
                }
                sealed
            }
        };
        let parts =
            sealed.into_iter().map(|batch| self.submit(batch, Expected::Any, on_error, false, Arc::clone(&permit)));
        Ok(join_all(parts).await)
    }

    /// A whole body that was judged, as it is stored.
    async fn checked(&self, batches: Vec<BatchBytes>, permit: &Arc<BytePermit>) -> Result<Vec<BatchBytes>, NodeError> {
        let (mut sealed, mut new, mut erased) = (Vec::with_capacity(batches.len()), Vec::new(), None);
        for (at, batch) in batches.iter().enumerate() {
            let trial = self.trial(batch).await?;
            if trial.as_ref().is_some_and(|trial| !trial.is_final) {
                new.push(at);
            }
            let (batch, of_erased) = trial.map_or((batch.clone(), None), |trial| (trial.batch, trial.erased));
            erased = erased.or(of_erased);
            sealed.push(batch);
        }
        self.check_all(&sealed, &new, permit).await?;
        if let Some(erased) = erased {
            return Err(erased.into());
        }
        for (at, batch) in batches.into_iter().enumerate().filter(|(at, _)| new.contains(at)) {
            sealed[at] = self.seal(batch).await?;
        }
        Ok(sealed)
    }

    /// Judges a whole body by dry runs, and stores nothing. A part is asked about only where its owner can tell more than its
    /// rows do: a row that breaks a rule may belong to a command that was stored under an older one, and a row with a client's
    /// seq, event id or command may not fit what is stored. A body of one part is judged when it is stored, by the same owner; `new`: parts that need
    /// keys, which are made for none that is refused.
    async fn check_all(
        &self,
        batches: &[BatchBytes],
        new: &[usize],
        permit: &Arc<BytePermit>,
    ) -> Result<(), NodeError> {
        for batch in batches {
            self.check_stream_type(batch.view().stream_type())?;
        }
        let rules = self.parts.store.rules();
        let unsure = |batch: &BatchBytes| {
            rules.strict.check_batch(batch.view()).is_err() || (batches.len() > 1 && rules.can_conflict(batch.view()))
        };
        let is_asked = |(at, batch): &(usize, &BatchBytes)| new.contains(at) || unsure(batch);
        let dry_runs = batches.iter().enumerate().filter(is_asked).map(|(at, batch)| async move {
            (at, self.submit(batch.clone(), Expected::Any, OnError::Abort, true, Arc::clone(permit)).await)
        });
        for (at, judged) in join_all(dry_runs).await {
            match judged {
                Ok(_) => {}
                Err(NodeError::Refused(Refusal { row: Some(row), error: AppendError::Strict(violation) })) => {
                    return Err(NodeError::Strict { batch: at, row, violation });
                }
                Err(NodeError::Refused(refusal)) => return Err(NodeError::RefusedPart { batch: at, refusal }),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether there is no such log yet.
    pub(crate) fn is_new_log(&self, log: &LogKey) -> bool {
        self.parts.table.get(log).is_none()
    }

    /// Refuses a request that would make so many logs, before it makes any.
    pub(crate) fn check_new_logs(&self, new: &BTreeSet<LogKey>) -> Result<(), NodeError> {
        let (there, most) = (self.parts.store.logs().len(), limits::STREAM_TYPES_MAX);
        let descriptors = &self.node.shared.descriptors;
        let types: BTreeSet<&str> = new.iter().map(|log| &*log.stream_type).collect();
        if types.len() > limits::NEW_STREAM_TYPES_MAX {
            return Err(NodeError::TooManyNewTypes { found: types.len(), limit: limits::NEW_STREAM_TYPES_MAX });
        }
        if !new.is_empty() && there + new.len() > most {
            return Err(NodeError::TooManyStreamTypes { store: self.name().to_owned(), limit: most });
        }
        if !new.is_empty() && self.parts.store.has_log() && new.len() as u64 > descriptors.room() {
            return Err(NodeError::NoDescriptors { limit: descriptors.limit() });
        }
        Ok(())
    }
}
