//! The file of a store's named subscriptions: crates/engine/SUBSCRIPTIONS.md says it byte by byte.
//!
//! Records that come while a group is being synced go together in the next one. Invariant: whoever waits for a record is told yes only
//! when it is on disk, and who repeats it too: what could not be written goes with the next write. After a write that cannot be undone nothing is
//! written any more.

use crate::data_dir::{DataDirError, at, create_own, make_own_folder, own_file, publish, sync_parent};
use crate::fatal::EndOnPanic;
use crate::wiring::Alive;
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_engine::subscribe::record::{Folded, Record};
use strandline_keys::{KeyName, NONCE_BYTES, Purpose, StoreKeys};
use tokio::sync::oneshot;

const HEADER: [u8; 16] = *b"SLSB\x01\0\0\0\0\0\0\0\0\0\0\0";
/// Of an encrypted store: its groups are sealed.
const SEALED_HEADER: [u8; 16] = *b"SLSB\x02\0\0\0\0\0\0\0\0\0\0\0";
const GROUP_HEAD_BYTES: usize = 8;
/// Each sealed group has a key of its own, so one nonce does: a group that was cut is written again under another key.
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
const PURPOSE: Purpose<'static> = Purpose::NodeFile("subscriptions");
/// Bytes of a group's records after which the next one begins.
const GROUP_BYTES: usize = 1 << 20;
/// A file that is not longer is never written anew.
const REWRITE_FROM_BYTES: u64 = 1 << 20;
/// How much longer than what is left of it a file may become.
const REWRITE_FACTOR: u64 = 4;

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionFileError {
    /// The file system said no.
    #[error(transparent)]
    Io(#[from] DataDirError),
    /// It is damaged.
    #[error(
        "{}: the group at offset {offset} is damaged; restore the file, or move it away: the named subscriptions of the store are then gone and \
         must be made again", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: usize,
    },
    /// It is not of the store's kind, or another store's.
    #[error("{}: {what}: put the right file back, or move it away: the named subscriptions of the store are then gone", .path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// In a cluster: another node keeps them, or nobody can now.
    #[error("{0}")]
    Elsewhere(String),
    /// A write failed before.
    #[error("{}: a write failed before ({why}); nothing is written to it until the node is started again", .path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
        /// What failed.
        why: String,
    },
}

pub(super) type Outcome = Result<(), Arc<SubscriptionFileError>>;

#[derive(Default)]
struct Pending {
    records: Vec<Record>,
    waiting: Vec<oneshot::Sender<Outcome>>,
    /// Who changed nothing while all that is known was being written.
    repeating: Vec<oneshot::Sender<Outcome>>,
    writing: bool,
    /// The last write failed: what it held goes with the next one.
    failed: bool,
}

struct Written {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// What the file says.
    folded: Folded,
    /// The same with what could not be written, where a write failed.
    ahead: Option<Folded>,
    poisoned: Option<String>,
    /// Of an encrypted store.
    keys: Option<Arc<StoreKeys>>,
}

/// The file.
pub(crate) struct SubscriptionFile {
    pending: Mutex<Pending>,
    written: Mutex<Written>,
    alive: Alive,
}

/// Told when what was pushed is on disk.
pub(crate) enum Ticket {
    /// It is told.
    Told(oneshot::Receiver<Outcome>),
    /// It is known.
    Known(Outcome),
}

impl Ticket {
    pub(super) const fn of(told: oneshot::Receiver<Outcome>) -> Self {
        Self::Told(told)
    }

    pub(super) const fn ended(outcome: Outcome) -> Self {
        Self::Known(outcome)
    }

    /// Waits for it.
    pub(crate) async fn wait(self) -> Outcome {
        match self {
            // a writer that is gone has ended with the node
            Self::Told(written) => written.await.unwrap_or_else(|_| {
                let why = "the node stops: whether it is kept is not known, come again";
                Err(Arc::new(SubscriptionFileError::Elsewhere(why.to_owned())))
            }),
            Self::Known(outcome) => outcome,
        }
    }
}

impl SubscriptionFile {
    /// Whether the file is whole, as far as that can be told without keys.
    pub(crate) fn look(folder: &Path) -> Result<(), SubscriptionFileError> {
        let path = folder.join("subscriptions");
        if path.exists() { load(&path, &Opening::Look).map(drop) } else { Ok(()) }
    }

