//! One version of the durable tier, pinned: what readers and the append side see of it.

use super::{LogRecords, Shared};
use crate::entry::FileEntry;
use crate::manifest::{LogState, Manifest};
use crate::redaction::Redaction;
use crate::runs::{
    BrokenRun, CommandRecord, HeadRecord, LogRuns, RetiredRange, Run, RunKind, RunRef, coalesced, find, merged, union,
};
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::{EventId, LogIndex, LogKey, Micros, Seq};

/// One version. Immutable.
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) manifest: Manifest,
    pub(crate) files: Vec<Arc<FileEntry>>,
    pub(crate) runs: HashMap<LogKey, LogRuns>,
    /// By how much merges that found doubles have lowered the count of events of a log, since the tier was opened.
    doubles: HashMap<LogKey, u64>,
}

impl Snapshot {
    /// Opens the runs of a version; those that `before` has open already are taken from it. A run that cannot be read
    /// is kept as broken: what it covers is refused, everything else serves.
    pub(crate) fn open(shared: Arc<Shared>, manifest: Manifest, before: Option<&Self>) -> Self {
        let mut known: HashMap<&str, &Arc<Run>> = HashMap::new();
        for (key, state) in before.iter().flat_map(|b| &b.manifest.logs) {
            let pairs = before.and_then(|b| b.runs.get(key)).into_iter().flat_map(|runs| runs.pairs(state));
            known.extend(pairs.filter_map(|(run, slot)| Some((run.path.as_str(), slot.as_ref().ok()?))));
        }
        let open =
            |(key, state): (&LogKey, &LogState)| (key.clone(), LogRuns::open(&*shared.objects, key, state, &known));
        let runs = manifest.logs.iter().map(open).collect();
        let files = manifest.files().cloned().collect();
        let doubles = manifest.logs.iter().filter_map(|(key, state)| {
            let before = before?;
            let fewer = before.log(key).map_or(0, |earlier| earlier.events.saturating_sub(state.events));
            let count = before.doubles.get(key).map_or(0, |earlier| *earlier).saturating_add(fewer);
            (count > 0).then(|| (key.clone(), count))
        });
        let doubles = doubles.collect();
        Self { shared, manifest, files, runs, doubles }
    }

    /// What this version redacts is hidden from all readers of the store from now on.
    pub(crate) fn lower_veil(&self) {
        let redactions = &self.manifest.redactions;
        self.shared.veil.take_in(redactions.len(), redactions.iter());
    }

    /// Whether this version says that an event of this stream is redacted. The veil may know more: on a member of a cluster it hides what a
    /// version says that is not current here yet.
    #[must_use]
    pub fn is_redacted(&self, event_id: EventId, (stream_type, stream_id): (&str, &str)) -> bool {
        let is_it =
            |of: &Redaction| of.event_id == event_id && of.stream_type == stream_type && of.stream_id == stream_id;
        self.shared.veil.hides(event_id, (stream_type, stream_id)) && self.redactions().any(is_it)
    }

    /// What is redacted, oldest first.
    pub fn redactions(&self) -> impl Iterator<Item = &Redaction> {
        self.manifest.redactions.iter()
    }

    /// The runs that cannot be read.
    pub fn broken_runs(&self) -> impl Iterator<Item = &BrokenRun> {
        self.runs.values().flat_map(LogRuns::broken)
    }

    /// The first run of a kind that cannot be read of a log.
    #[must_use]
    pub fn broken_run(&self, log: &LogKey, kind: RunKind) -> Option<&BrokenRun> {
        self.runs.get(log)?.broken().find(|broken| broken.kind == kind)
    }

    /// Whether this version names a run.
    pub(crate) fn names_run(&self, path: &str) -> bool {
        self.manifest.runs().any(|run| run.path == path)
    }

