//! Bulk appends: many streams of many types in one body, judged as a whole where nothing of it may be stored if a part is refused.

use crate::error::NodeError;
use crate::permits::BytePermit;
use crate::router::check_room;
use crate::sealing::of_erased;
use crate::store::StoreHandle;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use strandline_engine::append::{AppendError, AppendOutcome, Expected, OnError, Refusal};
use strandline_engine::commands::Scope;
use strandline_engine::subjects::SealError;
use strandline_event::{BatchBytes, LogKey, limits};

/// A part of a body that is judged before anything of the body is stored.
struct Tried {
    /// Sealed on trial, where its stream type is erasable and this node seals it.
    batch: BatchBytes,
    then: Then,
    /// It is not stored, whatever is judged of it.
    erased: Option<SealError>,
}

/// How a part is stored once the body is judged.
enum Then {
    /// As it was tried.
    AsTried,
    /// As it came, sealed with keys that are made for it: for one that is refused there are none.
    Sealed(BatchBytes),
    /// Another node seals it: `NotLeader`.
    Elsewhere(NodeError),
}

impl StoreHandle {
    /// Appends batches of many streams, one a log, as [`by_owner`](Self::by_owner) gives them. Under `Abort` all of them are
    /// checked before any is stored: what is left is a race with another writer, an owner that cannot, or one of another node, which
    /// is not asked: its part is `NotLeader`, once this node has found nothing in it that is other tenants'. The outer error:
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
        // that of its first stream: a batch that is of several goes to none of them
        let log_of = |batch: &BatchBytes| {
            let view = batch.view();
            self.parts.store.owner_of(view.stream_type(), view.stream(0))
        };
        self.check_new_logs(&batches.iter().map(log_of).filter(|log| self.is_new_log(log)).collect())?;
        let shared = self.shared_command(&batches);
        if let Some((batch, refusal)) = shared.clone().filter(|_| on_error == OnError::Abort) {
            return Err(NodeError::RefusedPart { batch, refusal });
        }
        let sealed = match on_error {
            OnError::Abort => self.checked(batches, &permit).await?,
            OnError::Skip => {
                let mut sealed = Vec::with_capacity(batches.len());
                for batch in batches {
                    sealed.push(match self.sealed_elsewhere(&batch) {
                        Some(by_another) => Err(by_another),
                        None => Ok(self.seal_what_may_be_stored(batch).await?),
                    });
                }
                sealed
            }
        };
        if shared.is_some() {
            // one after the other: the first part that names a command has it
            let mut parts = Vec::with_capacity(sealed.len());
            for batch in sealed {
                parts.push(self.submit_part(batch, on_error, &permit).await);
            }
            return Ok(parts);
        }
        Ok(join_all(sealed.into_iter().map(|batch| self.submit_part(batch, on_error, &permit))).await)
    }

    async fn submit_part(
        &self,
        batch: Result<BatchBytes, NodeError>,
        on_error: OnError,
        permit: &Arc<BytePermit>,
    ) -> Result<AppendOutcome, NodeError> {
        let batch = batch?;
        let is_asked = on_error == OnError::Skip && self.erasable(batch.view().stream_type()).is_some();
        let asked = is_asked.then(|| batch.clone());
        let mut outcome = self.submit(batch, Expected::Any, on_error, false, Arc::clone(permit)).await?;
        if let Some(batch) = asked {
            self.tell_of_erased(batch, &mut outcome).await;
        }
        Ok(outcome)
    }

    /// `NotLeader`, of a batch that another node seals, since it leads its log: nothing is made or told of its subjects here, which may be ones that
    /// its caller may not know of.
    fn sealed_elsewhere(&self, batch: &BatchBytes) -> Option<NodeError> {
        self.erasable(batch.view().stream_type())?;
        self.led_elsewhere(batch)
    }

    /// Where command ids are unique in the store as a whole: the first row that names the id of an earlier part, whose streams have another
    /// owner: not both can be stored.
    fn shared_command(&self, batches: &[BatchBytes]) -> Option<(usize, Refusal)> {
        if batches.len() < 2 || self.parts.store.rules().scope != Scope::Store {
            return None;
        }
        let mut named: HashMap<&str, (usize, &str)> = HashMap::new();
        for (at, batch) in batches.iter().enumerate() {
            let view = batch.view();
            for row in 0..view.rows() {
                let Some(command_id) = view.command_id(row) else { continue };
                let (first, stream_type) = *named.entry(command_id).or_insert((at, view.stream_type()));
                if first != at {
                    let (command_id, stream_type) = (command_id.to_owned(), Arc::from(stream_type));
                    let error = AppendError::CommandElsewhere { command_id, stream_type };
                    return Some((at, Refusal { row: Some(row as u32), error }));
                }
            }
        }
        None
    }

    /// A whole body that was judged, as it is stored; `NotLeader` in the place of a part that another node seals.
    async fn checked(
        &self,
        batches: Vec<BatchBytes>,
        permit: &Arc<BytePermit>,
    ) -> Result<Vec<Result<BatchBytes, NodeError>>, NodeError> {
        let mut parts = Vec::with_capacity(batches.len());
        for batch in batches {
            parts.push(self.tried(batch).await?);
        }
        let judged = self.check_all(&parts, permit).await;
        if let Err(error) = judged {
            let refused = if let NodeError::RefusedPart { batch, .. } = &error { parts.get_mut(*batch) } else { None };
            let erased = refused.and_then(|part| part.erased.take());
            return Err(of_erased(error, erased));
        }
        if let Some(erased) = parts.iter_mut().find_map(|part| part.erased.take()) {
            return Err(erased.into());
        }
        let mut sealed = Vec::with_capacity(parts.len());
        for Tried { batch, then, .. } in parts {
            sealed.push(match then {
                Then::AsTried => Ok(batch),
                Then::Sealed(batch) => Ok(self.seal(batch).await?),
                Then::Elsewhere(by_another) => Err(by_another),
            });
        }
        Ok(sealed)
    }

    /// A part on trial.
    async fn tried(&self, batch: BatchBytes) -> Result<Tried, NodeError> {
        if let Some(by_another) = self.sealed_elsewhere(&batch) {
            return Ok(Tried { batch, then: Then::Elsewhere(by_another), erased: None });
        }
        Ok(match self.trial(&batch).await? {
            None => Tried { batch, then: Then::AsTried, erased: None },
            Some(trial) => {
                let then = if trial.is_final { Then::AsTried } else { Then::Sealed(batch) };
                Tried { batch: trial.batch, then, erased: trial.erased }
            }
        })
    }

    /// Judges a whole body by dry runs, and stores nothing. A part is asked about only where its owner can tell more than its
    /// rows do: a row that breaks a rule may belong to a command that was stored under an older one, and a row with a client's
    /// seq, event id or command may not fit what is stored, and to a caller that is limited to tenants a stream may not belong. A body of one part is
    /// judged when it is stored, by the same owner, unless it needs keys, which are made for none that is refused: a limited caller is told the same way
    /// where the keys are there, else it would learn which subjects have one.
    async fn check_all(&self, parts: &[Tried], permit: &Arc<BytePermit>) -> Result<(), NodeError> {
        let (rules, has_others, is_limited) = (self.parts.store.rules(), parts.len() > 1, self.is_limited());
        let (mut asked, mut led_by_others) = (Vec::new(), Vec::new());
        for (at, Tried { batch, then, .. }) in parts.iter().enumerate() {
            let view = batch.view();
            self.check_stream_type(view.stream_type())?;
            let broken = rules.strict.check_batch(view).err();
            let is_unsure = broken.is_some()
                || (has_others && (is_limited || rules.can_conflict(view)))
                || (is_limited && self.erasable(view.stream_type()).is_some());
            let is_elsewhere = || matches!(then, Then::Elsewhere(_)) || self.led_elsewhere(batch).is_some();
            if matches!(then, Then::Sealed(_)) || (is_unsure && !is_elsewhere()) {
                asked.push((at, batch));
                continue;
            }
            if has_others && is_limited {
                led_by_others.push((at, batch));
            }
            if let Some((row, violation)) = broken
                && has_others
                && view.chunk().is_none()
                && !rules.can_conflict(view)
            {
                // by what is stored another node judges what it leads; nothing that is stored makes this row right, and by then others have
                // stored their parts
                return Err(NodeError::Strict { batch: at, row, violation });
            }
        }
        for (at, batch) in led_by_others {
            self.check_whose(at, batch).await?;
        }
        let dry_runs = asked.into_iter().map(|(at, batch)| async move {
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

    /// Refuses a body for a part that another node leads, by what this node has of that log: its leader would refuse it too, when others have stored
    /// their parts. What is not known here, or cannot be read, is left to the leader.
    async fn check_whose(&self, at: usize, batch: &BatchBytes) -> Result<(), NodeError> {
        let Some(scope) = self.scope.clone() else { return Ok(()) };
        let (store, batch) = (Arc::clone(&self.parts.store), batch.clone());
        let looking = tokio::task::spawn_blocking(move || store.row_of_others(&scope, batch.view()));
        match looking.await.map_err(|_| NodeError::Defect)? {
            Ok(Some(refusal)) => Err(NodeError::RefusedPart { batch: at, refusal }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Whether there is no such log yet: one that other nodes hold is none that this one would make.
    pub(crate) fn is_new_log(&self, log: &LogKey) -> bool {
        let is_elsewhere = || self.parts.replicas.as_ref().is_some_and(|replicas| replicas.lacks(log));
        self.parts.table.get(log).is_none() && !is_elsewhere()
    }

    /// Refuses a request that would make so many logs, before it makes any.
    pub(crate) fn check_new_logs(&self, new: &BTreeSet<LogKey>) -> Result<(), NodeError> {
        if new.is_empty() {
            return Ok(());
        }
        let descriptors = &self.node.shared.descriptors;
        let types: BTreeSet<&str> = new.iter().map(|log| &*log.stream_type).collect();
        if types.len() > limits::NEW_STREAM_TYPES_MAX {
            return Err(NodeError::TooManyNewTypes { found: types.len(), limit: limits::NEW_STREAM_TYPES_MAX });
        }
        check_room(&self.stream_types(), &self.parts.store, new)?;
        if self.parts.store.has_log() && new.len() as u64 > descriptors.room() {
            return Err(NodeError::NoDescriptors { limit: descriptors.limit() });
        }
        Ok(())
    }
}