    /// Reads the file and changes nothing of it; whether it has a torn end, which the next start cuts. `keys`: those of the store, which may be
    /// encrypted; `None`: they are not to be had.
    pub(crate) fn check(folder: &Path, keys: Option<Option<&StoreKeys>>) -> Result<bool, SubscriptionFileError> {
        let path = folder.join("subscriptions");
        let opening = keys.map_or(Opening::Look, Opening::With);
        if path.exists() { read(&path, &opening).map(|loaded| loaded.is_torn) } else { Ok(false) }
    }

    /// Reads the file in a store's folder, if there is one. What it holds is given as well. `keys`: those of an encrypted store.
    pub(crate) fn open(
        folder: &Path,
        alive: &Alive,
        keys: Option<&Arc<StoreKeys>>,
    ) -> Result<(Arc<Self>, Folded), SubscriptionFileError> {
        let path = folder.join("subscriptions");
        let opening = Opening::With(keys.map(|keys| &**keys));
        let (folded, bytes) = if path.exists() { load(&path, &opening)? } else { (Folded::default(), 0) };
        let (file, ahead, poisoned, keys) = (None, None, None, keys.cloned());
        let written = Written { path, file, bytes, folded: folded.clone(), ahead, poisoned, keys };
        let this = Self { pending: Mutex::default(), written: Mutex::new(written), alive: alive.clone() };
        Ok((Arc::new(this), folded))
    }

    /// Puts records behind all that were pushed before. Must be called on the runtime.
    pub(crate) fn push(self: &Arc<Self>, records: Vec<Record>) -> Ticket {
        let (told, ticket) = oneshot::channel();
        let mut pending = self.pending.lock();
        // a word that changes nothing may repeat one that is not on disk yet
        if records.is_empty() && !pending.writing && !pending.failed {
            return Ticket::ended(Ok(()));
        }
        if records.is_empty() && pending.writing && pending.waiting.is_empty() {
            pending.repeating.push(told);
            return Ticket::of(ticket);
        }
        pending.records.extend(records);
        pending.waiting.push(told);
        if !std::mem::replace(&mut pending.writing, true) {
            let (file, mark) = (Arc::clone(self), self.alive.mark());
            tokio::task::spawn_blocking(move || {
                let _mark = mark;
                let _end = EndOnPanic("the writer of named subscriptions panicked");
                file.write_all();
            });
        }
        Ticket::of(ticket)
    }

    fn write_all(&self) {
        let mut outcome: Outcome = Ok(());
        loop {
            let (records, waiting, repeating) = {
                let mut pending = self.pending.lock();
                pending.writing = !pending.waiting.is_empty();
                let (records, waiting) = (std::mem::take(&mut pending.records), std::mem::take(&mut pending.waiting));
                (records, waiting, std::mem::take(&mut pending.repeating))
            };
            // what they repeat was in the write before
            tell(repeating, &outcome);
            if waiting.is_empty() {
                return;
            }
            outcome = self.written.lock().write(records).map_err(Arc::new);
            self.pending.lock().failed = outcome.is_err();
            if let Err(error) = &outcome {
                tracing::error!("named subscriptions: {error}");
            }
            tell(waiting, &outcome);
        }
    }
}

fn tell(waiting: Vec<oneshot::Sender<Outcome>>, outcome: &Outcome) {
    for told in waiting {
        // who does not wait any more does not mind
        let _ = told.send(outcome.clone());
    }
}

impl Written {
    fn write(&mut self, records: Vec<Record>) -> Result<(), SubscriptionFileError> {
        let mut ahead = self.ahead.take();
        let due = match &mut ahead {
            None => records,
            // as little as may be: what could not be written does not pile up
            Some(ahead) => {
                records.into_iter().for_each(|record| ahead.apply(record));
                self.folded.changes_to(ahead)
            }
        };
        if let Err(error) = self.put(&due) {
            let mut known = ahead.unwrap_or_else(|| self.folded.clone());
            due.into_iter().for_each(|record| known.apply(record));
            self.ahead = Some(known);
            return Err(error);
        }
        due.into_iter().for_each(|record| self.folded.apply(record));
        if self.bytes > REWRITE_FROM_BYTES
            && let Err(error) = self.rewrite()
        {
            // the old file is whole: it only stays long
            tracing::warn!("{}: it cannot be written anew: {error}", self.path.display());
        }
        Ok(())
    }

