//! One version of the durable tier, pinned: what readers and the append side see of it.

use super::Shared;
use crate::entry::FileEntry;
use crate::manifest::{LogState, Manifest};
use crate::objects::Objects;
use crate::runs::{CommandRecord, HeadRecord, Record, Run, RunError, RunRef, merged};
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, Micros, Seq};

/// Open runs of a log, oldest first, as in its [`LogState`].
#[derive(Clone, Default)]
pub(crate) struct LogRuns {
    pub(crate) heads: Vec<Arc<Run>>,
    pub(crate) commands: Vec<Arc<Run>>,
}

/// One version. Immutable.
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) manifest: Manifest,
    pub(crate) files: Vec<Arc<FileEntry>>,
    pub(crate) runs: HashMap<LogKey, LogRuns>,
}

impl Snapshot {
    /// Opens the runs of a version; those that `before` has open already are taken from it.
    pub(crate) fn open(shared: Arc<Shared>, manifest: Manifest, before: Option<&Self>) -> Result<Self, RunError> {
        let mut known: HashMap<&str, &Arc<Run>> = HashMap::new();
        for (key, state) in before.iter().flat_map(|b| &b.manifest.logs) {
            let runs = before.and_then(|b| b.runs.get(key));
            let pairs = runs
                .into_iter()
                .flat_map(|r| state.heads.iter().zip(&r.heads).chain(state.commands.iter().zip(&r.commands)));
            known.extend(pairs.map(|(run, open)| (run.path.as_str(), open)));
        }
        let mut runs = HashMap::new();
        for (key, state) in &manifest.logs {
            let open = LogRuns {
                heads: open_all::<HeadRecord>(&*shared.objects, &state.heads, &known)?,
                commands: open_all::<CommandRecord>(&*shared.objects, &state.commands, &known)?,
            };
            runs.insert(key.clone(), open);
        }
        let files = manifest.files().cloned().collect();
        Ok(Self { shared, manifest, files, runs })
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

    /// The head of a stream as of the watermark.
    #[must_use]
    pub fn head(&self, log: &LogKey, stream_hash: u128) -> Option<HeadRecord> {
        self.runs.get(log)?.heads.iter().rev().find_map(|run| run.find(stream_hash))
    }

    /// What a command did, if it is below the watermark.
    #[must_use]
    pub fn command(&self, log: &LogKey, key: u128) -> Option<CommandRecord> {
        self.runs.get(log)?.commands.iter().rev().find_map(|run| run.find(key))
    }

    /// The highest chunk of a file below the watermark; 0: none.
    #[must_use]
    pub fn chunk_mark(&self, log: &LogKey, digest: &[u8; 16]) -> u64 {
        let marks = self.log(log).map_or(&[][..], |state| &state.chunks);
        marks.iter().find(|mark| mark.digest == *digest).map_or(0, |mark| mark.number)
    }

    /// The heads of a log, each stream once, by hash.
    pub fn heads<'a>(&'a self, log: &LogKey) -> impl Iterator<Item = HeadRecord> + 'a {
        let runs = self.runs.get(log).map_or(&[][..], |runs| &runs.heads);
        merged(runs.iter().rev().map(|run| Box::new(run.iter()) as Box<dyn Iterator<Item = _>>).collect())
    }

    /// A record of the same stream, with what `record` leaves open taken from the older head.
    pub(crate) fn complete(&self, log: &LogKey, mut record: HeadRecord) -> HeadRecord {
        if record.first_seq == Seq::ZERO
            && let Some(older) = self.head(log, record.stream)
        {
            (record.first_seq, record.owner_tenant) = (older.first_seq, older.owner_tenant);
        }
        record
    }
}

fn open_all<R: Record>(
    objects: &dyn Objects,
    runs: &[RunRef],
    known: &HashMap<&str, &Arc<Run>>,
) -> Result<Vec<Arc<Run>>, RunError> {
    let open = |run: &RunRef| match known.get(run.path.as_str()) {
        Some(run) => Ok(Arc::clone(run)),
        None => Run::open(objects, run, R::KIND, R::BYTES).map(Arc::new),
    };
    runs.iter().map(open).collect()
}
