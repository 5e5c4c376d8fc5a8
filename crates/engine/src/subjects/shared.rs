//! Keys of subjects in the folder that the nodes of a cluster share, and what of them this process holds in memory.
//!
//! ```text
//!  seal, open ─> look: the folder is there, tombstones behind the last known one ─> keys in memory, else from the folder
//!  erase      ─> look ─> tombstone (the next number) ─> zeros over the secret ─> this node's data knows ─> answered
//! ```
//!
//! | at an erasure a node | it learns of it |
//! |---|---|
//! | runs | by the look with which each of its next seals and answers begins; that is before anything that was asked after the erasure was answered |
//! | is away | it holds no key when it starts again, reads all tombstones, and finds zeros in the place of the secret |
//! | is cut off from the other nodes | as one that runs: it looks at the folder, and asks nobody |
//! | is cut off from the folder, or sees another one | it does not: it seals and opens nothing (`Unavailable`) until it can look |
//! | has sealed an append that is not yet stored | it may be stored, and acknowledged, after it: as sealed text that nobody opens |
//! | has opened an answer that is on its way, or a page that waits for followers | what is not yet written down shows the marker once that node has looked (`follow`, `look_again`) |
//!
//! Invariant: a tombstone is known before its number is passed, and no key is taken into memory that has one.

use super::reached::ReachedFile;
use super::{Has, Keeping, KeysThere, Random, Receipt, SealError, Slot, SubjectFileError, SubjectKeys, erased};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_keys::Secret;
use strandline_keys::subject::folder::{Bits, Erased, KeyFolder, KeyName, name_of};
use strandline_keys::subject::reached::Reached;
use strandline_keys::subject::record::{Stored, Subject, SubjectKind, Tombstone};
use strandline_keys::subject::{SubjectKey, SubjectKeyId};
use strandline_wal::Disk;

/// Where the sum over the tombstones begins: as in a file, whose first record stands there.
const BEGIN: u64 = 4096;

/// What a cluster says of its stream types.
pub trait Kinds: Send + Sync + 'static {
    /// What the subjects of a stream type are; `None`: it is not erasable. What was said of one that has a log never changes.
    fn kind_of(&self, store: &str, stream_type: &str) -> Option<SubjectKind>;

    /// The erasable stream types of a store.
    fn types_of(&self, store: &str) -> Vec<(String, SubjectKind)>;
}

/// The folder that a node is started with.
pub struct SharedPlace<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// The place that this node's data knows it to have come to.
    pub asked: Option<Reached>,
    /// The last key that this node made there, as its data knows it.
    pub made: Option<KeyName>,
    /// Makes random bits: the id of a new folder, names of files that are being made.
    pub bits: fn() -> Bits,
}

/// The folder, and what is known of it.
pub(super) struct Shared {
    /// `None`: the node was given none. It seals and opens nothing then.
    folder: Option<KeyFolder>,
    kinds: Box<dyn Kinds>,
    bits: fn() -> Bits,
    /// Another node has said that it is the one that it uses too.
    agreed: AtomicBool,
    known: Mutex<Known>,
}

struct Known {
    /// The number of the next tombstone, and what stands before it.
    next: u64,
    reached: Reached,
    erased: HashMap<Subject, Tombstone>,
    dead: HashSet<SubjectKeyId>,
    /// Keys that seal here: their names in the folder are on stable storage.
    seals: HashMap<Subject, Arc<Slot>>,
    /// The last key that this node made: an older copy of the folder may lack it, and no tombstone.
    made: Option<KeyName>,
    /// Where this node's data keeps how far the folder had come.
    told: Option<Box<ReachedFile>>,
}

