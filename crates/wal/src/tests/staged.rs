//! The group behind the one in flight: handed over ahead of its turn, and taken back while it has not begun.

use super::*;
use crate::crash_disk::Faults;
use crate::files::LogFiles;
use crate::frame::FLAG_LAST;
use std::sync::mpsc::{Sender, channel};

/// Keeps what it is handed.
#[derive(Default)]
pub(super) struct Held(Mutex<Vec<Group>>);

impl Held {
    /// What the writer has for the disk.
    pub(super) fn take_from(&self, writer: &mut LogWriter) {
        let group = writer.take_group().or_else(|| writer.take_next());
        self.0.lock().extend(group);
    }

    /// The one whose turn it is begins.
    pub(super) fn first(&self) -> Option<Group> {
        let mut groups = self.0.lock();
        (!groups.is_empty()).then(|| groups.remove(0))
    }
}

impl LogIo for Held {
    fn submit(&self, group: Group, _: OnCommit) {
        self.0.lock().push(group);
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn take_back(&self, _: &Arc<LogFiles>, number: GroupNo) -> Option<Group> {
        let mut groups = self.0.lock();
        let at = groups.iter().position(|group| group.number() == number)?;
        Some(groups.remove(at))
    }
}

/// Six entries: the first in flight, the others staged behind it as they came.
fn staged(rig: &mut Rig, writer: &mut LogWriter, wanted: &mut Vec<(LogIndex, Vec<u8>)>) -> Vec<Group> {
    let held = Held::default();
    for n in 0..6_u8 {
        assert_eq!(writer.reopen_next(&held), n > 1, "entry {n}");
        let bytes = vec![n; 700 + usize::from(n)];
        wanted.push((rig.push(writer, &bytes).index, bytes));
        let group = if n == 0 { writer.take_group() } else { writer.take_next() };
        held.submit(group.unwrap(), Box::new(|_| {}));
        assert!(writer.take_group().is_none() && writer.take_next().is_none());
    }
    held.0.into_inner()
}

/// What the header of each frame says: below which group all are on the disk, and whether it is the last of its own.
fn said(group: &Group) -> Vec<(GroupNo, bool)> {
    let headers = group.memory.frames.iter().map(|at| FrameHeader::decode(&group.bytes()[*at as usize..]).unwrap());
    headers.map(|header| (header.synced_below, header.has(FLAG_LAST))).collect()
}

#[test]
fn what_is_staged_takes_in_what_comes_until_it_begins() {
    let keys = strandline_keys::testing::store_keys(1);
    for keys in [None, Some(keys)] {
        let mut rig = Rig::new(LogConfig { keys, ..small_config() });
        let mut writer = rig.writer();
        let mut wanted = Vec::new();
        for round in 1..4 {
            let groups = staged(&mut rig, &mut writer, &mut wanted);
            assert_eq!(groups.iter().map(Group::frames).collect::<Vec<_>>(), [1, 5]);
            let number = groups[1].number();
            assert_eq!(said(&groups[1]), [false, false, false, false, true].map(|is_last| (number, is_last)));
            for group in groups {
                assert!(writer.is_in_flight());
                assert!(rig.write(&mut writer, group));
            }
            assert!(!writer.is_in_flight() && !writer.has_pending());
            assert_eq!(writer.durable().map(|id| id.index), wanted.last().map(|entry| entry.0));
            assert!(entries(&writer.view()) == wanted, "round {round}");
        }
        assert_eq!(rig.disk.violations(), [""; 0]);
        let opened = rig.open();
        assert_eq!(opened.recovered.corrupt, []);
        assert!(entries(&opened.view) == wanted);
    }
}

#[test]
fn one_that_was_never_written_is_not_there_and_the_log_goes_on() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let mut wanted = Vec::new();
    let first = staged(&mut rig, &mut writer, &mut wanted).remove(0);
    assert!(rig.write(&mut writer, first));
    drop(writer);
    wanted.truncate(1);
    let mut writer = rig.writer();
    assert!(entries(&writer.view()) == wanted);
    wanted.push((rig.push(&mut writer, b"again").index, b"again".to_vec()));
    assert!(rig.commit(&mut writer));
    assert!(entries(&rig.open().view) == wanted);
}

#[test]
fn what_begins_a_segment_or_has_no_checksum_is_not_staged() {
    for checksum in [true, false] {
        let mut rig = Rig::new(LogConfig { checksum, ..small_config() });
        let mut writer = rig.writer();
        rig.push(&mut writer, b"in flight");
        let first = writer.take_group().unwrap();
        if checksum {
            writer.seal();
        }
        rig.push(&mut writer, b"behind it");
        assert!(writer.take_next().is_none());
        assert!(rig.write(&mut writer, first));
        assert!(rig.commit(&mut writer));
        assert_eq!(entries(&rig.open().view).len(), 2);
    }
}

