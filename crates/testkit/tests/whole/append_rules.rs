//! Random histories of one log against the model: appends of all kinds, retries, conflicts, commits, compactions,
//! restarts. Every answer is compared with what the model says at the moment of the submission.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_engine::append::{
    Again, Answer, AppendRequest, Decision, IdsChecked, Known, Log, Lookup, Rules, ids_to_check, resolve_known,
};
use strandline_engine::clock::{ClosedClocks, LogClock};
use strandline_engine::ids::IdSource;
use strandline_event::hash::stream_hash;
use strandline_event::{LogIndex, LogKey, Micros, Seq, StampedBatch};
use strandline_testkit::clock::ManualClock;
use strandline_testkit::r#gen::{Draft, draft, rule_settings, store};
use strandline_testkit::model::{Append, Model, Stored, Verdict};
use strandline_testkit::settled::MapSettled;

#[derive(Clone, Debug)]
enum Op {
    Submit(Box<Draft>, bool),
    Retry(usize, bool),
    UseStoredId(usize, Box<Draft>),
    Commit(usize),
    Compact(usize),
    LetGo,
    Restart,
    Time(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (draft("T"), any::<bool>()).prop_map(|(d, fresh)| Op::Submit(Box::new(d), fresh)),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(n, fresh)| Op::Retry(n, fresh)),
        1 => (any::<usize>(), draft("T")).prop_map(|(n, d)| Op::UseStoredId(n, Box::new(d))),
        5 => (1usize..4).prop_map(Op::Commit),
        2 => any::<usize>().prop_map(Op::Compact),
        2 => Just(Op::LetGo),
        1 => Just(Op::Restart),
        2 => (-3i64..2_000).prop_map(Op::Time),
    ]
}

struct Pending {
    after: LogIndex,
    answer: Answer,
    expected: Verdict,
    append: Append,
    known: Known,
    ids: IdsChecked,
    tries: usize,
}

struct Rig {
    model: Model,
    rules: Arc<Rules>,
    clocks: Arc<ClosedClocks>,
    log_clock: Arc<LogClock>,
    log: Log,
    settled: MapSettled,
    stored: Vec<(LogIndex, StampedBatch)>,
    pending: VecDeque<Pending>,
    sent: Vec<Append>,
    next: LogIndex,
    committed: LogIndex,
    watermark: LogIndex,
    closed: Micros,
    time: ManualClock,
    ids: IdSource,
}

fn key() -> LogKey {
    LogKey::single("T")
}

impl Rig {
    fn new(settings: &str) -> Self {
        let config = store("memory://test", settings);
        let rules = Rules::new(&config, (3, 4));
        let clocks = ClosedClocks::new(Micros::MIN);
        let log_clock = clocks.open_log();
        let settled = MapSettled::default();
        let log = Log::new(key(), rules.clone(), log_clock.clone(), Arc::new(settled.clone()), LogIndex::ZERO);
        Self {
            model: Model::new(config.clone()),
            ids: IdSource::new(config.id.event_id_format, 77),
            rules,
            clocks,
            log_clock,
            log,
            settled,
            stored: vec![],
            pending: VecDeque::new(),
            sent: vec![],
            next: LogIndex(2),
            committed: LogIndex::ZERO,
            watermark: LogIndex::ZERO,
            closed: Micros::MIN,
            time: ManualClock::default(),
        }
    }

    fn submit(&mut self, append: Append, known: Known, ids: IdsChecked, tries: usize) {
        assert!(tries < 9, "asked again and again: {append:?}");
        let mut request: AppendRequest = append.request().unwrap();
        request.known = known.clone();
        request.ids = ids.clone();
        let expected = self.model.judge(&append);
        let entropy = self.ids.next(0);
        let (after, answer) = match self.log.accept(&request, self.time.now(), entropy, self.next) {
            Decision::Answer { after, answer } => (after, answer),
            Decision::Store { batch, outcome } => {
                assert!(!append.inspect);
                assert!(batch.stamps().first_ingested_at() > self.closed);
                let places = self.model.store(&append, &expected);
                assert!(!places.is_empty(), "stored, but the model says {expected:?}: {append:?}");
                self.model.learn(places, batch.iter());
                self.stored.push((self.next, batch));
                let index = self.next;
                self.next = LogIndex(index.0 + 1 + index.0 % 3 / 2);
                (index, Answer::Done(outcome))
            }
        };
        let at = self.pending.partition_point(|p| p.after <= after);
        self.pending.insert(at, Pending { after, answer, expected, append, known, ids, tries });
        self.release();
    }

