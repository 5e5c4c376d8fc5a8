//! What a compaction took over leaves an owner's memory in steps of bounded size, and no answer in between depends on how far
//! that has come.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use strandline_engine::append::{Answer, AppendRequest, Decision, Expected, IdsChecked, Log, NothingSettled, Rules};
use strandline_engine::clock::ClosedClocks;
use strandline_event::{BatchBuilder, BatchUnit, EventId, EventInput, LogIndex, LogKey, Micros, Seq, StampedBatch};
use strandline_testkit::r#gen::store;
use strandline_testkit::settled::MapSettled;

/// Streams of one batch.
const STREAMS: usize = 5_000;
const BATCHES: u64 = 12;
/// No step lets go of more heads than this.
const STEP_HEADS_MAX: usize = 4_096 + 3_584;

fn stream(batch: u64, n: usize) -> String {
    format!("{batch}-{n}")
}

fn id(batch: u64, n: usize) -> EventId {
    let mut bytes = (u128::from(batch) << 80 | n as u128).to_be_bytes();
    (bytes[6], bytes[8]) = (0x70, 0x80);
    EventId(bytes)
}

/// One event for each stream of a batch, with an id and a command of its own; every other batch leaves ids to the owner.
fn request(batch: u64) -> AppendRequest {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    for n in 0..STREAMS {
        let (stream_id, command) = (stream(batch, n), format!("c{n}"));
        let event_id = batch.is_multiple_of(2).then(|| id(batch, n));
        let event = EventInput {
            stream_id: &stream_id,
            event_type: "E",
            event_id,
            command_id: Some(&command),
            ..EventInput::default()
        };
        builder.push(&event).unwrap();
    }
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.ids = IdsChecked { through: LogIndex(1_000), found: Vec::new() };
    request
}

struct Rig {
    log: Log,
    next: LogIndex,
    stored: Vec<(LogIndex, StampedBatch)>,
}

impl Rig {
    fn store(&mut self, request: &AppendRequest) {
        let decision = self.log.accept(request, Micros(1_000), u128::from(self.next.0), self.next);
        let Decision::Store { batch, .. } = decision else { panic!("not stored: {decision:?}") };
        self.stored.push((self.next, batch));
        self.log.committed(self.next);
        self.next = self.next.next();
    }

    /// One more event for a stream that was compacted, which its owner must know.
    fn append_one(&mut self, stream_id: &str, expected: Seq) {
        let mut builder = BatchBuilder::new("T", BatchUnit::Append);
        builder.push(&EventInput { stream_id, event_type: "E", ..EventInput::default() }).unwrap();
        let mut request = AppendRequest::new(builder.finish().unwrap());
        request.expected = Expected::At(expected);
        self.store(&request);
    }

    fn check_retry(&mut self, request: &AppendRequest) {
        let decision = self.log.accept(request, Micros(2_000), 0, self.next);
        let Decision::Answer { answer: Answer::Done(outcome), .. } = decision else { panic!("{decision:?}") };
        assert!(outcome.duplicate && outcome.duplicates.len() == STREAMS);
    }
}

#[test]
fn letting_go_of_what_is_compacted_comes_in_steps_that_change_no_answer() {
    let rules = Rules::new(&store("memory://test", "id.command_id.unique_scope = 'stream'"), (3, 4));
    let clock = ClosedClocks::new(Micros::MIN).open_log();
    let log = Log::new(LogKey::single("T"), Arc::clone(&rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    let mut rig = Rig { log, next: LogIndex(2), stored: Vec::new() };
    let requests: Vec<AppendRequest> = (0..BATCHES).map(request).collect();
    requests.iter().for_each(|request| rig.store(request));

    let mut settled = MapSettled::default();
    let (through, _) = rig.stored[rig.stored.len() - 2];
    let job = rig.stored.iter().filter(|(index, _)| *index <= through).map(|(_, batch)| batch.clone());
    settled.add_job(&rules, &job.collect::<Vec<_>>());
    rig.log.compacted(through, Arc::new(settled));

    let all = STREAMS * BATCHES as usize;
    let mut before = rig.log.published().heads_in_memory();
    assert_eq!(before, all, "nothing leaves in the message itself");
    let mut steps = 0;
    while rig.log.settle_step() {
        let now = rig.log.published().heads_in_memory();
        assert!(before - now <= STEP_HEADS_MAX, "one step let go of {} heads", before - now);
        if steps % 3 == 0 {
            let (batch, n) = (steps as u64 % (BATCHES - 1), steps);
            rig.append_one(&stream(batch, n), Seq(1));
            assert_eq!(rig.log.accepted_head(&stream(batch, n)).unwrap(), Seq(2));
            rig.check_retry(&requests[batch as usize]);
        }
        before = rig.log.published().heads_in_memory();
        steps += 1;
    }
    assert!(steps > all / STEP_HEADS_MAX, "{steps} steps");
    let appended = steps.div_ceil(3);
    assert_eq!(rig.log.published().heads_in_memory(), STREAMS + appended);
    for (index, batch) in &rig.stored {
        let found = rig.log.published().find_id(batch.event_id(0)).map(|at| at.index);
        assert_eq!(found, (*index > through).then_some(*index));
    }
    assert!(!rig.log.settles() && !rig.log.settle_step());
}

#[test]
fn a_compaction_that_comes_while_the_one_before_is_let_go_of_has_its_turn() {
    let rules = Rules::new(&store("memory://test", ""), (3, 4));
    let clock = ClosedClocks::new(Micros::MIN).open_log();
    let log = Log::new(LogKey::single("T"), Arc::clone(&rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    let mut rig = Rig { log, next: LogIndex(2), stored: Vec::new() };
    (0..BATCHES).for_each(|batch| rig.store(&request(batch)));
    let (mut settled, mut job) = (MapSettled::default(), Vec::new());
    for (at, (index, batch)) in rig.stored.iter().enumerate() {
        job.push(batch.clone());
        if at % 4 == 3 {
            settled.add_job(&rules, &std::mem::take(&mut job));
            rig.log.compacted(*index, Arc::new(settled.clone()));
            assert!(rig.log.settle_step());
        }
    }
    while rig.log.settle_step() {}
    assert_eq!(rig.log.published().heads_in_memory(), 0);
}

/// Who follows what another node commits may be told of two versions in the wrong order.
#[test]
fn an_older_version_that_is_heard_of_later_takes_nothing_away() {
    let rules = Rules::new(&store("memory://test", ""), (3, 4));
    let clock = ClosedClocks::new(Micros::MIN).open_log();
    let log = Log::new(LogKey::single("T"), Arc::clone(&rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    let mut rig = Rig { log, next: LogIndex(2), stored: Vec::new() };
    (0..2).for_each(|batch| rig.store(&request(batch)));
    let [(first, one), (second, two)] = [rig.stored[0].clone(), rig.stored[1].clone()];
    let mut older = MapSettled::default();
    older.add_job(&rules, &[one]);
    let mut newer = older.clone();
    newer.add_job(&rules, &[two]);
    for (through, settled) in [(second, newer), (first, older)] {
        rig.log.compacted(through, Arc::new(settled));
        while rig.log.settle_step() {}
        assert_eq!(rig.log.published().heads_in_memory(), 0);
        assert_eq!(rig.log.accepted_head(&stream(1, 0)).unwrap(), Seq(1), "through {through}");
    }
    rig.append_one(&stream(1, 0), Seq(1));
}
