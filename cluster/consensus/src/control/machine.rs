//! The meta group's state behind its log: applies commands in order, and keeps what became of the last ones for who proposed them.
//!
//! It keeps its state beside the log ([`kept`](super::kept)), so that the log can be cut off.
//!
//! A command that this program does not know is an end: it waits there for ever rather than go on behind it.

use super::kept::{Keep, Kept};
use crate::machine::{Applied, EntryId, Machine, Pointer};
use crate::meta::{Command, MetaState, Outcome, Refusal};
use crate::transport::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use strandline_wal::{Last, LeaderId, Membership};
use tokio::sync::watch;

/// Version of the payloads: commands of `META.md`.
pub(super) const SCHEMA: u16 = 1;
/// Outcomes that are kept for their proposers.
const KEPT: usize = 1_024;

#[derive(Debug, Default)]
struct Inner {
    state: MetaState,
    last: Option<EntryId>,
    outcomes: BTreeMap<u64, Result<Outcome, Refusal>>,
    leads: Option<LeaderId>,
    stuck: Option<Arc<str>>,
    /// Number of the last entry of what is kept.
    kept: Option<u64>,
}

/// The state of the meta group on a node.
pub struct MetaMachine {
    inner: Mutex<Inner>,
    /// What it began with: the last entry in it, and who belonged to the group then, where that was kept.
    opened: Option<(EntryId, Option<(Membership, Last)>)>,
    /// Where its state is kept; none: nowhere, and its log stays whole.
    keep: Option<Arc<dyn Keep>>,
    changed: watch::Sender<u64>,
}

impl Default for MetaMachine {
    fn default() -> Self {
        Self { inner: Mutex::default(), opened: None, keep: None, changed: watch::Sender::new(0) }
    }
}

impl fmt::Debug for MetaMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaMachine").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl MetaMachine {
    pub(super) fn over(keep: Box<dyn Keep>, kept: Option<Kept>) -> Self {
        let opened = kept.as_ref().map(|kept| (kept.through, kept.members.clone()));
        let (last, number) = (kept.as_ref().map(|kept| kept.through), kept.as_ref().map(|kept| kept.through.number));
        let state = kept.map(|kept| kept.state).unwrap_or_default();
        let inner = Mutex::new(Inner { state, last, kept: number, ..Inner::default() });
        Self { inner, opened, keep: Some(Arc::from(keep)), changed: watch::Sender::new(0) }
    }

    /// Durable on return; `None`: nothing is kept by this machine.
    async fn keep(&self, kept: Kept) -> Option<io::Result<()>> {
        let keep = Arc::clone(self.keep.as_ref()?);
        let number = kept.through.number;
        let writing = tokio::task::spawn_blocking(move || keep.write(&kept.encode()));
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if written.is_ok() {
            self.inner.lock().kept = Some(number);
        }
        Some(written)
    }

    /// The folder says from now on that it must not be gone on with; durable on return.
    pub(super) async fn forsake(&self, why: Arc<str>) -> io::Result<()> {
        let Some(keep) = self.keep.clone() else { return Ok(()) };
        let writing = tokio::task::spawn_blocking(move || keep.forsake(&why));
        writing.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The state as far as it has been applied.
    #[must_use]
    pub fn state(&self) -> MetaState {
        self.inner.lock().state.clone()
    }

    /// Looks at it without a copy.
    pub fn with<T>(&self, look: impl FnOnce(&MetaState) -> T) -> T {
        look(&self.inner.lock().state)
    }

    /// Counts its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether this node leads, and the number that the next entry gets if nothing comes in between.
    pub(crate) fn next(&self) -> Option<(LeaderId, u64)> {
        let inner = self.inner.lock();
        inner.leads.zip(inner.last).map(|(leader, last)| (leader, last.number + 1))
    }

    /// What became of an entry that was proposed here.
    pub(crate) fn outcome(&self, number: u64) -> Option<Result<Outcome, Refusal>> {
        self.inner.lock().outcomes.get(&number).cloned()
    }

    /// Why it does not go on; `None`: it does.
    #[must_use]
    pub fn stuck(&self) -> Option<Arc<str>> {
        self.inner.lock().stuck.clone()
    }

    /// Under which leadership of this node it leads, if it does: everything that was decided before has been applied.
    pub(super) fn office(&self) -> Option<LeaderId> {
        self.inner.lock().leads
    }

    /// `None`: an entry holds what this program does not know. `true`: those who follow the state have something to look at; what is remembered of
    /// subscriptions changes often, and its owner alone asks for it.
    fn apply(&self, entry: &Applied) -> Option<bool> {
        let mut inner = self.inner.lock();
        let (mut outcome, mut tells) = (None, entry.payloads.is_empty());
        for (index, payload) in entry.frames() {
            let command = match Command::decode(&payload.whole()) {
                Ok(command) if payload.schema == SCHEMA => command,
                decoded => {
                    let why = decoded.map_or_else(|e| e.to_string(), |_| "a later form of commands".to_owned());
                    inner.stuck = Some(Arc::from(why));
                    return None;
                }
            };
            tells |= !matches!(command, Command::Remember { .. });
            outcome = Some(inner.state.apply_of(entry.id.leader, index.0, &command));
        }
        inner.last = Some(entry.id);
        if let Some(outcome) = outcome {
            inner.outcomes.insert(entry.id.number, outcome);
            if inner.outcomes.len() > KEPT {
                inner.outcomes.pop_first();
            }
        }
        Some(tells)
    }
}

