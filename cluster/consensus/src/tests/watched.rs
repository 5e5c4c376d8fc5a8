//! What a group's watch looks at, and when: words of an engine that are said here by hand.

use super::tape::{NOW, Tape, inline, open};
use crate::health::Health;
use crate::machine::Machine;
use crate::state_machine::StateMachine;
use crate::storage::Storage;
use crate::transport::GroupId;
use crate::watch::Watch;
use openraft::metrics::RaftServerMetrics;
use openraft::{RaftMetrics, StoredMembership};
use std::sync::Arc;
use std::time::Duration;
use strandline_wal::crash_disk::CrashDisk;
use tokio::sync::{Notify, watch};

async fn others_have_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_leads_is_looked_at_when_it_is_said_and_what_is_said_at_each_entry_twice_a_second() {
    let storage = Storage::new(open(&CrashDisk::new(), 1, false).writer.unwrap(), inline(), Arc::new(|| NOW));
    let machine: Arc<dyn Machine> = Arc::new(Tape::default());
    let state = StateMachine::new(Arc::clone(&machine), storage.clone(), None, StoredMembership::default());
    let mut said = RaftMetrics::new_initial(1);
    let (engine, metrics) = watch::channel(said.clone());
    let (leader, servers) = watch::channel(RaftServerMetrics::default());
    let (nudge, health, group) = (Arc::new(Notify::new()), Health::new(), GroupId::Meta);
    let watch = Watch { group, node: 1, metrics, servers, state, storage: storage.clone(), machine, nudge, health };
    tokio::spawn(watch.run());
    let leads = || storage.leader().map(|(node, _)| node);
    // the first word may belong to what was told before it
    others_have_run().await;
    said.current_leader = Some(2);
    engine.send_replace(said.clone());
    others_have_run().await;
    assert_eq!(leads(), Some(2));
    said.current_leader = Some(3);
    engine.send_replace(said.clone());
    others_have_run().await;
    assert_eq!(leads(), Some(2), "it is not woken by each of them");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(leads(), Some(3));
    // metrics come behind what of them is told by itself
    said.current_leader = Some(2);
    leader.send_modify(|servers| servers.current_leader = Some(2));
    others_have_run().await;
    engine.send_replace(said);
    others_have_run().await;
    assert_eq!(leads(), Some(2));
}