    /// Its number.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.manifest.version
    }

    /// Epoch of the owner that made it.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// Name of the store.
    #[must_use]
    pub fn store_name(&self) -> &str {
        &self.manifest.store_name
    }

    /// Random id of the store, given at birth.
    #[must_use]
    pub const fn store_id(&self) -> [u8; 16] {
        self.manifest.store_id
    }

    /// Key of the store's digests, given at birth.
    #[must_use]
    pub const fn digest_key(&self) -> (u64, u64) {
        self.manifest.digest_key
    }

    /// The store's statement as it was committed last.
    #[must_use]
    pub fn config_text(&self) -> &str {
        &self.manifest.config_text
    }

    /// When it was made.
    #[must_use]
    pub const fn committed_at(&self) -> Micros {
        self.manifest.committed_at
    }

    /// All that it says.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The live data files.
    #[must_use]
    pub fn files(&self) -> &[Arc<FileEntry>] {
        &self.files
    }

    /// Events in data files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|f| f.rows).sum()
    }

    /// Bytes of data files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// What it knows of a log.
    #[must_use]
    pub fn log(&self, log: &LogKey) -> Option<&LogState> {
        self.manifest.logs.get(log)
    }

    /// Every log that it knows.
    pub fn logs(&self) -> impl Iterator<Item = (&LogKey, &LogState)> {
        self.manifest.logs.iter()
    }

    /// Everything of a log up to and with this index is in data files.
    #[must_use]
    pub fn watermark(&self, log: &LogKey) -> LogIndex {
        self.log(log).map_or(LogIndex::ZERO, |state| state.compacted_through)
    }

    /// What the append side needs of a log, for as long as it needs it: that does not pin this version.
    #[must_use]
    pub fn records(&self, log: &LogKey) -> LogRecords {
        let chunks = self.log(log).map_or_else(Vec::new, |state| state.chunks.clone());
        LogRecords { runs: self.runs.get(log).cloned().unwrap_or_default(), chunks }
    }

    /// Rows of a log that were ever moved into data files. Unlike the count of its events it never falls while the tier is open:
    /// a row that a merge found twice was moved twice.
    #[must_use]
    pub fn rows_moved(&self, log: &LogKey) -> u64 {
        let events = self.log(log).map_or(0, |state| state.events);
        events.saturating_add(self.doubles.get(log).map_or(0, |doubles| *doubles))
    }

    /// The head of a stream as of the watermark. Errors: a run that may hold it cannot be read.
    pub fn head(&self, log: &LogKey, stream_hash: u128) -> Result<Option<HeadRecord>, BrokenRun> {
        self.runs.get(log).map_or(Ok(None), |runs| find(&runs.heads, stream_hash))
    }

    /// What a command did, if it is below the watermark. Errors: a run that may hold it cannot be read.
    pub fn command(&self, log: &LogKey, key: u128) -> Result<Option<CommandRecord>, BrokenRun> {
        self.runs.get(log).map_or(Ok(None), |runs| find(&runs.commands, key))
    }

    /// The number under a mark of a chunk (version 1: under the digest of a file), below the watermark; 0: none. Errors: a run that may hold it cannot be read.
    pub fn chunk_mark(&self, log: &LogKey, digest: &[u8; 16]) -> Result<u64, BrokenRun> {
        self.records(log).chunk_mark(digest)
    }

    /// Whether retention has removed anything of a log that was not brought back.
    #[must_use]
    pub fn has_retired(&self, log: &LogKey) -> bool {
        self.log(log).is_some_and(|state| !state.retired.is_empty())
    }

    /// Whether retention has removed the same in both versions.
    #[must_use]
    pub fn same_retired(&self, other: &Self) -> bool {
        fn runs(snapshot: &Snapshot) -> impl Iterator<Item = (&LogKey, &Vec<RunRef>)> {
            let logs = snapshot.manifest.logs.iter().map(|(key, state)| (key, &state.retired));
            logs.filter(|(_, runs)| !runs.is_empty())
        }
        runs(self).eq(runs(other))
    }

    /// The seqs of a stream that retention removed, ascending, inclusive, disjoint. Errors: a run that may hold some cannot be
    /// read.
    pub fn retired(&self, log: &LogKey, stream_hash: u128) -> Result<Vec<(Seq, Seq)>, BrokenRun> {
        let Some(runs) = self.runs.get(log) else { return Ok(Vec::new()) };
        let mut found: Vec<RetiredRange> = Vec::new();
        for slot in &runs.retired {
            found.extend(slot.as_ref().map_err(Clone::clone)?.all_of::<RetiredRange>(stream_hash));
        }
        found.sort_unstable();
        Ok(coalesced(found.into_iter()).map(|range| (range.first, range.last)).collect())
    }

    /// All seqs of a log that retention removed, by stream. What only broken runs hold is left out.
    pub fn retired_ranges<'a>(&'a self, log: &LogKey) -> impl Iterator<Item = RetiredRange> + 'a {
        let runs = self.runs.get(log).map_or(&[][..], |runs| &runs.retired);
        let open = runs.iter().filter_map(|slot| slot.as_ref().ok());
        union(open.map(|run| Box::new(run.iter()) as Box<dyn Iterator<Item = _>>).collect())
    }

    /// The heads of a log, each stream once, by hash. What only broken runs hold is left out.
    pub fn heads<'a>(&'a self, log: &LogKey) -> impl Iterator<Item = HeadRecord> + 'a {
        let runs = self.runs.get(log).map_or(&[][..], |runs| &runs.heads);
        let open = runs.iter().rev().filter_map(|slot| slot.as_ref().ok());
        merged(open.map(|run| Box::new(run.iter()) as Box<dyn Iterator<Item = _>>).collect())
    }
}