    fn release(&mut self) {
        while self.pending.front().is_some_and(|p| p.after <= self.committed) {
            let Some(p) = self.pending.pop_front() else { return };
            match &p.answer {
                Answer::Again(Again::Lookup(lookup)) => {
                    let known = self.read(&p.append, lookup);
                    self.submit(p.append, known, p.ids, p.tries + 1);
                }
                Answer::Again(Again::Recheck { through }) => {
                    assert_eq!(*through, self.watermark);
                    let ids = self.check_ids(&p.append, true);
                    self.submit(p.append, p.known, ids, p.tries + 1);
                }
                _ => self.compare(&p),
            }
        }
    }

    fn compare(&self, p: &Pending) {
        let context = || format!("\nsent: {:?}\nanswer: {:?}\nexpected: {:?}", p.append, p.answer, p.expected);
        match (&p.answer, &p.expected) {
            (Answer::Refused(real), Verdict::Refused(kind, row)) => {
                assert_eq!((real.error.kind(), real.row), (*kind, *row), "{}", context());
                assert!(real.error.to_string().len() > 20);
            }
            (Answer::Done(real), Verdict::Done { stored, duplicates, rejected, chunk_known }) => {
                assert_eq!(real.inspect, p.append.inspect, "{}", context());
                assert_eq!(real.chunk_known, *chunk_known, "{}", context());
                let rows: Vec<(u32, Seq)> = real
                    .stamped
                    .iter()
                    .flat_map(|b| (0..b.rows()).map(|row| (real.rows.request_row(row) as u32, b.seq(row))))
                    .collect();
                assert_eq!(&rows, stored, "{}", context());
                let known: Vec<_> = real.duplicates.iter().map(|d| (d.row, d.first_seq, d.count)).collect();
                assert_eq!(&known, duplicates, "{}", context());
                let out: Vec<_> = real.rejected.iter().map(|r| (r.row, r.error.kind())).collect();
                assert_eq!(&out, rejected, "{}", context());
                let nothing_new = stored.is_empty() && rejected.is_empty();
                assert_eq!(real.duplicate, nothing_new, "{}", context());
                for d in real.duplicates.iter().filter(|_| !p.append.inspect) {
                    let stream = &p.append.events[d.row as usize].stream_id;
                    let first = self.model.stream("T", stream).find(|e| e.seq == d.first_seq);
                    if let Some(first) = first {
                        assert_eq!(first.ingested_at, Some(d.ingested_at), "{}", context());
                    }
                }
            }
            _ => panic!("{}", context()),
        }
    }

    /// A stream read over what is committed.
    fn read(&self, append: &Append, lookup: &Lookup) -> Known {
        let request = append.request().unwrap();
        let committed: Vec<_> = self.stored.iter().filter(|(index, _)| *index <= self.committed).collect();
        let read = |stream: &str, from, to, out: &mut dyn FnMut(&strandline_event::EventRef<'_>)| {
            for event in committed.iter().flat_map(|(_, batch)| batch.iter()) {
                if event.stream_id == stream && from <= event.seq && event.seq <= to {
                    out(&event);
                }
            }
            Ok::<(), ()>(())
        };
        resolve_known(request.batch.view(), lookup, |_| false, read).unwrap()
    }

    fn check_ids(&self, append: &Append, fresh: bool) -> IdsChecked {
        let through = if fresh { self.watermark } else { LogIndex::ZERO };
        let request = append.request().unwrap();
        let durable = || self.stored.iter().filter(|(index, _)| *index <= through).flat_map(|(_, b)| b.iter());
        let found = ids_to_check(request.batch.view())
            .filter(|(_, id)| durable().any(|e| e.event_id == *id))
            .map(|(row, _)| row)
            .collect();
        IdsChecked { through, found }
    }

    fn commit(&mut self, batches: usize) {
        let above = self.stored.iter().filter(|(index, _)| *index > self.committed);
        let Some(through) = above.take(batches).map(|(index, _)| *index).last() else { return };
        let done = self.log.committed(through);
        assert!(!done.is_empty());
        self.committed = through;
        for (index, _) in done {
            self.log_clock.visible(index);
        }
        self.close();
        self.release();
    }

    /// Commits until nothing waits: what was asked again is submitted again.
    fn commit_all(&mut self) {
        self.commit(usize::MAX);
        while !self.pending.is_empty() {
            self.commit(usize::MAX);
        }
    }

