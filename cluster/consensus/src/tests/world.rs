//! A cluster in one thread with a clock that stands still: disks that crash (`disks`: and fail), a network that loses, delays, repeats and parts,
//! clocks that are off. Everything random comes from one seed.

use super::tape::{NOW, try_open};
use super::wire::{Link, Net, Weather};
use crate::machine::{Applied, EntryId, Machine, Pointer};
use crate::owner;
use crate::runtime::seed_elections;
use crate::storage::{Clock, Storage};
use crate::transport::{BoxFuture, GroupId, Member, NodeId, Transport};
use crate::{Group, GroupParts};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_engine::append::{
    Answer, AppendRequest, Done, GroupLost, Log, LogDriver, NothingSettled, ReplicatedWriter, Rules, SinkGroup,
};
use strandline_engine::clock::ClosedClocks;
use strandline_event::{BatchBuilder, BatchUnit, EventInput, LogIndex, LogKey, Micros, StampedBatch};
use strandline_wal::crash_disk::{CrashDisk, Dice};
use strandline_wal::io::{FatalIo, OnCommit};
use strandline_wal::{FrameKind, GroupFailed, InlineIo, Last, LogIo, Membership};
use tokio::sync::oneshot;

/// The dice of the run; every choice is one throw.
#[derive(Clone)]
pub(crate) struct Luck(Arc<Mutex<Dice>>);

impl Luck {
    /// Of a seed; from now on election times on this thread follow from it too.
    pub(crate) fn of(seed: u64) -> Self {
        // whatever fails from here on, this is what replays it
        println!("seed {seed}");
        let luck = Self(Arc::new(Mutex::new(Dice::new(seed))));
        seed_elections(Some(luck.below(u64::MAX)));
        luck
    }

    /// Dice of their own for a crash.
    pub(crate) fn dice(&self) -> Dice {
        Dice::new(self.below(u64::MAX))
    }

    /// How far a clock is off, in microseconds.
    pub(crate) fn skew_us(&self) -> i64 {
        self.below(4_000_000).cast_signed() - 2_000_000
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.0.lock().below(n)
    }

    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.0.lock().one_in(n)
    }
}

/// A disk that takes its time, and takes nothing once its process is dead.
pub(super) struct SlowIo {
    inline: InlineIo,
    dead: Arc<AtomicBool>,
    luck: Luck,
}

impl LogIo for SlowIo {
    fn submit(&self, group: strandline_wal::Group, done: OnCommit) {
        // the world is one thread: the time is passed by whoever waits for the answer
        if self.dead.load(Ordering::SeqCst) {
            done(Err(GroupFailed));
            return;
        }
        self.inline.submit(group, done);
        if self.luck.one_in(4) {
            self.inline.background(4);
        }
    }
}

impl SlowIo {
    /// Of a process, and whether that is dead: it ends when a write or a sync fails.
    pub(super) fn of(luck: &Luck) -> (Arc<Self>, Arc<AtomicBool>) {
        let dead = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&dead);
        let inline = InlineIo::new(Arc::new(move |_: &FatalIo| failed.store(true, Ordering::SeqCst)));
        (Arc::new(Self { inline, dead: Arc::clone(&dead), luck: luck.clone() }), dead)
    }

    /// What waits for room is written again.
    pub(super) fn retry(&self) {
        if !self.dead.load(Ordering::SeqCst) {
            self.inline.retry_stalled();
        }
    }
}

/// Term and node of an entry's leader, and its payloads.
pub(crate) type Said = (u64, u64, Vec<Vec<u8>>);

/// What stands for the owner of a log: the engine's driver, and nothing else.
pub(crate) struct Owner {
    driver: Mutex<LogDriver<oneshot::Sender<Answer>>>,
    group: Mutex<Weak<Group>>,
    dead: Arc<AtomicBool>,
    opened: Option<EntryId>,
    clock: Clock,
    ids: AtomicU64,
    me: Mutex<Weak<Self>>,
    /// Everything that was applied, by number: leader and what it says.
    pub(crate) applied: Mutex<BTreeMap<u64, Said>>,
    /// Batches by index, from what was replayed and applied.
    pub(crate) batches: Mutex<BTreeMap<LogIndex, StampedBatch>>,
}

