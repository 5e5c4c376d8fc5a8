//! What the newest Delta version says, as the writer remembers it, and how the next one differs from it.
//!
//! Pure. Invariant: `live` and `strangers` together are the files of the newest version.

use super::actions::{CommitInfo, Line, MetaData, Remove, Txn};
use super::names;
use super::replay::Replayed;
use super::table::{Table, millis};
use crate::entry::FileEntry;
use crate::tier::Snapshot;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey};

/// How long a checkpoint still lists a removed file, in milliseconds.
const REMOVED_MS: i64 = 24 * 3600 * 1000;

/// The newest version of a log.
#[derive(Debug)]
pub(crate) struct State {
    /// Its number; `None`: the log has none.
    pub(crate) version: Option<u64>,
    /// The manifest version that it shows: no file differs between the one it names and this one.
    pub(crate) manifest_version: u64,
    pub(crate) meta_data: MetaData,
    pub(crate) txn: Option<Txn>,
    /// The newest checkpoint.
    pub(crate) checkpoint: Option<u64>,
    live: HashSet<ByPath>,
    /// Files that the manifest does not name (any more), as the log spells them.
    strangers: Vec<String>,
    /// Files that were removed, as the log spells them, and when.
    removed: BTreeMap<String, i64>,
    /// How far each log was; `None`: not known.
    watermarks: Option<Watermarks>,
}

type Watermarks = BTreeMap<LogKey, LogIndex>;

#[derive(Debug)]
struct ByPath(Arc<FileEntry>);

impl Borrow<str> for ByPath {
    fn borrow(&self) -> &str {
        &self.0.path
    }
}

impl Hash for ByPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.path.hash(state);
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.path == other.0.path
    }
}

impl Eq for ByPath {}

/// What the next version changes.
pub(crate) struct Difference {
    pub(crate) add: Vec<Arc<FileEntry>>,
    gone: Vec<Arc<FileEntry>>,
    /// All files that go, as the log spells them.
    pub(crate) remove: Vec<String>,
    /// Whether rows come or go, or say less than before; otherwise the same rows lie in other files.
    pub(crate) data_change: bool,
}

impl Difference {
    /// Whether nothing changes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    const fn operation(&self, first: bool) -> &'static str {
        match (first, self.data_change, self.add.is_empty()) {
            (true, ..) => "CREATE TABLE",
            (_, false, _) => "OPTIMIZE",
            (_, true, true) => "DELETE",
            (_, true, false) => "WRITE",
        }
    }
}

impl State {
    /// No log yet.
    pub(crate) fn none(table: &Table, snapshot: &Snapshot) -> Self {
        Self {
            version: None,
            manifest_version: 0,
            meta_data: table.meta_data(snapshot.committed_at()),
            txn: None,
            checkpoint: None,
            live: HashSet::new(),
            strangers: Vec::new(),
            removed: BTreeMap::new(),
            watermarks: None,
        }
    }

    /// As it was read from the log; `None`: the log is not this table's.
    pub(crate) fn of(table: &Table, replayed: Replayed, snapshot: &Snapshot) -> Option<Self> {
        let (protocol, meta_data) = (replayed.protocol?, replayed.meta_data?);
        if !table.fits(&protocol, &meta_data) {
            return None;
        }
        let app_id = table.app_id();
        let version = *replayed.applications.get(&app_id)?;
        let mut names = replayed.live;
        let known = |file: &&Arc<FileEntry>| names.remove(&table.name(file)).is_some();
        let live: HashSet<ByPath> = snapshot.files().iter().filter(known).cloned().map(ByPath).collect();
        let strangers: Vec<String> = names.into_keys().collect();
        let whole = strangers.is_empty() && live.len() == snapshot.files().len();
        Some(Self {
            version: Some(replayed.version),
            manifest_version: u64::try_from(version).ok()?,
            meta_data,
            txn: Some(Txn { app_id, version, last_updated: None }),
            checkpoint: replayed.checkpoint,
            live,
            strangers,
            removed: replayed.removed,
            watermarks: whole.then(|| watermarks(snapshot)),
        })
    }

