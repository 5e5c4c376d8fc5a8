//! Which keys a file of subject keys, or the folder of a cluster, knows, erased ones included: for a check that only looks, and for what such a check
//! finds wrong with them.

use super::Sealed;
use super::file::{Looked, SubjectFileError, look};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use strandline_event::EventRef;
use strandline_event::hex::to_hex;
use strandline_keys::subject::SubjectKeyId;
use strandline_keys::subject::folder::{Erased, FolderError, FoundKey, KeyFolder};
use strandline_keys::subject::reached::{Reached, Slot};
use strandline_keys::subject::record::{Record, Stored, Subject};
use strandline_wal::Disk;
use strandline_wal::frame::BLOCK_BYTES;

/// What is said of a secret that still stands under a tombstone.
const UNFINISHED: &str = "an erasure was cut short: the tombstone is there, and the secret is not overwritten yet; the next start of a node ends it";

/// What is wrong with a file of keys, or worth knowing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFault {
    /// The file.
    pub place: PathBuf,
    /// In a sentence, without a secret and without a subject.
    pub what: String,
    /// It is damage.
    pub is_wrong: bool,
}

/// The keys of a file or a folder, without their secrets.
pub struct KnownKeys {
    ids: HashSet<SubjectKeyId>,
    /// Erasable stream types: (store, name).
    types: HashSet<(String, String)>,
    /// Of the file, or the folder.
    id: [u8; 16],
    /// Where it was before its first record (of a folder: tombstone), and behind each.
    places: Vec<Reached>,
    /// Where that cannot be told for damage.
    is_cut: bool,
    folder: Option<KeyFolder>,
    faults: Vec<KeyFault>,
}

impl KnownKeys {
    /// Reads the file or the folder at `path`, and changes nothing of it. What is wrong with single files of a folder is a fault, and no error.
    ///
    /// # Errors
    /// [`SubjectFileError`].
    pub fn look(disk: &dyn Disk, path: &Path) -> Result<Self, SubjectFileError> {
        if path.is_dir() {
            return Ok(Self::in_folder(KeyFolder::look(path)?));
        }
        let Looked { id, records, places } = look(disk, path)?;
        let mut known = Self::new(id, places);
        let (mut whole, mut dead) = (HashSet::<SubjectKeyId>::new(), Vec::new());
        for record in records {
            match record {
                Record::Key(id, _, stored) => {
                    known.ids.insert(id);
                    whole.extend((!matches!(stored, Stored::Destroyed)).then_some(id));
                }
                Record::Tombstone(id, ..) => {
                    known.ids.insert(id);
                    dead.push(id);
                }
                Record::Type(_, store, stream_type) => drop(known.types.insert((store, stream_type))),
            }
        }
        if dead.iter().any(|id| whole.contains(id)) {
            known.fault(path, UNFINISHED, false);
        }
        Ok(known)
    }

    fn new(id: [u8; 16], places: Vec<Reached>) -> Self {
        let (ids, types, faults) = (HashSet::new(), HashSet::new(), Vec::new());
        Self { ids, types, id, places, is_cut: false, folder: None, faults }
    }

    /// Other nodes may use it meanwhile: who is erased after the keys were read has a tombstone when those are read.
    fn in_folder(folder: KeyFolder) -> Self {
        let mut known = Self::new(folder.id(), vec![Reached::nothing(BLOCK_BYTES as u64)]);
        let mut gone: Vec<(SubjectKeyId, PathBuf, &str)> = Vec::new();
        folder.each_key(&mut |found| match found {
            Ok(FoundKey { id, subject, stored, path }) => {
                // only what is erasable has keys there, and the names of what was erased stay
                known.ids.insert(id);
                known.types.insert((subject.store, subject.stream_type));
                match stored {
                    Stored::Whole(_) => {}
                    Stored::Destroyed => gone.push((id, path, "overwritten")),
                    Stored::Broken => gone.push((id, path, "damaged")),
                }
            }
            Err(error) => known.failed(&error),
        });
        let dead = known.add_tombstones(&folder);
        for (_, path, how) in gone.iter().filter(|(id, ..)| !dead.contains_key(id)) {
            let what = format!(
                "its secret is {how}, and no tombstone says that its subject was erased: what it sealed nobody can read. Put the file back from the newest copy"
            );
            known.fault(path, &what, true);
        }
        known.add_unfinished(&folder, &dead);
        known.folder = Some(folder);
        known
    }

