//! The durable tier: opens it, commits to it, pins versions of it.
//!
//! Refuses to know logs, memory or actors: it takes sorted rows and gives rows back.
//!
//! ```text
//! write_files -> staged files (nobody's) -> commit: runs, sealed segments, version n+1 (create if absent) -> names published
//!                                                                  ^ the moment it is true
//! ```

mod claiming;
mod commit;
mod fold;
mod in_place;
mod late;
mod member;
pub(crate) mod names;
mod open;
mod owner;
mod pins;
mod rebuild;
mod records;
mod retention;
mod retired;
mod settle;
mod snapshot;
mod sweep;

pub use commit::{Commit, CommitError, DeleteMode, Redact, Replacement, Restore, Retirement, Update};
pub use fold::{Folded, PastVersion};
pub use in_place::FilesAway;
pub use member::{FollowError, FollowedOthers};
pub use open::{CACHE_BYTES_DEFAULT, OpenError, OpenOptions};
pub use rebuild::{CommandKey, DIGEST_UNKNOWN, RebuildError, Rebuilt};
pub use records::LogRecords;
pub use retention::{Restored, RetireError, Retired};
pub use snapshot::Snapshot;

use crate::delta::{DeltaLog, DeltaNumbers, Followed};
use crate::entry::FileEntry;
use crate::keyring::KeyLook;
use crate::layout::Layout;
use crate::manifest::{self, ManifestError};
use crate::objects::{ObjectError, SharedObjects};
use crate::read::FileCache;
use crate::redaction::Veil;
use crate::rows::Rows;
use crate::sort::RowRef;
use crate::write::{JobSpec, JobWriter, OpenFiles, Permits, StagedFiles, WriteError, staged};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use strandline_event::Micros;
use strandline_keys::StoreKeys;

/// The folder of the manifests where it lies below durable.path by default: not looked at for data files.
pub(crate) const MANIFEST_FOLDER: &str = "_manifests";

/// What snapshots and the tier share: where things are, and what was decoded of them.
pub(crate) struct Shared {
    pub(crate) objects: SharedObjects,
    pub(crate) manifests: SharedObjects,
    pub(crate) layout: ArcSwap<Layout>,
    pub(crate) cache: FileCache,
    /// What is redacted, for all readers.
    pub(crate) veil: Arc<Veil>,
}

/// What only committers touch.
pub(crate) struct Committer {
    /// CRC32C of the current version's file.
    current_crc32c: u32,
    /// A commit whose outcome is not known.
    unclear: Option<settle::Unclear>,
    /// The claim for which opening found no room.
    late: Option<Box<late::LateClaim>>,
}

struct Inner {
    shared: Arc<Shared>,
    current: ArcSwap<Snapshot>,
    committer: Mutex<Committer>,
    file_seq: AtomicU64,
    /// Who commits here.
    claim: ArcSwap<member::Claim>,
    /// Files of jobs that run.
    staged: StagedFiles,
    /// Files of jobs that are open, here or on the whole node.
    open_files: ArcSwap<OpenFiles>,
    /// How often a version became current that shows other seqs as retired than the one before.
    retirements: AtomicU64,
    /// Versions that readers hold.
    pins: pins::Pins,
    /// Replaced files that are there no more.
    gone: pins::Gone,
    /// The Delta log that follows the commits; none where the store is encrypted or opened to read only.
    delta: Option<DeltaLog>,
    /// What opening found and went on without.
    warnings: Vec<String>,
    /// The process is about to end.
    abandoned: AtomicBool,
    /// Tells the moments of versions; none: who commits does.
    clock: OnceLock<fn() -> Micros>,
}

/// A handle; cloning is one reference count.
#[derive(Clone)]
pub struct DurableTier {
    inner: Arc<Inner>,
}

