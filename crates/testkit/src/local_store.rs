//! A whole store in one thread: the engine's store, its logs' owners, a disk and objects in memory.
//!
//! What the actors do in production, in the order in which they must do it: accept, write, sync, make visible, answer;
//! compact, tell the owner, trim. Everything is deterministic; the clock moves when it is told. It outlives "restarts":
//! disk and objects stay, everything else is opened again.

mod jobs;
mod lives;

use crate::clock::ManualClock;
use crate::model::Append;
use lives::{Start, log_disk, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use strandline_deql::StoreConfig;
use strandline_durable::SharedObjects;
use strandline_durable::objects::StoreObjects;
use strandline_engine::append::{
    Again, Answer, AppendRequest, FilesGroup, Hashes, IdsChecked, Known, LogDriver, SinkGroup,
};
use strandline_engine::compact;
use strandline_engine::ids::IdSource;
use strandline_engine::store::{Grace, OpenError, OpenLog, OpenReport, Opened, Store};
use strandline_event::{BatchBytes, BatchUnit, LogIndex, LogKey, Micros, StampedBatch};
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::{InlineIo, LogIo, RealDisk};

/// Background steps of the disk after each group: more than it ever has to do.
const BACKGROUND_STEPS: usize = 64;
/// An append that is asked again more often than this is a fault of the engine.
const TRIES_MAX: usize = 9;

/// Where the random numbers of a store begin that is the only one.
const FIRST_SEED: u128 = 1;

/// A store, its logs and its world.
pub struct LocalStore {
    config: StoreConfig,
    /// The disk that can lose power; not used by a store on the real one.
    disk: Arc<CrashDisk>,
    real: Option<RealDisk>,
    /// Data files and manifests; `None`: where the declaration says.
    objects: Option<(SharedObjects, SharedObjects)>,
    /// The clock of everything.
    pub time: ManualClock,
    io: InlineIo,
    store: Arc<Store>,
    logs: BTreeMap<LogKey, LogDriver<()>>,
    ids: IdSource,
    random: u128,
    /// How long files stay that no reader should need: from the next start on.
    pub grace: Grace,
    /// What the last opening said.
    pub report: OpenReport,
}

#[allow(clippy::panic)]
fn inline() -> InlineIo {
    InlineIo::new(Arc::new(|fatal| panic!("the disk failed: {fatal:?}")))
}

impl LocalStore {
    /// A new store, its objects where the declaration says: those of one on memory:// are gone at a restart.
    ///
    /// # Errors
    /// What opening says.
    pub fn new(config: StoreConfig) -> Result<Self, OpenError> {
        Self::over(config, Arc::new(CrashDisk::new()), None)
    }

    /// A new store whose objects are in memory, wherever the declaration says, and outlive restarts.
    ///
    /// # Errors
    /// What opening says.
    #[allow(clippy::expect_used)]
    pub fn on_memory(config: StoreConfig) -> Result<Self, OpenError> {
        let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().expect("a thread can be started")) };
        Self::over(config, Arc::new(CrashDisk::new()), Some((memory(), memory())))
    }

    /// A store whose log is on the real disk as well, below `wal.path`: for what is measured. No power loss there.
    ///
    /// # Errors
    /// What opening says.
    pub fn on_real_disk(config: StoreConfig) -> Result<Self, OpenError> {
        let time = ManualClock::default();
        Self::with(config, Arc::new(CrashDisk::new()), Some(RealDisk::new()), None, FIRST_SEED, time)
    }

    /// As [`on_memory`](Self::on_memory), made at this moment.
    ///
    /// # Errors
    /// What opening says.
    #[allow(clippy::expect_used)]
    pub fn made_at(config: StoreConfig, at: Micros) -> Result<Self, OpenError> {
        let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().expect("a thread can be started")) };
        let (disk, objects, time) = (Arc::new(CrashDisk::new()), (memory(), memory()), ManualClock::new(at));
        Self::with(config, disk, None, Some(objects), FIRST_SEED, time)
    }

    /// A store over what is there already.
    ///
    /// # Errors
    /// What opening says.
    pub fn over(
        config: StoreConfig,
        disk: Arc<CrashDisk>,
        objects: Option<(SharedObjects, SharedObjects)>,
    ) -> Result<Self, OpenError> {
        Self::with(config, disk, None, objects, FIRST_SEED, ManualClock::default())
    }

    /// As [`over`](Self::over), in another process than the one that made it: its random numbers, which name its jobs, are its own.
    ///
    /// # Errors
    /// What opening says.
    pub fn rival(
        config: StoreConfig,
        disk: Arc<CrashDisk>,
        objects: Option<(SharedObjects, SharedObjects)>,
        seed: u128,
    ) -> Result<Self, OpenError> {
        Self::with(config, disk, None, objects, seed, ManualClock::default())
    }

    fn with(
        config: StoreConfig,
        disk: Arc<CrashDisk>,
        real: Option<RealDisk>,
        objects: Option<(SharedObjects, SharedObjects)>,
        seed: u128,
        time: ManualClock,
    ) -> Result<Self, OpenError> {
        let start = Start { now: time.now(), entropy: seed, accept_lost_log: false, grace: Grace::default() };
        let opened = open(&config, log_disk(real.as_ref(), &disk), objects.as_ref(), start)?;
        // those of another process are others
        let ids = IdSource::new(config.id.event_id_format, seed);
        let mut this = Self {
            config,
            disk,
            real,
            objects,
            time,
            io: inline(),
            store: Arc::clone(&opened.store),
            logs: BTreeMap::new(),
            ids,
            random: seed,
            grace: Grace::default(),
            report: OpenReport::default(),
        };
        this.adopt(opened);
        Ok(this)
    }

    fn adopt(&mut self, opened: Opened) {
        (self.store, self.report) = (opened.store, opened.report);
        self.logs.clear();
        for log in opened.logs {
            self.own(log);
        }
    }

    fn own(&mut self, log: OpenLog) {
        let OpenLog { key, log, sink, .. } = log;
        if let Some(sink) = sink {
            self.logs.insert(key.clone(), LogDriver::new(log, sink));
            self.flush(&key);
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The disk of its logs.
    #[must_use]
    pub fn disk(&self) -> &Arc<CrashDisk> {
        &self.disk
    }

    /// Its objects, data files and manifests, where they are not where the declaration says.
    #[must_use]
    pub fn objects(&self) -> Option<&(SharedObjects, SharedObjects)> {
        self.objects.as_ref()
    }

    /// Puts other objects in place for the next start: wrapped ones that fail, for instance.
    pub fn set_objects(&mut self, objects: Option<(SharedObjects, SharedObjects)>) {
        self.objects = objects;
    }

    /// The owner of a log.
    pub fn driver(&mut self, key: &LogKey) -> Option<&mut LogDriver<()>> {
        self.logs.get_mut(key)
    }

    fn next_random(&mut self) -> u128 {
        self.random = self.random.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(12345);
        self.random
    }

    /// Sends a request and waits for its answer, as the edge does.
    ///
    /// # Panics
    /// When the engine does not answer.
    #[allow(clippy::panic, clippy::expect_used)]
    pub fn append(&mut self, append: &Append) -> Answer {
        let request = append.request().expect("the test builds valid requests");
        self.request(request)
    }

    /// Sends a batch, and everything else as it is by default.
    pub fn append_batch(&mut self, batch: BatchBytes) -> Answer {
        self.request(AppendRequest::new(batch))
    }

    /// Sends a request and waits for its answer; looks up what is asked for, and asks again.
    ///
    /// # Panics
    /// When the engine does not answer, or a read fails.
    #[allow(clippy::panic, clippy::expect_used)]
    pub fn request(&mut self, mut request: AppendRequest) -> Answer {
        let view = request.batch.view();
        let key = self.store.owner_of(view.stream_type(), view.stream(0));
        self.ensure_log(&key);
        request.ids = self.check_ids(&key, &request);
        let view = request.batch.view();
        request.hashes = (view.unit() == BatchUnit::Rows).then(|| Arc::new(Hashes::of(view, &self.store.rules())));
        for _ in 0..TRIES_MAX {
            match self.submit(&key, request.clone()) {
                Answer::Again(Again::Lookup(lookup)) => {
                    let known: Known = self.store.resolve(request.batch.view(), &lookup).expect("reads work");
                    request.known = known;
                }
                Answer::Again(Again::Recheck { .. }) => request.ids = self.check_ids(&key, &request),
                answer => return answer,
            }
        }
        panic!("asked again and again: {:?}", request.batch.view().rows())
    }

    #[allow(clippy::expect_used)]
    fn check_ids(&self, key: &LogKey, request: &AppendRequest) -> IdsChecked {
        self.store.check_ids(key, request.batch.view()).expect("reads work")
    }

    /// Makes the log of a stream type, if there is none.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[allow(clippy::expect_used)]
    pub fn ensure_log(&mut self, key: &LogKey) {
        if self.store.log(key).is_none() {
            let log = self.store.create_log(key, self.time.now()).expect("a log can be made");
            self.own(log);
        }
    }

    #[allow(clippy::panic)]
    fn submit(&mut self, key: &LogKey, request: AppendRequest) -> Answer {
        let entropy = self.ids.next(0);
        let now = self.time.now();
        let Some(driver) = self.logs.get_mut(key) else { panic!("the log of {key} takes no appends") };
        self.store.instruct(driver);
        if let Some(((), answer)) = driver.append(request, now, entropy, ()) {
            return answer;
        }
        let mut answers = self.flush(key);
        match answers.pop() {
            Some(answer) if answers.is_empty() => answer,
            _ => panic!("one request, another number of answers"),
        }
    }

    /// Writes and syncs what is pending, makes it visible, then answers.
    ///
    /// # Panics
    /// When the disk fails.
    #[allow(clippy::expect_used)]
    pub fn flush(&mut self, key: &LogKey) -> Vec<Answer> {
        let mut answers = Vec::new();
        let Some(driver) = self.logs.get_mut(key) else { return answers };
        while let Some(group) = driver.take_group() {
            let done = match group {
                SinkGroup::Log(group) => {
                    let (send, receive) = channel();
                    self.io.submit(group, Box::new(move |done| drop(send.send(done))));
                    let group = receive.recv().expect("the disk calls back").expect("the group is written");
                    self.io.background(BACKGROUND_STEPS);
                    driver.group_done(group)
                }
                SinkGroup::Files(group) => {
                    let mut outcomes = compact::commit_groups(&self.store, &[group], self.time.now());
                    driver.files_done(outcomes.pop().expect("one group, one outcome"))
                }
                SinkGroup::Replicated(_) => return answers,
            };
            let batches: &[(LogIndex, StampedBatch)] = &done.batches;
            self.store.committed(key, batches, self.time.now());
            answers.extend(done.release().into_iter().map(|((), answer)| answer));
        }
        answers
    }

    /// Of a store without a log: requests that wait together, in their order; then one commit of all of them, or of as
    /// much as one group of each log takes. Gives the answers by log, those that had not to wait first.
    ///
    /// # Panics
    /// When a request cannot be built.
    #[allow(clippy::expect_used)]
    pub fn append_together(&mut self, appends: &[Append]) -> Vec<(LogKey, Answer)> {
        let mut answers = Vec::new();
        for append in appends {
            let request = append.request().expect("the test builds valid requests");
            let view = request.batch.view();
            let key = self.store.owner_of(view.stream_type(), view.stream(0));
            self.ensure_log(&key);
            let (entropy, now) = (self.ids.next(0), self.time.now());
            let answered = self.logs.get_mut(&key).and_then(|driver| driver.append(request, now, entropy, ()));
            answers.extend(answered.map(|((), answer)| (key, answer)));
        }
        answers.extend(self.commit_together());
        answers
    }

    /// One commit of what waits in all logs of a store without a log.
    fn commit_together(&mut self) -> Vec<(LogKey, Answer)> {
        let groups: Vec<FilesGroup> = self
            .logs
            .values_mut()
            .filter_map(|driver| match driver.take_group() {
                Some(SinkGroup::Files(group)) => Some(group),
                _ => None,
            })
            .collect();
        let outcomes = compact::commit_groups(&self.store, &groups, self.time.now());
        let mut answers = Vec::new();
        for (group, outcome) in groups.into_iter().zip(outcomes) {
            let Some(driver) = self.logs.get_mut(&group.log) else { continue };
            let done = driver.files_done(outcome);
            self.store.committed(&group.log, &done.batches, self.time.now());
            answers.extend(done.release().into_iter().map(|((), answer)| (group.log.clone(), answer)));
        }
        answers
    }

    /// Ends the open segment.
    pub fn seal(&mut self, key: &LogKey) {
        if let Some(driver) = self.logs.get_mut(key) {
            driver.seal();
        }
        self.flush(key);
    }
}
