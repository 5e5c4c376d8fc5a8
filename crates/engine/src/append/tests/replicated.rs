//! The driver of a replicated log: who leads accepts, what is applied is true, what is lost has an unknown outcome.

use super::*;
use crate::append::{AppendError, Committed, GroupLost, Replica, ReplicatedGroup, ReplicatedWriter};
use std::sync::OnceLock;
use strandline_wal::LeaderId;

struct Fixed;

impl Replica for Fixed {
    fn has_room(&self, bytes: usize) -> bool {
        bytes < 1 << 20
    }

    fn leader(&self) -> Option<(u64, String)> {
        Some((2, "node2:7073".to_owned()))
    }

    fn seal(&self) {}
}

const ME: LeaderId = LeaderId { term: 4, node: 1 };
const OTHER: LeaderId = LeaderId { term: 5, node: 2 };

fn driver() -> LogDriver<u32> {
    let clock = ClosedClocks::new(Micros::MIN).open_log();
    let log = Log::new(LogKey::single("T"), rules(), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    LogDriver::new(log, ReplicatedWriter::new(LogKey::single("T"), Arc::new(Fixed), LogIndex::ZERO))
}

fn append(driver: &mut LogDriver<u32>, command: &str, expected: Expected, reply: u32) -> Option<(u32, Answer)> {
    let mut builder = BatchBuilder::new("T", BatchUnit::Append);
    let event = EventInput { stream_id: "s", event_type: "E", command_id: Some(command), ..EventInput::default() };
    builder.push(&event).unwrap();
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.expected = expected;
    driver.append(request, NOW, u128::from(reply), reply)
}

fn take(driver: &mut LogDriver<u32>) -> ReplicatedGroup {
    match driver.take_group() {
        Some(SinkGroup::Replicated(group)) => group,
        _ => panic!("nothing is proposed"),
    }
}

fn entry(group: &ReplicatedGroup, leader: LeaderId) -> Committed {
    let batches: Vec<_> = group.batches.iter().map(|(index, batch, _)| (*index, batch.clone())).collect();
    Committed { leader, number: group.number, index: batches.last().unwrap().0, batches }
}

fn refusal(answer: &Answer) -> &AppendError {
    match answer {
        Answer::Refused(refusal) => &refusal.error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn who_does_not_lead_refuses_and_names_the_leader() {
    let mut driver = driver();
    let (_, answer) = append(&mut driver, "c", Expected::Any, 1).unwrap();
    let error = refusal(&answer);
    assert_eq!(error.kind(), ErrorKind::NotLeader);
    assert_eq!(error.to_string(), "node 2 at node2:7073 leads this log; nothing was stored: send it there");
}

#[test]
fn who_leads_and_has_no_room_says_so_before_anything_happens() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    let data = format!("\"{}\"", "x".repeat(400_000));
    let mut builder = BatchBuilder::new("T", BatchUnit::Append);
    for _ in 0..3 {
        builder.push(&EventInput { stream_id: "s", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    }
    let large = AppendRequest::new(builder.finish().unwrap());
    let (_, answer) = driver.append(large, NOW, 1, 1).unwrap();
    assert_eq!(refusal(&answer).kind(), ErrorKind::DiskFull);
    assert!(driver.is_idle() && driver.take_group().is_none());
    assert!(append(&mut driver, "a", Expected::Empty, 2).is_none(), "what there is room for is taken");
    assert_eq!(take(&mut driver).batches[0].1.seq(0), Seq(1));
}

#[test]
fn what_waits_becomes_one_entry_and_is_answered_when_it_is_applied() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "a", Expected::Empty, 1).is_none());
    let first = take(&mut driver);
    assert_eq!((first.leader, first.number, first.batches[0].0), (ME, 2, LogIndex(2)));
    // what comes while it is on its way is judged with it, and waits for the next one
    assert!(append(&mut driver, "b", Expected::At(Seq(1)), 2).is_none());
    assert!(append(&mut driver, "c", Expected::At(Seq(2)), 3).is_none());
    assert!(driver.take_group().is_none(), "one is on its way");
    let done = driver.applied(entry(&first, ME));
    assert_eq!(done.batches.len(), 1);
    assert_eq!(done.release().len(), 1);
    let second = take(&mut driver);
    assert_eq!((second.number, second.batches.len()), (3, 2));
    let answers = driver.applied(entry(&second, ME)).release();
    assert_eq!(answers.iter().map(|(reply, _)| *reply).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(driver.log().published().head("s").unwrap().unwrap().last_seq, Seq(3));
    assert_eq!(driver.durable(), LogIndex(4));
}

#[test]
fn what_was_lost_may_be_committed_by_another_leader_and_a_retry_finds_out() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "a", Expected::Empty, 1).is_none());
    let lost = take(&mut driver);
    assert!(driver.has_in_flight(&entry(&lost, ME)) && !driver.has_in_flight(&entry(&lost, OTHER)));
    assert!(append(&mut driver, "b", Expected::Any, 2).is_none());
    let accepted = driver.last_accepted();
    assert_eq!((accepted, driver.passed(accepted)), (LogIndex(3), None));
    let answers = driver.abandon(&GroupLost::Unknown(Arc::from("leadership was lost"))).release();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(_, answer)| matches!(refusal(answer), AppendError::OutcomeUnknown { .. })));
    assert!(!driver.has_in_flight(&entry(&lost, ME)) && driver.is_idle());
    assert_eq!(driver.passed(accepted), Some(LogIndex(1)), "who waits for it waits no longer");
    assert_eq!(driver.log().accepted_head("s").unwrap(), Seq::ZERO);
    // the next leader commits it after all, behind its own first entry
    let _ = driver.applied(Committed { leader: OTHER, number: 3, index: LogIndex(3), batches: vec![] }).release();
    let mut after_all = entry(&lost, ME);
    (after_all.number, after_all.index) = (4, LogIndex(4));
    after_all.batches[0].0 = LogIndex(4);
    let done = driver.applied(after_all);
    assert_eq!(done.batches.len(), 1, "memory is told");
    let _ = done.release();
    driver.lead(LeaderId { term: 6, node: 1 }, 5, LogIndex(5));
    let (_, answer) = append(&mut driver, "a", Expected::Empty, 3).unwrap();
    assert!(matches!(answer, Answer::Done(outcome) if outcome.duplicate));
    // what was behind it never was
    assert!(append(&mut driver, "b", Expected::At(Seq(1)), 4).is_none());
    assert_eq!(take(&mut driver).batches[0].1.seq(0), Seq(2));
}

