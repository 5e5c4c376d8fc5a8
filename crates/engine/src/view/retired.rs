//! What retention removed: no tier serves a row of it, the log and memory included.
//!
//! With files in the view such a row can only be a double that somebody made by hand: tails begin above every file that was
//! ever written. Without them the log and memory show what they still hold, and this takes out what is gone.

use crate::append::SettledError;
use crate::read::{ReadError, Verdict};
use crate::store::Store;
use std::sync::Arc;
use strandline_deql::MissingSeqPolicy;
use strandline_durable::{BrokenRun, Rows, RunKind, Snapshot};
use strandline_event::hash::stream_hash;
use strandline_event::{EventRef, LogKey, Seq};

/// Whether one of the ranges (ascending, disjoint, inclusive) holds a seq.
pub(crate) fn holds(ranges: &[(Seq, Seq)], seq: Seq) -> bool {
    let next = ranges.partition_point(|(_, last)| *last < seq);
    ranges.get(next).is_some_and(|(first, _)| *first <= seq)
}

pub(crate) fn unreadable(broken: BrokenRun) -> ReadError {
    ReadError::Settled(SettledError(broken.to_string()))
}

/// The seqs of one stream that retention removed, as far as that is known.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(crate) ranges: Vec<(Seq, Seq)>,
    broken: Option<BrokenRun>,
}

impl Retired {
    /// Whether nothing is, for certain.
    pub(crate) fn is_nothing(&self) -> bool {
        self.ranges.is_empty() && self.broken.is_none()
    }

    /// How many of the seqs from one to another are retired.
    pub(crate) fn count(&self, from: Seq, to: Seq) -> usize {
        let inside = |(first, last): &(Seq, Seq)| (last.0.min(to.0) + 1).saturating_sub(first.0.max(from.0));
        usize::try_from(self.ranges.iter().map(inside).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// What a reader must be told. A gap that may be a retired range is not called a hole: the run is named instead.
    pub(crate) fn warn(&self, verdict: &Verdict, policy: MissingSeqPolicy) -> Result<Vec<String>, ReadError> {
        let Some(broken) = &self.broken else { return Ok(Vec::new()) };
        if policy == MissingSeqPolicy::Error && !verdict.missing.is_empty() {
            return Err(unreadable(broken.clone()));
        }
        Ok(vec![format!("which seqs retention removed is not known: {broken}")])
    }
}

impl Store {
    /// The retired seqs of a stream. Files of a view hold none of them; without files they must be known.
    pub(crate) fn retired_of(&self, log: &LogKey, hash: u128, files: Option<&Snapshot>) -> Result<Retired, ReadError> {
        let found = match files {
            Some(snapshot) => snapshot.retired(log, hash),
            None => self.durable().pin().retired(log, hash),
        };
        match found {
            Ok(ranges) => Ok(Retired { ranges, broken: None }),
            Err(broken) if files.is_some() => Ok(Retired { ranges: Vec::new(), broken: Some(broken) }),
            Err(broken) => Err(unreadable(broken)),
        }
    }
}

/// All retired seqs of a manifest, for reads over many streams. Rows of one stream that come together cost one lookup.
pub(crate) struct RetiredSeqs {
    snapshot: Arc<Snapshot>,
    logs: Vec<LogKey>,
    /// The stream that was looked up last.
    last: Option<(String, String)>,
    ranges: Vec<(Seq, Seq)>,
}

impl RetiredSeqs {
    /// `None`: nothing is retired.
    pub(crate) fn of(snapshot: &Arc<Snapshot>, files: bool) -> Result<Option<Self>, ReadError> {
        let mut logs = Vec::new();
        for (log, _) in snapshot.logs().filter(|(log, _)| snapshot.has_retired(log)) {
            match snapshot.broken_run(log, RunKind::Retired) {
                None => logs.push(log.clone()),
                Some(_) if files => {}
                Some(broken) => return Err(unreadable(broken.clone())),
            }
        }
        let new = |logs| Self { snapshot: Arc::clone(snapshot), logs, last: None, ranges: Vec::new() };
        Ok((!logs.is_empty()).then(|| new(logs)))
    }

    /// Whether an event is retired.
    pub(crate) fn hold(this: &mut Option<Self>, event: &EventRef<'_>) -> bool {
        this.as_mut().is_some_and(|retired| retired.covers(event))
    }

    /// The rows of a batch that are left; `None`: all.
    pub(crate) fn left_of(&mut self, batch: &impl Rows) -> Option<Vec<u32>> {
        let rows = batch.rows();
        let left: Vec<u32> = (0..rows).filter(|i| !self.covers(&batch.row(*i))).map(|i| i as u32).collect();
        (left.len() < rows).then_some(left)
    }

    fn covers(&mut self, event: &EventRef<'_>) -> bool {
        let known = self.last.as_ref().is_some_and(|(t, id)| t == event.stream_type && id == event.stream_id);
        if !known {
            self.last = Some((event.stream_type.to_owned(), event.stream_id.to_owned()));
            self.ranges.clear();
            let hash = stream_hash(event.stream_id);
            // a stream is in one bucket only
            for log in self.logs.iter().filter(|log| *log.stream_type == *event.stream_type) {
                // its runs were asked whether they can be read
                self.ranges.extend(self.snapshot.retired(log, hash).unwrap_or_default());
            }
        }
        holds(&self.ranges, event.seq)
    }
}
