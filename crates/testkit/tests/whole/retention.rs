//! Retention of a whole store against a model of files: what goes, what every read shows of it, what comes back, what an append
//! is told about it; over restarts, kills, trims, merges, and with tiers left out of reads.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, follow, request};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_durable::CommitError;
use strandline_engine::append::{Answer, AppendError};
use strandline_engine::compact::{self, CompactError, NoSteps, Progress, Trigger};
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::retention::{self, Moved};
use strandline_event::{BatchUnit, EventId, LogKey, Micros, Position, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

const DAY_US: i64 = 24 * 3600 * 1_000_000;
const STREAMS: [&str; 3] = ["a", "b", "c"];
const PARTITIONED: &str = "partition.by = 'dt', partition.dt.expr = 'DATE(occurred_at)', retention.enabled = true, \
                           retention.durable_days = 20, id.command_id.unique_scope = 'stream'";

fn key() -> LogKey {
    LogKey::single("T")
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize, Vec<i64>),
    Compact,
    Merge,
    Retain,
    Restore,
    RestoreDay(usize),
    Days(i64),
    Sweep,
    Trim,
    Evict,
    Restart,
    Kill,
    Replay(usize),
    Retry(usize),
    SameId(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..STREAMS.len(), prop::collection::vec(0_i64..40, 1..4)).prop_map(|(s, days)| Op::Append(s, days)),
        3 => Just(Op::Compact),
        1 => Just(Op::Merge),
        3 => Just(Op::Retain),
        1 => Just(Op::Restore),
        1 => any::<usize>().prop_map(Op::RestoreDay),
        1 => (0_i64..6).prop_map(Op::Days),
        1 => Just(Op::Sweep),
        1 => Just(Op::Trim),
        1 => Just(Op::Evict),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
        1 => any::<usize>().prop_map(Op::Replay),
        1 => any::<usize>().prop_map(Op::Retry),
        1 => any::<usize>().prop_map(Op::SameId),
    ]
}

