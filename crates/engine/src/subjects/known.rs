//! Which keys a file of subject keys, or the folder of a cluster, knows, erased ones included: for a check that only looks.

use super::Sealed;
use super::file::{SubjectFileError, look};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use strandline_event::EventRef;
use strandline_event::hex::to_hex;
use strandline_keys::subject::SubjectKeyId;
use strandline_keys::subject::folder::KeyFolder;
use strandline_keys::subject::record::Record;
use strandline_wal::Disk;

/// The keys of a file or a folder, without their secrets.
pub struct KnownKeys {
    ids: HashSet<SubjectKeyId>,
    /// Erasable stream types: (store, name).
    types: HashSet<(String, String)>,
}

impl KnownKeys {
    /// Reads the file or the folder at `path`, and changes nothing of it.
    ///
    /// # Errors
    /// [`SubjectFileError`].
    pub fn look(disk: &dyn Disk, path: &Path) -> Result<Self, SubjectFileError> {
        let mut known = Self { ids: HashSet::new(), types: HashSet::new() };
        if path.is_dir() {
            // only what is erasable has keys there, and the names of what was erased stay
            KeyFolder::look(path)?.each_key(&mut |id, subject| {
                known.ids.insert(id);
                known.types.insert((subject.store, subject.stream_type));
            })?;
            return Ok(known);
        }
        for record in look(disk, path)? {
            match record {
                Record::Key(id, ..) | Record::Tombstone(id, ..) => drop(known.ids.insert(id)),
                Record::Type(_, store, stream_type) => drop(known.types.insert((store, stream_type))),
            }
        }
        Ok(known)
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
