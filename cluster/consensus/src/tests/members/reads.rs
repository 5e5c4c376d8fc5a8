//! Reads that see everything that was acknowledged before: at a leader, and at nodes that follow.

use super::{Net, group_of, member};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn reads_that_come_while_a_quorum_is_asked_share_the_next_round() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    nodes[0].propose(2).await;
    let before = net.2.load(Ordering::SeqCst);
    let reads = (0..100).map(|_| nodes[0].group.confirm());
    assert!(join_all(reads).await.iter().all(Result::is_ok));
    let asked = net.2.load(Ordering::SeqCst) - before;
    assert!((2..=20).contains(&asked), "{asked} calls for a hundred reads");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_follows_reads_once_it_has_what_its_leader_has() {
    let net = Arc::new(Net::default());
    let nodes = group_of(&net, 3).await;
    let (one, two, four) = (&nodes[0], &nodes[1], &nodes[3]);
    one.group.add_learner(4, member(4), true).await.unwrap();
    for _ in 0..20 {
        one.propose(1).await;
        let index = one.group.read_index().await.unwrap();
        for node in [two, four] {
            node.group.reached(index.number, Duration::from_secs(5)).await.unwrap();
            assert_eq!(node.last_applied(), one.last_applied());
        }
    }
    let next = one.group.read_index().await.unwrap().number + 1;
    assert!(two.group.reached(next, Duration::from_millis(100)).await.is_err(), "nobody has proposed it");
    // how far a reader must be only a leader says, which a quorum hears
    assert!(two.group.read_index().await.is_err() && four.group.read_index().await.is_err());
    for node in [2, 3] {
        net.0.lock().remove(&node);
        nodes[node as usize - 1].group.abort().await;
    }
    assert!(one.group.read_index().await.is_err());
}