/// Where an event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Log,
    File(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum File {
    Live,
    Buried(Micros),
    Gone,
}

struct Known {
    stream: usize,
    seq: u64,
    event_id: EventId,
    event: Event,
    at: At,
}

struct Rig {
    real: LocalStore,
    events: Vec<Known>,
    /// State, day and newest moment of each file that was ever written.
    files: Vec<(File, i64, i64)>,
    appends: usize,
    /// Reads leave no tier out that the rest of the store needs.
    whole: bool,
    /// Files go with the commit.
    hard: bool,
}

impl Rig {
    fn new(read_tiers: &str, hard: bool) -> Self {
        let mode = if hard { "hard" } else { "tombstone" };
        let tiers = format!(
            "{TIERS}, wal.retention_hours = 1, {PARTITIONED}, read.tiers = {read_tiers}, retention.delete_mode = '{mode}'"
        );
        let real = LocalStore::on_memory(declared("/durable", &tiers)).unwrap();
        let whole = read_tiers.contains("durable") && read_tiers.contains("wal");
        Self { real, events: vec![], files: vec![], appends: 0, whole, hard }
    }

    fn append(&mut self, stream: usize, days: &[i64]) {
        let now = self.real.time.advance_us(17);
        self.appends += 1;
        let command_id = Some(format!("c{}", self.appends));
        let event = |day: &i64| Event {
            stream_id: STREAMS[stream].to_owned(),
            event_type: "E".to_owned(),
            data: self.appends.to_string(),
            occurred_at: Some(Micros(now.0 - day * DAY_US)),
            command_id: command_id.clone(),
            ..Event::default()
        };
        let events: Vec<Event> = days.iter().map(event).collect();
        let Answer::Done(done) = self.real.append(&request("T", BatchUnit::Append, events.clone())) else {
            panic!("an append is taken")
        };
        for (row, event) in done.stamped.unwrap().iter().zip(events) {
            let (seq, event_id) = (row.seq.0, row.event_id);
            self.events.push(Known { stream, seq, event_id, event, at: At::Log });
        }
    }

    fn compact(&mut self) {
        if self.events.iter().all(|e| e.at != At::Log) {
            return;
        }
        self.real.compact(&key()).unwrap();
        let mut by_day: BTreeMap<i64, usize> = BTreeMap::new();
        for e in self.events.iter_mut().filter(|e| e.at == At::Log) {
            let at = e.event.occurred_at.unwrap().0;
            let day = at.div_euclid(DAY_US);
            let files = &mut self.files;
            let file = *by_day.entry(day).or_insert_with(|| {
                files.push((File::Live, day, at));
                files.len() - 1
            });
            self.files[file].2 = self.files[file].2.max(at);
            e.at = At::File(file);
        }
    }

    /// The live files of a day become one.
    fn merge(&mut self) {
        self.real.merge(Trigger::Hand).unwrap();
        let mut by_day: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (n, (_, day, _)) in self.files.iter().enumerate().filter(|(_, file)| file.0 == File::Live) {
            by_day.entry(*day).or_default().push(n);
        }
        for (day, inputs) in by_day.into_iter().filter(|(_, inputs)| inputs.len() > 1) {
            let newest = inputs.iter().map(|n| self.files[*n].2).max().unwrap();
            self.files.push((File::Live, day, newest));
            let merged = self.files.len() - 1;
            inputs.iter().for_each(|n| self.files[*n].0 = File::Gone);
            let into = |e: &&mut Known| matches!(e.at, At::File(n) if inputs.contains(&n));
            self.events.iter_mut().filter(into).for_each(|e| e.at = At::File(merged));
        }
        let live = self.files.iter().filter(|file| file.0 == File::Live).count();
        assert_eq!(self.real.store().durable().pin().files().len(), live);
    }

    fn retain(&mut self) {
        let now = self.real.time.now();
        let moved = self.real.retain().unwrap();
        let before = now.0 - 20 * DAY_US;
        let mut went = 0;
        for (state, _, newest) in self.files.iter_mut().filter(|f| f.0 == File::Live && f.2 < before) {
            assert!(*newest < before);
            *state = if self.hard { File::Gone } else { File::Buried(now) };
            went += 1;
        }
        assert_eq!(moved.files, went);
    }

    fn restore(&mut self, day: Option<i64>) {
        let text = |day: i64| Micros(day * DAY_US).to_string()[..10].to_owned();
        let partition: Vec<_> = day.iter().map(|day| ("dt".to_owned(), Some(text(*day)))).collect();
        let moved = self.real.restore(&partition).unwrap();
        let mut back = 0;
        for (state, its_day, _) in &mut self.files {
            if matches!(state, File::Buried(_)) && day.is_none_or(|day| day == *its_day) {
                *state = File::Live;
                back += 1;
            }
        }
        assert_eq!(moved.files, back);
    }

    /// An opening sweeps too.
    fn expire(&mut self) {
        let now = self.real.time.now();
        for (state, ..) in &mut self.files {
            if let File::Buried(at) = state
                && now.0 - at.0 >= 7 * DAY_US
            {
                *state = File::Gone;
            }
        }
    }

    fn is_live(&self, e: &Known) -> bool {
        match e.at {
            At::Log => true,
            At::File(file) => self.files[file].0 == File::Live,
        }
    }

    /// A client sends an event again with its seq, with its command, or another one with its id.
    fn replay(&mut self, n: usize, how: &Op) {
        let Some(known) = self.events.get(n % self.events.len().max(1)) else { return };
        let (live, seq) = (self.is_live(known), known.seq);
        let gone = matches!(known.at, At::File(file) if self.files[file].0 == File::Gone);
        let mut event = known.event.clone();
        match how {
            Op::Replay(_) => {
                event.seq = Some(Seq(seq));
                event.command_id = None;
                event.data = if live { "other".to_owned() } else { event.data };
                let answer = self.real.append(&request("T", BatchUnit::Append, vec![event]));
                let Answer::Refused(refusal) = answer else { panic!("a seq is never given twice: {answer:?}") };
                assert!(matches!(refusal.error, AppendError::SeqConflict { given, .. } if given.0 == seq));
            }
            Op::Retry(_) => {
                let command = &known.event.command_id;
                let of = |e: &&Known| e.event.command_id == *command;
                let events: Vec<Event> = self.events.iter().filter(of).map(|e| e.event.clone()).collect();
                let first = self.events.iter().filter(of).map(|e| e.seq).min().unwrap();
                let count = events.len();
                let answer = self.real.append(&request("T", BatchUnit::Append, events));
                let Answer::Done(done) = answer else { panic!("a retry gets its first answer: {answer:?}") };
                assert!(done.duplicate && done.duplicates[0].first_seq.0 == first);
                let store = self.real.store();
                let rows = store.rows_of_append("T", STREAMS[known.stream], Seq(first), count as u64).unwrap();
                assert!(rows.rows().all(|row| self.live_seqs(known.stream).contains(&row.seq.0)));
            }
            _ => {
                event.event_id = Some(known.event_id);
                event.command_id = None;
                event.data = "taken".to_owned();
                let mut request = request("T", BatchUnit::Append, vec![event]);
                request.inspect = true;
                let refused = matches!(self.real.append(&request), Answer::Refused(_));
                assert_eq!(refused, !gone, "an id is taken as long as its event can be read again");
            }
        }
    }

    fn live_seqs(&self, stream: usize) -> BTreeSet<u64> {
        self.events.iter().filter(|e| e.stream == stream && self.is_live(e)).map(|e| e.seq).collect()
    }

    fn check(&self) {
        let store = self.real.store();
        for (stream, name) in STREAMS.iter().enumerate() {
            let live = self.live_seqs(stream);
            let head = self.events.iter().filter(|e| e.stream == stream).map(|e| e.seq).max().unwrap_or(0);
            for order in [Order::Asc, Order::Desc] {
                self.check_stream((stream, name), &live, head, order);
            }
            let found = store.stream_head("T", name).unwrap();
            assert_eq!(found.map_or(0, |h| h.last_seq.0), head);
            if let Some(found) = found {
                assert_eq!(found.first_seq.0, live.first().copied().unwrap_or(head + 1));
            }
        }
        let of = |e: &Known| (e.stream, e.seq);
        let live: BTreeSet<_> = self.events.iter().filter(|e| self.is_live(e)).map(of).collect();
        let mut scanned = Vec::new();
        for batch in store.scan(&Filter::default()).unwrap() {
            scanned.extend(batch.unwrap().rows().map(|e| self.find(e.event_id)));
        }
        let count = scanned.len();
        let scanned: BTreeSet<_> = scanned.into_iter().collect();
        assert_eq!(scanned.len(), count, "nothing twice");
        let followed = follow(&self.real, Position::START, 3).0.len();
        if self.whole {
            assert_eq!((&scanned, followed), (&live, live.len()));
        }
        assert!(scanned.is_subset(&live) && followed <= live.len());
        for e in &self.events {
            let found = store.event_by_id(e.event_id).unwrap();
            assert!(found.is_none() || self.is_live(e), "no tier shows what is gone");
            assert!(found.is_some() || !self.whole || !self.is_live(e));
        }
        let waiting = self.events.iter().filter(|e| e.at == At::Log).count() as u64;
        assert_eq!(strandline_engine::status::tiers(store).wal.unwrap().events, waiting);
        let status = retention::status(store, self.real.time.now());
        let buried = self.files.iter().filter(|f| matches!(f.0, File::Buried(_))).count();
        assert_eq!(status.tombstones.len(), buried);
    }

    fn find(&self, id: EventId) -> (usize, u64) {
        let known = self.events.iter().find(|e| e.event_id == id).unwrap();
        (known.stream, known.seq)
    }

    /// Page by page: rows and retired ranges are the stream, wherever the pages end.
    fn check_stream(&self, (_, name): (usize, &str), live: &BTreeSet<u64>, head: u64, order: Order) {
        let (mut rows, mut retired) = (Vec::new(), BTreeSet::new());
        let (mut from, mut to) = (None, None);
        loop {
            let (stream_type, stream_id, limit) = ("T", name, 2);
            let read = StreamRead { stream_type, stream_id, from_seq: from, to_seq: to, limit, order: Some(order) };
            let page = self.real.store().read_stream(&read).unwrap();
            assert_eq!(page.head.0, head);
            assert!(page.verdict.missing.is_empty() && (page.verdict.contiguous || !self.whole), "{page:?}");
            rows.extend(page.rows().map(|e| e.seq.0));
            retired.extend(page.verdict.retired.iter().flat_map(|(first, last)| first.0..=last.0));
            if !page.full {
                break;
            }
            assert!(!page.is_empty(), "a full page holds something: {page:?}");
            match order {
                Order::Asc => from = Some(page.verdict.to_seq.next()),
                Order::Desc if page.verdict.from_seq <= Seq::FIRST => break,
                Order::Desc => to = Some(Seq(page.verdict.from_seq.0 - 1)),
            }
        }
        if order == Order::Desc {
            rows.reverse();
        }
        assert!(rows.is_sorted_by(|a, b| a < b));
        let seen: BTreeSet<u64> = rows.into_iter().collect();
        let gone: BTreeSet<u64> = (1..=head).filter(|seq| !live.contains(seq)).collect();
        if self.whole {
            assert_eq!((&seen, &retired), (live, &gone), "{name}");
        }
        assert!(seen.is_subset(live) && retired.is_subset(&gone));
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Append(stream, days) => self.append(stream, &days),
            Op::Compact => self.compact(),
            Op::Merge => self.merge(),
            Op::Retain => self.retain(),
            Op::Restore => self.restore(None),
            Op::RestoreDay(n) if !self.files.is_empty() => self.restore(Some(self.files[n % self.files.len()].1)),
            Op::Days(days) => drop(self.real.time.advance_us(days * DAY_US)),
            Op::Sweep => {
                self.real.store().sweep(self.real.time.now()).unwrap();
                self.expire();
            }
            Op::Trim => drop(self.real.trim(&key())),
            Op::Evict => self.real.store().tick(self.real.time.now()),
            Op::Restart => {
                self.real.restart().unwrap();
                self.expire();
            }
            Op::Kill => {
                self.real.kill().unwrap();
                self.expire();
            }
            Op::Replay(n) | Op::Retry(n) | Op::SameId(n) => self.replay(n, &op),
            Op::RestoreDay(_) => {}
        }
    }
}