#[test]
fn a_sealed_segment_takes_nothing_more_into_a_group_that_is_staged() {
    let (mut rig, held) = (Rig::new(small_config()), Held::default());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"in flight");
    let first = writer.take_group().unwrap();
    rig.push(&mut writer, b"staged");
    held.submit(writer.take_next().unwrap(), Box::new(|_| {}));
    let sealed = writer.seal();
    assert!(!writer.reopen_next(&held));
    let next = rig.push(&mut writer, b"next");
    assert_eq!(next.index, sealed.next());
    let second = held.0.into_inner().remove(0);
    assert!(second.segment() < next.loc.segment);
    assert!(rig.write(&mut writer, first));
    assert!(rig.write(&mut writer, second));
    assert!(rig.commit(&mut writer));
    assert_eq!(entries(&rig.open().view).len(), 3);
}

#[test]
fn one_that_waits_for_room_keeps_its_place() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, &[1; 30 << 10]);
    rig.disk.set_capacity(Some(0));
    let first = writer.take_group().unwrap();
    rig.push(&mut writer, b"two");
    let second = writer.take_next().unwrap();
    let numbers = [first.number(), second.number()];
    let back = Arc::new(Mutex::new(Vec::new()));
    for group in [first, second] {
        let back = Arc::clone(&back);
        rig.io.submit(group, Box::new(move |done| back.lock().push(done.unwrap())));
    }
    assert!(back.lock().is_empty());
    assert_eq!(rig.io.retry_stalled(), 2);
    rig.disk.set_capacity(None);
    assert_eq!(rig.io.retry_stalled(), 0);
    let groups = std::mem::take(&mut *back.lock());
    assert_eq!(groups.iter().map(Group::number).collect::<Vec<_>>(), numbers);
    for group in groups {
        writer.committed(group);
    }
    assert_eq!(entries(&rig.open().view).len(), 2);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}

#[test]
fn behind_one_that_failed_nothing_is_written() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, &[1; 30 << 10]);
    rig.disk.set_capacity(Some(0));
    let first = writer.take_group().unwrap();
    rig.push(&mut writer, b"two");
    let second = writer.take_next().unwrap();
    let (path, offset) = (second.segment.path().to_owned(), usize::try_from(second.offset()).unwrap());
    let failed = Arc::new(AtomicUsize::new(0));
    for group in [first, second] {
        let failed = Arc::clone(&failed);
        let done = move |result: Result<Group, GroupFailed>| {
            failed.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
        };
        rig.io.submit(group, Box::new(done));
    }
    rig.disk.set_capacity(None);
    rig.disk.set_faults(Faults { syncs_until_failure: Some(0), ..Faults::default() });
    assert_eq!(rig.io.retry_stalled(), 0);
    assert_eq!((failed.load(Ordering::SeqCst), rig.fatal.load(Ordering::SeqCst)), (2, 1));
    let written = rig.disk.contents(&path).unwrap();
    assert!(written[offset - (30 << 10)..offset].contains(&1), "the first one was");
    assert!(written[offset..].iter().all(|byte| *byte == 0));
}

fn sends(to: &Sender<Group>) -> OnCommit {
    let to = to.clone();
    Box::new(move |group| to.send(group.unwrap()).unwrap())
}

#[test]
fn the_thread_begins_a_group_when_the_one_before_it_is_durable() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    let ((done, heard), (go_on, held)) = (channel(), channel::<()>());
    rig.push(&mut writer, b"one");
    let first = sends(&done);
    let stays = move |group| {
        first(group);
        held.recv().unwrap();
    };
    io.submit(writer.take_group().unwrap(), Box::new(stays));
    let one = heard.recv().unwrap();
    // the thread has not come back from telling it: what is handed over now has not begun
    rig.push(&mut writer, b"two");
    io.submit(writer.take_next().unwrap(), sends(&done));
    assert!(writer.reopen_next(&io));
    rig.push(&mut writer, b"three");
    io.submit(writer.take_next().unwrap(), sends(&done));
    writer.committed(one);
    assert!(writer.is_in_flight() && !writer.reopen_next(&io), "its turn has come");
    rig.push(&mut writer, b"four");
    io.submit(writer.take_next().unwrap(), sends(&done));
    go_on.send(()).unwrap();
    for frames in [2, 1] {
        let group = heard.recv().unwrap();
        assert_eq!(group.frames(), frames);
        writer.committed(group);
    }
    drop(io);
    let found: Vec<Vec<u8>> = entries(&writer.view()).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(found, [&b"one"[..], b"two", b"three", b"four"]);
    assert!(heard.try_recv().is_err() && rig.disk.violations().is_empty());
}

#[test]
fn a_thread_that_ends_finishes_what_waits_behind_another_group() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    let (done, heard) = channel();
    rig.push(&mut writer, b"one");
    io.submit(writer.take_group().unwrap(), sends(&done));
    rig.push(&mut writer, b"two");
    io.submit(writer.take_next().unwrap(), sends(&done));
    drop((io, done));
    for group in heard {
        writer.committed(group);
    }
    assert_eq!(entries(&writer.view()).len(), 2);
}
