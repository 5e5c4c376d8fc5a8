//! Who is let in: the cluster, the node that is meant, nodes that are still there.

use crate::frames::hello;
use crate::node::{CLUSTER, Node, SOON, call, transport, transport_of, until};
use strandline_consensus::net::limits::{CONNECTIONS_MAX, STRANGERS_MAX};
use strandline_consensus::net::{Ask, Hello, NetTransport};
use strandline_consensus::{Transport, TransportError};
use strandline_event::SharedBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
async fn a_connection_is_known_as_long_as_it_stands_and_each_is_another_one() {
    let node = Node::start(2, CLUSTER).await;
    let (first, second) = (transport(), transport());
    for transport in [&first, &second, &first] {
        transport.call(2, &node.member(), call(b"x"), SOON).await.unwrap();
    }
    let links = || node.world.links.lock().iter().copied().collect::<Vec<_>>();
    assert_eq!(links(), [(1, 1), (1, 2)]);
    first.leave();
    until(|| links() == [(1, 2)]).await;
    // a process that is killed has asked for something that is still worked on
    let member = node.member();
    let waiting = tokio::spawn(async move { second.call(2, &member, call(b"w"), SOON).await });
    until(|| node.world.seen.lock().len() == 4).await;
    waiting.abort();
    until(|| links().is_empty()).await;
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

/// It shows a certificate of the authority, and knows the cluster's id: that makes no member of it.
#[tokio::test]
async fn who_is_no_member_takes_no_part_in_a_group() {
    let node = Node::start(2, CLUSTER).await;
    node.world.strangers.lock().insert(9);
    let stranger = transport_of(9, CLUSTER);
    let said = why(&stranger, 2, &node).await;
    assert!(said.contains("node 9 is no member: not in orders/Order"), "{said}");
    assert!(node.world.seen.lock().is_empty());
    // once it is one, over the same connection
    node.world.strangers.lock().clear();
    assert_eq!(stranger.call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
}

#[tokio::test]
async fn connections_of_who_is_no_member_are_few_and_leave_room_for_members() {
    let node = Node::start(2, CLUSTER).await;
    node.world.strangers.lock().insert(9);
    let mut open = Vec::new();
    for _ in 0..STRANGERS_MAX {
        open.push(greeted_as(&node, 9).await.unwrap());
    }
    let said = why(&transport_of(9, CLUSTER), 2, &node).await;
    assert!(said.contains("too many that are no members"), "{said}");
    assert_eq!(transport().call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
    // a place is free again when one of them ends
    open.pop();
    while why(&transport_of(9, CLUSTER), 2, &node).await.contains("too many") {}
}

/// A connection that says who it is; `None`: it is closed without a word.
async fn greeted(node: &Node) -> Option<TcpStream> {
    greeted_as(node, 1).await
}

async fn greeted_as(node: &Node, id: u64) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    let known = Hello { cluster: CLUSTER, to: 2, node: id, ..hello() };
    stream.write_all(&known.encode().into_bytes()).await.ok()?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.ok()?;
    Some(stream)
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_next_after_an_end_is_not() {
    let node = Node::start(2, CLUSTER).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        open.push(greeted(&node).await.unwrap());
    }
    assert!(greeted(&node).await.is_none());
    open.truncate(CONNECTIONS_MAX - 8);
    let mut next = None;
    while next.is_none() {
        next = greeted(&node).await;
    }
    assert_eq!(transport().call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
}

/// A stranger may connect as often as it likes: who has said nothing, or has only begun to, gives way to who comes later.
#[tokio::test]
async fn connections_that_say_nothing_keep_no_member_out() {
    let node = Node::start(2, CLUSTER).await;
    let mut silent = Vec::new();
    for n in 0..CONNECTIONS_MAX + 8 {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        if n % 2 == 0 {
            // one that gave way is closed
            let _ = stream.write_all(&hello().encode().into_bytes()[..9]).await;
        }
        silent.push(stream);
    }
    assert_eq!(transport().call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
    assert!(greeted(&node).await.is_some());
}
