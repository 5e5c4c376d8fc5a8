//! A state under test: applies commands one after another and asks after each one whether all that must hold holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_consensus::meta::{
    Addresses, Command, Erasable, GroupId, MetaState, NodeFacts, NodeId, Outcome, Refusal, Roles,
};
use strandline_event::LogKey;
use strandline_wal::LeaderId;

pub(crate) const CLUSTER: u128 = 0x1234_5678_9abc_def0;
pub(crate) const STORE: &str = "orders";

pub(crate) fn facts(id: u64, roles: &str) -> NodeFacts {
    let at = |port: u64| format!("node{id}:{port}");
    NodeFacts {
        id,
        instance: u128::from(id) << 64,
        roles: Roles::parse(roles).unwrap(),
        addresses: Addresses { cluster: at(7072), http: at(7070), native: at(7071) },
    }
}

pub(crate) fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().collect()
}

pub(crate) fn group(stream_type: &str, bucket: u32) -> GroupId {
    GroupId::Log { store: STORE.into(), log: LogKey { stream_type: stream_type.into(), bucket } }
}

pub(crate) fn register(name: &str, buckets: u32) -> Command {
    Command::RegisterType { store: STORE.into(), name: name.into(), buckets, erasable: Erasable::No, registered: true }
}

/// By who leads in these histories.
pub(crate) fn remember(turn: u64, name: &str, value: &[u8]) -> Command {
    let entries = vec![(name.to_owned(), Arc::from(value))];
    Command::Remember { store: STORE.into(), owner: LeaderId::default(), turn, entries }
}

pub(crate) struct Cluster {
    pub(crate) state: MetaState,
}

impl Cluster {
    /// Node 1 alone has made the cluster.
    pub(crate) fn made(replication: u8) -> Self {
        let mut cluster = Self { state: MetaState::default() };
        cluster.done(&Command::Create { cluster: CLUSTER, replication, node: facts(1, "ingest,compact,read") });
        cluster
    }

    /// Nodes 1 to `count`, with the store.
    pub(crate) fn of(count: u64, replication: u8) -> Self {
        let mut cluster = Self::made(replication);
        for id in 2..=count {
            cluster.join(id, "ingest,compact,read");
        }
        cluster.done(&Command::DeclareStore { replaces: 0, name: STORE.into(), statement: "a".into() });
        cluster
    }

    pub(crate) fn join(&mut self, id: u64, roles: &str) {
        self.done(&Command::AddNode(facts(id, roles)));
        self.done(&Command::Admit(id));
    }

    pub(crate) fn tell(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        let before = self.state.clone();
        let index = before.applied() + 1;
        let result = self.state.apply(index, command);
        self.state.check().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        if result != Ok(Outcome::Changed) {
            let mut unchanged = before.clone();
            // the index counts, nothing else
            let _ = unchanged.apply(index, &Command::Admit(u64::MAX));
            assert_eq!(self.state, unchanged, "{command:?} changed something: {result:?}");
        } else {
            // who did not hear the answer says it again
            let mut again = self.state.clone();
            assert_eq!(again.apply(index + 1, command), Ok(Outcome::AsBefore), "{command:?} again");
        }
        result
    }

    pub(crate) fn done(&mut self, command: &Command) {
        assert_eq!(self.tell(command), Ok(Outcome::Changed), "{command:?}");
    }

    /// Refused; the sentence.
    pub(crate) fn refused(&mut self, command: &Command) -> String {
        match self.tell(command) {
            Err(refusal) => refusal.to_string(),
            Ok(outcome) => panic!("{command:?} is not refused: {outcome:?}"),
        }
    }

    pub(crate) fn voters(&self, group: &GroupId) -> Vec<u64> {
        self.state.groups()[group].voters.iter().copied().collect()
    }

    /// Every leader has brought its group where it shall be.
    pub(crate) fn settle(&mut self) {
        // one after the other: what the leader of the meta group reports may change others
        while let Some((group, p)) = self.state.groups().iter().find(|(_, p)| !p.is_settled()) {
            let report = Command::Settled { group: group.clone(), epoch: p.epoch, voters: p.voters.clone() };
            self.done(&report);
        }
    }
}
