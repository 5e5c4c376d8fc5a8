//! Waiting for a thread that a disk may keep: ten seconds, on however slow a machine, and less where the disk has said nothing for a while.

use std::pin::pin;
use std::time::Duration;
use strandline_wal::LogIo;
use tokio::time::timeout;

/// A disk that has said nothing for so long keeps who is there.
const SILENT: Duration = Duration::from_secs(2);
/// How often it is asked for that.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who does not come back from elsewhere is waited for so many times.
const LOOKS_MAX: u32 = 20;

/// Waits for what a thread does that may be at the logs' disk. `None`: that disk keeps it, or something else does for ten seconds.
pub(super) async fn unless_kept<T>(io: &dyn LogIo, waited: impl Future<Output = T>) -> Option<T> {
    looking_every(LOOK_EVERY, io, waited).await
}

async fn looking_every<T>(look_every: Duration, io: &dyn LogIo, waited: impl Future<Output = T>) -> Option<T> {
    let mut waited = pin!(waited);
    for _ in 0..LOOKS_MAX {
        if let Ok(done) = timeout(look_every, waited.as_mut()).await {
            return Some(done);
        }
        if io.at_disk_for().is_some_and(|silent| silent >= SILENT) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;
    use strandline_wal::{Group, OnCommit};

    /// A disk that has been silent for so long, and how often that was asked.
    struct Silent(Option<Duration>, AtomicU32);

    impl Silent {
        fn looks(&self) -> u32 {
            self.1.load(Ordering::Relaxed)
        }
    }

    impl LogIo for Silent {
        fn submit(&self, _: Group, _: OnCommit) {
            panic!("nothing is written");
        }

        fn at_disk_for(&self) -> Option<Duration> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0
        }
    }

    #[test]
    fn who_has_much_to_do_is_waited_for_and_whom_the_disk_keeps_is_not() {
        let look_every = Duration::from_millis(1);
        runtime::run(async {
            // it comes late, and the disk answers
            for silent in [None, Some(SILENT - Duration::from_micros(1))] {
                let io = Silent(silent, AtomicU32::new(0));
                let late = poll_fn(|_| if io.looks() < 3 { Poll::Pending } else { Poll::Ready("late") });
                assert_eq!(looking_every(look_every, &io, late).await, Some("late"));
            }
            let io = Silent(Some(SILENT), AtomicU32::new(0));
            assert_eq!(looking_every(look_every, &io, pending::<()>()).await, None);
            assert_eq!(io.looks(), 1);
            let io = Silent(None, AtomicU32::new(0));
            assert_eq!(looking_every(look_every, &io, pending::<()>()).await, None);
            assert_eq!(io.looks(), LOOKS_MAX);
        })
        .unwrap();
    }
}