#[test]
fn another_leaders_entry_takes_the_place_of_what_was_in_flight() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "mine", Expected::Empty, 1).is_none());
    let mine = take(&mut driver);
    let mut theirs = self::driver();
    theirs.lead(OTHER, 1, LogIndex(1));
    assert!(append(&mut theirs, "theirs", Expected::Empty, 9).is_none());
    let theirs = entry(&take(&mut theirs), OTHER);
    assert_eq!(theirs.index, mine.batches[0].0, "the same place");
    let done = driver.applied(theirs);
    assert_eq!(done.batches.len(), 1);
    let answers = done.release();
    assert!(matches!(refusal(&answers[0].1), AppendError::OutcomeUnknown { .. }));
    // it leads no more as far as it knows
    let (_, answer) = append(&mut driver, "again", Expected::Any, 2).unwrap();
    assert_eq!(refusal(&answer).kind(), ErrorKind::NotLeader);
    assert_eq!(driver.log().published().head("s").unwrap().unwrap().last_seq, Seq(1));
}

#[test]
fn a_replica_that_was_left_behind_goes_on_from_files_and_skips_what_they_hold() {
    let mut leader = driver();
    leader.lead(OTHER, 1, LogIndex(1));
    let mut follower = driver();
    let mut entries = Vec::new();
    for (n, command) in ["a", "b", "c"].into_iter().enumerate() {
        assert!(
            append(&mut leader, command, if n == 0 { Expected::Empty } else { Expected::At(Seq(n as u64)) }, 1)
                .is_none()
        );
        let committed = entry(&take(&mut leader), OTHER);
        entries.push(committed.clone());
        let _ = leader.applied(committed).release();
    }
    let _ = follower.applied(entries[0].clone()).release();
    // files hold everything up to the second one
    let done = follower.jump(entries[1].index, Arc::new(NothingSettled), Micros(7));
    assert!(done.release().is_empty());
    assert_eq!(follower.log().committed_through(), entries[1].index);
    assert_eq!(follower.log().published().head("s").unwrap(), None, "what files hold is asked of them");
    let done = follower.applied(entries[1].clone());
    assert!(done.batches.is_empty(), "its group sends it all the same");
    let _ = done.release();
    let done = follower.applied(entries[2].clone());
    assert_eq!(done.batches.len(), 1);
    let _ = done.release();
    assert_eq!(follower.log().published().head("s").unwrap().unwrap().last_seq, Seq(3));
}

