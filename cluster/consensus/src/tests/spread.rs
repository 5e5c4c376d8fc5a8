//! Logs that are spread, by seed: five nodes, of which those that neither vote in the meta group nor need all logs hold the ones in which they vote (or all of them do). Two
//! stream types of several buckets, three voters each; places move, who follows changes, nodes end, disks fail and fill, the network parts, clocks are off.
//!
//! ```text
//!  one process   meta group (its real machine) ─> state ─> looks: opens logs, puts them aside, takes them back
//!  over one disk                                  └──────> steers what it leads, reports what is settled, hands over
//!  clients ── any node that holds the stream's log, then its leader ──> owners (the engine's driver, as in `world`)
//! ```
//!
//! The parts of a process (`life`) do what `replicas/open.rs`, `replicas/elsewhere.rs` (of the workers) and `control` do, over the same rules
//! ([`MetaState::lacks`], `steer`): those run in actors and over sockets. What is theirs alone is shown with real processes
//! (`tests/blackbox/cluster/spread.rs`): reads and appends at a node that holds nothing of a log, the global order, what is kept over a restart.

mod life;

use super::clients::{Held, Seen, Served, agreed, answered, check, client, in_still_time, seeds, told};
use super::disks::{fill, frames_of, mend, spoil};
use super::tape::{NOW, try_open};
use super::wire::{Link, Net, Weather};
use super::world::{Luck, Owner, SlowIo, clock};
use crate::control::MetaMachine;
use crate::machine::{Machine, Payload};
use crate::meta::{Addresses, Command, Erasable, Followers, MetaState, NodeFacts, Outcome, Placement, Refusal, Roles};
use crate::storage::Storage;
use crate::transport::{GroupId, NodeId, Transport};
use crate::types::Proposal;
use crate::{Group, GroupParts};
use life::Life;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_event::{LogKey, SharedBytes};
use strandline_wal::LogIo;
use strandline_wal::crash_disk::CrashDisk;
use tokio::time::{Instant, sleep, timeout};

const NODES: u64 = 5;
const REPLICATION: u8 = 3;
const STORE: &str = "spread";
const TYPES: [&str; 2] = ["A", "B"];
const BUCKETS: u32 = 2;
/// Version of commands as payloads.
const SCHEMA: u16 = 1;

fn id_of(log: &LogKey) -> GroupId {
    GroupId::Log { store: Arc::from(STORE), log: log.clone() }
}

/// All logs.
fn logs() -> Vec<LogKey> {
    let of =
        |name: &str| (0..BUCKETS).map(|bucket| LogKey { stream_type: Arc::from(name), bucket }).collect::<Vec<_>>();
    TYPES.into_iter().flat_map(of).collect()
}

/// Two streams of each log.
fn streams() -> Vec<(String, LogKey)> {
    let of = |log: LogKey| {
        let ids = (0..).map(|n| format!("{}{n}", log.stream_type));
        let mine = ids.filter(|id| LogKey::of_stream(&log.stream_type, id, BUCKETS) == log);
        mine.take(2).map(|id| (id, log.clone())).collect::<Vec<_>>()
    };
    logs().into_iter().flat_map(of).collect()
}

/// The cluster.
struct Spread {
    luck: Luck,
    weather: Mutex<Weather>,
    disks: BTreeMap<NodeId, CrashDisk>,
    /// How far each node's clock is off, in microseconds.
    skew: BTreeMap<NodeId, i64>,
    running: Mutex<BTreeMap<NodeId, Arc<Life>>>,
    began: Instant,
    streams: Vec<(String, LogKey)>,
    /// Replicas and leaderships that were moved.
    moves: AtomicU64,
}

impl Net for Spread {
    fn luck(&self) -> &Luck {
        &self.luck
    }

    fn weather(&self) -> &Mutex<Weather> {
        &self.weather
    }

    fn found(&self, node: NodeId, group: &GroupId) -> Option<Arc<Group>> {
        self.life(node)?.group(group)
    }
}

impl Served for Spread {
    fn some_node(&self) -> NodeId {
        1 + self.luck.below(NODES)
    }

    fn owner(&self, node: NodeId, log: &LogKey) -> Option<Arc<Owner>> {
        self.life(node)?.owner(log)
    }

    fn group(&self, node: NodeId, log: &LogKey) -> Option<Arc<Group>> {
        self.life(node)?.group(&id_of(log))
    }

    fn stream(&self) -> (String, LogKey) {
        let at = self.luck.below(self.streams.len() as u64);
        self.streams[usize::try_from(at).unwrap()].clone()
    }
}

fn facts(id: NodeId) -> NodeFacts {
    let at = |port: u64| format!("node{id}:{port}");
    let addresses = Addresses { cluster: at(1), http: at(2), native: String::new() };
    NodeFacts { id, instance: u128::from(id), roles: Roles::parse("ingest").unwrap(), addresses }
}