impl Shared {
    fn new(folder: Option<KeyFolder>, kinds: Box<dyn Kinds>, bits: fn() -> Bits) -> Self {
        let (erased, dead, seals) = (HashMap::new(), HashSet::new(), HashMap::new());
        let reached = Reached::nothing(BEGIN);
        let known = Known { next: 1, reached, erased, dead, seals, made: None, told: None };
        Self { folder, kinds, bits, agreed: AtomicBool::new(false), known: Mutex::new(known) }
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.folder.as_ref().map_or([0; 16], KeyFolder::id)
    }

    pub(super) fn kind_of(&self, store: &str, stream_type: &str) -> Option<SubjectKind> {
        self.kinds.kind_of(store, stream_type)
    }

    pub(super) fn types_of(&self, store: &str) -> Vec<(String, SubjectKind)> {
        self.kinds.types_of(store)
    }

    /// The folder, where this node has one that another node uses too.
    fn agreed(&self) -> Result<&KeyFolder, SubjectFileError> {
        let folder = self.folder.as_ref().ok_or(SubjectFileError::NoFolder)?;
        if self.agreed.load(Ordering::Acquire) {
            return Ok(folder);
        }
        Err(SubjectFileError::NotAgreed(folder.path().to_owned()))
    }

    /// This node's data learns how far the folder has come. Until then nothing is sealed or answered that needs it.
    fn tell(&self) -> Result<(), SubjectFileError> {
        let mut known = self.known.lock();
        let Known { reached, made, told, .. } = &mut *known;
        told.as_mut().map_or(Ok(()), |told| told.write_made(*reached, *made))
    }

    /// Why nothing is sealed or opened, as far as it was seen without asking the folder.
    pub(super) fn trouble(&self, is_out_of_reach: bool) -> Option<SubjectFileError> {
        let folder = match self.agreed() {
            Ok(folder) => folder,
            Err(error) => return Some(error),
        };
        is_out_of_reach.then(|| SubjectFileError::OutOfReach(folder.path().to_owned()))
    }

    fn tombstone(&self, subject: &Subject) -> (u64, Option<Tombstone>) {
        let known = self.known.lock();
        (known.next, known.erased.get(subject).cloned())
    }
}

impl SubjectKeys {
    /// Opens the folder that the nodes of a cluster share, or makes it; `false`: it has not come to the place that was asked for, so it is an older
    /// copy, or another folder. Nothing is sealed or opened before [`agree`](Self::agree).
    ///
    /// # Errors
    /// [`SubjectFileError`].
    pub fn open_shared(place: &SharedPlace<'_>, kinds: Box<dyn Kinds>) -> Result<(Self, bool), SubjectFileError> {
        let SharedPlace { path, asked, made, bits } = *place;
        let folder = KeyFolder::open(path, bits())?;
        let this = Self::shared(Shared::new(Some(folder), kinds, bits), path.to_owned());
        let mut has_reached = asked.is_none_or(|asked| asked == Reached::nothing(BEGIN));
        if let Keeping::Folder(shared) = &this.keeping
            && let Some(folder) = &shared.folder
        {
            let mut number = 1;
            while let Some(erased) = folder.erased(number)? {
                let subject = erased.subject.clone();
                number = this.apply(shared, number, erased);
                has_reached |= asked == Some(shared.known.lock().reached);
                // an erasure that a crash has cut is finished
                if !matches!(folder.find(&subject), Ok(None | Some((_, Stored::Destroyed)))) {
                    folder.destroy(&subject)?;
                }
            }
            // one that is lost, and was accepted as lost, is asked for no more
            let made = made.map(|made| folder.has(&made).map(|is_there| is_there.then_some(made))).transpose()?;
            has_reached &= made.is_none_or(|made| made.is_some());
            shared.known.lock().made = made.flatten();
            folder.check()?;
        }
        // what was erased before is no news
        this.erasures.store(0, Ordering::SeqCst);
        Ok((this, has_reached))
    }

    /// Of a node of a cluster that was given no folder: it knows what is erasable, and refuses to store or show any of it.
    #[must_use]
    pub fn without_folder(kinds: Box<dyn Kinds>) -> Self {
        Self::shared(Shared::new(None, kinds, || [0; 16]), PathBuf::new())
    }

