//! A replicated log: entries by number, cut off, gone on elsewhere, purged, in any order, over crashes, against a list that is
//! obviously right.

use super::*;
use crate::crash_disk::{Dice, Faults};
use crate::replicated::{Content, Last};

fn replicated_config() -> LogConfig {
    let mut config = small_config();
    config.commit_on_sync = false;
    config
}

/// An entry as the model keeps it.
#[derive(Clone, PartialEq, Eq)]
struct Kept {
    number: u64,
    term: u64,
    kind: FrameKind,
    payloads: Vec<Vec<u8>>,
    index: LogIndex,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<_> = self.payloads.iter().map(Vec::len).collect();
        write!(f, "{}={}@{} {:?} {sizes:?}", self.number, self.index, self.term, self.kind)
    }
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    entries: Vec<Kept>,
    next_number: u64,
    next_index: u64,
    committed: Option<Last>,
    vote: Vote,
    membership: Membership,
    /// The smallest number that was next since the last commit.
    lowest: u64,
    /// Memberships with the numbers of their entries.
    memberships: Vec<(u64, Membership)>,
}

impl Model {
    fn last_of(&self, number: u64) -> Option<Last> {
        let kept = self.entries.iter().find(|kept| kept.number == number)?;
        let leader = LeaderId { term: kept.term, node: 1 };
        Some(Last { id: LogId { leader, index: kept.index }, number })
    }

    fn cut_off(&mut self, number: u64) {
        let at = self.entries.iter().position(|kept| kept.number >= number).unwrap_or(self.entries.len());
        if let Some(first) = self.entries.get(at) {
            self.next_index = first.index.0 + 1 - first.payloads.len().max(1) as u64;
            self.next_number = first.number;
        }
        self.entries.truncate(at);
        self.lowest = self.lowest.min(number);
        self.memberships.retain(|(set_by, _)| *set_by < number);
    }

    fn membership(&self) -> Membership {
        self.memberships.last().map(|(_, membership)| membership.clone()).unwrap_or_default()
    }
}

struct History {
    rig: Rig,
    dice: Dice,
    /// As acknowledged, and as it may be.
    acked: Model,
    model: Model,
    /// What was purged at least.
    purged: Option<Last>,
    term: u64,
}

impl History {
    fn new(seed: u64, config: LogConfig) -> Self {
        Self {
            rig: Rig::new(config),
            dice: Dice::new(seed),
            acked: Model::default(),
            model: Model::default(),
            purged: None,
            term: 1,
        }
    }

    fn payloads(&mut self) -> Vec<Vec<u8>> {
        let count = if self.dice.one_in(2) { 1 } else { 1 + self.dice.below(4) };
        let size = |dice: &mut Dice| if dice.one_in(60) { dice.below(50 << 10) } else { dice.below(2000) };
        (0..count).map(|_| (0..size(&mut self.dice)).map(|_| self.dice.next() as u8).collect()).collect()
    }

    fn append(&mut self, writer: &mut LogWriter) {
        self.term += u64::from(self.dice.one_in(5));
        let leader = LeaderId { term: self.term, node: 1 };
        let number = self.model.next_number;
        let (kind, payloads) = match self.dice.below(8) {
            0 => (FrameKind::Blank, vec![]),
            1 => (FrameKind::Membership, vec![]),
            _ => (FrameKind::Entry, self.payloads()),
        };
        let membership = Membership { voters: vec![vec![1, number + 2]], nodes: vec![(1, format!("host:{number}"))] };
        let parts: Vec<[&[u8]; 1]> = payloads.iter().map(|payload| [&payload[..]]).collect();
        let frames: Vec<_> =
            parts.iter().map(|parts| (Entry { leader, schema: 1, count: 2, parts }, self.rig.now)).collect();
        let content = match kind {
            FrameKind::Blank => Content::Blank,
            FrameKind::Membership => Content::Membership(&membership),
            _ => Content::Payloads(&frames),
        };
        let pushed = writer.push_entry(number, leader, content, self.rig.now).unwrap();
        self.model.next_number += 1;
        self.model.next_index += payloads.len().max(1) as u64;
        assert_eq!(pushed.index.0 + 1, self.model.next_index);
        if kind == FrameKind::Membership {
            self.model.memberships.push((number, membership));
        }
        self.model.entries.push(Kept { number, term: self.term, kind, payloads, index: pushed.index });
    }

    fn commit(&mut self, writer: &mut LogWriter) -> bool {
        // a group that failed stays in flight for ever
        let whole = self.rig.commit(writer) && !writer.is_in_flight();
        if whole {
            self.model.lowest = self.model.next_number;
            self.acked = self.model.clone();
        }
        whole
    }

