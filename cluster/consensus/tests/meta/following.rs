//! Who follows a log in which it has no vote, by either rule.

use crate::cluster::{Cluster, STORE, facts, group, nodes, register};
use strandline_consensus::meta::{Command, Followers, GroupId, MetaState, NodeId, Outcome, Refusal, Roles};

const BUCKETS: u32 = 5;

/// Node 1 does everything, the others ingest; the first three vote in the meta group, and votes in buckets go round.
fn five() -> Cluster {
    let mut cluster = Cluster::made(3);
    for id in 2..=5 {
        cluster.join(id, "ingest");
    }
    cluster.done(&Command::DeclareStore { replaces: 0, name: STORE.into(), statement: "a".into() });
    cluster.done(&register("Order", BUCKETS));
    cluster.settle();
    let voters: Vec<_> = (0..BUCKETS).map(|bucket| cluster.voters(&group("Order", bucket))).collect();
    assert_eq!(voters, [[1, 2, 3], [1, 4, 5], [2, 3, 4], [1, 2, 5], [3, 4, 5]]);
    assert_eq!(cluster.voters(&GroupId::Meta), [1, 2, 3]);
    cluster
}

fn needed() -> Cluster {
    let mut cluster = five();
    cluster.done(&Command::Follow(Followers::Needed));
    cluster
}

fn learners(cluster: &Cluster) -> Vec<Vec<NodeId>> {
    let of = |bucket| cluster.state.groups()[&group("Order", bucket)].learners.iter().copied().collect();
    (0..BUCKETS).map(of).collect()
}

/// Buckets of which a member holds nothing.
fn lacking(cluster: &Cluster, node: NodeId) -> Vec<u32> {
    (0..BUCKETS).filter(|bucket| cluster.state.lacks(node, &group("Order", *bucket))).collect()
}

fn compacts(node: NodeId) -> Command {
    Command::Compact { store: STORE.into(), node }
}

#[test]
fn where_nothing_else_was_said_every_member_holds_every_log() {
    let cluster = five();
    assert_eq!(cluster.state.cluster().unwrap().followers, Followers::All);
    assert_eq!(learners(&cluster), [vec![4, 5], vec![2, 3], vec![1, 5], vec![3, 4], vec![1, 2]]);
    assert!((1..=5).all(|node| lacking(&cluster, node).is_empty()));
}

#[test]
fn who_only_ingests_holds_the_logs_in_which_it_votes_and_all_if_it_may_lead_the_cluster() {
    let mut cluster = needed();
    assert_eq!(learners(&cluster), [vec![], vec![2, 3], vec![1], vec![3], vec![1, 2]]);
    assert_eq!((lacking(&cluster, 4), lacking(&cluster, 5)), (vec![0, 3], vec![0, 2]));
    assert!((1..=3).all(|node| lacking(&cluster, node).is_empty()));
    assert_eq!(cluster.state.groups()[&GroupId::Meta].learners, nodes(&[4, 5]), "all follow what the cluster says");
    // whose replicas go counts as moved, the others do not
    let is_settled = |bucket| cluster.state.groups()[&group("Order", bucket)].is_settled();
    assert_eq!((0..BUCKETS).map(is_settled).collect::<Vec<_>>(), [false, true, false, false, true]);
    // those with another role follow
    cluster.join(6, "read");
    cluster.join(7, "compact");
    cluster.join(8, "ingest");
    assert_eq!(learners(&cluster), [vec![6, 7], vec![2, 3, 6, 7], vec![1, 6, 7], vec![3, 6, 7], vec![1, 2, 6, 7]]);
    assert_eq!(lacking(&cluster, 8), [0, 1, 2, 3, 4]);
    // and back
    cluster.done(&Command::Follow(Followers::All));
    assert!((1..=8).all(|node| lacking(&cluster, node).is_empty()));
}

