//! A member that lacks what it had acknowledged: its leader knows, it finds so itself, and takes no part any more.

use super::members::{Net, Node, member, start, until};
use crate::contact::Lost;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::Micros;
use strandline_wal::LeaderId;
use strandline_wal::crash_disk::CrashDisk;

/// Three voters that hold the same; of the third one an older copy is in its place: gives them and it.
async fn with_an_older_copy(net: &Arc<Net>) -> (Node, Node, Node) {
    let disks: [CrashDisk; 3] = std::array::from_fn(|_| CrashDisk::new());
    let one = start(net, &disks[0], 1).await;
    let two = start(net, &disks[1], 2).await;
    let three = start(net, &disks[2], 3).await;
    one.leads().await;
    for node in [2, 3] {
        one.group.add_learner(node, member(node), true).await.unwrap();
    }
    one.group.set_voters([1, 2, 3].into()).await.unwrap();
    one.propose(2).await;
    let all_have = || [&two, &three].iter().all(|node| node.numbers() == one.numbers());
    until("all hold it", all_have).await;
    let copy = disks[2].copied();
    one.propose(3).await;
    until("all hold the rest", all_have).await;
    assert!(one.group.lacking().is_empty());
    net.0.lock().remove(&3);
    three.group.abort().await;
    drop(three);
    let older = start(net, &copy, 3).await;
    until("the leader knows", || !one.group.lacking().is_empty()).await;
    (one, two, older)
}

#[tokio::test(start_paused = true)]
async fn a_member_finds_what_it_has_lost_and_believes_nobody_else() {
    let net = Arc::new(Net::default());
    let (one, two, older) = with_an_older_copy(&net).await;
    let lacking = one.group.lacking();
    let (node, lost) = lacking[0];
    assert_eq!((lacking.len(), node, lost.term), (1, 3, one.group.status().term));
    until("it follows", || older.group.status().leader.is_some_and(|(leader, _)| leader == 1)).await;
    assert!(older.group.has_lost(1, lost));
    // of whom it does not follow, of another term, or of what it has
    let there = Lost { number: older.group.storage().next().0 - 1, ..lost };
    assert!(!older.group.has_lost(2, lost) && !older.group.has_lost(1, Lost { term: lost.term + 1, ..lost }));
    assert!(!older.group.has_lost(1, there) && !two.group.has_lost(1, lost));
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_is_not_lost() {
    let net = Arc::new(Net::default());
    let one = start(&net, &CrashDisk::new(), 1).await;
    one.propose(150).await;
    let through = one.tape.applied.lock().last().map(|entry| entry.id).unwrap();
    one.group.compacted(through.index, Micros(i64::MAX)).await.unwrap();
    until("it purges", || one.group.status().purged.is_some_and(|purged| purged > 50)).await;
    one.propose(1).await;
    let last = one.tape.applied.lock().last().map(|entry| entry.id).unwrap();
    let (storage, other) = (one.group.storage(), LeaderId { node: 2, ..last.leader });
    // whoever made it: it is elsewhere
    assert!(storage.has(last.leader, 50) && storage.has(other, 50));
    assert!(storage.has(last.leader, last.number) && !storage.has(other, last.number));
    assert!(!storage.has(last.leader, last.number + 1));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_forsaken_votes_for_nobody_once_the_leader_that_knew_is_gone() {
    let net = Arc::new(Net::default());
    let (one, two, older) = with_an_older_copy(&net).await;
    older.group.forsake("it lacks an entry").await;
    assert_eq!(older.group.ended().as_deref(), Some("it lacks an entry"));
    one.propose(2).await;
    until("the others go on", || two.numbers() == one.numbers()).await;
    net.0.lock().remove(&1);
    one.group.abort().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(two.tape.leads.lock().is_none(), "it would lead by the vote of one that has lost what it acknowledged");
    assert_eq!(older.group.ended().as_deref(), Some("it lacks an entry"));
}

/// As a log is born that its node founds.
#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_has_made_is_made_by_one_of_its_nodes_and_no_other_one_is() {
    let (net, disks) = (Arc::new(Net::default()), [CrashDisk::new(), CrashDisk::new()]);
    let (two, three) = (start(&net, &disks[0], 2).await, start(&net, &disks[1], 3).await);
    assert_eq!((two.group.is_unmade().await, three.group.is_unmade().await), (Ok(true), Ok(true)));
    assert_eq!(two.group.found().await, Ok(true));
    two.leads().await;
    assert_eq!((two.group.found().await, three.group.is_unmade().await), (Ok(false), Ok(true)));
    two.group.add_learner(3, member(3), true).await.unwrap();
    two.group.set_voters([2, 3].into()).await.unwrap();
    two.propose(2).await;
    until("both hold it", || three.numbers() == two.numbers()).await;
    // its log has begun elsewhere
    assert_eq!((three.group.is_unmade().await, three.group.found().await), (Ok(false), Ok(false)));
    // a log that was born here
    let one = start(&Arc::new(Net::default()), &CrashDisk::new(), 1).await;
    assert_eq!((one.group.is_unmade().await, one.group.found().await), (Ok(false), Ok(false)));
}