    fn put(&mut self, records: &[Record]) -> Result<(), SubscriptionFileError> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(why) = &self.poisoned {
            return Err(SubscriptionFileError::Poisoned { path: self.path.clone(), why: why.clone() });
        }
        let mut bytes = Vec::new();
        groups(records.iter(), self.bytes.max(HEADER.len() as u64), self.keys.as_deref(), &mut bytes);
        let done = self.append(&bytes);
        if let Err(error) = &done {
            self.undo(error);
        }
        done?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataDirError> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                make_own_folder(folder)?;
            }
            let mut file = own_file().append(true).open(&self.path).map_err(at(&self.path))?;
            if self.bytes == 0 {
                // of a header that could not be written some may be there
                file.set_len(0).map_err(at(&self.path))?;
                file.write_all(header(self.keys.as_deref())).and_then(|()| file.sync_all()).map_err(at(&self.path))?;
                sync_parent(&self.path)?;
                self.bytes = HEADER.len() as u64;
            }
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(at(&self.path))
    }

    /// Cuts off what was written of a group that failed.
    fn undo(&mut self, error: &DataDirError) {
        let cut = self.file.as_ref().map_or(Ok(()), |file| file.set_len(self.bytes).and_then(|()| file.sync_all()));
        if let Err(also) = cut {
            self.poisoned = Some(format!("{error}; and it could not be undone: {also}"));
        }
    }

    /// Writes what is left aside, and puts it in the place of the file.
    fn rewrite(&mut self) -> Result<(), DataDirError> {
        let mut bytes = header(self.keys.as_deref()).to_vec();
        let all: Vec<Record> = self.folded.all.iter().flat_map(|(name, kept)| kept.records(name)).collect();
        groups(all.iter(), 0, self.keys.as_deref(), &mut bytes);
        if self.bytes < REWRITE_FACTOR * bytes.len() as u64 {
            return Ok(());
        }
        let aside = self.path.with_extension("new");
        let mut file = create_own(&aside).map_err(at(&aside))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(at(&aside))?;
        publish(&aside, &self.path).map_err(at(&self.path))?;
        // from here on the new file is the one: what goes to the old one would be lost
        self.bytes = bytes.len() as u64;
        self.file =
            Some(OpenOptions::new().append(true).open(&self.path).map_err(at(&self.path)).inspect_err(|error| {
                self.poisoned = Some(error.to_string());
            })?);
        sync_parent(&self.path).inspect_err(|error| self.poisoned = Some(error.to_string()))
    }
}

const fn header(keys: Option<&StoreKeys>) -> &'static [u8; 16] {
    if keys.is_some() { &SEALED_HEADER } else { &HEADER }
}

