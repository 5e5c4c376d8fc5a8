//! What befalls the disks of the simulated world while processes run, and when they are down: writes and syncs that fail, no room, and
//! bytes that rot.
//!
//! ```text
//!  spoil ─> a write or a sync fails: its process has ended      mend ─> everything is taken again, also what waited for room
//!  fill  ─> no room: its log waits, the process lives on         damage ─> the log does not open any more: the node is lost
//! ```

use super::tape::open_with;
use super::world::{Luck, World};
use crate::storage::Storage;
use crate::transport::NodeId;
use std::path::{Path, PathBuf};
use strandline_wal::crash_disk::{CrashDisk, Faults};
use strandline_wal::frame::{FLAG_GOES_ON, HEADER_BYTES};
use strandline_wal::{Disk, FrameKind, FrameView, SegmentNo};

/// The writes or the syncs of a disk fail from some moment on, until it is mended.
pub(super) fn spoil(disk: &CrashDisk, luck: &Luck) {
    let soon = Some(luck.below(30));
    let faults = if luck.one_in(2) {
        Faults { syncs_until_failure: soon, ..Faults::default() }
    } else {
        Faults { writes_until_failure: soon, ..Faults::default() }
    };
    disk.set_faults(faults);
}

/// A disk has no room, or not much, until it is mended: half of the time somebody else took it, and nobody was told.
pub(super) fn fill(disk: &CrashDisk, luck: &Luck) {
    if luck.one_in(2) {
        disk.set_faults(Faults { no_room: true, ..Faults::default() });
    } else {
        let space = disk.space(Path::new("/")).unwrap();
        disk.set_capacity(Some(space.total_bytes - space.free_bytes + luck.below(64 << 10)));
    }
}

/// A disk takes everything again; what waits for room is the process's to write.
pub(super) fn mend(disk: &CrashDisk) {
    disk.set_faults(Faults::default());
    disk.set_capacity(None);
}

/// The frames of a replica's log, up to what is committed.
pub(super) fn frames_of(storage: &Storage) -> Vec<Frame> {
    let view = storage.view().load();
    let frames = view.frames(view.first_index(), view.last_index()).unwrap();
    frames.map(|frame| Frame::of(&frame.unwrap())).collect()
}

impl World {
    /// The disk of a node fails from some moment on.
    pub(crate) fn spoil(&self, node: NodeId) {
        spoil(&self.disks[&node], &self.luck);
    }

    /// The disk of a node is full, or nearly.
    pub(crate) fn fill(&self, node: NodeId) {
        fill(&self.disks[&node], &self.luck);
    }

    /// The disk of a node takes everything again.
    pub(crate) fn mend(&self, node: NodeId) {
        mend(&self.disks[&node]);
        let io = self.running.lock().get(&node).map(|process| process.io.clone());
        io.iter().for_each(|io| io.retry());
    }

    /// A node ends, and something that it has acknowledged rots before it starts again: a byte is another one, or the file ends there. It does
    /// not start: it would vote with less than it has acknowledged.
    pub(crate) async fn damage(&self, node: NodeId) {
        let rots = acknowledged(self.group_of(node).unwrap().storage(), |below| self.luck.below(below));
        self.kill(node, !self.luck.one_in(3)).await;
        let (disk, (path, at)) = (&self.disks[&node], rots);
        if self.luck.one_in(2) {
            disk.flip(&path, at, 1 << self.luck.below(8));
        } else {
            let whole = disk.contents(&path).unwrap();
            disk.put(&path, &whole[..usize::try_from(at).unwrap()]);
        }
        let opened = open_with(disk, node, false, self.fsync);
        let found = &opened.recovered.corrupt;
        assert!(opened.writer.is_none() && !found.is_empty(), "node {node}: {} at {at} is not missed", path.display());
    }
}

/// What must be the same on every replica: of frames that the group itself makes each replica notes another moment.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    index: u64,
    leader: (u64, u64),
    kind: FrameKind,
    goes_on: bool,
    schema: u16,
    count: u32,
    time: Option<i64>,
    payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn is_entry(&self) -> bool {
        self.kind == FrameKind::Entry
    }

    fn of(frame: &FrameView) -> Self {
        let header = &frame.header;
        Self {
            index: header.index.0,
            leader: (header.leader.term, header.leader.node),
            kind: header.kind,
            goes_on: header.has(FLAG_GOES_ON),
            schema: header.schema,
            count: header.count,
            time: (header.kind == FrameKind::Entry).then_some(header.time.0),
            payload: frame.payload.to_vec(),
        }
    }
}

/// The file of a byte that is acknowledged for sure, and where it stands: a later group lies behind it, so it is no torn end.
fn acknowledged(storage: &Storage, below: impl Fn(u64) -> u64) -> (PathBuf, u64) {
    let view = storage.view().load();
    let frames: Vec<FrameView> =
        view.frames(view.first_index(), view.last_index()).unwrap().collect::<Result<_, _>>().unwrap();
    let last = frames.last().unwrap().header.group;
    let sure: Vec<&FrameView> = frames.iter().filter(|frame| frame.header.group < last).collect();
    let frame = sure[usize::try_from(below(sure.len() as u64)).unwrap()];
    let name = |number: SegmentNo| view.segments().into_iter().find(|segment| segment.number == number).unwrap().name;
    let bytes = HEADER_BYTES as u64 + u64::from(frame.header.payload_len);
    (Path::new("/log/T").join(name(frame.loc.segment)), frame.loc.offset + below(bytes))
}
