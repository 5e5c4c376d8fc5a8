//! Since when a disk keeps somebody, for who asks meanwhile, and for who waits for the end of a thread: a disk that hangs gives no other sign.
//!
//! It refuses to know what is done there. Invariant: of those who share one, one at a time is at the disk; and only time in which the disk said nothing
//! counts, so that whoever has much to do on a slow machine is waited for.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Who is at the disk when a thread is to end has so long to hear from it.
pub(crate) const END_PATIENCE: Duration = Duration::from_secs(10);

/// How often who waits for an end looks whether the disk keeps it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Who is at the disk, if anybody is.
pub(crate) struct AtDisk {
    born: Instant,
    /// When it said something last, in microseconds after that; 0: nobody is there.
    since_us: AtomicU64,
    has_ended: Mutex<bool>,
    end: Condvar,
}

impl Default for AtDisk {
    fn default() -> Self {
        Self { born: Instant::now(), since_us: AtomicU64::new(0), has_ended: Mutex::new(false), end: Condvar::new() }
    }
}

/// A stay at the disk.
pub(crate) struct Stay<'a>(&'a AtDisk);

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.since_us.store(0, Ordering::Relaxed);
    }
}

impl AtDisk {
    /// Somebody goes there, and is back when the stay is dropped.
    pub(crate) fn stay(&self) -> Stay<'_> {
        self.answers();
        Stay(self)
    }

    /// The disk has done something for who is there, who has more to do.
    pub(crate) fn answers(&self) {
        let now = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.since_us.store(now.max(1), Ordering::Relaxed);
    }

    /// For how long it has kept who is there.
    pub(crate) fn keeps_for(&self) -> Option<Duration> {
        let since = self.since_us.load(Ordering::Relaxed);
        (since > 0).then(|| self.born.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// The thread that goes there has ended.
    pub(crate) fn ended(&self) {
        *self.has_ended.lock() = true;
        self.end.notify_all();
    }

    /// Waits for that. `false`: the disk has kept the thread for so long.
    pub(crate) fn ends_unless_kept_for(&self, patience: Duration) -> bool {
        let mut has_ended = self.has_ended.lock();
        while !*has_ended {
            if self.keeps_for().is_some_and(|kept| kept >= patience) {
                return false;
            }
            self.end.wait_for(&mut has_ended, LOOK_EVERY);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_time_in_which_the_disk_says_nothing_counts() {
        let at_disk = AtDisk::default();
        assert_eq!(at_disk.keeps_for(), None);
        let stay = at_disk.stay();
        let mut kept = Duration::ZERO;
        while kept < Duration::from_millis(5) {
            std::thread::yield_now();
            kept = at_disk.keeps_for().unwrap();
        }
        let counts_anew = || {
            at_disk.answers();
            at_disk.keeps_for().unwrap() < kept
        };
        // a machine that has much to do may need more than one try
        assert!((0..1000).any(|_| counts_anew()));
        drop(stay);
        assert_eq!(at_disk.keeps_for(), None);
    }

    #[test]
    fn who_waits_for_an_end_gives_up_only_whom_the_disk_keeps() {
        let at_disk = Arc::new(AtDisk::default());
        let kept = at_disk.stay();
        assert!(!at_disk.ends_unless_kept_for(Duration::ZERO));
        drop(kept);
        let ending = {
            let at_disk = Arc::clone(&at_disk);
            std::thread::spawn(move || at_disk.ended())
        };
        assert!(at_disk.ends_unless_kept_for(Duration::ZERO), "however late it comes");
        ending.join().unwrap();
    }
}
