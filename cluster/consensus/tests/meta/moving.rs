//! Where groups are, and how they move.

use crate::cluster::{Cluster, group, nodes, register};
use std::collections::BTreeMap;
use strandline_consensus::meta::{Command, GroupId, Outcome, Refusal, Roles};

fn moved(bucket: u32, from: u64, to: u64) -> Command {
    Command::Move { group: group("Order", bucket), from, to }
}

#[test]
fn groups_are_spread_evenly() {
    let mut cluster = Cluster::of(5, 3);
    cluster.done(&register("Order", 20));
    let mut load = BTreeMap::new();
    for bucket in 0..20 {
        cluster.voters(&group("Order", bucket)).into_iter().for_each(|node| *load.entry(node).or_insert(0) += 1);
    }
    assert_eq!(load.into_values().collect::<Vec<_>>(), [12; 5]);
}

#[test]
fn a_replica_moves_and_each_refusal_names_its_remedy() {
    let mut cluster = Cluster::of(4, 3);
    cluster.done(&register("Order", 1));
    assert_eq!(cluster.voters(&group("Order", 0)), [1, 2, 3]);
    assert!(cluster.refused(&moved(0, 1, 4)).contains("wait until"));
    cluster.settle();
    assert!(cluster.refused(&moved(0, 1, 2)).contains("already"));
    assert!(cluster.refused(&moved(0, 9, 8)).contains("no voter"));
    assert!(cluster.refused(&moved(0, 1, 9)).contains("no node 9"));
    assert!(cluster.refused(&moved(7, 1, 4)).contains("no group"));
    cluster.join(5, "read");
    cluster.settle();
    assert!(cluster.refused(&moved(0, 1, 5)).contains("role `ingest`"));
    cluster.done(&moved(0, 1, 4));
    let placement = cluster.state.groups()[&group("Order", 0)].clone();
    assert_eq!((&placement.voters, &placement.leaving), (&nodes(&[2, 3, 4]), &nodes(&[1])));
    assert!(!placement.is_settled());
}

#[test]
fn a_report_counts_for_its_own_epoch_alone() {
    let mut cluster = Cluster::of(4, 3);
    cluster.done(&register("Order", 1));
    let held = group("Order", 0);
    let report = |cluster: &Cluster| {
        let placement = &cluster.state.groups()[&held];
        Command::Settled { group: held.clone(), epoch: placement.epoch, voters: placement.voters.clone() }
    };
    let early = report(&cluster);
    cluster.done(&early);
    cluster.done(&moved(0, 1, 4));
    assert!(matches!(cluster.tell(&early), Err(Refusal::StaleReport { .. })));
    // right epoch, but its voters are still the old ones
    let epoch = cluster.state.groups()[&held].epoch;
    let wrong = Command::Settled { group: held.clone(), epoch, voters: nodes(&[1, 2, 3]) };
    assert!(matches!(cluster.tell(&wrong), Err(Refusal::StaleReport { .. })));
    let right = report(&cluster);
    cluster.done(&right);
    assert!(cluster.state.groups()[&held].leaving.is_empty());
}

#[test]
fn replication_grows_and_shrinks() {
    let mut cluster = Cluster::of(5, 1);
    cluster.done(&register("Order", 5));
    assert_eq!(cluster.voters(&group("Order", 3)).len(), 1);
    assert_eq!(cluster.voters(&GroupId::Meta), [1, 2, 3]);
    cluster.done(&Command::SetReplication(5));
    assert_eq!(cluster.voters(&group("Order", 3)), [1, 2, 3, 4, 5]);
    cluster.done(&Command::SetReplication(3));
    let mut load = BTreeMap::new();
    for bucket in 0..5 {
        let voters = cluster.voters(&group("Order", bucket));
        assert_eq!(voters.len(), 3);
        voters.into_iter().for_each(|node| *load.entry(node).or_insert(0) += 1);
    }
    assert_eq!(load.into_values().collect::<Vec<_>>(), [3; 5]);
    assert!(cluster.refused(&Command::SetReplication(0)).contains("from 1 to 7"));
}

#[test]
fn a_command_of_an_index_that_was_applied_does_nothing() {
    let mut cluster = Cluster::of(2, 1);
    let index = cluster.state.applied();
    let before = cluster.state.clone();
    assert_eq!(cluster.state.apply(index, &Command::SetReplication(3)), Ok(Outcome::AsBefore));
    assert_eq!(cluster.state, before);
}

fn lead(node: Option<u64>) -> Command {
    Command::Lead { group: group("Order", 0), node }
}

fn move_lead(from: u64, to: u64) -> Command {
    Command::MoveLead { group: group("Order", 0), from, to }
}

/// Who shall lead, and whether its leader has said that it is so.
fn led(cluster: &Cluster) -> (Option<u64>, bool) {
    let placement = &cluster.state.groups()[&group("Order", 0)];
    (placement.leads, placement.is_settled())
}

/// Four nodes; 1, 2 and 3 vote in the one bucket.
fn four() -> Cluster {
    let mut cluster = Cluster::of(4, 3);
    cluster.done(&register("Order", 1));
    cluster.settle();
    cluster
}

