//! Erasable stream types as the node runs them: where the keys of subjects lie, what is sealed before an owner sees it, and erasure.
//!
//! ```text
//!  serve --subject-keys FILE ─> outside of data folder, logs and files; one process at a time ─> keys of all stores of the node
//!  {data folder}/stores/{store}/subject-keys     says which file it is: a start without it, or with another one, is refused
//! ```
//!
//! A copy of the data folder, the logs and the files so holds no key. In a cluster the nodes have no common place for keys: there it is refused.

use crate::clock;
use crate::data_dir::{DataDir, DataDirError, at, make_folder, store_folder_in, try_lock, write_whole};
use crate::error::NodeError;
use crate::node::{NodeHandle, StartError};
use crate::random;
use crate::registry::StreamTypeEntry;
use crate::store::StoreHandle;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_deql::{Declarations, Location};
use strandline_engine::subjects::{Receipt, SubjectFileError, SubjectKeys};
use strandline_event::hex::to_hex;
use strandline_event::{ErrorKind, LogKey};
use strandline_keys::subject::record::{Subject, SubjectKind, Tombstone};
use strandline_wal::Disk;
use tokio::sync::RwLock;

const TITLE: &str = "strandline subject-keys 1";

/// Why a member of a cluster is given no keys of subjects.
pub const NO_SUBJECT_KEYS_IN_CLUSTER: &str = "--subject-keys: erasable stream types are not served in a cluster, whose nodes have no common place for the keys; leave it out, or start a node alone";

/// Why a cluster makes no stream type erasable, and erases none.
const NOT_IN_CLUSTER: &str =
    "erasable stream types are not served in a cluster: its nodes have no common place for the keys of subjects";

/// The keys of a node, locked for this process.
pub(crate) struct NodeSubjects {
    pub(crate) keys: Arc<SubjectKeys>,
    /// Shared by appends; alone goes who makes a stream type erasable, or erases.
    pub(crate) gate: RwLock<()>,
    path: PathBuf,
    _lock: File,
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

/// Opens the keys of a node alone, where it is told of some. Refused where a store was served with others.
pub(crate) fn open(
    path: Option<&Path>,
    disk: &dyn Disk,
    declarations: &Declarations,
    data_dir: &DataDir,
    data_folder: &Path,
) -> Result<Option<NodeSubjects>, StartError> {
    let opened = match path {
        Some(path) => {
            refuse_inside(path, declarations, data_folder)?;
            Some(open_file(path, disk)?)
        }
        None => None,
    };
    let mut lines = Vec::new();
    for name in declarations.stores.iter().map(|declared| &declared.config.name) {
        let marker = marker_of(data_dir.store_folder(name));
        let Some(known) = read_marker(&marker)? else {
            // the data folder is a new one: from now on it says that the keys are needed
            if let Some(of) = opened.as_ref().filter(|of| !of.keys.types_of(name).is_empty()) {
                write_marker(&marker, of.keys.id(), &of.path)?;
            }
            continue;
        };
        match opened.as_ref().map(|of| of.keys.id()) {
            Some(id) if to_hex(&id) == known.0 => {}
            Some(_) => lines.push(format!(
                "store {name}: --subject-keys names another file than the one that its erasable stream types were sealed with, which was at {}",
                known.1
            )),
            None => lines.push(format!(
                "store {name} has erasable stream types: name the file of their keys (--subject-keys; it was at {})",
                known.1
            )),
        }
    }
    if lines.is_empty() { Ok(opened) } else { Err(StartError::Refused(lines)) }
}

fn open_file(path: &Path, disk: &dyn Disk) -> Result<NodeSubjects, StartError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let lock_path = path.with_added_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
    if !try_lock(&lock).map_err(at(&lock_path))? {
        return Err(StartError::Refused(vec![format!("another process uses the subject keys in {}", path.display())]));
    }
    let mut id = [0; 16];
    random::fill(&mut id);
    let keys = Arc::new(SubjectKeys::open(disk, path, id)?);
    only_for_us(path)?;
    Ok(NodeSubjects { keys, gate: RwLock::new(()), path: path.to_owned(), _lock: lock })
}

#[cfg(unix)]
fn only_for_us(path: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(at(path))
}

#[cfg(not(unix))]
fn only_for_us(_: &Path) -> Result<(), DataDirError> {
    Ok(())
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

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|of| Some((of, fs::canonicalize(of).ok()?)));
    there.map_or(absolute.clone(), |(of, real)| real.join(absolute.strip_prefix(of).unwrap_or(Path::new(""))))
}

fn marker_of(store_folder: PathBuf) -> PathBuf {
    store_folder.join("subject-keys")
}

/// What a cluster cannot serve of these stores: those with erasable stream types. Without their keys a member would store such events as they come,
/// for ever; so it is asked before the folder becomes a member's, and again whenever one starts.
pub(crate) fn unserved_in_cluster<'s>(folder: &Path, stores: impl Iterator<Item = &'s str>) -> Vec<String> {
    let is_marked = |store: &&str| {
        let marker = marker_of(store_folder_in(folder, store));
        !matches!(fs::symlink_metadata(marker), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
    };
    let line = |store| {
        format!(
            "store {store} has erasable stream types, which are not served in a cluster, whose nodes have no common place for the keys: serve it by a node alone"
        )
    };
    stores.filter(is_marked).map(line).collect()
}

fn write_marker(path: &Path, id: [u8; 16], keys: &Path) -> Result<(), DataDirError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let text = format!("{TITLE}\n{}\n{}\n", to_hex(&id), keys.display());
    write_whole(path, text.as_bytes())
}

