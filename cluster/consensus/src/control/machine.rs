//! The meta group's state behind its log: applies commands in order, and keeps what became of the last ones for who proposed them.
//!
//! A command that this program does not know is an end: it waits there for ever rather than go on behind it.

use crate::machine::{Applied, EntryId, Machine, Pointer};
use crate::meta::{Command, MetaState, Outcome, Refusal};
use crate::transport::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_wal::LeaderId;
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
}

/// The state of the meta group on a node.
#[derive(Debug)]
pub struct MetaMachine {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

impl Default for MetaMachine {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl MetaMachine {
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
    pub(super) fn next(&self) -> Option<(LeaderId, u64)> {
        let inner = self.inner.lock();
        inner.leads.zip(inner.last).map(|(leader, last)| (leader, last.number + 1))
    }

    /// What became of an entry that was proposed here.
    pub(super) fn outcome(&self, number: u64) -> Option<Result<Outcome, Refusal>> {
        self.inner.lock().outcomes.get(&number).cloned()
    }

    /// Why it does not go on; `None`: it does.
    #[must_use]
    pub fn stuck(&self) -> Option<Arc<str>> {
        self.inner.lock().stuck.clone()
    }

    /// `false`: an entry holds what this program does not know.
    fn apply(&self, entry: &Applied) -> bool {
        let mut inner = self.inner.lock();
        let mut outcome = None;
        for (index, payload) in entry.frames() {
            let command = match Command::decode(&payload.whole()) {
                Ok(command) if payload.schema == SCHEMA => command,
                decoded => {
                    let why = decoded.map_or_else(|e| e.to_string(), |_| "a later form of commands".to_owned());
                    inner.stuck = Some(Arc::from(why));
                    return false;
                }
            };
            outcome = Some(inner.state.apply_of(entry.id.leader.node, index.0, &command));
        }
        inner.last = Some(entry.id);
        if let Some(outcome) = outcome {
            inner.outcomes.insert(entry.id.number, outcome);
            if inner.outcomes.len() > KEPT {
                inner.outcomes.pop_first();
            }
        }
        true
    }
}

impl Machine for MetaMachine {
    fn opened_through(&self) -> Option<EntryId> {
        // its log is never cut off: it is replayed whole
        None
    }

    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for entry in &entries {
                if !self.apply(entry) {
                    let why = self.stuck().unwrap_or_default();
                    tracing::error!("the meta group stops at entry {}: {why}", entry.id.number);
                    self.changed.send_modify(|changes| *changes += 1);
                    std::future::pending::<()>().await;
                }
            }
            self.changed.send_modify(|changes| *changes += 1);
        })
    }

    fn leads(&self, first: Option<EntryId>) {
        self.inner.lock().leads = first.map(|first| first.leader);
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn install(&self, pointer: Pointer) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let state = MetaState::decode(&pointer.body).map_err(|error| error.to_string())?;
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
        late.install(Pointer { through: entry(3, None).id, body: body.clone() }).await.unwrap();
        assert_eq!(late.state().encode(), body);
        assert!(late.install(Pointer { through: entry(3, None).id, body: vec![1] }).await.is_err());
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
