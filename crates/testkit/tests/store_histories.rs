//! Random histories of a whole store against the model: appends of all kinds, retries, conflicts, rollover, compaction in
//! small jobs and stopped jobs, redactions, merges of files and stopped merges, sweeps, trims, eviction, other statements, restarts and kills, and reads
//! of all kinds after each.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use strandline_deql::StoreConfig;
use strandline_engine::append::Answer;
use strandline_engine::compact::{CompactError, JobLimits, NoSteps, Step, StopAt, Trigger};
use strandline_engine::read::{Filter, GlobalRead, Order, StreamRead};
use strandline_engine::store::Grace;
use strandline_event::{LogKey, Position, Seq};
use strandline_testkit::crash_disk::Dice;
use strandline_testkit::r#gen::{Draft, draft, rule_settings, store};
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Model, Stored, Verdict};

#[derive(Clone, Debug)]
enum Op {
    Submit(Box<Draft>),
    Retry(usize),
    UseStoredId(usize, Box<Draft>),
    Seal(bool),
    Compact(bool, u64),
    StopJob(bool, usize),
    Merge(Trigger),
    Redact(usize),
    StopMerge(usize),
    Sweep,
    Trim(bool),
    Evict,
    Replace(usize, usize),
    Restart,
    Kill,
    PowerLoss(u64),
    Time(i64),
    Stream(u64, u64, usize, bool),
    Page(usize, usize),
    ById(usize),
    Scan,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = any::<bool>().prop_flat_map(|u| if u { draft("U").boxed() } else { draft("T").boxed() });
    let other = draft("T");
    let writes = prop_oneof![
        12 => kind.prop_map(|d| Op::Submit(Box::new(d))),
        4 => any::<usize>().prop_map(Op::Retry),
        1 => (any::<usize>(), other).prop_map(|(n, d)| Op::UseStoredId(n, Box::new(d))),
        1 => any::<bool>().prop_map(Op::Seal),
        2 => (any::<bool>(), 1u64..12).prop_map(|(u, n)| Op::Compact(u, n)),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(u, n)| Op::StopJob(u, n)),
        2 => prop_oneof![Just(Trigger::Tick), Just(Trigger::Hand), Just(Trigger::Redaction)].prop_map(Op::Merge),
        1 => any::<usize>().prop_map(Op::Redact),
        1 => any::<usize>().prop_map(Op::StopMerge),
        1 => Just(Op::Sweep),
        1 => any::<bool>().prop_map(Op::Trim),
        1 => Just(Op::Evict),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(n, layout)| Op::Replace(n, layout)),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerLoss),
        2 => prop_oneof![3 => -3i64..2_000, 1 => Just(40_000_000), 1 => Just(7_200_000_000)].prop_map(Op::Time),
    ];
    let reads = prop_oneof![
        4 => (0u64..9, 0u64..9, 0usize..6, any::<bool>()).prop_map(|(a, b, n, d)| Op::Stream(a, b, n, d)),
        3 => (0usize..6, any::<usize>()).prop_map(|(n, f)| Op::Page(n, f)),
        1 => any::<usize>().prop_map(Op::ById),
        1 => Just(Op::Scan),
    ];
    prop_oneof![3 => writes, 1 => reads]
}

fn key(other: bool) -> LogKey {
    LogKey::single(if other { "U" } else { "T" })
}

struct Rig {
    real: LocalStore,
    /// What the statement says besides tiers and layout.
    settings: String,
    log: bool,
    /// The declaration with every tier in reads.
    whole: StoreConfig,
    reads: Reads,
    model: Model,
    sent: Vec<Append>,
    /// A reader of the global order: what it has seen, where it resumes, what it keeps.
    followers: Vec<Follower>,
}

struct Follower {
    filter: Filter,
    after: Position,
    seen: Vec<Position>,
}

/// What `read.tiers` promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reads {
    /// Everything is seen.
    Whole,
    /// What is compacted is seen; a follower waits for the rest.
    Later,
    /// What is in the log or in memory is seen.
    Part,
}