/// Seqs 1 to 4 of one stream: two files of which the older one can go, and two events in the log.
fn old_and_new(read_tiers: &str, hard: bool) -> Rig {
    let mut rig = Rig::new(read_tiers, hard);
    rig.append(0, &[30]);
    rig.append(0, &[5]);
    rig.compact();
    rig.append(0, &[0, 0]);
    rig
}

#[test]
fn memory_holds_more_rows_than_are_left() {
    for tiers in ["('inmemory', 'wal', 'durable')", "('inmemory')"] {
        let mut rig = Rig::new(tiers, false);
        rig.append(0, &[30, 30, 30, 30, 30]);
        rig.compact();
        rig.append(0, &[0, 0]);
        rig.retain();
        rig.check();
        let read = StreamRead {
            stream_type: "T",
            stream_id: "a",
            from_seq: None,
            to_seq: None,
            limit: 1,
            order: Some(Order::Asc),
        };
        let page = rig.real.store().read_stream(&read).unwrap();
        assert_eq!(page.rows().map(|e| e.seq.0).collect::<Vec<_>>(), [6], "{tiers}");
        assert_eq!(page.verdict.retired, [(Seq(1), Seq(5))]);
    }
}

#[test]
fn what_was_redacted_under_a_tombstone_comes_back_without_its_text() {
    let settings = format!("{TIERS}, {PARTITIONED}, strict.immutable_events = false");
    let mut store = LocalStore::on_memory(declared("/durable", &settings)).unwrap();
    let now = store.time.now().0;
    let event = |days: i64| Event {
        stream_id: "a".to_owned(),
        event_type: "E".to_owned(),
        data: "\"said\"".to_owned(),
        occurred_at: Some(Micros(now - days * DAY_US)),
        ..Event::default()
    };
    store.append(&request("T", BatchUnit::Rows, vec![event(30), event(5)]));
    store.compact(&key()).unwrap();
    let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
    let read = StreamRead { stream_type: "T", stream_id: "a", from_seq, to_seq, limit: 10, order };
    let id = store.store().read_stream(&read).unwrap().rows().next().unwrap().event_id;
    assert_eq!(store.retain().unwrap().files, 1);
    assert!(store.store().event_by_id(id).unwrap().is_none(), "no read shows it");
    assert_eq!(store.redact(id).unwrap().events.len(), 1);
    store.restart().unwrap();
    assert_eq!(store.restore(&[]).unwrap().files, 1);
    let page = store.store().read_stream(&read).unwrap();
    let shown: Vec<(u64, bool)> = page.rows().map(|e| (e.seq.0, e.says_nothing())).collect();
    assert_eq!(shown, [(1, true), (2, false)]);
    drop(page);
    let held = |store: &LocalStore| {
        let scan = store.store().durable().pin().scan(&Filter::default());
        scan.flat_map(|batch| batch.unwrap().iter().map(|e| e.says_nothing()).collect::<Vec<_>>())
            .filter(|of| !of)
            .count()
    };
    assert_eq!(held(&store), 2, "the file came back as it was");
    assert_eq!(store.merge(Trigger::Redaction).unwrap(), 1);
    assert_eq!((held(&store), store.merge(Trigger::Redaction).unwrap()), (1, 0), "a merge has rewritten it, once");
    // nobody knows any more what it said: a replay of it is known if all else is equal
    let again = |data: &str, event_type: &str| {
        let (data, event_type) = (data.to_owned(), event_type.to_owned());
        request("T", BatchUnit::Rows, vec![Event { seq: Some(Seq(1)), data, event_type, ..event(30) }])
    };
    let Answer::Done(known) = store.append(&again("\"said\"", "E")) else { panic!("it is known") };
    assert_eq!(known.duplicate_rows, 1);
    assert!(matches!(store.append(&again("\"said\"", "F")), Answer::Refused(_)));
}

