//! Groups that grow, shrink and purge, over a network without faults.

use super::tape::{NOW, Tape, inline, open, open_alone};
use crate::consensus::Abandoned;
use crate::machine::{EntryId, Machine, Payload};
use crate::owner::opened_through;
use crate::storage::Storage;
use crate::transport::{BoxFuture, Call, GroupId, Member, NodeId, Transport, TransportError};
use crate::types::Proposal;
use crate::{Group, GroupParts};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{LogIndex, Micros, SharedBytes};
use strandline_wal::crash_disk::CrashDisk;

#[derive(Default)]
struct Net(Mutex<BTreeMap<NodeId, Arc<Group>>>);

impl Transport for Net {
    fn call<'a>(
        &'a self,
        node: NodeId,
        member: &'a Member,
        call: Call,
        _: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>> {
        let group = self.0.lock().get(&node).cloned();
        Box::pin(async move {
            let unreachable = |why: String| TransportError::Unreachable { node, address: member.address.clone(), why };
            let group = group.ok_or_else(|| unreachable("it does not run".to_owned()))?;
            group.serve(call.rpc, call.body).await.map_err(|e| unreachable(e.to_string()))
        })
    }
}

struct Node {
    group: Arc<Group>,
    tape: Arc<Tape>,
}

async fn start(net: &Arc<Net>, disk: &CrashDisk, node: NodeId) -> Node {
    let writer = open(disk, node, node == 1).writer.unwrap();
    let tape = Arc::new(Tape { opened: opened_through(&writer), ..Tape::default() });
    let storage = Storage::new(writer, inline(), Arc::new(|| NOW));
    let machine: Arc<dyn Machine> = Arc::clone(&tape) as _;
    let transport: Arc<dyn Transport> = Arc::clone(net) as _;
    let group = Group::open(GroupParts { id: GroupId::Meta, node, storage, machine, transport }).await.unwrap();
    net.0.lock().insert(node, Arc::clone(&group));
    Node { group, tape }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain: {what}");
}

impl Node {
    async fn leads(&self) -> EntryId {
        until("it leads", || self.tape.leads.lock().is_some()).await;
        self.tape.leads.lock().unwrap()
    }