/// The tiers that a store has (log, memory), the tiers that its reads consult, and what these promise.
struct Tiers {
    log: bool,
    hot: bool,
    read: &'static str,
    reads: Reads,
}

const fn tiers(log: bool, hot: bool, read: &'static str, reads: Reads) -> Tiers {
    Tiers { log, hot, read, reads }
}

const TIERS: [Tiers; 12] = [
    tiers(true, true, "('inmemory', 'wal', 'durable')", Reads::Whole),
    tiers(true, true, "('wal', 'durable')", Reads::Whole),
    tiers(true, true, "('durable')", Reads::Later),
    tiers(true, true, "('inmemory', 'durable')", Reads::Later),
    tiers(true, true, "('wal')", Reads::Part),
    tiers(true, true, "('inmemory')", Reads::Part),
    tiers(true, false, "('wal', 'durable')", Reads::Whole),
    tiers(true, false, "('durable')", Reads::Later),
    tiers(false, true, "('inmemory', 'durable')", Reads::Whole),
    tiers(false, true, "('durable')", Reads::Whole),
    tiers(false, true, "('inmemory')", Reads::Part),
    tiers(false, false, "('durable')", Reads::Whole),
];

/// Statements that may take each other's place while the store runs: memory on or off, the tiers of reads, for each promise.
const REPLACEMENTS: [Tiers; 12] = [
    tiers(true, true, "('inmemory', 'wal', 'durable')", Reads::Whole),
    tiers(true, true, "('wal', 'durable')", Reads::Whole),
    tiers(true, false, "('wal', 'durable')", Reads::Whole),
    tiers(true, true, "('durable')", Reads::Later),
    tiers(true, true, "('inmemory', 'durable')", Reads::Later),
    tiers(true, false, "('durable')", Reads::Later),
    tiers(true, true, "('wal')", Reads::Part),
    tiers(true, true, "('inmemory')", Reads::Part),
    tiers(false, true, "('inmemory', 'durable')", Reads::Whole),
    tiers(false, true, "('durable')", Reads::Whole),
    tiers(false, false, "('durable')", Reads::Whole),
    tiers(false, true, "('inmemory')", Reads::Part),
];

/// What memory holds, and when a segment ends.
const BOUNDS: [&str; 3] = [
    "inmemory.ttl_seconds = 30, wal.rollover_mb = 1",
    "inmemory.ttl_seconds = 3600, wal.rollover = ('time'), wal.rollover_mb = 2",
    "inmemory.ttl_seconds = 1, wal.rollover = ('size', 'time'), wal.retention_hours = 0",
];

/// How files are sorted, and how many a merge may read.
const LAYOUTS: [&str; 3] = [
    "compaction.max_open_files = 32",
    "compaction.max_open_files = 3, row_group.sort_order = 'desc', row_group.max_rows = 5",
    "compaction.max_open_files = 6, row_group.sort_by = ('occurred_at', 'event_id')",
];

const STREAMS: [&str; 3] = ["a", "b", "ü/ ~"];

impl Rig {
    fn new(settings: &str, layout: &str, of: &Tiers) -> Self {
        let log = "wal.enabled = true, wal.path = '/wal', wal.retention_hours = 1, wal.rollover_mb = 1";
        let hot = "inmemory.enabled = true, inmemory.ttl_seconds = 30";
        let tiers = format!(
            "{}, {}",
            if of.log { log } else { "wal.enabled = false" },
            if of.hot { hot } else { "inmemory.enabled = false" }
        );
        let (read_tiers, reads) = (of.read, of.reads);
        let whole = store("/durable", &format!("{tiers}, {settings}, {layout}"));
        let config = store("/durable", &format!("{tiers}, {settings}, {layout}, read.tiers = {read_tiers}"));
        let filters = [
            Filter::default(),
            Filter { stream_type: Some("U".to_owned()), ..Filter::default() },
            Filter { event_type: Some("Closed".to_owned()), tenant_id: Some("UA".to_owned()), ..Filter::default() },
        ];
        let grace = Grace { files_seconds: 30, ..Grace::default() };
        let follower = |filter| Follower { filter, after: Position::START, seen: vec![] };
        let mut real = LocalStore::on_memory(config.clone()).unwrap();
        real.grace = grace;
        real.restart().unwrap();
        Self {
            model: Model::new(config),
            real,
            settings: settings.to_owned(),
            log: of.log,
            whole,
            reads,
            sent: vec![],
            followers: filters.into_iter().map(follower).collect(),
        }
    }

