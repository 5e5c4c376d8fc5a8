//! The I/O side of one log: writes groups, makes segments ahead, fills them with zeros, seals and removes them.
//!
//! Only the I/O thread takes the state for longer than a look; the writer and readers never wait for it. It refuses to know frames.
//!
//! Zeros take new blocks, and the sync behind them commits the file system's journal, for which everything waits that syncs the same file.
//! So where much is appended the next segment is filled as the open one is written, by the thread of the cleaner: a segment that begins full
//! needs no zeros while it is written, and its syncs need no journal.
//!
//! The reserve of a log is what has blocks on the device already: the zeros ahead in the open segment, and a piece of the next
//! one. A full disk never touches it from outside; `space` says what may use it.
//!
//! Invariant: zeros are written only at or behind the end of what was written before, so they never touch a frame.

use crate::cleaner::Chore;
use crate::disk::{Disk, DiskFile};
use crate::frame::block_up;
use crate::group::{Ended, Group};
use crate::names::{FIRST_SPARE_NAME, SPARE_NAME};
use crate::segment::Segment;
use crate::space::{NEXT_SEGMENT_BYTES, Room, Space, low_water};
use crate::view::LogView;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

/// Bytes of zeros that one background step writes, so that a commit waits for no more.
pub(crate) const FILL_STEP_BYTES: usize = 1 << 20;

/// Bytes of zeros that the cleaner writes to the next segment before one sync: what begins while a journal is committed may wait for that, so there
/// are few.
const FILL_AHEAD_BYTES: u64 = 8 << 20;

/// One log holds at most this share of the device's usable bytes ahead of its write position.
const WINDOW_SHARE: u64 = 16;

/// Sizes that the I/O side works with, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSizes {
    pub(crate) segment_bytes: u64,
    pub(crate) fill_min_bytes: u64,
    pub(crate) fill_max_bytes: u64,
    pub(crate) low_water_bytes: u64,
}

/// Files of one log.
pub struct LogFiles {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) space: Space,
    sizes: FileSizes,
    /// Full size of the next segment's file; a plan, no bound: writing goes on behind it.
    segment_bytes: AtomicU64,
    fsync: bool,
    /// Where handles are let go, once there is such a thread.
    pub(crate) cleaner: OnceLock<Sender<Chore>>,
    /// The cleaner has been asked for zeros.
    is_filling: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<OpenFile>,
    spare: Option<Spare>,
    /// What the group that begins the next segment has ended, until that group is committed.
    ended: Option<(Ended, Arc<dyn DiskFile>)>,
    /// Segments that get their final size.
    seals: VecDeque<(Ended, Arc<dyn DiskFile>)>,
    removals: VecDeque<Arc<Segment>>,
    removed_some: bool,
    purge_is_unsynced: bool,
    dir_is_dirty: bool,
    /// `FIRST_SPARE_NAME` stands in the folder; it goes once the first group is durable.
    unbegun: bool,
    /// A group is durable.
    begun: bool,
    window: u64,
}

struct OpenFile {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    /// Bytes that have blocks on the device.
    filled: u64,
    /// Bytes up to which zeros are being written.
    target: u64,
    /// End of the last group.
    written: u64,
}

#[derive(Clone)]
struct Spare {
    file: Arc<dyn DiskFile>,
    /// Held while zeros are written: the file becomes a segment between two steps.
    filled: Arc<Mutex<Filled>>,
}

/// How far a file holds zeros.
#[derive(Default)]
struct Filled {
    bytes: u64,
    /// It is a segment by now, which groups are written to.
    is_taken: bool,
}

impl Spare {
    /// The file becomes a segment; gives its bytes that have blocks.
    fn take(&self) -> u64 {
        let mut filled = self.filled.lock();
        filled.is_taken = true;
        filled.bytes
    }
}