impl Owner {
    pub(crate) fn append(&self, request: AppendRequest) -> oneshot::Receiver<Answer> {
        let (reply, answered) = oneshot::channel();
        let (now, entropy) = ((self.clock)(), u128::from(self.ids.fetch_add(1, Ordering::SeqCst)));
        let answer = self.driver.lock().append(request, now, entropy, reply);
        if let Some((reply, answer)) = answer {
            let _ = reply.send(answer);
        }
        self.pump();
        answered
    }

    /// Somebody asks just when entries were applied, whoever leads by then: a dry run, of which nothing stays.
    fn ask_in_between(&self) {
        let stream_type = Arc::clone(&self.driver.lock().log().key().stream_type);
        let mut builder = BatchBuilder::new(&stream_type, BatchUnit::Append);
        let event = EventInput { stream_id: "s0", event_type: "E", ..EventInput::default() };
        builder.push(&event).unwrap();
        let mut request = AppendRequest::new(builder.finish().unwrap());
        request.inspect = true;
        drop(self.append(request));
    }

    pub(crate) fn head(&self, stream: &str) -> u64 {
        let published = Arc::clone(self.driver.lock().log().published());
        published.head(stream).unwrap().map_or(0, |head| head.last_seq.0)
    }

    fn pump(&self) {
        let Some(SinkGroup::Replicated(batches)) = self.driver.lock().take_group() else { return };
        let (Some(group), Some(me)) = (self.group.lock().upgrade(), self.me.lock().upgrade()) else { return };
        tokio::spawn(async move {
            if let Err(lost) = owner::propose(&group, &batches).await {
                let mut driver = me.driver.lock();
                if driver.has_proposed(&batches) {
                    let done = driver.abandon(&lost);
                    drop(driver);
                    release(done);
                }
            }
            me.pump();
        });
    }
}

fn release(done: Done<oneshot::Sender<Answer>>) {
    for (reply, answer) in done.release() {
        let _ = reply.send(answer);
    }
}

impl Machine for Owner {
    fn opened_through(&self) -> Option<EntryId> {
        self.opened
    }

    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()> {
        for entry in entries {
            if self.dead.load(Ordering::SeqCst) {
                break;
            }
            let said = entry.payloads.iter().map(|payload| payload.whole().to_vec()).collect();
            let leader = entry.id.leader;
            let before = self.applied.lock().insert(entry.id.number, (leader.term, leader.node, said));
            assert!(before.is_none(), "an entry was applied twice");
            let committed = owner::committed_of(&entry).unwrap();
            self.batches.lock().extend(committed.batches.iter().cloned());
            let done = self.driver.lock().applied(committed);
            release(done);
        }
        self.pump();
        self.ask_in_between();
        Box::pin(std::future::ready(()))
    }

    fn leads(&self, first: Option<EntryId>) {
        let mut driver = self.driver.lock();
        match first {
            Some(id) => driver.lead(id.leader, id.number, id.index),
            None => {
                let done = driver.abandon(&GroupLost::Unknown(Arc::from("leadership was lost")));
                drop(driver);
                release(done);
            }
        }
    }

    fn acts(&self) -> bool {
        self.driver.lock().log().published().clock().leads()
    }

    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn install(&self, _: Pointer, _: Option<(Membership, Last)>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing is purged in this world".to_owned())))
    }
}

/// A replica of a log: where it lies, and whose it is.
pub(super) struct Site {
    pub(super) disk: CrashDisk,
    pub(super) node: NodeId,
    pub(super) id: GroupId,
    pub(super) log: LogKey,
    pub(super) founds: bool,
    /// Whether the disk keeps what it acknowledged.
    pub(super) fsync: bool,
    pub(super) clock: Clock,
    /// Where the ids of its events begin.
    pub(super) ids: u64,
}

