//! Whether a group goes on as this node sees it: when it last had a leader that is alive, and why it has ended here without being told to.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// What the parts of a group say of it. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    led: Mutex<Instant>,
    stopping: AtomicBool,
    ended: OnceLock<Arc<str>>,
}

impl Health {
    /// Of a group that is opened now: it has some time to find its leader.
    pub(crate) fn new() -> Self {
        let (led, stopping) = (Mutex::new(Instant::now()), AtomicBool::new(false));
        Self(Arc::new(Shared { led, stopping, ended: OnceLock::new() }))
    }

    /// A leader was heard, or this node leads and a quorum has answered it lately.
    pub(crate) fn is_led(&self) {
        *self.0.led.lock() = Instant::now();
    }

    /// How long ago that was.
    pub(crate) fn leaderless(&self) -> Duration {
        self.0.led.lock().elapsed()
    }

    /// The group is stopped: that it ends is no trouble.
    pub(crate) fn stops(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    /// It has ended. `true`: nobody asked for that, and it is said for the first time.
    pub(crate) fn ends(&self, why: &str) -> bool {
        !self.0.stopping.load(Ordering::SeqCst) && self.0.ended.set(Arc::from(why)).is_ok()
    }

    /// Why it has ended.
    pub(crate) fn ended(&self) -> Option<Arc<str>> {
        self.0.ended.get().cloned()
    }
}
