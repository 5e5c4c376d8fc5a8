//! Groups that grow, shrink and purge, over a network without faults.

mod full;
mod reads;

use super::tape::{NOW, Tape, inline, open, open_alone};
use crate::codec;
use crate::consensus::Abandoned;
use crate::machine::{EntryId, Machine, Payload};
use crate::owner::opened_through;
use crate::storage::Storage;
use crate::transport::{BoxFuture, Call, GroupId, Member, NodeId, Rpc, ServeError, Transport, TransportError};
use crate::types::Proposal;
use crate::{Group, GroupError, GroupParts};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_event::{LogIndex, Micros, SharedBytes};
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::io::OnCommit;
use strandline_wal::{Group as WalGroup, GroupFailed, LogIo};

/// Groups by their nodes; calls to nodes that do not run, to those that do, and of these the ones to store entries.
#[derive(Default)]
pub(super) struct Net(pub(super) Mutex<BTreeMap<NodeId, Arc<Group>>>, AtomicU64, AtomicU64, AtomicU64);

/// The net as one node uses it.
struct Wire(NodeId, Arc<Net>);

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        node: NodeId,
        member: &'a Member,
        call: Call,
        _: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>> {
        let (from, group) = (self.0, self.1.0.lock().get(&node).cloned());
        Box::pin(async move {
            let unreachable = |why: String| TransportError::Unreachable { node, address: member.address.clone(), why };
            let group = group.ok_or_else(|| {
                self.1.1.fetch_add(1, Ordering::SeqCst);
                unreachable("it does not run".to_owned())
            })?;
            self.1.2.fetch_add(1, Ordering::SeqCst);
            let stores = |body| codec::append_request_of(body).is_ok_and(|asked| !asked.entries.is_empty());
            if call.rpc == Rpc::Append && stores(&call.body) {
                self.1.3.fetch_add(1, Ordering::SeqCst);
            }
            group.serve(from, call.rpc, call.body).await.map_err(|e| unreachable(e.to_string()))
        })
    }
}

pub(super) struct Node {
    pub(super) group: Arc<Group>,
    pub(super) tape: Arc<Tape>,
}

pub(super) async fn start(net: &Arc<Net>, disk: &CrashDisk, node: NodeId) -> Node {
    start_with(net, disk, node, inline()).await
}

async fn start_with(net: &Arc<Net>, disk: &CrashDisk, node: NodeId, io: Arc<dyn LogIo>) -> Node {
    let writer = open(disk, node, node == 1).writer.unwrap();
    let tape = Arc::new(Tape { opened: opened_through(&writer), ..Tape::default() });
    let storage = Storage::new(writer, io, Arc::new(|| NOW));
    let machine: Arc<dyn Machine> = Arc::clone(&tape) as _;
    let transport: Arc<dyn Transport> = Arc::new(Wire(node, Arc::clone(net)));
    let group = Group::open(GroupParts { id: GroupId::Meta, node, storage, machine, transport }).await.unwrap();
    net.0.lock().insert(node, Arc::clone(&group));
    Node { group, tape }
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain: {what}");
}

impl Node {
    pub(super) async fn leads(&self) -> EntryId {
        until("it leads", || self.tape.leads.lock().is_some()).await;
        self.tape.leads.lock().unwrap()
    }

    /// `count` entries of two payloads each, one after the other.
    pub(super) async fn propose(&self, count: u64) {
        let first = self.leads().await;
        let (next, _) = self.group.storage().next();
        for number in next..next + count {
            let payload = Payload::new(1, NOW, SharedBytes::copy_aligned(&[number as u8; 900]));
            let payloads = Arc::from([payload.clone(), payload]);
            self.group.propose(Proposal { leader: first.leader, number, payloads }).await.unwrap();
        }
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.tape.applied.lock().iter().map(|entry| entry.id.number).collect()
    }

    fn last_applied(&self) -> Option<EntryId> {
        self.tape.applied.lock().last().map(|entry| entry.id)
    }
}

