//! How nodes come, go and are replaced.

use crate::cluster::{CLUSTER, Cluster, STORE, facts, group, nodes, register};
use strandline_consensus::meta::{Addresses, Command, GroupId, MetaState, NodeState, Outcome, Refusal, Roles};

#[test]
fn nothing_is_done_before_there_is_a_cluster() {
    let mut cluster = Cluster { state: MetaState::default() };
    assert_eq!(cluster.tell(&Command::Admit(1)), Err(Refusal::NoCluster));
    let node = facts(1, "compact,read");
    let refused = cluster.refused(&Command::Create { cluster: CLUSTER, replication: 3, node });
    assert!(refused.contains("role `ingest`"), "{refused}");
    let node = facts(0, "ingest");
    assert_eq!(cluster.tell(&Command::Create { cluster: CLUSTER, replication: 3, node }), Err(Refusal::NodeZero));
    for replication in [0, 8] {
        let node = facts(1, "ingest");
        let refused = cluster.refused(&Command::Create { cluster: CLUSTER, replication, node });
        assert!(refused.contains("from 1 to 7"), "{refused}");
    }
}

#[test]
fn a_second_cluster_is_refused() {
    let mut cluster = Cluster::made(3);
    for (id, node) in [(CLUSTER, facts(2, "ingest")), (7, facts(1, "ingest"))] {
        let refused = cluster.refused(&Command::Create { cluster: id, replication: 3, node });
        assert!(refused.contains("--join"), "{refused}");
    }
}

#[test]
fn a_joining_node_holds_nothing_until_it_is_admitted() {
    let mut cluster = Cluster::of(1, 3);
    cluster.done(&register("Order", 2));
    cluster.done(&Command::AddNode(facts(2, "ingest")));
    assert_eq!(cluster.voters(&group("Order", 0)), [1]);
    let refused = cluster.refused(&Command::Drain(2));
    assert!(refused.contains("durable.path"), "{refused}");
    cluster.done(&Command::Admit(2));
    assert_eq!(cluster.voters(&group("Order", 1)), [1, 2]);
    assert_eq!(cluster.voters(&GroupId::Meta), [1, 2]);
    // one that was never admitted goes at once
    cluster.done(&Command::AddNode(facts(3, "ingest")));
    cluster.done(&Command::Remove(3));
    assert_eq!(cluster.tell(&Command::AddNode(facts(3, "ingest"))), Err(Refusal::NodeRemoved(3)));
}

#[test]
fn a_cluster_has_so_many_nodes_and_one_that_goes_makes_room() {
    let mut cluster = Cluster::made(1);
    for id in 2..=64 {
        cluster.done(&Command::AddNode(facts(id, "read")));
    }
    let refused = cluster.refused(&Command::AddNode(facts(65, "read")));
    assert!(refused.contains("64 nodes"), "{refused}");
    cluster.done(&Command::Remove(64));
    cluster.done(&Command::AddNode(facts(65, "read")));
}

#[test]
fn a_number_belongs_to_one_data_directory() {
    let mut cluster = Cluster::of(2, 3);
    let mut other = facts(2, "ingest");
    other.instance = 99;
    let refused = cluster.refused(&Command::AddNode(other));
    assert!(refused.contains("another data directory") && refused.contains("replace"), "{refused}");
    // the same folder again is the same node, wherever it is
    let mut moved = facts(2, "ingest,compact,read");
    moved.addresses.cluster = "elsewhere:1".into();
    assert_eq!(cluster.tell(&Command::AddNode(moved)), Ok(Outcome::AsBefore));
    let elsewhere = |instance| Command::Readdress {
        node: 2,
        instance,
        addresses: Addresses { cluster: "b:1".into(), http: "b:2".into(), native: String::new() },
    };
    assert_eq!(cluster.tell(&elsewhere(1)), Err(Refusal::OtherInstance(2)));
    cluster.done(&elsewhere(2 << 64));
    assert_eq!(cluster.state.nodes()[&2].facts.addresses.cluster, "b:1");
}

#[test]
fn an_address_belongs_to_one_node_and_names_a_port() {
    let mut cluster = Cluster::of(2, 3);
    let mut third = facts(3, "ingest");
    third.addresses.cluster = facts(1, "ingest").addresses.cluster;
    let refused = cluster.refused(&Command::AddNode(third.clone()));
    assert!(refused.contains("node 1"), "{refused}");
    for address in ["", "host", "host:", ":1", "host:0", "host:65536", &format!("{}:1", "x".repeat(300))] {
        third.addresses.cluster = address.into();
        let refused = cluster.refused(&Command::AddNode(third.clone()));
        assert!(refused.contains("host:port"), "{address}: {refused}");
    }
}