    /// `count` entries of two payloads each, one after the other.
    async fn propose(&self, count: u64) {
        let first = self.leads().await;
        let (next, _) = self.group.storage().next();
        for number in next..next + count {
            let payload = Payload::new(1, NOW, SharedBytes::copy_aligned(&[number as u8; 900]));
            let payloads = Arc::from([payload.clone(), payload]);
            self.group.propose(Proposal { leader: first.leader, number, payloads }).await.unwrap();
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.tape.applied.lock().iter().map(|entry| entry.id.number).collect()
    }

    fn last_applied(&self) -> Option<EntryId> {
        self.tape.applied.lock().last().map(|entry| entry.id)
    }
}

fn member(node: NodeId) -> Member {
    Member { address: format!("node{node}") }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_behind_what_was_purged_gets_a_pointer_and_the_tail() {
    let (net, disks) = (Arc::new(Net::default()), [CrashDisk::new(), CrashDisk::new()]);
    let one = start(&net, &disks[0], 1).await;
    one.propose(150).await;
    let through = one.last_applied().unwrap();
    one.group.compacted(through.index, Micros(i64::MAX)).await.unwrap();
    until("it purges", || one.group.status().purged.is_some_and(|purged| purged > 50)).await;
    one.propose(3).await;
    let two = start(&net, &disks[1], 2).await;
    one.group.add_learner(2, member(2), true).await.unwrap();
    until("it gets all", || two.last_applied() == one.last_applied()).await;
    let pointer = two.tape.installed.lock().clone().unwrap();
    assert_eq!((pointer.through, &pointer.body[..]), (through, &b"tape"[..]));
    // only what came behind the pointer was sent, and indices agree although most entries were never here
    assert_eq!(two.numbers()[0], through.number + 1);
    assert_eq!(two.group.status().voters, [1].into());
    one.group.set_voters([1, 2].into()).await.unwrap();
    one.leads().await;
    one.propose(2).await;
    until("both apply", || two.last_applied() == one.last_applied()).await;
    // a restart of the follower goes on where it was
    two.group.abort().await;
    net.0.lock().remove(&2);
    drop(two);
    let two = start(&net, &disks[1], 2).await;
    until("it leads again or follows", || two.group.status().leader.is_some()).await;
    assert_eq!(two.group.status().voters, [1, 2].into());
    assert_eq!(two.group.status().purged, Some(through.number));
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_node_alone_becomes_the_first_member_of_a_cluster() {
    let (net, disks) = (Arc::new(Net::default()), [CrashDisk::new(), CrashDisk::new()]);
    let last = open_alone(&disks[0], 1, 20);
    let one = start(&net, &disks[0], 1).await;
    let first = one.leads().await;
    assert!(first.leader.term > 1, "a leadership of its own");
    let alone: Vec<LogIndex> = one.tape.applied.lock().iter().map(|entry| entry.id.index).collect();
    assert!(alone.contains(&last), "what a node alone wrote is applied: {alone:?}");
    let two = start(&net, &disks[1], 2).await;
    one.group.add_learner(2, member(2), true).await.unwrap();
    until("it gets all", || two.last_applied() == one.last_applied()).await;
    let said = |node: &Node| {
        format!("{:?}", node.tape.applied.lock().iter().map(|e| (e.id, e.payloads.len())).collect::<Vec<_>>())
    };
    assert_eq!(said(&one), said(&two));
}

#[tokio::test(start_paused = true)]
async fn a_proposal_that_was_judged_for_another_place_is_not_stored() {
    let net = Arc::new(Net::default());
    let one = start(&net, &CrashDisk::new(), 1).await;
    one.propose(1).await;
    let first = one.leads().await;
    let (next, _) = one.group.storage().next();
    let payload = Payload::new(1, NOW, SharedBytes::copy_aligned(b"late"));
    let late = Proposal { leader: first.leader, number: next + 1, payloads: Arc::from([payload.clone()]) };
    assert_eq!(one.group.propose(late).await, Err(Abandoned::Stale));
    let other = crate::types::Proposal {
        leader: strandline_wal::LeaderId { term: first.leader.term + 1, node: 1 },
        number: next + 1,
        payloads: Arc::from([payload]),
    };
    assert_eq!(one.group.propose(other).await, Err(Abandoned::Stale));
    let stored =
        one.tape.applied.lock().iter().filter(|e| e.payloads.iter().any(|p| &p.whole()[..] == b"late")).count();
    assert_eq!(stored, 0);
    // the machine is told to look again, and goes on
    one.propose(2).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_refuses_and_names_the_leader() {
    let (net, disks) = (Arc::new(Net::default()), [CrashDisk::new(), CrashDisk::new()]);
    let one = start(&net, &disks[0], 1).await;
    one.leads().await;
    let two = start(&net, &disks[1], 2).await;
    one.group.add_learner(2, member(2), true).await.unwrap();
    one.group.set_voters([1, 2].into()).await.unwrap();
    until("it knows", || two.group.status().leader.is_some()).await;
    let payload = Payload::new(1, NOW, SharedBytes::copy_aligned(b"x"));
    let leader = strandline_wal::LeaderId { term: 1, node: 2 };
    let proposal = Proposal { leader, number: 1, payloads: Arc::from([payload]) };
    let refused = two.group.propose(proposal).await.unwrap_err();
    assert!(matches!(refused, Abandoned::NotLeader { leader: Some((1, _)) }), "{refused:?}");
    assert!(two.group.set_voters([2].into()).await.is_err());
    assert!(two.tape.leads.lock().is_none());
    // without the other voter nothing is acknowledged, and its machine is told that it leads no more
    net.0.lock().remove(&2);
    two.group.abort().await;
    until("a leader without a quorum stops to lead", || one.tape.leads.lock().is_none()).await;
}
