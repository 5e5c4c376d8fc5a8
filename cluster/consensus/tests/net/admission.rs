//! Who is let in: the cluster, the node that is meant, nodes that are still there.

use crate::node::{CLUSTER, Node, SOON, call, transport, transport_of};
use strandline_consensus::net::{Ask, NetTransport};
use strandline_consensus::{Transport, TransportError};
use strandline_event::SharedBytes;

async fn why(transport: &NetTransport, to: u64, node: &Node) -> String {
    match transport.call(to, &node.member(), call(b"x"), SOON).await {
        Err(TransportError::Unreachable { why, .. } | TransportError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let node = Node::start(2, CLUSTER).await;
    let said = why(&transport_of(1, 78), 2, &node).await;
    assert!(said.contains("cluster 0000000000000000000000000000004d"), "{said}");
    assert!(node.world.seen.lock().is_empty());
}

#[tokio::test]
async fn a_request_goes_to_the_node_that_is_meant_or_nowhere() {
    let node = Node::start(2, CLUSTER).await;
    let said = why(&transport(), 3, &node).await;
    assert!(said.contains("this is node 2, not node 3"), "{said}");
    assert!(node.world.seen.lock().is_empty());
}

#[tokio::test]
async fn a_removed_node_is_not_heard() {
    let node = Node::start(2, CLUSTER).await;
    node.world.removed.lock().insert(1);
    let said = why(&transport(), 2, &node).await;
    assert!(said.contains("node 1 was removed"), "{said}");
}

#[tokio::test]
async fn who_has_not_joined_may_ask_and_nothing_else() {
    let node = Node::start(2, CLUSTER).await;
    let joining = transport_of(5, 0);
    let ask = Ask { kind: 1, body: SharedBytes::copy_aligned(b"") };
    assert_eq!(joining.ask(0, &node.address, ask, SOON).await.unwrap()[..], *b"5 1");
    let said = why(&joining, 2, &node).await;
    assert!(said.contains("not joined"), "{said}");
    assert!(node.world.seen.lock().is_empty());
}

#[tokio::test]
async fn a_node_that_has_joined_is_known_from_its_next_connection_on() {
    let node = Node::start(2, 0).await;
    node.identity.joined(CLUSTER);
    // it never changes its cluster
    node.identity.joined(5);
    assert_eq!(node.identity.cluster(), CLUSTER);
    assert_eq!(transport().call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
}
