//! Subjects: whose data an erasable stream type holds, and the keys that seal it. What is sealed stays sealed in every tier; rows are opened when
//! a client reads them, and show `ERASED` once the key is destroyed.
//!
//! ```text
//!  append ─> seal (a key for each subject, on stable storage before it seals) ─> owner, log, memory, files: sealed text
//!  read   ─> rows ─> open (keys in memory) ─> client
//!  erase  ─> tombstone, secret overwritten, key gone from memory ─> every copy of the text is worth nothing
//! ```
//!
//! It knows no HTTP and makes no randomness. Invariant: a key that has a tombstone never seals or opens again, and no new key is made for its
//! subject, so that nothing comes back under the name of what was erased.

mod file;
mod known;
mod reached;
mod rows;
mod shared;
mod trial;

pub use file::SubjectFileError;
pub(crate) use known::UnknownKeys;
pub use known::{KeyFault, KnownKeys};
pub use reached::{LookedReached, look as look_reached, look_whole as look_whole_reached};
pub(crate) use rows::{Opened, Opener, Openings};
pub use shared::{Kinds, SharedPlace};
pub use trial::Trial;

use arc_swap::ArcSwap;
use file::{KeyFile, OpenedFile};
use parking_lot::{Mutex, RwLock};
use reached::ReachedFile;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_event::{
    BatchBuilder, BatchBytes, BatchView, ErrorKind, EventInput, EventRef, Field, InvalidEvent, Micros,
};
use strandline_keys::Secret;
use strandline_keys::subject::reached::Reached;
use strandline_keys::subject::record::{Record, Stored, Subject, SubjectKind, Tombstone};
use strandline_keys::subject::{Sealed, SubjectKey, SubjectKeyId};
use strandline_wal::Disk;

/// Makes random bytes.
pub type Random<'a> = &'a dyn Fn(&mut [u8]);

/// Why a batch cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The subject was erased: nothing is ever stored for it again.
    #[error(
        "{kind} `{name}` of stream type `{stream_type}` was erased at {at}: it takes no events any more; use another name"
    )]
    Erased {
        /// What subjects are.
        kind: &'static str,
        /// The subject.
        name: String,
        /// Its stream type.
        stream_type: String,
        /// When.
        at: Micros,
    },
    /// An event without a tenant, where each tenant is a subject.
    #[error("stream type `{0}` is erasable by tenant: every event of it needs a tenant_id")]
    NoTenant(String),
    /// An event that is too large once it is sealed: that takes a third more.
    #[error("row {row}, sealed with the key of its subject: {error}")]
    Invalid {
        /// Which.
        row: usize,
        /// Why.
        error: InvalidEvent,
    },
    /// The keys cannot be written.
    #[error(transparent)]
    File(#[from] SubjectFileError),
}

impl SealError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Erased { .. } | Self::NoTenant(_) => ErrorKind::StrictViolation,
            Self::Invalid { .. } => ErrorKind::TooLarge,
            Self::File(error) => error.kind(),
        }
    }
}

/// A key in memory, which may be destroyed while somebody holds it.
pub(crate) struct Slot {
    /// Whose rows it opens, and no others.
    subject: Arc<Subject>,
    erased: AtomicBool,
    key: RwLock<Option<Arc<SubjectKey>>>,
}

impl Slot {
    fn new(subject: &Arc<Subject>, key: Option<SubjectKey>) -> Arc<Self> {
        let (subject, erased) = (Arc::clone(subject), AtomicBool::new(key.is_none()));
        Arc::new(Self { subject, erased, key: RwLock::new(key.map(Arc::new)) })
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.erased.load(Ordering::Acquire)
    }

    fn key(&self) -> Option<Arc<SubjectKey>> {
        self.key.read().clone()
    }

    fn destroy(&self) {
        self.erased.store(true, Ordering::Release);
        *self.key.write() = None;
    }
}

/// The keys that subjects have, in their order, and of the first that was erased that it was.
type KeysThere = (Vec<Option<Arc<SubjectKey>>>, Option<SealError>);

/// What a subject has to be sealed with.
enum Has {
    Key(Arc<SubjectKey>),
    /// It was erased.
    Tombstone(Tombstone),
    Nothing,
}

/// What was erased, or was before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Whose data.
    pub subject: Subject,
    /// What subjects of the stream type are.
    pub kind: SubjectKind,
    /// When, by whom, how much.
    pub tombstone: Tombstone,
    /// It was erased before: nothing changed.
    pub already: bool,
}