impl Site {
    /// Opens it over what the disk holds: its owner, and its group.
    pub(super) async fn open(
        self,
        io: Arc<dyn LogIo>,
        dead: &Arc<AtomicBool>,
        transport: Arc<dyn Transport>,
    ) -> Result<(Arc<Owner>, Arc<Group>), String> {
        let (owner, storage) = self.replay(io, dead)?;
        let machine: Arc<dyn Machine> = Arc::clone(&owner) as _;
        let group = Group::open(GroupParts { id: self.id, node: self.node, storage, machine, transport }).await;
        let group = group.map_err(|error| error.to_string())?;
        *owner.group.lock() = Arc::downgrade(&group);
        Ok((owner, group))
    }

    fn replay(&self, io: Arc<dyn LogIo>, dead: &Arc<AtomicBool>) -> Result<(Arc<Owner>, Storage), String> {
        let opened = try_open(&self.disk, &self.log, self.node, self.founds, self.fsync);
        let opened = opened.map_err(|error| error.to_string())?;
        assert_eq!(opened.recovered.corrupt, [], "{} on node {}", self.log, self.node);
        let writer = opened.writer.unwrap();
        let opened = owner::opened_through(&writer);
        let storage = Storage::new(writer, io, Arc::clone(&self.clock));
        let closed = ClosedClocks::new(Micros::MIN).open_log();
        let mut log = Log::new(self.log.clone(), rules(), closed, Arc::new(NothingSettled), LogIndex::ZERO);
        let mut batches = BTreeMap::new();
        let view = storage.view().load();
        if view.last_index() > LogIndex::ZERO {
            for frame in view.frames(view.first_index(), view.last_index()).unwrap() {
                let frame = frame.unwrap();
                if frame.header.kind == FrameKind::Entry {
                    let batch = StampedBatch::from_payload(&frame.payload).unwrap();
                    log.replay(frame.header.index, &batch);
                    batches.insert(frame.header.index, batch);
                }
            }
        }
        log.passed(view.last_index());
        let writer = ReplicatedWriter::new(self.log.clone(), Arc::new(storage.clone()), view.last_index());
        let owner = Arc::new(Owner {
            driver: Mutex::new(LogDriver::new(log, writer)),
            group: Mutex::default(),
            dead: Arc::clone(dead),
            opened,
            clock: Arc::clone(&self.clock),
            ids: AtomicU64::new(self.ids),
            me: Mutex::default(),
            applied: Mutex::default(),
            batches: Mutex::new(batches),
        });
        *owner.me.lock() = Arc::downgrade(&owner);
        Ok((owner, storage))
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) owner: Arc<Owner>,
    pub(crate) group: Arc<Group>,
    pub(super) io: Arc<SlowIo>,
    /// It was killed, or has ended because its disk failed.
    dead: Arc<AtomicBool>,
}

impl Process {
    fn lives(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }
}

pub(crate) struct World {
    pub(crate) luck: Luck,
    pub(crate) weather: Mutex<Weather>,
    pub(super) disks: BTreeMap<NodeId, CrashDisk>,
    /// How far each node's clock is off, in microseconds.
    skew: BTreeMap<NodeId, i64>,
    pub(crate) running: Mutex<BTreeMap<NodeId, Process>>,
    began: tokio::time::Instant,
    group: GroupId,
    /// Who belongs to the group, or shall.
    pub(crate) members: Mutex<Vec<NodeId>>,
    /// Whether disks keep what they acknowledged.
    pub(super) fsync: bool,
    /// Whether reads ask a quorum.
    pub(crate) confirms: AtomicBool,
    /// Who was asked for a vote.
    pub(crate) asked_for_votes: Mutex<BTreeSet<NodeId>>,
}

/// A clock that is off by so many microseconds.
pub(super) fn clock(began: tokio::time::Instant, skew_us: i64) -> Clock {
    Arc::new(move || NOW.plus_us(i64::try_from(began.elapsed().as_micros()).unwrap() + skew_us))
}

pub(crate) fn member(node: NodeId) -> Member {
    Member { address: format!("node{node}:1") }
}

