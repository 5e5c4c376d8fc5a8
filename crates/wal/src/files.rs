//! The I/O side of one log: writes groups, makes segments ahead, fills them with zeros, seals and removes them.
//!
//! Only the I/O thread takes the state; the writer and readers never wait for it. It refuses to know frames.
//!
//! Invariant: zeros are written only at or behind the end of what was written before, so they never touch a frame.

use crate::disk::{Disk, DiskFile};
use crate::frame::block_up;
use crate::group::{Ended, Group};
use crate::names::SPARE_NAME;
use crate::segment::Segment;
use crate::space::Space;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of zeros that one background step writes, so that a commit waits for no more.
pub(crate) const FILL_STEP_BYTES: usize = 1 << 20;

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
    fsync: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<OpenFile>,
    spare: Option<Spare>,
    seals: VecDeque<(Ended, Arc<dyn DiskFile>)>,
    removals: VecDeque<Arc<Segment>>,
    removed_some: bool,
    purge_is_unsynced: bool,
    dir_is_dirty: bool,
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

struct Spare {
    file: Arc<dyn DiskFile>,
    filled: u64,
}

impl LogFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, sizes: FileSizes, fsync: bool) -> Self {
        let files = Self {
            disk,
            dir: dir.to_owned(),
            space: Space::default(),
            sizes,
            fsync,
            state: Mutex::new(State { window: sizes.fill_min_bytes, ..State::default() }),
        };
        files.look_at_free_space();
        files
    }

    /// Asks the device how much is free.
    pub(crate) fn look_at_free_space(&self) {
        // a device that does not answer counts as full: better refused than accepted and lost
        let free = self.disk.free_bytes(&self.dir).unwrap_or(0);
        self.space.update(|space| space.free = free);
    }

    /// Writes a group. It may be called again with the same group after `StorageFull`.
    pub(crate) fn write(&self, group: &mut Group) -> io::Result<()> {
        let state = &mut *self.state.lock();
        if group.begins && state.open.as_ref().is_none_or(|o| o.segment.number() != group.segment.number()) {
            self.begin(state, group)?;
        }
        let Some(open) = state.open.as_mut().filter(|o| o.segment.number() == group.segment.number()) else {
            strandline_event::invariant::broken("a group came for a segment that is not open");
        };
        open.file.write_at(group.offset, group.bytes())?;
        open.written = group.end();
        open.filled = open.filled.max(open.written);
        let (segment, filled) = (open.segment.number(), open.filled);
        let free = self.disk.free_bytes(&self.dir).unwrap_or(0);
        self.space.update(|space| (space.segment, space.filled, space.free) = (segment, filled, free));
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
        Ok(())
    }

    /// A group is committed: segments that it made superfluous may go.
    pub(crate) fn committed(&self, group: &mut Group) {
        if !group.removals.is_empty() {
            let mut state = self.state.lock();
            state.purge_is_unsynced = !self.fsync;
            state.removals.extend(group.removals.drain(..));
        }
    }

    fn begin(&self, state: &mut State, group: &Group) -> io::Result<()> {
        if state.spare.is_none() {
            state.spare = Some(self.make_spare()?);
        }
        if let (Some(old), false) = (&state.open, self.fsync) {
            // frames of the new segment say that all groups before it are on the disk, and under which name
            old.file.sync_data()?;
            self.disk.sync_dir(&self.dir)?;
        }
        let Some(spare) = state.spare.take() else { return Ok(()) };
        self.disk.rename(&self.dir.join(SPARE_NAME), group.segment.path())?;
        state.dir_is_dirty = true;
        group.segment.set_file(Arc::clone(&spare.file));
        if let (Some(old), Some(ended)) = (state.open.take(), &group.ends) {
            state.seals.push_back((ended.clone(), old.file));
        }
        let open = OpenFile {
            segment: Arc::clone(&group.segment),
            file: spare.file,
            filled: spare.filled,
            target: spare.filled,
            written: 0,
        };
        state.open = Some(open);
        self.space.update(|space| space.spare = 0);
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
        file.set_len(block_up(self.sizes.segment_bytes))?;
        Ok(Spare { file, filled: 0 })
    }

    /// One small piece of work that no commit waits for. `false` when there is none (or no room for it).
    pub(crate) fn background_step(&self, zeros: &[u8]) -> io::Result<bool> {
        let state = &mut *self.state.lock();
        if self.seal_one(state)? || self.remove_one(state)? {
            return Ok(true);
        }
        let filled =
            self.fill_open(state, zeros).and_then(|did| if did { Ok(true) } else { self.fill_spare(state, zeros) });
        match filled {
            Err(e) if is_full(&e) => {
                self.look_at_free_space();
                Ok(false)
            }
            other => other,
        }
    }

    fn seal_one(&self, state: &mut State) -> io::Result<bool> {
        let Some((ended, file)) = state.seals.pop_front() else { return Ok(false) };
        file.set_len(ended.end)?;
        file.sync_data()?;
        ended.segment.update(|facts| facts.sealed = true);
        Ok(true)
    }

    fn remove_one(&self, state: &mut State) -> io::Result<bool> {
        if let (true, Some(open)) = (std::mem::take(&mut state.purge_is_unsynced), &state.open) {
            // the frame that says "purged" must not come to the disk after the removal
            open.file.sync_data()?;
            self.disk.sync_dir(&self.dir)?;
        }
        if let Some(segment) = state.removals.pop_front() {
            // what cannot be removed now is removed at the next start: the log's state says that it is purged
            if let Err(e) = self.disk.remove(segment.path()) {
                tracing::warn!(segment = %segment.number(), error = %e, "a trimmed segment could not be removed");
            }
            state.removed_some = true;
            return Ok(true);
        }
        if std::mem::take(&mut state.removed_some) {
            self.disk.sync_dir(&self.dir)?;
            self.look_at_free_space();
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps zeros ahead of the write position; the window doubles each time it is used up.
    fn fill_open(&self, state: &mut State, zeros: &[u8]) -> io::Result<bool> {
        let Some(open) = state.open.as_mut() else { return Ok(false) };
        let size = block_up(self.sizes.segment_bytes);
        if open.filled >= open.target && open.filled - open.written < state.window / 2 {
            open.target = block_up(open.written + state.window).min(size);
            state.window = (state.window * 2).min(self.sizes.fill_max_bytes);
        }
        let Some(filled) = self.fill(&*open.file, open.filled, open.target, zeros)? else { return Ok(false) };
        open.filled = filled;
        self.space.update(|space| space.filled = filled);
        Ok(true)
    }

    /// Makes the next segment when the open one is half full.
    fn fill_spare(&self, state: &mut State, zeros: &[u8]) -> io::Result<bool> {
        let half_full = state.open.as_ref().is_some_and(|o| o.written > self.sizes.segment_bytes / 2);
        if state.spare.is_none() {
            if !half_full || !self.may_use(self.sizes.fill_min_bytes)? {
                return Ok(false);
            }
            state.spare = Some(self.make_spare()?);
        }
        let Some(spare) = state.spare.as_mut() else { return Ok(false) };
        let target = block_up(self.sizes.fill_min_bytes).min(block_up(self.sizes.segment_bytes));
        let Some(filled) = self.fill(&*spare.file, spare.filled, target, zeros)? else { return Ok(false) };
        spare.filled = filled;
        self.space.update(|space| space.spare = filled);
        Ok(true)
    }

    /// Writes one step of zeros from `filled` on; `None` if nothing is to be filled or the disk is low.
    fn fill(&self, file: &dyn DiskFile, filled: u64, target: u64, zeros: &[u8]) -> io::Result<Option<u64>> {
        let step = target.saturating_sub(filled).min(zeros.len() as u64);
        if step == 0 || !self.may_use(step)? {
            return Ok(None);
        }
        let step_len = usize::try_from(step).unwrap_or(zeros.len());
        file.write_at(filled, &zeros[..step_len])?;
        // only synced blocks are a reserve: a file system may allocate late
        file.sync_data()?;
        Ok(Some(filled + step))
    }

    fn may_use(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.disk.free_bytes(&self.dir)? >= self.sizes.low_water_bytes.saturating_add(bytes))
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl std::fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogFiles({})", self.dir.display())
    }
}
