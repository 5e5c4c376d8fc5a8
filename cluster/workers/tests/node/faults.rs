//! A disk that fails on purpose below a real node: nothing is fatal that a refusal can say.

use super::*;
use strandline_testkit::faulty_disk::{DiskFault, FaultyDisk};
use strandline_workers::NodeDisk;

fn on(disk: &FaultyDisk, dir: &Path) -> NodeOptions {
    let drain_timeout = Duration::from_millis(600);
    NodeOptions { disk: NodeDisk(Arc::new(disk.clone())), drain_timeout, ..options(dir) }
}

#[test]
fn a_log_that_cannot_be_made_refuses_its_append_and_is_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        for (fault, kind) in
            [(DiskFault::NoDescriptor, ErrorKind::Unavailable), (DiskFault::NoRoom, ErrorKind::DiskFull)]
        {
            disk.set(fault);
            let refused = append(&node, &store, "c", 1).await.err().unwrap();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
        disk.set(DiskFault::Well);
        assert_eq!(append(&node, &store, "c", 2).await.unwrap(), (1, 2));
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_drain_does_not_wait_for_ever_for_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        disk.set(DiskFault::WritesFull);
        let stalled = {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move { append(&node, &store, "c", 1).await })
        };
        // a job waits for the log as well
        let job = store.compact(None).await.unwrap().remove(0);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let undrained = node.drain().await.err().unwrap();
        assert_eq!(undrained.logs, ["calls/Call"]);
        assert!(matches!(stalled.await.unwrap(), Err(NodeError::OutcomeUnknown)));
        job.ended().await;
        drop((store, job));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert!(count(&store, "c").await >= 1);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}
