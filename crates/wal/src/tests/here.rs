//! Small groups that the owner of the only log writes in its own thread.

use super::*;
use crate::crash_disk::Faults;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for any machine; a test that hangs ends in the end.
const LONG: Duration = Duration::from_secs(60);

type Heard = Receiver<Result<Group, GroupFailed>>;

/// Hands a group over to be done here; whether it was given back, and then handed to the thread.
fn submit(io: &IoThread, group: Group) -> (bool, Heard) {
    let (done, heard) = channel();
    let given_back = io.submit_here(group, Box::new(move |result| done.send(result).unwrap()));
    let is_given_back = given_back.is_some();
    if let Some((group, done)) = given_back {
        io.submit(group, done);
    }
    (is_given_back, heard)
}

/// One entry, and whether it was written here, where the thread has nothing to do.
fn push(rig: &mut Rig, io: &IoThread, writer: &mut LogWriter, bytes: &[u8]) -> bool {
    io.rest();
    rig.push(writer, bytes);
    let (is_given_back, heard) = submit(io, writer.take_group().unwrap());
    let group = if is_given_back { heard.recv_timeout(LONG).unwrap() } else { heard.try_recv().unwrap() };
    writer.committed(group.unwrap());
    !is_given_back
}

/// The same entry, once or a few times until it is written here: a machine that has much to do may be slow for a disk's sync.
fn push_here(rig: &mut Rig, io: &IoThread, writer: &mut LogWriter, bytes: &[u8]) {
    assert!((0..100).any(|_| push(rig, io, writer, bytes)), "it is always given back");
}

/// As many groups as it takes until the log is known to write alone.
fn alone(rig: &mut Rig, io: &IoThread, writer: &mut LogWriter) {
    let tries = (0..100).take_while(|_| !push(rig, io, writer, b"one")).count();
    assert!((2..100).contains(&tries), "{tries}");
}

/// The only log of a disk, whose small groups are written here by now.
fn only_log() -> (Rig, LogWriter, IoThread) {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    alone(&mut rig, &io, &mut writer);
    (rig, writer, io)
}

#[test]
fn the_owner_of_the_only_log_writes_small_groups_itself() {
    let mut rig = Rig::new(LogConfig { group_bytes_max: 1 << 20, ..small_config() });
    rig.config.rollover.size_bytes = Some(8 << 20);
    let mut writer = rig.writer();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    alone(&mut rig, &io, &mut writer);
    let syncs = rig.disk.syncs_tried();
    push_here(&mut rig, &io, &mut writer, b"two");
    assert!(rig.disk.syncs_tried() > syncs);
    // a large one is the thread's, and then it goes on here
    assert!(!push(&mut rig, &io, &mut writer, &vec![7; 100 << 10]));
    push_here(&mut rig, &io, &mut writer, b"three");
    drop(io);
    let found = entries(&writer.view());
    assert!(found.iter().map(|(index, _)| index.0).is_sorted());
    let mut sizes: Vec<usize> = found.iter().map(|(_, bytes)| bytes.len()).collect();
    sizes.dedup();
    assert!(sizes.ends_with(&[3, 100 << 10, 5]), "{sizes:?}");
    assert_eq!(rig.disk.violations(), [""; 0]);
    drop(writer);
    assert_eq!(entries(&rig.writer().view()).len(), found.len());
}

#[test]
fn where_several_logs_write_the_thread_lets_their_syncs_overlap() {
    let (mut rig, mut other) = (Rig::new(small_config()), Rig::new(small_config()));
    let (mut writer, mut others) = (rig.writer(), other.writer());
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    alone(&mut rig, &io, &mut writer);
    for _ in 0..50 {
        assert!(!push(&mut other, &io, &mut others, b"x") && !push(&mut rig, &io, &mut writer, b"x"));
    }
    alone(&mut other, &io, &mut others);
}

#[test]
fn what_changes_the_folder_is_not_done_here() {
    let (mut rig, mut writer, io) = only_log();
    writer.seal();
    assert!(!push(&mut rig, &io, &mut writer, b"the first of a segment"));
    push_here(&mut rig, &io, &mut writer, b"x");
    assert!(writer.trim(writer.last_pushed(), rig.now.plus_us(1), rig.now) > 0);
    let (is_given_back, heard) = submit(&io, writer.take_group().unwrap());
    assert!(is_given_back);
    writer.committed(heard.recv_timeout(LONG).unwrap().unwrap());
    push_here(&mut rig, &io, &mut writer, b"y");
}

#[test]
fn an_owner_waits_for_no_disk_that_is_slow() {
    let (mut rig, mut writer, io) = only_log();
    for _ in 0..2 {
        io.took(2 * io::HERE_TIME_MAX);
    }
    assert!(!push(&mut rig, &io, &mut writer, b"the thread's"));
    // that one was quick
    push_here(&mut rig, &io, &mut writer, b"one");
}

