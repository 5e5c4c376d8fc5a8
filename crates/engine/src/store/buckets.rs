//! Stream types of several buckets: which log owns a stream, and a body of many streams as its owners take it.
//!
//! ```text
//!  a store of one node    split ─> the manifest says it, from before the type's first log on ─> every open reads it there
//!  a store of a cluster   the meta group says it ─> learn_buckets, before a log of the type is opened here
//! ```
//!
//! A type has one bucket or what it was made with: the number never changes once there is a log of the type, so who has found a log, and
//! then finds the number that it was found by, has found the right one.

use super::Store;
use crate::append::with_rows;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_durable::{CommitError, Update};
use strandline_event::hash::keyed_hash;
use strandline_event::{BatchBytes, BatchUnit, BatchView, ErrorKind, LogKey, Micros, bucket_of_stream};

/// Stream types of more than one bucket.
pub(crate) type Buckets = BTreeMap<String, u32>;

/// Stream types whose split has an unknown outcome, each with the version that would say it: once there is that version, it says so, or the split
/// never was.
pub(super) type UnclearSplits = BTreeMap<String, u64>;

/// Why a stream type is not split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// It has another number of buckets; one that is there has one, unless it was split before.
    #[error(
        "stream type `{stream_type}` is there already, and its number of buckets is {buckets}, which never changes"
    )]
    Other {
        /// The type.
        stream_type: String,
        /// How many it has.
        buckets: u32,
    },
    /// The commit that says it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl SplitError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Other { .. } => ErrorKind::StrictViolation,
            Self::Commit(error) => error.kind(),
        }
    }
}

/// The rows of a batch that one log owns.
#[derive(Clone, Debug)]
pub struct OwnerPart {
    /// They, in their order.
    pub batch: BatchBytes,
    /// It, by the number of buckets that the stream type had when the part was cut.
    pub log: LogKey,
    /// Row -> row of the batch that was given; `None`: it is the whole one.
    rows: Option<Vec<u32>>,
}

impl OwnerPart {
    /// A batch of one owner.
    #[must_use]
    pub const fn whole(batch: BatchBytes, log: LogKey) -> Self {
        Self { batch, log, rows: None }
    }

    /// Row of the batch that was given.
    #[must_use]
    pub fn row(&self, row: u32) -> u32 {
        self.rows.as_ref().and_then(|rows| rows.get(row as usize)).copied().unwrap_or(row)
    }
}

impl Store {
    /// How many buckets a stream type has, or would have if its first event came now.
    #[must_use]
    pub fn buckets_of(&self, stream_type: &str) -> u32 {
        self.buckets.load().get(stream_type).copied().unwrap_or(1)
    }

    /// The bucket of a stream.
    #[must_use]
    pub fn bucket_of(&self, stream_type: &str, stream_id: &str) -> u32 {
        bucket_of_stream(stream_id, self.buckets_of(stream_type))
    }

    /// The log that owns a stream.
    #[must_use]
    pub fn owner_of(&self, stream_type: &str, stream_id: &str) -> LogKey {
        LogKey::of_stream(stream_type, stream_id, self.buckets_of(stream_type))
    }

    /// The log that owns all streams of a batch; `None`: several do ([`by_owner`](Self::by_owner) cuts it). An append to one stream goes
    /// where its first stream is.
    #[must_use]
    pub fn owner_of_batch(&self, batch: BatchView<'_>) -> Option<LogKey> {
        let buckets = self.buckets_of(batch.stream_type());
        let log = LogKey::of_stream(batch.stream_type(), batch.stream(0), buckets);
        let is_elsewhere = |stream: usize| bucket_of_stream(batch.stream(stream), buckets) != log.bucket;
        let is_cut = buckets > 1 && batch.unit() == BatchUnit::Rows && (1..batch.stream_count()).any(is_elsewhere);
        (!is_cut).then_some(log)
    }

