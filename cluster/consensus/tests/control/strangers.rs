//! Who holds a certificate, or reaches the listener, and never joined: nothing that it says counts. Who joined while a node was away does.

use crate::node::{CLUSTER, Folders, Node, STORE, facts, settled, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_consensus::control::Looks;
use strandline_consensus::meta::{Command, Erasable};
use strandline_consensus::net::{Ask, Identity, NetTransport, TcpConnect};
use strandline_consensus::{BoxFuture, Call, GroupId, Leadership, Member, NodeId, Rpc, Transport};
use strandline_event::SharedBytes;

const SOON: Duration = Duration::from_secs(20);

/// What speaks as a node that is not there.
fn speaking_as(node: NodeId) -> NetTransport {
    let instance = facts(node, &"127.0.0.1:1".parse().unwrap()).instance;
    NetTransport::new(Identity::new(node, instance, CLUSTER, "test"), Arc::new(TcpConnect))
}

/// What a node answers to a request of the meta group that says nothing: whether it is read at all.
async fn answered(transport: &NetTransport, to: &Node, rpc: Rpc) -> String {
    let call = Call { group: GroupId::Meta, rpc, body: SharedBytes::copy_aligned(b"nothing that anybody says") };
    let member = Member { address: to.address.to_string() };
    transport.call(to.control.node(), &member, call, SOON).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_joined_has_no_vote_no_entries_and_no_answers() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    let stranger = speaking_as(9);
    let term = nodes[1].group.status().term;
    for rpc in [Rpc::Vote, Rpc::Append, Rpc::Snapshot] {
        for node in &nodes {
            let said = answered(&stranger, node, rpc).await;
            assert!(said.contains("no member of this cluster"), "{rpc:?}: {said}");
        }
    }
    // nor does it take a group over, or hear what the cluster knows
    for kind in 4..=11 {
        let ask = Ask { kind, body: SharedBytes::copy_aligned(&[]) };
        let said = stranger.ask(2, &nodes[1].address.to_string(), ask, SOON).await.unwrap_err().to_string();
        assert!(said.contains("no member of this cluster"), "{kind}: {said}");
    }
    assert_eq!(nodes[1].group.status().term, term);
    // a member's requests are read
    let said = answered(nodes[0].control.transport(), &nodes[1], Rpc::Vote).await;
    assert!(said.contains("cannot be read"), "{said}");
}

/// The folder of a voter is lost, and somebody starts it again at its address, under its id: what it had acknowledged it does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_under_the_id_of_a_voter_takes_no_part() {
    let (folders, emptied) = (Folders::new(), Folders::new());
    let mut nodes = Node::three(&folders).await;
    let lost = nodes.pop().unwrap();
    let at = lost.address.to_string();
    lost.stop().await;
    let third = Node::run(&emptied, 3, 0, &at, false).await;
    for rpc in [Rpc::Vote, Rpc::Append, Rpc::Snapshot] {
        let said = answered(&speaking_as(1), &third, rpc).await;
        assert!(said.contains("has not joined the cluster yet"), "{rpc:?}: {said}");
    }
    // who leads speaks to it, and goes on without it
    let refused = async {
        while !answered(nodes[0].control.transport(), &third, Rpc::Append).await.contains("has not joined") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    for n in 0..3 {
        let register = Command::RegisterType {
            store: STORE.into(),
            name: format!("Type{n}"),
            buckets: 1,
            erasable: Erasable::No,
            registered: true,
        };
        nodes[n % 2].control.propose(&register).await.unwrap();
    }
    assert!(third.group.has_no_members());
}

/// It knows nothing of the one that speaks to it, and asks those that it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_hears_one_that_joined_meanwhile() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    nodes.pop().unwrap().stop().await;
    let fourth = Node::fresh(&folders, 4).await;
    fourth.joins_at_last(&nodes[0], &folders.shared()).await.unwrap();
    until(|| fourth.control.state().nodes().contains_key(&4)).await;
    // where the others do not look for it: only the new one speaks to it
    let back = Node::run(&folders, 3, CLUSTER, "127.0.0.1:0", false).await;
    // which looks for it there
    let of_the_fourth = speaking_as(4);
    assert!(!back.control.state().nodes().contains_key(&4));
    let said = answered(&of_the_fourth, &back, Rpc::Append).await;
    // it may have been told between the greeting and the request
    assert!(["ask again", "cannot be read"].iter().any(|text| said.contains(text)), "{said}");
    while !answered(&of_the_fourth, &back, Rpc::Append).await.contains("cannot be read") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // one that is no member is not vouched for by anybody
    let said = answered(&speaking_as(9), &back, Rpc::Append).await;
    assert!(said.contains("no member of this cluster"), "{said}");
}

/// Who is asked to lead hears it from the leader, or, without one, from a voter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_says_who_takes_over() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    until(|| nodes.iter().all(|node| settled(node, &[1, 2, 3]))).await;
    let leads = nodes.iter().position(|node| node.group.leadership() == Leadership::Leads).unwrap();
    let (other, third) = (&nodes[(leads + 1) % 3], &nodes[(leads + 2) % 3]);
    until(|| third.group.status().leader.is_some()).await;
    // version, the meta group (PROTOCOL.md and META.md), and: ask for votes once
    let body = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0; 12], &0u64.to_le_bytes()].concat();
    let ask = Ask { kind: 6, body: SharedBytes::copy_aligned(&body) };
    let address = third.address.to_string();
    let said = other.control.transport().ask(third.control.node(), &address, ask, SOON).await.unwrap_err().to_string();
    assert!(said.contains("does not lead"), "{said}");
}

/// How a store of a test looks for what was committed.
struct Looking {
    looked: AtomicUsize,
    fails: bool,
}

impl Looks for Looking {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.looked.fetch_add(1, Ordering::SeqCst);
            if self.fails { Err("the object store does not answer".to_owned()) } else { Ok(()) }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_looks_when_it_is_asked_and_who_does_not_is_named() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let lookers: Vec<_> =
        [false, false, true].map(|fails| Arc::new(Looking { looked: AtomicUsize::new(0), fails })).into();
    for (node, looker) in nodes.iter().zip(&lookers) {
        node.control.looks_by("orders", looker.clone());
    }
    let looked = || lookers.iter().map(|looker| looker.looked.load(Ordering::SeqCst)).collect::<Vec<_>>();
    until(|| nodes[0].control.state().nodes().len() == 3).await;
    assert_eq!(nodes[0].control.look_everywhere("orders").await, [3]);
    assert_eq!(looked(), [0, 1, 1]);
    // nothing of a store that a node has not opened is shown there
    assert_eq!(nodes[0].control.look_everywhere("other").await, [0; 0]);
    nodes.remove(1).stop().await;
    assert_eq!(nodes[0].control.look_everywhere("orders").await, [2, 3]);
}