#[test]
fn nothing_is_written_here_before_what_was_handed_to_the_thread() {
    let (mut rig, mut writer, io) = only_log();
    let ((done, heard), (go_on, held)) = (channel(), channel::<()>());
    rig.push(&mut writer, b"first");
    let first = move |group| {
        done.send(group).unwrap();
        held.recv().unwrap();
    };
    io.submit(writer.take_group().unwrap(), Box::new(first));
    writer.committed(heard.recv_timeout(LONG).unwrap().unwrap());
    // the thread has not come back from telling it
    rig.push(&mut writer, b"second");
    let (is_given_back, second) = submit(&io, writer.take_group().unwrap());
    assert!(is_given_back && second.try_recv().is_err());
    go_on.send(()).unwrap();
    writer.committed(second.recv_timeout(LONG).unwrap().unwrap());
    let found: Vec<Vec<u8>> = entries(&writer.view()).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(found.ends_with(&[b"first".to_vec(), b"second".to_vec()]));
}

/// A disk that hangs may do so for ever; here it is a callback that keeps the thread as a sync would.
#[test]
fn an_end_does_not_wait_for_ever_for_who_is_at_the_disk() {
    let (mut rig, mut writer, io) = only_log();
    let io = io.impatient();
    let began = Instant::now();
    while io.at_disk_for().is_some() {
        assert!(began.elapsed() < LONG, "nobody writes any more");
        std::thread::yield_now();
    }
    let ((done, heard), (go_on, held)) = (channel(), channel::<()>());
    rig.push(&mut writer, b"first");
    let kept = move |group| {
        done.send(group).unwrap();
        held.recv().unwrap();
    };
    io.submit(writer.take_group().unwrap(), Box::new(kept));
    writer.committed(heard.recv_timeout(LONG).unwrap().unwrap());
    assert!(io.at_disk_for().is_some(), "who asks hears that somebody is there");
    let (ended, end) = channel();
    let ending = std::thread::spawn(move || {
        drop(io);
        ended.send(()).unwrap();
    });
    let has_ended = end.recv_timeout(LONG).is_ok();
    go_on.send(()).unwrap();
    assert!(has_ended, "it waits for the thread that does not come back");
    ending.join().unwrap();
}

#[test]
fn a_group_that_finds_no_room_here_is_called_back_when_there_is_some() {
    let (mut rig, mut writer, io) = only_log();
    rig.disk.set_faults(Faults { no_room: true, ..Faults::default() });
    // the zeros that are there already take some
    let waiting = (0..1000).find_map(|n: u32| {
        rig.push(&mut writer, &vec![n as u8; 4 << 10]);
        let (_, heard) = submit(&io, writer.take_group().unwrap());
        match heard.try_recv() {
            Ok(group) => {
                writer.committed(group.unwrap());
                None
            }
            // it waits for room, or for the thread, which is about to find none
            Err(_) => Some(heard),
        }
    });
    let waiting = waiting.expect("the disk never was full");
    rig.disk.set_faults(Faults::default());
    writer.committed(waiting.recv_timeout(LONG).unwrap().unwrap());
    assert!(!writer.is_in_flight() && !entries(&writer.view()).is_empty());
    assert_eq!(rig.disk.violations(), [""; 0]);
}

#[test]
fn what_is_written_here_keeps_no_files_open_behind_the_log() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    while rig.io.background(100) > 0 {}
    let files = Arc::downgrade(&writer.start.files);
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    alone(&mut rig, &io, &mut writer);
    push_here(&mut rig, &io, &mut writer, b"the last one");
    drop(writer);
    let began = Instant::now();
    while files.strong_count() > 0 {
        assert!(began.elapsed() < LONG, "the thread, which sleeps, holds them");
        std::thread::yield_now();
    }
    drop(io);
}

#[test]
fn the_thread_does_what_there_is_to_do_behind_groups_that_are_written_here() {
    let (mut rig, mut writer, io) = only_log();
    for _ in 0..40 {
        push(&mut rig, &io, &mut writer, &[1; 8 << 10]);
    }
    let through = writer.last_pushed();
    let first = segment_paths(&rig.disk).remove(0);
    assert!(writer.trim(through, rig.now.plus_us(1), rig.now) > 2);
    while let Some(group) = writer.take_group() {
        let (_, heard) = submit(&io, group);
        writer.committed(heard.recv_timeout(LONG).unwrap().unwrap());
    }
    // a thread that ends leaves such work to the next start
    let began = Instant::now();
    let are_sealed = || writer.view().load().segments().iter().rev().skip(1).all(|segment| segment.sealed);
    while rig.disk.contents(&first).is_some() || !are_sealed() {
        assert!(began.elapsed() < LONG, "it is removed, and what ended is sealed");
        std::thread::yield_now();
    }
    drop(io);
    assert_eq!(rig.disk.violations(), [""; 0]);
}