impl LogFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, sizes: FileSizes, fsync: bool) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            space: Space::default(),
            segment_bytes: AtomicU64::new(sizes.segment_bytes),
            sizes,
            fsync,
            cleaner: OnceLock::new(),
            is_filling: AtomicBool::new(false),
            state: Mutex::new(State { window: sizes.fill_min_bytes, ..State::default() }),
        }
    }

    /// Another size for files that are made from now on.
    pub(crate) fn set_segment_bytes(&self, bytes: u64) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// Whether the device gives this many bytes of new blocks and stays above the low-water mark. If so they are kept for the
    /// writer, until it asks again.
    pub(crate) fn promise(&self, bytes: u64) -> Room {
        // a device that does not answer counts as full: better refused than accepted and lost
        if bytes > 0 && !self.usable().is_ok_and(|usable| usable >= bytes) {
            return Room::Full;
        }
        self.space.update(|space| space.promised = bytes);
        Room::Fits
    }

    /// Free bytes of the device above the low-water mark.
    fn usable(&self) -> io::Result<u64> {
        let device = self.disk.space(&self.dir)?;
        Ok(device.free_bytes.saturating_sub(low_water(device, self.sizes.low_water_bytes)))
    }

    /// Bytes that zeros may take.
    fn spendable(&self) -> io::Result<u64> {
        Ok(self.usable()?.saturating_sub(self.space.get().promised))
    }

    /// Makes the first segment's file now, so that a lack of room or of descriptors refuses the log instead of its first
    /// group, and so that the folder says from now on that nothing was written here yet.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let state = &mut *self.state.lock();
        self.mark_unbegun()?;
        // without syncs nobody knows when the first group is durable
        state.unbegun = self.fsync;
        if state.spare.is_none() {
            state.spare = Some(self.make_spare()?);
        }
        self.disk.sync_dir(&self.dir)
    }

    /// What an earlier attempt left is taken again, never away: without it the folder would look robbed.
    fn mark_unbegun(&self) -> io::Result<()> {
        match self.disk.create(&self.dir.join(FIRST_SPARE_NAME)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    /// From here on a folder without a segment that has begun has lost what it held.
    fn forget_unbegun(&self, state: &mut State) -> io::Result<bool> {
        if !(state.unbegun && state.begun) {
            return Ok(false);
        }
        state.unbegun = false;
        match self.disk.remove(&self.dir.join(FIRST_SPARE_NAME)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Writes a group's next part. It may be called again with the same part after an error that [`is_scarce`].
    pub(crate) fn write(&self, group: &Group) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if group.begins && state.open.as_ref().is_none_or(|o| o.segment.number() != group.segment.number()) {
            self.begin(state, group)?;
        }
        let Some(open) = state.open.as_mut().filter(|o| o.segment.number() == group.segment.number()) else {
            strandline_event::invariant::broken("a group came for a segment that is not open");
        };
        let (offset, bytes) = group.part();
        open.file.write_at(offset, bytes)?;
        // zeros begin behind the whole group, with its parts that are still to come
        open.written = group.end();
        open.filled = open.filled.max(offset + bytes.len() as u64);
        let filled = open.filled;
        self.space.update(|space| space.filled = filled);
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if !self.fsync {
            return Ok(());
        }
        if let Some(open) = &state.open {
            open.file.sync_data()?;
        }
        if state.dir_is_dirty {
            self.disk.sync_dir(&self.dir)?;
            state.dir_is_dirty = false;
        }
        state.begun = true;
        Ok(())
    }

    /// A group is committed: segments that it made superfluous may go, and the one that it ended may get its final size. Not
    /// before: until the next segment says on the disk where this one ends, a shorter file is one that somebody cut.
    pub(crate) fn committed(&self, group: &mut Group) {
        if !group.begins && group.removals.is_empty() {
            return;
        }
        let state = &mut *self.state.lock();
        if group.begins {
            state.seals.extend(state.ended.take());
        }
        if !group.removals.is_empty() {
            state.purge_is_unsynced = !self.fsync;
            state.removals.extend(group.removals.drain(..));
        }
    }

    /// What the open segment holds is on the disk, under its name: before what it says is acted upon where commits do not wait
    /// for that.
    fn settle(&self, state: &mut State) -> io::Result<()> {
        if let Some(open) = &state.open {
            open.file.sync_data()?;
            self.disk.sync_dir(&self.dir)?;
            state.dir_is_dirty = false;
        }
        Ok(())
    }

    fn begin(&self, state: &mut State, group: &Group) -> io::Result<()> {
        if state.spare.is_none() {
            state.spare = Some(self.make_spare()?);
        }
        if !self.fsync {
            // frames of the new segment say that all groups before it are on the disk, and under which name
            self.settle(state)?;
        }
        let Some(spare) = state.spare.take() else { return Ok(()) };
        let filled = spare.take();
        self.disk.rename(&self.dir.join(SPARE_NAME), group.segment.path())?;
        state.dir_is_dirty = true;
        group.segment.set_file(Arc::clone(&spare.file));
        if let (Some(old), Some(ended)) = (state.open.take(), &group.ends) {
            state.ended = Some((ended.clone(), old.file));
        }
        let segment = group.segment.number();
        let open =
            OpenFile { segment: Arc::clone(&group.segment), file: spare.file, filled, target: filled, written: 0 };
        state.open = Some(open);
        self.space.update(|space| (space.segment, space.filled, space.spare) = (segment, filled, 0));
        Ok(())
    }

    fn make_spare(&self) -> io::Result<Spare> {
        let path = self.dir.join(SPARE_NAME);
        let file = match self.disk.create(&path) {
            // left by an attempt that ran out of space
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&path)?;
                self.disk.create(&path)?
            }
            other => other?,
        };
        file.set_len(block_up(self.segment_bytes()))?;
        Ok(Spare { file, filled: Arc::default() })
    }

    /// One small piece of work that no commit waits for. `false` when there is none (or no room for it).
    pub(crate) fn background_step(&self, zeros: &[u8]) -> io::Result<bool> {
        let state = &mut *self.state.lock();
        if self.forget_unbegun(state)? || self.seal_one(state)? || self.remove_one(state)? {
            return Ok(true);
        }
        match self.fill_reserve(state, zeros) {
            Err(e) if is_scarce(&e) => Ok(false),
            other => other,
        }
    }

    /// What the next segment begins with comes first: without it a full disk could not even be trimmed.
    fn fill_reserve(&self, state: &mut State, zeros: &[u8]) -> io::Result<bool> {
        let Some(open) = &state.open else { return Ok(false) };
        let half_full = open.written > self.segment_bytes() / 2;
        Ok(self.fill_spare(state, NEXT_SEGMENT_BYTES, zeros)?
            || self.fill_open(state, zeros)?
            || (half_full && self.fill_spare(state, self.sizes.fill_min_bytes, zeros)?))
    }

    /// A segment that ended gets its final size.
    fn seal_one(&self, state: &mut State) -> io::Result<bool> {
        if state.seals.is_empty() {
            return Ok(false);
        }
        if !self.fsync {
            self.settle(state)?;
        }
        let Some((ended, file)) = state.seals.pop_front() else { return Ok(false) };
        file.set_len(ended.end)?;
        file.sync_data()?;
        ended.segment.update(|facts| facts.sealed = true);
        Ok(true)
    }

    /// Segments that may be unlinked now; they are the caller's from here on.
    pub(crate) fn take_removals(&self) -> io::Result<Vec<Arc<Segment>>> {
        let state = &mut *self.state.lock();
        self.sync_purge(state)?;
        Ok(state.removals.drain(..).collect())
    }

    /// The frame that says "purged" must not come to the disk after the removal.
    fn sync_purge(&self, state: &mut State) -> io::Result<()> {
        if state.purge_is_unsynced {
            self.settle(state)?;
        }
        state.purge_is_unsynced = false;
        Ok(())
    }

    /// What cannot be removed now is removed at the next start: the log's state says that it is purged.
    pub(crate) fn remove(&self, segment: &Segment) {
        if let Err(e) = self.disk.remove(segment.path()) {
            tracing::warn!(segment = %segment.number(), error = %e, "a trimmed segment could not be removed");
        }
    }

    /// Makes removals durable.
    pub(crate) fn sync_removals(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }

    /// A view that readers see no more goes to where the last handles of files are let go, if there is such a place.
    pub(crate) fn let_go(&self, view: Arc<LogView>) {
        if let Some(cleaner) = self.cleaner.get() {
            // it has ended: then it is dropped here
            let _ = cleaner.send(Chore::LetGo(view));
        }
    }

    fn remove_one(&self, state: &mut State) -> io::Result<bool> {
        self.sync_purge(state)?;
        if let Some(segment) = state.removals.pop_front() {
            self.remove(&segment);
            state.removed_some = true;
            return Ok(true);
        }
        if state.removed_some {
            self.sync_removals()?;
            state.removed_some = false;
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps zeros ahead of the write position; the window doubles each time it is used up, as far as the device is large
    /// enough: what one log holds ahead no other one can use.
    fn fill_open(&self, state: &mut State, zeros: &[u8]) -> io::Result<bool> {
        let Some(open) = state.open.as_mut() else { return Ok(false) };
        let size = block_up(self.segment_bytes());
        let ahead = open.filled.saturating_sub(open.written);
        if open.filled >= open.target && ahead < state.window / 2 && open.filled < size {
            let window = state.window.min(self.spendable()? / WINDOW_SHARE);
            if ahead >= window / 2 {
                return Ok(false);
            }
            open.target = block_up(open.written + window).min(size);
            state.window = (state.window * 2).min(self.sizes.fill_max_bytes);
        }
        let Some(filled) = self.fill(&*open.file, open.filled, open.target, zeros)? else { return Ok(false) };
        open.filled = filled;
        self.space.update(|space| space.filled = filled);
        Ok(true)
    }

    /// Makes the next segment, and fills it with zeros up to `ahead`.
    fn fill_spare(&self, state: &mut State, ahead: u64, zeros: &[u8]) -> io::Result<bool> {
        let target = block_up(ahead).min(block_up(self.segment_bytes()));
        if state.spare.is_none() {
            if self.spendable()? < target {
                return Ok(false);
            }
            state.spare = Some(self.make_spare()?);
        }
        // while the cleaner fills it there is no need to
        let Some(spare) = &state.spare else { return Ok(false) };
        let Some(mut filled) = spare.filled.try_lock() else { return Ok(false) };
        let Some(bytes) = self.fill(&*spare.file, filled.bytes, target, zeros)? else { return Ok(false) };
        filled.bytes = bytes;
        self.space.update(|space| space.spare = bytes);
        Ok(true)
    }

    /// The next segment's file, and how far it shall hold zeros, where another thread shall write some: as far as the open one is
    /// written and some more, once so much was appended that the window is as large as it may be.
    fn to_fill_ahead(&self, state: &State) -> Option<(Spare, u64)> {
        let (open, spare) = (state.open.as_ref()?, state.spare.as_ref()?);
        let FileSizes { fill_min_bytes, fill_max_bytes, .. } = self.sizes;
        if state.window < fill_max_bytes || fill_min_bytes >= fill_max_bytes {
            return None;
        }
        let size = block_up(self.segment_bytes());
        let target = (open.written + FILL_AHEAD_BYTES).min(size);
        let filled = spare.filled.try_lock()?.bytes;
        let is_due = filled + FILL_AHEAD_BYTES <= target || (target == size && filled < size);
        // what one log holds ahead no other one can use
        let may_hold = || self.spendable().is_ok_and(|spendable| spendable / WINDOW_SHARE >= target);
        (is_due && may_hold()).then(|| (spare.clone(), target))
    }

    /// Whether the cleaner is to be asked for [`fill_ahead`](Self::fill_ahead). It is asked once at a time.
    pub(crate) fn wants_fill(&self) -> bool {
        !self.is_filling.load(Ordering::Relaxed)
            && self.to_fill_ahead(&self.state.lock()).is_some()
            && !self.is_filling.swap(true, Ordering::Relaxed)
    }

    /// Writes zeros to the next segment's file, and holds nothing meanwhile that a commit waits for, but for the one that begins this
    /// segment. For want of room none are written.
    pub(crate) fn fill_ahead(&self, zeros: &[u8]) -> io::Result<()> {
        let next = self.to_fill_ahead(&self.state.lock());
        let filled = match next {
            Some((spare, target)) => self.fill_untaken(&spare, target, zeros),
            None => Ok(()),
        };
        self.is_filling.store(false, Ordering::Relaxed);
        match filled {
            Err(e) if !is_scarce(&e) => Err(e),
            _ => Ok(()),
        }
    }

    fn fill_untaken(&self, spare: &Spare, target: u64, zeros: &[u8]) -> io::Result<()> {
        let mut filled = spare.filled.lock();
        if filled.is_taken {
            return Ok(());
        }
        let mut bytes = filled.bytes;
        while bytes < target.min(filled.bytes + FILL_AHEAD_BYTES)
            && let Some(written) = self.write_zeros(&*spare.file, bytes, target, zeros)?
        {
            bytes = written;
        }
        if bytes > filled.bytes {
            spare.file.sync_data()?;
            filled.bytes = bytes;
            self.space.update(|space| space.spare = bytes);
        }
        Ok(())
    }

    /// Writes one step of zeros from `filled` on, and syncs it; `None` if nothing is to be filled or the disk is low.
    fn fill(&self, file: &dyn DiskFile, filled: u64, target: u64, zeros: &[u8]) -> io::Result<Option<u64>> {
        let written = self.write_zeros(file, filled, target, zeros)?;
        if written.is_some() {
            // only synced blocks are a reserve: a file system may allocate late
            file.sync_data()?;
        }
        Ok(written)
    }

    /// The same, not synced. Gives where they end.
    fn write_zeros(&self, file: &dyn DiskFile, filled: u64, target: u64, zeros: &[u8]) -> io::Result<Option<u64>> {
        let step = target.saturating_sub(filled).min(zeros.len() as u64);
        if step == 0 || self.spendable()? < step {
            return Ok(None);
        }
        let step_len = usize::try_from(step).unwrap_or(zeros.len());
        file.write_at(filled, &zeros[..step_len])?;
        Ok(Some(filled + step))
    }
}

/// Whether an error says that the device is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    // the limit of a file's size is one of room, too
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Whether an error says that the process or the system has no descriptor left: nothing was opened, so nothing was done.
pub(crate) fn lacks_descriptor(error: &io::Error) -> bool {
    let lacking = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| lacking.contains(&code))
}

/// Whether a write failed for what may be there later: room, or a descriptor.
pub(crate) fn is_scarce(error: &io::Error) -> bool {
    is_full(error) || lacks_descriptor(error)
}

impl std::fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogFiles({})", self.dir.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::AlignedBuf;
    use crate::crash_disk::CrashDisk;

    #[test]
    fn a_file_that_has_become_a_segment_gets_no_zeros() {
        let sizes =
            FileSizes { segment_bytes: 1 << 20, fill_min_bytes: 4 << 10, fill_max_bytes: 8 << 10, low_water_bytes: 0 };
        let files = LogFiles::new(Arc::new(CrashDisk::new()), Path::new("/logs/Call"), sizes, true);
        let (spare, zeros) = (files.make_spare().unwrap(), AlignedBuf::zeroed(FILL_STEP_BYTES));
        files.fill_untaken(&spare, 64 << 10, &zeros).unwrap();
        assert_eq!(files.space.get().spare, 64 << 10);
        // the cleaner has looked, and begins only now
        let looked_at = spare.clone();
        assert_eq!(spare.take(), 64 << 10);
        files.space.update(|space| space.spare = 0);
        let mut group = AlignedBuf::zeroed(128 << 10);
        group.fill(7);
        spare.file.write_at(0, &group).unwrap();
        files.fill_untaken(&looked_at, 256 << 10, &zeros).unwrap();
        let mut stored = vec![0; group.len()];
        assert_eq!(spare.file.read_at(0, &mut stored).unwrap(), group.len());
        assert!(stored == group[..], "zeros stand where a group was written");
        assert_eq!(files.space.get().spare, 0, "nothing of it is the next segment's");
    }
}
