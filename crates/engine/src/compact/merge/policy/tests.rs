use super::*;
use strandline_durable::{Bounds, FullUnder};
use strandline_event::{EventId, LogIndex, Seq};

const NOW: Micros = Micros(1_767_225_600_000_000);
const RULES: MergeRules = MergeRules { target_bytes: 256 * MB, max_bytes: 512 * MB, inputs_max: 16 };

/// The n-th file of a partition; its events came `age_s` before now.
fn file(n: u64, bytes: u64, age_s: u64) -> Arc<FileEntry> {
    let at = NOW.minus_seconds(age_s);
    Arc::new(FileEntry {
        path: format!("part-{n:010}.parquet"),
        bytes,
        crc32c: 0,
        tail_bytes: 0,
        tail_crc32c: 0,
        tail: None,
        key: None,
        full: None,
        redacted_in: None,
        rows: 1,
        row_groups: 1,
        stream_type: "Call".to_owned(),
        bucket: 0,
        partition: Vec::new(),
        bounds: Bounds {
            stream_id: (String::new(), String::new()),
            seq: (Seq(1), Seq(1)),
            event_type: (String::new(), String::new()),
            tenant_id: None,
            occurred_at: (at, at),
            ingested_at: (at, at),
            event_id: (EventId([0; 16]), EventId([0; 16])),
        },
        from_exclusive: LogIndex(n),
        through: LogIndex(n + 1),
        job_id: u128::from(n),
    })
}

fn of_sizes(bytes: &[u64], age_s: u64) -> Vec<Arc<FileEntry>> {
    (1..).zip(bytes).map(|(n, bytes)| file(n, *bytes, age_s)).collect()
}

/// Sizes of what is merged, in megabytes.
fn chosen(mb: &[u64], trigger: Trigger, age_s: u64) -> Vec<u64> {
    let bytes: Vec<u64> = mb.iter().map(|mb| mb * MB).collect();
    let inputs = choose(&of_sizes(&bytes, age_s), &RULES, trigger, NOW);
    inputs.into_iter().flatten().map(|file| file.bytes / MB).collect()
}

#[test]
fn the_clock_merges_full_tiers_and_what_lies_below() {
    let tick = |mb: &[u64]| chosen(mb, Trigger::Tick, 0);
    assert!(tick(&[]).is_empty() && tick(&[5]).is_empty() && tick(&[5, 5, 5]).is_empty());
    assert_eq!(tick(&[5, 5, 5, 5]), [5, 5, 5, 5]);
    assert_eq!(tick(&[100, 5, 5, 1, 5, 5]), [5, 5, 1, 5, 5], "not the larger one");
    assert_eq!(tick(&[100, 100, 100, 20]), [100, 100, 100, 20], "together they reach the target");
    assert!(tick(&[100, 100, 20]).is_empty());
    assert!(tick(&[300, 300, 300, 300, 256]).is_empty(), "full files are never read again");
}

#[test]
fn a_hand_merges_all_that_is_small() {
    let hand = |mb: &[u64]| chosen(mb, Trigger::Hand, 0);
    assert_eq!(hand(&[100, 1]), [100, 1]);
    assert!(hand(&[100]).is_empty() && hand(&[100, 256, 700]).is_empty());
    assert_eq!(hand(&[1; 40]), [1; 16], "no more than may be open");
    let mut mixed = vec![100; 3];
    mixed.extend([1; 20]);
    assert_eq!(hand(&mixed), [1; 16], "the small ones first");
}

#[test]
fn a_partition_at_rest_is_cleaned_up_without_writing_large_files_for_small_ones() {
    let rest = |mb: &[u64]| chosen(mb, Trigger::Tick, 25 * 3600);
    assert_eq!(rest(&[5, 5]), [5, 5]);
    assert_eq!(rest(&[60, 20, 30, 20]), [60, 20, 30, 20]);
    assert_eq!(rest(&[200, 1, 1]), [1, 1], "a late event does not cost 200 MB");
    assert!(rest(&[200, 1]).is_empty());
    let little = choose(&of_sizes(&[60_000, 100], 25 * 3600), &RULES, Trigger::Tick, NOW);
    assert_eq!(little.map(|files| files.len()), Some(2));
    assert!(chosen(&[5, 5], Trigger::Tick, 23 * 3600).is_empty());
}

