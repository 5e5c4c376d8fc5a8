//! How long a peer may be silent in the middle of something, and how slow it may be, by any protocol: one rule.

use std::time::{Duration, Instant};

/// Times [`Patience::stall`] that anything may take, however small.
const GRACE: u32 = 2;
/// An answer's bytes that the system may take ahead of the peer, about: what a peer has taken is seen in steps of it.
const AHEAD_BYTES: u64 = 1 << 20;

/// What a peer is given before it is given up. The same for all listeners; tests give less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Time without a byte, in the middle of a body, a frame or an answer.
    pub stall: Duration,
    /// What must pass on average, once the grace of twice that time is over: a byte now and then keeps nothing open.
    pub bytes_a_second: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30), bytes_a_second: 4096 }
    }
}

impl Patience {
    fn grace(self) -> Duration {
        self.stall * GRACE
    }

    fn time_for(self, bytes: u64) -> Duration {
        Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_a_second.max(1))
    }

    /// How long an answer of this size may wait for its client.
    pub(crate) fn for_answer(self, bytes: usize) -> Duration {
        self.grace() + self.time_for(bytes as u64)
    }

    /// How long the next piece of an answer may wait for its client.
    pub(crate) fn for_piece(self) -> Duration {
        self.grace() + self.time_for(AHEAD_BYTES)
    }

    /// After so long the system gives up a client that takes nothing of what was written.
    pub(crate) fn for_silence(self) -> Duration {
        self.grace()
    }
}

/// How fast a client takes an answer whose length nobody knows: only the time counts in which it was its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    patience: Patience,
    bytes: u64,
    waited: Duration,
}

impl Taking {
    /// Nothing was given yet.
    pub(crate) const fn begin(patience: Patience) -> Self {
        Self { patience, bytes: 0, waited: Duration::ZERO }
    }

    /// So many bytes were given to its connection.
    pub(crate) fn gave(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// So long it was the client's turn, until the next piece was asked for.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long the next piece may wait for it; nothing: it has been too slow.
    pub(crate) fn patience(&self) -> Duration {
        let allowed = self.patience.grace() + self.patience.time_for(self.bytes);
        allowed.saturating_sub(self.waited).min(self.patience.for_piece())
    }
}

/// How fast a body, a frame or an answer passes. Its clock is an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    began: Instant,
    patience: Patience,
    bytes: u64,
}

impl Pace {
    /// Something begins to pass.
    pub(crate) const fn begin(now: Instant, patience: Patience) -> Self {
        Self { began: now, patience, bytes: 0 }
    }

    /// So many bytes have passed.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long to wait for the next byte; nothing: it has been too slow.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let allowed = self.patience.grace() + self.patience.time_for(self.bytes);
        self.patience.stall.min((self.began + allowed).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_every_29_seconds_keeps_nothing_open_and_a_slow_line_is_served() {
        let (began, patience) = (Instant::now(), Patience::default());
        let mut now = began;
        let mut pace = Pace::begin(now, patience);
        let mut bytes = 0;
        while pace.patience(now) > Duration::from_secs(29) {
            now += Duration::from_secs(29);
            pace.took(1);
            bytes += 1;
        }
        assert!(bytes <= 2, "{bytes} bytes held it open for {:?}", now - began);
        // 64 MiB by 10 KiB a second: 110 minutes
        let (mut now, mut pace) = (began, Pace::begin(began, patience));
        for _ in 0..6554 {
            now += Duration::from_secs(1);
            assert!(pace.patience(now) > Duration::from_secs(1));
            pace.took(10 << 10);
        }
        assert_eq!(Pace::begin(began, patience).patience(began + patience.stall * 3), Duration::ZERO);
    }

    #[test]
    fn an_answer_without_an_end_is_taken_at_a_rate_or_not_at_all() {
        let patience = Patience::default();
        // a piece of a megabyte every two minutes is 8 KiB a second, one every five minutes is less than 4
        for (seconds, goes_on) in [(120, true), (300, false)] {
            let mut taking = Taking::begin(patience);
            let mut pieces = 0;
            while pieces < 1000 && !taking.patience().is_zero() {
                taking.gave(1 << 20);
                taking.waited(Duration::from_secs(seconds));
                pieces += 1;
            }
            assert_eq!(pieces == 1000, goes_on, "{pieces} pieces");
        }
        // however much it took before, it does not rest for long
        let mut taking = Taking::begin(patience);
        taking.gave(1 << 40);
        assert_eq!(taking.patience(), patience.for_piece());
    }
}