#[test]
fn a_reader_between_two_pages_sees_nothing_that_went_meanwhile() {
    let mut rig = Rig::new("('inmemory', 'wal', 'durable')", false);
    for _ in 0..4 {
        rig.append(0, &[30]);
    }
    rig.append(0, &[0]);
    rig.compact();
    let (first, next, at_end) = crate::common::page(&rig.real, Position::START, 2);
    assert_eq!((first, at_end), (vec![1, 2], false));
    rig.retain();
    assert_eq!(follow(&rig.real, next, 2).0, [5], "the cursor that was kept for it is forgotten");
    rig.restore(None);
    assert_eq!(follow(&rig.real, next, 2).0, [3, 4, 5]);
}

#[test]
fn a_merge_and_retention_find_out_about_each_other() {
    for hard in [false, true] {
        // two files of one day, and one that stays
        let mut rig = old_and_new("('inmemory', 'wal', 'durable')", hard);
        rig.append(1, &[30]);
        rig.compact();
        let (store, now) = (Arc::clone(rig.real.store()), rig.real.time.now());
        let merge = |job_id| {
            let plan = compact::plan_merges(&store, None, Trigger::Hand, now).unwrap().remove(0);
            compact::run_merge(&store, &plan, job_id, now, &Progress::default(), &NoSteps).unwrap().inputs
        };
        // planned before retention: its inputs are gone, and nothing of them comes back
        let late = compact::plan_merges(&store, None, Trigger::Hand, now).unwrap().remove(0);
        // between the plan of retention and its commit its files become one: it plans anew, and takes that one
        let merged = Cell::new(0);
        let between = || {
            if merged.get() == 0 {
                merged.set(merge(4711));
            }
            ControlFlow::Continue(())
        };
        let mut moved = Moved::default();
        retention::run(&store, 77, now, &between, &mut moved).unwrap();
        assert_eq!((merged.get(), moved.files, moved.events), (2, 1, 2));
        let error = compact::run_merge(&store, &late, 4712, now, &Progress::default(), &NoSteps).err().unwrap();
        assert!(matches!(error, CompactError::Commit(CommitError::NotLive { .. })), "{error}");
        let of_day = |file: &(File, i64, i64)| file.1 == rig.files[0].1;
        let gone = if hard { File::Gone } else { File::Buried(now) };
        let old: Vec<usize> = (0..rig.files.len()).filter(|n| of_day(&rig.files[*n])).collect();
        assert_eq!(old.len(), 2);
        rig.files[old[0]].0 = gone;
        rig.files[old[1]].0 = File::Gone;
        rig.events.iter_mut().filter(|e| e.at == At::File(old[1])).for_each(|e| e.at = At::File(old[0]));
        drop((store, late));
        rig.check();
        rig.restore(None);
        rig.check();
        rig.real.kill().unwrap();
        rig.check();
    }
}

