//! A node is lost before it has made a log that it should make.

use crate::node::{Folders, Node, STORE, settled, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use strandline_consensus::control::Looks;
use strandline_consensus::meta::{Command, Erasable};
use strandline_consensus::net::Ask;
use strandline_consensus::{BoxFuture, GroupId, NodeId};
use strandline_event::{LogKey, SharedBytes};

const SOON: Duration = Duration::from_secs(20);

/// A store that may have had a log.
#[derive(Default)]
struct Having {
    has: AtomicBool,
    asked: AtomicUsize,
}

impl Looks for Having {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn has_had(&self, _: &LogKey) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.has.load(Ordering::SeqCst)
    }

    fn has_files(&self, _: &LogKey) -> bool {
        false
    }
}

fn founder(node: &Node, group: &GroupId) -> Option<NodeId> {
    node.control.with_state(|state| state.groups().get(group).and_then(|placement| placement.founder))
}

/// Whether a node says that it has nothing of the log, to another one that has applied so much.
async fn says_nothing_is_there(of: &Node, by: &Node, through: u64) -> bool {
    let text = |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    let group = [&0_u32.to_le_bytes()[..], &text(STORE), &text("Order")].concat();
    let body = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &group, &through.to_le_bytes()].concat();
    let ask = Ask { kind: 14, body: SharedBytes::copy_aligned(&body) };
    let address = of.address.to_string();
    let answer = by.control.transport().ask(of.control.node(), &address, ask, SOON).await.unwrap();
    answer[8..] == 1_u64.to_le_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_lost_node_never_made_is_made_by_another_once_nobody_has_anything_of_it() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let group = GroupId::Log { store: STORE.into(), log: LogKey::single("Order") };
    // no node of this test opens logs: who should make this one never does
    let (store, name) = (STORE.to_owned(), "Order".to_owned());
    let register = Command::RegisterType { store, name, buckets: 1, erasable: Erasable::No, registered: true };
    nodes[0].control.propose(&register).await.unwrap();
    until(|| nodes.iter().all(|node| founder(node, &group).is_some())).await;
    let lost = founder(&nodes[0], &group).unwrap();
    let at = nodes.iter().position(|node| node.control.node() == lost).unwrap();
    nodes.remove(at).stop().await;
    let fourth = Node::fresh(&folders, 4).await;
    fourth.joins_at_last(&nodes[0], &folders.shared()).await.unwrap();
    nodes.push(fourth);
    let stores: Vec<Arc<Having>> = nodes.iter().map(|_| Arc::default()).collect();
    stores[1].has.store(true, Ordering::SeqCst);
    for (node, store) in nodes.iter().zip(&stores) {
        node.control.looks_by(STORE, store.clone());
    }
    nodes[0].control.propose(&Command::Replace { lost, with: 4 }).await.unwrap();
    until(|| stores[1].asked.load(Ordering::SeqCst) > 2).await;
    assert_eq!(founder(&nodes[0], &group), Some(lost), "node {} has something of it", nodes[1].control.node());
    // who is behind the one that asks may still hear somebody that was removed since
    let voters: Vec<NodeId> = nodes.iter().map(|node| node.control.node()).collect();
    until(|| settled(&nodes[2], &voters)).await;
    assert!(says_nothing_is_there(&nodes[2], &nodes[0], 0).await);
    assert!(!says_nothing_is_there(&nodes[2], &nodes[0], u64::MAX).await);
    assert!(!says_nothing_is_there(&nodes[1], &nodes[0], 0).await);
    stores[1].has.store(false, Ordering::SeqCst);
    until(|| nodes.iter().all(|node| founder(node, &group).is_some_and(|founder| founder != lost))).await;
    let state = nodes[0].control.state();
    let placement = &state.groups()[&group];
    assert!(placement.voters.contains(&placement.founder.unwrap()) && !placement.is_established());
}
