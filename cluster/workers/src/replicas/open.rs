//! Opens the logs that the meta group places on this node, each with its owner and its group.
//!
//! ```text
//!  state: (store, log) has this node  ->  open_replica: replayed to what is committed  ->  owner  ->  Group::open  ->  known to others
//!                                                                                          `replicas/{log}` says that there was a log
//! ```
//!
//! The founder alone makes a group, and only as long as nothing was ever acknowledged in it; one that is named in the place of a lost one makes it over the log that is open. What does not open is named and fails the reads
//! that would need it. What the cluster does not place here any more is put aside (`elsewhere.rs`).

use super::StoreReplicas;
use crate::clock;
use crate::data_dir::{DataDirError, at, create_own, make_own_folder, sync_parent};
use crate::registry::StreamTypeEntry;
use crate::replica::{JumpAll, LogMachine, Replica, Unheard};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use strandline_consensus::meta::Placement;
use strandline_consensus::{Group, GroupParts, Machine, Storage, owner};
use strandline_engine::append::{LogDriver, ReplicatedWriter};
use strandline_engine::store::{OpenError, OpenReplica, ReplicaOptions};
use strandline_event::{LogIndex, LogKey};
use strandline_wal::log_folder_name;
use tokio::sync::mpsc;

impl StoreReplicas {
    /// One look at what the cluster says of this store.
    pub(super) async fn look(self: &Arc<Self>) {
        self.publish_types();
        self.follow_pause();
        self.keep_subscriptions();
        self.follow_statement().await;
        let logs = self.logs(|log, placement| Some((log.clone(), placement.clone())));
        let lacking = self.lacking();
        // that it has lacked some must be known when it gets them
        self.is_whole();
        // of a type that came meanwhile the store must know the buckets before it has a log of it
        self.publish_types();
        for (log, placement) in logs {
            let known = self.machines.lock().get(&log).cloned();
            match known {
                Some(_) if lacking.contains(&log) => self.put_aside(&log),
                Some(machine) => {
                    self.take_back(&log, &machine).await;
                    self.found(&log, &placement).await;
                    self.establish(&log, &machine, &placement);
                }
                None if self.broken.lock().contains_key(&log) => {}
                None if placement.is_on(self.parts.control.node()) => {
                    // it begins where the manifest is, which must not move on under it: who lacks logs follows without them
                    let _turn = if self.is_whole() { None } else { Some(self.following.lock().await) };
                    self.open(&log, &placement).await;
                }
                None => {}
            }
        }
    }

    /// The group was once where it should be: from now on its leader accepts.
    fn establish(&self, log: &LogKey, machine: &LogMachine, placement: &Placement) {
        if placement.is_established() && !machine.established.swap(true, Ordering::SeqCst) {
            self.group(log).iter().for_each(|group| group.tell_again());
        }
    }

    /// Who should make the group was lost before it had, and this node is named in its place after it had opened the log.
    async fn found(&self, log: &LogKey, placement: &Placement) {
        if placement.founder != Some(self.parts.control.node()) || placement.is_established() {
            return;
        }
        let Some(group) = self.group(log) else { return };
        match group.found().await {
            Ok(true) => tracing::info!(store = self.name(), %log, "this node makes its group"),
            // it was born so
            Ok(false) => {}
            Err(error) => tracing::warn!(store = self.name(), %log, "this node cannot make its group: {error}"),
        }
    }

    /// Where it is noted that this node has had a log.
    fn mark(&self, log: &LogKey) -> PathBuf {
        self.parts.folder.join("replicas").join(log_folder_name(&log.stream_type, log.bucket))
    }

    /// Whether this node has had a log, open or not.
    pub(super) fn has_had(&self, log: &LogKey) -> bool {
        self.mark(log).exists()
    }

    /// Whether files hold something of a log.
    pub(super) fn has_files(&self, log: &LogKey) -> bool {
        self.parts.store.durable().pin().watermark(log) > LogIndex::ZERO
    }

