mod registry;
mod replicated;
mod reservations;

use super::*;
use crate::clock::ClosedClocks;
use crate::commands::{CommandRecord, command_key};
use crate::heads::HeadRecord;
use std::path::Path;
use std::sync::Arc;
use strandline_event::{BatchBuilder, BatchUnit, ErrorKind, EventInput, LogIndex, LogKey, Micros, Seq, StampedBatch};
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{
    Disk, FrameKind, InlineIo, LogConfig, LogIdentity, LogIo, OpenLog, SegmentPattern, SharedView, open_log,
};

const NOW: Micros = Micros(1_795_428_000_000_000);

struct Rig {
    disk: CrashDisk,
    driver: LogDriver<u32>,
    view: SharedView,
    io: InlineIo,
    clocks: Arc<ClosedClocks>,
}

pub(super) fn rules() -> Arc<Rules> {
    let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', \
                id.command_id.unique_scope = 'stream');";
    let declared = strandline_deql::parse_file("t.deql", text).unwrap();
    Rules::new(&declared.stores[0].config, (1, 2))
}

fn rig(disk: CrashDisk) -> Rig {
    let mut config = LogConfig::new(SegmentPattern::parse("events-{segment}.wal").unwrap());
    config.low_water_bytes = 64 << 10;
    let opened = open_log(OpenLog {
        disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
        dir: Path::new("/log/T").to_owned(),
        config,
        identity: LogIdentity { stream_type: "T".to_owned(), bucket: 0, node: 1 },
        birth: 7,
        founds: true,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: NOW,
    })
    .unwrap();
    let clocks = ClosedClocks::new(Micros::MIN);
    let settled = Arc::new(NothingSettled);
    let mut log = Log::new(LogKey::single("T"), rules(), clocks.open_log(), settled, LogIndex::ZERO);
    let view = opened.view.load();
    if view.last_index() > LogIndex::ZERO {
        for frame in view.frames(view.first_index(), view.last_index()).unwrap() {
            let frame = frame.unwrap();
            if frame.header.kind == FrameKind::Entry {
                log.replay(frame.header.index, &StampedBatch::from_payload(&frame.payload).unwrap());
            }
        }
    }
    let driver = LogDriver::new(log, opened.writer.unwrap());
    Rig { disk, driver, view: opened.view, io: InlineIo::new(abort_on_fatal()), clocks }
}

