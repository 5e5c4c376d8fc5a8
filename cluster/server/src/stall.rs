//! How long a peer may be silent in the middle of something, and how slow it may be, by any protocol: one rule.

use std::time::{Duration, Instant};

/// Time without a byte, in the middle of a body, a frame or an answer, after which a peer is given up.
pub(crate) const STALL: Duration = Duration::from_secs(30);
/// What must pass on average, once [`Pace`]'s grace is over: a byte now and then keeps nothing open.
const BYTES_A_SECOND: u64 = 4096;
/// Times [`STALL`] that anything may take, however small.
const GRACE: u32 = 2;

/// How fast a body, a frame or an answer passes. Its clock is an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    began: Instant,
    stall: Duration,
    bytes: u64,
}

impl Pace {
    /// Something begins to pass; without a byte for `stall` it is given up.
    pub(crate) const fn begin(now: Instant, stall: Duration) -> Self {
        Self { began: now, stall, bytes: 0 }
    }

    /// So many bytes have passed.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long to wait for the next byte; nothing: it has been too slow.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let allowed = self.stall * GRACE + Duration::from_millis(self.bytes.saturating_mul(1000) / BYTES_A_SECOND);
        self.stall.min((self.began + allowed).saturating_duration_since(now))
    }
}

/// How long an answer of this size may wait for its client.
pub(crate) fn answer_within(bytes: usize) -> Duration {
    STALL * GRACE + Duration::from_secs(bytes as u64 / BYTES_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_every_29_seconds_keeps_nothing_open_and_a_slow_line_is_served() {
        let began = Instant::now();
        let mut now = began;
        let mut pace = Pace::begin(now, STALL);
        let mut bytes = 0;
        while pace.patience(now) > Duration::from_secs(29) {
            now += Duration::from_secs(29);
            pace.took(1);
            bytes += 1;
        }
        assert!(bytes <= 2, "{bytes} bytes held it open for {:?}", now - began);
        // 64 MiB by 10 KiB a second: 110 minutes
        let (mut now, mut pace) = (began, Pace::begin(began, STALL));
        for _ in 0..6554 {
            now += Duration::from_secs(1);
            assert!(pace.patience(now) > Duration::from_secs(1));
            pace.took(10 << 10);
        }
        assert_eq!(Pace::begin(began, STALL).patience(began + STALL * 3), Duration::ZERO);
    }
}
