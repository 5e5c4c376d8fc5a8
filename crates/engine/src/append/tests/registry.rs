//! Command ids that are unique in a whole store: logs that share a registry, without owners or disks.

use super::*;
use crate::append::registry::Found;
use crate::commands::{CommandRecord, Scope, command_key};
use crate::heads::HeadRecord;

struct Logs {
    registry: Arc<CommandRegistry>,
    rules: Arc<Rules>,
    clocks: Arc<ClosedClocks>,
}

/// What became of a request.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    Stored,
    Storable,
    Known,
    /// Another stream type has the id.
    Taken(String),
    /// Another log must decide first.
    Waits(String),
    Refused(ErrorKind),
}

fn logs() -> Logs {
    let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', \
                id.command_id.unique_scope = 'store');";
    let declared = strandline_deql::parse_file("t.deql", text).unwrap();
    let rules = Rules::new(&declared.stores[0].config, (1, 2));
    Logs { registry: Arc::default(), rules, clocks: ClosedClocks::new(Micros::MIN) }
}

impl Logs {
    fn log(&self, stream_type: &str) -> Log {
        let key = LogKey::single(stream_type);
        let clock = self.clocks.open_log();
        let mut log = Log::new(key, Arc::clone(&self.rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
        log.join(&self.registry);
        log
    }
}

fn request(stream_type: &str, unit: BatchUnit, commands: &[Option<&str>]) -> AppendRequest {
    let mut builder = BatchBuilder::new(stream_type, unit);
    for command_id in commands {
        let event = EventInput { stream_id: "s", event_type: "E", command_id: *command_id, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    AppendRequest::new(builder.finish().unwrap())
}

fn said(decision: Decision) -> Said {
    let answer = match decision {
        Decision::Store { .. } => return Said::Stored,
        Decision::Answer { answer, .. } => answer,
    };
    match answer {
        Answer::Again(Again::Elsewhere { log }) => Said::Waits(log.to_string()),
        Answer::Again(again) => panic!("{again:?}"),
        Answer::Done(outcome) if outcome.duplicate => Said::Known,
        Answer::Done(_) => Said::Storable,
        Answer::Refused(refusal) => match &refusal.error {
            AppendError::CommandElsewhere { stream_type, .. } => Said::Taken(stream_type.to_string()),
            error => Said::Refused(error.kind()),
        },
    }
}

fn taken() -> Said {
    Said::Taken("T".to_owned())
}

fn waits() -> Said {
    Said::Waits("T".to_owned())
}

/// One event with a command, as the next batch of its log.
fn send(log: &mut Log, command: &str) -> Said {
    let stream_type = log.key().stream_type.to_string();
    let index = LogIndex(log.accepted_through().0 + 2);
    said(log.accept(&request(&stream_type, BatchUnit::Append, &[Some(command)]), NOW, u128::from(index.0), index))
}

fn commit(log: &mut Log) {
    let through = log.accepted_through();
    drop(log.committed(through));
}

#[test]
fn of_two_logs_the_first_has_the_command_and_the_other_hears_it_when_it_is_durable() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    assert_eq!(send(&mut t, "c"), Said::Stored);
    assert_eq!(send(&mut u, "c"), waits(), "nobody knows yet");
    assert_eq!(send(&mut u, "d"), Said::Stored, "it waits for nothing");
    commit(&mut t);
    assert_eq!((send(&mut u, "c"), send(&mut t, "c")), (taken(), Said::Known));
    assert_eq!(logs.registry.len(), 2, "what was refused holds nothing");
    // a log that comes later
    assert_eq!(send(&mut logs.log("V"), "c"), taken());
}

#[test]
fn a_batch_that_never_was_gives_its_commands_back() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    assert_eq!((send(&mut t, "before"), send(&mut u, "mine")), (Said::Stored, Said::Stored));
    commit(&mut t);
    commit(&mut u);
    assert_eq!((send(&mut t, "c"), send(&mut u, "c")), (Said::Stored, waits()));
    t.roll_back();
    assert_eq!((send(&mut u, "c"), send(&mut u, "before")), (Said::Stored, taken()));
    assert_eq!(send(&mut t, "c"), Said::Waits("U".to_owned()));
    assert_eq!(logs.registry.len(), 3);
}

#[test]
fn what_is_not_stored_holds_nothing() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    let mut refused = request("T", BatchUnit::Append, &[Some("c")]);
    refused.expected = Expected::At(Seq(9));
    let index = LogIndex(2);
    assert_eq!(said(t.accept(&refused, NOW, 1, index)), Said::Refused(ErrorKind::WrongExpectedSeq));
    let mut dry = request("T", BatchUnit::Append, &[Some("c")]);
    dry.inspect = true;
    assert_eq!(said(t.accept(&dry, NOW, 2, index)), Said::Storable);
    assert!(logs.registry.is_empty());
    assert_eq!((send(&mut u, "c"), said(t.accept(&dry, NOW, 3, index))), (Said::Stored, Said::Waits("U".to_owned())));
    commit(&mut u);
    assert_eq!(said(t.accept(&dry, NOW, 4, index)), Said::Taken("U".to_owned()));
    // a log that does not exist looks, and takes no place
    let clock = logs.clocks.open_log();
    let key = LogKey::single("V");
    let mut unborn = Log::new(key, Arc::clone(&logs.rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    unborn.visit(&logs.registry);
    for (command, wanted) in [("c", Said::Taken("U".to_owned())), ("new", Said::Storable)] {
        let mut dry = request("V", BatchUnit::Append, &[Some(command)]);
        dry.inspect = true;
        assert_eq!(said(unborn.accept(&dry, NOW, 5, index)), wanted);
    }
    assert_eq!(logs.registry.len(), 1);
}

#[test]
fn rows_of_a_body_are_judged_one_by_one() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    send(&mut t, "c");
    commit(&mut t);
    let mut body = request("U", BatchUnit::Rows, &[Some("a"), Some("c"), None, Some("b")]);
    let refused = said(u.accept(&body, NOW, 1, LogIndex(2)));
    assert_eq!((refused, logs.registry.len()), (taken(), 1), "nothing of it is held");
    body.on_error = OnError::Skip;
    let Decision::Store { outcome, .. } = u.accept(&body, NOW, 2, LogIndex(2)) else { panic!("nothing is stored") };
    assert_eq!(outcome.rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1]);
    assert_eq!((logs.registry.len(), send(&mut t, "b")), (3, Said::Waits("U".to_owned())));
}

/// Runs that hold one command.
struct Runs(u128, Option<&'static str>);

impl Settled for Runs {
    fn head(&self, _: u128) -> Result<Option<HeadRecord>, SettledError> {
        Ok(None)
    }

    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError> {
        if let Some(broken) = self.1 {
            return Err(SettledError(broken.to_owned()));
        }
        let record = CommandRecord { digest: 1, first_seq: Seq::FIRST, count: 1, ingested_at: NOW };
        Ok((key == self.0).then_some(record))
    }

    fn chunk(&self, _: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(None)
    }
}

#[test]
fn what_left_memory_is_found_in_the_runs_of_its_log() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    send(&mut t, "c");
    commit(&mut t);
    let key = command_key(Scope::Store, logs.rules.digest_key, "T", 0, "c");
    assert_eq!(key, command_key(Scope::Store, logs.rules.digest_key, "U", 7, "c"), "whatever stream it is of");
    let through = t.committed_through();
    t.compacted(through, Arc::new(Runs(key, None)));
    while t.settle_step() {}
    assert!(logs.registry.is_empty());
    assert_eq!((send(&mut u, "c"), send(&mut u, "d")), (taken(), Said::Stored));
    // runs that cannot be read may hold any command
    t.compacted(through, Arc::new(Runs(key, Some("a page rotted"))));
    assert_eq!(send(&mut u, "e"), Said::Refused(ErrorKind::Unavailable));
    let plain = request("U", BatchUnit::Append, &[None]);
    assert_eq!(said(u.accept(&plain, NOW, 9, LogIndex(20))), Said::Stored, "it names none");
}

#[test]
fn a_log_that_may_have_more_than_is_known_stops_new_commands_everywhere() {
    let logs = logs();
    let (mut t, mut u) = (logs.log("T"), logs.log("U"));
    send(&mut t, "c");
    send(&mut u, "mine");
    commit(&mut t);
    commit(&mut u);
    t.doubt("the outcome of a commit is unknown");
    assert_eq!(send(&mut u, "new"), Said::Refused(ErrorKind::Unavailable));
    assert_eq!((send(&mut u, "mine"), send(&mut u, "c")), (Said::Known, taken()), "this much is known");
    assert_eq!(logs.registry.len(), 2);
}

#[test]
fn a_restart_changes_no_answer_in_another_log() {
    let before = logs();
    let mut t = before.log("T");
    let first = request("T", BatchUnit::Append, &[Some("c")]);
    let Decision::Store { batch, .. } = t.accept(&first, NOW, 1, LogIndex(2)) else { panic!("not stored") };
    let after = logs();
    let (mut t, mut u) = (after.log("T"), after.log("U"));
    t.replay(LogIndex(2), &batch);
    assert_eq!((send(&mut u, "c"), send(&mut t, "c")), (taken(), Said::Known));
}

#[test]
fn of_requests_that_share_commands_the_first_one_is_not_stopped() {
    let logs = logs();
    let (t, u, v) = (logs.log("T"), logs.log("U"), logs.log("V"));
    let of = |log: &Log, keys: [u128; 2]| log.claim(keys.into_iter(), false).unwrap();
    let in_flight = |stream_type: &str| Found::InFlight(LogKey::single(stream_type));
    let first = of(&t, [1, 2]);
    let second = of(&u, [2, 3]);
    assert_eq!((first.look(1).unwrap(), first.look(2).unwrap()), (Found::Nowhere, Found::Nowhere));
    assert_eq!((second.look(2).unwrap(), second.look(3).unwrap()), (in_flight("T"), Found::Nowhere));
    let third = of(&v, [3, 4]);
    assert_eq!(third.look(3).unwrap(), in_flight("U"));
    // who must wait gives back first
    drop((second, third));
    assert_eq!(logs.registry.len(), 2);
    assert_eq!(of(&v, [3, 4]).look(3).unwrap(), Found::Nowhere);
    drop(first);
    assert!(logs.registry.is_empty());
}