    fn submit(&mut self, append: &Append) {
        let expected = self.model.judge(append);
        let answer = self.real.append(append);
        let context = || format!("\nsent: {append:?}\nanswer: {answer:?}\nexpected: {expected:?}");
        match (&answer, &expected) {
            (Answer::Refused(real), Verdict::Refused(kind, row)) => {
                assert_eq!((real.error.kind(), real.row), (*kind, *row), "{}", context());
            }
            (Answer::Done(real), Verdict::Done { stored, duplicates, rejected, chunk_known }) => {
                let rows: Vec<(u32, Seq)> = real
                    .stamped
                    .iter()
                    .flat_map(|b| (0..b.rows()).map(|row| (real.rows.request_row(row) as u32, b.seq(row))))
                    .collect();
                assert_eq!(&rows, stored, "{}", context());
                let known: Vec<_> = real.duplicates.iter().map(|d| (d.row, d.first_seq, d.count)).collect();
                assert_eq!((&known, real.rejected.len()), (duplicates, rejected.len()), "{}", context());
                assert_eq!(real.chunk_known, *chunk_known, "{}", context());
                if !append.inspect {
                    let places = self.model.store(append, &expected);
                    if let Some(stamped) = &real.stamped {
                        self.model.learn(places, stamped.iter());
                    }
                }
            }
            _ => panic!("{}", context()),
        }
    }

    fn sorted(&self, filter: &Filter) -> Vec<&Stored> {
        let of = |s: &Stored| (s.ingested_at.unwrap(), s.event_id.unwrap());
        let kept = |s: &&Stored| {
            filter.stream_type.as_ref().is_none_or(|t| *t == s.stream_type)
                && filter.event_type.as_ref().is_none_or(|t| *t == s.event.event_type)
                && filter.tenant_id.as_ref().is_none_or(|t| Some(t) == s.event.tenant_id.as_ref())
        };
        let mut all: Vec<&Stored> = self.model.events.iter().filter(kept).collect();
        all.sort_by_key(|s| of(s));
        all
    }

    fn read_stream(&self, stream_type: &str, stream_id: &str, range: (u64, u64), limit: usize, order: Order) {
        let (from, to) = (Some(Seq(range.0)).filter(|s| s.0 > 0), Some(Seq(range.1)).filter(|s| s.0 > 0));
        let read = StreamRead { stream_type, stream_id, from_seq: from, to_seq: to, limit, order: Some(order) };
        let page = self.real.store().read_stream(&read).unwrap();
        assert!(page.verdict.missing.is_empty());
        if self.reads != Reads::Whole {
            // whatever is seen is of the stream, in its order
            let seqs: Vec<Seq> = page.rows().map(|e| e.seq).collect();
            assert!(seqs.is_sorted_by(|a, b| if order == Order::Asc { a < b } else { a > b }), "{seqs:?}");
            let stored: Vec<&Stored> = self.model.stream(stream_type, stream_id).collect();
            assert!(page.rows().all(|event| stored.iter().any(|s| s.is(&event))));
            return;
        }
        let inside = |s: &&Stored| from.is_none_or(|f| s.seq >= f) && to.is_none_or(|t| s.seq <= t);
        let mut expected: Vec<&Stored> = self.model.stream(stream_type, stream_id).filter(inside).collect();
        if order == Order::Desc {
            expected.reverse();
        }
        expected.truncate(limit);
        assert_eq!(page.len(), expected.len(), "{read:?} {page:?}");
        for (real, expected) in page.rows().zip(&expected) {
            assert!(expected.is(&real), "{expected:?} {real:?}");
        }
        assert_eq!(page.head, self.model.head(stream_type, stream_id));
    }

