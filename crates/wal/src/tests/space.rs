//! A full disk: refused before anything is accepted, readable all the time, and it goes on when there is room.

use super::*;
use crate::crash_disk::Dice;

const LOW_WATER: u64 = 64 << 10;

fn tight(capacity: u64) -> Rig {
    let mut config = small_config();
    config.low_water_bytes = LOW_WATER;
    let rig = Rig::new(config);
    rig.disk.set_capacity(Some(capacity));
    rig
}

#[test]
fn a_full_disk_refuses_stays_readable_and_recovers() {
    let mut rig = tight(512 << 10);
    let mut writer = rig.writer();
    let mut wanted = Vec::new();
    let bytes = [5; 3000];
    while writer.room(bytes.len()) == Room::Fits {
        wanted.push((rig.push(&mut writer, &bytes).index, bytes.to_vec()));
        assert!(rig.commit(&mut writer), "what was accepted did not fail");
        rig.io.background(2);
        assert!(wanted.len() < 1000);
    }
    assert!(wanted.len() > 60, "most of the disk was used: {}", wanted.len());
    assert!(entries(&writer.view()) == wanted);
    rig.disk.set_capacity(Some(1 << 20));
    assert_eq!(writer.room(bytes.len()), Room::Fits);
    wanted.push((rig.push(&mut writer, &bytes).index, bytes.to_vec()));
    assert!(rig.commit(&mut writer));
    assert!(entries(&rig.open().view) == wanted);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}

#[test]
fn trimming_makes_room() {
    let mut rig = tight(512 << 10);
    let mut writer = rig.writer();
    while writer.room(3000) == Room::Fits {
        rig.push(&mut writer, &[5; 3000]);
        rig.commit(&mut writer);
        rig.io.background(2);
    }
    let through = writer.last_pushed();
    assert!(writer.trim(through, rig.now.plus_us(1), rig.now) > 3);
    rig.commit(&mut writer);
    rig.io.background(100);
    assert_eq!(writer.room(3000), Room::Fits);
}

#[test]
fn a_group_that_finds_the_disk_full_waits_and_is_written() {
    let mut rig = tight(1 << 20);
    let mut writer = rig.writer();
    rig.push(&mut writer, &[1; 40 << 10]);
    rig.disk.set_capacity(Some(0));
    let group = writer.take_group().unwrap();
    let back = Arc::new(Mutex::new(None));
    let cell = Arc::clone(&back);
    rig.io.submit(group, Box::new(move |done| *cell.lock() = Some(done)));
    assert!(back.lock().is_none());
    assert_eq!(rig.io.retry_stalled(), 1);
    rig.disk.set_capacity(None);
    assert_eq!(rig.io.retry_stalled(), 0);
    let group = back.lock().take().unwrap().unwrap();
    writer.committed(group);
    assert_eq!(entries(&rig.open().view).len(), 1);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}

/// A disk of 32 MiB with the statement's defaults: nearly all of it is used, nothing is lost, and it goes on.
#[test]
fn a_small_disk_is_used_up_to_its_sixteenth() {
    for checksum in [true, false] {
        let mut config = LogConfig { checksum, ..LogConfig::new(small_config().pattern) };
        config.rollover.size_bytes = Some(8 << 20);
        let mut rig = Rig::new(config);
        rig.disk.set_capacity(Some(32 << 20));
        let mut writer = rig.writer();
        let bytes = vec![7; 60 << 10];
        let mut wanted = Vec::new();
        while writer.room(bytes.len()) == Room::Fits {
            wanted.push((rig.push(&mut writer, &bytes).index, bytes.clone()));
            assert!(rig.commit(&mut writer), "what was accepted did not fail");
            rig.io.background(4);
        }
        let used = writer.view().load().bytes();
        assert!(used > 28 << 20, "{used} bytes of 32 MiB");
        assert!(entries(&writer.view()) == wanted, "readable while it is full");
        writer.idle_mark(rig.now);
        assert!(rig.commit(&mut writer), "it can be proven");
        let through = writer.seal();
        assert!(writer.trim(through, rig.now.plus_us(1), rig.now) > 2);
        assert!(rig.commit(&mut writer), "it can be trimmed");
        rig.io.background(1000);
        assert_eq!(writer.room(bytes.len()), Room::Fits, "and goes on");
        let last = (rig.push(&mut writer, &bytes).index, bytes.clone());
        assert!(rig.commit(&mut writer));
        assert_eq!(entries(&rig.open().view), [last]);
        assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
    }
}