impl Rig {
    fn append(&mut self, events: usize, command: Option<&str>, expected: Expected, reply: u32) -> Option<Answer> {
        let mut builder = BatchBuilder::new("T", BatchUnit::Append);
        for _ in 0..events {
            let event = EventInput { stream_id: "s", event_type: "E", command_id: command, ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        let mut request = AppendRequest::new(builder.finish().unwrap());
        request.expected = expected;
        let answered = self.driver.append(request, NOW, u128::from(reply), reply);
        answered.map(|(same, answer)| {
            assert_eq!(same, reply);
            answer
        })
    }

    /// One group to the disk and back.
    fn group(&mut self) -> Vec<(u32, Answer)> {
        let Some(SinkGroup::Log(group)) = self.driver.take_group() else { return vec![] };
        assert!(self.driver.take_group().is_none(), "one group in flight");
        let (back, done) = std::sync::mpsc::channel();
        self.io.submit(group, Box::new(move |group| back.send(group).unwrap()));
        let done = self.driver.group_done(done.recv().unwrap().unwrap());
        for (_, batch) in &done.batches {
            assert!(self.clocks.close() < batch.stamps().first_ingested_at());
        }
        done.release()
    }
}

fn first_seq(answer: &Answer) -> Option<Seq> {
    match answer {
        Answer::Done(outcome) => outcome.stamped.as_ref().map(|batch| batch.seq(0)),
        _ => None,
    }
}

#[test]
fn appends_of_one_group_are_judged_in_order_and_answered_when_durable() {
    let mut rig = rig(CrashDisk::new());
    rig.group();
    assert!(rig.append(2, Some("c"), Expected::Empty, 1).is_none());
    // the retry, a conflict and a loser depend on what is not on the disk yet: they wait
    assert!(rig.append(2, Some("c"), Expected::Empty, 2).is_none());
    assert!(rig.append(1, Some("c"), Expected::Any, 3).is_none());
    assert!(rig.append(1, None, Expected::Empty, 4).is_none());
    assert!(rig.append(1, None, Expected::At(Seq(2)), 5).is_none());
    assert_eq!(rig.driver.log().published().head("s").unwrap(), None);
    assert_eq!(rig.driver.waiting(), 5);
    let answers = rig.group();
    assert_eq!(answers.iter().map(|(reply, _)| *reply).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(first_seq(&answers[0].1), Some(Seq(1)));
    assert!(matches!(&answers[1].1, Answer::Done(o) if o.duplicate && o.duplicates[0].count == 2));
    let kind = |answer: &Answer| match answer {
        Answer::Refused(refusal) => Some(refusal.error.kind()),
        _ => None,
    };
    assert_eq!(kind(&answers[2].1), Some(ErrorKind::CommandConflict));
    assert_eq!(kind(&answers[3].1), Some(ErrorKind::WrongExpectedSeq));
    assert_eq!(first_seq(&answers[4].1), Some(Seq(3)));
    assert_eq!(rig.driver.log().published().head("s").unwrap().unwrap().last_seq, Seq(3));
    // now that it is on the disk, nothing waits
    let Some(Answer::Refused(refusal)) = rig.append(1, None, Expected::At(Seq(9)), 6) else { panic!("not refused") };
    assert_eq!(
        refusal.error.to_string(),
        "stream 's' is at 3, but the append expects 9: read the stream from there and decide again"
    );
}

/// Rows each of which is an append of its own: (stream, command, where the stream must stand).
fn rows(rows: &[(&str, Option<&str>, Expected)]) -> AppendRequest {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    for (stream_id, command_id, _) in rows.iter().copied() {
        builder.push(&EventInput { stream_id, event_type: "E", command_id, ..EventInput::default() }).unwrap();
    }
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.on_error = OnError::Skip;
    request.each = Some(rows.iter().map(|(_, _, expected)| *expected).collect());
    request
}

#[test]
fn a_command_is_known_in_a_body_whatever_the_others_are() {
    let mut rig = rig(CrashDisk::new());
    rig.group();
    let cases: [(&[&str], &[u32]); 6] = [
        (&["a", "b"], &[]),
        (&["c", "d"], &[]),
        (&["e", "b", "f"], &[1]),
        (&["g", "g"], &[1]),
        (&["h", "a", "e", "i", "h"], &[1, 2, 4]),
        (&["d", "h"], &[0, 1]),
    ];
    for ((ids, known), reply) in cases.into_iter().zip(1_u32..) {
        let all: Vec<_> = ids.iter().map(|id| ("s", Some(*id), Expected::Any)).collect();
        let at_once = rig.driver.append(rows(&all), NOW, u128::from(reply), reply);
        let answers = rig.group();
        let answer = at_once.or_else(|| answers.into_iter().next());
        let Some((_, Answer::Done(outcome))) = answer else { panic!("{answer:?}") };
        assert_eq!(outcome.duplicates.iter().map(|known| known.row).collect::<Vec<_>>(), known);
    }
}

/// Runs that hold one command, of other events than any here.
struct OneCommand(u128);

impl Settled for OneCommand {
    fn head(&self, _: u128) -> Result<Option<HeadRecord>, SettledError> {
        Ok(None)
    }

    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError> {
        let record = CommandRecord { digest: 1, first_seq: Seq::FIRST, count: 1, ingested_at: NOW };
        Ok((key == self.0).then_some(record))
    }

    fn chunk(&self, _: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(None)
    }
}

#[test]
fn a_command_that_runs_alone_have_is_known_in_a_body_of_which_memory_has_none() {
    let (rules, clocks) = (rules(), ClosedClocks::new(Micros::MIN));
    let key = command_key(rules.scope, rules.digest_key, "T", strandline_event::hash::stream_hash("s"), "old");
    let settled = Arc::new(OneCommand(key));
    let mut log = Log::new(LogKey::single("T"), rules, clocks.open_log(), settled, LogIndex::ZERO);
    let body = rows(&["a", "old", "b"].map(|id| ("s", Some(id), Expected::Any)));
    let Decision::Store { batch, outcome } = log.accept(&body, NOW, 1, LogIndex(1)) else { panic!("nothing stored") };
    assert_eq!((batch.rows(), outcome.rejected.len()), (2, 1));
    assert_eq!((outcome.rejected[0].row, outcome.rejected[0].error.kind()), (1, ErrorKind::CommandConflict));
}

#[test]
fn rows_that_are_appends_of_their_own_are_judged_each_by_where_its_stream_stands_then() {
    let mut rig = rig(CrashDisk::new());
    rig.group();
    assert!(rig.append(1, Some("known"), Expected::Empty, 1).is_none());
    let at = |seq| Expected::At(Seq(seq));
    let request = rows(&[
        ("s", None, at(1)),
        ("t", Some("c"), Expected::Empty),
        ("t", None, Expected::Empty),
        ("s", None, at(1)),
        ("t", None, at(1)),
        // who is wrong begins no command, and takes none from who comes behind
        ("u", Some("d"), at(4)),
        ("u", Some("d"), Expected::Any),
        // known: by what is in flight, and by a row of the same body
        ("s", Some("known"), at(9)),
        ("t", Some("c"), at(9)),
        ("s", None, Expected::Any),
    ]);
    assert!(rig.driver.append(request, NOW, 7, 2).is_none());
    let answers = rig.group();
    let Answer::Done(outcome) = &answers[1].1 else { panic!("{answers:?}") };
    let stamped = outcome.stamped.as_ref().unwrap();
    let stored: Vec<_> = (0..stamped.rows())
        .map(|row| (outcome.rows.request_row(row), stamped.row(row).stream_id, stamped.seq(row).0))
        .collect();
    assert_eq!(stored, [(0, "s", 2), (1, "t", 1), (4, "t", 2), (6, "u", 1), (9, "s", 3)]);
    let rejected: Vec<_> = outcome.rejected.iter().map(|rejected| (rejected.row, rejected.error.kind())).collect();
    assert_eq!(rejected, [2, 3, 5].map(|row| (row, ErrorKind::WrongExpectedSeq)));
    assert_eq!(outcome.duplicates.iter().map(|known| known.row).collect::<Vec<_>>(), [7, 8]);
    // its command is that of the same event as an append that came by itself
    let mut builder = BatchBuilder::new("T", BatchUnit::Append);
    builder
        .push(&EventInput { stream_id: "u", event_type: "E", command_id: Some("d"), ..EventInput::default() })
        .unwrap();
    let again = rig.driver.append(AppendRequest::new(builder.finish().unwrap()), NOW, 8, 3);
    assert!(matches!(&again, Some((3, Answer::Done(outcome))) if outcome.duplicate), "{again:?}");
}

#[test]
fn batches_that_were_taken_out_are_closed_when_they_are_released() {
    let mut rig = rig(CrashDisk::new());
    rig.group();
    assert!(rig.append(2, None, Expected::Any, 1).is_none());
    let Some(SinkGroup::Log(group)) = rig.driver.take_group() else { panic!("nothing was pushed") };
    let (back, written) = std::sync::mpsc::channel();
    rig.io.submit(group, Box::new(move |group| back.send(group).unwrap()));
    let mut done = rig.driver.group_done(written.recv().unwrap().unwrap());
    let taken = done.take_batches();
    let [(_, batch)] = &taken[..] else { panic!("{} batches", taken.len()) };
    assert!(done.batches.is_empty());
    assert!(rig.clocks.close() < batch.stamps().first_ingested_at(), "memory does not have it yet");
    assert_eq!(done.release().len(), 1);
    assert_eq!(rig.clocks.close(), batch.stamps().last_ingested_at());
}

#[test]
fn a_restart_changes_no_answer() {
    let disk = CrashDisk::new();
    let mut first = rig(disk.clone());
    first.group();
    first.append(3, Some("c"), Expected::Any, 1);
    first.group();
    let mut again = rig(disk);
    assert!(again.view.load().last_index() >= LogIndex(2));
    assert!(matches!(again.append(3, Some("c"), Expected::Empty, 2), Some(Answer::Done(o)) if o.duplicate));
    again.append(1, None, Expected::At(Seq(3)), 3);
    let answers = again.group();
    assert_eq!(first_seq(&answers[0].1), Some(Seq(4)));
    let Answer::Done(outcome) = &answers[0].1 else { panic!("not done") };
    assert!(outcome.stamped.as_ref().unwrap().stamps().first_ingested_at() > NOW.plus_us(2));
}

#[test]
fn a_full_disk_and_a_damaged_log_refuse_before_anything_happens() {
    let disk = CrashDisk::new();
    disk.set_capacity(Some(512 << 10));
    let mut rig = rig(disk);
    rig.group();
    let refusal = loop {
        match rig.append(100, None, Expected::Any, 1) {
            Some(Answer::Refused(refusal)) => break refusal,
            _ => assert_eq!(rig.group().len(), 1, "what was accepted did not fail"),
        }
    };
    assert_eq!(refusal.error.kind(), ErrorKind::DiskFull);
    let head = rig.driver.log().accepted_head("s").unwrap();
    rig.disk.set_capacity(None);
    assert!(rig.append(1, None, Expected::At(head), 9).is_none());
    rig.driver.refuse_writes("segment 3 is damaged at 4096");
    let Some(Answer::Refused(refusal)) = rig.append(1, None, Expected::Any, 10) else { panic!("not refused") };
    assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
    // what was accepted before still completes
    assert_eq!(rig.group().len(), 1);
}

#[test]
fn a_dry_run_answers_the_same_and_stores_nothing() {
    let mut rig = rig(CrashDisk::new());
    rig.group();
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    builder.push(&EventInput { stream_id: "s", event_type: "E", ..EventInput::default() }).unwrap();
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.inspect = true;
    for reply in 0..2 {
        let Some((_, Answer::Done(outcome))) = rig.driver.append(request.clone(), NOW, 5, reply) else {
            panic!("not answered")
        };
        assert!(outcome.inspect && !outcome.duplicate && outcome.index.is_none());
        assert_eq!(first_seq(&Answer::Done(outcome)), Some(Seq(1)));
    }
    assert!(rig.driver.take_group().is_none());
    assert_eq!(rig.driver.log().accepted_head("s").unwrap(), Seq::ZERO);
}

#[test]
fn heads_that_are_looked_up_together_are_those_of_each() {
    let clocks = ClosedClocks::new(Micros::MIN);
    let settled = Arc::new(NothingSettled);
    let mut log = Log::new(LogKey::single("T"), rules(), clocks.open_log(), settled, LogIndex::ZERO);
    let append = |log: &mut Log, index: u64, streams: &[&str]| {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        for stream_id in streams.iter().copied() {
            builder.push(&EventInput { stream_id, event_type: "E", ..EventInput::default() }).unwrap();
        }
        let request = AppendRequest::new(builder.finish().unwrap());
        let decision = log.accept(&request, NOW, u128::from(index), LogIndex(index));
        assert!(matches!(decision, Decision::Store { .. }));
    };
    append(&mut log, 1, &["a", "b", "b"]);
    assert_eq!(log.committed(LogIndex(1)).len(), 1);
    // one stays as it was committed, one goes on in flight, one begins there
    append(&mut log, 2, &["b", "c", "b"]);
    let hashes = ["a", "b", "c", "d"].map(strandline_event::hash::stream_hash);
    let mut found: [Vec<(Seq, LogIndex)>; 4] = Default::default();
    log.look_ahead_heads(&hashes, |stream, head| found[stream].push(head));
    let heads = [(Seq(1), LogIndex(1)), (Seq(4), LogIndex(2)), (Seq(1), LogIndex(2)), (Seq::ZERO, LogIndex::ZERO)];
    for ((hash, found), head) in hashes.iter().zip(&found).zip(heads) {
        assert_eq!(found.first().copied().unwrap_or_default(), head);
        assert_eq!(log.head(*hash).unwrap(), head);
    }
}