    /// Takes all tombstones in; gives whose keys are destroyed, and where that is said.
    fn add_tombstones(&mut self, folder: &KeyFolder) -> HashMap<SubjectKeyId, (Subject, PathBuf)> {
        let (mut dead, mut next) = (HashMap::new(), 1);
        let numbers = match folder.erased_numbers() {
            Ok(numbers) => numbers,
            Err(error) => {
                self.is_cut = true;
                self.failed(&error);
                return dead;
            }
        };
        // names begin with 1
        for number in numbers.into_iter().filter(|number| *number > 0) {
            if number > next {
                self.is_cut = true;
                let what = format!(
                    "the tombstone is not there, though {number:016x} is: it was taken away, and with it an erasure. Put the files of `erased` back from the newest copy"
                );
                self.fault(&folder.erased_path(next), &what, true);
            }
            next = number.saturating_add(1);
            match folder.erased(number) {
                Ok(Some(Erased { id, subject, bytes, .. })) => {
                    let before = self.places.last().copied().unwrap_or(Reached::nothing(BLOCK_BYTES as u64));
                    self.places.push(before.behind(&bytes));
                    self.ids.insert(id);
                    dead.insert(id, (subject, folder.erased_path(number)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.is_cut = true;
                    self.failed(&error);
                }
            }
        }
        dead
    }

    /// Secrets that still stand though their subjects were erased. That a key is not there at all is no fault: a copy may be older in this part.
    fn add_unfinished(&mut self, folder: &KeyFolder, dead: &HashMap<SubjectKeyId, (Subject, PathBuf)>) {
        for (id, (subject, tombstone)) in dead {
            match folder.find(subject) {
                Ok(Some((found, Stored::Whole(_) | Stored::Broken))) if found == *id => {
                    self.fault(tombstone, UNFINISHED, false);
                }
                Ok(Some((found, _))) if found != *id => {
                    let what = "it is of another key than the one that its subject has: put the files of `keys` and `erased` back from one copy, the newest";
                    self.fault(tombstone, what, true);
                }
                // what cannot be read was told of above
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn failed(&mut self, error: &FolderError) {
        let place = match error {
            FolderError::Io { path, .. }
            | FolderError::Foreign(path)
            | FolderError::Damaged(path)
            | FolderError::Gone(path) => path.clone(),
        };
        let what = match error {
            FolderError::Io { error, .. } => format!("it cannot be read: {error}"),
            _ => "it is damaged: put it back from the newest copy".to_owned(),
        };
        self.fault(&place, &what, true);
    }

    fn fault(&mut self, place: &Path, what: &str, is_wrong: bool) {
        self.faults.push(KeyFault { place: place.to_owned(), what: what.to_owned(), is_wrong });
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> &[KeyFault] {
        &self.faults
    }

    /// The id of the file, or of the folder.
    #[must_use]
    pub const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Whether it knows an erasable stream type of a store.
    #[must_use]
    pub fn knows(&self, store: &str) -> bool {
        self.types.iter().any(|(of, _)| of == store)
    }

    /// Whether it has come to a place at which data knows it; of one that is damaged nobody can tell, which is a fault of its own.
    #[must_use]
    pub fn has_come_to(&self, slot: &Slot) -> bool {
        let made = slot.made.as_ref().zip(self.folder.as_ref());
        let has_made = made.is_none_or(|(made, folder)| folder.has(made).unwrap_or(true));
        self.is_cut || self.places.contains(&slot.reached) && has_made
    }

    /// Of a stream type that the file may have lost: the data says that it is erasable.
    pub fn add_type(&mut self, store: &str, stream_type: &str) {
        self.types.insert((store.to_owned(), stream_type.to_owned()));
    }
}

/// Rows of a store that are sealed with keys that nobody has, by stream type.
pub(crate) struct UnknownKeys<'a> {
    known: &'a KnownKeys,
    store: &'a str,
    rows: BTreeMap<String, Rows>,
}

struct Rows {
    count: u64,
    /// The stream and the key of the first one.
    first: (String, SubjectKeyId),
}

impl<'a> UnknownKeys<'a> {
    pub(crate) const fn new(known: &'a KnownKeys, store: &'a str) -> Self {
        Self { known, store, rows: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, event: &EventRef<'_>) {
        let sealed = Sealed::parse(event.data).or_else(|| event.metadata.and_then(Sealed::parse));
        let Some(Sealed { key, .. }) = sealed.filter(|sealed| !self.known.ids.contains(&sealed.key)) else { return };
        match self.rows.get_mut(event.stream_type) {
            Some(rows) => rows.count += 1,
            None => {
                let rows = Rows { count: 1, first: (event.stream_id.to_owned(), key) };
                self.rows.insert(event.stream_type.to_owned(), rows);
            }
        }
    }

    /// What is to be said: the stream type, the sentence, and whether something is wrong. Of a type that nobody registered a client may have
    /// appended what looks so.
    pub(crate) fn finish(self) -> impl Iterator<Item = (String, String, bool)> {
        let Self { known, store, rows } = self;
        rows.into_iter().map(move |(stream_type, Rows { count, first: (stream, key) })| {
            let key = to_hex(&key);
            let what = format!("{count} events are sealed with keys that --subject-keys does not know, first one of stream `{stream}` with key {key}");
            let is_wrong = known.types.contains(&(store.to_owned(), stream_type.clone()));
            let advice = if is_wrong {
                ": put back the newest copy of it"
            } else {
                ", and the stream type is not registered as erasable there: a client wrote them so, or it is no copy that knows them"
            };
            (stream_type, format!("{what}{advice}"), is_wrong)
        })
    }
}