/// A version in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestSummary {
    /// Its number.
    pub version: u64,
    /// Epoch of its owner.
    pub epoch: u64,
    /// The job that made it.
    pub job_id: u128,
    /// When it was committed; never before the version before it.
    pub committed_at: Micros,
    /// Data files.
    pub files: u64,
    /// Events in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl DurableTier {
    /// The current version. What it names stays readable while it is held.
    #[must_use]
    pub fn pin(&self) -> Arc<Snapshot> {
        self.inner.current.load_full()
    }

    /// The epoch under which this handle commits; `None`: it was opened to read only, or found no room for its claim yet.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.inner.claim.load().epoch
    }

    /// What is redacted, as of now: readers look at every row through it.
    #[must_use]
    pub fn veil(&self) -> &Arc<Veil> {
        &self.inner.shared.veil
    }

    /// How often retention has taken rows away from readers, or given some back, since the tier was opened. What was pinned after this was
    /// asked shows at least that.
    #[must_use]
    pub fn retirements(&self) -> u64 {
        self.inner.retirements.load(Ordering::SeqCst)
    }

    /// The keys of an encrypted store; `None`: it is none.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<StoreKeys>> {
        self.inner.shared.objects.keys()
    }

    /// Takes a newer keyring, if there is one. Blocks; call it now and then.
    pub fn look_at_keys(&self, at: KeyLook) {
        self.inner.shared.objects.look_at_keys(at);
    }

    /// Why the next start would not get the store's keys, as the last look found: the key file or the key service is away, or the
    /// keyring is not what it was. What is open goes on.
    #[must_use]
    pub fn key_trouble(&self) -> Option<Arc<str>> {
        self.inner.shared.objects.key_trouble()
    }

    /// How many of these looks found that the next start would not open the keyring, and whether the last one did.
    #[must_use]
    pub fn key_looks(&self) -> (u64, bool) {
        self.inner.shared.objects.key_looks()
    }

    /// How files are written now.
    #[must_use]
    pub fn layout(&self) -> Arc<Layout> {
        self.inner.shared.layout.load_full()
    }

    /// New files are written so; jobs that run go on with the layout that they began with. Which keys may change is the
    /// caller's check.
    pub fn replace_layout(&self, layout: Layout) {
        let keys = self.keys().cloned();
        self.inner.shared.layout.store(Arc::new(layout.with_keys(keys)));
    }

    /// Writes the data files of a job. `rows` come sorted as [`crate::sort_rows`] gives them for the same `layout`. `on_rows` is told
    /// the rows so far and may stop it. On an error what was written is taken away again (what that leaves behind is swept later).
    pub fn write_files<B: Rows>(
        &self,
        layout: &Layout,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        let open_files = self.open_files();
        self.write_by(&self.job_writer(layout, Permits::Each(&open_files)), job, batches, order, on_rows)
    }

    /// As [`write_files`](Self::write_files), for appends that are answered when the files are committed: they are counted among the open
    /// files of no job, so that no append waits for a merge.
    pub fn write_files_of_appends<B: Rows>(
        &self,
        layout: &Layout,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        self.write_by(&self.job_writer(layout, Permits::Uncounted), job, batches, order, on_rows)
    }

    /// Writes them as this writer names and counts them.
    pub(crate) fn write_by<B: Rows>(
        &self,
        writer: &JobWriter<'_>,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        let mut written = Vec::new();
        let outcome = writer.write(job, batches, order, on_rows, &mut written);
        if let Err(error) = outcome {
            self.discard(&written);
            return Err(error);
        }
        Ok(written)
    }

    pub(crate) fn job_writer<'l>(&'l self, layout: &'l Layout, permits: Permits<'l>) -> JobWriter<'l> {
        JobWriter {
            objects: &*self.inner.shared.objects,
            layout,
            writer: Arc::clone(&self.inner.claim.load().writer),
            file_seq: &self.inner.file_seq,
            staged: &self.inner.staged,
            permits,
        }
    }

    /// What no sweep takes.
    pub(crate) fn staged_files(&self) -> &StagedFiles {
        &self.inner.staged
    }

    /// Where open files of jobs are counted.
    pub(crate) fn open_files(&self) -> Arc<OpenFiles> {
        self.inner.open_files.load_full()
    }

    /// Takes the files of a job away that will not be committed. Never call it for files whose commit has an unknown outcome.
    pub fn discard(&self, files: &[FileEntry]) {
        let objects = &*self.inner.shared.objects;
        for file in files {
            if let Err(error) = objects.delete(&staged(objects, &file.path)) {
                tracing::warn!(path = file.path, %error, "a file of a cancelled job stays until it is swept");
            }
            self.inner.staged.release(&file.path);
        }
    }

    /// What opening found and went on without: files that are not there, names that could not be given.
    #[must_use]
    pub fn open_warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// From now on jobs count their open files here: one count for all stores of a node. Call it before the first job.
    pub fn share_open_files(&self, open_files: Arc<OpenFiles>) {
        self.inner.open_files.store(open_files);
    }

    /// From now on a version is of the moment that this clock tells right before it is made. Without one it is of the moment that its
    /// maker gives, which for a job may be long before. The first one that is given stays.
    pub fn take_moments_of(&self, clock: fn() -> Micros) {
        self.inner.clock.get_or_init(|| clock);
    }

    /// The moment of a version that is made now, right upon `current`; `given`: what its maker says. It is never before that of
    /// `current`, whoever made that one, by whichever clock.
    pub(super) fn moment(&self, given: Micros, current: &Snapshot) -> Micros {
        let now = self.inner.clock.get().map_or(given, |clock| given.max(clock()));
        now.max(current.committed_at())
    }

    /// Where a file is on disk now; `None`: the store is not a local folder, or the file is gone.
    #[must_use]
    pub fn local_path(&self, file: &FileEntry) -> Option<PathBuf> {
        let root = self.inner.shared.objects.local_root()?;
        names::spellings(&file.path).map(|name| root.join(name)).find(|path| path.exists())
    }

    /// The versions that are there, newest first, at most `limit`. A segment never changes: however many versions name it, it is
    /// looked at once, and one of the current version is not read.
    pub fn history(&self, limit: usize) -> Result<Vec<ManifestSummary>, ManifestError> {
        self.history_before(None, limit)
    }

    /// A page of them, of those before a version; with the version before which the next page is. `None`: nothing older is there.
    pub fn history_page(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<ManifestSummary>, Option<u64>), ManifestError> {
        let mut page = self.history_before(before, limit.saturating_add(1))?;
        let is_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| is_more).map(|oldest| oldest.version);
        Ok((page, next))
    }

    fn history_before(&self, before: Option<u64>, limit: usize) -> Result<Vec<ManifestSummary>, ManifestError> {
        let (manifests, current) = (&*self.inner.shared.manifests, self.pin());
        let newest = manifest::newest_above(manifests, current.version())?.unwrap_or(current.version());
        let segments = current.manifest().groups.values().flat_map(|group| &group.segments);
        let mut known: HashMap<String, Sums> =
            segments.map(|(segment, files)| (segment.path.clone(), Sums::of(files.iter()))).collect();
        let mut history = Vec::new();
        let last = before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
        for version in (1..=last).rev().take(limit) {
            match self.summary(version, &mut known) {
                Ok(summary) => history.push(summary),
                // folded away, and all before it
                Err(ManifestError::Objects(ObjectError::NotFound { .. })) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(history)
    }

    fn summary(&self, version: u64, known: &mut HashMap<String, Sums>) -> Result<ManifestSummary, ManifestError> {
        let skeleton = self.skeleton(version)?;
        let mut sums = Sums::of(skeleton.manifest.files());
        for segment in skeleton.segments.iter().flat_map(|(_, segments)| segments) {
            let of_segment = match known.get(&segment.path) {
                Some(found) => *found,
                None => {
                    let entries = manifest::read_entries(&*self.inner.shared.manifests, segment)?;
                    let found = Sums::of(entries.iter());
                    known.insert(segment.path.clone(), found);
                    found
                }
            };
            sums.add(of_segment);
        }
        let (of, Sums { files, rows, bytes }) = (&skeleton.manifest, sums);
        let (epoch, job_id, committed_at) = (of.epoch, of.job_id, of.committed_at);
        Ok(ManifestSummary { version, epoch, job_id, committed_at, files, rows, bytes })
    }

    /// What the first request to their object store said that got no answer; `None`: each one got one.
    #[must_use]
    pub fn unanswered(&self) -> Option<Arc<str>> {
        self.inner.shared.objects.unanswered().or_else(|| self.inner.shared.manifests.unanswered())
    }

    /// Why the data files or the manifests get no answer from their object store now, or have no folder; `None`: they are there.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.inner.shared.objects.trouble().or_else(|| self.inner.shared.manifests.trouble())
    }

    /// Ends what waits for an object store that gives no answer: the process is about to end. Nothing is read or written afterwards.
    pub fn abandon(&self) {
        self.inner.abandoned.store(true, Ordering::SeqCst);
        self.inner.shared.objects.close();
        self.inner.shared.manifests.close();
    }

    /// Whether the process is about to end: nothing is worth waiting for.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.inner.abandoned.load(Ordering::SeqCst)
    }

    /// How the Delta log fares; `None`: the store has none.
    #[must_use]
    pub fn delta_numbers(&self) -> Option<DeltaNumbers> {
        self.inner.delta.as_ref().map(DeltaLog::numbers)
    }

    /// Shows the current version in the Delta log. Every commit ends with it; it cannot fail for the caller.
    pub(crate) fn follow(&self) {
        if let Some(delta) = self.inner.delta.as_ref().filter(|_| !self.waits_for_room()) {
            delta.follow(self);
        }
    }

    #[cfg(test)]
    pub(crate) fn delta(&self) -> &DeltaLog {
        self.inner.delta.as_ref().unwrap()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }
}

