//! Random histories: what must hold after every command, whatever came before.

use crate::cluster::{CLUSTER, Cluster, STORE, facts, group};
use proptest::prelude::*;
use std::collections::BTreeSet;
use strandline_consensus::meta::{Command, Erasable, Followers, GroupId, MetaState, NodeId, NodeState, Outcome, Roles};

const ROLES: [&str; 5] = ["ingest,compact,read", "ingest", "read", "compact", "compact,read"];

fn id() -> impl Strategy<Value = NodeId> {
    1..7_u64
}

fn some_group() -> impl Strategy<Value = GroupId> {
    prop_oneof![Just(GroupId::Meta), (0..3_usize, 0..3_u32).prop_map(|(t, b)| group(["A", "B", "C"][t], b))]
}

#[derive(Clone, Debug)]
enum Step {
    Tell(Command),
    /// The leader of the n-th group that is under way reports.
    Settle(usize),
    /// The n-th group shall be made by this node.
    Found(usize, NodeId),
}

fn step() -> impl Strategy<Value = Step> {
    let node = (1..7_u64, 0..5_usize).prop_map(|(id, roles)| facts(id, ROLES[roles]));
    let register = (0..3_usize, 1..4_u32, any::<bool>()).prop_map(|(t, buckets, registered)| Command::RegisterType {
        store: STORE.into(),
        name: ["A", "B", "C"][t].into(),
        buckets,
        erasable: Erasable::No,
        registered,
    });
    let beside = (0..3_usize, 1..4_u32, prop::collection::btree_set(id(), 0..4)).prop_map(|(t, buckets, away)| {
        let (store, name) = (STORE.into(), ["A", "B", "C"][t].into());
        Command::RegisterWithout { store, name, buckets, erasable: Erasable::No, registered: true, away }
    });
    let declare = (0..3_u64, 0..3_usize).prop_map(|(replaces, text)| Command::DeclareStore {
        replaces,
        name: STORE.into(),
        statement: ["a", "b", "c"][text].into(),
    });
    let create = id().prop_map(|id| Command::Create { cluster: CLUSTER, replication: 3, node: facts(id, "ingest") });
    let moved = (some_group(), id(), id()).prop_map(|(group, from, to)| Command::Move { group, from, to });
    let move_led = (some_group(), id(), id()).prop_map(|(group, from, to)| Command::MoveLead { group, from, to });
    let led = (some_group(), prop::option::of(id())).prop_map(|(group, node)| Command::Lead { group, node });
    let roles = (id(), 0..5_usize).prop_map(|(node, roles)| Command::SetRoles {
        node,
        instance: u128::from(node) << 64,
        roles: Roles::parse(ROLES[roles]).unwrap(),
    });
    let compacts = id().prop_map(|node| Command::Compact { store: STORE.into(), node });
    let pauses = any::<bool>().prop_map(|paused| Command::Pause { store: STORE.into(), paused });
    let follow = (0..3_usize).prop_map(|at| Followers::EACH[at]);
    let keep = any::<bool>().prop_map(|keeps| Command::Keep { store: STORE.into(), keeps });
    let replaced = (id(), id()).prop_map(|(lost, with)| Command::Replace { lost, with });
    prop_oneof![
        4 => node.prop_map(Command::AddNode).prop_map(Step::Tell),
        5 => id().prop_map(Command::Admit).prop_map(Step::Tell),
        2 => register.prop_map(Step::Tell),
        1 => beside.prop_map(Step::Tell),
        1 => declare.prop_map(Step::Tell),
        1 => create.prop_map(Step::Tell),
        3 => moved.prop_map(Step::Tell),
        3 => move_led.prop_map(Step::Tell),
        2 => led.prop_map(Step::Tell),
        2 => id().prop_map(Command::Drain).prop_map(Step::Tell),
        1 => id().prop_map(Command::Undrain).prop_map(Step::Tell),
        2 => id().prop_map(Command::Remove).prop_map(Step::Tell),
        1 => replaced.prop_map(Step::Tell),
        2 => roles.prop_map(Step::Tell),
        2 => compacts.prop_map(Step::Tell),
        1 => pauses.prop_map(Step::Tell),
        2 => follow.prop_map(Command::Follow).prop_map(Step::Tell),
        2 => keep.prop_map(Step::Tell),
        1 => (0..9_u8).prop_map(Command::SetReplication).prop_map(Step::Tell),
        6 => (0..8_usize).prop_map(Step::Settle),
        2 => (0..8_usize, id()).prop_map(|(nth, node)| Step::Found(nth, node)),
    ]
}

fn report(state: &MetaState, nth: usize) -> Option<Command> {
    let open: Vec<_> = state.groups().iter().filter(|(_, p)| !p.is_settled()).collect();
    let (group, p) = open.get(nth % open.len().max(1))?;
    Some(Command::Settled { group: (*group).clone(), epoch: p.epoch, voters: p.voters.clone() })
}