#[test]
fn a_drained_node_goes_once_nobody_counts_on_it() {
    let mut cluster = Cluster::of(4, 3);
    cluster.done(&register("Order", 4));
    cluster.settle();
    let (two, held) = (2, group("Order", 0));
    let refused = cluster.refused(&Command::Remove(two));
    assert!(refused.contains("drain it first"), "{refused}");
    cluster.done(&Command::Drain(two));
    assert!(!cluster.voters(&held).contains(&2));
    // it may still vote until the leader has reported
    assert_eq!(cluster.state.groups()[&held].leaving, nodes(&[2]));
    let refused = cluster.refused(&Command::Remove(two));
    assert!(refused.contains("replicas that count"), "{refused}");
    cluster.settle();
    cluster.done(&Command::Remove(two));
    assert_eq!(cluster.state.nodes()[&two].state, NodeState::Removed);
    for command in [Command::Drain(two), Command::Undrain(two), Command::Admit(two)] {
        assert_eq!(cluster.tell(&command), Err(Refusal::NodeRemoved(two)));
    }
}

#[test]
fn a_drain_never_makes_a_log_smaller() {
    let mut cluster = Cluster::of(3, 3);
    cluster.done(&register("Order", 1));
    let refused = cluster.refused(&Command::Drain(3));
    assert!(refused.contains("2 voters instead of 3") && refused.contains("join first"), "{refused}");
    cluster.done(&Command::SetReplication(1));
    let refused_last = |cluster: &mut Cluster| cluster.refused(&Command::Drain(3));
    cluster.done(&Command::Drain(1));
    cluster.done(&Command::Drain(2));
    assert!(refused_last(&mut cluster).contains("0 voters instead of 1"));
    cluster.done(&Command::Undrain(2));
    cluster.done(&Command::Drain(3));
    assert_eq!(cluster.voters(&GroupId::Meta), [2]);
}

#[test]
fn a_lost_node_is_replaced_in_every_group() {
    let mut cluster = Cluster::of(3, 3);
    cluster.done(&register("Order", 3));
    cluster.settle();
    let refused = cluster.refused(&Command::Replace { lost: 3, with: 2 });
    assert!(refused.contains("join first"), "{refused}");
    cluster.done(&Command::AddNode(facts(4, "ingest")));
    let refused = cluster.refused(&Command::Replace { lost: 3, with: 4 });
    assert!(refused.contains("still joining"), "{refused}");
    cluster.done(&Command::Admit(4));
    assert!(cluster.refused(&Command::Replace { lost: 3, with: 3 }).contains("another node"));
    assert!(cluster.refused(&Command::Replace { lost: 3, with: 9 }).contains("no node 9"));
    cluster.done(&Command::Replace { lost: 3, with: 4 });
    for bucket in 0..3 {
        assert_eq!(cluster.voters(&group("Order", bucket)), [1, 2, 4]);
    }
    assert_eq!(cluster.voters(&GroupId::Meta), [1, 2, 4]);
    // its old folder does not come back as the voter that it was
    assert_eq!(cluster.tell(&Command::AddNode(facts(3, "ingest"))), Err(Refusal::NodeRemoved(3)));
    cluster.settle();
}

#[test]
fn readers_and_compactors_only_follow() {
    let mut cluster = Cluster::of(3, 3);
    cluster.done(&register("Order", 4));
    cluster.join(4, "read");
    cluster.join(5, "compact");
    cluster.join(6, "compact");
    for bucket in 0..4 {
        let placement = &cluster.state.groups()[&group("Order", bucket)];
        assert_eq!(placement.voters, nodes(&[1, 2, 3]));
        assert_eq!(
            (&placement.learners, placement.founder),
            (&nodes(&[4, 5, 6]), Some(1)),
            "who does not vote follows"
        );
    }
    assert_eq!(cluster.state.groups()[&GroupId::Meta].learners, nodes(&[4, 5, 6]));
    assert!(cluster.refused(&Command::Replace { lost: 3, with: 4 }).contains("role `ingest`"));
    assert!(cluster.refused(&Command::Drain(3)).contains("2 voters instead of 3"), "nobody else votes");
    // a compactor that is lost is replaced by whoever comes
    cluster.done(&Command::Replace { lost: 5, with: 6 });
    cluster.done(&Command::Drain(4));
    cluster.done(&Command::Remove(4));
    cluster.join(7, "ingest");
    cluster.done(&Command::Replace { lost: 3, with: 7 });
    assert_eq!(cluster.voters(&group("Order", 3)), [1, 2, 7]);
}

fn roles(node: u64, roles: &str) -> Command {
    Command::SetRoles { node, instance: u128::from(node) << 64, roles: Roles::parse(roles).unwrap() }
}