/// Records as groups; `out` begins at `base` in the file.
fn groups<'a>(records: impl Iterator<Item = &'a Record>, base: u64, keys: Option<&StoreKeys>, out: &mut Vec<u8>) {
    let mut records = records.peekable();
    while records.peek().is_some() {
        let start = out.len();
        out.resize(start + GROUP_HEAD_BYTES, 0);
        while out.len() - start < GROUP_BYTES {
            let Some(record) = records.next() else { break };
            record.encode(out);
        }
        if let Some(keys) = keys {
            let plain = out.split_off(start + GROUP_HEAD_BYTES);
            let (name, key) = keys.fresh(PURPOSE);
            out.extend_from_slice(&name.to_bytes());
            out.extend(key.seal_vec(NONCE, &(base + start as u64).to_le_bytes(), &plain));
        }
        let bytes = ((out.len() - start - GROUP_HEAD_BYTES) as u32).to_le_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), out.get(start + GROUP_HEAD_BYTES..).unwrap_or(&[]));
        if let Some(head) = out.get_mut(start..start + GROUP_HEAD_BYTES) {
            head[..4].copy_from_slice(&bytes);
            head[4..].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// What for a file is read.
enum Opening<'a> {
    /// Only lengths and checksums.
    Look,
    /// All of it.
    With(Option<&'a StoreKeys>),
}

/// What a file holds.
struct Loaded {
    folded: Folded,
    /// Bytes that are whole.
    whole: usize,
    /// Something else stands behind them: the torn end of a write that nobody was answered.
    is_torn: bool,
}

/// Reads all groups and cuts a torn last one; gives the length of what is whole.
fn load(path: &Path, opening: &Opening<'_>) -> Result<(Folded, u64), SubscriptionFileError> {
    let Loaded { folded, whole, is_torn } = read(path, opening)?;
    let whole = whole as u64;
    if is_torn {
        if whole > 0 {
            tracing::warn!("{}: cut a group at offset {whole} that was never answered", path.display());
        }
        cut(path, whole)?;
    }
    Ok((folded, whole))
}

/// Reads all groups, and changes nothing.
fn read(path: &Path, opening: &Opening<'_>) -> Result<Loaded, SubscriptionFileError> {
    let bytes = fs::read(path).map_err(at(path))?;
    let damaged = |offset| SubscriptionFileError::Damaged { path: path.to_owned(), offset };
    let mut loaded = Loaded { folded: Folded::default(), whole: 0, is_torn: true };
    if bytes.len() < HEADER.len() {
        // it was being made: nobody was told of anything in it
        let is_begun = HEADER.starts_with(&bytes) || SEALED_HEADER.starts_with(&bytes);
        return if is_begun { Ok(loaded) } else { Err(damaged(0)) };
    }
    let is_sealed = bytes.starts_with(&SEALED_HEADER);
    if !is_sealed && !bytes.starts_with(&HEADER) {
        return Err(damaged(0));
    }
    let of_other_kind = |what: &str| SubscriptionFileError::Sealed { path: path.to_owned(), what: what.to_owned() };
    match opening {
        Opening::With(Some(_)) if !is_sealed => {
            return Err(of_other_kind("it is not sealed, and the store is encrypted"));
        }
        Opening::With(None) if is_sealed => return Err(of_other_kind("it is sealed, and the store is not encrypted")),
        Opening::Look | Opening::With(_) => {}
    }
    loaded.whole = HEADER.len();
    while let Some(rest) = bytes.get(loaded.whole..).filter(|rest| !rest.is_empty()) {
        let offset = loaded.whole;
        match group(rest) {
            Ok((body, len)) => {
                let records = match opening {
                    Opening::Look if is_sealed => Vec::new(),
                    Opening::With(Some(keys)) => {
                        let plain = opened(keys, body, offset).map_err(|what| of_other_kind(&what))?;
                        Record::decode_all(&plain).ok_or_else(|| damaged(offset))?
                    }
                    Opening::Look | Opening::With(None) => Record::decode_all(body).ok_or_else(|| damaged(offset))?,
                };
                records.into_iter().for_each(|record| loaded.folded.apply(record));
                loaded.whole += len;
            }
            Err(torn) if torn => return Ok(loaded),
            Err(_) => return Err(damaged(offset)),
        }
    }
    loaded.is_torn = false;
    Ok(loaded)
}

/// The records of a sealed group: the name of its key, then what was sealed at this place in the file.
fn opened(keys: &StoreKeys, body: &[u8], offset: usize) -> Result<Vec<u8>, String> {
    let (name, sealed) = body.split_first_chunk().ok_or("a group is too short")?;
    let key = keys.find(&KeyName::from_bytes(name), PURPOSE).map_err(|e| e.to_string())?;
    let plain = key.open_vec(NONCE, &(offset as u64).to_le_bytes(), sealed);
    plain.map_err(|_| format!("the group at offset {offset} is not what was sealed there"))
}

/// What the first group holds, and its length; an error says whether it can be the last one, torn.
fn group(bytes: &[u8]) -> Result<(&[u8], usize), bool> {
    let Some((head, rest)) = bytes.split_first_chunk::<GROUP_HEAD_BYTES>() else { return Err(true) };
    let (len, crc) = head.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or(0);
    let count = number(len) as usize;
    let Some(body) = rest.get(..count).filter(|_| count > 0) else {
        return Err(count > 0 || bytes.iter().all(|b| *b == 0));
    };
    if crc32c::crc32c_append(crc32c::crc32c(len), body) != number(crc) {
        return Err(count == rest.len());
    }
    Ok((body, GROUP_HEAD_BYTES + count))
}

fn cut(path: &Path, bytes: u64) -> Result<(), DataDirError> {
    let file = OpenOptions::new().write(true).open(path).map_err(at(path))?;
    file.set_len(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_engine::read::Filter;
    use strandline_engine::subscribe::durable::{Mode, Settings};
    use strandline_engine::subscribe::record::Change;
    use strandline_event::{EventId, Micros, Position};
    use strandline_keys::testing::store_keys;

    fn at_us(us: i64) -> Position {
        Position { ingested_at: Micros(us), event_id: EventId([3; 16]) }
    }

    fn created(number: u32, name: &str) -> Record {
        let settings = Settings { filter: Filter::default(), mode: Mode::Async, attempts_max: 5, ack_within_us: 1 };
        Record::Created { number, name: name.to_owned(), at: Micros(0), after: Position::START, settings }
    }

    fn written(folder: &Path) -> Written {
        let (file, _) = SubscriptionFile::open(folder, &Alive::default(), None).unwrap();
        Arc::into_inner(file).unwrap().written.into_inner()
    }

    #[test]
    fn what_was_answered_is_there_again_and_a_torn_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = written(folder.path());
        file.write(vec![created(0, "a"), created(1, "b")]).unwrap();
        file.write(vec![Record::Changed(1, Change::Moved(at_us(7)))]).unwrap();
        let whole = fs::read(folder.path().join("subscriptions")).unwrap();
        file.write(vec![Record::Changed(1, Change::Moved(at_us(9)))]).unwrap();
        let longer = fs::read(folder.path().join("subscriptions")).unwrap();
        for end in whole.len()..longer.len() {
            fs::write(folder.path().join("subscriptions"), &longer[..end]).unwrap();
            assert_eq!(SubscriptionFile::check(folder.path(), Some(None)).unwrap(), end > whole.len(), "cut at {end}");
            assert_eq!(fs::read(folder.path().join("subscriptions")).unwrap().len(), end, "a check cuts nothing");
            let again = written(folder.path());
            assert_eq!((again.folded.all["b"].done, again.bytes), (at_us(7), whole.len() as u64), "cut at {end}");
        }
        let mut zeros = whole.clone();
        zeros.resize(whole.len() + 4096, 0);
        fs::write(folder.path().join("subscriptions"), zeros).unwrap();
        assert_eq!(written(folder.path()).folded.all.len(), 2, "an end of zeros was never written");
        let mut damaged = longer;
        damaged[30] ^= 1;
        fs::write(folder.path().join("subscriptions"), damaged).unwrap();
        let checked = SubscriptionFile::check(folder.path(), Some(None)).unwrap_err();
        assert!(matches!(checked, SubscriptionFileError::Damaged { offset: 16, .. }), "{checked}");
        let refused = SubscriptionFile::open(folder.path(), &Alive::default(), None).err().unwrap();
        assert!(matches!(refused, SubscriptionFileError::Damaged { offset: 16, .. }), "{refused}");
    }

    #[test]
    fn a_word_that_changes_nothing_waits_for_the_one_that_it_repeats() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = SubscriptionFile::open(folder.path(), &Alive::default(), None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(matches!(file.push(Vec::new()), Ticket::Known(Ok(()))), "nothing is under way");
            let (first, again) = {
                let _held = file.written.lock();
                let first = file.push(vec![created(0, "a")]);
                let Ticket::Told(again) = file.push(Vec::new()) else { panic!("it is not on disk yet") };
                (first, again)
            };
            first.wait().await.unwrap();
            again.await.unwrap().unwrap();
        });
        assert_eq!(written(folder.path()).folded.all.len(), 1);
    }

    #[test]
    fn what_could_not_be_written_is_answered_with_yes_when_it_is_and_goes_with_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("subscriptions"), folder.path().join("aside"));
        written(folder.path()).write(vec![created(0, "a"), created(1, "b"), created(2, "c")]).unwrap();
        let (file, _) = SubscriptionFile::open(folder.path(), &Alive::default(), None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // a folder in its place: it cannot be opened
        fs::copy(&path, &aside).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let say = |records: Vec<Record>| runtime.block_on(async { file.push(records).wait().await.is_ok() });
        let (reason, position) = ("no".to_owned(), at_us(5));
        let parked = Change::Parked { position, at: Micros(1), attempts: 2, reason };
        assert!(!say(vec![Record::Changed(0, Change::Moved(at_us(7))), Record::Changed(0, parked)]));
        assert!(!say(Vec::new()), "the same again changes nothing in memory");
        assert!(!say(vec![Record::Deleted(1), created(3, "new")]) && !say(Vec::new()));
        fs::remove_dir(&path).unwrap();
        fs::copy(&aside, &path).unwrap();
        assert!(say(Vec::new()));
        let found = written(folder.path()).folded;
        assert_eq!(found, file.written.lock().folded);
        assert_eq!((found.all["a"].done, found.all["a"].parked.len()), (at_us(7), 1));
        assert!(found.all.keys().eq(["a", "c", "new"]));
        let length = fs::metadata(&path).unwrap().len();
        assert!(say(Vec::new()) && fs::metadata(&path).unwrap().len() == length, "nothing is left to be written");
        assert!(say(vec![Record::Changed(0, Change::Moved(at_us(9)))]));
        assert_eq!(written(folder.path()).folded.all["a"].done, at_us(9));
    }

    #[test]
    fn that_of_an_encrypted_store_says_nothing_and_is_for_its_keys_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subscriptions");
        let keys = store_keys(1);
        let open = |keys: Option<&Arc<StoreKeys>>| {
            let opened = SubscriptionFile::open(folder.path(), &Alive::default(), keys);
            opened.map(|(file, folded)| (Arc::into_inner(file).unwrap().written.into_inner(), folded))
        };
        let (mut file, _) = open(Some(&keys)).unwrap();
        file.write(vec![created(0, "planted-name"), created(1, "b")]).unwrap();
        file.write(vec![Record::Changed(1, Change::Moved(at_us(7)))]).unwrap();
        let whole = fs::read(&path).unwrap();
        assert!(!whole.windows(7).any(|part| part == b"planted"));
        let (mut file, folded) = open(Some(&keys)).unwrap();
        assert_eq!((folded.all.len(), folded.all["b"].done), (2, at_us(7)));
        file.write(vec![Record::Changed(1, Change::Moved(at_us(9)))]).unwrap();
        assert_eq!(open(Some(&keys)).unwrap().1.all["b"].done, at_us(9));
        SubscriptionFile::look(folder.path()).unwrap();
        let check = |keys| SubscriptionFile::check(folder.path(), keys);
        assert!([None, Some(Some(&*keys))].into_iter().all(|keys| !check(keys).unwrap()));
        assert!(check(Some(None)).unwrap_err().to_string().contains("it is sealed"));
        for wrong in [None, Some(store_keys(2))] {
            assert!(matches!(open(wrong.as_ref()), Err(SubscriptionFileError::Sealed { .. })));
        }
        let plain = tempfile::tempdir().unwrap();
        written(plain.path()).write(vec![created(0, "a")]).unwrap();
        let refused = SubscriptionFile::open(plain.path(), &Alive::default(), Some(&keys)).err().unwrap();
        assert!(refused.to_string().contains("not sealed"), "{refused}");
    }

    /// With checksums that are right: who can write to the disk makes them.
    #[test]
    fn a_sealed_group_that_was_changed_or_exchanged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subscriptions");
        let keys = store_keys(1);
        let open = || SubscriptionFile::open(folder.path(), &Alive::default(), Some(&keys));
        let mut file = Arc::into_inner(open().unwrap().0).unwrap().written.into_inner();
        let moved = |us| Record::Changed(0, Change::Moved(at_us(us)));
        let ends = [created(0, "a"), moved(7), moved(9)].map(|record| {
            file.write(vec![record]).unwrap();
            fs::read(&path).unwrap().len()
        });
        let whole = fs::read(&path).unwrap();
        let [created, first, last] = ends;
        assert_eq!(first - created, last - first);
        let exchanged = [&whole[..created], &whole[first..last], &whole[created..first]].concat();
        let mut damages = vec![exchanged];
        // a byte of the name of the key, of what is sealed, of its tag
        for at in [first + GROUP_HEAD_BYTES, first + GROUP_HEAD_BYTES + 32, last - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            let crc = crc32c::crc32c_append(
                crc32c::crc32c(&changed[first..first + 4]),
                &changed[first + GROUP_HEAD_BYTES..last],
            );
            changed[first + 4..first + GROUP_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
            damages.push(changed);
        }
        for (n, bytes) in damages.into_iter().enumerate() {
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(open(), Err(SubscriptionFileError::Sealed { .. })), "{n}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "{n}: it is left as it is");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(open().unwrap().1.all["a"].done, at_us(9));
    }

    #[test]
    fn a_long_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = written(folder.path());
        file.write(vec![created(0, "a")]).unwrap();
        let moves = |from: i64| (from..from + 5000).map(|us| Record::Changed(0, Change::Moved(at_us(us)))).collect();
        for round in 0..10 {
            file.write(moves(round * 5000)).unwrap();
        }
        assert!(file.bytes < REWRITE_FROM_BYTES, "{}", file.bytes);
        file.write(vec![Record::Changed(0, Change::Moved(at_us(-1)))]).unwrap();
        let again = written(folder.path());
        assert_eq!((again.folded.all["a"].done, again.bytes), (at_us(-1), file.bytes));
    }
}