    /// An entry that may be named: above what is committed.
    fn above_committed(&mut self) -> Option<u64> {
        let first = self.model.committed.map_or(0, |last| last.number + 1).max(self.purged.map_or(0, |p| p.number + 1));
        let open = self.model.next_number.checked_sub(first).filter(|open| *open > 0)?;
        Some(first + self.dice.below(open))
    }

    /// `false`: the disk failed.
    fn step(&mut self, writer: &mut LogWriter) -> bool {
        match self.dice.below(14) {
            0 => drop(writer.seal()),
            1 => drop(self.rig.io.background(4)),
            2 => drop(writer.idle_mark(self.rig.now)),
            3 => {
                self.model.vote = Vote { leader: LeaderId { term: self.term + 1, node: 3 }, committed: false };
                writer.push_vote(self.model.vote, self.rig.now).unwrap();
            }
            4 if self.commit(writer) => {
                if let Some(number) = self.above_committed() {
                    self.model.cut_off(number);
                    assert!(writer.cut_off(number, self.rig.now).unwrap());
                    let before = writer.state().before.unwrap();
                    let segments = writer.view().load().segments();
                    let cut = segments.into_iter().find(|segment| segment.number == before.segment).unwrap();
                    self.rig.disk.acknowledged_only(&dir().join(cut.name), before.end);
                    assert_eq!(writer.next_number(), number);
                }
            }
            5 if self.commit(writer) => {
                if let Some(last) = self.above_committed().and_then(|number| self.model.last_of(number)) {
                    self.model.committed = Some(last);
                    self.acked.committed = Some(last);
                    writer.set_committed(last.id, last.number);
                    assert_eq!(writer.view().load().last_index(), last.id.index);
                }
            }
            6 => {
                let committed = self.model.committed.map_or(0, |last| last.number);
                let number = self.dice.below(committed + 1);
                if let Some(last) = self.model.last_of(number).filter(|_| number <= committed) {
                    writer.purge(last, self.rig.now);
                    self.purged = self.purged.max_by_number(last);
                }
            }
            7 if self.dice.one_in(4) && self.commit(writer) => self.go_on(writer),
            _ => (0..=self.dice.below(3)).for_each(|_| self.append(writer)),
        }
        self.dice.one_in(6) || self.commit(writer)
    }

    fn go_on(&mut self, writer: &mut LogWriter) {
        let leader = LeaderId { term: self.term, node: 2 };
        let ahead = self.dice.below(50);
        let number = self.model.next_number + ahead;
        let id = LogId { leader, index: LogIndex(self.model.next_index + ahead + self.dice.below(9)) };
        let through = Last { id, number };
        let membership = Membership { voters: vec![vec![9]], nodes: vec![] };
        writer.go_on_behind(through, Some((membership.clone(), through)), self.rig.now);
        self.model.entries.clear();
        (self.model.next_number, self.model.next_index) = (number + 1, id.index.0 + 1);
        self.model.lowest = number + 1;
        self.model.memberships = vec![(number, membership)];
        self.model.committed = Some(through);
        assert_eq!(writer.purged_entry(), Some(through));
        self.purged = Some(through);
    }

    fn live(&mut self, writer: &mut LogWriter) {
        for _ in 0..self.dice.below(60) {
            if !self.step(writer) {
                return;
            }
        }
    }

    /// What the log must be now: as acknowledged, or with some of what was under way.
    fn check(&mut self, opened: &OpenedLog, about: &str) {
        assert_eq!(opened.recovered.corrupt, [], "{about}");
        let writer = opened.writer.as_ref().unwrap();
        let found = read(&opened.view, writer.purged_entry());
        let purged = writer.purged_entry().map_or(0, |purged| purged.number + 1);
        let fits = |model: &Model| {
            let wanted: Vec<_> = model.entries.iter().filter(|kept| kept.number >= purged).cloned().collect();
            wanted == found && model.next_number == writer.next_number()
        };
        // a group that was under way may be there in part
        let model = self.model.clone();
        let from = model.entries.iter().position(|e| model.lowest <= e.number).unwrap_or(model.entries.len());
        let parts = (from..=model.entries.len()).map(|len| {
            let next = model.entries.get(len).map(|entry| entry.number);
            let mut part = model.clone();
            if let Some(number) = next {
                part.cut_off(number);
            }
            part
        });
        let Some(fitting) = std::iter::once(self.acked.clone()).chain(parts).find(fits) else {
            panic!("{about}: {writer:?} {found:?} is neither {:?} nor {:?}", self.acked, self.model);
        };
        assert_eq!(writer.state().membership, fitting.membership(), "{about}");
        let votes = [self.acked.vote, self.model.vote];
        assert!(votes.contains(&writer.vote()), "{about}: {:?}", writer.vote());
        let committed = writer.committed_entry();
        assert!(committed.is_none_or(|c| fitting.committed.is_some_and(|f| c.number <= f.number)), "{about}");
        self.purged = writer.purged_entry();
        let vote = writer.vote();
        // what was committed may have to be learned again
        self.model = Model { vote, next_index: writer.next_index().0, ..fitting };
        self.model.committed = self.model.committed.or(committed);
        self.model.lowest = self.model.next_number;
        self.acked = self.model.clone();
    }
}

