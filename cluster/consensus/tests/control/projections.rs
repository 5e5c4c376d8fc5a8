//! Sync subscriptions between nodes: who keeps one says how far it is, and who makes one hears whether every member knows what it knows.

use crate::node::{Folders, Node, STORE};
use std::sync::Arc;
use strandline_consensus::control::{Progress, Seen, TellsProgress};
use strandline_consensus::meta::{Command, Erasable};
use strandline_consensus::{BoxFuture, Leadership};
use strandline_event::{EventId, Micros, Position};
use strandline_wal::LeaderId;

/// A store that keeps one subscription, which changes with every question.
struct Kept;

fn progress(changes: u64) -> Progress {
    let at = |us| Position { ingested_at: Micros(us), event_id: EventId([us as u8; 16]) };
    let seen = Seen { office: LeaderId { term: 2, node: 1 }, made_at: Micros(4), changes };
    Progress { seen, has_consumers: true, done: at(7), acknowledged: vec![at(9)], parked: vec![at(3), at(5)] }
}

impl TellsProgress for Kept {
    fn progress(&self, name: String, seen: Seen) -> BoxFuture<'_, Result<Option<Progress>, String>> {
        Box::pin(async move {
            match name.as_str() {
                "totals" => Ok(Some(progress(seen.changes + 1))),
                "deleted" => Ok(None),
                _ => Err("another node keeps them by now".to_owned()),
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_a_subscription_says_how_far_it_is_and_nobody_else_does() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    nodes[0].control.tells_progress_by(STORE, Arc::new(Kept));
    let (keeper, asks) = (nodes[0].control.node(), &nodes[1].control);
    let told = asks.ask_progress(keeper, STORE, "totals", progress(8).seen).await;
    assert_eq!(told, Ok(Some(progress(9))));
    assert_eq!(asks.ask_progress(keeper, STORE, "deleted", Seen::default()).await, Ok(None));
    let moved = asks.ask_progress(keeper, STORE, "moved", Seen::default()).await;
    assert!(moved.is_err_and(|why| why.contains("another node keeps them")));
    for (node, store) in [(keeper, "other"), (nodes[2].control.node(), STORE), (77, STORE)] {
        assert!(asks.ask_progress(node, store, "totals", Seen::default()).await.is_err(), "{store} at node {node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_knows_what_the_leader_knows_but_for_one_that_is_away() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let leads = nodes.iter().position(|node| node.group.leadership() == Leadership::Leads).unwrap();
    let leader = nodes[leads].control.clone();
    let register = |name: &str| {
        let (store, name) = (STORE.to_owned(), name.to_owned());
        Command::RegisterType { store, name, buckets: 1, erasable: Erasable::No, registered: true }
    };
    for n in 0..5 {
        leader.propose(&register(&format!("T{n}"))).await.unwrap();
        let through = leader.state().applied();
        assert_eq!(leader.known_everywhere().await, Ok(()));
        assert!(nodes.iter().all(|node| node.control.state().applied() >= through));
    }
    nodes.remove((leads + 1) % 3).stop().await;
    leader.propose(&register("Later")).await.unwrap();
    assert_eq!(leader.known_everywhere().await, Ok(()), "it learns of it when it is back");
}