#[test]
fn who_gets_a_vote_in_the_meta_group_gets_all_logs_and_who_gives_it_up_gives_up_the_others() {
    let mut cluster = needed();
    cluster.settle();
    cluster.done(&Command::Move { group: GroupId::Meta, from: 3, to: 5 });
    assert_eq!((lacking(&cluster, 3), lacking(&cluster, 5)), (vec![], vec![]), "it may lead until another one does");
    cluster.settle();
    assert_eq!((lacking(&cluster, 3), lacking(&cluster, 5)), (vec![1, 3], vec![]));
    assert_eq!(learners(&cluster), [vec![5], vec![2], vec![1, 5], vec![], vec![1, 2]]);
    // one that is lost: who takes its place in the meta group holds all
    cluster.done(&Command::Replace { lost: 2, with: 4 });
    assert_eq!((lacking(&cluster, 3), lacking(&cluster, 4)), (vec![1, 3], vec![]));
    cluster.settle();
}

#[test]
fn who_stands_in_for_compactors_holds_the_logs_while_it_is_named() {
    let mut cluster = needed();
    cluster.settle();
    cluster.done(&compacts(4));
    assert_eq!(learners(&cluster), [vec![4], vec![2, 3], vec![1], vec![3, 4], vec![1, 2]]);
    assert_eq!((lacking(&cluster, 4), lacking(&cluster, 5)), (vec![], vec![0, 2]));
    cluster.done(&compacts(1));
    assert_eq!((lacking(&cluster, 4), lacking(&cluster, 5)), (vec![0, 3], vec![0, 2]));
    // one that is drained, or gone, is not named any more
    cluster.done(&compacts(5));
    cluster.settle();
    cluster.done(&Command::Drain(5));
    assert_eq!(cluster.state.compactor(STORE), None);
    assert!(learners(&cluster).iter().all(|learners| !learners.contains(&5)));
    assert!(lacking(&cluster, 5).is_empty(), "what it still has it answers");
}

#[test]
fn another_role_gives_the_logs_to_a_node_and_takes_them_away() {
    let mut cluster = needed();
    let roles = |text: &str| Command::SetRoles { node: 4, instance: 4 << 64, roles: Roles::parse(text).unwrap() };
    cluster.done(&roles("ingest,read"));
    assert!(lacking(&cluster, 4).is_empty());
    cluster.done(&roles("ingest"));
    assert_eq!(lacking(&cluster, 4), [0, 3]);
    cluster.settle();
    cluster.done(&Command::Move { group: group("Order", 0), from: 1, to: 4 });
    assert_eq!(lacking(&cluster, 4), [3], "a log that it is given a vote in");
    cluster.settle();
    cluster.done(&Command::Move { group: group("Order", 1), from: 4, to: 2 });
    let placement = &cluster.state.groups()[&group("Order", 1)];
    assert!(placement.leaving == nodes(&[4]) && placement.is_on(4), "until its leader says that it votes no more");
    cluster.settle();
    assert_eq!(lacking(&cluster, 4), [1, 3]);
}

#[test]
fn the_rule_is_said_of_a_cluster_and_may_be_said_again() {
    let mut cluster = Cluster { state: MetaState::default() };
    assert_eq!(cluster.tell(&Command::Follow(Followers::Needed)), Err(Refusal::NoCluster));
    let mut cluster = Cluster::of(3, 3);
    cluster.done(&register("Call", 2));
    let (before, rule) = (cluster.state.groups().clone(), Command::Follow(Followers::Needed));
    cluster.done(&rule);
    assert_eq!(cluster.tell(&rule), Ok(Outcome::AsBefore));
    assert_eq!(*cluster.state.groups(), before, "nodes that do everything hold every log by either rule");
    cluster.done(&Command::AddNode(facts(4, "ingest")));
    cluster.done(&register("Order", 1));
    assert!(cluster.state.groups()[&group("Order", 0)].learners.is_empty(), "one that joins holds nothing yet");
}