#[test]
fn a_partition_that_is_over_holds_one_small_file() {
    let after = |days: u64, mb: &[u64]| chosen(mb, Trigger::Tick, days * 24 * 3600);
    let each_more_than_twice_all_smaller = [200, 60, 15, 4, 1];
    assert!(after(29, &each_more_than_twice_all_smaller).is_empty());
    assert_eq!(after(31, &each_more_than_twice_all_smaller), each_more_than_twice_all_smaller);
    assert_eq!(after(31, &[200, 1]), [200, 1]);
    assert!(after(31, &[200]).is_empty() && after(31, &[300, 256]).is_empty());
    // one late event, and it waits as others do
    let mut files = of_sizes(&[200 * MB], 40 * 24 * 3600);
    files.push(file(2, MB, 2 * 24 * 3600));
    assert_eq!(choose(&files, &RULES, Trigger::Tick, NOW), None);
}

#[test]
fn nine_small_files_rest_for_a_month_at_most() {
    let mut bytes = vec![1 << 10, TIER_BYTES];
    while bytes.iter().sum::<u64>() * 2 + 1 < RULES.target_bytes {
        bytes.push(bytes.iter().sum::<u64>() * 2 + 1);
    }
    assert_eq!(bytes.len(), 9);
    let after = |days: u64| choose(&of_sizes(&bytes, days * 24 * 3600), &RULES, Trigger::Tick, NOW);
    assert_eq!((after(2), after(29)), (None, None));
    assert_eq!(after(31).map(|files| files.len()), Some(9));
}

#[test]
fn files_that_had_to_end_are_full() {
    let tight = MergeRules { target_bytes: 256 * MB, max_bytes: 256 * MB, inputs_max: 16 };
    let mut files: Vec<_> = of_sizes(&[250 * MB, 30 * MB, 250 * MB], 0);
    for file in &mut files[..2] {
        Arc::make_mut(file).full = Some(tight.full());
    }
    assert_eq!(choose(&files, &tight, Trigger::Hand, NOW), None, "only the last of them is small");
    files.push(file(9, MB, 0));
    let inputs = choose(&files, &tight, Trigger::Hand, NOW).unwrap();
    assert_eq!(inputs.iter().map(|f| f.bytes / MB).collect::<Vec<_>>(), [250, 1]);
    let raised = MergeRules { max_bytes: 4096 * MB, target_bytes: 1024 * MB, ..tight };
    assert_eq!(choose(&files, &raised, Trigger::Hand, NOW).map(|f| f.len()), Some(4));
}

#[test]
fn new_files_reach_the_target_except_the_last() {
    assert_eq!(RULES.enough_bytes(100 * MB), u64::MAX);
    assert_eq!(RULES.enough_bytes(600 * MB), u64::MAX, "one of 512 at most, and the rest");
    for bytes in [640 * MB, 1000 * MB, 5000 * MB] {
        let enough = RULES.enough_bytes(bytes);
        assert!((320 * MB..=512 * MB).contains(&enough), "{bytes}: {enough}");
    }
}

impl MergeRules {
    fn full(&self) -> FullUnder {
        FullUnder { target_bytes: self.target_bytes, max_bytes: self.max_bytes }
    }
}

/// A partition that gets files for a while: bytes that merges wrote, and the most small files that there ever were.
struct Life {
    files: Vec<Arc<FileEntry>>,
    written: u64,
    came: u64,
    most: usize,
    n: u64,
    /// So many bytes a file takes in truth: what stands behind its rows is guessed too long while it is written.
    room: u64,
    /// So long ago its events came.
    age_s: u64,
}

impl Life {
    const fn new(room: u64, age_s: u64) -> Self {
        Self { files: Vec::new(), written: 0, came: 0, most: 0, n: 0, room, age_s }
    }

    /// New files of these sizes, each followed by the clock's merges, whose output is `shrunk` of a hundred of the input.
    fn of(sizes: impl Iterator<Item = u64>, rules: &MergeRules, shrunk: u64) -> Self {
        let mut life = Self::new(rules.max_bytes, 0);
        for bytes in sizes {
            life.add(bytes);
            life.came += bytes;
            while life.merge(rules, Trigger::Tick, shrunk) {}
            life.most = life.most.max(small_files(&life.files, rules).len());
        }
        life
    }

