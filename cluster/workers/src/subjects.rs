//! Erasable stream types as the node runs them: where the keys of subjects lie, what is sealed before an owner sees it, and erasure.
//!
//! ```text
//!  serve --subject-keys FILE ─> outside of data folder, logs and files; one process at a time ─> keys of all stores of the node
//!  {data folder}/stores/{store}/subject-keys     says which file it is, and how far it had come: a start without it, or with another or an older
//!                                                one, is refused
//! ```
//!
//! A copy of the data folder, the logs and the files so holds no key. The nodes of a cluster share a folder in the place of the file (`subjects/shared.rs`).

pub(crate) mod looked;
mod marker;
pub(crate) mod shared;

use self::marker::Marker;
use self::shared::NO_FOLDER;
use crate::clock;
use crate::data_dir::{DataDir, at, make_folder, own_lock, store_folder_in, try_lock};
use crate::error::NodeError;
use crate::node::{NodeHandle, NodeOptions, StartError};
use crate::random;
use crate::registry::StreamTypeEntry;
use crate::router::check_place;
use crate::store::StoreHandle;
use futures_util::future::join_all;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use strandline_deql::{Declarations, Location};
use strandline_engine::subjects::{Receipt, SubjectFileError, SubjectKeys, look_reached};
use strandline_event::ErrorKind;
use strandline_event::hex::to_hex;
use strandline_keys::secret_file;
use strandline_keys::subject::reached::{Reached, Slot};
use strandline_keys::subject::record::{Subject, SubjectKind, Tombstone};
use strandline_wal::Disk;
use tokio::sync::{Mutex, RwLock};

/// The keys of a node; a file is locked for this process.
pub(crate) struct NodeSubjects {
    pub(crate) keys: Arc<SubjectKeys>,
    /// Shared by appends; alone goes who makes a stream type erasable, or erases, until that is done: the thread that does it holds the gate, since who asked
    /// may be gone before.
    pub(crate) gate: Arc<RwLock<()>>,
    /// Held by who asks other nodes whether they see a folder.
    pub(crate) probing: Arc<Mutex<()>>,
    path: PathBuf,
    /// Of the file, and of how far the data of the stores knows it.
    disk: Arc<dyn Disk>,
    _lock: Option<File>,
}

/// What the data folder keeps of the keys for one store.
struct Kept<'s> {
    store: &'s str,
    folder: PathBuf,
    marker: Option<Marker>,
    reached: Option<Slot>,
}

/// Whose data is to be erased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    /// What the name is of.
    pub kind: SubjectKind,
    /// The stream, or the tenant.
    pub name: String,
    /// Of this stream type only; none: of all that are erasable so.
    pub stream_type: Option<String>,
    /// Who asks.
    pub who: String,
}

/// Opens the keys of a node alone, where it is told of some. Refused where a store was served with others, or with more of them.
pub(crate) fn open(
    options: &NodeOptions,
    declarations: &Declarations,
    data_dir: &DataDir,
) -> Result<Option<NodeSubjects>, StartError> {
    let disk = &options.disk.0;
    let names = declarations.stores.iter().map(|declared| declared.config.name.as_str());
    let read = |store| Kept::read(store, data_dir.store_folder(store), &**disk);
    let kept = names.map(read).collect::<Result<Vec<_>, _>>()?;
    let Some(path) = options.subject_keys.as_deref() else {
        let lines: Vec<String> = kept.iter().filter_map(Kept::without_keys).collect();
        return if lines.is_empty() { Ok(None) } else { Err(StartError::Refused(lines)) };
    };
    refuse_inside(path, declarations, &options.data_dir)?;
    let asked: Vec<Reached> = kept.iter().map(Kept::asked).collect();
    let (subjects, has_reached) = open_file(path, disk, &asked)?;
    let mut lines = Vec::new();
    for (kept, has_reached) in kept.iter().zip(has_reached) {
        match kept.fault(&subjects, has_reached) {
            Some(Fault { what, can_be_accepted: true }) if options.accept_lost_subject_keys => {
                tracing::warn!(store = kept.store, "{what}: keys that are lost were accepted as lost");
            }
            Some(fault) => lines.push(kept.told(&fault)),
            None => {}
        }
    }
    if !lines.is_empty() {
        return Err(StartError::Refused(lines));
    }
    kept.iter().try_for_each(|kept| kept.update(&subjects))?;
    Ok(Some(subjects))
}

/// What is wrong with the keys that a start names.
struct Fault {
    what: String,
    /// The erasable stream types are known all the same: nothing of them would be stored as it comes.
    can_be_accepted: bool,
}

