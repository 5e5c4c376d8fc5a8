//! Connections that break, hang, or lead nowhere.

use crate::node::{CLUSTER, Node, SOON, call, transport, until};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::net::{NetTransport, Welcome, encode_answer};
use strandline_consensus::{Member, Transport, TransportError};
use strandline_event::SharedBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_node_that_comes_back_is_found_again() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    assert_eq!(transport.call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
    let member = node.member();
    let address = node.stop().await;
    let gone = transport.call(2, &member, call(b"ab"), SOON).await;
    assert!(matches!(gone, Err(TransportError::Unreachable { .. })), "{gone:?}");
    // while nobody is there an attempt costs no time
    let again = transport.call(2, &member, call(b"ab"), SOON).await;
    assert!(matches!(again, Err(TransportError::Unreachable { .. })), "{again:?}");
    let node = Node::start_at(2, CLUSTER, &address).await;
    let mut answer = Err(TransportError::TimedOut { node: 2, waited_ms: 0 });
    while answer.is_err() {
        answer = transport.call(2, &node.member(), call(b"ab"), SOON).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(answer.unwrap()[..], *b"ba");
}

#[tokio::test]
async fn who_waits_on_a_connection_that_breaks_is_told_at_once() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    let waiting = tokio::spawn({
        let (transport, member) = (transport.clone(), node.member());
        async move { transport.call(2, &member, call(b"wait"), Duration::from_secs(3_600)).await }
    });
    until(|| !node.world.seen.lock().is_empty()).await;
    node.stop().await;
    let told = waiting.await.unwrap();
    assert!(matches!(told, Err(TransportError::Unreachable { .. })), "{told:?}");
}

#[tokio::test]
async fn a_node_that_moved_is_spoken_to_at_its_new_address() {
    let (old, transport) = (Node::start(2, CLUSTER).await, transport());
    transport.call(2, &old.member(), call(b"x"), SOON).await.unwrap();
    let new = Node::start(2, CLUSTER).await;
    transport.call(2, &new.member(), call(b"x"), SOON).await.unwrap();
    assert_eq!((old.world.seen.lock().len(), new.world.seen.lock().len()), (1, 1));
}

/// Listens as node 2; what happens on each connection is the test's.
async fn listening() -> (TcpListener, Member) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = Member { address: listener.local_addr().unwrap().to_string() };
    (listener, member)
}

async fn greet(stream: &mut TcpStream) {
    let mut head = [0; 32];
    stream.read_exact(&mut head).await.unwrap();
    let bytes = u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize;
    stream.read_exact(&mut vec![0; bytes.next_multiple_of(16)]).await.unwrap();
    let welcome = Welcome { version: 1, body_max: 1 << 20, cluster: CLUSTER, node: 2, program: "test".into() };
    stream.write_all(&welcome.encode().into_bytes()).await.unwrap();
}

/// The next request's id.
async fn asked(stream: &mut TcpStream) -> u64 {
    let mut frame = [0; 32];
    stream.read_exact(&mut frame).await.unwrap();
    u64::from_le_bytes(frame[8..16].try_into().unwrap())
}

async fn answer(stream: &mut TcpStream, request: u64, body: &[u8]) {
    stream.write_all(&encode_answer(request, body.to_vec()).into_bytes()).await.unwrap();
}

/// Asks node 2 in a task of its own.
fn ask(transport: &Arc<NetTransport>, member: &Member) -> JoinHandle<Result<SharedBytes, TransportError>> {
    let (transport, member) = (Arc::clone(transport), member.clone());
    tokio::spawn(async move { transport.call(2, &member, call(b"ab"), SOON).await })
}

#[tokio::test]
async fn a_link_that_swallows_everything_is_left_after_one_deadline() {
    let (listener, member) = listening().await;
    let transport = transport();
    let asking = tokio::spawn({
        let (transport, member) = (transport.clone(), member.clone());
        async move {
            let lost = transport.call(2, &member, call(b"ab"), Duration::from_millis(100)).await;
            assert!(matches!(lost, Err(TransportError::TimedOut { .. })), "{lost:?}");
            transport.call(2, &member, call(b"ab"), SOON).await
        }
    });
    let (mut dead, _) = listener.accept().await.unwrap();
    greet(&mut dead).await;
    // the second connection is answered; the first is still open on this side
    let (mut live, _) = listener.accept().await.unwrap();
    greet(&mut live).await;
    let request = asked(&mut live).await;
    answer(&mut live, request, b"yes").await;
    assert_eq!(asking.await.unwrap().unwrap()[..], *b"yes");
}

#[tokio::test]
async fn an_attempt_to_connect_outlives_the_caller_who_began_it() {
    let (listener, member) = listening().await;
    let transport = transport();
    let hasty = transport.call(2, &member, call(b"ab"), Duration::from_millis(30)).await;
    assert!(matches!(hasty, Err(TransportError::TimedOut { .. })), "{hasty:?}");
    let patient = ask(&transport, &member);
    let (mut stream, _) = listener.accept().await.unwrap();
    greet(&mut stream).await;
    // the first request was given up: what arrives is the second one
    let request = asked(&mut stream).await;
    answer(&mut stream, request, b"yes").await;
    assert_eq!(patient.await.unwrap().unwrap()[..], *b"yes");
    // one attempt, not two
    let more = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn answers_that_nobody_asked_for_harm_nobody() {
    let (listener, member) = listening().await;
    let transport = transport();
    let asking = ask(&transport, &member);
    let (mut stream, _) = listener.accept().await.unwrap();
    greet(&mut stream).await;
    let request = asked(&mut stream).await;
    // twice, late and early: duplicated and reordered
    for (id, body) in [(request + 5, &b"no"[..]), (request, b"yes"), (request, b"twice")] {
        answer(&mut stream, id, body).await;
    }
    assert_eq!(asking.await.unwrap().unwrap()[..], *b"yes");
}

#[tokio::test]
async fn what_the_cluster_knows_of_an_address_counts_more_than_a_membership() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    // the log of a node alone does not say where it is
    let nowhere = Member::default();
    let lost = transport.call(2, &nowhere, call(b"x"), SOON).await;
    assert!(matches!(lost, Err(TransportError::Unreachable { .. })), "{lost:?}");
    transport.learn(2, &node.address);
    transport.call(2, &nowhere, call(b"x"), SOON).await.unwrap();
    transport.forget(2);
    assert!(transport.call(2, &nowhere, call(b"x"), SOON).await.is_err());
}