    fn shared(shared: Shared, path: PathBuf) -> Self {
        Self {
            keeping: Keeping::Folder(shared),
            slots: RwLock::default(),
            types: ArcSwap::default(),
            erasures: AtomicU64::new(0),
            path,
            poisoned: Arc::default(),
        }
    }

    /// The folder, where the keys are in one.
    #[must_use]
    pub const fn folder(&self) -> Option<&KeyFolder> {
        match &self.keeping {
            Keeping::Folder(shared) => shared.folder.as_ref(),
            Keeping::File(_) => None,
        }
    }

    /// Another node sees what this one writes to the folder, or there is no other one: from now on it is used.
    pub fn agree(&self) {
        if let Keeping::Folder(shared) = &self.keeping {
            shared.agreed.store(true, Ordering::Release);
        }
    }

    /// Whether the keys are used: those of a file are from the start.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        match &self.keeping {
            Keeping::Folder(shared) => shared.agreed.load(Ordering::Acquire),
            Keeping::File(_) => true,
        }
    }

    /// The file at `path`, in this node's data folder, says from the next word on how far the folder has come. It blocks.
    ///
    /// # Errors
    /// That file.
    pub fn tell_node(&self, disk: &dyn Disk, path: &Path) -> Result<(), SubjectFileError> {
        let Keeping::Folder(shared) = &self.keeping else { return Ok(()) };
        let told = ReachedFile::open(disk, path, shared.id())?;
        shared.known.lock().told = Some(Box::new(told));
        Ok(())
    }

    /// What other nodes erased before this call is known when it returns. A file knows no other ones.
    ///
    /// # Errors
    /// The folder cannot be looked at, or is not known to be the one that all share: nothing may be sealed or opened.
    pub(crate) fn look(&self) -> Result<(), SubjectFileError> {
        let Keeping::Folder(shared) = &self.keeping else { return Ok(()) };
        let folder = shared.agreed()?;
        self.catch_up(shared, folder)
    }

    /// The same, whatever is known of the folder; and this node's data learns it.
    ///
    /// # Errors
    /// The folder; the file that [`tell_node`](Self::tell_node) named.
    pub fn follow(&self) -> Result<(), SubjectFileError> {
        let Keeping::Folder(shared) = &self.keeping else { return Ok(()) };
        let folder = shared.folder.as_ref().ok_or(SubjectFileError::NoFolder)?;
        let followed = self.catch_up(shared, folder).and_then(|()| shared.tell());
        // it is said until it can be looked at again
        self.poisoned.store(followed.is_err(), Ordering::SeqCst);
        followed
    }

    /// The same without a word to the data: another node waits for it.
    ///
    /// # Errors
    /// The folder.
    pub fn look_again(&self) -> Result<(), SubjectFileError> {
        let Keeping::Folder(shared) = &self.keeping else { return Ok(()) };
        shared.folder.as_ref().map_or(Ok(()), |folder| self.catch_up(shared, folder))
    }

    fn catch_up(&self, shared: &Shared, folder: &KeyFolder) -> Result<(), SubjectFileError> {
        let mut number = shared.known.lock().next;
        while let Some(erased) = folder.erased(number)? {
            // one of another folder is none of these
            folder.check()?;
            number = self.apply(shared, number, erased);
        }
        // behind the look: where the folder went away in this moment, that nothing was there says nothing
        Ok(folder.check()?)
    }

    /// Takes a tombstone in, unless another thread has. Gives the number of the next one.
    fn apply(&self, shared: &Shared, number: u64, erased: Erased) -> u64 {
        let mut known = shared.known.lock();
        if known.next != number {
            return known.next;
        }
        let Erased { id, subject, tombstone, bytes } = erased;
        known.reached = known.reached.behind(&bytes);
        known.next += 1;
        known.dead.insert(id);
        known.seals.remove(&subject);
        known.erased.insert(subject, tombstone);
        if let Some(slot) = self.slots.read().get(&id) {
            slot.destroy();
        }
        self.erasures.fetch_add(1, Ordering::SeqCst);
        known.next
    }

    /// The slot of a key that was read from the folder; `to_seal`: its name is on stable storage.
    fn hold(
        &self,
        shared: &Shared,
        (id, subject): (SubjectKeyId, &Subject),
        key: Option<SubjectKey>,
        to_seal: bool,
    ) -> Arc<Slot> {
        let mut known = shared.known.lock();
        let key = key.filter(|_| !known.dead.contains(&id));
        let is_whole = key.is_some();
        let mut slots = self.slots.write();
        let slot = slots.entry(id).or_insert_with(|| Slot::new(&Arc::new(subject.clone()), key));
        if to_seal && is_whole {
            known.seals.insert(subject.clone(), Arc::clone(slot));
        }
        Arc::clone(slot)
    }

    /// The slot of a key that rows of this subject are sealed with; `None`: it is not the key of the subject. Its caller has looked.
    pub(super) fn shared_slot(
        &self,
        shared: &Shared,
        id: SubjectKeyId,
        subject: &Subject,
    ) -> Result<Option<Arc<Slot>>, SubjectFileError> {
        let folder = shared.agreed()?;
        let Some((found, stored)) = folder.find(subject)? else {
            // that no name is there says nothing where the folder went away
            folder.check()?;
            return Ok(None);
        };
        if found != id {
            return Ok(None);
        }
        let key = match stored {
            Stored::Whole(secret) => Some(SubjectKey::new(id, &secret)),
            Stored::Destroyed => None,
            Stored::Broken => {
                // zeros are being written over it in this moment; else nobody has erased it
                self.catch_up(shared, folder)?;
                if !shared.known.lock().dead.contains(&id) {
                    return Err(folder.damaged(subject).into());
                }
                None
            }
        };
        Ok(Some(self.hold(shared, (id, subject), key, false)))
    }

    /// What a subject has to be sealed with. Its caller has looked.
    fn shared_key(&self, shared: &Shared, subject: &Subject) -> Result<Has, SubjectFileError> {
        {
            let known = shared.known.lock();
            if let Some(tombstone) = known.erased.get(subject) {
                return Ok(Has::Tombstone(tombstone.clone()));
            }
            if let Some(key) = known.seals.get(subject).and_then(|slot| slot.key()) {
                return Ok(Has::Key(key));
            }
        }
        let folder = shared.agreed()?;
        let key = match folder.find(subject)? {
            None => {
                folder.check()?;
                return Ok(Has::Nothing);
            }
            Some((id, Stored::Whole(secret))) => {
                // another node may be about to
                folder.sync(subject)?;
                self.hold(shared, (id, subject), Some(SubjectKey::new(id, &secret)), true).key()
            }
            Some(_) => None,
        };
        if let Some(key) = key {
            return Ok(Has::Key(key));
        }
        // it was erased in this moment, or this node has not looked since
        self.catch_up(shared, folder)?;
        shared.tombstone(subject).1.map(Has::Tombstone).ok_or_else(|| folder.damaged(subject).into())
    }

    /// The keys of subjects, made where there is none: on stable storage when they are given.
    pub(super) fn shared_keys(
        &self,
        shared: &Shared,
        kind: SubjectKind,
        subjects: &[Subject],
        random: Random<'_>,
    ) -> Result<Vec<Arc<SubjectKey>>, SealError> {
        self.look()?;
        let mut found: HashMap<&Subject, Option<Arc<SubjectKey>>> = HashMap::new();
        for subject in subjects.iter().collect::<HashSet<_>>() {
            match self.shared_key(shared, subject)? {
                Has::Key(key) => drop(found.insert(subject, Some(key))),
                Has::Nothing => drop(found.insert(subject, None)),
                // before a key is made for any of them
                Has::Tombstone(tombstone) => return Err(erased(kind, subject, &tombstone)),
            }
        }
        let mut keys = HashMap::with_capacity(found.len());
        for (subject, key) in found {
            let key = match key {
                Some(key) => key,
                None => self.shared_new(shared, kind, subject, random)?,
            };
            keys.insert(subject, key);
        }
        // a start with an older copy, or with another folder, must know
        shared.tell()?;
        let keys: Option<Vec<_>> = subjects.iter().map(|subject| keys.get(subject).cloned()).collect();
        Ok(keys.unwrap_or_else(|| strandline_event::invariant::broken("a subject whose key was asked for has none")))
    }

    /// A new key for a subject, or the one that another node has made in this moment.
    fn shared_new(
        &self,
        shared: &Shared,
        kind: SubjectKind,
        subject: &Subject,
        random: Random<'_>,
    ) -> Result<Arc<SubjectKey>, SealError> {
        let folder = shared.agreed()?;
        let (mut id, mut secret, mut aside) = ([0; 16], [0; Secret::BYTES], [0; 16]);
        random(&mut id);
        random(&mut secret);
        random(&mut aside);
        let secret = Secret::new(secret);
        let is_made = folder.make(subject, (id, &secret), aside).map_err(SubjectFileError::from)?;
        // not in another one that has come into its place
        folder.check().map_err(SubjectFileError::from)?;
        if is_made {
            shared.known.lock().made = Some(name_of(subject));
        }
        let key = is_made.then(|| SubjectKey::new(id, &secret));
        if let Some(key) = key.and_then(|key| self.hold(shared, (id, subject), Some(key), true).key()) {
            return Ok(key);
        }
        match self.shared_key(shared, subject)? {
            Has::Key(key) => Ok(key),
            Has::Tombstone(tombstone) => Err(erased(kind, subject, &tombstone)),
            Has::Nothing => Err(SubjectFileError::from(folder.damaged(subject)).into()),
        }
    }

    /// The keys that subjects have, and of the first that was erased that it was.
    pub(super) fn shared_keys_there<'s>(
        &self,
        shared: &Shared,
        kind: SubjectKind,
        subjects: impl Iterator<Item = &'s Subject>,
    ) -> Result<KeysThere, SealError> {
        self.look()?;
        let mut of_erased = None;
        let mut keys = Vec::new();
        for subject in subjects {
            keys.push(match self.shared_key(shared, subject)? {
                Has::Key(key) => Some(key),
                Has::Nothing => None,
                Has::Tombstone(tombstone) => {
                    of_erased.get_or_insert_with(|| erased(kind, subject, &tombstone));
                    None
                }
            });
        }
        // keys that another node has made seal here too
        shared.tell()?;
        Ok((keys, of_erased))
    }

    /// Destroys the key of a subject for all nodes.
    pub(super) fn shared_erase(
        &self,
        shared: &Shared,
        kind: SubjectKind,
        subject: &Subject,
        tombstone: &Tombstone,
    ) -> Result<Option<Receipt>, SubjectFileError> {
        let folder = shared.agreed()?;
        let Some((id, _)) = folder.find(subject)? else {
            folder.check()?;
            return Ok(None);
        };
        let mut already = true;
        let tombstone = loop {
            self.catch_up(shared, folder)?;
            let (next, known) = shared.tombstone(subject);
            if let Some(known) = known {
                break known;
            }
            // the number may be taken by another node's in this moment
            already = !folder.add_erased(next, (id, subject, tombstone), (shared.bits)())?;
        };
        // again where it was erased before: a crash may have come between
        folder.destroy(subject)?;
        folder.check()?;
        shared.tell()?;
        Ok(Some(Receipt { subject: subject.clone(), kind, tombstone, already }))
    }
}

#[cfg(test)]
mod tests;