impl<'s> Kept<'s> {
    fn read(store: &'s str, folder: PathBuf, disk: &dyn Disk) -> Result<Self, StartError> {
        let marker = Marker::read(&marker::path_in(&folder))?;
        let place = marker::reached_in(&folder);
        let reached = look_reached(disk, &place).map_err(at(&place))?;
        Ok(Self { store, folder, marker, reached })
    }

    /// How far the file of keys must have come. Nobody asks of a store that keeps nothing.
    fn asked(&self) -> Reached {
        self.reached.map_or(Reached::nothing(0), |slot| slot.reached)
    }

    /// Why a start that names no keys is refused.
    fn without_keys(&self) -> Option<String> {
        let Marker { place, .. } = self.marker.as_ref()?;
        Some(format!(
            "store {} has erasable stream types: name the file of their keys (--subject-keys; it was at {place})",
            self.store
        ))
    }

    /// An older copy of the data with newer keys is well: what it needs stands in them.
    fn fault(&self, subjects: &NodeSubjects, has_reached: bool) -> Option<Fault> {
        let marker = self.marker.as_ref()?;
        let id = subjects.keys.id();
        let can_be_accepted = marker.keeps_reached() || !subjects.keys.types_of(self.store).is_empty();
        let is_behind = !has_reached || self.reached.is_none_or(|slot| slot.file != id);
        let what = if to_hex(&id) != marker.id {
            format!(
                "--subject-keys names another file than the one that its erasable stream types were sealed with, which was at {}",
                marker.place
            )
        } else if !can_be_accepted {
            "the file of --subject-keys knows none of its erasable stream types: it was cut, or is an older copy"
                .to_owned()
        } else if !marker.keeps_reached() || !is_behind {
            return None;
        } else if self.reached.is_none() {
            let place = marker::reached_in(&self.folder);
            format!("{} is gone or damaged: it says how far the file of --subject-keys had come", place.display())
        } else {
            "the file of --subject-keys is behind the data: it was cut, or is an older copy, and lacks keys that events are sealed with, or erasures"
                .to_owned()
        };
        Some(Fault { what, can_be_accepted })
    }

    /// The fault, and what to do.
    fn told(&self, fault: &Fault) -> String {
        let advice = if fault.can_be_accepted {
            "put back the newest copy of the file. Only if there is none, start once with --accept-lost-subject-keys: what was sealed with keys \
             that are lost is never read again, and who was erased since the copy was made must be erased again"
                .to_owned()
        } else {
            format!(
                "put back a copy of the file, whatever its age: this data folder does not say which stream types are erasable (a version before \
                 this one wrote it), and their events would be stored as they come. Only if there was never one, remove {}",
                marker::path_in(&self.folder).display()
            )
        };
        format!("store {}: {}; {advice}", self.store, fault.what)
    }

    /// From now on the data says that these are the keys, and how far they have come. The stream types that it knows are erasable, whatever the file
    /// has lost, or a crash left out of it.
    fn update(&self, subjects: &NodeSubjects) -> Result<(), StartError> {
        let NodeSubjects { keys, path, disk, .. } = subjects;
        if self.marker.is_none() && keys.types_of(self.store).is_empty() {
            return Ok(());
        }
        keys.tell_store(&**disk, self.store, &marker::reached_in(&self.folder))?;
        for (name, kind) in self.marker.iter().filter_map(|marker| marker.types.as_ref()).flatten() {
            keys.declare(self.store, name, *kind)?;
        }
        let marker = Marker::new(keys.id(), path, keys.types_of(self.store));
        if self.marker.as_ref() != Some(&marker) {
            marker.write(&marker::path_in(&self.folder))?;
        }
        Ok(())
    }
}

fn open_file(path: &Path, disk: &Arc<dyn Disk>, asked: &[Reached]) -> Result<(NodeSubjects, Vec<bool>), StartError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let lock_path = path.with_added_extension("lock");
    let lock = own_lock(&lock_path).map_err(at(&lock_path))?;
    if !try_lock(&lock).map_err(at(&lock_path))? {
        return Err(StartError::Refused(vec![format!("another process uses the subject keys in {}", path.display())]));
    }
    only_for_us(path)?;
    let mut id = [0; 16];
    random::fill(&mut id);
    let (keys, has_reached) = SubjectKeys::open_asked(&**disk, path, id, asked)?;
    let (keys, disk, path) = (Arc::new(keys), Arc::clone(disk), path.to_owned());
    let (gate, probing) = (Arc::default(), Arc::default());
    Ok((NodeSubjects { keys, gate, probing, path, disk, _lock: Some(lock) }, has_reached))
}