impl Spread {
    /// All nodes are members and all logs where they shall be. Must be called in a runtime of one thread whose clock stands still.
    async fn new(seed: u64) -> Arc<Self> {
        let luck = Luck::of(seed);
        let skew = (1..=NODES).map(|node| (node, luck.skew_us())).collect();
        let spread = Arc::new(Self {
            luck,
            weather: Mutex::new(Weather::fair()),
            disks: (1..=NODES).map(|node| (node, CrashDisk::new())).collect(),
            skew,
            running: Mutex::default(),
            began: Instant::now(),
            streams: streams(),
            moves: AtomicU64::new(0),
        });
        for node in 1..=NODES {
            spread.start(node).await;
        }
        spread.insist(&Command::Create { cluster: 7, replication: REPLICATION, node: facts(1) }).await;
        spread.insist(&Command::Follow(Followers::Needed)).await;
        for node in 2..=NODES {
            spread.insist(&Command::AddNode(facts(node))).await;
            spread.insist(&Command::Admit(node)).await;
        }
        spread.insist(&Command::DeclareStore { replaces: 0, name: STORE.into(), statement: "a".into() }).await;
        for name in TYPES {
            let (store, name, erasable) = (STORE.to_owned(), name.to_owned(), Erasable::No);
            let register = Command::RegisterType { store, name, buckets: BUCKETS, erasable, registered: true };
            spread.insist(&register).await;
        }
        spread
    }

    /// Of a process that runs.
    fn life(&self, node: NodeId) -> Option<Arc<Life>> {
        self.running.lock().get(&node).filter(|life| life.lives()).cloned()
    }

    fn lives(&self) -> Vec<Arc<Life>> {
        (1..=NODES).filter_map(|node| self.life(node)).collect()
    }

    /// A process starts over what its disk holds. Which logs it opens it hears from the meta group.
    async fn start(self: &Arc<Self>, node: NodeId) {
        let (io, dead) = SlowIo::of(&self.luck);
        let opened = try_open(&self.disks[&node], &LogKey::single("meta"), node, node == 1, true).unwrap();
        assert_eq!(opened.recovered.corrupt, [], "meta on node {node}");
        let (disk, clock) = (Arc::clone(&io) as Arc<dyn LogIo>, clock(self.began, self.skew[&node]));
        let storage = Storage::new(opened.writer.unwrap(), disk, Arc::clone(&clock));
        let link: Arc<dyn Transport> =
            Arc::new(Link { net: Arc::downgrade(self), from: node, dead: Arc::clone(&dead) });
        let machine = Arc::new(MetaMachine::default());
        let parts = GroupParts {
            id: GroupId::Meta,
            node,
            storage,
            machine: Arc::clone(&machine) as Arc<dyn Machine>,
            transport: Arc::clone(&link),
        };
        let meta = Group::open(parts).await.unwrap();
        let (logs, broken) = (Mutex::default(), Mutex::default());
        let life = Arc::new(Life { node, dead, io, clock, link, machine, meta, logs, broken });
        self.running.lock().insert(node, Arc::clone(&life));
        tokio::spawn(Arc::clone(&life).look(Arc::downgrade(self)));
        tokio::spawn(life.steer(Arc::downgrade(self)));
    }

    /// The process ends at once; `power`: what its disk had not synced is at the mercy of the dice.
    async fn kill(&self, node: NodeId, power: bool) {
        let life = self.running.lock().remove(&node);
        let Some(life) = life else { return };
        life.dead.store(true, Ordering::SeqCst);
        for group in life.groups() {
            group.abort().await;
        }
        drop(life);
        if power {
            self.disks[&node].crash(&mut self.luck.dice());
        }
        assert_eq!(self.disks[&node].violations(), Vec::<String>::new());
    }

    /// A disk takes everything again.
    fn mend(&self, node: NodeId) {
        mend(&self.disks[&node]);
        let life = self.running.lock().get(&node).cloned();
        life.iter().for_each(|life| life.io.retry());
    }