#[test]
fn a_bucket_moves_with_its_leadership() {
    let mut cluster = four();
    cluster.done(&move_lead(1, 4));
    assert_eq!(cluster.voters(&group("Order", 0)), [2, 3, 4]);
    assert_eq!(led(&cluster), (Some(4), false));
    // from a voter to a voter it is the leadership alone, also while the group is on its way
    cluster.done(&move_lead(4, 2));
    assert_eq!((cluster.voters(&group("Order", 0)), led(&cluster)), (vec![2, 3, 4], (Some(2), false)));
    cluster.settle();
    assert_eq!(led(&cluster), (Some(2), true));
    cluster.done(&lead(Some(3)));
    cluster.done(&lead(None));
    assert_eq!(led(&cluster), (None, false));
}

#[test]
fn a_move_of_the_leadership_that_cannot_be_says_why() {
    let mut cluster = four();
    cluster.join(5, "read");
    cluster.join(6, "ingest");
    cluster.settle();
    cluster.done(&Command::Drain(6));
    cluster.settle();
    for (command, said) in [
        (move_lead(1, 5), "role `ingest`"),
        (move_lead(1, 6), "draining"),
        (move_lead(1, 9), "no node 9"),
        (move_lead(2, 2), "choose another node"),
        (move_lead(4, 1), "node 4 has no voter"),
        (lead(Some(4)), "node 4 has no voter"),
        (lead(Some(5)), "role `ingest`"),
        (lead(Some(9)), "no node 9"),
        (Command::Lead { group: group("Order", 7), node: Some(1) }, "no group"),
        (Command::MoveLead { group: group("Order", 7), from: 1, to: 4 }, "no group"),
    ] {
        let text = cluster.refused(&command);
        assert!(text.contains(said), "{command:?}: {text}");
    }
    assert_eq!(led(&cluster).0, None);
}

#[test]
fn who_shall_lead_goes_with_its_place_and_ends_with_it() {
    // moved by name: the next one leads in its place
    let mut cluster = four();
    cluster.done(&lead(Some(1)));
    cluster.settle();
    cluster.done(&moved(0, 1, 4));
    assert_eq!(led(&cluster).0, Some(4));
    // others come and go: it stays where it is, and so does the bucket
    cluster.join(5, "ingest");
    cluster.settle();
    cluster.done(&Command::Drain(2));
    cluster.settle();
    cluster.done(&Command::Remove(2));
    cluster.join(6, "ingest,read");
    cluster.settle();
    assert_eq!((cluster.voters(&group("Order", 0)), led(&cluster)), (vec![1, 3, 4], (Some(4), true)));
    // drained: whoever is elected
    let mut drained = Cluster { state: cluster.state.clone() };
    drained.done(&Command::Drain(4));
    assert_eq!(led(&drained), (None, false));
    drained.done(&Command::Undrain(4));
    assert_eq!(led(&drained).0, None);
    // replaced: the one in its place
    cluster.done(&Command::Replace { lost: 4, with: 6 });
    assert_eq!(led(&cluster).0, Some(6));
    // it votes no more
    let roles = Roles::parse("read").unwrap();
    cluster.join(7, "ingest");
    cluster.done(&Command::SetRoles { node: 6, instance: 6 << 64, roles });
    assert_eq!(led(&cluster).0, None);
}

#[test]
fn a_log_that_a_lost_node_never_made_is_made_by_another_voter() {
    let mut cluster = Cluster::of(4, 3);
    let made = |cluster: &Cluster, of: u32, node| {
        let epoch = cluster.state.groups()[&group("Order", of)].epoch;
        Command::Found { group: group("Order", of), epoch, node }
    };
    cluster.done(&register("Order", 2));
    let founder = |cluster: &Cluster, of| cluster.state.groups()[&group("Order", of)].founder;
    assert_eq!((founder(&cluster, 0), founder(&cluster, 1)), (Some(1), Some(1)));
    assert_eq!(
        (cluster.voters(&group("Order", 0)), cluster.voters(&group("Order", 1))),
        (vec![1, 2, 3], vec![1, 2, 4])
    );
    // it takes part: it may come back
    let early = made(&cluster, 0, 2);
    assert_eq!(cluster.tell(&early), Err(Refusal::HasFounder(group("Order", 0))));
    // the other one was once where it should be: something may be acknowledged in it
    let epoch = cluster.state.groups()[&group("Order", 1)].epoch;
    cluster.done(&Command::Settled { group: group("Order", 1), epoch, voters: nodes(&[1, 2, 4]) });
    cluster.join(5, "ingest");
    cluster.done(&Command::Replace { lost: 1, with: 5 });
    assert_eq!(
        (cluster.state.lost_founder(&group("Order", 0)), cluster.state.lost_founder(&group("Order", 1))),
        (Some(1), None)
    );
    let settled = made(&cluster, 1, 2);
    assert_eq!(cluster.tell(&settled), Err(Refusal::HasFounder(group("Order", 1))));
    assert!(matches!(cluster.tell(&early), Err(Refusal::StaleReport { .. })));
    for (node, why) in [(4, "no voter"), (9, "no node 9")] {
        let command = made(&cluster, 0, node);
        assert!(cluster.refused(&command).contains(why), "{node}");
    }
    let found = made(&cluster, 0, 3);
    cluster.done(&found);
    assert_eq!(founder(&cluster, 0), Some(3));
    let other = made(&cluster, 0, 2);
    assert_eq!(cluster.tell(&other), Err(Refusal::HasFounder(group("Order", 0))));
    // it reports as any other
    cluster.settle();
    assert_eq!(cluster.voters(&group("Order", 0)), [2, 3, 5]);
}
