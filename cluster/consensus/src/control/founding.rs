//! Who makes the logs of a new stream type. By the rule of the state it is the leader of the meta group where that has a vote, else the voter with the
//! smallest id; and nobody else makes one while that node takes part (`unmade`). So a log whose maker is away would have no leader before that node is back: the leader says in the
//! command who is away, where that makes a difference.

use super::Control;
use super::compacting::GONE;
use crate::meta::{Command, MetaState};
use crate::transport::NodeId;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strandline_wal::LeaderId;

/// The command as its leader proposes it, which has not heard from each node for so long.
fn beside<'a>(
    state: &MetaState,
    leader: NodeId,
    command: &'a Command,
    silent: &BTreeMap<NodeId, Duration>,
) -> Cow<'a, Command> {
    let Command::RegisterType { store, name, buckets, erasable, registered } = command else {
        return Cow::Borrowed(command);
    };
    let gone = |(node, time): (&NodeId, &Duration)| (*node != leader && *time > GONE).then_some(*node);
    let away: BTreeSet<NodeId> = silent.iter().filter_map(gone).collect();
    if away.is_empty() || state.buckets_of(store, name).is_some() {
        return Cow::Borrowed(command);
    }
    let mut then = state.clone();
    // what is refused makes no logs
    let _ = then.apply_of(LeaderId { term: 0, node: leader }, state.applied() + 1, command);
    let new = then.groups().iter().filter(|(group, _)| !state.groups().contains_key(*group));
    let mut founders = new.filter_map(|(_, placement)| placement.founder);
    if !founders.any(|node| away.contains(&node)) {
        return Cow::Borrowed(command);
    }
    Cow::Owned(Command::RegisterWithout {
        store: store.clone(),
        name: name.clone(),
        buckets: *buckets,
        erasable: *erasable,
        registered: *registered,
        away,
    })
}

impl Control {
    /// A command that this node proposes as the leader, and who is away where it makes logs.
    pub(super) fn beside_who_is_away<'a>(&self, command: &'a Command) -> Cow<'a, Command> {
        // nothing else makes logs, and who is silent costs every other command a look
        if !matches!(command, Command::RegisterType { .. }) {
            return Cow::Borrowed(command);
        }
        let silent = self.parts.meta.silent();
        self.with_state(|state| beside(state, self.node(), command, &silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixtures::{cluster_of, tell};
    use crate::meta::Erasable;
    use crate::transport::GroupId;
    use strandline_event::LogKey;

    fn register(buckets: u32) -> Command {
        let (store, name) = ("a".to_owned(), "T".to_owned());
        Command::RegisterType { store, name, buckets, erasable: Erasable::No, registered: true }
    }

    /// Who makes each bucket's log, as it is proposed where these nodes have been silent for so many seconds; and whether that says who is away.
    fn founders(leader: NodeId, buckets: u32, away: &[(NodeId, u64)]) -> (Vec<Option<NodeId>>, bool) {
        let mut state = cluster_of(&["ingest"; 5]);
        tell(&mut state, &Command::DeclareStore { replaces: 0, name: "a".into(), statement: "s".into() });
        let mut silent: BTreeMap<NodeId, Duration> = (1..=5).map(|node| (node, Duration::ZERO)).collect();
        silent.extend(away.iter().map(|(node, seconds)| (*node, Duration::from_secs(*seconds))));
        let command = register(buckets);
        let proposed = beside(&state, leader, &command, &silent);
        let said = matches!(*proposed, Command::RegisterWithout { .. });
        let by = LeaderId { term: 1, node: leader };
        state.apply_of(by, state.applied() + 1, &Command::decode(&proposed.encode()).unwrap()).unwrap();
        // who has it registered once more changes nothing, whoever is away
        let again = beside(&state, leader, &command, &silent);
        assert_eq!(*again, command);
        let founder = |bucket| {
            let log = LogKey { bucket, ..LogKey::single("T") };
            state.groups()[&GroupId::Log { store: "a".into(), log }].founder
        };
        ((0..buckets).map(founder).collect(), said)
    }

    #[test]
    fn a_log_is_made_by_a_voter_that_is_there() {
        // the logs of five nodes: 1, 2, 3, then 1, 4, 5
        assert_eq!(founders(5, 2, &[]), (vec![Some(1), Some(5)], false));
        assert_eq!(founders(5, 1, &[(1, 60)]), (vec![Some(2)], true));
        assert_eq!(founders(5, 2, &[(1, 60), (2, 60)]), (vec![Some(3), Some(5)], true));
        // one that starts again makes its logs then
        assert_eq!(founders(5, 1, &[(1, 4)]), (vec![Some(1)], false));
        // it makes no difference
        assert_eq!(founders(5, 1, &[(2, 60), (4, 60)]), (vec![Some(1)], false));
        assert_eq!(founders(2, 1, &[(1, 60)]), (vec![Some(2)], false));
        // there is nobody else
        assert_eq!(founders(5, 1, &[(1, 60), (2, 60), (3, 60)]), (vec![Some(1)], true));
    }
}