/// Id of the file, and where it was.
fn read_marker(path: &Path) -> Result<Option<(String, String)>, StartError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error).into()),
    };
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next()) {
        (Some(TITLE), Some(id), Some(place)) => Ok(Some((id.to_owned(), place.to_owned()))),
        _ => Err(StartError::Refused(vec![format!(
            "{} is damaged: it says which file holds the subject keys; put it back from a copy",
            path.display()
        )])),
    }
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
    /// `Erasure`: the node has no subject keys, the type holds events, or is registered otherwise, or the node is one of a cluster; the file system.
    pub async fn register_erasable(
        &self,
        entry: StreamTypeEntry,
        kind: SubjectKind,
    ) -> Result<StreamTypeEntry, NodeError> {
        if self.parts.replicas.is_some() {
            return Err(refusal(ErrorKind::NotSupported, NOT_IN_CLUSTER));
        }
        let (Some(keys), Some(subjects)) = (self.parts.store.subjects(), &self.node.shared.subjects) else {
            let why = "this node has no keys for subjects: start it with --subject-keys FILE, outside of its data";
            return Err(refusal(ErrorKind::StrictViolation, why));
        };
        // no append makes its log between the look and the word
        let alone = subjects.gate.write().await;
        match keys.kind_of(self.name(), &entry.name) {
            Some(known) if known == kind => return self.register(entry).await,
            Some(known) => {
                let why = format!("stream type `{}` is erasable by {}, which never changes", entry.name, known.word());
                return Err(refusal(ErrorKind::StrictViolation, why));
            }
            None => {}
        }
        let registered = self.stream_types().iter().any(|known| known.name == entry.name);
        if registered || self.parts.store.log(&LogKey::single(&entry.name)).is_some() {
            let why = format!(
                "stream type `{}` is there already, and not erasable: what it holds is not sealed. Take another name",
                entry.name
            );
            return Err(refusal(ErrorKind::StrictViolation, why));
        }
        let marker = marker_of(self.node.shared.data_dir.store_folder(self.name()));
        let (keys, place, store, name) =
            (Arc::clone(keys), subjects.path.clone(), self.name().to_owned(), entry.name.to_string());
        let declaring = tokio::task::spawn_blocking(move || -> Result<(), NodeError> {
            // before anything is sealed: a start without the keys must know
            write_marker(&marker, keys.id(), &place).map_err(|error| refusal(ErrorKind::Io, error.to_string()))?;
            keys.declare(&store, &name, kind).map_err(|error| refusal(ErrorKind::Io, error.to_string()))
        });
        declaring.await.map_err(|_| NodeError::OutcomeUnknown)??;
        drop(alone);
        self.register(entry).await
    }

    /// Destroys the keys of a subject: when it is answered, nobody can read what they sealed, in any tier or copy. One receipt a stream type.
    ///
    /// # Errors
    /// `Erasure`: nothing is erasable so, or there is no such subject, or the node is one of a cluster; the file of the keys.
    pub async fn erase(&self, wish: Erasure) -> Result<Vec<Receipt>, NodeError> {
        self.node.check_serving()?;
        if self.parts.replicas.is_some() {
            return Err(refusal(ErrorKind::NotSupported, NOT_IN_CLUSTER));
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
                .map_or("no stream type".to_owned(), |of| format!("stream type `{of}` was not"));
            let why = format!("{what} registered as erasable by {word}: nothing was erased");
            return Err(refusal(ErrorKind::StrictViolation, why));
        };
        let (keys, parts) = (Arc::clone(keys), Arc::clone(&self.parts));
        // what was sealed before is stored, and counted
        let _alone = match &self.node.shared.subjects {
            Some(subjects) => Some(subjects.gate.write().await),
            None => None,
        };
        let erasing = tokio::task::spawn_blocking(move || -> Result<Vec<Receipt>, SubjectFileError> {
            let mut receipts = Vec::new();
            for stream_type in types {
                let head = match wish.kind {
                    SubjectKind::Stream => parts.store.stream_head(&stream_type, &wish.name).ok().flatten(),
                    SubjectKind::Tenant => None,
                };
                let events = head.map_or(0, |head| head.last_seq.0);
                let tombstone = Tombstone { at_us: clock::now().0, who: wish.who.clone(), events };
                let subject = Subject { store: parts.store.name().to_owned(), stream_type, name: wish.name.clone() };
                receipts.extend(keys.erase(&subject, tombstone)?);
            }
            Ok(receipts)
        });
        let receipts = erasing.await.map_err(|_| NodeError::OutcomeUnknown)?;
        let receipts = receipts.map_err(|error| refusal(error.kind(), error.to_string()))?;
        for Receipt { subject, tombstone, already, .. } in &receipts {
            tracing::info!(target: "strandline_audit", store = self.name(), action = "erase", stream_type = subject.stream_type, who = tombstone.who, already);
        }
        if receipts.is_empty() {
            let why = format!("no erasable stream type holds anything of {word} `{name}`: nothing was erased");
            return Err(refusal(ErrorKind::NotFound, why));
        }
        Ok(receipts)
    }
}