#[test]
fn hard_deletion_waits_for_no_owner_of_a_log() {
    let mut rig = old_and_new("('inmemory', 'wal', 'durable')", true);
    let files = |rig: &Rig| {
        let objects = &rig.real.objects().unwrap().0;
        objects.list("").unwrap().iter().filter(|o| o.path.ends_with(".parquet")).count()
    };
    assert_eq!(files(&rig), 2);
    rig.retain();
    assert_eq!(files(&rig), 1, "who owns the log keeps records of an older version, and no file");
    rig.check();
    rig.append(0, &[1]);
    rig.compact();
    rig.real.restart().unwrap();
    rig.check();
}

#[test]
fn a_broken_run_of_retired_ranges_refuses_writes_and_is_named() {
    for tiers in ["('inmemory', 'wal', 'durable')", "('wal')"] {
        let mut rig = old_and_new(tiers, false);
        rig.retain();
        let run = rig.real.store().durable().pin().log(&key()).unwrap().retired[0].path.clone();
        rig.real.objects().unwrap().0.delete(&run).unwrap();
        rig.real.restart().unwrap();
        assert!(rig.real.report.corrupt.iter().any(|line| line.contains(&run)), "{:?}", rig.real.report);
        let event =
            Event { stream_id: "a".to_owned(), event_type: "E".to_owned(), data: "1".to_owned(), ..Event::default() };
        let answer = rig.real.append(&request("T", BatchUnit::Append, vec![event]));
        assert!(matches!(&answer, Answer::Refused(refusal) if refusal.error.to_string().contains(&run)), "{answer:?}");
        let read = |from| StreamRead {
            stream_type: "T",
            stream_id: "a",
            from_seq: Some(Seq(from)),
            to_seq: None,
            limit: 10,
            order: Some(Order::Asc),
        };
        let store = rig.real.store();
        let failed = store.read_stream(&read(1)).unwrap_err().to_string();
        assert!(failed.contains(&run), "the run is named, not a hole: {failed}");
        let files = tiers.contains("durable");
        let rest = store.read_stream(&read(2));
        assert!(rest.is_ok_and(|page| page.len() == 3 && page.warnings[0].contains(&run)) == files, "{tiers}");
        assert_eq!(store.scan(&Filter::default()).is_ok(), files, "files hold nothing that is retired");
        rig.real.time.advance_us(16 * DAY_US);
        assert!(rig.real.retain().is_err_and(|error| error.to_string().contains(&run)), "the other file is due now");
        assert!(rig.real.restore(&[]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn rows_and_retired_ranges_are_all_that_ever_was(
        tiers in prop::sample::select(vec![
            "('inmemory', 'wal', 'durable')", "('inmemory', 'wal', 'durable')", "('wal', 'durable')", "('durable')",
            "('wal')", "('inmemory')",
        ]),
        hard in any::<bool>(),
        ops in prop::collection::vec(op(), 1..50),
    ) {
        let mut rig = Rig::new(tiers, hard);
        for op in ops {
            rig.run(op);
            rig.check();
        }
        rig.restore(None);
        rig.real.restart().unwrap();
        rig.expire();
        rig.check();
    }
}
