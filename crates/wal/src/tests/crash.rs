//! Write, crash, recover, in a loop, by seed: everything acknowledged is read back, in order; nothing that was not pushed
//! appears; the log goes on.

use super::staged::Held;
use super::*;
use crate::buffer::AlignedBuf;
use crate::crash_disk::{Dice, Faults};

struct History {
    rig: Rig,
    dice: Dice,
    /// Every entry that may be in the log: those acknowledged, then those under way.
    pushed: Vec<(LogIndex, Vec<u8>)>,
    acknowledged: usize,
    /// Entries below are trimmed, or may be.
    trimmed: LogIndex,
    next_value: u32,
    /// Groups are handed over behind the one that is on its way.
    stages: bool,
    zeros: AlignedBuf,
}

impl History {
    fn new(config: LogConfig, seed: u64) -> Self {
        let (pushed, dice, zeros) = (Vec::new(), Dice::new(seed), AlignedBuf::zeroed(16 << 10));
        let rig = Rig::new(config);
        Self { rig, dice, pushed, acknowledged: 0, trimmed: LogIndex::ZERO, next_value: 0, stages: false, zeros }
    }

    fn entry(&mut self, writer: &mut LogWriter) {
        self.next_value += 1;
        let size = if self.dice.one_in(40) { self.dice.below(90 << 10) } else { self.dice.below(3000) };
        let mut bytes: Vec<u8> = (0..size).map(|_| self.dice.next() as u8).collect();
        bytes.extend_from_slice(&self.next_value.to_le_bytes());
        let index = self.rig.push(writer, &bytes).index;
        self.pushed.push((index, bytes));
    }

    /// One life of the process: until the disk fails, or it has done enough.
    fn live(&mut self, writer: &mut LogWriter) {
        for _ in 0..self.dice.below(40) {
            match self.dice.below(12) {
                0 => drop(writer.seal()),
                1 if self.trim(writer) => {}
                2 => {
                    self.rig.io.background(3);
                    if !self.fill_ahead(writer) {
                        return;
                    }
                }
                3 => drop(writer.idle_mark(self.rig.now)),
                _ => (0..self.dice.below(6)).for_each(|_| self.entry(writer)),
            }
            if !self.dice.one_in(4) && !self.commit(writer) {
                return;
            }
        }
    }

    /// As the thread of the cleaner does it; false if the disk failed.
    fn fill_ahead(&self, writer: &LogWriter) -> bool {
        let files = &writer.start.files;
        !files.wants_fill() || files.fill_ahead(&self.zeros).is_ok()
    }

    fn trim(&mut self, writer: &mut LogWriter) -> bool {
        let through = LogIndex(self.dice.below(writer.durable().map_or(0, |id| id.index.0) + 1));
        if writer.trim(through, self.rig.now.plus_us(1), self.rig.now) > 0 {
            self.trimmed = self.trimmed.max(through);
        }
        true
    }

    fn commit(&mut self, writer: &mut LogWriter) -> bool {
        let whole = if self.stages { self.commit_staged(writer) } else { self.rig.commit(writer) };
        let through = writer.durable();
        let acknowledged =
            self.pushed.iter().take_while(|(index, _)| through.is_some_and(|id| *index <= id.index)).count();
        self.acknowledged = self.acknowledged.max(acknowledged);
        whole
    }

    /// While groups are on their way and wait for their turn, more comes: entries, which go with what has not begun, seals and trims.
    fn commit_staged(&mut self, writer: &mut LogWriter) -> bool {
        let held = Held::default();
        for _ in 0..self.dice.below(20) {
            held.take_from(writer);
            match self.dice.below(6) {
                0 => drop(writer.seal()),
                1 if self.trim(writer) => {}
                2 | 3 => {
                    writer.reopen_next(&held);
                    (0..self.dice.below(4)).for_each(|_| self.entry(writer));
                }
                _ => {
                    if held.first().is_some_and(|group| !self.rig.write(writer, group)) {
                        return false;
                    }
                }
            }
        }
        loop {
            held.take_from(writer);
            let Some(group) = held.first() else { return true };
            if !self.rig.write(writer, group) {
                return false;
            }
        }
    }

    fn check(&mut self, opened: &OpenedLog, about: &str) {
        assert_eq!(opened.recovered.corrupt, [], "{about}");
        let found = entries(&opened.view);
        let first = found.first().map_or(LogIndex(u64::MAX), |e| e.0);
        let gone = self.pushed.iter().take_while(|e| e.0 < first).count();
        let all_gone_are_trimmed = self.pushed[..gone.min(self.acknowledged)].iter().all(|e| e.0 <= self.trimmed);
        assert!(all_gone_are_trimmed, "{about}: acknowledged entries are missing in front");
        let gone = if found.is_empty() { self.acknowledged } else { gone };
        assert!(gone + found.len() >= self.acknowledged, "{about}: {} of {}", gone + found.len(), self.acknowledged);
        assert!(found[..] == self.pushed[gone..gone + found.len()], "{about}: other entries than were pushed");
        self.pushed.truncate(gone + found.len());
        self.acknowledged = self.pushed.len();
    }

