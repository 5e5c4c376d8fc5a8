//! Who is let in, and who is not.

use crate::node::{CLUSTER, Folders, Node, Seen, entropy, facts, settled, until};
use std::sync::Arc;
use strandline_consensus::control::{admit, ask_to_join, prove_offer};
use strandline_consensus::meta::{Command, NodeState};
use strandline_consensus::net::{Identity, NetTransport, TcpConnect};
use strandline_wal::folders::copy_folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_and_the_meta_group_grows_with_them() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    let bytes = nodes[0].control.state().encode();
    until(|| nodes.iter().all(|node| node.control.state().encode() == bytes)).await;
    for node in &nodes {
        assert_eq!(node.control.cluster(), CLUSTER);
        assert!(node.control.state().nodes().values().all(|entry| entry.state == NodeState::Member));
    }
    // what was written to prove it is gone
    let left: Vec<_> = std::fs::read_dir(folders.shared()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, [".cluster"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_shared_is_refused_and_stays_untouched() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    let second = Node::fresh(&folders, 2).await;
    let own = folders.path("own");
    let refused = second.joins(&first, &own).await.unwrap_err();
    assert!(refused.is_final() && refused.to_string().contains("mount the same folder"), "{refused}");
    assert!(!own.exists());
    assert_eq!(first.control.state().nodes()[&2].state, NodeState::Joining);
    // it was mended, and asks again
    second.joins(&first, &folders.shared()).await.unwrap();
    until(|| settled(&first, &[1, 2])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_store_is_not_the_store() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    let copy = folders.path("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(folders.shared().join(".cluster"), copy.join(".cluster")).unwrap();
    let second = Node::fresh(&folders, 2).await;
    let refused = second.joins(&first, &copy).await.unwrap_err();
    assert!(refused.to_string().contains("has just written"), "{refused}");
}

/// What a member writes comes to the folder of the joining node, and nothing goes the other way: a copy that is kept up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_own_probe_no_member_sees_is_refused() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    let second = Node::fresh(&folders, 2).await;
    let (transport, at) = (second.control.transport(), first.address.to_string());
    let offered = || ask_to_join(transport, &at, facts(2, &second.address));
    offered().await.unwrap();
    let refused = admit(transport, &at, 2, Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("the proof is not of the last offer"), "{refused}");
    let offer = offered().await.unwrap();
    let copy = folders.path("copy");
    copy_folder(&folders.shared(), &copy).unwrap();
    let proof = prove_offer(offer, Arc::new(Seen(copy)), entropy()).await.unwrap();
    let refused = admit(transport, &at, 2, proof).await.unwrap_err();
    let said = refused.to_string();
    assert!(refused.is_final() && said.contains("what the joining node has just written"), "{said}");
    assert_eq!(first.control.state().nodes()[&2].state, NodeState::Joining);
    // it was mended, and asks again
    second.joins(&first, &folders.shared()).await.unwrap();
    until(|| settled(&first, &[1, 2])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_or_was_removed_is_refused() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    // another folder under the id of the first node
    let other = Node::run(&Folders::new(), 1, 0, "127.0.0.1:0", false).await;
    let mut impostor = facts(1, &other.address);
    impostor.instance = 99;
    let refused = first.control.propose(&Command::AddNode(impostor)).await.unwrap_err();
    assert!(refused.to_string().contains("another data directory"), "{refused}");
    let second = Node::fresh(&folders, 2).await;
    second.joins(&first, &folders.shared()).await.unwrap();
    until(|| settled(&first, &[1, 2])).await;
    first.control.propose(&Command::Drain(2)).await.unwrap();
    until(|| settled(&first, &[1])).await;
    first.control.propose(&Command::Remove(2)).await.unwrap();
    let refused = second.joins(&first, &folders.shared()).await.unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
}

/// The voter that is missing is the one whose folder was lost: nobody leads, and it hears at once that it does not come back so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_folder_under_a_members_id_is_refused_while_nobody_leads() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    let second = Node::fresh(&folders, 2).await;
    second.joins(&first, &folders.shared()).await.unwrap();
    until(|| settled(&first, &[1, 2])).await;
    let mut empty = facts(2, &second.address);
    second.stop().await;
    empty.instance = 99;
    let transport = NetTransport::new(Identity::new(2, empty.instance, 0, "test"), Arc::new(TcpConnect));
    let refused = ask_to_join(&transport, &first.address.to_string(), empty).await.unwrap_err();
    assert!(refused.is_final() && refused.to_string().contains("another data directory"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_is_not_taken_for_a_refusal() {
    let transport = NetTransport::new(Identity::new(2, 99, 0, "test"), Arc::new(TcpConnect));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let error = ask_to_join(&transport, &at.to_string(), facts(2, &at)).await.unwrap_err();
    let said = error.to_string();
    assert!(!error.is_final() && said.starts_with(&format!("no node answers at {at} (--join)")), "{said}");
    assert!(!said.contains("node 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_may_be_asked_to_join() {
    let folders = Folders::new();
    let first = Node::first(&folders).await;
    let second = Node::fresh(&folders, 2).await;
    second.joins(&first, &folders.shared()).await.unwrap();
    until(|| settled(&second, &[1, 2])).await;
    let third = Node::fresh(&folders, 3).await;
    third.joins(&second, &folders.shared()).await.unwrap();
    until(|| settled(&third, &[1, 2, 3])).await;
}
