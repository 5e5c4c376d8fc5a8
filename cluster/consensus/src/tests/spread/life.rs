//! A process: the meta group with its real machine, and the logs that this places here.
//!
//! | what the state says | what it does |
//! |---|---|
//! | the log is placed here | opens it (the founder alone makes it), or takes it back if it was put aside |
//! | it is not | puts it aside: nobody finds it, and its group asks for no votes (a restart does not open it) |
//! | this node leads it | brings its members to where they shall be, says so, and lets another one lead where one shall |

use super::{Spread, id_of};
use crate::Group;
use crate::control::{MetaMachine, Steered, steer};
use crate::meta::{Command, Placement};
use crate::storage::Clock;
use crate::tests::world::{Owner, Site, SlowIo, member};
use crate::transport::{GroupId, NodeId, Transport};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_event::LogKey;
use strandline_wal::LogIo;
use tokio::time::{sleep, timeout};

/// How often a process looks at its logs, and at those that it leads, while nothing is said.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// A replica of a log at a process that has opened it.
pub(super) struct Replica {
    owner: Arc<Owner>,
    group: Arc<Group>,
    /// It was put aside: nobody finds it.
    rests: bool,
}

/// A process.
pub(super) struct Life {
    pub(super) node: NodeId,
    /// It was killed, or has ended because its disk failed.
    pub(super) dead: Arc<AtomicBool>,
    pub(super) io: Arc<SlowIo>,
    pub(super) clock: Clock,
    pub(super) link: Arc<dyn Transport>,
    pub(super) machine: Arc<MetaMachine>,
    pub(super) meta: Arc<Group>,
    pub(super) logs: Mutex<BTreeMap<LogKey, Replica>>,
    /// Logs that its disk did not let it open: it tries again when it starts again.
    pub(super) broken: Mutex<BTreeSet<LogKey>>,
}

impl Life {
    pub(super) fn lives(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn group(&self, id: &GroupId) -> Option<Arc<Group>> {
        match id {
            GroupId::Meta => Some(Arc::clone(&self.meta)),
            GroupId::Log { log, .. } => {
                self.logs.lock().get(log).filter(|replica| !replica.rests).map(|replica| Arc::clone(&replica.group))
            }
        }
    }

    pub(super) fn owner(&self, log: &LogKey) -> Option<Arc<Owner>> {
        self.logs.lock().get(log).filter(|replica| !replica.rests).map(|replica| Arc::clone(&replica.owner))
    }

    /// Those that rest too.
    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        let logs = self.logs.lock();
        let of_logs = logs.values().map(|replica| Arc::clone(&replica.group));
        std::iter::once(Arc::clone(&self.meta)).chain(of_logs).collect()
    }

    /// Its logs follow what the meta group says, as far as that has been applied here.
    pub(super) async fn look(self: Arc<Self>, spread: Weak<Spread>) {
        let mut changed = self.machine.watch();
        while self.lives() {
            changed.borrow_and_update();
            let Some(world) = spread.upgrade() else { return };
            self.follow(&world).await;
            drop(world);
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = sleep(LOOKS_EVERY) => {}
            }
        }
    }

    async fn follow(&self, spread: &Spread) {
        let state = self.machine.state();
        for (id, placement) in state.groups() {
            let GroupId::Log { log, .. } = id else { continue };
            let is_open = self.logs.lock().contains_key(log);
            if state.lacks(self.node, id) {
                self.put_aside(log);
            } else if is_open {
                self.take_back(log);
            } else if placement.is_on(self.node) && !self.broken.lock().contains(log) && self.lives() {
                self.open(spread, log, placement).await;
            }
        }
    }

    fn put_aside(&self, log: &LogKey) {
        let mut logs = self.logs.lock();
        if let Some(replica) = logs.get_mut(log).filter(|replica| !replica.rests) {
            replica.rests = true;
            replica.group.rests();
        }
    }

    fn take_back(&self, log: &LogKey) {
        let mut logs = self.logs.lock();
        if let Some(replica) = logs.get_mut(log).filter(|replica| replica.rests) {
            replica.rests = false;
            replica.group.is_back();
        }
    }

    /// The founder alone makes a log, as long as nothing was ever acknowledged in it.
    async fn open(&self, spread: &Spread, log: &LogKey, placement: &Placement) {
        let site = Site {
            disk: spread.disks[&self.node].clone(),
            node: self.node,
            id: id_of(log),
            log: log.clone(),
            founds: placement.founder == Some(self.node) && !placement.is_established(),
            fsync: true,
            clock: Arc::clone(&self.clock),
            ids: spread.luck.below(u64::MAX),
        };
        let disk = Arc::clone(&self.io) as Arc<dyn LogIo>;
        match site.open(disk, &self.dead, Arc::clone(&self.link)).await {
            Ok((owner, group)) if self.lives() => {
                self.logs.lock().insert(log.clone(), Replica { owner, group, rests: false });
            }
            Ok((_, group)) => group.abort().await,
            // its process has ended, or its disk takes nothing
            Err(_) => drop(self.broken.lock().insert(log.clone())),
        }
    }

    /// The groups that it leads are brought to where they shall be.
    pub(super) async fn steer(self: Arc<Self>, spread: Weak<Spread>) {
        while self.lives() {
            let Some(world) = spread.upgrade() else { return };
            self.steer_all(&world).await;
            drop(world);
            sleep(LOOKS_EVERY).await;
        }
    }

    async fn steer_all(&self, spread: &Spread) {
        let state = self.machine.state();
        let place = |node| Some(member(node));
        for (id, placement) in state.groups() {
            let Some(group) = self.group(id) else { continue };
            match timeout(Duration::from_secs(5), steer(&group, placement, &place)).await {
                Ok(Ok(Steered::Reached)) if !placement.is_settled() => {
                    let (epoch, voters) = (placement.epoch, placement.voters.clone());
                    // who gets no answer says it again
                    spread.say(self.node, &Command::Settled { group: id.clone(), epoch, voters }).await;
                }
                Ok(Ok(Steered::Leaves { to })) => {
                    for other in placement.voters.iter().filter(|other| **other != to) {
                        spread.elect(self.node, *other, id).await;
                    }
                    self.hand_over(spread, &group, to).await;
                }
                Ok(Ok(Steered::Yields { to })) => self.hand_over(spread, &group, to).await,
                _ => {}
            }
        }
    }

    /// As `control/leading.rs`: one that has everything asks for votes, and then until it leads.
    async fn hand_over(&self, spread: &Spread, group: &Group, to: NodeId) {
        let Some(_quiet) = group.quiet_before(to, Duration::from_secs(1)).await else { return };
        for within_ms in std::iter::once(1_000).chain(std::iter::repeat_n(100, 20)) {
            let Some(next) = spread.elect(self.node, to, group.id()).await else { return };
            if next.wins(Duration::from_millis(within_ms)).await {
                return;
            }
        }
    }
}