    fn page(&mut self, which: usize, limit: usize) -> bool {
        let n = self.followers.len();
        let follower = &mut self.followers[which % n];
        let read = GlobalRead { after: follower.after, limit, filter: follower.filter.clone() };
        let page = self.real.store().read_global(&read, self.real.time.now()).unwrap();
        assert!(page.next >= follower.after);
        follower.seen.extend(page.rows().map(|e| e.position()));
        follower.after = page.next;
        page.at_end
    }

    /// Nothing missed, nothing twice, whatever happened between the pages.
    fn check_followers(&mut self) {
        for i in 0..self.followers.len() {
            while !self.page(i, 3) {}
            let follower = &self.followers[i];
            let all = self.sorted(&follower.filter);
            let expected: Vec<Position> = all
                .iter()
                .map(|s| Position { ingested_at: s.ingested_at.unwrap(), event_id: s.event_id.unwrap() })
                .collect();
            match self.reads {
                Reads::Whole | Reads::Later => assert_eq!(follower.seen, expected, "{:?}", follower.filter),
                Reads::Part => assert!(follower.seen.is_sorted_by(|a, b| a < b)),
            }
        }
    }

    /// Where files are read without the log, a follower that goes on has seen everything once everything is compacted.
    fn check_late_followers(&mut self) {
        if self.reads == Reads::Later {
            self.compact(false, 1000);
            self.compact(true, 1000);
            self.check_followers();
        }
    }

    /// From here on reads consult every tier.
    fn read_whole(&mut self) {
        if self.reads != Reads::Whole {
            self.real.declare(self.whole.clone());
            self.real.restart().unwrap();
            if self.reads == Reads::Part {
                for follower in &mut self.followers {
                    (follower.after, follower.seen) = (Position::START, vec![]);
                }
            }
            self.reads = Reads::Whole;
        }
    }

    fn check_all(&mut self) {
        for stream_type in ["T", "U"] {
            for stream in STREAMS {
                for order in [Order::Asc, Order::Desc] {
                    self.read_stream(stream_type, stream, (0, 0), usize::MAX, order);
                }
                let head = self.real.store().stream_head(stream_type, stream).unwrap();
                assert_eq!(head.map_or(Seq::ZERO, |h| h.last_seq), self.model.head(stream_type, stream));
            }
        }
        self.scan();
        self.check_followers();
        for stored in &self.model.events {
            let found = self.real.store().event_by_id(stored.event_id.unwrap()).unwrap().unwrap();
            assert!(stored.is(&found.event()) || !found.warnings.is_empty());
        }
    }

