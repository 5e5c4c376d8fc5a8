//! What the log promises whatever happens below it, one test for each promise.

use super::*;
use crate::crash_disk::{Dice, Faults};
use crate::frame::BLOCK_BYTES;

const CHILD: &str = "STRANDLINE_TEST_FATAL_CHILD";

/// The last group is damaged: what does recovery say, with this behind it?
fn damaged_last_group(behind: impl Fn(&mut LogWriter, Micros)) -> Recovered {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let loc = rig.push(&mut writer, b"acknowledged").loc;
    rig.commit(&mut writer);
    behind(&mut writer, rig.now);
    rig.commit(&mut writer);
    rig.disk.flip(&segment_paths(&rig.disk)[0], loc.offset + 100, 1);
    rig.open().recovered
}

#[test]
fn a_mark_makes_the_last_acknowledged_group_provable() {
    let bare = damaged_last_group(|_, _| {});
    assert!(bare.corrupt.is_empty() && bare.cut.is_some(), "it looks torn: nothing speaks for it");
    let idle = damaged_last_group(|writer, now| assert!(writer.idle_mark(now)));
    assert!(idle.corrupt.len() == 1 && idle.cut.is_none());
    let stopped = damaged_last_group(|writer, now| assert!(writer.clean_stop(now)));
    assert!(stopped.corrupt.len() == 1 && stopped.cut.is_none());
}

#[test]
fn a_failed_sync_is_fatal_and_acknowledges_nothing() {
    for checksum in [true, false] {
        // without checksums: the sync of the frames, and the sync of the mark
        for good in 0..if checksum { 1 } else { 2 } {
            let mut rig = Rig::new(LogConfig { checksum, ..small_config() });
            let mut writer = rig.writer();
            rig.disk.set_faults(Faults { syncs_until_failure: Some(good), ..Faults::default() });
            rig.push(&mut writer, b"x");
            let before = rig.disk.syncs_tried();
            assert!(!rig.commit(&mut writer));
            assert_eq!(rig.disk.syncs_tried(), before + good + 1);
            assert_eq!((rig.fatal.load(Ordering::SeqCst), entries(&writer.view()).len()), (1, 0));
            rig.disk.set_faults(Faults::default());
            assert!(writer.is_in_flight() && writer.take_group().is_none(), "nothing is retried");
            assert_eq!((rig.io.retry_stalled(), rig.io.background(9)), (0, 0));
            assert_eq!(rig.disk.syncs_tried(), before + good + 1, "nor synced again");
        }
    }
}

#[test]
fn a_failed_write_and_a_failed_background_sync_are_fatal_too() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.disk.set_faults(Faults { syncs_until_failure: Some(0), ..Faults::default() });
    rig.io.background(9);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 1);
    rig.disk.set_faults(Faults::default());
    rig.push(&mut writer, b"x");
    assert!(!rig.commit(&mut writer), "the disk is dead for good");
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"x");
    rig.disk.set_faults(Faults { writes_until_failure: Some(0), ..Faults::default() });
    assert!(!rig.commit(&mut writer));
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 1);
}

/// Not a test of its own: the process that the next one watches.
#[test]
fn fatal_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    rig.push(&mut writer, b"x");
    rig.disk.set_faults(Faults { syncs_until_failure: Some(0), ..Faults::default() });
    io.submit(writer.take_group().unwrap(), Box::new(|_| std::process::exit(7)));
    drop(io);
    std::process::exit(8);
}

#[test]
fn a_failed_sync_aborts_the_process() {
    use std::os::unix::process::ExitStatusExt as _;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "tests::promises::fatal_child"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "not aborted: {:?}, {said}", output.status);
}

#[test]
fn a_block_that_holds_acknowledged_frames_is_never_written_again() {
    for checksum in [true, false] {
        let mut rig = Rig::new(LogConfig { checksum, ..small_config() });
        let mut writer = rig.writer();
        let mut acknowledged: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for i in 0..200u32 {
            rig.push(&mut writer, &vec![i as u8; (i * 53 % 9000) as usize]);
            rig.commit(&mut writer);
            rig.io.background(i as usize % 3);
            for (path, bytes) in &acknowledged {
                assert!(rig.disk.contents(path).unwrap().starts_with(bytes), "{}", path.display());
            }
            let (tail, end) = writer.view().load().tail.clone().unwrap();
            assert!(end.is_multiple_of(BLOCK_BYTES as u64));
            let mut bytes = rig.disk.contents(tail.path()).unwrap();
            bytes.truncate(usize::try_from(end).unwrap());
            acknowledged.retain(|(path, _)| path != tail.path());
            acknowledged.push((tail.path().to_owned(), bytes));
        }
        assert!(acknowledged.len() > 5);
        assert_eq!(rig.disk.violations(), [""; 0]);
        // and the disk would have told
        let file = rig.disk.open(&acknowledged[0].0, Access::ReadWrite).unwrap();
        file.write_at(0, &buffer::AlignedBuf::zeroed(BLOCK_BYTES)).unwrap();
        assert_eq!(rig.disk.violations().len(), 1);
    }
}

#[test]
fn names_are_durable_before_the_answer_and_removals_after_the_step() {
    for seed in 0..100 {
        let mut rig = Rig::new(small_config());
        let mut writer = rig.writer();
        // the first group of a new segment: created and renamed, with a spare made ahead or without
        for i in 0..3u8 {
            rig.io.background(usize::from(i) * 50);
            writer.seal();
            rig.push(&mut writer, &[i]);
            rig.commit(&mut writer);
        }
        drop(writer);
        rig.disk.crash(&mut Dice::new(seed));
        let mut writer = rig.writer();
        assert_eq!(entries(&writer.view()).len(), 3, "seed {seed}");
        let before = segment_paths(&rig.disk);
        let through = writer.last_pushed();
        assert!(writer.trim(through, rig.now.plus_us(1), rig.now) >= 3);
        rig.commit(&mut writer);
        rig.io.background(100);
        drop(writer);
        rig.disk.crash(&mut Dice::new(seed));
        let after = segment_paths(&rig.disk);
        assert!(after.iter().all(|path| !before[..3].contains(path)), "seed {seed}: a removed segment came back");
        assert!(rig.open().recovered.corrupt.is_empty());
    }
}

#[test]
fn segment_numbers_only_rise() {
    let mut rig = Rig::new(small_config());
    let mut highest = SegmentNo(0);
    let mut dice = Dice::new(11);
    for round in 0..60 {
        let mut writer = rig.writer();
        for _ in 0..dice.below(3) {
            rig.push(&mut writer, b"x");
            rig.commit(&mut writer);
            let number = writer.view().load().segments().last().unwrap().number;
            assert!(number >= highest);
            highest = number;
            writer.seal();
        }
        if dice.one_in(2) {
            // everything goes, also the newest one that is sealed
            writer.trim(writer.last_pushed(), rig.now.plus_us(1), rig.now);
            rig.commit(&mut writer);
            rig.io.background(100);
        }
        let numbers: Vec<_> = writer.view().load().segments().into_iter().map(|s| s.number).collect();
        assert!(numbers.is_sorted() && numbers.last().is_some_and(|last| *last >= highest), "round {round}");
        highest = highest.max(*numbers.last().unwrap());
        rig.now = rig.now.plus_us(7_200_000_000);
        drop(writer);
        if dice.one_in(3) {
            rig.disk.crash(&mut dice);
        }
        let after = rig.open();
        let next = after.writer.unwrap().take_group().map(|group| group.segment());
        assert!(next.is_none_or(|next| next > highest), "round {round}: {next:?} after {highest}");
    }
    assert!(highest.0 > 60);
}