/// Refuses a file that others may read, who then may have: nobody is told by a mode that is set in silence. One that is not there is made, with
/// nothing in it, so that it is never open to others.
fn only_for_us(path: &Path) -> Result<(), StartError> {
    let facts = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::metadata(path).map_err(at(path))?,
        made => {
            drop(made.map_err(at(path))?);
            return Ok(());
        }
    };
    // a folder in its place is told of by who opens it
    match secret_file::check(&facts) {
        Err(why) if facts.is_file() => {
            Err(StartError::Refused(vec![format!("the file of --subject-keys, {}: {why}", path.display())]))
        }
        _ => Ok(()),
    }
}

/// A copy of the data must not hold the keys: then nothing in it could ever be erased.
fn refuse_inside(path: &Path, declarations: &Declarations, data_folder: &Path) -> Result<(), StartError> {
    let mut folders = vec![("the data folder", data_folder.to_owned())];
    for config in declarations.stores.iter().map(|declared| &declared.config) {
        let wal = config.wal.path.as_ref().filter(|_| config.wal.enabled);
        let places = [("wal.path", wal), ("durable.path", Some(&config.durable.path))];
        let places = places.into_iter().chain([("durable.commit.manifest_path", Some(&config.durable.manifest_path))]);
        for (what, place) in places {
            if let Some(Location::Local(folder)) = place {
                folders.push((what, folder.clone()));
            }
        }
    }
    let file = real(path);
    match folders.iter().find(|(_, folder)| file.starts_with(real(folder))) {
        None => Ok(()),
        Some((what, folder)) => Err(StartError::Refused(vec![format!(
            "--subject-keys {} lies inside {what} ({}): a copy of that would hold the keys, and nothing in it could be erased; name a place outside",
            path.display(),
            folder.display()
        )])),
    }
}

/// The path without links, as far as it is there, and without `..`: what is not there yet is made as it is named.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|of| Some((of, fs::canonicalize(of).ok()?)));
    let Some((of, mut found)) = there else { return absolute };
    let mut goes_up = false;
    for part in absolute.strip_prefix(of).unwrap_or(Path::new("")).components() {
        if part == Component::ParentDir {
            goes_up = true;
            found.pop();
        } else {
            found.push(part);
        }
    }
    // what it goes back to may be there, and be a link
    if goes_up { real(&found) } else { found }
}

/// What a cluster cannot serve of these stores: those with erasable stream types. Without their keys a member would store such events as they come,
/// for ever; so it is asked before the folder becomes a member's, and again whenever one starts.
pub(crate) fn unserved_in_cluster<'s>(folder: &Path, stores: impl Iterator<Item = &'s str>) -> Vec<String> {
    let is_marked = |store: &&str| {
        let marker = marker::path_in(&store_folder_in(folder, store));
        !matches!(fs::symlink_metadata(marker), Err(error) if error.kind() == io::ErrorKind::NotFound)
    };
    let line = |store| {
        format!(
            "store {store} has erasable stream types, whose keys a node alone keeps in a file: it becomes no cluster's, which keeps them in a folder that \
             all nodes mount; serve it by a node alone"
        )
    };
    stores.filter(is_marked).map(line).collect()
}

/// The stream types of a store that a data folder knows to be erasable: for a check of both.
///
/// # Errors
/// What says so is damaged, or cannot be read.
pub fn erasable_in(data_dir: &Path, store: &str) -> Result<Vec<String>, StartError> {
    let marker = Marker::read(&marker::path_in(&store_folder_in(data_dir, store)))?;
    Ok(marker.and_then(|marker| marker.types).into_iter().flatten().map(|(name, _)| name).collect())
}

impl NodeHandle {
    /// Why the node takes no new subject and erases none; `None`: it does, or has no subject keys.
    #[must_use]
    pub fn subjects_trouble(&self) -> Option<String> {
        Some(self.shared().subjects.as_ref()?.keys.trouble()?.to_string())
    }
}

fn refusal(kind: ErrorKind, why: impl Into<String>) -> NodeError {
    NodeError::Erasure { kind, why: why.into() }
}

impl StoreHandle {
    /// What the subjects of a stream type are; `None`: it is not erasable.
    #[must_use]
    pub fn erasable(&self, stream_type: &str) -> Option<SubjectKind> {
        self.parts.store.subjects()?.kind_of(self.name(), stream_type)
    }

    /// Whether any of its stream types is erasable.
    #[must_use]
    pub fn has_erasable(&self) -> bool {
        self.parts.store.subjects().is_some_and(|keys| !keys.types_of(self.name()).is_empty())
    }

