//! When requests begin. Closed loop: each client sends when its last answer is there. Open loop: requests arrive at a rate, whoever is
//! free takes the next, and its latency counts from the moment it should have begun, so that a slow answer is seen by all that
//! wait behind it (no coordinated omission).
//!
//! Arrivals are let go by a thread that sleeps: the timers of the runtime are as coarse as a millisecond.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The clients of a run take the beginnings of their requests from it.
#[derive(Clone, Debug)]
pub struct Pace(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Until(Instant),
    Told(Arc<AtomicBool>),
    Requests(Arc<AtomicU64>),
    Open(Arc<Open>),
}

#[derive(Debug)]
struct Open {
    begin: Instant,
    end: Instant,
    arrivals: Arrivals,
    due: Semaphore,
    taken: AtomicU64,
    begun: AtomicU64,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Requests at a constant rate.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Arrivals {
    per_second: f64,
    total: u64,
}

impl Arrivals {
    /// Moments after the beginning.
    fn at(self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many are due after a time.
    fn due(self, after: Duration) -> u64 {
        ((after.as_secs_f64() * self.per_second) as u64 + 1).min(self.total)
    }
}

impl Pace {
    /// A closed loop that ends after a time.
    #[must_use]
    pub fn closed(lasting: Duration) -> Self {
        Self(Kind::Until(Instant::now() + lasting))
    }

    /// A closed loop that ends when it is told to.
    #[must_use]
    pub fn until_told() -> Self {
        Self(Kind::Told(Arc::new(AtomicBool::new(false))))
    }

    /// Tells it.
    pub fn tell(&self) {
        if let Kind::Told(told) = &self.0 {
            told.store(true, Ordering::Relaxed);
        }
    }

    /// A closed loop of so many requests.
    #[must_use]
    pub fn requests(count: u64) -> Self {
        Self(Kind::Requests(Arc::new(AtomicU64::new(count))))
    }

    /// An open loop of so many requests a second. It ends when all that should have begun have; what has not begun a while
    /// (`patience`) after its time is left out.
    #[must_use]
    pub fn open(requests_per_second: f64, lasting: Duration, clients: u32, patience: Duration) -> Self {
        let total = ((requests_per_second * lasting.as_secs_f64()).round() as u64).max(1);
        let begin = Instant::now();
        let open = Arc::new(Open {
            begin,
            end: begin + lasting + patience,
            arrivals: Arrivals { per_second: requests_per_second, total },
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let letting_go = Arc::clone(&open);
        let thread = std::thread::spawn(move || letting_go.let_go(clients));
        if let Ok(mut kept) = open.thread.lock() {
            *kept = Some(thread);
        }
        Self(Kind::Open(open))
    }

    /// When the next request of a client begins or should have begun; `None` at the end.
    pub async fn next(&self) -> Option<Instant> {
        let open = match &self.0 {
            Kind::Until(end) => return Some(Instant::now()).filter(|now| now < end),
            Kind::Told(told) => return (!told.load(Ordering::Relaxed)).then(Instant::now),
            Kind::Requests(left) => {
                let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                return taken.ok().map(|_| Instant::now());
            }
            Kind::Open(open) => open,
        };
        open.due.acquire().await.ok()?.forget();
        let number = open.taken.fetch_add(1, Ordering::Relaxed);
        if number >= open.arrivals.total || Instant::now() >= open.end {
            return None;
        }
        open.begun.fetch_add(1, Ordering::Relaxed);
        Some(open.begin + open.arrivals.at(number))
    }

    /// Ends an open loop, and says how many requests never began because the store was too slow for them.
    #[must_use]
    pub fn finish(self) -> u64 {
        let Kind::Open(open) = self.0 else { return 0 };
        open.stopped.store(true, Ordering::Relaxed);
        let thread = open.thread.lock().ok().and_then(|mut kept| kept.take());
        if let Some(thread) = thread {
            // it only sleeps and counts
            let _ = thread.join();
        }
        open.arrivals.total - open.begun.load(Ordering::Relaxed)
    }
}

impl Open {
    fn let_go(&self, clients: u32) {
        let mut gone = 0;
        while gone < self.arrivals.total && !self.stopped.load(Ordering::Relaxed) {
            let due = self.arrivals.due(self.begin.elapsed());
            self.due.add_permits((due - gone) as usize);
            gone = due;
            let wait = self.arrivals.at(gone).saturating_sub(self.begin.elapsed());
            std::thread::sleep(wait.clamp(Duration::from_micros(50), Duration::from_millis(100)));
        }
        // so that each client sees that there is none left
        self.due.add_permits(clients as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_evenly_spread_and_end() {
        let arrivals = Arrivals { per_second: 1_000.0, total: 10 };
        assert_eq!(arrivals.at(3), Duration::from_millis(3));
        assert_eq!(arrivals.due(Duration::ZERO), 1);
        assert_eq!(arrivals.due(Duration::from_micros(3_500)), 4);
        assert_eq!(arrivals.due(Duration::from_secs(9)), 10);
    }

    #[tokio::test]
    async fn an_open_loop_gives_each_moment_once_however_late() {
        let pace = Pace::open(1e6, Duration::from_micros(200), 2, Duration::from_secs(60));
        let mut moments = Vec::new();
        while let Some(moment) = pace.next().await {
            moments.push(moment);
        }
        assert_eq!((moments.len(), pace.finish()), (200, 0));
        assert!(moments.windows(2).all(|two| two[1] - two[0] == Duration::from_micros(1)), "{moments:?}");
    }

    #[tokio::test]
    async fn what_never_began_is_counted() {
        let pace = Pace::open(1e6, Duration::from_micros(200), 1, Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(pace.next().await.is_none());
        assert_eq!(pace.finish(), 200);
    }

    #[tokio::test]
    async fn closed_loops_end_by_time_or_by_number() {
        assert!(Pace::closed(Duration::ZERO).next().await.is_none());
        let told = Pace::until_told();
        assert!(told.next().await.is_some());
        told.clone().tell();
        assert!(told.next().await.is_none());
        let three = Pace::requests(3);
        let other = three.clone();
        assert!(three.next().await.is_some() && other.next().await.is_some() && three.next().await.is_some());
        assert!(other.next().await.is_none() && three.next().await.is_none());
        assert_eq!(three.finish(), 0);
    }
}