fn found(state: &MetaState, nth: usize, node: NodeId) -> Option<Command> {
    let (group, p) = state.groups().iter().nth(nth % state.groups().len().max(1))?;
    Some(Command::Found { group: group.clone(), epoch: p.epoch, node })
}

/// What a command may not do, from the two states alone.
fn check_step(before: &MetaState, after: &MetaState, command: &Command) {
    for (group, was) in before.groups() {
        let is = &after.groups()[group];
        let shrinks = matches!(command, Command::SetReplication(_)) || *group == GroupId::Meta;
        assert!(shrinks || is.voters.len() >= was.voters.len(), "{command:?}: {group} has fewer voters");
        // nobody who may vote is forgotten before the leader has said that it does not
        let could: BTreeSet<_> = was.voters.union(&was.leaving).copied().collect();
        let can: BTreeSet<_> = is.voters.union(&is.leaving).copied().collect();
        assert!(matches!(command, Command::Settled { .. }) || could.is_subset(&can), "{command:?}: {group}");
        assert!(is.epoch >= was.epoch, "{command:?}: {group}");
        let moved = is.voters != was.voters || is.learners != was.learners || is.leads != was.leads;
        assert_eq!(moved, is.epoch > was.epoch, "{command:?}: {group}");
        // nothing that places replicas by itself chooses who shall lead, or takes that away from a voter
        let asked = matches!(command, Command::Lead { .. } | Command::MoveLead { .. });
        let may = asked || is.leads == was.leads || was.leads.is_some_and(|node| !is.voters.contains(&node));
        assert!(may, "{command:?}: {group} shall be led by another node");
        let is_lost = was.founder.is_some_and(|node| before.nodes()[&node].state == NodeState::Removed);
        let may = matches!(command, Command::Found { .. }) && is_lost && !was.is_established();
        assert!(may || is.founder == was.founder, "{command:?}: {group} is made by another node");
    }
    for (name, was) in before.stores() {
        let is = &after.stores()[name];
        assert!(is.paused == was.paused || matches!(command, Command::Pause { .. }), "{command:?}: {name}");
        let says = matches!(command, Command::Keep { .. } | Command::Follow(_) | Command::Remember { .. });
        assert!(is.office == was.office || says, "{command:?}: {name}");
        assert!(is.compactor_epoch >= was.compactor_epoch, "{command:?}: {name}");
        assert_eq!(is.compactor != was.compactor, is.compactor_epoch > was.compactor_epoch, "{command:?}: {name}");
    }
    for (id, was) in before.nodes() {
        let is = &after.nodes()[id];
        assert!(was.state != NodeState::Removed || was == is, "{command:?}: node {id} came back");
        assert_eq!(was.facts.instance, is.facts.instance, "{command:?}: node {id} has another folder");
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_rules(replication in 1..5_u8, steps in prop::collection::vec(step(), 1..120)) {
        let mut cluster = Cluster::of(1, replication);
        let (mut log, mut images) = (Vec::new(), Vec::new());
        let start = cluster.state.clone();
        for step in steps {
            let command = match step {
                Step::Tell(command) => Some(command),
                Step::Settle(nth) => report(&cluster.state, nth),
                Step::Found(nth, node) => found(&cluster.state, nth, node),
            };
            let Some(command) = command else { continue };
            images.push(cluster.state.encode());
            let before = cluster.state.clone();
            // checks the invariants, that a refusal changes nothing, and that a repetition does not either
            let outcome = cluster.tell(&command);
            if outcome == Ok(Outcome::Changed) {
                check_step(&before, &cluster.state, &command);
            }
            prop_assert_eq!(Command::decode(&command.encode()).unwrap(), command.clone());
            log.push(command);
        }
        // a node that gets a snapshot on the way, and one that applies all, end alike
        for (at, image) in images.iter().enumerate().step_by(7).chain([(0, &start.encode())]) {
            let mut late = MetaState::decode(image).unwrap();
            prop_assert_eq!(&late.encode(), image);
            for command in &log[at..] {
                let _ = late.apply(late.applied() + 1, command);
            }
            prop_assert_eq!(late.encode(), cluster.state.encode());
        }
    }

    #[test]
    fn a_member_can_always_be_emptied_where_another_can_take_its_place(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::of(1, 3);
        for step in steps {
            if let Step::Tell(command) = step {
                let _ = cluster.tell(&command);
            }
        }
        // as many fresh voters as a log may have: then any other node can go
        for id in 11..18 {
            cluster.join(id, "ingest");
        }
        let old: Vec<_> = cluster.state.nodes().values().filter(|e| e.facts.id < 10).cloned().collect();
        for entry in old {
            if entry.state == NodeState::Member {
                prop_assert_eq!(cluster.tell(&Command::Drain(entry.facts.id)), Ok(Outcome::Changed));
            }
        }
        cluster.settle();
    }
}