/// A key of a subject, its place in the file, and its tombstone where it has one.
struct Entry {
    id: SubjectKeyId,
    at: u64,
    tombstone: Option<Tombstone>,
    /// Its secret was overwritten: that it has a tombstone says only that it shall be.
    destroyed: bool,
}

struct Written {
    file: KeyFile,
    subjects: HashMap<Arc<Subject>, Entry>,
    told: Told,
}

/// The stores whose data keeps how far the file has come.
type Told = HashMap<String, ReachedFile>;

/// The data of a store learns how far the file has come. Until then nothing that was added is used or answered.
fn tell(file: &KeyFile, told: &mut Told, store: &str) -> Result<(), SubjectFileError> {
    let Some(reached) = told.get_mut(store) else { return Ok(()) };
    reached.write(file.reached()).inspect_err(|error| {
        if error.kind() != ErrorKind::DiskFull {
            file.poison();
        }
    })
}

/// Erasable stream types: (store, name) -> what subjects are.
type Types = BTreeMap<(String, String), SubjectKind>;

/// Where the keys are.
enum Keeping {
    /// In a file of this process alone.
    File(Mutex<Written>),
    /// In a folder that the nodes of a cluster share.
    Folder(shared::Shared),
}

/// The keys of a node's subjects.
pub struct SubjectKeys {
    keeping: Keeping,
    /// By id, those that are destroyed included.
    slots: RwLock<HashMap<SubjectKeyId, Arc<Slot>>>,
    types: ArcSwap<Types>,
    erasures: AtomicU64,
    path: PathBuf,
    /// A write to the file failed.
    poisoned: Arc<AtomicBool>,
}

impl SubjectKeys {
    /// Opens the file at `path`, or makes one with this id (random). An erasure that a crash interrupted is finished first.
    ///
    /// # Errors
    /// [`SubjectFileError`].
    pub fn open(disk: &dyn Disk, path: &Path, new_id: [u8; 16]) -> Result<Self, SubjectFileError> {
        Ok(Self::open_asked(disk, path, new_id, &[])?.0)
    }

    /// As [`open`](Self::open), and of each place whether the file has come to it: one that has not was cut, is an older copy, or another file.
    ///
    /// # Errors
    /// [`SubjectFileError`].
    pub fn open_asked(
        disk: &dyn Disk,
        path: &Path,
        new_id: [u8; 16],
        asked: &[Reached],
    ) -> Result<(Self, Vec<bool>), SubjectFileError> {
        let OpenedFile { mut file, contents, has_reached } = KeyFile::open(disk, path, new_id, asked)?;
        let (mut subjects, mut slots, mut types) = (HashMap::new(), HashMap::new(), Types::new());
        let mut secrets: HashMap<SubjectKeyId, (u64, Stored)> = HashMap::new();
        for (at, record) in contents {
            match record {
                Record::Key(id, subject, stored) => {
                    secrets.insert(id, (at, stored));
                    subjects.insert(Arc::new(subject), Entry { id, at, tombstone: None, destroyed: false });
                }
                Record::Tombstone(id, subject, tombstone) => {
                    if let Some((at, stored)) = secrets.remove(&id)
                        && !matches!(stored, Stored::Destroyed)
                    {
                        file.destroy(at)?;
                    }
                    let entry =
                        subjects.entry(Arc::new(subject)).or_insert(Entry { id, at, tombstone: None, destroyed: true });
                    (entry.tombstone, entry.destroyed) = (Some(tombstone), true);
                }
                Record::Type(kind, store, stream_type) => drop(types.insert((store, stream_type), kind)),
            }
        }
        for (subject, entry) in &subjects {
            let key = match secrets.get(&entry.id) {
                Some((_, Stored::Whole(secret))) => Some(SubjectKey::new(entry.id, secret)),
                _ => None,
            };
            slots.insert(entry.id, Slot::new(subject, key));
        }
        let (path, poisoned) = (path.to_owned(), file.poisoned());
        let keeping = Keeping::File(Mutex::new(Written { file, subjects, told: Told::new() }));
        let (types, erasures) = (ArcSwap::from_pointee(types), AtomicU64::new(0));
        Ok((Self { keeping, slots: RwLock::new(slots), types, erasures, path, poisoned }, has_reached))
    }

