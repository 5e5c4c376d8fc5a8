//! Command ids of a store on a cluster: a log that must reserve, the keeper's table, and all of it together in any order of steps.

use super::*;
use crate::commands::{Scope, command_key};
use proptest::prelude::*;
use std::collections::BTreeSet;
use strandline_wal::LeaderId;

const FIRST: LeaderId = LeaderId { term: 1, node: 1 };

struct Node {
    registry: Arc<CommandRegistry>,
    rules: Arc<Rules>,
    clocks: Arc<ClosedClocks>,
}

fn node() -> Node {
    let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', \
                id.command_id.unique_scope = 'store');";
    let declared = strandline_deql::parse_file("t.deql", text).unwrap();
    let rules = Rules::new(&declared.stores[0].config, (1, 2));
    Node { registry: Arc::default(), rules, clocks: ClosedClocks::new(Micros::MIN) }
}

impl Node {
    fn log(&self, stream_type: &str) -> Log {
        let (key, clock) = (LogKey::single(stream_type), self.clocks.open_log());
        let mut log = Log::new(key, Arc::clone(&self.rules), clock, Arc::new(NothingSettled), LogIndex::ZERO);
        log.join(&self.registry);
        log
    }

    fn key(&self, command: &str) -> u128 {
        command_key(Scope::Store, self.rules.digest_key, "", 0, command)
    }
}

