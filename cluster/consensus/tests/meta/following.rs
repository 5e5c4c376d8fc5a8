//! Who follows a log in which it has no vote, by each rule, and who is asked about what a node does not hold.

use crate::cluster::{Cluster, STORE, facts, group, nodes, register, remember};
use strandline_consensus::meta::{
    Asked, Command, Followers, GroupId, MetaState, NodeId, Office, Outcome, Refusal, Roles,
};

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

/// By the third rule, of a store without an office.
fn spared() -> Cluster {
    let mut cluster = five();
    cluster.done(&Command::Follow(Followers::Fewest));
    cluster.done(&keep(false));
    cluster
}

fn keep(keeps: bool) -> Command {
    Command::Keep { store: STORE.into(), keeps }
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
fn where_the_fewest_follow_who_may_lead_the_cluster_holds_logs_until_it_is_said_that_no_office_takes_them() {
    let (mut cluster, mut before) = (five(), needed());
    cluster.done(&Command::Follow(Followers::Fewest));
    assert_eq!(learners(&cluster), learners(&before), "nothing was said yet");
    assert!(cluster.state.may_spare(STORE) && !before.state.may_spare(STORE));
    assert_eq!(before.tell(&keep(false)), Ok(Outcome::AsBefore), "another rule");
    assert_eq!(before.tell(&keep(true)), Ok(Outcome::AsBefore), "another rule");
    cluster.done(&keep(false));
    assert!(cluster.state.is_spared(STORE) && !cluster.state.may_spare(STORE));
    // node 1 reads and compacts, all others hold what they vote in
    assert_eq!(learners(&cluster), [vec![], vec![], vec![1], vec![], vec![1]]);
    let lacks: Vec<_> = (1..=5).map(|node| lacking(&cluster, node)).collect();
    assert_eq!(lacks, [vec![], vec![1, 4], vec![1, 3], vec![0, 3], vec![0, 2]]);
    assert_eq!(cluster.state.groups()[&GroupId::Meta].learners, nodes(&[4, 5]), "all follow what the cluster says");
    cluster.settle();
    // another vote in the meta group gives nobody a log of the store
    cluster.done(&Command::Move { group: GroupId::Meta, from: 3, to: 5 });
    cluster.settle();
    assert_eq!((lacking(&cluster, 3), lacking(&cluster, 5)), (vec![1, 3], vec![0, 2]));
    // one that is said to be needed is so until another rule is said
    assert!(before.state.is_kept(STORE) && !cluster.state.is_kept(STORE));
    cluster.done(&keep(true));
    assert!(cluster.state.is_kept(STORE) && !cluster.state.is_spared(STORE));
    assert!([1, 2, 5].into_iter().all(|node| lacking(&cluster, node).is_empty()));
    assert_eq!(cluster.tell(&keep(false)), Ok(Outcome::AsBefore));
    cluster.done(&Command::Follow(Followers::Needed));
    assert!([1, 2, 5].into_iter().all(|node| lacking(&cluster, node).is_empty()));
    cluster.done(&Command::Follow(Followers::Fewest));
    assert!(cluster.state.may_spare(STORE));
    cluster.done(&keep(false));
    assert_eq!(lacking(&cluster, 2), [1, 4]);
    assert!(cluster.refused(&Command::Keep { store: "none".into(), keeps: true }).contains("none"));
}

#[test]
fn a_store_with_a_named_subscription_is_not_spared() {
    let mut cluster = spared();
    // whose leader has made one all the same
    cluster.done(&remember(1, "mails", b"kept"));
    assert_eq!(cluster.state.stores()[STORE].office, Office::Kept);
    assert!((1..=3).all(|node| lacking(&cluster, node).is_empty()));
    cluster.settle();
    // deleted: nobody takes the logs away by himself
    cluster.done(&remember(2, "mails", b""));
    assert!(!cluster.state.may_spare(STORE) && !cluster.state.is_spared(STORE));
    // one that is there when the rule is said
    let mut cluster = needed();
    cluster.done(&remember(1, "mails", b"kept"));
    cluster.done(&Command::Follow(Followers::Fewest));
    assert!(!cluster.state.may_spare(STORE));
    assert_eq!(cluster.tell(&keep(false)), Ok(Outcome::AsBefore));
    assert!((1..=3).all(|node| lacking(&cluster, node).is_empty()));
}

#[test]
fn a_lost_voter_of_all_groups_is_replaced_where_nobody_but_voters_holds_its_logs() {
    let mut cluster = spared();
    cluster.settle();
    cluster.done(&Command::Replace { lost: 2, with: 4 });
    assert_eq!(cluster.voters(&GroupId::Meta), [1, 3, 4]);
    for bucket in 0..BUCKETS {
        let voters = cluster.voters(&group("Order", bucket));
        assert!(voters.len() == 3 && !voters.contains(&2), "{bucket}: {voters:?}");
    }
    assert_eq!(lacking(&cluster, 3), [1, 3], "as before");
    cluster.settle();
    cluster.done(&Command::Drain(5));
    cluster.settle();
    assert!((0..BUCKETS).all(|bucket| cluster.voters(&group("Order", bucket)) == [1, 3, 4]));
}

#[test]
fn who_holds_a_log_is_asked_about_it() {
    let mut cluster = spared();
    let of = |cluster: &Cluster, asker, bucket, leader, turn| {
        cluster.state.asked_about(asker, &group("Order", bucket), leader, turn)
    };
    // node 1 holds all
    assert!((0..BUCKETS).all(|bucket| of(&cluster, 4, bucket, Some(1), 0) == Asked::Leader));
    // nodes 2 and 3 lack the second one: its voters, in turn
    let asked: Vec<_> = (0..4).map(|turn| of(&cluster, 3, 1, Some(2), turn)).collect();
    assert_eq!(asked, [Asked::Member(1), Asked::Member(4), Asked::Member(5), Asked::Member(1)]);
    assert_eq!(of(&cluster, 2, 1, Some(2), 1), Asked::Member(4), "who leads the cluster asks too");
    assert_eq!(of(&cluster, 3, 1, None, 2), Asked::Member(5), "while nobody is known to lead it");
    // one that the leader holds, one that is about to be opened, and one that is not known
    assert_eq!(of(&cluster, 4, 0, Some(2), 0), Asked::Leader);
    assert_eq!(of(&cluster, 4, 1, Some(2), 0), Asked::Itself);
    assert_eq!(of(&cluster, 4, BUCKETS, Some(2), 0), Asked::Leader);
    // all logs
    let all = |cluster: &Cluster, leader| cluster.state.asked_about_all(STORE, leader);
    assert_eq!((all(&cluster, Some(1)), all(&cluster, Some(2))), (Asked::Leader, Asked::Leader));
    cluster.done(&compacts(4));
    assert_eq!((all(&cluster, Some(1)), all(&cluster, Some(2))), (Asked::Leader, Asked::Member(4)));
    assert!(all(&cluster, None) == Asked::Member(4) && lacking(&cluster, 4).is_empty());
    assert!(!cluster.state.lacks_some(4, STORE) && cluster.state.lacks_some(2, STORE));
    assert!(!cluster.state.lacks_some(2, "none"));
}

#[test]
fn a_leader_that_is_drained_is_asked_about_what_it_still_votes_in_and_nothing_else() {
    let mut cluster = spared();
    cluster.done(&compacts(1));
    cluster.settle();
    // it leads the cluster until the one that votes there in its place answers
    cluster.done(&Command::Drain(2));
    let of = |asker, bucket, turn| cluster.state.asked_about(asker, &group("Order", bucket), Some(2), turn);
    assert_eq!(of(5, 0, 0), Asked::Leader);
    assert_eq!((of(3, 1, 0), of(2, 1, 1)), (Asked::Member(1), Asked::Member(4)));
    assert_eq!(cluster.state.asked_about_all(STORE, Some(2)), Asked::Member(1));
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