    fn scan(&self) {
        let batches: Vec<_> = self.real.store().scan(&Filter::default()).unwrap().map(|b| b.unwrap()).collect();
        let mut seen: Vec<_> = batches
            .iter()
            .flat_map(|b| b.rows().map(|e| (e.ingested_at, e.event_id, e.stream_type.to_owned())))
            .collect();
        seen.sort();
        if self.reads != Reads::Whole {
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
            return;
        }
        let mut expected: Vec<_> = self
            .model
            .events
            .iter()
            .map(|s| (s.ingested_at.unwrap(), s.event_id.unwrap(), s.stream_type.clone()))
            .collect();
        expected.sort();
        assert_eq!(seen, expected);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Submit(draft) => {
                let stream_type = draft.append.stream_type.clone();
                let append = draft.aim(|stream| self.model.head(&stream_type, stream));
                self.sent.push(append.clone());
                self.submit(&append);
            }
            Op::Retry(n) if !self.sent.is_empty() => {
                let append = self.sent[n % self.sent.len()].clone();
                self.submit(&append);
            }
            Op::UseStoredId(n, draft) => {
                let mut append = draft.aim(|stream| self.model.head("T", stream));
                if !self.model.events.is_empty() {
                    append.events[0].event_id = self.model.events[n % self.model.events.len()].event_id;
                }
                self.submit(&append);
            }
            Op::Seal(u) => self.real.seal(&key(u)),
            Op::Compact(u, rows_max) => self.compact(u, rows_max),
            Op::StopJob(u, n) => self.stop_job(u, Step::ALL[n % Step::ALL.len()]),
            Op::Merge(trigger) => drop(self.real.merge(trigger).unwrap()),
            Op::Redact(n) if !self.model.events.is_empty() => {
                let id = self.model.events[n % self.model.events.len()].event_id.unwrap();
                let redacted = self.real.redact(id).unwrap();
                let mut places: Vec<_> =
                    redacted.events.iter().map(|of| (&*of.stream_type, &*of.stream_id, of.seq)).collect();
                places.sort_unstable();
                let mut already = true;
                let mut expected = Vec::new();
                for stored in self.model.events.iter_mut().filter(|stored| stored.event_id == Some(id)) {
                    already &= std::mem::replace(&mut stored.redacted, true);
                    expected.push((&*stored.stream_type, &*stored.event.stream_id, stored.seq));
                }
                expected.sort_unstable();
                assert_eq!((places, redacted.already), (expected, already));
            }
            Op::StopMerge(n) => self.stop_merge(Step::MERGE[n % Step::MERGE.len()]),
            Op::Sweep => drop(self.real.store().sweep(self.real.time.now()).unwrap()),
            Op::Trim(u) => drop(self.real.trim(&key(u))),
            Op::Evict => self.real.store().tick(self.real.time.now()),
            Op::Replace(n, layout) => self.replace(n, layout),
            Op::Restart => self.real.restart().unwrap(),
            Op::Kill => self.real.kill().unwrap(),
            Op::PowerLoss(seed) => self.real.power_loss(&mut Dice::new(seed)).unwrap(),
            Op::Time(us) => drop(self.real.time.advance_us(us)),
            Op::Stream(from, to, limit, desc) => {
                let order = if desc { Order::Desc } else { Order::Asc };
                let limit = if limit == 0 { usize::MAX } else { limit };
                let stream_type = if from % 2 == 0 { "T" } else { "U" };
                self.read_stream(stream_type, STREAMS[(to % 3) as usize], (from, to), limit, order);
            }
            Op::Page(limit, which) => drop(self.page(which, limit + 1)),
            Op::ById(n) if !self.model.events.is_empty() => {
                let stored = &self.model.events[n % self.model.events.len()];
                let found = self.real.store().event_by_id(stored.event_id.unwrap()).unwrap();
                assert!(found.is_some() || self.reads != Reads::Whole);
                // where not every tier is read, the one that is seen may be another one that bears its id
                let whole = self.reads == Reads::Whole;
                let bears = |s: &&Stored| s.event_id == stored.event_id && (!whole || std::ptr::eq(*s, stored));
                if let Some(found) = found.filter(|found| found.warnings.is_empty()) {
                    let event = found.event();
                    assert!(self.model.events.iter().filter(bears).any(|s| s.is(&event)));
                }
            }
            Op::Scan => self.scan(),
            Op::Retry(_) | Op::ById(_) | Op::Redact(_) => {}
        }
    }

    /// Once everything is in files and merged, none of them holds what a redacted event said.
    fn check_files(&mut self) {
        self.compact(false, 1000);
        self.compact(true, 1000);
        self.real.merge(Trigger::Redaction).unwrap();
        let snapshot = self.real.store().durable().pin();
        let redacted: Vec<&Stored> = self.model.events.iter().filter(|of| of.redacted).collect();
        let mut seen = 0;
        for batch in snapshot.scan(&Filter::default()) {
            for event in batch.unwrap().iter() {
                let of = redacted
                    .iter()
                    .find(|of| Some(event.event_id) == of.event_id && event.stream_type == of.stream_type);
                assert!(of.is_none_or(|_| event.says_nothing()), "{event:?}");
                seen += usize::from(of.is_some());
            }
        }
        assert_eq!(seen, redacted.len());
    }

    /// Another statement with the same promise, the store running. What began under the old one is not asked: reads are whole.
    fn replace(&mut self, n: usize, layout: usize) {
        let (log, reads) = (self.log, self.reads);
        let fitting: Vec<_> = REPLACEMENTS.iter().filter(|of| (of.log, of.reads) == (log, reads)).collect();
        let of = fitting[n % fitting.len()];
        let wal = if log { "wal.enabled = true, wal.path = '/elsewhere'" } else { "wal.enabled = false" };
        let (bounds, files) = (BOUNDS[layout % BOUNDS.len()], LAYOUTS[layout / BOUNDS.len() % LAYOUTS.len()]);
        let text = format!(
            "{wal}, inmemory.enabled = {}, read.tiers = {}, {bounds}, {files}, {}",
            of.hot, of.read, self.settings
        );
        let replaced = self.real.replace(store("/durable", &text)).unwrap();
        assert_eq!((replaced.wal_path_kept, self.real.store().hot().is_some()), (log, of.hot));
        let config = self.real.store().config();
        assert_eq!(self.real.store().durable().pin().config_text(), strandline_deql::print(&config));
        assert_eq!(config.read.tiers, store("/durable", &text).read.tiers);
    }

    fn compact(&mut self, u: bool, rows_max: u64) {
        match self.real.compact_with(&key(u), JobLimits { rows_max, bytes_max: 1 << 30 }, &NoSteps) {
            Ok(_) | Err(CompactError::NoLog(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn stop_merge(&mut self, step: Step) {
        match self.real.merge_with(Trigger::Hand, &StopAt(step)) {
            Ok(_) => {}
            Err(CompactError::Stopped(_)) => self.real.kill().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }

    /// A job that is stopped is a process that ends: what was in memory is gone.
    fn stop_job(&mut self, u: bool, step: Step) {
        match self.real.compact_with(&key(u), JobLimits::default(), &StopAt(step)) {
            Ok(_) | Err(CompactError::NoLog(_)) => {}
            Err(CompactError::Stopped(_)) => self.real.kill().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A history up to its last restart; what it wrote in memory and files is what the model holds.
fn lived(settings: &str, tiers: usize, layout: usize, ops: Vec<Op>) -> Rig {
    // every other history has all tiers, or files alone
    let tiers = TIERS.get(tiers).unwrap_or(&TIERS[if tiers.is_multiple_of(2) { 0 } else { 11 }]);
    let mut rig = Rig::new(settings, LAYOUTS[layout % LAYOUTS.len()], tiers);
    for op in ops {
        rig.run(op);
    }
    rig.check_late_followers();
    rig.read_whole();
    rig.check_all();
    rig.real.restart().unwrap();
    rig.check_all();
    rig
}

/// So many histories, or what `PROPTEST_CASES` says.
fn histories(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(usual, |text| text.parse().unwrap());
    ProptestConfig { cases, max_shrink_iters: 3_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(histories(500))]
    #[test]
    fn every_read_gives_what_the_model_holds(
        settings in rule_settings(),
        tiers in 0..2 * TIERS.len(),
        layout in any::<usize>(),
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        let mut rig = lived(&settings, tiers, layout, ops);
        rig.check_files();
        rig.check_all();
    }
}

/// Keys of an encrypted store.
const SEALED: &str =
    "security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '/keys/of/the/test'";

proptest! {
    #![proptest_config(histories(100))]
    #[test]
    fn every_read_of_an_encrypted_store_gives_what_the_model_holds(
        settings in rule_settings(),
        tiers in 0..2 * TIERS.len(),
        layout in any::<usize>(),
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        lived(&format!("{settings}, {SEALED}"), tiers, layout, ops);
    }
}