    /// The types that were registered, in order of their names, for who asks without waiting; and which types have several buckets.
    /// Nothing is to do where nothing has changed.
    pub(crate) fn publish_types(&self) {
        let (name, mut published) = (self.name(), self.published.lock());
        let told = self.parts.control.with_state(|state| {
            if state.applied() == published.0 {
                return None;
            }
            let of_store = || state.stores().get(name).into_iter().flat_map(|store| &store.types);
            let entry = |(name, entry): (&String, &strandline_consensus::meta::TypeEntry)| StreamTypeEntry {
                name: Arc::from(name.as_str()),
                buckets: entry.buckets,
            };
            let split = of_store().filter(|(_, entry)| entry.buckets > 1);
            let buckets: BTreeMap<String, u32> = split.map(|(name, entry)| (name.clone(), entry.buckets)).collect();
            let types = of_store().filter(|(_, entry)| entry.registered).map(entry).collect::<Vec<_>>();
            Some((state.applied(), types, buckets))
        });
        let Some((applied, types, buckets)) = told else { return };
        self.parts.store.learn_buckets(&buckets);
        if published.1 != types {
            self.parts.types.store(Arc::new(types.clone()));
        }
        *published = (applied, types);
    }

    async fn open(self: &Arc<Self>, log: &LogKey, placement: &Placement) {
        let opened = if self.parts.factory.has_room() {
            self.open_log(log, placement).await
        } else {
            Err("there are not enough file descriptors for one more log: raise the limit (`ulimit -n`)".to_owned())
        };
        match opened {
            Ok(machine) => {
                self.machines.lock().insert(log.clone(), Arc::clone(&machine));
                self.establish(log, &machine, placement);
            }
            Err(why) => {
                tracing::error!(store = self.name(), %log, "its replica does not run on this node: {why}");
                self.broken.lock().insert(log.clone(), Arc::from(why));
            }
        }
    }

    async fn open_log(self: &Arc<Self>, log: &LogKey, placement: &Placement) -> Result<Arc<LogMachine>, String> {
        let (mark, node) = (self.mark(log), self.parts.control.node());
        let options = ReplicaOptions {
            founds: placement.founder == Some(node) && !placement.is_established(),
            existed: mark.exists(),
            now: clock::now(),
        };
        let (store, key) = (Arc::clone(&self.parts.store), log.clone());
        let opening = tokio::task::spawn_blocking(move || store.open_replica(&key, options));
        let opened = opening.await.map_err(|error| error.to_string())?;
        if matches!(opened, Err(OpenError::ManifestBehind { .. })) {
            self.files_are_old.store(true, Ordering::SeqCst);
        }
        let opened = opened.map_err(|error| error.to_string())?;
        for line in opened.report.corrupt.iter().chain(&opened.report.warnings) {
            tracing::warn!(store = self.name(), "{line}");
        }
        tracing::info!(store = self.name(), %log, events = opened.report.replayed_events, "its log is open");
        let OpenReplica { log: state, writer, applied, .. } = opened;
        let writer = writer.ok_or("its log is damaged: `strandline verify` names every finding. Join again under a new --node-id with an empty data directory, and `replace` this node by the new one")?;
        let through = owner::opened_through(&writer);
        let storage = Storage::new(writer, self.parts.factory.disk_thread(), Arc::new(clock::now));
        let driver = LogDriver::new(state, ReplicatedWriter::new(log.clone(), Arc::new(storage.clone()), applied));
        let channel = mpsc::unbounded_channel();
        let weak: Weak<Self> = Arc::downgrade(self);
        let all: Weak<dyn JumpAll> = weak;
        let machine = Arc::new(LogMachine {
            log: log.clone(),
            store: Arc::clone(&self.parts.store),
            storage: storage.clone(),
            opened: through,
            events: channel.0.clone(),
            established: AtomicBool::new(false),
            unheard: Unheard::default(),
            all,
        });
        let replica = Replica::new(tokio::runtime::Handle::current());
        let owner = self.parts.factory.start_replica(log.clone(), driver, Arc::clone(&replica), channel);
        let owner = owner.ok_or("the node stops")?;
        let parts = GroupParts {
            id: self.id_of(log),
            node,
            storage,
            machine: Arc::clone(&machine) as Arc<dyn Machine>,
            transport: Arc::clone(self.parts.control.transport()) as _,
        };
        let group = Group::open(parts).await.map_err(|error| error.to_string())?;
        let marking = tokio::task::spawn_blocking(move || note(&mark));
        marking.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        replica.runs(Arc::clone(&group));
        self.parts.table.insert(log, &owner);
        // from here on other nodes find it
        self.parts.control.groups().insert(group);
        Ok(machine)
    }
}

/// Remembers that this node has had a log of a group.
fn note(mark: &Path) -> Result<(), DataDirError> {
    if mark.exists() {
        return Ok(());
    }
    let folder: PathBuf = mark.parent().map(Path::to_owned).unwrap_or_default();
    make_own_folder(&folder)?;
    create_own(mark).and_then(|file| file.sync_all()).map_err(at(mark))?;
    sync_parent(mark)
}
