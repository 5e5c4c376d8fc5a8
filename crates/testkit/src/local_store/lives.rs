//! How the process over a store ends, in order or not, and starts again; disk and objects stay.

use super::{LocalStore, inline};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::SharedObjects;
use strandline_engine::append::LogDriver;
use strandline_engine::store::{Grace, OpenError, OpenOptions, Opened, ReplaceError, Replaced, Store};
use strandline_event::{LogKey, Micros};
use strandline_keys::KeyProvider;
use strandline_keys::testing::TestKeys;
use strandline_wal::crash_disk::{CrashDisk, Dice};
use strandline_wal::{Disk, RealDisk};

impl LocalStore {
    /// Ends the process in order and starts it again.
    ///
    /// # Errors
    /// What opening says.
    pub fn restart(&mut self) -> Result<(), OpenError> {
        self.stop();
        self.reopen(false)
    }

    /// Ends the process in order; [`reopen`](Self::reopen) is next.
    ///
    /// # Panics
    /// When the manifest cannot be written.
    #[allow(clippy::expect_used)]
    pub fn stop(&mut self) {
        let keys: Vec<LogKey> = self.logs.keys().cloned().collect();
        for key in keys {
            let now = self.time.now();
            if let Some(writer) = self.logs.get_mut(&key).and_then(LogDriver::log_writer) {
                writer.clean_stop(now);
            }
            self.flush(&key);
        }
        let job_id = self.next_random();
        self.store.record_clean_stop(job_id, self.time.now()).expect("the manifest can be written");
    }

    /// Ends the process at once (what was synced stays) and starts it again.
    ///
    /// # Errors
    /// What opening says.
    pub fn kill(&mut self) -> Result<(), OpenError> {
        self.reopen(false)
    }

    /// The power goes: what was not synced is kept, lost or torn, by the dice. Starts again.
    ///
    /// # Errors
    /// What opening says.
    pub fn power_loss(&mut self, dice: &mut Dice) -> Result<(), OpenError> {
        self.logs.clear();
        self.disk.crash(dice);
        self.reopen(false)
    }

    /// Starts again, going on without lost logs if asked.
    ///
    /// # Errors
    /// What opening says.
    pub fn reopen(&mut self, accept_lost_log: bool) -> Result<(), OpenError> {
        self.logs.clear();
        self.io = inline();
        let entropy = self.next_random();
        let start = Start { now: self.time.now(), entropy, accept_lost_log, grace: self.grace };
        let opened = open(&self.config, log_disk(self.real.as_ref(), &self.disk), self.objects.as_ref(), start)?;
        self.adopt(opened);
        Ok(())
    }

    /// Replaces the statement while the store runs; the next start has it too.
    ///
    /// # Errors
    /// What replacing says; then the next start has the old one.
    pub fn replace(&mut self, config: StoreConfig) -> Result<Replaced, ReplaceError> {
        let job_id = self.next_random();
        let replaced = self.store.replace(config, job_id, self.time.now())?;
        // wal.path is the node's
        self.config = (*self.store.config()).clone();
        Ok(replaced)
    }

    /// Declares the store anew for the next start.
    pub fn declare(&mut self, config: StoreConfig) {
        self.config = config;
    }
}

/// What differs between two starts.
pub(super) struct Start {
    pub(super) now: Micros,
    pub(super) entropy: u128,
    pub(super) accept_lost_log: bool,
    pub(super) grace: Grace,
}

pub(super) fn log_disk(real: Option<&RealDisk>, disk: &Arc<CrashDisk>) -> Arc<dyn Disk> {
    match real {
        Some(real) => Arc::new(real.clone()),
        None => Arc::clone(disk) as _,
    }
}

pub(super) fn open(
    config: &StoreConfig,
    disk: Arc<dyn Disk>,
    objects: Option<&(SharedObjects, SharedObjects)>,
    start: Start,
) -> Result<Opened, OpenError> {
    let Start { now, entropy, accept_lost_log, grace } = start;
    let scratch = None;
    let keys = config
        .security
        .encrypt_at_rest
        .then(|| Arc::new(TestKeys::with_random(7, entropy as u64)) as Arc<dyn KeyProvider>);
    let (config, secret) = (config.clone(), !entropy);
    let options = OpenOptions {
        config,
        disk,
        node: 7,
        now,
        entropy,
        secret,
        accept_lost_log,
        grace,
        scratch,
        keys,
        served: None,
    };
    match objects {
        Some((files, manifests)) => Store::open_on(options, Arc::clone(files), Arc::clone(manifests)),
        None => Store::open(options),
    }
}