    /// Everything gets through again, and disks have room.
    fn heal(&self) {
        *self.weather.lock() = Weather::fair();
        (1..=NODES).for_each(|node| self.mend(node));
    }

    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        let weather = self.weather.lock();
        weather.cut.contains(&(one, other)) || weather.cut.contains(&(other, one))
    }

    /// A node is asked by another one to ask for votes; nothing: it cannot be reached, or has no such group.
    async fn elect(&self, from: NodeId, to: NodeId, id: &GroupId) -> Option<Arc<Group>> {
        let group = self.found(to, id).filter(|_| !self.is_cut(from, to))?;
        group.elect().await.is_ok().then_some(group)
    }

    /// A command goes to whoever leads the meta group and can be reached; what it did, where that is known.
    async fn say(&self, from: NodeId, command: &Command) -> Option<Result<Outcome, Refusal>> {
        for life in self.lives().into_iter().filter(|life| !self.is_cut(from, life.node)) {
            let Some((leader, number)) = life.machine.next() else { continue };
            let payload = Payload::new(SCHEMA, NOW, SharedBytes::copy_aligned(&command.encode()));
            let proposal = Proposal { leader, number, payloads: Arc::from([payload]) };
            if let Ok(Ok(())) = timeout(Duration::from_secs(3), life.meta.propose(proposal)).await {
                return life.machine.outcome(number);
            }
        }
        None
    }

    /// The same until it is done.
    async fn insist(&self, command: &Command) {
        for _ in 0..300 {
            match self.say(1, command).await {
                Some(Ok(_)) => return,
                Some(Err(refusal)) => panic!("{command:?}: {refusal}"),
                None => sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("in vain: {command:?}");
    }

    /// A replica, or who leads, moves somewhere else, if that may be.
    async fn move_something(&self) {
        let by = 1 + self.luck.below(NODES);
        let Some(life) = self.life(by) else { return };
        let state = life.machine.state();
        let pick = |of: usize| usize::try_from(self.luck.below(of.max(1) as u64)).unwrap();
        let Some((group, placement)) = state.groups().iter().nth(pick(state.groups().len())) else { return };
        let Some(from) = placement.voters.iter().copied().nth(pick(placement.voters.len())) else { return };
        let (group, to) = (group.clone(), 1 + self.luck.below(NODES));
        let leads = self.luck.one_in(3);
        let command = if leads { Command::MoveLead { group, from, to } } else { Command::Move { group, from, to } };
        if matches!(self.say(by, &command).await, Some(Ok(Outcome::Changed))) {
            self.moves.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The first log moves to a node that holds nothing of it.
    async fn move_one(&self) {
        let state = self.lives()[0].machine.state();
        let group = id_of(&logs()[0]);
        let from = *state.groups()[&group].voters.first().unwrap();
        let to = (1..=NODES).find(|node| state.lacks(*node, &group)).unwrap();
        self.insist(&Command::Move { group, from, to }).await;
        self.moves.fetch_add(1, Ordering::SeqCst);
    }

    /// Every node holds what it shall and nothing else, and all replicas of each group have all of it.
    fn is_at_rest(&self) -> bool {
        let lives = self.lives();
        let Some(state) = lives.first().map(|life| life.machine.state()) else { return false };
        let agree = lives.len() as u64 == NODES && lives.iter().all(|life| life.machine.with(|other| *other == state));
        agree
            && state.groups().len() == 1 + logs().len()
            && state.groups().iter().all(|(id, placement)| rests(&lives, id, placement))
    }

    /// The state in which it comes to rest.
    async fn settle(&self, about: &str) -> MetaState {
        for _ in 0..600 {
            if self.is_at_rest() {
                return self.lives()[0].machine.state();
            }
            sleep(Duration::from_millis(200)).await;
        }
        let said = self.lives().into_iter().map(|life| (life.node, life.meta.status(), life.machine.state()));
        panic!(
            "{about}: the cluster does not come to rest after everything was healed: {:?}",
            said.collect::<Vec<_>>()
        );
    }

    /// What the replicas of all logs hold is the same, and the history of each is linearizable. Gives what they hold.
    fn compare(&self, history: &[Seen], about: &str) -> String {
        let (lives, mut all) = (self.lives(), String::new());
        for log in logs() {
            let held = |life: &Arc<Life>| {
                let (owner, group) = (life.owner(&log)?, life.group(&id_of(&log))?);
                Some(Held { node: life.node, owner, group })
            };
            let replicas: Vec<Held> = lives.iter().filter_map(held).collect();
            let about = format!("{about}, {log}");
            let stored = agreed(&replicas, history, &about);
            let of_log: Vec<Seen> = history.iter().filter(|seen| seen.log == log).cloned().collect();
            check(&of_log, &stored, &about);
            all.push_str(&format!(" {log}: {stored:?}"));
        }
        let meta = frames_of(lives[0].meta.storage());
        for life in &lives {
            assert_eq!(frames_of(life.meta.storage()), meta, "{about}: the meta group's log on node {}", life.node);
        }
        all
    }
}

/// Whether a group is where it shall be, led, and all of its replicas have all of it.
fn rests(lives: &[Arc<Life>], id: &GroupId, placement: &Placement) -> bool {
    let mut seen = BTreeSet::new();
    for life in lives {
        let Some(group) = life.group(id) else {
            if placement.is_on(life.node) {
                return false;
            }
            continue;
        };
        let now = group.status();
        let is_as_placed =
            now.voters == placement.voters && now.learners == placement.learners && !now.is_joint && !now.is_changing;
        if !placement.is_on(life.node) || !is_as_placed || now.applied != now.last || now.leader.is_none() {
            return false;
        }
        seen.insert((now.leader.map(|(leader, _)| leader), now.last));
    }
    placement.is_settled() && seen.len() == 1
}

/// Kills, cuts, lets disks fail, moves and heals until then; at the end everything is whole again.
async fn trouble(spread: &Arc<Spread>, until: Instant) {
    let luck = &spread.luck;
    while Instant::now() < until {
        sleep(Duration::from_millis(300 + luck.below(2_500))).await;
        let node = 1 + luck.below(NODES);
        let other = 1 + (node + luck.below(NODES - 1)) % NODES;
        match luck.below(12) {
            0 => {
                spread.kill(node, !luck.one_in(3)).await;
                sleep(Duration::from_millis(luck.below(4_000))).await;
                again(spread, node).await;
            }
            1 => {
                // all at once: the power of the room
                for node in 1..=NODES {
                    spread.kill(node, true).await;
                }
                for node in 1..=NODES {
                    again(spread, node).await;
                }
            }
            2 => {
                let mut weather = spread.weather.lock();
                for peer in (1..=NODES).filter(|peer| *peer != node) {
                    weather.cut.extend([(node, peer), (peer, node)]);
                }
            }
            // one way only
            3 => drop(spread.weather.lock().cut.insert((node, other))),
            4 => {
                let mut weather = spread.weather.lock();
                (weather.loses_one_in, weather.repeats_one_in) = (6 + luck.below(20), 8);
                weather.delay_ms_max = luck.below(100);
            }
            5 => {
                // a process whose logs cannot be written or synced has ended by then, or ends now
                spoil(&spread.disks[&node], luck);
                sleep(Duration::from_millis(luck.below(3_000))).await;
                spread.kill(node, !luck.one_in(3)).await;
                again(spread, node).await;
            }
            6 => fill(&spread.disks[&node], luck),
            7..=9 => spread.move_something().await,
            10 => {
                let followers = Followers::EACH[usize::try_from(luck.below(3)).unwrap()];
                let keep = Command::Keep { store: STORE.into(), keeps: luck.one_in(3) };
                // whether they are heard or not
                for command in [Command::Follow(followers), keep] {
                    let _ = spread.say(node, &command).await;
                }
            }
            _ => spread.heal(),
        }
    }
    spread.heal();
    for node in 1..=NODES {
        if spread.life(node).is_none_or(|life| !life.broken.lock().is_empty()) {
            spread.kill(node, false).await;
            again(spread, node).await;
        }
    }
}

/// A process starts again, over a disk that takes everything.
async fn again(spread: &Arc<Spread>, node: NodeId) {
    spread.mend(node);
    spread.start(node).await;
}

async fn run(seed: u64, seconds: u64) -> String {
    let about = format!("seed {seed}");
    let spread = Spread::new(seed).await;
    let state = spread.settle(&about).await;
    let lacking = (1..=NODES).filter(|node| state.lacks_some(*node, STORE)).count();
    assert!(lacking > 0, "{about}: every node holds every log");
    let until = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..4).map(|name| tokio::spawn(client(Arc::clone(&spread), name, until))).collect();
    spread.move_one().await;
    trouble(&spread, until).await;
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    spread.settle(&about).await;
    history.extend(answered(&spread, 8, &about).await);
    let mut all = String::new();
    for followers in [Followers::Needed, Followers::Fewest] {
        spread.insist(&Command::Follow(followers)).await;
        spread.insist(&Command::Keep { store: STORE.into(), keeps: false }).await;
        let state = spread.settle(&about).await;
        state.check().unwrap();
        let alone = |(id, of): (&GroupId, &Placement)| *id == GroupId::Meta || of.learners.is_empty();
        assert!(followers == Followers::Needed || state.groups().iter().all(alone), "{about}: {:?}", state.groups());
        all = spread.compare(&history, &about);
    }
    for node in 1..=NODES {
        spread.kill(node, false).await;
    }
    let moves = spread.moves.load(Ordering::SeqCst);
    format!("{about}: {}, {moves} moves,{all}", told(&history))
}

#[test]
fn logs_that_are_spread_over_five_nodes_move_under_faults_and_lose_nothing() {
    for seed in seeds(2) {
        println!("{}", in_still_time(run(seed, 25)));
    }
}

#[test]
fn a_seed_of_spread_logs_replays_exactly() {
    let once = || in_still_time(run(77, 8));
    assert_eq!(once(), once());
}