    /// The number of the next version.
    pub(crate) fn next(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    /// Files of the newest version.
    pub(crate) fn files(&self) -> usize {
        self.live.len() + self.strangers.len()
    }

    /// How the snapshot differs from the newest version.
    pub(crate) fn difference(&self, table: &Table, snapshot: &Snapshot) -> Difference {
        let files = snapshot.files();
        let new = |file: &&Arc<FileEntry>| !self.live.contains(file.path.as_str());
        let add: Vec<_> = files.iter().filter(new).cloned().collect();
        let mut gone = Vec::new();
        if files.len() - add.len() < self.live.len() {
            let kept: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
            gone.extend(
                self.live.iter().map(|file| &file.0).filter(|file| !kept.contains(file.path.as_str())).cloned(),
            );
            gone.sort_unstable_by(|a: &Arc<FileEntry>, b| a.path.cmp(&b.path));
        }
        let rows = |files: &[Arc<FileEntry>]| files.iter().map(|file| file.rows).sum::<u64>();
        let same_rows = self.strangers.is_empty()
            && self.watermarks.as_ref().is_some_and(|w| *w == watermarks(snapshot))
            && rows(&add) == rows(&gone);
        // what was redacted up to the version that is shown stood in its files so
        let redacts = add.iter().any(|file| file.redacted_in > Some(self.manifest_version));
        let remove = self.strangers.iter().cloned().chain(gone.iter().map(|file| table.name(file))).collect();
        Difference { add, gone, remove, data_change: !same_rows || redacts }
    }

    /// The next version's lines.
    pub(crate) fn lines(&self, table: &Table, snapshot: &Snapshot, difference: &Difference) -> Vec<Line> {
        let (at, first) = (millis(snapshot.committed_at()), self.version.is_none());
        let manifest_version = ("manifestVersion".to_owned(), snapshot.version().to_string());
        let info = CommitInfo {
            timestamp: at,
            operation: difference.operation(first).to_owned(),
            operation_parameters: [manifest_version].into(),
            engine_info: format!("strandline {}", env!("CARGO_PKG_VERSION")),
            is_blind_append: difference.remove.is_empty(),
        };
        let mut lines = vec![Line::from(info)];
        if first {
            lines.extend([Table::protocol().into(), self.meta_data.clone().into()]);
        }
        lines.push(table.txn(snapshot.version(), snapshot.committed_at()).into());
        let remove = |name: &String| {
            let deletion_timestamp = Some(at);
            Remove { path: names::encode(name), deletion_timestamp, data_change: difference.data_change }
        };
        lines.extend(difference.remove.iter().map(remove).map(Line::from));
        lines.extend(difference.add.iter().map(|file| table.add(file, difference.data_change).into()));
        lines
    }

    /// The next version is in the log.
    pub(crate) fn advance(&mut self, table: &Table, snapshot: &Snapshot, difference: Difference) {
        let at = millis(snapshot.committed_at());
        self.version = Some(self.next());
        self.txn = Some(table.txn(snapshot.version(), snapshot.committed_at()));
        self.removed.retain(|_, when| *when > at - REMOVED_MS);
        for file in &difference.add {
            self.removed.remove(&table.name(file));
        }
        self.removed.extend(difference.remove.into_iter().map(|name| (name, at)));
        for file in &difference.gone {
            self.live.remove(file.path.as_str());
        }
        self.live.extend(difference.add.into_iter().map(ByPath));
        self.strangers = Vec::new();
        self.keep(snapshot);
    }

    /// The newest version shows this snapshot too: no file differs.
    pub(crate) fn keep(&mut self, snapshot: &Snapshot) {
        self.manifest_version = snapshot.version();
        self.watermarks = Some(watermarks(snapshot));
    }

    /// All that a checkpoint of the newest version holds, besides its own metadata.
    pub(crate) fn checkpoint_lines<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = Line> + 'a {
        let head = [Line::from(Table::protocol()), self.meta_data.clone().into()];
        let removed = self.removed.iter().map(|(name, at)| {
            let (path, deletion_timestamp) = (names::encode(name), Some(*at));
            Line::from(Remove { path, deletion_timestamp, data_change: false })
        });
        let add = self.live.iter().map(|file| Line::from(table.add(&file.0, false)));
        head.into_iter().chain(self.txn.clone().map(Line::from)).chain(add).chain(removed)
    }
}

fn watermarks(snapshot: &Snapshot) -> Watermarks {
    snapshot.logs().map(|(key, state)| (key.clone(), state.compacted_through)).collect()
}