impl World {
    /// Nodes 1 to `nodes`, and empty disks for two more; the first founds the group. Must be called in a runtime of one thread whose clock stands still.
    pub(crate) async fn new(seed: u64, nodes: u64, fsync: bool) -> Arc<Self> {
        let luck = Luck::of(seed);
        let skew = (1..=nodes + 2).map(|node| (node, luck.skew_us())).collect();
        let world = Arc::new(Self {
            luck,
            weather: Mutex::new(Weather::fair()),
            disks: (1..=nodes + 2).map(|node| (node, CrashDisk::new())).collect(),
            skew,
            running: Mutex::default(),
            began: tokio::time::Instant::now(),
            group: GroupId::Log { store: Arc::from("sim"), log: LogKey::single("T") },
            members: Mutex::new((1..=nodes).collect()),
            fsync,
            confirms: AtomicBool::new(true),
            asked_for_votes: Mutex::default(),
        });
        for node in 1..=nodes {
            world.start(node).await;
        }
        world.form(nodes).await;
        world
    }

    /// The founder alone becomes a group of all.
    async fn form(&self, nodes: u64) {
        let founder = self.group_of(1).unwrap();
        while founder.status().leader.is_none_or(|(leader, _)| leader != 1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for node in 2..=nodes {
            founder.add_learner(node, member(node), true).await.unwrap();
        }
        founder.set_voters((1..=nodes).collect()).await.unwrap();
    }

    /// More nodes, which only follow. While node 1 leads.
    pub(crate) async fn add_learners(self: &Arc<Self>, learners: &[NodeId]) {
        let founder = self.group_of(1).unwrap();
        for node in learners {
            self.start(*node).await;
            founder.add_learner(*node, member(*node), true).await.unwrap();
        }
    }

    /// One of the members.
    pub(crate) fn any(&self) -> NodeId {
        let members = self.members.lock();
        members[usize::try_from(self.luck.below(members.len() as u64)).unwrap()]
    }

    /// Of a process that lives.
    pub(crate) fn group_of(&self, node: NodeId) -> Option<Arc<Group>> {
        self.running.lock().get(&node).filter(|process| process.lives()).map(|process| Arc::clone(&process.group))
    }

    /// Of a process that lives.
    pub(crate) fn owner_of(&self, node: NodeId) -> Option<Arc<Owner>> {
        self.running.lock().get(&node).filter(|process| process.lives()).map(|process| Arc::clone(&process.owner))
    }

    /// A process starts over what its disk holds.
    pub(crate) async fn start(self: &Arc<Self>, node: NodeId) {
        let (io, dead) = SlowIo::of(&self.luck);
        let site = Site {
            disk: self.disks[&node].clone(),
            node,
            id: self.group.clone(),
            log: LogKey::single("T"),
            founds: node == 1,
            fsync: self.fsync,
            clock: clock(self.began, self.skew[&node]),
            ids: self.luck.below(u64::MAX),
        };
        let transport = Arc::new(Link { net: Arc::downgrade(self), from: node, dead: Arc::clone(&dead) });
        let disk = Arc::clone(&io) as Arc<dyn LogIo>;
        let (owner, group) = site.open(disk, &dead, transport).await.unwrap();
        self.running.lock().insert(node, Process { owner, group, io, dead });
    }

    /// The process ends at once; `power`: what its disk had not synced is at the mercy of the dice.
    pub(crate) async fn kill(&self, node: NodeId, power: bool) {
        let Some(process) = self.running.lock().remove(&node) else { return };
        process.dead.store(true, Ordering::SeqCst);
        process.group.abort().await;
        drop(process);
        if power {
            self.disks[&node].crash(&mut self.luck.dice());
        }
        assert_eq!(self.disks[&node].violations(), Vec::<String>::new());
    }
}

impl Net for World {
    fn luck(&self) -> &Luck {
        &self.luck
    }

    fn weather(&self) -> &Mutex<Weather> {
        &self.weather
    }

    fn found(&self, node: NodeId, _: &GroupId) -> Option<Arc<Group>> {
        self.group_of(node)
    }

    fn asks_for_vote(&self, from: NodeId, to: NodeId) {
        self.asked_for_votes.lock().extend([from, to]);
    }
}

pub(crate) fn rules() -> Arc<Rules> {
    let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', \
                id.command_id.unique_scope = 'stream');";
    let declared = strandline_deql::parse_file("t.deql", text).unwrap();
    Rules::new(&declared.stores[0].config, (1, 2))
}