trait MaxByNumber {
    fn max_by_number(self, other: Last) -> Option<Last>;
}

impl MaxByNumber for Option<Last> {
    fn max_by_number(self, other: Last) -> Option<Last> {
        Some(self.filter(|this| this.number > other.number).unwrap_or(other))
    }
}

fn read(view: &SharedView, purged: Option<Last>) -> Vec<Kept> {
    let entries = view.load().entries(0, u64::MAX, usize::MAX).unwrap();
    let alive = entries.into_iter().filter(|entry| purged.is_none_or(|purged| entry.number > purged.number));
    let payloads = |entry: &StoredEntry| match entry.kind {
        FrameKind::Entry => entry.frames.iter().map(|frame| frame.payload.to_vec()).collect(),
        _ => vec![],
    };
    alive
        .map(|entry| Kept {
            number: entry.number,
            term: entry.leader.term,
            kind: entry.kind,
            payloads: payloads(&entry),
            index: entry.index(),
        })
        .collect()
}

#[test]
fn any_history_survives_any_crash() {
    (0..400).for_each(|seed| survives(History::new(seed, replicated_config()), seed));
}

/// And no two frames of it were sealed under one key and nonce, whatever was torn, cut off or written again.
#[test]
fn any_history_of_an_encrypted_log_survives_any_crash() {
    for seed in 0..150 {
        let keys = Some(strandline_keys::testing::store_keys(1));
        survives(History::new(seed, LogConfig { keys, ..replicated_config() }), seed);
    }
}

fn survives(mut history: History, seed: u64) {
    let is_encrypted = history.rig.config.keys.is_some();
    let mut nonces = super::tagged::Nonces::default();
    for life in 0..6 {
        let about = format!("seed {seed}, life {life}");
        let opened = history.rig.open();
        history.check(&opened, &about);
        let mut writer = opened.writer.unwrap();
        if life > 0 && history.dice.one_in(3) {
            let writes_until_failure = Some(history.dice.below(30) as _);
            history.rig.disk.set_faults(Faults { writes_until_failure, ..Faults::default() });
        }
        history.live(&mut writer);
        history.rig.disk.set_faults(Faults::default());
        assert_eq!(history.rig.disk.violations(), Vec::<String>::new(), "{about}");
        drop(writer);
        history.rig.io = InlineIo::new(count_fatal(&history.rig.fatal));
        if is_encrypted {
            nonces.look(&history.rig.disk, &about);
        }
        if history.dice.one_in(4) {
            // only the process stops
            continue;
        }
        history.rig.disk.crash(&mut history.dice);
    }
}

#[test]
fn the_log_of_a_node_alone_opens_as_the_log_of_a_group_of_one() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let alone: Vec<_> = (0..5u8).map(|i| rig.push(&mut writer, &[i; 100]).index).collect();
    rig.commit(&mut writer);
    drop(writer);
    rig.config.commit_on_sync = false;
    let opened = rig.open();
    let mut writer = opened.writer.unwrap();
    assert!(!writer.has_pending(), "nothing is written by opening it");
    let entries = read(&opened.view, None);
    assert_eq!(entries.iter().map(|e| e.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(entries.iter().map(|e| e.kind as u8).collect::<Vec<_>>(), [2, 4, 5, 5, 5, 5, 5]);
    assert_eq!(entries.iter().skip(2).map(|e| e.index).collect::<Vec<_>>(), alone);
    assert_eq!(writer.vote(), Vote { leader: LeaderId { term: 1, node: 1 }, committed: true });
    assert_eq!(writer.state().membership, Membership::one(1));
    // what the next members get goes on behind it, two payloads in one entry
    let leader = LeaderId { term: 2, node: 1 };
    let frame = Entry { leader, schema: 1, count: 1, parts: &[b"x"] };
    writer.push_entry(7, leader, Content::Payloads(&[(frame, rig.now), (frame, rig.now)]), rig.now).unwrap();
    assert_eq!((writer.next_number(), writer.last_pushed()), (8, LogIndex(8)));
    assert!(rig.commit(&mut writer));
    // and a node alone opens that
    drop(writer);
    rig.config.commit_on_sync = true;
    let opened = rig.open();
    assert_eq!(opened.recovered.last_index(), LogIndex(8));
    let mut writer = opened.writer.unwrap();
    rig.push(&mut writer, b"alone again");
    assert!(rig.commit(&mut writer));
    assert_eq!(writer.next_number(), 9);
    drop(writer);
    assert_eq!(rig.open().writer.unwrap().next_number(), 9);
}

#[test]
fn positions_that_were_given_up_are_seen() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"before");
    rig.commit(&mut writer);
    writer.seal();
    rig.push(&mut writer, b"in another segment");
    rig.commit(&mut writer);
    assert!(writer.view().load().is_contiguous());
    drop(writer);
    rig.begin_above = LogIndex(40);
    let mut writer = rig.open().writer.unwrap();
    rig.push(&mut writer, b"behind a gap");
    rig.commit(&mut writer);
    assert!(!writer.view().load().is_contiguous());
}