#[test]
fn a_change_of_members_takes_an_index_from_a_leader_that_has_nothing_in_flight() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    let members = Committed { leader: ME, number: 2, index: LogIndex(2), batches: vec![] };
    let _ = driver.applied(members).release();
    // before it is told again that it leads
    assert!(append(&mut driver, "a", Expected::Empty, 1).is_none());
    let group = take(&mut driver);
    assert_eq!((group.number, group.batches[0].0), (3, LogIndex(3)));
    assert_eq!(driver.applied(entry(&group, ME)).release().len(), 1);
}

#[test]
fn what_was_given_up_and_comes_under_the_number_of_what_is_in_flight_is_not_taken_for_it() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "old", Expected::Empty, 1).is_none());
    let old = take(&mut driver);
    // told anew that it leads, before its group has seen what is on its way
    assert_eq!(driver.abandon(&GroupLost::Unknown(Arc::from("leadership is told anew"))).release().len(), 1);
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "new", Expected::Empty, 2).is_none());
    let new = take(&mut driver);
    assert_eq!((new.leader, new.number), (old.leader, old.number));
    let done = driver.applied(entry(&old, ME));
    let stored: Vec<_> = done.batches.iter().map(|(_, batch)| batch.row(0).command_id.unwrap().to_owned()).collect();
    assert_eq!(stored, ["old"], "memory is told what the log holds");
    let answers = done.release();
    assert_eq!(answers.len(), 1);
    assert!(matches!(refusal(&answers[0].1), AppendError::OutcomeUnknown { .. }), "it was judged without the old one");
    // what its group says of it: it got no place of its own
    let _ = driver.applied(Committed { leader: ME, number: 3, index: LogIndex(3), batches: vec![] }).release();
    driver.lead(ME, 3, LogIndex(3));
    let (_, answer) = append(&mut driver, "old", Expected::Empty, 3).unwrap();
    assert!(matches!(answer, Answer::Done(outcome) if outcome.duplicate));
    assert!(append(&mut driver, "new", Expected::At(Seq(1)), 4).is_none());
    let again = entry(&take(&mut driver), ME);
    assert_eq!(driver.applied(again).release().len(), 1);
}