/// One life on a disk that is small from the start, or becomes full under the log.
struct Squeeze {
    rig: Rig,
    dice: Dice,
    wanted: Vec<(LogIndex, Vec<u8>)>,
    trimmed: LogIndex,
    /// An entry was accepted since the last trim and since the disk became full: what may follow it surely fits.
    covered: bool,
}

impl Squeeze {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut config = LogConfig { checksum: !dice.one_in(2), fsync: !dice.one_in(3), ..small_config() };
        config.low_water_bytes = if dice.one_in(2) { 16 << 20 } else { 8 << 10 };
        config.rollover.size_bytes = Some((64 << 10) + dice.below(128 << 10));
        config.rollover.by_time = dice.one_in(4);
        let rig = Rig::new(config);
        rig.disk.set_capacity(Some((300 << 10) + dice.below(1 << 20)));
        Self { rig, dice, wanted: Vec::new(), trimmed: LogIndex::ZERO, covered: false }
    }

    fn push(&mut self, writer: &mut LogWriter) {
        let most = if self.dice.one_in(9) { 100 << 10 } else { 6000 };
        let size = self.dice.below(most);
        let bytes = vec![self.dice.next() as u8; usize::try_from(size).unwrap()];
        if writer.room(bytes.len()) == Room::Fits {
            self.wanted.push((self.rig.push(writer, &bytes).index, bytes));
            self.covered = true;
        }
    }

    fn trim(&mut self, writer: &mut LogWriter, about: &str) {
        self.commit(writer, about);
        let through = LogIndex(self.dice.below(writer.last_pushed().0 + 1));
        if self.covered && writer.trim(through, self.rig.now.plus_us(1), self.rig.now) > 0 {
            (self.trimmed, self.covered) = (self.trimmed.max(through), false);
            self.commit(writer, about);
            self.rig.io.background(100);
        }
    }

    fn commit(&self, writer: &mut LogWriter, about: &str) {
        assert!(self.rig.commit(writer), "{about}: what was accepted waits for room");
    }

    fn run(mut self, about: &str) {
        let mut writer = self.rig.writer();
        self.push(&mut writer);
        for _ in 0..150 {
            match self.dice.below(10) {
                0 => drop(writer.seal()),
                1 => self.trim(&mut writer, about),
                2 => drop(self.covered && writer.idle_mark(self.rig.now)),
                9 if self.dice.one_in(3) => writer.set_rollover(Rollover {
                    size_bytes: Some((64 << 10) + self.dice.below(128 << 10)),
                    by_time: self.dice.one_in(2),
                }),
                3 => self.rig.now = self.rig.now.plus_us(1_800_000_000),
                4..=6 => drop(self.rig.io.background(3)),
                7 if self.dice.one_in(20) => {
                    self.commit(&mut writer, about);
                    self.rig.disk.set_capacity(Some(0));
                    self.covered = false;
                }
                _ => (0..self.dice.below(5)).for_each(|_| self.push(&mut writer)),
            }
            if self.dice.one_in(2) {
                self.commit(&mut writer, about);
            }
        }
        self.commit(&mut writer, about);
        let stopped = self.covered && writer.clean_stop(self.rig.now);
        self.commit(&mut writer, about);
        self.check(&writer.view(), about);
        drop(writer);
        let opened = self.rig.open();
        assert!(opened.recovered.corrupt.is_empty() && opened.recovered.clean_stop == stopped, "{about}");
        self.check(&opened.view, about);
        let mut writer = opened.writer.unwrap();
        self.rig.disk.set_capacity(Some(8 << 20));
        assert_eq!(writer.room(9000), Room::Fits, "{about}");
        self.wanted.push((self.rig.push(&mut writer, &[1; 9000]).index, vec![1; 9000]));
        self.commit(&mut writer, about);
        self.check(&writer.view(), about);
        assert_eq!((self.rig.fatal.load(Ordering::SeqCst), self.rig.disk.violations()), (0, vec![]), "{about}");
    }

    fn check(&self, view: &SharedView, about: &str) {
        let found = entries(view);
        let gone = self.wanted.len().saturating_sub(found.len());
        assert!(self.wanted[gone..] == found[..], "{about}: other entries than were accepted");
        assert!(self.wanted[..gone].iter().all(|e| e.0 <= self.trimmed), "{about}: entries were lost");
    }
}

#[test]
fn what_was_accepted_always_fits() {
    for seed in crash::seeds() {
        Squeeze::new(seed).run(&format!("seed {seed}"));
    }
}