fn request(stream_type: &str, unit: BatchUnit, commands: &[&str], ids: Option<Arc<Reservation>>) -> AppendRequest {
    let mut builder = BatchBuilder::new(stream_type, unit);
    for command in commands {
        let event = EventInput { stream_id: "s", event_type: "E", command_id: Some(*command), ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    AppendRequest { reservation: ids, ..AppendRequest::new(builder.finish().unwrap()) }
}

fn accept(log: &mut Log, request: &AppendRequest) -> Decision {
    let index = LogIndex(log.accepted_through().0 + 1);
    log.accept(request, NOW, u128::from(index.0), index)
}

/// What a decision asks for; nothing: it is another one.
fn wanted(decision: Decision) -> Option<ToReserve> {
    match decision {
        Decision::Answer { answer: Answer::Again(Again::Reserve(wanted)), .. } => Some(wanted),
        _ => None,
    }
}

fn granted(round: u64, taken: Vec<(u128, LogKey)>) -> Granted {
    Granted { word: Word { from: 5, round }, taken }
}

#[test]
fn a_new_command_is_stored_under_the_leadership_and_by_a_word_that_hold() {
    let node = node();
    let mut log = node.log("T");
    log.reserves_under(FIRST);
    let plain = request("T", BatchUnit::Append, &["c"], None);
    let to_reserve = wanted(accept(&mut log, &plain)).unwrap();
    assert_eq!(to_reserve, ToReserve { leader: FIRST, keys: vec![node.key("c")] });
    assert!(node.registry.is_empty(), "who must reserve holds nothing meanwhile");
    let mut dry = plain.clone();
    dry.inspect = true;
    assert!(wanted(accept(&mut log, &dry)).is_some(), "whether it could be stored is not known either");
    let gate = Arc::new(Gate::default());
    let reserve = |to_reserve: &ToReserve, round: u64| {
        Arc::new(Reservation::new(to_reserve.clone(), granted(round, Vec::new()), None, Arc::clone(&gate)))
    };
    let first = reserve(&to_reserve, 1);
    let other = request("T", BatchUnit::Append, &["d"], Some(Arc::clone(&first)));
    let other = wanted(accept(&mut log, &other)).expect("another id was not reserved");
    let with = request("T", BatchUnit::Append, &["c"], Some(first));
    assert!(matches!(accept(&mut log, &with), Decision::Store { .. }));
    drop(log.committed(log.accepted_through()));
    // a retry needs none
    let Decision::Answer { answer: Answer::Done(known), .. } = accept(&mut log, &plain) else { panic!("not known") };
    assert!(known.duplicate);
    // a word that is over, one that holds, another leadership
    let (over, later) = (reserve(&other, 3), reserve(&other, 4));
    gate.close_before(Word { from: 5, round: 4 });
    gate.close_before(Word { from: 5, round: 2 });
    assert!(wanted(accept(&mut log, &request("T", BatchUnit::Append, &["d"], Some(over)))).is_some());
    log.reserves_under(LeaderId { term: 3, node: 1 });
    assert!(wanted(accept(&mut log, &request("T", BatchUnit::Append, &["d"], Some(Arc::clone(&later))))).is_some());
    log.reserves_under(FIRST);
    assert!(matches!(accept(&mut log, &request("T", BatchUnit::Append, &["d"], Some(later))), Decision::Store { .. }));
}

#[test]
fn what_the_keeper_finds_elsewhere_is_refused_row_by_row_and_stays_so() {
    let node = node();
    let mut log = node.log("T");
    log.reserves_under(FIRST);
    let commands = ["a", "b", "c"];
    let mut body = request("T", BatchUnit::Rows, &commands, None);
    body.on_error = OnError::Skip;
    let to_reserve = wanted(accept(&mut log, &body)).unwrap();
    assert_eq!(to_reserve.keys, commands.map(|command| node.key(command)));
    let gate = Arc::new(Gate::default());
    let taken = vec![(node.key("b"), LogKey::single("U"))];
    let first = Reservation::new(to_reserve, granted(1, taken), None, Arc::clone(&gate));
    // the word is over by the time: what was found is still true
    gate.close_before(Word { from: 6, round: 1 });
    body.reservation = Some(Arc::new(first));
    let again = wanted(accept(&mut log, &body)).unwrap();
    assert_eq!(again.keys, [node.key("a"), node.key("c")]);
    let granted = Granted { word: Word { from: 6, round: 1 }, taken: Vec::new() };
    let second = Reservation::new(again, granted, body.reservation.as_deref(), gate);
    body.reservation = Some(Arc::new(second));
    let Decision::Store { outcome, .. } = accept(&mut log, &body) else { panic!("nothing is stored") };
    let [rejected] = &outcome.rejected[..] else { panic!("{:?}", outcome.rejected) };
    assert_eq!(rejected.row, 1);
    assert!(matches!(&rejected.error, AppendError::CommandElsewhere { stream_type, .. } if &**stream_type == "U"));
}

#[test]
fn what_is_committed_stands_above_what_a_leader_of_before_has_in_flight() {
    let node = node();
    let (mut t, mut u, v) = (node.log("T"), node.log("U"), LogKey::single("V"));
    let plain = |stream_type: &str| request(stream_type, BatchUnit::Append, &["c"], None);
    // this node still believes that it leads U
    assert!(matches!(accept(&mut u, &plain("U")), Decision::Store { .. }));
    let apart = self::node();
    let mut elsewhere = apart.log("T");
    let Decision::Store { batch, .. } = accept(&mut elsewhere, &plain("T")) else { panic!("not stored") };
    t.replay(LogIndex(1), &batch);
    u.roll_back();
    let others = node.registry.others(&v, &[node.key("c"), node.key("d")]).unwrap();
    assert_eq!(others, Others { taken: vec![(node.key("c"), LogKey::single("T"))], in_flight: None });
    let own = node.registry.others(&LogKey::single("T"), &[node.key("c")]).unwrap();
    assert_eq!(own, Others::default(), "a log's own ids are its own affair");
}

#[test]
fn the_table_gives_an_id_to_one_log_until_that_is_settled() {
    let (t, u) = (LogKey::single("T"), LogKey::single("U"));
    let mut table = Reservations::new(7);
    let first = table.reserve(&t, &[1, 2]).unwrap();
    assert_eq!(table.reserve(&u, &[3, 2]), Err(t.clone()));
    assert_eq!(table.reserve(&u, &[3]), Ok(first), "what was refused holds nothing");
    assert_eq!(table.reserve(&t, &[2, 4]), Ok(first), "the same log again");
    let before = table.begin_settling();
    assert!(before > first && before < Word { from: 8, round: 1 });
    // what is reserved while a log is being settled stays
    assert_eq!(table.reserve(&t, &[2]), Ok(before));
    table.settled(&t, before);
    assert_eq!((table.len(), table.logs()), (2, BTreeSet::from([t.clone(), u.clone()])));
    assert_eq!(table.reserve(&u, &[1, 4]), Ok(before));
    assert_eq!(table.reserve(&u, &[2]), Err(t.clone()));
    let before = table.begin_settling();
    table.settled(&t, before);
    table.settled(&u, before);
    assert!(table.is_empty());
}

const NODES: usize = 3;
const LOGS: usize = 2;

/// A keeper as one node believes in it.
struct ModelKeeper {
    term: u64,
    from: u64,
    table: Reservations,
    settled: [bool; LOGS],
}

/// What the keeper has recorded and looked up, and no quorum has confirmed yet.
struct Asked {
    keeper: usize,
    from: u64,
    log: usize,
    wanted: ToReserve,
    granted: Granted,
}

/// A cluster of which only command ids are left: logs that elect leaders, and keepers that come and go; each step is one that may
/// come between any others.
struct Model {
    term: u64,
    /// How many keepers have begun.
    begun: u64,
    keepers: [Option<ModelKeeper>; NODES],
    leaders: [LeaderId; LOGS],
    committed: [Vec<u128>; LOGS],
    /// By node and log: who it believes to lead, its gate, how far it has applied, what it has in flight.
    believes: [[LeaderId; LOGS]; NODES],
    gates: [[Arc<Gate>; LOGS]; NODES],
    applied: [[usize; LOGS]; NODES],
    in_flight: [[Vec<(LeaderId, u128)>; LOGS]; NODES],
    asked: Vec<Asked>,
    grants: Vec<(usize, Reservation, ToReserve)>,
    stored: usize,
}

fn name_of(log: usize) -> LogKey {
    LogKey::single(["T", "U"][log])
}

impl Model {
    fn new() -> Self {
        let leader = LeaderId { term: 1, node: 0 };
        Self {
            term: 0,
            begun: 0,
            keepers: [const { None }; NODES],
            leaders: [leader; LOGS],
            committed: Default::default(),
            believes: [[leader; LOGS]; NODES],
            gates: Default::default(),
            applied: Default::default(),
            in_flight: Default::default(),
            asked: Vec::new(),
            grants: Vec::new(),
            stored: 0,
        }
    }

    fn elect_keeper(&mut self, node: usize) {
        self.term += 1;
        self.begin_keeper(node, self.term);
    }

    fn begin_keeper(&mut self, node: usize, term: u64) {
        self.begun += 1;
        let (from, table) = (self.begun, Reservations::new(self.begun));
        self.keepers[node] = Some(ModelKeeper { term, from, table, settled: [false; LOGS] });
    }

    /// It leads again what it led; what its logs hold is there, all else is gone.
    fn restart(&mut self, node: usize) {
        if let Some(term) = self.keepers[node].as_ref().map(|keeper| keeper.term) {
            self.begin_keeper(node, term);
        }
        self.gates[node] = Default::default();
        self.grants.retain(|(_, _, wanted)| wanted.leader.node != node as u64);
        self.asked.retain(|asked| asked.wanted.leader.node != node as u64);
    }

    /// With what the one before has on its way, or without it.
    fn elect_leader(&mut self, node: usize, log: usize, keeps: bool) {
        if keeps {
            self.commit(log);
        }
        let leader = LeaderId { term: self.leaders[log].term + 1, node: node as u64 };
        self.leaders[log] = leader;
        self.believes[node][log] = leader;
        self.in_flight[node][log].clear();
        self.applied[node][log] = self.committed[log].len();
    }

    /// The leader commits what it has in flight; what others have is not of its leadership.
    fn commit(&mut self, log: usize) {
        let leader = self.leaders[log];
        let node = leader.node as usize;
        for (under, key) in std::mem::take(&mut self.in_flight[node][log]) {
            if under == leader {
                self.committed[log].push(key);
                self.stored += 1;
            }
        }
        self.applied[node][log] = self.committed[log].len();
    }

    /// Any keeper, also one that is none any more, settles a log with who leads it.
    fn settle(&mut self, node: usize, log: usize) {
        let Some(keeper) = &mut self.keepers[node] else { return };
        let before = keeper.table.begin_settling();
        self.gates[self.leaders[log].node as usize][log].close_before(before);
        self.commit(log);
        self.applied[node][log] = self.committed[log].len();
        if let Some(keeper) = &mut self.keepers[node] {
            keeper.table.settled(&name_of(log), before);
            keeper.settled[log] = true;
        }
    }

    /// A node that believes that it leads a log asks a node that believes that it is the keeper.
    fn ask(&mut self, asker: usize, keeper: usize, log: usize, key: u128) {
        let leader = self.believes[asker][log];
        let applied = self.applied[keeper];
        let Some(state) = self.keepers[keeper].as_mut().filter(|keeper| keeper.settled == [true; LOGS]) else { return };
        if leader.node != asker as u64 {
            return;
        }
        let Ok(word) = state.table.reserve(&name_of(log), &[key]) else { return };
        let has = |other: &usize| *other != log && self.committed[*other][..applied[*other]].contains(&key);
        let taken = (0..LOGS).find(has).map(|other| (key, name_of(other)));
        let granted = Granted { word, taken: taken.into_iter().collect() };
        let wanted = ToReserve { leader, keys: vec![key] };
        self.asked.push(Asked { keeper, from: state.from, log, wanted, granted });
    }

    /// A quorum says whether it still is the keeper.
    fn confirm(&mut self, place: usize) {
        if self.asked.is_empty() {
            return;
        }
        let Asked { keeper, from, log, wanted, granted } = self.asked.swap_remove(place % self.asked.len());
        let is_keeper = |keeper: &ModelKeeper| keeper.term == self.term && keeper.from == from;
        if !self.keepers[keeper].as_ref().is_some_and(is_keeper) {
            return;
        }
        let gate = Arc::clone(&self.gates[wanted.leader.node as usize][log]);
        self.grants.push((log, Reservation::new(wanted.clone(), granted, None, gate), wanted));
    }

    /// An append with a grant reaches the node that asked for it.
    fn append(&mut self, place: usize) {
        if self.grants.is_empty() {
            return;
        }
        let (log, reservation, wanted) = &self.grants[place % self.grants.len()];
        let (node, key) = (wanted.leader.node as usize, wanted.keys[0]);
        let leader = self.believes[node][*log];
        let flying = self.in_flight[node][*log].iter().any(|(_, known)| *known == key);
        let known = flying || self.committed[*log][..self.applied[node][*log]].contains(&key);
        if !known && reservation.covers(leader, std::iter::once(key)) {
            self.in_flight[node][*log].push((leader, key));
        }
    }

    fn step(&mut self, (what, node, log, key): (u8, usize, usize, u128)) {
        match what {
            0 => self.elect_keeper(node),
            1 => self.elect_leader(node, log, key.is_multiple_of(2)),
            2..4 => self.settle(node, log),
            4..8 => self.ask(self.leaders[log].node as usize, node, log, key),
            8 => self.ask(node, key as usize % NODES, log, key),
            9..12 => self.confirm(key as usize),
            12..15 => self.append(key as usize),
            15 => self.commit(log),
            16 => self.restart(node),
            _ => self.applied[node][log] = (self.applied[node][log] + 1).min(self.committed[log].len()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_id_is_in_one_log_at_most_whatever_comes_between(
        steps in proptest::collection::vec((0u8..18, 0..NODES, 0..LOGS, 1u128..4), 1..150),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            let both = model.committed[0].iter().find(|key| model.committed[1].contains(key));
            prop_assert!(both.is_none(), "{both:?} is in both logs");
        }
    }
}

#[test]
fn what_an_earlier_keeper_granted_is_stored_or_over() {
    let mut model = Model::new();
    model.elect_keeper(1);
    (0..LOGS).for_each(|log| model.settle(1, log));
    model.ask(0, 1, 0, 9);
    model.confirm(0);
    model.append(0);
    assert_eq!(model.stored, 0);
    // another keeper, before what was granted is committed
    model.elect_keeper(2);
    (0..LOGS).for_each(|log| model.settle(2, log));
    assert_eq!((model.stored, &model.committed[0][..]), (1, &[9][..]));
    model.ask(0, 2, 1, 9);
    model.confirm(0);
    model.append(1);
    model.commit(1);
    assert_eq!(model.stored, 1, "it was found in the other log");
    // the keeper of before grants nothing, and what it had granted is over
    model.ask(0, 1, 1, 8);
    model.confirm(0);
    assert_eq!(model.grants.len(), 2);
    model.grants.truncate(1);
    model.committed[0].clear();
    model.applied[0][0] = 0;
    model.append(0);
    assert!(model.in_flight[0][0].is_empty());
}