    /// From now on the file at `path`, which lies with the data of a store, says how far the keys have come: no key seals and no erasure of the
    /// store is answered before. It blocks.
    ///
    /// # Errors
    /// That file.
    pub fn tell_store(&self, disk: &dyn Disk, store: &str, path: &Path) -> Result<(), SubjectFileError> {
        // of a folder one place is kept for all stores
        let Keeping::File(written) = &self.keeping else { return Ok(()) };
        let mut written = written.lock();
        let Written { file, told, .. } = &mut *written;
        if let hash_map::Entry::Vacant(place) = told.entry(store.to_owned()) {
            place.insert(ReachedFile::open(disk, path, file.id())?);
        }
        tell(file, told, store)
    }

    /// The id of the file, or of the folder.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        match &self.keeping {
            Keeping::File(written) => written.lock().file.id(),
            Keeping::Folder(shared) => shared.id(),
        }
    }

    /// Makes a stream type erasable, for ever. The caller has checked that it holds no events yet.
    ///
    /// # Errors
    /// The file.
    pub fn declare(&self, store: &str, stream_type: &str, kind: SubjectKind) -> Result<(), SubjectFileError> {
        // the cluster says what is erasable, and keeps it
        let Keeping::File(written) = &self.keeping else { return Ok(()) };
        let mut written = written.lock();
        if self.kind_of(store, stream_type).is_some() {
            return Ok(());
        }
        let Written { file, told, .. } = &mut *written;
        file.add(&[Record::Type(kind, store.to_owned(), stream_type.to_owned())])?;
        self.types.rcu(|types| {
            let mut types = Types::clone(types);
            types.insert((store.to_owned(), stream_type.to_owned()), kind);
            types
        });
        tell(file, told, store)
    }

    /// Why no new subject is taken and none is erased; `None`: all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<SubjectFileError> {
        if let Keeping::Folder(shared) = &self.keeping {
            return shared.trouble(self.poisoned.load(Ordering::SeqCst));
        }
        self.poisoned.load(Ordering::SeqCst).then(|| SubjectFileError::Poisoned(self.path.clone()))
    }

    /// How many keys were destroyed since the file was opened. It never falls, and rows that are looked at afterwards show what is left.
    #[must_use]
    pub fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::SeqCst)
    }

    /// What the subjects of a stream type are; `None`: it is not erasable.
    #[must_use]
    pub fn kind_of(&self, store: &str, stream_type: &str) -> Option<SubjectKind> {
        if let Keeping::Folder(shared) = &self.keeping {
            return shared.kind_of(store, stream_type);
        }
        let types = self.types.load();
        if types.is_empty() {
            return None;
        }
        types.get(&(store.to_owned(), stream_type.to_owned())).copied()
    }

    /// The erasable stream types of a store.
    #[must_use]
    pub fn types_of(&self, store: &str) -> Vec<(String, SubjectKind)> {
        if let Keeping::Folder(shared) = &self.keeping {
            return shared.types_of(store);
        }
        let types = self.types.load();
        types.iter().filter(|((of, _), _)| of == store).map(|((_, name), kind)| (name.clone(), *kind)).collect()
    }

    /// The keys of subjects, made where there is none: on stable storage when they are given.
    fn keys(
        &self,
        kind: SubjectKind,
        subjects: &[Subject],
        random: Random<'_>,
    ) -> Result<Vec<Arc<SubjectKey>>, SealError> {
        let mut written = match &self.keeping {
            Keeping::File(written) => written.lock(),
            Keeping::Folder(shared) => return self.shared_keys(shared, kind, subjects, random),
        };
        let mut new: HashMap<&Subject, (SubjectKeyId, Secret)> = HashMap::new();
        for subject in subjects {
            match written.subjects.get(subject) {
                Some(Entry { tombstone: Some(tombstone), .. }) => return Err(erased(kind, subject, tombstone)),
                Some(_) => {}
                None => {
                    let (mut id, mut secret) = ([0; 16], [0; Secret::BYTES]);
                    random(&mut id);
                    random(&mut secret);
                    new.entry(subject).or_insert((id, Secret::new(secret)));
                }
            }
        }
        let new: Vec<(&Subject, (SubjectKeyId, Secret))> = new.into_iter().collect();
        let record = |(subject, (id, secret)): &(&Subject, (SubjectKeyId, Secret))| {
            Record::Key(*id, Subject::clone(subject), Stored::Whole(secret.clone()))
        };
        if let Some((Subject { store, .. }, _)) = new.first() {
            let Written { file, told, .. } = &mut *written;
            let places = file.add(&new.iter().map(record).collect::<Vec<_>>())?;
            tell(file, told, store)?;
            let mut slots = self.slots.write();
            for ((subject, (id, secret)), at) in new.into_iter().zip(places) {
                let subject = Arc::new(subject.clone());
                slots.insert(id, Slot::new(&subject, Some(SubjectKey::new(id, &secret))));
                written.subjects.insert(subject, Entry { id, at, tombstone: None, destroyed: false });
            }
        }
        let slots = self.slots.read();
        let key = |subject| slots.get(&written.subjects.get(subject)?.id)?.key();
        let keys: Option<Vec<_>> = subjects.iter().map(key).collect();
        Ok(keys.unwrap_or_else(|| strandline_event::invariant::broken("a subject without a tombstone has no key")))
    }

    /// Destroys the key of a subject: when it is answered, nothing can open what it sealed. `None`: there was never one.
    ///
    /// # Errors
    /// The file; whether the key is destroyed the next start finds out, and finishes it if its tombstone is there. Until then the same again fails
    /// as well: nobody is told of an erasure whose key may still stand in the file.
    pub fn erase(&self, subject: &Subject, tombstone: Tombstone) -> Result<Option<Receipt>, SubjectFileError> {
        let Some(kind) = self.kind_of(&subject.store, &subject.stream_type) else { return Ok(None) };
        let mut written = match &self.keeping {
            Keeping::File(written) => written.lock(),
            Keeping::Folder(shared) => return self.shared_erase(shared, kind, subject, &tombstone),
        };
        let Written { file, subjects, told } = &mut *written;
        let Some(entry) = subjects.get_mut(subject) else { return Ok(None) };
        let subject = subject.clone();
        if let Some(tombstone) = entry.tombstone.clone() {
            if !entry.destroyed {
                file.destroy(entry.at)?;
                entry.destroyed = true;
            }
            tell(file, told, &subject.store)?;
            return Ok(Some(Receipt { subject, kind, tombstone, already: true }));
        }
        file.add(&[Record::Tombstone(entry.id, subject.clone(), tombstone.clone())])?;
        entry.tombstone = Some(tombstone.clone());
        if let Some(slot) = self.slots.read().get(&entry.id) {
            slot.destroy();
        }
        self.erasures.fetch_add(1, Ordering::SeqCst);
        file.destroy(entry.at)?;
        entry.destroyed = true;
        tell(file, told, &subject.store)?;
        Ok(Some(Receipt { subject, kind, tombstone, already: false }))
    }

    /// The batch with what its rows say sealed; as it is where its stream type is not erasable. May sync: it blocks.
    ///
    /// # Errors
    /// [`SealError`]; then nothing was sealed.
    pub fn seal(&self, store: &str, batch: &BatchBytes, random: Random<'_>) -> Result<BatchBytes, SealError> {
        self.seal_rows(store, batch, random, &|_| true)
    }

    /// What a row of a store says, opened; `None`: it is not sealed, or with a key that this node does not have, or that is not the key of its subject:
    /// anybody can append a text that was sealed elsewhere.
    ///
    /// # Errors
    /// A folder that cannot be read; never of a file.
    pub(crate) fn open_row(&self, store: &str, event: &EventRef<'_>) -> Result<Option<Opened>, SubjectFileError> {
        let data = Sealed::parse(event.data);
        let metadata = event.metadata.and_then(Sealed::parse);
        let Some(id) = data.as_ref().or(metadata.as_ref()).map(|sealed| sealed.key) else { return Ok(None) };
        let name = match self.kind_of(store, event.stream_type) {
            Some(SubjectKind::Stream) => Some(event.stream_id),
            Some(SubjectKind::Tenant) => event.tenant_id,
            None => None,
        };
        let Some(name) = name else { return Ok(None) };
        let known = self.slots.read().get(&id).cloned();
        let slot = match (known, &self.keeping) {
            (None, Keeping::Folder(shared)) => {
                self.shared_slot(shared, id, &subject_of(store, event.stream_type, name))?
            }
            (known, _) => known,
        };
        let Some(slot) = slot else { return Ok(None) };
        let Subject { store: of_store, stream_type, name: of_name } = &*slot.subject;
        if (of_store.as_str(), stream_type.as_str(), of_name.as_str()) != (store, event.stream_type, name) {
            return Ok(None);
        }
        let Some(key) = slot.key() else { return Ok(Some(Opened::nothing(slot))) };
        let context = |field| context_of(event, field);
        let open = |field, sealed: Option<Sealed>| Some(key.open(&context(field), &sealed?).ok()?.into_boxed_str());
        let (data, metadata) = (open(Field::Payload, data), open(Field::Metadata, metadata));
        Ok(Some(Opened::new(slot, data, metadata)))
    }
}