    fn close(&mut self) {
        self.closed = self.clocks.close();
        for (index, batch) in &self.stored {
            let visible = *index <= self.committed;
            assert!(visible || batch.stamps().first_ingested_at() > self.closed);
        }
    }

    fn compact(&mut self, n: usize) {
        let sealed: Vec<_> = self.stored.iter().filter(|(i, _)| *i > self.watermark && *i <= self.committed).collect();
        if sealed.is_empty() {
            return;
        }
        let job = &sealed[..=n % sealed.len()];
        let batches: Vec<StampedBatch> = job.iter().map(|(_, batch)| batch.clone()).collect();
        let through = job[job.len() - 1].0;
        self.settled.add_job(&self.rules, &batches);
        self.watermark = through;
        self.log.compacted(through, Arc::new(self.settled.clone()));
    }

    fn restart(&mut self) {
        self.commit_all();
        let newest = self.stored.last().map_or(Micros::MIN, |(_, b)| b.stamps().last_ingested_at());
        // a restart forgets what was closed; positions that readers keep are those of events
        self.closed = newest;
        self.clocks = ClosedClocks::new(newest);
        self.log_clock = self.clocks.open_log();
        let settled = Arc::new(self.settled.clone());
        self.log = Log::new(key(), self.rules.clone(), self.log_clock.clone(), settled, self.watermark);
        for (index, batch) in self.stored.iter().filter(|(index, _)| *index > self.watermark) {
            self.log.replay(*index, batch);
        }
    }

    fn check_state(&self) {
        for stream in ["a", "b", "ü/ ~"] {
            let head = self.model.head("T", stream);
            assert_eq!(self.log.accepted_head(stream).unwrap(), head);
            let published = self.log.published().head(stream).unwrap();
            assert_eq!(published.map_or(Seq::ZERO, |h| h.last_seq), head);
            let first = self.model.stream("T", stream).next();
            assert_eq!(published.map(|h| h.first_seq), first.map(|e| e.seq));
            let hash = |e: &Stored| strandline_engine::heads::tenant_hash(e.event.tenant_id.as_deref());
            let tenant = first.map(|first| {
                let owner = hash(first);
                let is_one = self.model.stream("T", stream).all(|e| hash(e) == owner);
                if is_one { owner } else { strandline_durable::MIXED_TENANTS }
            });
            assert_eq!(published.map(|h| h.tenant), tenant);
            assert_eq!(self.log.published().head_by_hash(stream_hash(stream)).unwrap(), published);
        }
        for (index, batch) in &self.stored {
            for row in 0..batch.rows() {
                let found = self.log.published().find_id(batch.event_id(row));
                // what is compacted leaves when its turn comes
                let here = *index > self.watermark || (found.is_some() && self.log.settles());
                assert_eq!(found.map(|at| (at.index, at.row)), here.then_some((*index, row as u32)));
            }
        }
    }

    fn run(&mut self, op: Op) {
        let head = |model: &Model, stream: &str| model.head("T", stream);
        match op {
            Op::Submit(draft, fresh) => {
                let append = draft.aim(|stream| head(&self.model, stream));
                self.sent.push(append.clone());
                let ids = self.check_ids(&append, fresh);
                self.submit(append, Known::default(), ids, 0);
            }
            Op::UseStoredId(n, draft) => {
                let mut append = draft.aim(|stream| head(&self.model, stream));
                if !self.model.events.is_empty() {
                    append.events[0].event_id = self.model.events[n % self.model.events.len()].event_id;
                }
                let ids = self.check_ids(&append, true);
                self.submit(append, Known::default(), ids, 0);
            }
            Op::Retry(n, fresh) if !self.sent.is_empty() => {
                let append = self.sent[n % self.sent.len()].clone();
                let ids = self.check_ids(&append, fresh);
                self.submit(append, Known::default(), ids, 0);
            }
            Op::Retry(..) => {}
            Op::Commit(batches) => self.commit(batches),
            Op::Compact(n) => self.compact(n),
            Op::LetGo => {
                self.log.settle_step();
            }
            Op::Restart => self.restart(),
            Op::Time(us) => drop(self.time.advance_us(us)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_answer_is_the_models(settings in rule_settings(), ops in proptest::collection::vec(op(), 1..40)) {
        let mut rig = Rig::new(&settings);
        for op in ops {
            rig.run(op);
        }
        rig.commit_all();
        rig.check_state();
        rig.restart();
        rig.check_state();
    }
}