#[test]
fn a_file_that_was_cut_is_no_torn_end() {
    let mut rig = Rig::new(replicated_config());
    let mut writer = rig.open().writer.unwrap();
    let leader = LeaderId { term: 1, node: 1 };
    for number in 0..5 {
        writer.push_entry(number, leader, Content::Blank, rig.now).unwrap();
        rig.commit(&mut writer);
    }
    let end = writer.open_bytes().0;
    drop(writer);
    let path = segment_paths(&rig.disk).pop().unwrap();
    // a crash of the process is none
    assert_eq!(rig.open().recovered.corrupt, []);
    let bytes = rig.disk.contents(&path).unwrap();
    rig.disk.put(&path, &bytes[..usize::try_from(end).unwrap() - 4096]);
    let opened = rig.open();
    assert!(opened.writer.is_none(), "it must not vote");
    assert!(opened.recovered.corrupt[0].what.contains("was cut"), "{:?}", opened.recovered.corrupt);
}

/// Bytes of blocks that the disk has given.
fn used(rig: &Rig) -> u64 {
    let space = rig.disk.space(&dir()).unwrap();
    space.total_bytes - space.free_bytes
}

/// Three entries, of which the third begins a segment and finds room for this many blocks; then a power cut. Whether what begins
/// the segment was written and only the proof behind it waited.
fn waits_for_room(config: &LogConfig, blocks: u64, seed: u64) -> bool {
    let mut rig = Rig::new(config.clone());
    let mut writer = rig.open().writer.unwrap();
    let leader = LeaderId { term: 1, node: 1 };
    let bytes = [7; 20 << 10];
    let frame = Entry { leader, schema: 1, count: 1, parts: &[&bytes] };
    let block = crate::frame::BLOCK_BYTES as u64;
    for number in 0..3 {
        if number == 2 {
            rig.disk.set_capacity(Some(used(&rig) + blocks * block));
        }
        writer.push_entry(number, leader, Content::Payloads(&[(frame, rig.now)]), rig.now).unwrap();
        assert_eq!(rig.commit(&mut writer), number < 2, "{number}");
    }
    assert_eq!(rig.io.retry_stalled(), 1, "what begins the next segment waits for room");
    rig.io.background(100);
    let only_proof = blocks > 0 && used(&rig) == rig.disk.space(&dir()).unwrap().total_bytes;
    drop(writer);
    rig.io = InlineIo::new(count_fatal(&rig.fatal));
    rig.disk.crash(&mut Dice::new(seed));
    let about = format!("fsync {}, checksum {}, {blocks} blocks, seed {seed}", config.fsync, config.checksum);
    assert_eq!(rig.open().recovered.corrupt, [], "{about}");
    only_proof
}

#[test]
fn a_segment_that_ended_keeps_its_size_while_the_next_one_waits_for_room() {
    for seed in 0..20 {
        for blocks in 0..6 {
            for fsync in [true, false] {
                waits_for_room(&LogConfig { fsync, ..replicated_config() }, blocks, seed);
            }
        }
    }
}

#[test]
fn a_segment_that_ended_keeps_its_size_while_the_proof_of_the_next_one_waits_for_room() {
    for seed in 0..20 {
        for fsync in [true, false] {
            let config = LogConfig { fsync, checksum: false, ..replicated_config() };
            assert!(waits_for_room(&config, 6, seed), "the group is to be as long as six blocks");
        }
    }
}

#[test]
fn a_vote_that_was_acknowledged_is_there_after_a_crash() {
    for seed in 0..40 {
        let mut rig = Rig::new(replicated_config());
        let mut dice = Dice::new(seed);
        let mut writer = rig.open().writer.unwrap();
        let vote = |term| Vote { leader: LeaderId { term, node: 2 }, committed: false };
        for term in 1..=1 + dice.below(5) {
            writer.push_vote(vote(term), rig.now).unwrap();
            assert!(rig.commit(&mut writer));
        }
        let given = writer.vote();
        drop(writer);
        rig.disk.crash(&mut dice);
        assert_eq!(rig.open().writer.unwrap().vote(), given, "seed {seed}");
    }
}
