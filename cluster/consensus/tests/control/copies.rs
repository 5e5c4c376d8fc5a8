//! An older copy of a member's folder is put back.

use crate::node::{CLUSTER, Folders, Node, facts, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_consensus::NodeId;
use strandline_consensus::control::{Life, Said, heard_running, most_heard, tell_lives};
use strandline_consensus::meta::Command;
use strandline_consensus::net::{Identity, NetTransport, TcpConnect};
use strandline_wal::folders::copy_folder;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_members_folder_ends_for_good_when_its_leader_knows() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let third = nodes.remove(2);
    let (at, own, older) = (third.address.to_string(), folders.path("node3"), folders.path("older"));
    let knows_all = |third: &Node| third.control.state() == nodes[0].control.state();
    third.stop().await;
    copy_folder(&own, &older).unwrap();
    let mut lost = None;
    // where another one was elected in between, nobody knows: then it is done again
    for _ in 0..20 {
        let third = Node::run(&folders, 3, CLUSTER, &at, false).await;
        for replicas in [5, 3] {
            nodes[0].control.propose(&Command::SetReplication(replicas)).await.unwrap();
        }
        until(|| knows_all(&third)).await;
        third.stop().await;
        copy_folder(&older, &own).unwrap();
        let third = Node::run(&folders, 3, CLUSTER, &at, false).await;
        until(|| third.control.troubles().lost.is_some() || knows_all(&third)).await;
        let troubles = third.control.troubles();
        third.stop().await;
        if let Some(why) = troubles.lost.clone() {
            assert!(troubles.not_ready().is_some_and(|text| text.contains("--node-id")), "{troubles:?}");
            lost = Some(why);
            break;
        }
    }
    let lost = lost.expect("its leader has never known");
    assert!(lost.contains("of meta, which it had acknowledged to node"), "{lost}");
    // whoever leads by then
    let refused = Node::opened(&folders, 3).await.unwrap_err();
    assert!(refused.contains(&*lost) && refused.contains("It must not vote"), "{refused}");
    nodes[1].control.propose(&Command::SetReplication(5)).await.unwrap();
}

fn life(start: u128, number: u64) -> Life {
    Life { number, start }
}

fn places(nodes: &[Node]) -> Vec<(NodeId, String)> {
    nodes.iter().map(|node| (node.control.node(), node.address.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_counts_less_than_another_member_has_heard_ends_for_good() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let third = nodes.remove(2);
    let begun = Instant::now();
    assert!(third.control.tell_life(life(1, 7), begun).await);
    // what a start says before it opens anything: another one has counted as far
    let (transport, others) = (third.control.transport(), places(&nodes));
    assert_eq!(most_heard(&tell_lives(transport, others.clone(), life(2, 7), SOON).await), Some((7, 2)));
    assert!(third.control.tell_life(life(1, 8), begun).await && third.control.tell_life(life(1, 8), begun).await);
    assert_eq!(third.control.troubles().lost, None);
    // nobody tells one folder of another's
    let second = others[1..].to_vec();
    let told = tell_lives(nodes[0].control.transport(), second, life(3, 1), SOON).await;
    assert_eq!(told, [(2, Said { most: 0, runs: None })]);
    assert!(third.control.tell_life(life(4, 5), begun).await);
    let lost = third.control.troubles().lost.expect("both others know");
    assert!(lost.contains("counts 5") && lost.contains("had heard 8"), "{lost}");
    third.stop().await;
    let refused = Node::opened(&folders, 3).await.unwrap_err();
    assert!(refused.contains(&*lost) && refused.contains("It must not vote"), "{refused}");
    nodes[1].control.propose(&Command::SetReplication(5)).await.unwrap();
    for node in nodes {
        node.stop().await;
    }
}

/// The copy is younger than a minute: it counts to a number that nobody has heard yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_beside_a_member_that_runs_is_not_remembered_and_the_member_goes_on() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let third = nodes.remove(2);
    let (begun, others) = (Instant::now(), places(&nodes));
    let instance = facts(3, &third.address).instance;
    let copy = NetTransport::new(Identity::new(3, instance, CLUSTER, "test"), Arc::new(TcpConnect));
    for number in [0, 8, 100] {
        assert!(third.control.tell_life(life(1, 7), begun).await);
        let told = tell_lives(&copy, others.clone(), life(2, number), SOON).await;
        assert!(told.len() == 2 && told.iter().all(|(_, said)| said.most == 7 && said.runs.is_some()), "{told:?}");
    }
    assert!(third.control.tell_life(life(1, 7), begun).await);
    assert_eq!(third.control.troubles().lost, None);
    third.stop().await;
    // nobody hears it any more, so the next start over its own folder goes on
    let next = async {
        loop {
            let told = tell_lives(&copy, others.clone(), life(3, 8), SOON).await;
            if heard_running(&told).is_none() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), next).await.expect("it is heard for a minute");
    assert_eq!(told.len(), 2, "{told:?}");
    let told = tell_lives(&copy, others, life(2, 8), SOON).await;
    assert_eq!(most_heard(&told), Some((8, 2)), "the copy is an older one by now");
}