#[test]
fn a_node_gets_other_roles_only_where_another_can_vote_in_its_place() {
    let mut cluster = Cluster::of(3, 3);
    cluster.done(&register("Order", 2));
    cluster.settle();
    let refused = cluster.refused(&roles(3, "compact,read"));
    assert!(refused.contains("2 voters instead of 3") && refused.contains("role `ingest`"), "{refused}");
    // what does not touch its vote
    cluster.done(&roles(3, "ingest"));
    assert_eq!(cluster.tell(&roles(3, "ingest")), Ok(Outcome::AsBefore));
    assert_eq!(cluster.voters(&group("Order", 1)), [1, 2, 3]);
    cluster.join(4, "ingest");
    cluster.done(&roles(3, "read"));
    for bucket in 0..2 {
        let placement = &cluster.state.groups()[&group("Order", bucket)];
        assert_eq!((&placement.voters, &placement.learners), (&nodes(&[1, 2, 4]), &nodes(&[3])));
        assert_eq!(placement.leaving, nodes(&[3]), "it may vote until the leader has reported");
    }
    cluster.settle();
    // back, it fills up what has too few voters
    cluster.done(&Command::SetReplication(4));
    assert_eq!(cluster.voters(&group("Order", 0)), [1, 2, 4]);
    cluster.done(&roles(3, "ingest,compact"));
    assert_eq!(cluster.voters(&group("Order", 0)), [1, 2, 3, 4]);
    // for itself alone, and while it takes part
    let other = Command::SetRoles { node: 3, instance: 1, roles: Roles::ALL };
    assert_eq!(cluster.tell(&other), Err(Refusal::OtherInstance(3)));
    cluster.done(&Command::AddNode(facts(5, "read")));
    assert_eq!(cluster.tell(&roles(5, "ingest")), Err(Refusal::StillJoining(5)));
    cluster.done(&Command::Remove(5));
    assert_eq!(cluster.tell(&roles(5, "ingest")), Err(Refusal::NodeRemoved(5)));
}

#[test]
fn a_pause_holds_whoever_compacts() {
    let mut cluster = Cluster::of(3, 3);
    let pause = |paused| Command::Pause { store: STORE.into(), paused };
    let paused = |cluster: &Cluster| cluster.state.stores()[STORE].paused;
    assert_eq!((paused(&cluster), cluster.tell(&pause(false))), (false, Ok(Outcome::AsBefore)));
    cluster.done(&Command::Compact { store: STORE.into(), node: 2 });
    cluster.done(&pause(true));
    assert_eq!(cluster.tell(&pause(true)), Ok(Outcome::AsBefore));
    cluster.done(&Command::Compact { store: STORE.into(), node: 3 });
    cluster.done(&Command::DeclareStore { replaces: 1, name: STORE.into(), statement: "another".into() });
    assert!(paused(&cluster));
    assert!(cluster.tell(&Command::Pause { store: "none".into(), paused: true }).is_err());
    cluster.done(&pause(false));
    assert!(!paused(&cluster));
}

#[test]
fn a_store_is_compacted_by_a_member_that_may_and_loses_it_with_its_part() {
    let mut cluster = Cluster::of(3, 3);
    cluster.join(4, "compact");
    cluster.join(5, "read");
    let compacts = |node| Command::Compact { store: STORE.into(), node };
    assert_eq!(cluster.state.compactor(STORE), None);
    cluster.done(&compacts(4));
    let epoch = cluster.state.stores()[STORE].compactor_epoch;
    assert_eq!(epoch, cluster.state.applied());
    assert_eq!(cluster.tell(&compacts(4)), Ok(Outcome::AsBefore));
    assert_eq!(cluster.tell(&compacts(5)), Err(Refusal::OnlyReads(5)));
    assert_eq!(cluster.tell(&compacts(9)), Err(Refusal::UnknownNode(9)));
    assert!(cluster.tell(&Command::Compact { store: "none".into(), node: 4 }).is_err());
    // it only reads from now on, it is drained, it is replaced
    cluster.done(&roles(4, "read"));
    assert_eq!(cluster.state.compactor(STORE), None);
    assert!(cluster.state.stores()[STORE].compactor_epoch > epoch);
    cluster.done(&roles(4, "compact"));
    cluster.done(&compacts(4));
    cluster.done(&Command::Drain(4));
    assert_eq!(cluster.state.compactor(STORE), None);
    assert!(cluster.refused(&compacts(4)).contains("choose a node that is a member"));
    cluster.done(&Command::Undrain(4));
    cluster.done(&compacts(4));
    cluster.done(&Command::Replace { lost: 4, with: 5 });
    assert_eq!(cluster.state.compactor(STORE), None);
    // another statement of the store changes nothing of it
    cluster.done(&compacts(2));
    cluster.done(&Command::DeclareStore { replaces: 1, name: STORE.into(), statement: "b".into() });
    assert_eq!(cluster.state.compactor(STORE), Some(2));
}
