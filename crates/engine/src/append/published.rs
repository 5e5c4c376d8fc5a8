//! What readers share with a log's owner: committed heads, ids of the tail, the clock.
//!
//! The owner writes under short locks, after the commit; readers never ask the owner.

use crate::append::settled::{Settled, SettledError};
use crate::clock::LogClock;
use crate::heads::{HeadRecord, Heads};
use crate::ids::{TailIds, TailLoc};
use crate::tenants::joined;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::hash::stream_hash;
use strandline_event::{EventId, LogIndex, Seq};

/// The readable side of a log.
pub struct Published {
    pub(crate) heads: RwLock<Heads>,
    pub(crate) ids: RwLock<TailIds>,
    pub(crate) settled: RwLock<Arc<dyn Settled>>,
    pub(crate) committed: AtomicU64,
    pub(crate) clock: Arc<LogClock>,
}

impl Published {
    pub(crate) fn new(clock: Arc<LogClock>, settled: Arc<dyn Settled>, watermark: LogIndex) -> Self {
        Self {
            heads: RwLock::default(),
            ids: RwLock::default(),
            settled: RwLock::new(settled),
            committed: AtomicU64::new(watermark.0),
            clock,
        }
    }

    /// The last batch that is committed.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.committed.load(Ordering::Acquire))
    }

    /// The head of a stream, from committed events of every tier. `None`: it has no event.
    pub fn head(&self, stream_id: &str) -> Result<Option<HeadRecord>, SettledError> {
        self.head_by_hash(stream_hash(stream_id))
    }

    /// As [`head`](Self::head), by the stream's hash.
    pub fn head_by_hash(&self, stream: u128) -> Result<Option<HeadRecord>, SettledError> {
        // tail first, then the runs: what leaves the tail is in the runs before it leaves
        let tail = self.heads.read().get(stream).map(|(head, _)| head);
        match tail {
            Some(head) if head.first_seq == Seq::FIRST => Ok(Some(head)),
            None => self.settled().head(stream),
            Some(head) => {
                let Some(older) = self.settled().head(stream)? else { return Ok(Some(head)) };
                let tenant = joined(older.tenant, head.tenant);
                Ok(Some(HeadRecord { last_seq: head.last_seq.max(older.last_seq), tenant, ..older }))
            }
        }
    }

    /// Where a committed event of the tail stands. A made id may belong to a row that bears a client's id:
    /// compare with the row's own.
    #[must_use]
    pub fn find_id(&self, id: EventId) -> Option<TailLoc> {
        let found = self.ids.read().find(id)?;
        (found.index <= self.committed()).then_some(found)
    }

    /// Number of streams whose heads are in memory.
    #[must_use]
    pub fn heads_in_memory(&self) -> usize {
        self.heads.read().len()
    }

    /// The log's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<LogClock> {
        &self.clock
    }

    pub(crate) fn settled(&self) -> Arc<dyn Settled> {
        Arc::clone(&self.settled.read())
    }
}