    fn add(&mut self, bytes: u64) {
        self.n += 1;
        self.files.push(file(self.n, bytes, self.age_s));
    }

    /// Files of a merge: each as large as it may be, but the last one.
    fn add_full(&mut self, mut rest: u64, enough: u64, rules: &MergeRules) {
        while rest > 0 {
            self.add(rest.min(enough));
            rest = rest.saturating_sub(enough);
            if let (true, Some(file)) = (rest > 0, self.files.last_mut()) {
                Arc::make_mut(file).full = Some(rules.full());
            }
        }
    }

    fn merge(&mut self, rules: &MergeRules, trigger: Trigger, shrunk: u64) -> bool {
        let Some(inputs) = choose(&self.files, rules, trigger, NOW) else { return false };
        assert!((2..=rules.inputs_max).contains(&inputs.len()));
        self.files.retain(|file| inputs.iter().all(|input| input.path != file.path));
        let read: u64 = inputs.iter().map(|file| file.bytes).sum();
        let made = read * shrunk / 100;
        self.written += made;
        self.add_full(made, rules.enough_bytes(read).min(self.room), rules);
        true
    }
}

#[test]
fn a_byte_is_written_again_about_once_a_tier() {
    for (bytes, count) in [(4 * MB, 2000), (60 * MB, 200), (200 << 10, 8000), (5000, 20_000)] {
        for shrunk in [100, 90] {
            let life = Life::of((0..count).map(|n| bytes + n * 7919 % (bytes / 2)), &RULES, shrunk);
            let tiers = u64::from(tier(RULES.target_bytes) - tier(bytes)) + 1;
            assert!(life.written <= life.came * tiers, "{bytes}: {} for {} in {tiers} tiers", life.written, life.came);
            assert!(life.most <= 3 * tiers as usize + 4, "{bytes}: {} small files", life.most);
        }
    }
}

/// Where everything small is merged one such file is left, and merges end.
fn one_is_left(trigger: Trigger, age_s: u64) {
    for rules in [RULES, MergeRules { max_bytes: 256 * MB, ..RULES }, MergeRules { inputs_max: 2, ..RULES }] {
        let mut life = Life::new(rules.max_bytes, age_s);
        for n in 0..300_u64 {
            life.add(1 + (n * 7_919_000 % (90 * MB)));
        }
        let mut merges = 0;
        while life.merge(&rules, trigger, 97) {
            merges += 1;
            assert!(merges < 1000, "it does not end");
        }
        assert!(small_files(&life.files, &rules).len() <= 1, "{rules:?}");
        assert!(life.files.iter().all(|file| file.bytes <= rules.max_bytes));
        assert!(!life.merge(&rules, trigger, 100), "a second run does nothing");
    }
}

#[test]
fn a_hand_leaves_one_small_file_and_ends() {
    one_is_left(Trigger::Hand, 0);
}

#[test]
fn the_clock_leaves_one_small_file_of_a_partition_that_is_over() {
    one_is_left(Trigger::Tick, 31 * 24 * 3600);
}

/// Files that end far below the target are not read for ever: with a maximum that is the target, and where filters take most of a file.
#[test]
fn merges_end_however_short_their_files_are() {
    for (target, max) in [(8, 8), (4, 8), (256, 512)] {
        let rules = MergeRules { target_bytes: target * MB, max_bytes: max * MB, inputs_max: 16 };
        for room in [max * MB * 9 / 10, max * MB / 2, max * MB / 10] {
            for trigger in [Trigger::Hand, Trigger::Tick] {
                let mut life = Life::new(room, 0);
                // three jobs, each with files that had to end and a last one
                for _ in 0..3 {
                    life.add_full(room * 17 / 10, room, &rules);
                }
                let mut merges = 0;
                while life.merge(&rules, trigger, 100) {
                    merges += 1;
                    assert!(merges < 10, "{rules:?}, {room}: it does not end");
                }
            }
        }
    }
}
