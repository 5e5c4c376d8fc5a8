//! Where groups are, and how they move.

use crate::cluster::{Cluster, group, nodes, register};
use std::collections::BTreeMap;
use strandline_consensus::meta::{Command, GroupId, Outcome, Refusal};

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