    /// A batch as its owners take it: one part for each, each stream's events in their order. `None`: a part cannot be built.
    #[must_use]
    pub fn by_owner(&self, batch: BatchBytes) -> Option<Vec<OwnerPart>> {
        let view = batch.view();
        let buckets = self.buckets_of(view.stream_type());
        let first = LogKey::of_stream(view.stream_type(), view.stream(0), buckets);
        if buckets == 1 || view.unit() == BatchUnit::Append {
            return Some(vec![OwnerPart::whole(batch, first)]);
        }
        let of_stream = |stream: usize| bucket_of_stream(view.stream(stream), buckets);
        let of_streams: Vec<u32> = (0..view.stream_count()).map(of_stream).collect();
        let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in 0..view.rows() {
            let bucket = of_streams.get(view.stream_of(row)).copied().unwrap_or(0);
            rows.entry(bucket).or_default().push(row as u32);
        }
        if rows.len() == 1 {
            return Some(vec![OwnerPart::whole(batch, first)]);
        }
        let part = |(bucket, rows): (u32, Vec<u32>)| {
            let batch = with_rows(view, view.chunk(), rows.iter().map(|row| *row as usize))?;
            Some(OwnerPart { batch, log: LogKey { bucket, ..first.clone() }, rows: Some(rows) })
        };
        rows.into_iter().map(part).collect()
    }

    /// Gives a stream type that has no log yet its number of buckets, for ever; the same again is no error. Blocks.
    ///
    /// # Errors
    /// [`SplitError`]; after a commit of which nobody knows whether it happened the type gets no log until somebody does: the same call
    /// again finds out, or the next open.
    pub fn split(&self, stream_type: &str, buckets: u32, now: Micros) -> Result<(), SplitError> {
        // no log is made meanwhile
        let mut unclear = self.creating.lock();
        let decided = self.decide_split(&mut unclear, stream_type);
        if buckets == 1 {
            // no commit of this call would find it out
            decided?;
        }
        let known = self.buckets_of(stream_type);
        if known == buckets {
            return Ok(());
        }
        let other = |buckets| SplitError::Other { stream_type: stream_type.to_owned(), buckets };
        if known > 1 || self.logs.load().keys().any(|log| *log.stream_type == *stream_type) {
            return Err(other(known));
        }
        let job_id = keyed_hash(0, 6, &[&self.entropy.to_le_bytes(), stream_type.as_bytes()]);
        let update = Update::Buckets { stream_type: stream_type.to_owned(), buckets };
        let snapshot = self.durable.update(&update, job_id, now).inspect_err(|error| {
            if let CommitError::Unknown { version, .. } = error {
                unclear.insert(stream_type.to_owned(), *version);
            }
        })?;
        unclear.remove(stream_type);
        // a number that another call gave before, and of which nobody knew, is there by now
        let said = &snapshot.manifest().buckets;
        self.learn_buckets(said);
        match said.get(stream_type) {
            Some(said) if *said != buckets => Err(other(*said)),
            _ => Ok(()),
        }
    }

    /// Finds out, where that can be, what became of a split of unknown outcome: until then nobody knows the logs of the type. Cheap where
    /// there is none.
    pub(super) fn decide_split(&self, unclear: &mut UnclearSplits, stream_type: &str) -> Result<(), CommitError> {
        let Some(version) = unclear.get(stream_type).copied() else { return Ok(()) };
        let settled = self.durable.settle();
        let snapshot = self.durable.pin();
        if snapshot.version() < version {
            settled?;
            let reason = format!("it would say how many buckets `{stream_type}` has");
            return Err(CommitError::Unknown { version, reason });
        }
        self.learn_buckets(&snapshot.manifest().buckets);
        unclear.remove(stream_type);
        Ok(())
    }

    /// What a cluster says of stream types of more than one bucket, before a log of one of them is opened here; or what a store in memory had
    /// said before its process ended.
    pub fn learn_buckets(&self, told: &BTreeMap<String, u32>) {
        let is_new = |known: &Buckets| told.iter().any(|(name, buckets)| known.get(name) != Some(buckets));
        if !is_new(&self.buckets.load()) {
            return;
        }
        self.buckets.rcu(|known| {
            let mut known = Buckets::clone(known);
            known.extend(told.iter().map(|(name, buckets)| (name.clone(), *buckets)));
            known
        });
    }

    /// The stream types of more than one bucket, as of now.
    pub(crate) fn buckets(&self) -> Arc<Buckets> {
        self.buckets.load_full()
    }
}
