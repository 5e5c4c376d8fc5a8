//! Numbers of a running node: accounts, counts, who has trouble. Each is read at once, from whatever thread.

use super::NodeHandle;
use crate::metrics::Metrics;
use crate::permits::BytePermits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_engine::compact::Share;

/// A disk of logs that keeps who writes to it for so long is told.
const SILENT: Duration = Duration::from_secs(5);

impl NodeHandle {
    /// The account of bytes in flight.
    #[must_use]
    pub fn permits(&self) -> &BytePermits {
        &self.node.shared.permits
    }

    /// The account of bytes of answers.
    #[must_use]
    pub fn answers(&self) -> &BytePermits {
        &self.node.shared.answers
    }

    /// How many follow a store, and events that they were given.
    #[must_use]
    pub fn followers(&self) -> (usize, u64) {
        let following = &self.node.shared.following;
        (following.count(), following.given.get())
    }

    /// What the node counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.node.shared.metrics
    }

    /// Reads that are queued or run, and how many there may be.
    #[must_use]
    pub fn reads_in_flight(&self) -> (usize, usize) {
        self.node.shared.readers.in_flight()
    }

    /// Whether appends are taken.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.node.check_serving().is_ok()
    }

    /// Stores that another node owns by now: they take no appends here.
    #[must_use]
    pub fn fenced(&self) -> Vec<&str> {
        let fenced = self.stores.iter().filter(|parts| parts.replicas.is_none() && parts.fenced.load(Ordering::SeqCst));
        fenced.map(|parts| parts.store.name()).collect()
    }

    /// Has the folders of files and manifests looked at, and waits a moment for it: not for one that hangs. What is known then
    /// [`troubled`](Self::troubled) says.
    pub async fn look_at_folders(&self) {
        self.node.folder_watches.ask().await;
    }

    /// Stores whose object store gives no answer now, or whose folder is gone or hangs, and why: appends go on where there is a log, reads of
    /// files fail. It looks at nothing itself.
    #[must_use]
    pub fn troubled(&self) -> Vec<(&str, Arc<str>)> {
        self.node.folder_watches.troubled(&self.stores)
    }

    /// Stores whose log's disk has kept for a while who writes to it, and how long: their appends wait. All of a node's logs go through one thread, so
    /// that they wait together.
    #[must_use]
    pub fn logs_troubled(&self) -> Vec<(&str, Arc<str>)> {
        let Some(why) = silent_disk(self.node.shared.io.at_disk_for()) else { return Vec::new() };
        let with_log = self.stores.iter().filter(|parts| parts.store.has_log());
        with_log.map(|parts| (parts.store.name(), Arc::clone(&why))).collect()
    }

    /// Stores without a log that were opened on a full disk, and have found no room since: they are read, and take nothing.
    #[must_use]
    pub fn without_room(&self) -> Vec<(&str, Arc<str>)> {
        let waiting = self.stores.iter().filter(|parts| parts.store.durable().waits_for_room());
        let why = "its disk is full: it is read, and takes no appends and runs no jobs until there is room";
        waiting.map(|parts| (parts.store.name(), Arc::from(why))).collect()
    }

    /// Encrypted stores whose key the next start would not get now, and why. What is open goes on, with a log and without one.
    #[must_use]
    pub fn keys_troubled(&self) -> Vec<(&str, Arc<str>)> {
        let troubles = self.stores.iter().map(|parts| (parts.store.name(), parts.store.durable().key_trouble()));
        troubles.filter_map(|(name, trouble)| Some((name, trouble?))).collect()
    }

    /// How many looks at keyrings found that the next start would not open one, and whether the last one of some store did.
    #[must_use]
    pub fn key_looks(&self) -> (u64, bool) {
        let looks = self.stores.iter().map(|parts| parts.store.durable().key_looks());
        looks.fold((0, false), |(sum, any), (failures, failing)| (sum + failures, any || failing))
    }

    /// The part of the time that a thread of compaction may work.
    #[must_use]
    pub fn compaction_share(&self) -> Share {
        self.node.compaction_share
    }

    /// Files that the process may open.
    #[must_use]
    pub fn descriptors_max(&self) -> u64 {
        self.node.shared.descriptors.limit()
    }

    /// Workers that live.
    #[must_use]
    pub fn workers_alive(&self) -> usize {
        self.node.shared.alive.count()
    }
}

/// That a disk has kept somebody for so long.
fn silent_disk(kept: Option<Duration>) -> Option<Arc<str>> {
    let seconds = kept.filter(|kept| *kept >= SILENT)?.as_secs();
    let why = format!(
        "the disk of wal.path has not answered for {seconds} s: appends wait for it, and none of them is acknowledged; see what is wrong with the disk"
    );
    Some(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_logs_that_does_not_answer_is_told_after_a_while() {
        for quick in [None, Some(Duration::ZERO), Some(SILENT - Duration::from_micros(1))] {
            assert_eq!(silent_disk(quick), None);
        }
        let told = silent_disk(Some(Duration::from_secs(67))).unwrap();
        assert!(told.contains("wal.path has not answered for 67 s") && told.contains("appends wait"), "{told}");
    }
}