fn subject_of(store: &str, stream_type: &str, name: &str) -> Subject {
    Subject { store: store.to_owned(), stream_type: stream_type.to_owned(), name: name.to_owned() }
}

fn erased(kind: SubjectKind, subject: &Subject, tombstone: &Tombstone) -> SealError {
    let Subject { stream_type, name, .. } = subject.clone();
    SealError::Erased { kind: kind.word(), name, stream_type, at: Micros(tombstone.at_us) }
}

/// Whose data each row of a batch holds.
fn subjects_of(store: &str, view: BatchView<'_>, kind: SubjectKind) -> Result<Vec<Subject>, SealError> {
    let subject = |row: usize| {
        let name = match kind {
            SubjectKind::Stream => Some(view.stream(view.stream_of(row))),
            SubjectKind::Tenant => view.tenant_id(row),
        };
        let name = name.ok_or_else(|| SealError::NoTenant(view.stream_type().to_owned()))?;
        Ok(subject_of(store, view.stream_type(), name))
    };
    (0..view.rows()).map(subject).collect()
}

/// The batch with what its rows say sealed, each with its key.
fn sealed_with(view: BatchView<'_>, keys: &[Arc<SubjectKey>]) -> Result<BatchBytes, SealError> {
    let mut builder = BatchBuilder::new(view.stream_type(), view.unit());
    if let Some(chunk) = view.chunk() {
        builder.set_chunk(chunk);
    }
    for (row, key) in keys.iter().enumerate() {
        let sealed = SealedRow::new(view, row, key);
        builder.push(&sealed.input(view.input(row))).map_err(|error| SealError::Invalid { row, error })?;
    }
    builder.finish().map_err(|_| SealError::Invalid { row: 0, error: InvalidEvent::BatchFull })
}

