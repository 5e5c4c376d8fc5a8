//! What everybody may know of a log without asking its owner.

use crate::append::Published;
use crate::view::stream_index::StreamIndex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::LogKey;
use strandline_wal::{LogView, SharedView};

/// The readable side of one log.
pub struct LogShared {
    /// Its name.
    pub key: LogKey,
    pub(crate) streams: StreamIndex,
    view: SharedView,
    published: Arc<Published>,
    damage: Option<Arc<str>>,
    /// Events that the log ever took, durable ones included.
    events: AtomicU64,
}

impl LogShared {
    pub(crate) fn new(
        key: LogKey,
        view: SharedView,
        published: Arc<Published>,
        damage: Option<Arc<str>>,
        events: u64,
    ) -> Self {
        Self { key, streams: StreamIndex::default(), view, published, damage, events: AtomicU64::new(events) }
    }

    /// Events that the log ever took, durable ones included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// It took at least so many: what this node has not seen is in files.
    pub(crate) fn count_at_least(&self, events: u64) {
        self.events.fetch_max(events, Ordering::Relaxed);
    }

    /// The committed log as of now.
    #[must_use]
    pub fn view(&self) -> Arc<LogView> {
        self.view.load()
    }

    /// Heads, ids and the clock.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Why this log takes no appends: it is damaged, and reads that would need its end fail.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<&Arc<str>> {
        self.damage.as_ref()
    }

    /// Bytes that its stream index holds in memory.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.streams.size_bytes()
    }
}

impl std::fmt::Debug for LogShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogShared({})", self.key)
    }
}