    /// Registers a stream type whose subjects can be erased, for ever; the same again is no error.
    ///
    /// # Errors
    /// `Erasure`: the node has no subject keys, the type holds events, or is registered otherwise, or a node of the cluster does not see the folder that
    /// this one was given; the file system.
    pub async fn register_erasable(
        &self,
        entry: StreamTypeEntry,
        kind: SubjectKind,
    ) -> Result<StreamTypeEntry, NodeError> {
        self.check_buckets(entry.buckets)?;
        if let Some(replicas) = &self.parts.replicas {
            return replicas.register_erasable(entry, kind).await;
        }
        let (Some(keys), Some(subjects)) = (self.parts.store.subjects(), &self.node.shared.subjects) else {
            let why = "this node has no keys for subjects: start it with --subject-keys FILE, outside of its data";
            return Err(refusal(ErrorKind::StrictViolation, why));
        };
        // no append makes its log between the look and the word
        let alone = Arc::clone(&subjects.gate).write_owned().await;
        match keys.kind_of(self.name(), &entry.name) {
            Some(known) if known == kind => return self.register(entry).await,
            Some(known) => {
                let why = format!("stream type `{}` is erasable by {}, which never changes", entry.name, known.word());
                return Err(refusal(ErrorKind::StrictViolation, why));
            }
            None => {}
        }
        let registered = self.stream_types().iter().any(|known| known.name == entry.name);
        if registered || self.parts.store.stream_types().contains(&entry.name) {
            let why = format!(
                "stream type `{}` is there already, and not erasable: what it holds is not sealed. Take another name",
                entry.name
            );
            return Err(refusal(ErrorKind::StrictViolation, why));
        }
        // erasable it would be for ever
        check_place(&self.stream_types(), &self.parts.store, &entry)?;
        let folder = self.node.shared.data_dir.store_folder(self.name());
        let (keys, place, disk) = (Arc::clone(keys), subjects.path.clone(), Arc::clone(&subjects.disk));
        let (store, name) = (self.name().to_owned(), entry.name.to_string());
        let declaring = tokio::task::spawn_blocking(move || -> Result<(), NodeError> {
            let _alone = alone;
            let failed = |error: SubjectFileError| refusal(ErrorKind::Io, error.to_string());
            let keep = |types| {
                let written = Marker::new(keys.id(), &place, types).write(&marker::path_in(&folder));
                written.map_err(|error| refusal(ErrorKind::Io, error.to_string()))
            };
            // before anything is sealed: a start without the keys, or with older ones, must know
            keys.tell_store(&*disk, &store, &marker::reached_in(&folder)).map_err(failed)?;
            let mut types = keys.types_of(&store);
            types.push((name.clone(), kind));
            keep(types)?;
            keys.declare(&store, &name, kind).map_err(|error| {
                // what is not erasable now may hold events by the next start, which must not make it so
                let _ = keep(keys.types_of(&store));
                failed(error)
            })
        });
        declaring.await.map_err(|_| NodeError::OutcomeUnknown)??;
        self.register(entry).await
    }

