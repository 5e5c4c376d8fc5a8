//! A copy of a member's data directory is started: in the place of the member, or beside it.

use crate::{Flags, Place, address, address_of, until, voters};
use std::time::Duration;
use strandline_consensus::meta::Command;
use strandline_testkit::folders::copy_folder;
use strandline_workers::cluster::{ClusterError, ClusterNode};

/// Two members, both of which vote, and where the second one is.
struct Two {
    place: Place,
    first: ClusterNode,
    second: ClusterNode,
    at: String,
}

impl Two {
    async fn start() -> Self {
        let place = Place::new();
        let first = place.first().await;
        let second = place.second(&first).await;
        until(|| voters(&first) == [1, 2]).await;
        let at = address_of(&first, 2).await;
        Self { place, first, second, at }
    }
}

/// Of a member that starts again where it was.
fn back(at: &str) -> Flags<'_> {
    Flags { at: Some(at), ..Flags::default() }
}

/// It is told what it lacks while it starts, and its folder keeps that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_members_data_directory_does_not_start_once_its_leader_has_said_so() {
    let place = Place::new();
    let first = place.first().await;
    let second = place.second(&first).await;
    let joins = Flags { id: Some(3), join: Some(address(&first)), ..Flags::default() };
    let third = place.start("three", joins, &[]).await.unwrap().unwrap();
    until(|| voters(&first) == [1, 2, 3]).await;
    let at = address_of(&first, 3).await;
    let flags = || back(&at);
    third.stop().await;
    let (own, older) = (place.dir("three"), place.dir("older"));
    copy_folder(&own, &older).unwrap();
    let mut refused = None;
    for _ in 0..20 {
        let third = place.start("three", flags(), &[]).await.unwrap().unwrap();
        for replicas in [5, 3] {
            first.control.propose(&Command::SetReplication(replicas)).await.unwrap();
        }
        until(|| third.control.state() == first.control.state()).await;
        third.stop().await;
        copy_folder(&older, &own).unwrap();
        match place.start("three", flags(), &[]).await {
            Err(error) => {
                refused = Some(error);
                break;
            }
            // another one was elected in between, and knows nothing of it: once more
            Ok(third) => third.unwrap().stop().await,
        }
    }
    let refused = refused.expect("its leader has never known");
    assert!(refused.is_configuration() && refused.to_string().contains("It must not vote"), "{refused}");
    assert!(own.join("cluster/must-not-vote").exists());
    // whoever leads by then, and if nobody does
    second.stop().await;
    first.stop().await;
    let again = place.refused("three", flags(), &[]).await;
    assert!(again.contains("It must not vote"), "{again}");
}

/// Nobody has to know what it lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_members_data_directory_does_not_start_where_another_member_has_heard_of_a_later_start() {
    let Two { place, first, second, at } = Two::start().await;
    let flags = || back(&at);
    let (own, older) = (place.dir("two"), place.dir("older"));
    until(|| own.join("cluster/life").exists()).await;
    second.stop().await;
    copy_folder(&own, &older).unwrap();
    // as often as it is started over its own folder
    for _ in 0..2 {
        place.start("two", flags(), &[]).await.unwrap().unwrap().stop().await;
    }
    let newest = place.dir("newest");
    copy_folder(&own, &newest).unwrap();
    copy_folder(&older, &own).unwrap();
    let refused = place.refused("two", flags(), &[]).await;
    assert!(refused.contains("had heard 3 of it") && refused.contains("It must not vote"), "{refused}");
    assert!(own.join("cluster/must-not-vote").exists());
    // however often it is tried: the folder in whose place it was put is none
    for _ in 0..2 {
        assert_eq!(place.refused("two", flags(), &[]).await, refused);
    }
    copy_folder(&own, &older).unwrap();
    copy_folder(&newest, &own).unwrap();
    place.start("two", flags(), &[]).await.unwrap().unwrap().stop().await;
    copy_folder(&older, &own).unwrap();
    // also when nobody is there who knows
    first.stop().await;
    let again = place.refused("two", flags(), &[]).await;
    assert!(again.contains("It must not vote"), "{again}");
}

/// Until the second node's folder says where the first one is, and counts.
async fn second_keeps(place: &Place, first: &ClusterNode) {
    let folder = place.dir("two").join("cluster");
    let knows = || {
        let text = std::fs::read_to_string(folder.join("addresses")).unwrap_or_default();
        text.lines().any(|line| line.starts_with("1 ")) && folder.join("life").exists()
    };
    // the file of addresses follows the state as that changes
    let told = async {
        let mut replicas = 3;
        while !knows() {
            replicas = 8 - replicas;
            first.control.propose(&Command::SetReplication(replicas)).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("it does not keep where the other one is");
}

/// The copy counts as far as the folder from which it was made: no number tells one from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_data_directory_is_refused_while_the_member_runs_which_goes_on() {
    let Two { place, first, second, at } = Two::start().await;
    let flags = || back(&at);
    second_keeps(&place, &first).await;
    second.stop().await;
    let (own, beside) = (place.dir("two"), place.dir("beside"));
    copy_folder(&own, &beside).unwrap();
    let second = place.start("two", flags(), &[]).await.unwrap().unwrap();
    std::fs::copy(own.join("cluster/life"), beside.join("cluster/life")).unwrap();
    let life = || std::fs::read_to_string(beside.join("cluster/life")).unwrap();
    let counted = life();
    let refused = place.start("beside", Flags::default(), &[]).await.err().unwrap();
    assert!(matches!(refused, ClusterError::Runs { own: 2, by: 1, .. }) && !refused.is_configuration(), "{refused}");
    assert!(refused.to_string().contains("wait if it has just been killed"), "{refused}");
    // nothing was written, however often it is tried
    assert_eq!(life(), counted);
    assert!(!beside.join("cluster/must-not-vote").exists());
    assert_eq!(second.control.troubles().lost, None);
    second.control.propose(&Command::SetReplication(7)).await.unwrap();
    second.stop().await;
    place.start("two", flags(), &[]).await.unwrap().unwrap().stop().await;
    let refused = place.refused("beside", Flags::default(), &[]).await;
    assert!(refused.contains("It must not vote"), "{refused}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_whose_count_is_gone_does_not_start_and_says_so() {
    let Two { place, first, second, at } = Two::start().await;
    let flags = || back(&at);
    second_keeps(&place, &first).await;
    second.stop().await;
    // a start tells how far it counts before it opens anything
    place.start("two", flags(), &[]).await.unwrap().unwrap().stop().await;
    let life = place.dir("two").join("cluster/life");
    std::fs::remove_file(&life).unwrap();
    for _ in 0..2 {
        let refused = place.refused("two", flags(), &[]).await;
        assert!(refused.contains("cluster/life, is gone, and node 1 had heard it count 2"), "{refused}");
        assert!(refused.contains("--node-id") && refused.contains("replace"), "{refused}");
    }
    assert!(!life.exists());
    first.stop().await;
}