struct SealedRow {
    data: String,
    metadata: Option<String>,
}

impl SealedRow {
    fn new(view: BatchView<'_>, row: usize, key: &SubjectKey) -> Self {
        let of = EventRef {
            stream_type: view.stream_type(),
            stream_id: view.stream(view.stream_of(row)),
            event_type: view.event_type(row),
            event_version: view.event_version(row),
            command_id: view.command_id(row),
            correlation_id: view.correlation_id(row),
            causation_id: view.causation_id(row),
            tenant_id: view.tenant_id(row),
            data: view.data(row),
            metadata: view.metadata(row),
            event_id: strandline_event::EventId([0; 16]),
            seq: strandline_event::Seq::ZERO,
            occurred_at: Micros(0),
            ingested_at: Micros(0),
        };
        let data = key.seal(&context_of(&of, Field::Payload), of.data);
        let metadata = of.metadata.map(|text| key.seal(&context_of(&of, Field::Metadata), text));
        Self { data, metadata }
    }

    fn input<'a>(&'a self, row: EventInput<'a>) -> EventInput<'a> {
        EventInput { data: &self.data, metadata: self.metadata.as_deref(), ..row }
    }
}

/// What a sealed text belongs to: fields that a client gives and that no owner fills in, so that a retry, and a replay that names the seq, have the
/// same. Each text with its length before it, absent ones told from empty ones.
fn context_of(event: &EventRef<'_>, field: Field) -> Vec<u8> {
    let mut out = vec![1, field as u8];
    let version = event.event_version.map(|version| version.to_string());
    let texts = [
        Some(event.stream_type),
        Some(event.stream_id),
        Some(event.event_type),
        version.as_deref(),
        event.command_id,
        event.correlation_id,
        event.causation_id,
        event.tenant_id,
    ];
    for text in texts {
        let length = text.map_or(u32::MAX, |text| text.len() as u32);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.unwrap_or("").as_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