    /// Destroys the keys of a subject: when it is answered, nobody can read what they sealed, in any tier or copy. One receipt a stream type.
    ///
    /// # Errors
    /// `Erasure`: nothing is erasable so, or there is no such subject, or the node has not the folder of its cluster; the file of the keys, or the folder.
    pub async fn erase(&self, wish: Erasure) -> Result<Vec<Receipt>, NodeError> {
        self.node.check_serving()?;
        if self.parts.replicas.is_some() && self.parts.store.subjects().is_none_or(|keys| keys.folder().is_none()) {
            return Err(refusal(ErrorKind::NotSupported, NO_FOLDER));
        }
        let (word, name) = (wish.kind.word(), wish.name.clone());
        let types: Vec<String> = match (&wish.stream_type, self.parts.store.subjects()) {
            (_, None) => Vec::new(),
            (Some(one), Some(_)) if self.erasable(one) == Some(wish.kind) => vec![one.clone()],
            (Some(_), Some(_)) => Vec::new(),
            (None, Some(keys)) => keys
                .types_of(self.name())
                .into_iter()
                .filter(|(_, kind)| *kind == wish.kind)
                .map(|(name, _)| name)
                .collect(),
        };
        let Some(keys) = self.parts.store.subjects().filter(|_| !types.is_empty()) else {
            let what = wish
                .stream_type
                .as_ref()
                .map_or("no stream type was".to_owned(), |of| format!("stream type `{of}` was not"));
            let why = format!("{what} registered as erasable by {word} before its first event: nothing was erased");
            return Err(refusal(ErrorKind::StrictViolation, why));
        };
        let (keys, parts) = (Arc::clone(keys), Arc::clone(&self.parts));
        let alone = match (&self.parts.replicas, &self.node.shared.subjects) {
            (Some(replicas), _) => {
                if wish.kind == SubjectKind::Stream {
                    // a receipt counts what the logs hold
                    replicas.check_holds_namesakes(&types, &wish.name)?;
                }
                // what was acknowledged is counted, where it can be had: the keys are destroyed in any case
                let counted = types.iter().filter(|_| wish.kind == SubjectKind::Stream);
                let counting: Vec<_> = counted.map(|of| replicas.confirm_stream(of, &wish.name)).collect();
                join_all(counting).await;
                None
            }
            // what was sealed before is stored, and counted
            (None, Some(subjects)) => Some(Arc::clone(&subjects.gate).write_owned().await),
            (None, None) => None,
        };
        let erasing = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            let erase = |stream_type: String| {
                let head = match wish.kind {
                    SubjectKind::Stream => parts.store.stream_head(&stream_type, &wish.name).ok().flatten(),
                    SubjectKind::Tenant => None,
                };
                let events = head.map_or(0, |head| head.last_seq.0);
                let tombstone = Tombstone { at_us: clock::now().0, who: wish.who.clone(), events };
                let subject = Subject { store: parts.store.name().to_owned(), stream_type, name: wish.name.clone() };
                keys.erase(&subject, tombstone)
            };
            erase_each(types, erase, audit)
        });
        let receipts = erasing.await.map_err(|_| NodeError::OutcomeUnknown)?;
        let receipts = receipts.map_err(|error| refusal(error.kind(), error.to_string()))?;
        if receipts.is_empty() {
            let why = format!("no erasable stream type holds anything of {word} `{name}`: nothing was erased");
            return Err(refusal(ErrorKind::NotFound, why));
        }
        Ok(receipts)
    }
}

/// Type after type. What is done is told before the next one is tried: where that fails, nothing brings back the keys that are gone.
fn erase_each(
    types: Vec<String>,
    mut erase: impl FnMut(String) -> Result<Option<Receipt>, SubjectFileError>,
    mut tell: impl FnMut(&Receipt),
) -> Result<Vec<Receipt>, SubjectFileError> {
    let mut receipts = Vec::new();
    for stream_type in types {
        let receipt = erase(stream_type)?;
        receipt.iter().for_each(&mut tell);
        receipts.extend(receipt);
    }
    Ok(receipts)
}

/// A line for the operators.
fn audit(receipt: &Receipt) {
    let Receipt { subject, tombstone, already, .. } = receipt;
    tracing::info!(target: "strandline_audit", store = subject.store, action = "erase", stream_type = subject.stream_type, who = tombstone.who, already);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_erased_is_told_also_where_a_later_stream_type_fails() {
        let types = || ["A", "None", "B", "C"].map(str::to_owned).to_vec();
        let receipt = |stream_type: &str| {
            let subject = Subject { store: "s".to_owned(), stream_type: stream_type.to_owned(), name: "n".to_owned() };
            let tombstone = Tombstone { at_us: 1, who: "w".to_owned(), events: 1 };
            Receipt { subject, kind: SubjectKind::Stream, tombstone, already: false }
        };
        let erasing = |fails: &'static str| {
            move |stream_type: String| match stream_type.as_str() {
                of if of == fails => Err(SubjectFileError::NoFolder),
                "None" => Ok(None),
                of => Ok(Some(receipt(of))),
            }
        };
        let mut told = Vec::new();
        let failed = erase_each(types(), erasing("B"), |receipt| told.push(receipt.subject.stream_type.clone()));
        assert!(matches!(failed, Err(SubjectFileError::NoFolder)));
        assert_eq!(told, ["A"]);
        told.clear();
        let done = erase_each(types(), erasing(""), |receipt| told.push(receipt.subject.stream_type.clone())).unwrap();
        assert_eq!((told, done), (["A", "B", "C"].map(str::to_owned).to_vec(), ["A", "B", "C"].map(receipt).to_vec()));
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_known_by_where_it_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink(root.join("data"), root.join("link")).unwrap();
        for path in ["data/keys", "none/../data/keys", "none/no/../../link/keys", "link/none/../keys"] {
            assert_eq!(real(&root.join(path)), root.join("data/keys"), "{path}");
        }
        assert_eq!(real(&root.join("data/none/../../keys")), root.join("keys"));
    }
}