impl Machine for MetaMachine {
    fn opened_through(&self) -> Option<EntryId> {
        self.opened.as_ref().map(|(through, _)| *through)
    }

    fn opened_members(&self) -> Option<(Membership, Last)> {
        self.opened.as_ref().and_then(|(_, members)| members.clone())
    }

    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut tells = false;
            for entry in &entries {
                if let Some(of_this) = self.apply(entry) {
                    tells |= of_this;
                } else {
                    let why = self.stuck().unwrap_or_default();
                    tracing::error!("the meta group stops at entry {}: {why}", entry.id.number);
                    self.changed.send_modify(|changes| *changes += 1);
                    std::future::pending::<()>().await;
                }
            }
            if tells {
                self.changed.send_modify(|changes| *changes += 1);
            }
        })
    }

    fn leads(&self, first: Option<EntryId>) {
        self.inner.lock().leads = first.map(|first| first.leader);
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>> {
        Box::pin(async {
            let (through, state, kept) = {
                let inner = self.inner.lock();
                let Some(last) = inner.last else { return Ok(None) };
                (last, inner.state.clone(), inner.kept)
            };
            let body = state.encode();
            if kept != Some(through.number) {
                match self.keep(Kept { through, members: None, state }).await {
                    Some(Ok(())) => {}
                    // the log stays as it is, until the next one
                    Some(Err(error)) => {
                        tracing::warn!("the state of the meta group is not kept, so its log is not cut off: {error}");
                        return Ok(None);
                    }
                    None => return Ok(None),
                }
            }
            Ok(Some(Pointer { through, body }))
        })
    }

    fn install(&self, pointer: Pointer, members: Option<(Membership, Last)>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let state = MetaState::decode(&pointer.body).map_err(|error| error.to_string())?;
            let kept = Kept { through: pointer.through, members, state: state.clone() };
            if let Some(Err(error)) = self.keep(kept).await {
                return Err(format!("the state of the meta group is not kept: {error}"));
            }
            let mut inner = self.inner.lock();
            (inner.state, inner.last) = (state, Some(pointer.through));
            inner.outcomes.clear();
            drop(inner);
            self.changed.send_modify(|changes| *changes += 1);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Payload;
    use crate::meta::{Addresses, NodeFacts, Roles};
    use strandline_event::{LogIndex, Micros, SharedBytes};

    fn entry(number: u64, bytes: Option<Vec<u8>>) -> Applied {
        let id = EntryId { leader: LeaderId { term: 1, node: 1 }, number, index: LogIndex(number) };
        let payload = bytes.map(|bytes| Payload::new(SCHEMA, Micros(0), SharedBytes::copy_aligned(&bytes)));
        Applied { id, payloads: payload.into_iter().collect() }
    }

    fn create() -> Command {
        let addresses = Addresses { cluster: "a:1".into(), http: "a:2".into(), native: String::new() };
        let node = NodeFacts { id: 1, instance: 5, roles: Roles::ALL, addresses };
        Command::Create { cluster: 7, replication: 3, node }
    }

    #[tokio::test]
    async fn outcomes_are_kept_for_who_proposed() {
        let machine = MetaMachine::default();
        assert_eq!(machine.next(), None);
        machine.applied(vec![entry(1, None), entry(2, Some(create().encode()))]).await;
        machine.leads(Some(entry(1, None).id));
        assert_eq!(machine.next(), Some((LeaderId { term: 1, node: 1 }, 3)));
        machine.applied(vec![entry(3, Some(Command::Admit(9).encode()))]).await;
        assert_eq!(machine.outcome(2), Some(Ok(Outcome::Changed)));
        assert_eq!(machine.outcome(3), Some(Err(Refusal::UnknownNode(9))));
        assert_eq!(machine.outcome(1), None);
        machine.leads(None);
        assert_eq!(machine.next(), None);
        // a node that is far behind gets the tables
        let body = machine.state().encode();
        let late = MetaMachine::default();
        late.install(Pointer { through: entry(3, None).id, body: body.clone() }, None).await.unwrap();
        assert_eq!(late.state().encode(), body);
        assert!(late.install(Pointer { through: entry(3, None).id, body: vec![1] }, None).await.is_err());
        assert_eq!(late.state().encode(), body);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_of_a_later_program_is_never_passed() {
        let machine = Arc::new(MetaMachine::default());
        machine.applied(vec![entry(1, Some(create().encode()))]).await;
        let mut later = Command::Admit(1).encode();
        later[1] = 200;
        let applying = tokio::spawn({
            let machine = Arc::clone(&machine);
            async move { machine.applied(vec![entry(2, Some(later)), entry(3, Some(Command::Admit(1).encode()))]).await }
        });
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), applying).await;
        assert!(waited.is_err());
        assert!(machine.stuck().unwrap().contains("update it"));
        assert_eq!(machine.state().applied(), 1);
    }
}
