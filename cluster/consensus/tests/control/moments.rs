//! Who begins to lead a log asks how far readers of its store may have come.

use crate::node::{Folders, Node, STORE, until};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::control::Looks;
use strandline_consensus::{BoxFuture, Leadership};
use strandline_event::Micros;

const SOON: Duration = Duration::from_secs(20);

/// A store whose readers have come so far, and what is committed in it.
struct Read {
    passed: Option<Micros>,
    committed: Option<Micros>,
}

impl Looks for Read {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn newest(&self) -> Option<Micros> {
        self.passed
    }

    fn newest_now(&self) -> BoxFuture<'_, Option<Micros>> {
        Box::pin(async { self.committed })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_that_answers_says_how_far_its_readers_have_come() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    for (node, passed) in nodes.iter().zip([Some(90), Some(7), Some(8)]) {
        let (passed, committed) = (passed.map(Micros), None);
        node.control.looks_by(STORE, Arc::new(Read { passed, committed }));
    }
    assert_eq!(nodes[0].control.newest_everywhere(STORE, SOON).await, Some(Micros(8)), "the others");
    assert_eq!(nodes[1].control.newest_everywhere(STORE, SOON).await, Some(Micros(90)));
    // where no store is open nobody reads
    assert_eq!(nodes[0].control.newest_everywhere("other", SOON).await, None);
    nodes[2].control.looks_by(STORE, Arc::new(Read { passed: None, committed: None }));
    assert_eq!(nodes[0].control.newest_everywhere(STORE, SOON).await, Some(Micros(7)), "one does not know every log");
    nodes.remove(1).stop().await;
    assert_eq!(nodes[0].control.newest_everywhere(STORE, SOON).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_every_log_says_how_far_they_are_as_it_knows_or_as_they_are_now() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    let leads = nodes.iter().position(|node| node.group.leadership() == Leadership::Leads).unwrap();
    let read = Read { passed: Some(Micros(3)), committed: Some(Micros(4)) };
    nodes[leads].control.looks_by(STORE, Arc::new(read));
    let (leader, other) = (nodes[leads].control.node(), &nodes[(leads + 1) % 3].control);
    until(|| other.meta_status().leader.is_some_and(|(node, _)| node == leader)).await;
    assert_eq!((other.newest_of(STORE).await, other.newest_now_of(STORE).await), (Some(Micros(3)), Some(Micros(4))));
    assert_eq!(other.newest_now_of("other").await, None);
}
