//! Requests and answers over real connections.

use crate::node::{CLUSTER, Node, SOON, call, transport, until};
use std::time::Duration;
use strandline_consensus::net::Ask;
use strandline_consensus::{Call, GroupId, Rpc, Transport, TransportError};
use strandline_event::SharedBytes;

#[tokio::test]
async fn an_answer_finds_its_request_whatever_the_order() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    let member = node.member();
    let slow = tokio::spawn({
        let (transport, member) = (transport.clone(), member.clone());
        async move { transport.call(2, &member, call(b"wait"), SOON).await }
    });
    until(|| !node.world.seen.lock().is_empty()).await;
    let many = (0..200_u32).map(|i| {
        let (transport, member) = (transport.clone(), member.clone());
        tokio::spawn(async move {
            let body = i.to_le_bytes().repeat(1 + i as usize * 7);
            let mut answer =
                transport.call(2, &member, call(&[&b"x"[..], &body].concat()), SOON).await.unwrap().to_vec();
            answer.reverse();
            assert_eq!(answer[1..], body);
        })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert!(!slow.is_finished());
    node.world.release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap()[..], *b"tiaw");
}

#[tokio::test]
async fn bodies_are_whole_aligned_and_as_large_as_a_frame_of_the_log() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    for bytes in [0, 1, 15, 16, 17, 4_000, 70_000, (1 << 20) - 33, 3 << 20, 40 << 20] {
        let body: Vec<u8> = (0..bytes).map(|i| b'a' + (i % 23) as u8).collect();
        let answer = transport.call(2, &node.member(), call(&body), SOON).await.unwrap();
        assert!(answer.iter().eq(body.iter().rev()), "{bytes}");
        assert!(answer.is_aligned() || bytes == 0);
    }
    assert!(node.world.seen.lock().iter().all(|(from, _, _, aligned)| *from == 1 && *aligned));
    let huge = SharedBytes::from_aligned({
        let mut bytes = strandline_event::bytes::AlignedBytes::new();
        bytes.resize(265 << 20, 0);
        bytes
    });
    let wanted = Call { group: GroupId::Meta, rpc: Rpc::Snapshot, body: huge };
    let refused = transport.call(2, &node.member(), wanted, SOON).await;
    assert!(matches!(refused, Err(TransportError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test]
async fn groups_and_rpcs_arrive_as_they_were_sent() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    for rpc in [Rpc::Append, Rpc::Vote, Rpc::Snapshot] {
        for group in [GroupId::Meta, call(b"").group] {
            let wanted = Call { group: group.clone(), rpc, body: SharedBytes::copy_aligned(b"x") };
            transport.call(2, &node.member(), wanted, SOON).await.unwrap();
            assert_eq!(node.world.seen.lock().pop(), Some((1, group, rpc, true)));
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_the_connection_stays() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    for (body, said) in [(&b"?"[..], "no member of group orders/Order~3"), (b"!", "its log is damaged")] {
        match transport.call(2, &node.member(), call(body), SOON).await {
            Err(TransportError::Refused { node: 2, why }) => assert!(why.contains(said), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(transport.call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
}

#[tokio::test]
async fn questions_about_the_cluster_go_beside_the_groups() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    let ask = |kind| Ask { kind, body: SharedBytes::copy_aligned(b"body") };
    // 0: whoever listens there
    for to in [0, 2] {
        assert_eq!(transport.ask(to, &node.address, ask(5), SOON).await.unwrap()[..], *b"1 5");
    }
    match transport.ask(2, &node.address, ask(9), SOON).await {
        Err(TransportError::Refused { why, .. }) => assert_eq!(why, "nine is refused"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deadline_is_kept_and_an_answer_that_comes_late_is_nobodys() {
    let (node, transport) = (Node::start(2, CLUSTER).await, transport());
    // so that the connection has been heard on and stays
    let keep = tokio::spawn({
        let (transport, member) = (transport.clone(), node.member());
        async move {
            for _ in 0..40 {
                transport.call(2, &member, call(b"ab"), SOON).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let late = transport.call(2, &node.member(), call(b"wait"), Duration::from_millis(60)).await;
    assert!(matches!(late, Err(TransportError::TimedOut { node: 2, waited_ms: 60 })), "{late:?}");
    node.world.release.notify_one();
    keep.await.unwrap();
}
