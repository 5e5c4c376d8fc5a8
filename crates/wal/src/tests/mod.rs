//! Tests of the whole log over a disk in memory that crashes, and over the real one.

mod basics;
mod cleaner;
mod crash;
mod damage;
mod descriptors;
mod forge;
mod golden;
mod here;
mod promises;
mod real;
mod replicated;
mod sealed;
mod space;
mod staged;
mod tagged;

use crate::crash_disk::CrashDisk;
use crate::*;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_event::{LogIndex, Micros};

/// One log on one disk, with its time.
struct Rig {
    disk: CrashDisk,
    config: LogConfig,
    now: Micros,
    check_from: LogIndex,
    begin_above: LogIndex,
    fatal: Arc<AtomicUsize>,
    io: InlineIo,
}

fn small_config() -> LogConfig {
    let mut config = LogConfig::new(SegmentPattern::parse("events-{yyyy}{MM}{dd}-{HH}-{segment}.wal").unwrap());
    config.rollover.size_bytes = Some(64 << 10);
    config.group_bytes_max = 24 << 10;
    config.fill_min_bytes = 16 << 10;
    config.fill_max_bytes = 32 << 10;
    config
}

fn dir() -> PathBuf {
    PathBuf::from("/logs/Call")
}

impl Rig {
    fn new(config: LogConfig) -> Self {
        let fatal = Arc::new(AtomicUsize::new(0));
        let io = InlineIo::new(count_fatal(&fatal));
        Self {
            disk: CrashDisk::new(),
            config,
            now: Micros(1_795_435_200_000_000),
            check_from: LogIndex::ZERO,
            begin_above: LogIndex::ZERO,
            fatal,
            io,
        }
    }

    fn open(&mut self) -> OpenedLog {
        self.io = InlineIo::new(count_fatal(&self.fatal));
        self.now = self.now.plus_us(1_000_000);
        self.open_on(Arc::new(self.disk.clone())).unwrap()
    }

    fn open_on(&self, disk: Arc<dyn Disk>) -> Result<OpenedLog, OpenError> {
        open_log(OpenLog {
            disk,
            dir: dir(),
            config: self.config.clone(),
            identity: LogIdentity { stream_type: "Call".into(), bucket: 0, node: 1 },
            birth: 0x5EED,
            founds: self.config.commit_on_sync,
            check_from: self.check_from,
            begin_above: self.begin_above,
            now: self.now,
        })
    }

    fn writer(&mut self) -> LogWriter {
        let opened = self.open();
        assert_eq!(opened.recovered.corrupt, []);
        let mut writer = opened.writer.unwrap();
        self.commit(&mut writer);
        writer
    }

    fn push(&mut self, writer: &mut LogWriter, bytes: &[u8]) -> Pushed {
        self.now = self.now.plus_us(10);
        let leader = writer.state().vote.leader;
        let (front, back) = bytes.split_at(bytes.len() / 2);
        writer.push(Entry { leader, schema: 1, count: 1, parts: &[front, back] }, self.now).unwrap()
    }

    /// Everything pushed goes to the disk; false if the disk failed.
    fn commit(&self, writer: &mut LogWriter) -> bool {
        while let Some(group) = writer.take_group() {
            if !self.write(writer, group) {
                return false;
            }
        }
        true
    }

    /// One group goes to the disk; false if the disk failed.
    fn write(&self, writer: &mut LogWriter, group: Group) -> bool {
        let back = Arc::new(Mutex::new(None));
        let cell = Arc::clone(&back);
        self.io.submit(group, Box::new(move |done| *cell.lock() = Some(done)));
        let done = back.lock().take();
        let Some(Ok(group)) = done else { return false };
        let (path, end) = (group.segment.path().to_owned(), group.end());
        writer.committed(group);
        self.disk.acknowledge(&path, end);
        true
    }
}

fn count_fatal(count: &Arc<AtomicUsize>) -> OnFatal {
    let count = Arc::clone(count);
    Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    })
}

/// Entries that a reader sees, Blank and Membership left out.
fn entries(view: &SharedView) -> Vec<(LogIndex, Vec<u8>)> {
    let view = view.load();
    let frames = view.frames(view.first_index(), LogIndex(u64::MAX)).unwrap();
    let frames = frames.map(Result::unwrap).filter(|f| f.header.kind == FrameKind::Entry);
    frames.map(|f| (f.header.index, f.payload.to_vec())).collect()
}

fn segment_paths(disk: &CrashDisk) -> Vec<PathBuf> {
    let mut names = disk.list(&dir()).unwrap();
    names.retain(|name| name.ends_with(".wal"));
    names.sort();
    names.into_iter().map(|name| dir().join(name)).collect()
}

fn dump(disk: &dyn Disk, path: &Path) -> String {
    let mut out = String::new();
    dump::dump_segment(disk, path, &mut out).unwrap();
    out
}