    /// One life that began the log, and a power cut.
    fn cut_off(config: LogConfig, seed: u64) -> Self {
        let mut history = Self::new(config, seed);
        let mut writer = history.rig.writer();
        history.live(&mut writer);
        drop(writer);
        history.rig.io = InlineIo::new(count_fatal(&history.rig.fatal));
        history.rig.disk.crash(&mut history.dice);
        history
    }

    fn run(mut self, about: &str, power: bool) {
        let mut failures = 0;
        for life in 0..5 {
            let about = format!("{about}, life {life}");
            let names = self.rig.disk.list(&dir()).unwrap();
            let begun = names.iter().any(|name| name.ends_with(".wal") || name == names::FIRST_SPARE_NAME);
            assert!(begun || life == 0, "{about}: {names:?} looks as if the log was taken away");
            let mut opened = self.rig.open();
            self.check(&opened, &about);
            let mut writer = opened.writer.take().unwrap();
            let mut faults = Faults::default();
            match self.dice.below(3) {
                0 => faults.syncs_until_failure = Some(self.dice.below(40)),
                1 => faults.writes_until_failure = Some(self.dice.below(40)),
                _ => {}
            }
            self.rig.disk.set_faults(faults);
            if self.commit(&mut writer) {
                self.live(&mut writer);
            }
            drop((writer, opened));
            self.rig.io = InlineIo::new(count_fatal(&self.rig.fatal));
            assert_eq!(self.rig.disk.violations(), [""; 0], "{about}");
            failures += self.rig.fatal.swap(0, Ordering::SeqCst);
            if power {
                self.rig.disk.crash(&mut self.dice);
            } else {
                self.rig.disk.set_faults(Faults::default());
            }
        }
        assert!(failures <= 5);
        let opened = self.rig.open();
        self.check(&opened, about);
    }
}

pub(super) fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("STRANDLINE_CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    0..count
}

#[test]
fn what_is_acknowledged_survives_a_power_cut() {
    for seed in seeds() {
        History::new(small_config(), seed).run(&format!("seed {seed}"), true);
    }
}

#[test]
fn what_is_acknowledged_survives_a_kill() {
    for seed in seeds() {
        History::new(small_config(), seed).run(&format!("seed {seed}"), false);
    }
}

#[test]
fn what_is_acknowledged_in_an_encrypted_log_survives_a_power_cut() {
    let keys = strandline_keys::testing::store_keys(1);
    for seed in seeds() {
        let config = LogConfig { keys: Some(Arc::clone(&keys)), checksum: seed % 3 != 0, ..small_config() };
        History::new(config, seed).run(&format!("seed {seed}"), true);
    }
}

#[test]
fn what_is_acknowledged_while_groups_wait_for_their_turn_survives_a_power_cut() {
    let keys = strandline_keys::testing::store_keys(1);
    for seed in seeds() {
        let keys = seed.is_multiple_of(2).then(|| Arc::clone(&keys));
        let config = LogConfig { keys, checksum: !seed.is_multiple_of(5), ..small_config() };
        let mut history = History::new(config, seed);
        history.stages = true;
        history.run(&format!("seed {seed}"), true);
    }
}

#[test]
fn without_fsync_it_survives_a_kill() {
    for seed in seeds() {
        let config = LogConfig { fsync: false, ..small_config() };
        History::new(config, seed).run(&format!("seed {seed}"), false);
    }
}

#[test]
fn without_fsync_a_power_cut_leaves_a_prefix() {
    for seed in seeds() {
        let config = LogConfig { fsync: false, ..small_config() };
        let mut history = History::cut_off(config, seed);
        // nothing was promised but order
        history.acknowledged = 0;
        let opened = history.rig.open();
        history.check(&opened, &format!("seed {seed}"));
    }
}

#[test]
fn without_checksums_what_is_acknowledged_survives_a_power_cut() {
    for seed in seeds() {
        let config = LogConfig { checksum: false, ..small_config() };
        History::new(config, seed).run(&format!("seed {seed}"), true);
    }
}

#[test]
fn without_checksums_what_is_acknowledged_survives_a_kill() {
    for seed in seeds() {
        let config = LogConfig { checksum: false, ..small_config() };
        History::new(config, seed).run(&format!("seed {seed}"), false);
    }
}

#[test]
fn without_checksums_and_fsync_what_is_acknowledged_survives_a_kill() {
    for seed in seeds() {
        let config = LogConfig { checksum: false, fsync: false, ..small_config() };
        History::new(config, seed).run(&format!("seed {seed}"), false);
    }
}

/// Nothing was promised, and bytes cannot be proven: the log opens, holds a prefix by number, and goes on.
#[test]
fn without_checksums_and_fsync_a_power_cut_leaves_a_log_that_opens() {
    for seed in seeds() {
        let config = LogConfig { checksum: false, fsync: false, ..small_config() };
        let mut history = History::cut_off(config, seed);
        let mut writer = history.rig.writer();
        let found: Vec<_> = entries(&writer.view()).into_iter().map(|e| e.0).collect();
        let from = history.pushed.iter().position(|e| Some(&e.0) == found.first()).unwrap_or(0);
        let wanted: Vec<_> = history.pushed[from..].iter().take(found.len()).map(|e| e.0).collect();
        assert_eq!(found, wanted, "seed {seed}");
        history.entry(&mut writer);
        assert!(history.rig.commit(&mut writer), "seed {seed}");
    }
}
