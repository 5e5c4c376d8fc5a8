//! A machine that only remembers, and logs on disks that crash.

use crate::machine::{Applied, EntryId, Machine, Pointer};
use crate::transport::BoxFuture;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{
    Disk, Entry, InlineIo, Last, LogConfig, LogIdentity, LogIo, Membership, OpenError, OpenLog, OpenedLog, Rollover,
    SegmentPattern, log_folder_name, open_log,
};

pub(crate) const NOW: Micros = Micros(1_795_428_000_000_000);

/// Remembers what was applied.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) applied: Mutex<Vec<Applied>>,
    pub(crate) installed: Mutex<Option<Pointer>>,
    pub(crate) leads: Mutex<Option<EntryId>>,
    pub(crate) opened: Option<EntryId>,
}

impl Machine for Tape {
    fn opened_through(&self) -> Option<EntryId> {
        self.opened
    }

    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()> {
        self.applied.lock().extend(entries);
        Box::pin(std::future::ready(()))
    }

    fn leads(&self, first: Option<EntryId>) {
        *self.leads.lock() = first;
    }

    fn acts(&self) -> bool {
        self.leads.lock().is_some()
    }

    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>> {
        let last = self.applied.lock().last().map(|entry| entry.id);
        let pointer = last.map(|through| Pointer { through, body: b"tape".to_vec() });
        Box::pin(std::future::ready(Ok(pointer)))
    }

    fn install(&self, pointer: Pointer, _: Option<(Membership, Last)>) -> BoxFuture<'_, Result<(), String>> {
        *self.installed.lock() = Some(pointer);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A log that is opened to be replicated.
pub(crate) fn open(disk: &CrashDisk, node: u64, founds: bool) -> OpenedLog {
    open_with(disk, node, founds, true)
}

/// The same; without `fsync` a power cut takes what was acknowledged.
pub(crate) fn open_with(disk: &CrashDisk, node: u64, founds: bool, fsync: bool) -> OpenedLog {
    try_open(disk, &LogKey::single("T"), node, founds, fsync).unwrap()
}

/// The same, of any log.
pub(crate) fn try_open(
    disk: &CrashDisk,
    log: &LogKey,
    node: u64,
    founds: bool,
    fsync: bool,
) -> Result<OpenedLog, OpenError> {
    let mut config = LogConfig::new(SegmentPattern::parse("events-{segment}.wal").unwrap());
    config.rollover = Rollover { size_bytes: Some(64 << 10), by_time: false };
    config.fill_min_bytes = 16 << 10;
    config.fill_max_bytes = 32 << 10;
    config.commit_on_sync = false;
    config.fsync = fsync;
    open_log(OpenLog {
        disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
        dir: Path::new("/log").join(log_folder_name(&log.stream_type, log.bucket)),
        config,
        identity: LogIdentity { stream_type: log.stream_type.to_string(), bucket: log.bucket, node },
        birth: 7,
        founds,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: NOW,
    })
}

/// The log of a node alone, with some entries. Gives the index of the last one.
pub(crate) fn open_alone(disk: &CrashDisk, node: u64, entries: u64) -> LogIndex {
    let mut opened = open_log(OpenLog {
        disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
        dir: Path::new("/log/T").to_owned(),
        config: LogConfig::new(SegmentPattern::parse("events-{segment}.wal").unwrap()),
        identity: LogIdentity { stream_type: "T".to_owned(), bucket: 0, node },
        birth: 7,
        founds: true,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: NOW,
    })
    .unwrap();
    let (writer, io) = (opened.writer.as_mut().unwrap(), InlineIo::new(abort_on_fatal()));
    for _ in 0..entries {
        let leader = writer.vote().leader;
        writer.push(Entry { leader, schema: 1, count: 1, parts: &[b"alone"] }, NOW).unwrap();
        while let Some(group) = writer.take_group() {
            let (back, done) = std::sync::mpsc::channel();
            io.submit(group, Box::new(move |group| back.send(group).unwrap()));
            writer.committed(done.recv().unwrap().unwrap());
        }
    }
    writer.last_pushed()
}

pub(crate) fn inline() -> Arc<dyn LogIo> {
    Arc::new(InlineIo::new(abort_on_fatal()))
}