#[test]
fn where_another_node_leads_a_moment_is_closed_only_once_its_event_is_committed() {
    let mut leader = driver();
    leader.lead(ME, 1, LogIndex(1));
    assert!(append(&mut leader, "a", Expected::Any, 1).is_none());
    let stored = entry(&take(&mut leader), ME);
    let clocks = ClosedClocks::new(Micros::MIN);
    let clock = clocks.open_log();
    clock.set_leads(false);
    let log = Log::new(LogKey::single("T"), rules(), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    // what a reader finds as soon as the moment is closed
    let (published, found) = (Arc::clone(log.published()), Arc::new(OnceLock::new()));
    let first = Arc::clone(&found);
    let ring = move || {
        // only what it finds first counts
        let _ = first.set(published.committed());
    };
    assert!(clocks.hang_bell(Box::new(ring)));
    let mut follower: LogDriver<u32> =
        LogDriver::new(log, ReplicatedWriter::new(LogKey::single("T"), Arc::new(Fixed), LogIndex::ZERO));
    let index = stored.index;
    assert_eq!(follower.applied(stored).batches.len(), 1);
    assert_eq!(found.get(), Some(&index));
}

/// A node that was stopped while it led applies what the next leader has made before it is told that it follows, and who asked it meanwhile is
/// heard in between.
#[test]
fn an_idle_leader_takes_nothing_behind_another_leaders_entry() {
    let first = Committed { leader: OTHER, number: 2, index: LogIndex(2), batches: vec![] };
    let mut theirs = driver();
    theirs.lead(OTHER, 2, LogIndex(2));
    assert!(append(&mut theirs, "theirs", Expected::Empty, 9).is_none());
    let second = entry(&take(&mut theirs), OTHER);
    for entries in [vec![first.clone()], vec![first, second]] {
        let mut driver = driver();
        driver.lead(ME, 1, LogIndex(1));
        let last = entries.last().unwrap().index;
        let stored: usize = entries.iter().map(|entry| entry.batches.len()).sum();
        for entry in entries {
            let (told, done) = (entry.batches.len(), driver.applied(entry));
            assert_eq!(done.batches.len(), told);
            assert!(done.release().is_empty());
        }
        let (_, answer) = append(&mut driver, "late", Expected::Any, 1).unwrap();
        assert_eq!(refusal(&answer).kind(), ErrorKind::NotLeader);
        let head = driver.log().published().head("s").unwrap().map_or(0, |head| head.last_seq.0);
        assert_eq!(head, stored as u64);
        // it is told so, and leads again later
        assert!(driver.abandon(&GroupLost::Unknown(Arc::from("it follows"))).release().is_empty());
        driver.lead(LeaderId { term: 6, node: 1 }, last.0, last);
        assert!(append(&mut driver, "late", Expected::Any, 2).is_none());
        assert_eq!(take(&mut driver).batches[0].0, last.next());
    }
}

#[test]
fn a_late_word_of_a_leadership_gives_no_index_twice() {
    let mut driver = driver();
    let blank = |leader, number| Committed { leader, number, index: LogIndex(number), batches: vec![] };
    let _ = driver.applied(blank(ME, 1)).release();
    // it was lost before its owner hears of it
    let _ = driver.applied(blank(OTHER, 2)).release();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "a", Expected::Empty, 1).is_none());
    // nobody stores that under this number any more
    assert_eq!(take(&mut driver).number, 2);
    let answers = driver.applied(blank(OTHER, 3)).release();
    assert!(matches!(refusal(&answers[0].1), AppendError::OutcomeUnknown { .. }));
    assert_eq!(refusal(&append(&mut driver, "a", Expected::Empty, 2).unwrap().1).kind(), ErrorKind::NotLeader);
}

/// The word of a proposal that was given up comes late: another one is on its way to its place, which nobody may call not stored for that.
#[test]
fn what_is_heard_of_a_proposal_that_was_given_up_is_not_said_of_the_next_one() {
    let mut driver = driver();
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "a", Expected::Empty, 1).is_none());
    let given_up = take(&mut driver);
    assert!(driver.has_proposed(&given_up));
    let answers = driver.abandon(&GroupLost::Unknown(Arc::from("the log went on from files"))).release();
    assert_eq!((answers.len(), driver.has_proposed(&given_up)), (1, false));
    driver.lead(ME, 1, LogIndex(1));
    assert!(append(&mut driver, "b", Expected::Empty, 2).is_none());
    let next = take(&mut driver);
    assert_eq!((next.leader, next.number), (given_up.leader, given_up.number));
    assert!(driver.has_proposed(&next) && !driver.has_proposed(&given_up));
    // it may be stored after all, and is not counted as the next one
    assert!(driver.has_in_flight(&entry(&next, ME)) && !driver.has_in_flight(&entry(&given_up, ME)));
}