impl Followed for DurableTier {
    fn current(&self) -> Arc<Snapshot> {
        self.pin()
    }

    fn is_newest(&self) -> Result<bool, ObjectError> {
        DurableTier::is_newest(self)
    }
}

/// What data files come to.
#[derive(Clone, Copy, Default)]
struct Sums {
    files: u64,
    rows: u64,
    bytes: u64,
}

impl Sums {
    fn of<'f>(files: impl Iterator<Item = &'f Arc<FileEntry>>) -> Self {
        let mut sums = Self::default();
        files.for_each(|file| sums.add(Self { files: 1, rows: file.rows, bytes: file.bytes }));
        sums
    }

    const fn add(&mut self, more: Self) {
        self.files += more.files;
        self.rows += more.rows;
        self.bytes += more.bytes;
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_damage;
#[cfg(test)]
mod tests_fold;
#[cfg(test)]
mod tests_full;
#[cfg(test)]
mod tests_jobs;
#[cfg(test)]
mod tests_late;
#[cfg(test)]
mod tests_layout;
#[cfg(test)]
mod tests_names;
#[cfg(test)]
mod tests_outage;
#[cfg(test)]
mod tests_owner;
#[cfg(test)]
mod tests_replace;
#[cfg(test)]
mod tests_retention;
#[cfg(test)]
mod tests_sealed;
#[cfg(test)]
mod tests_settle;
