//! Groups over a disk that is full: it keeps what it got until there is room.

use super::{Net, Node, member, start, start_with, until};
use crate::consensus::Abandoned;
use crate::convert;
use crate::machine::Payload;
use crate::tests::tape::{NOW, inline};
use crate::types::Proposal;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_event::SharedBytes;
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::io::OnCommit;
use strandline_wal::{Group as WalGroup, LogIo};

/// Such a disk: it is full when it is told to be.
struct Full {
    io: Arc<dyn LogIo>,
    is_full: AtomicBool,
    waits: Mutex<Vec<(WalGroup, OnCommit)>>,
}

impl Full {
    fn new() -> Arc<Self> {
        Arc::new(Self { io: inline(), is_full: AtomicBool::new(false), waits: Mutex::default() })
    }

    fn has_something(&self) -> bool {
        !self.waits.lock().is_empty()
    }

    fn makes_room(&self) {
        self.is_full.store(false, Ordering::SeqCst);
        let waited = std::mem::take(&mut *self.waits.lock());
        for (group, done) in waited {
            self.io.submit(group, done);
        }
    }
}

impl LogIo for Full {
    fn submit(&self, group: WalGroup, done: OnCommit) {
        if self.is_full.load(Ordering::SeqCst) {
            self.waits.lock().push((group, done));
        } else {
            self.io.submit(group, done);
        }
    }
}

/// An entry that is on its way to the disk of a leader, and does not get there.
async fn stalled(node: &Node, disk: &Full) -> tokio::task::JoinHandle<Result<(), Abandoned>> {
    let first = node.leads().await;
    let (number, _) = node.group.storage().next();
    disk.is_full.store(true, Ordering::SeqCst);
    let payloads = Arc::from([Payload::new(1, NOW, SharedBytes::copy_aligned(b"stalled"))]);
    let (group, proposal) = (Arc::clone(&node.group), Proposal { leader: first.leader, number, payloads });
    let proposed = tokio::spawn(async move { group.propose(proposal).await });
    until("it waits for the disk", || disk.has_something()).await;
    proposed
}

#[tokio::test(start_paused = true)]
async fn a_group_ends_although_its_disk_takes_nothing() {
    for at_once in [true, false] {
        let (net, disk, io) = (Arc::new(Net::default()), CrashDisk::new(), Full::new());
        let one = start_with(&net, &disk, 1, io.clone()).await;
        one.propose(2).await;
        let acknowledged = one.last_applied().unwrap();
        let proposed = stalled(&one, &io).await;
        let ending = async { if at_once { one.group.abort().await } else { one.group.stop().await } };
        let ended = tokio::time::timeout(Duration::from_secs(60), ending).await;
        assert!(ended.is_ok(), "it waits for the disk for ever");
        let outcome = proposed.await.unwrap().unwrap_err();
        assert!(matches!(outcome, Abandoned::Unknown(_)), "{outcome}");
        assert_eq!(one.group.ended(), None, "it was told to");
        // the process is gone, and what it was about to write with it
        io.waits.lock().clear();
        drop(one);
        let again = start(&net, &disk, 1).await;
        again.leads().await;
        assert!(again.group.storage().holds(convert::last_of(acknowledged)));
        assert!(!again.tape.applied.lock().iter().any(|e| e.payloads.iter().any(|p| &p.whole()[..] == b"stalled")));
        again.propose(1).await;
    }
}

/// Three voters, of which the first leads, and its disk, which may be full.
async fn three() -> (Vec<Node>, Arc<Full>) {
    let (net, io) = (Arc::new(Net::default()), Full::new());
    let mut nodes = vec![start_with(&net, &CrashDisk::new(), 1, io.clone()).await];
    for node in [2, 3] {
        nodes.push(start(&net, &CrashDisk::new(), node).await);
        nodes[0].leads().await;
        nodes[0].group.add_learner(node, member(node), true).await.unwrap();
    }
    nodes[0].group.set_voters([1, 2, 3].into()).await.unwrap();
    nodes[0].propose(2).await;
    (nodes, io)
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_is_full_leads_no_more_and_follows_when_there_is_room() {
    let (nodes, io) = three().await;
    let proposed = stalled(&nodes[0], &io).await;
    until("its machine leads no more", || nodes[0].tape.leads.lock().is_none()).await;
    until("another one leads", || nodes[1..].iter().any(|node| node.tape.leads.lock().is_some())).await;
    let next = nodes[1..].iter().find(|node| node.tape.leads.lock().is_some()).unwrap();
    next.propose(2).await;
    assert!(io.has_something());
    io.makes_room();
    // the others had it before the disk of its leader, and the next leader goes on behind it
    proposed.await.unwrap().unwrap();
    until("it follows", || nodes.iter().all(|node| node.last_applied() == next.last_applied())).await;
    assert_eq!(nodes[0].numbers(), next.numbers());
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_on_the_disks_of_followers_before_its_leaders_and_is_committed_behind_all() {
    let (nodes, io) = three().await;
    until("all hold it", || nodes.iter().all(|node| node.last_applied() == nodes[0].last_applied())).await;
    let (number, _) = nodes[0].group.storage().next();
    let proposed = stalled(&nodes[0], &io).await;
    until("they hold it", || nodes[1..].iter().all(|node| node.group.storage().next().0 > number)).await;
    assert!(nodes.iter().all(|node| node.group.applied() < Some(number)) && !proposed.is_finished());
    // before anybody takes it for gone
    io.makes_room();
    proposed.await.unwrap().unwrap();
    until("all hold it", || nodes.iter().all(|node| node.group.applied() == Some(number))).await;
    assert_eq!(nodes[0].leads().await.leader.node, 1);
}

#[tokio::test(start_paused = true)]
async fn the_only_voter_leads_on_when_its_disk_has_room_again() {
    let (net, io) = (Arc::new(Net::default()), Full::new());
    let one = start_with(&net, &CrashDisk::new(), 1, io.clone()).await;
    one.propose(1).await;
    let leads = one.leads().await;
    let proposed = stalled(&one, &io).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(*one.tape.leads.lock(), Some(leads), "nobody else can lead: who waits is answered when there is room");
    io.makes_room();
    proposed.await.unwrap().unwrap();
    one.propose(1).await;
}
