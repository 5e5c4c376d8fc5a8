//! How much of the time a job may work: after each part of its work it owes a pause in proportion.
//!
//! Pure: the moments are arguments, of any clock that never steps back. It does not sleep; who runs the job does.
//!
//! Invariant: over a run of stretches and pauses the part that was work is at most the share, up to the shortest pause, the
//! stretch that runs, and what a stretch took beyond [`OWED_MAX`].

use std::time::Duration;

/// The shortest pause that is asked for: shorter ones gather.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The most that is owed: a job that hung at an object store for minutes does not rest for hours.
const OWED_MAX: Duration = Duration::from_secs(10);

/// The part of the time that a job may work, in percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(u8);

impl Share {
    /// No pauses.
    pub const WHOLE: Self = Self(100);

    /// From 1 to 100 percent.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// In percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// What is owed for so much work.
    fn owed(self, worked: Duration) -> Duration {
        worked.saturating_mul(u32::from(100 - self.0)) / u32::from(self.0)
    }
}

/// The account of one thread that does jobs.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    share: Share,
    since: Duration,
    owed: Duration,
}

impl Pacer {
    /// Work begins at `now`.
    #[must_use]
    pub const fn new(share: Share, now: Duration) -> Self {
        Self { share, since: now, owed: Duration::ZERO }
    }

    /// Work was done until `now`: the pause that is due, if one is.
    #[must_use]
    pub fn worked(&mut self, now: Duration) -> Option<Duration> {
        let owed = self.share.owed(now.saturating_sub(self.since));
        self.owed = self.owed.saturating_add(owed).min(OWED_MAX);
        self.since = now;
        (self.owed >= PAUSE_MIN).then_some(self.owed)
    }

    /// Nothing was done until `now`, be it a pause or for want of a job: it counts for what is owed.
    pub fn rested(&mut self, now: Duration) {
        self.owed = self.owed.saturating_sub(now.saturating_sub(self.since));
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pacer(percent: u8) -> Pacer {
        Pacer::new(Share::new(percent).unwrap(), Duration::ZERO)
    }

    #[test]
    fn a_share_is_a_percentage_and_not_zero() {
        assert_eq!([0, 101, 255].map(Share::new), [None; 3]);
        assert_eq!(Share::new(100), Some(Share::WHOLE));
        assert_eq!(Share::new(1).map(Share::percent), Some(1));
    }

    #[test]
    fn a_pause_is_in_proportion() {
        for (percent, pause) in [(50, 20), (25, 60), (10, 180), (80, 5)] {
            assert_eq!(pacer(percent).worked(ms(20)), Some(ms(pause)), "{percent} %");
        }
        assert_eq!(pacer(100).worked(ms(1_000_000)), None);
    }

    #[test]
    fn short_pauses_gather() {
        let mut pacer = pacer(50);
        let us = Duration::from_micros;
        assert_eq!(pacer.worked(us(400)), None);
        assert_eq!(pacer.worked(us(900)), None);
        assert_eq!(pacer.worked(us(1300)), Some(us(1300)));
    }

    #[test]
    fn a_pause_that_was_too_short_or_too_long_is_made_good() {
        let mut pacer = pacer(50);
        assert_eq!(pacer.worked(ms(10)), Some(ms(10)));
        pacer.rested(ms(14));
        assert_eq!(pacer.worked(ms(16)), Some(ms(8)));
        pacer.rested(ms(200));
        // nothing is saved up for later
        assert_eq!(pacer.worked(ms(203)), Some(ms(3)));
    }

    #[test]
    fn a_stretch_that_hung_is_not_paid_for_whole() {
        assert_eq!(pacer(1).worked(Duration::from_secs(600)), Some(OWED_MAX));
    }

    #[test]
    fn the_share_is_kept_over_a_run_of_uneven_stretches() {
        for percent in [1, 7, 30, 50, 99] {
            let (mut pacer, mut now, mut worked) = (pacer(percent), Duration::ZERO, Duration::ZERO);
            for n in 0..1000_u64 {
                let stretch = Duration::from_micros(n * 7919 % 30_000);
                (now, worked) = (now + stretch, worked + stretch);
                if let Some(pause) = pacer.worked(now) {
                    now += pause;
                    pacer.rested(now);
                }
            }
            let (part, share) = (worked.as_secs_f64() / now.as_secs_f64(), f64::from(percent) / 100.0);
            assert!((part - share).abs() < 0.002, "{part} for {percent} %");
        }
    }
}
