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

/// What a look-up of a head came to.
pub(crate) struct LookedUp {
    /// The head, from committed events of every tier.
    pub(crate) head: Option<HeadRecord>,
    /// What a manifest's records were asked, if they were.
    pub(crate) settled: Option<SettledHead>,
}

/// What the records of one manifest say of a stream.
pub(crate) struct SettledHead {
    pub(crate) records: Arc<dyn Settled>,
    pub(crate) head: Option<HeadRecord>,
}

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
        Ok(self.look_up(stream)?.head)
    }

    /// As [`head_by_hash`](Self::head_by_hash), with what the runs said: a reader need not ask them again.
    pub(crate) fn look_up(&self, stream: u128) -> Result<LookedUp, SettledError> {
        // tail first, then the runs: what leaves the tail is in the runs before it leaves
        let tail = self.heads.read().get(stream).map(|(head, _)| head);
        if tail.is_some_and(|head| head.first_seq == Seq::FIRST) {
            return Ok(LookedUp { head: tail, settled: None });
        }
        let records = self.settled();
        let older = records.head(stream)?;
        let head = match (tail, older) {
            (Some(head), Some(older)) => {
                let tenant = joined(older.tenant, head.tenant);
                Some(HeadRecord { last_seq: head.last_seq.max(older.last_seq), tenant, ..older })
            }
            (head, older) => head.or(older),
        };
        Ok(LookedUp { head, settled: Some(SettledHead { records, head: older }) })
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