pub(super) fn member(node: NodeId) -> Member {
    Member { address: format!("node{node}") }
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_votes_or_leads_in_the_name_of_another() {
    let (net, disk) = (Arc::new(Net::default()), CrashDisk::new());
    let one = start(&net, &disk, 1).await;
    one.propose(3).await;
    let before = one.group.status();
    let vote = openraft::Vote::new(before.term + 5, 1);
    let asked = codec::vote_request(&openraft::raft::VoteRequest::new(vote, None));
    let answer = one.group.serve(2, Rpc::Vote, asked).await;
    assert!(matches!(answer, Err(ServeError::Impersonates { from: 2, of: 1 })), "{answer:?}");
    let vote = openraft::Vote::new_committed(before.term + 5, 1);
    let sent =
        openraft::raft::AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    let answer = one.group.serve(2, Rpc::Append, codec::append_request(&sent)).await;
    assert!(matches!(answer, Err(ServeError::Impersonates { from: 2, of: 1 })), "{answer:?}");
    one.propose(1).await;
    assert_eq!(one.group.status().term, before.term);
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
async fn a_machine_that_has_given_its_leadership_up_by_itself_is_told_again() {
    let net = Arc::new(Net::default());
    let one = start(&net, &CrashDisk::new(), 1).await;
    one.propose(1).await;
    let term = one.group.status().term;
    *one.tape.leads.lock() = None;
    one.propose(1).await;
    assert_eq!(one.group.status().term, term, "it has led all the time");
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

/// Nodes 1 to `voters` vote, 1 leads; and one more that has nothing.
async fn group_of(net: &Arc<Net>, voters: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    for node in 1..=voters + 1 {
        nodes.push(start(net, &CrashDisk::new(), node).await);
    }
    nodes[0].leads().await;
    for node in 2..=voters {
        nodes[0].group.add_learner(node, member(node), true).await.unwrap();
    }
    nodes[0].group.set_voters((1..=voters).collect()).await.unwrap();
    nodes
}

#[tokio::test(start_paused = true)]
async fn what_is_proposed_waits_while_another_voter_is_asked_to_lead() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let (one, two, within) = (&nodes[0], &nodes[1], Duration::from_secs(1));
    one.propose(2).await;
    let leader = one.leads().await.leader;
    let propose = || {
        let (number, _) = one.group.storage().next();
        let payloads = Arc::from([Payload::new(1, NOW, SharedBytes::copy_aligned(b"late"))]);
        let (group, proposal) = (Arc::clone(&one.group), Proposal { leader, number, payloads });
        tokio::spawn(async move { group.propose(proposal).await })
    };
    let has_late = |node: &Node| {
        let applied = node.tape.applied.lock();
        applied.iter().flat_map(|entry| entry.payloads.iter()).filter(|p| &p.whole()[..] == b"late").count()
    };
    // it did not take it: everything goes on
    let quiet = one.group.quiet_before(2, within).await.unwrap();
    let proposed = propose();
    tokio::time::sleep(within).await;
    assert!(!proposed.is_finished() && has_late(one) == 0);
    drop(quiet);
    proposed.await.unwrap().unwrap();
    // it did, by its own vote and that of the leader, whose lease is over
    tokio::time::sleep(Duration::from_secs(3)).await;
    let quiet = one.group.quiet_before(2, within).await.unwrap();
    assert_eq!(one.group.status().behind(2), 0);
    let proposed = propose();
    two.group.elect().await.unwrap();
    assert!(one.group.is_led_by(2, within).await);
    drop(quiet);
    let refused = proposed.await.unwrap().unwrap_err();
    assert!(matches!(refused, Abandoned::NotLeader { .. }), "nothing was stored: {refused}");
    assert!(one.group.quiet_before(3, within).await.is_none(), "it leads no more");
    two.propose(1).await;
    until("all follow", || nodes[..3].iter().all(|node| node.last_applied() == two.last_applied())).await;
    assert!(nodes[..3].iter().all(|node| has_late(node) == 1));
}

#[tokio::test(start_paused = true)]
async fn of_five_voters_the_one_that_is_asked_alone_leads_once_leases_are_over() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 5).await;
    let (one, two) = (&nodes[0], &nodes[1]);
    one.propose(2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let quiet = one.group.quiet_before(2, Duration::from_secs(1)).await.unwrap();
    let asking = async {
        loop {
            two.group.elect().await.unwrap();
            if two.group.wins(Duration::from_millis(100)).await {
                break;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(4), asking).await.is_ok(), "it does not lead");
    drop(quiet);
    let led = |node: &Node| node.group.status().leader.is_some_and(|(leader, _)| leader == 2);
    until("all follow it", || nodes[..5].iter().all(led)).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_away_is_asked_a_few_times_a_second() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    net.0.lock().remove(&3);
    nodes[2].group.abort().await;
    // there is something that it lacks
    nodes[0].propose(3).await;
    let before = net.1.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let asked = net.1.load(Ordering::SeqCst) - before;
    assert!((20..=100).contains(&asked), "{asked} times in 20 s");
    let status = nodes[0].group.status();
    assert!(status.silent[&3] > Duration::from_secs(15) && status.silent[&2] < Duration::from_secs(1));
    assert!(status.lacks(3).is_some() && status.lacks(2).is_none(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn learners_make_no_quorum_and_their_loss_stops_nothing() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let five = start(&net, &CrashDisk::new(), 5).await;
    let (one, four) = (&nodes[0], &nodes[3]);
    one.group.add_learner(4, member(4), true).await.unwrap();
    one.group.add_learner(5, member(5), true).await.unwrap();
    one.propose(3).await;
    until("they follow", || [four, &five].iter().all(|node| node.last_applied() == one.last_applied())).await;
    // one that asks to lead asks for nothing
    let before = one.group.status().term;
    four.group.elect().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((one.group.status().term, four.group.status().term), (before, before));
    // two of five nodes are gone, and no voter
    for node in [4, 5] {
        net.0.lock().remove(&node);
    }
    let began = tokio::time::Instant::now();
    one.propose(20).await;
    assert!(began.elapsed() < Duration::from_secs(1), "nothing waits for a learner: {:?}", began.elapsed());
    net.0.lock().insert(4, Arc::clone(&four.group));
    net.0.lock().insert(5, Arc::clone(&five.group));
    until("they follow again", || [four, &five].iter().all(|node| node.last_applied() == one.last_applied())).await;
    // two of three voters are gone: three nodes of five run, and that is no quorum
    for node in [2, 3] {
        net.0.lock().remove(&node);
        nodes[node as usize - 1].group.abort().await;
    }
    until("a leader without a quorum stops to lead", || one.tape.leads.lock().is_none()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(four.tape.leads.lock().is_none() && five.tape.leads.lock().is_none());
    assert!(one.group.confirm().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_rests_asks_for_no_votes_before_its_leader_finds_it_again() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let (one, two, three) = (&nodes[0].group, &nodes[1].group, &nodes[2].group);
    let term = one.status().term;
    net.0.lock().remove(&3);
    three.rests();
    one.set_voters([1, 2].into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((three.status().term, three.has_member(3)), (term, true), "it has not heard that it votes no more");
    net.0.lock().insert(3, Arc::clone(three));
    one.add_learner(3, member(3), true).await.unwrap();
    one.set_voters([1, 2, 3].into()).await.unwrap();
    assert_eq!(one.status().term, term, "nobody was elected anew");
    until("it has all", || one.status().behind(3) == 0).await;
    // it takes part as before: another one rests, and it is the only one that may ask
    net.0.lock().remove(&1);
    one.abort().await;
    two.rests();
    until("it leads", || nodes[2].tape.leads.lock().is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn each_entry_goes_to_each_member_once() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let all_have = || nodes[..3].iter().all(|node| node.last_applied() == nodes[0].last_applied());
    nodes[0].propose(2).await;
    until("all hold it", all_have).await;
    let before = net.3.load(Ordering::SeqCst);
    nodes[0].propose(10).await;
    until("all hold the rest", all_have).await;
    let asked = net.3.load(Ordering::SeqCst) - before;
    assert!((10..=20).contains(&asked), "{asked} times");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_took_itself_away_makes_no_further_change() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let one = &nodes[0].group;
    one.set_voters([2, 3].into()).await.unwrap();
    // it still leads for a moment; the engine would panic
    let refused = one.add_learner(4, member(4), false).await.unwrap_err();
    assert!(matches!(refused, GroupError::NotLeader { .. }), "{refused}");
    assert_eq!(one.ended(), None);
    until("another one leads", || (2..=3).any(|n| nodes[n - 1].tape.leads.lock().is_some())).await;
    let leader = nodes.iter().find(|node| node.tape.leads.lock().is_some()).unwrap();
    leader.group.add_learner(4, member(4), true).await.unwrap();
    assert_eq!(leader.group.status().voters, [2, 3].into());
}

/// A disk that fails when it is told to.
struct Fails(Arc<dyn LogIo>, AtomicBool);

impl LogIo for Fails {
    fn submit(&self, group: WalGroup, done: OnCommit) {
        if self.1.load(Ordering::SeqCst) { done(Err(GroupFailed)) } else { self.0.submit(group, done) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_ends_by_itself_says_why_and_one_that_is_stopped_does_not() {
    let net = Arc::new(Net::default());
    let io = Arc::new(Fails(inline(), AtomicBool::new(false)));
    let one = start_with(&net, &CrashDisk::new(), 1, io.clone()).await;
    one.propose(1).await;
    assert_eq!(one.group.ended(), None);
    io.1.store(true, Ordering::SeqCst);
    let first = one.leads().await;
    let (number, _) = one.group.storage().next();
    let payloads = Arc::from([Payload::new(1, NOW, SharedBytes::copy_aligned(b"x"))]);
    let lost = one.group.propose(Proposal { leader: first.leader, number, payloads }).await.unwrap_err();
    assert!(matches!(lost, Abandoned::Unknown(_)), "{lost}");
    until("it is said", || one.group.ended().is_some()).await;
    assert!(one.tape.leads.lock().is_none());
    let two = start(&net, &CrashDisk::new(), 2).await;
    two.group.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(two.group.ended(), None);
    assert!(two.group.leaderless() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_group_says_who_belongs_to_it_as_soon_as_it_is_open() {
    let (net, disks) = (Arc::new(Net::default()), [CrashDisk::new(), CrashDisk::new()]);
    let said = |node: &Node| (node.group.status().voters, node.group.has_no_members());
    let one = start(&net, &disks[0], 1).await;
    assert_eq!(said(&one), ([1].into(), false));
    let two = start(&net, &disks[1], 2).await;
    assert_eq!(said(&two), ([].into(), true));
    one.leads().await;
    one.group.add_learner(2, member(2), true).await.unwrap();
    one.group.set_voters([1, 2].into()).await.unwrap();
    for node in [one, two] {
        net.0.lock().remove(&node.group.node());
        node.group.abort().await;
    }
    // it comes back alone, and takes itself neither for one that joins nor for one that is alone
    let one = start(&net, &disks[0], 1).await;
    assert_eq!(said(&one), ([1, 2].into(), false));
    assert!(one.group.has_member(2));
}

/// Its disk was emptied, or an older copy was put in its place: who leads goes on with the others.
#[tokio::test(start_paused = true)]
async fn a_member_that_lacks_what_it_acknowledged_ends_no_leader() {
    let net = Arc::new(Net::default());
    let disks: [CrashDisk; 5] = std::array::from_fn(|_| CrashDisk::new());
    let one = start(&net, &disks[0], 1).await;
    let two = start(&net, &disks[1], 2).await;
    let three = start(&net, &disks[2], 3).await;
    one.leads().await;
    for node in [2, 3] {
        one.group.add_learner(node, member(node), true).await.unwrap();
    }
    one.group.set_voters([1, 2, 3].into()).await.unwrap();
    one.propose(3).await;
    until("all hold it", || [&two, &three].iter().all(|node| node.numbers() == one.numbers())).await;
    net.0.lock().remove(&3);
    three.group.abort().await;
    let emptied = start(&net, &disks[3], 3).await;
    // it is asked several times meanwhile
    tokio::time::sleep(Duration::from_secs(5)).await;
    one.propose(3).await;
    until("the others go on", || two.numbers() == one.numbers()).await;
    assert_eq!((one.group.ended(), emptied.numbers()), (None, Vec::new()));
    assert!(one.group.status().silent[&3] >= Duration::from_secs(4), "it counts as away");
    // another one takes its place: openraft connects to all of them anew, and counts on what each has acknowledged
    let four = start(&net, &disks[4], 4).await;
    one.group.add_learner(4, member(4), true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((one.group.ended(), emptied.numbers()), (None, Vec::new()));
    one.group.set_voters([1, 2, 4].into()).await.unwrap();
    one.propose(3).await;
    until("who took its place has all", || four.numbers() == one.numbers()).await;
    // who has left may come back with nothing
    one.group.add_learner(3, member(3), true).await.unwrap();
    one.propose(1).await;
    until("it gets all", || emptied.numbers() == one.numbers()).await;
    assert_eq!(one.group.ended(), None);
}
