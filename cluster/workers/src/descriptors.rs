//! File descriptors: the process takes all that it may have, and logs leave some for everything else.
//!
//! Invariant: no log is made that could take the last descriptors; a log's own I/O must always find one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors that one log holds at most while it is written: a reader and a writer of the open segment and of the next.
const OF_A_LOG: u64 = 4;
/// Descriptors that stay free of logs: connections, data files, folders that are synced.
const RESERVED: u64 = 64;

/// Raises the limit of open files as far as the system lets this process; gives the limit that holds then.
#[must_use]
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // a refusal leaves the old limit: logs are refused earlier then
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What logs take of the descriptors of the process.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limit: u64,
    logs: AtomicU64,
}

impl Descriptors {
    /// Of a process that may open `limit` files.
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, logs: AtomicU64::new(0) }
    }

    /// The limit of the process.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// A log is open.
    pub(crate) fn count_log(&self) {
        self.logs.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs that may still be made.
    pub(crate) fn room(&self) -> u64 {
        let used = self.logs.load(Ordering::Relaxed).saturating_mul(OF_A_LOG).max(open_now());
        self.limit.saturating_sub(RESERVED).saturating_sub(used) / OF_A_LOG
    }

    /// Descriptors that are missing for `logs` logs that must be opened.
    pub(crate) fn missing_for(&self, logs: u64) -> u64 {
        logs.saturating_mul(OF_A_LOG).saturating_add(RESERVED).saturating_sub(self.limit)
    }
}

/// Files that the process has open; 0 where the system does not tell.
fn open_now() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_leave_a_reserve() {
        let limit = raise_limit();
        assert!(limit >= open_now());
        let few = Descriptors::new(RESERVED + 10 * OF_A_LOG);
        assert_eq!((few.missing_for(10), few.missing_for(11)), (0, OF_A_LOG));
        (0..10).for_each(|_| few.count_log());
        assert_eq!(few.room(), 0);
    }
}
