//! Which files a version names as live, and how the next version's set is made from it.
//!
//! Invariant: a path stands in one place only: live, under `replaced`, or under a tombstone. Segments are immutable: one that
//! loses an entry gives the others back to the inline list, which [`seal`](super::seal) may write anew.

use super::model::{Group, GroupKey, Manifest, NO_MONTH, Replaced, ReplacedFiles, Tombstone, Tombstones};
use crate::entry::FileEntry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use strandline_deql::Granularity;

/// The group in which an entry stands: its stream type, and the month of its oldest event.
pub(crate) fn group_key(file: &FileEntry) -> GroupKey {
    let month = Granularity::Month.format(file.bounds.occurred_at.0).unwrap_or_else(|| NO_MONTH.to_owned());
    (file.stream_type.clone(), month)
}

impl Manifest {
    /// Adds live files.
    pub(crate) fn add_files(&mut self, files: impl IntoIterator<Item = Arc<FileEntry>>) {
        for file in files {
            self.groups.entry(group_key(&file)).or_default().inline.push(file);
        }
    }

    /// Takes live files out. `Err`: the path of one that is not live (or is named twice); then this manifest is half changed
    /// and of no use.
    pub(crate) fn remove_files<'f>(&mut self, files: &'f [Arc<FileEntry>]) -> Result<(), &'f str> {
        let mut by_group: HashMap<GroupKey, HashSet<&'f str>> = HashMap::new();
        for file in files {
            if !by_group.entry(group_key(file)).or_default().insert(&file.path) {
                return Err(&file.path);
            }
        }
        for (key, mut paths) in by_group {
            if let Some(group) = self.groups.get_mut(&key) {
                group.remove(&mut paths);
                if group.segments.is_empty() && group.inline.is_empty() {
                    self.groups.remove(&key);
                }
            }
            if let Some(path) = paths.into_iter().next() {
                return Err(path);
            }
        }
        Ok(())
    }

    /// Whether a file is live.
    pub(crate) fn is_live(&self, file: &FileEntry) -> bool {
        let group = self.groups.get(&group_key(file));
        let mut files = group.into_iter().flat_map(|g| g.segments.iter().flat_map(|(_, s)| s.iter()).chain(&g.inline));
        files.any(|live| live.path == file.path)
    }

    /// Names files that are live no more as replaced by this version.
    pub(crate) fn set_aside(&mut self, files: &[Arc<FileEntry>]) {
        self.name_as_replaced(files.iter().map(|file| &**file), false);
    }

    /// Names files that can never become live again as replaced by this version, to be deleted without a grace period.
    pub(crate) fn give_up<'f>(&mut self, files: impl IntoIterator<Item = &'f FileEntry>) {
        self.name_as_replaced(files, true);
    }

    fn name_as_replaced<'f>(&mut self, files: impl IntoIterator<Item = &'f FileEntry>, at_once: bool) {
        let (version, at, job_id) = (self.version, self.committed_at, self.job_id);
        let replaced =
            |file: &FileEntry| Replaced { path: file.path.clone(), bytes: file.bytes, version, at, job_id, at_once };
        self.replaced.inline.extend(files.into_iter().map(replaced));
    }

    /// Puts a tombstone of this version on files that are live no more.
    pub(crate) fn bury(&mut self, files: &[Arc<FileEntry>]) {
        let (at, job_id) = (self.committed_at, self.job_id);
        let tombstone = |file: &Arc<FileEntry>| Tombstone { entry: FileEntry::clone(file), at, job_id };
        self.tombstones.inline.extend(files.iter().map(tombstone));
    }

    /// Every data file that is live or can become live again: it is never deleted.
    pub(crate) fn kept_paths(&self) -> impl Iterator<Item = &str> {
        self.files().map(|file| file.path.as_str()).chain(self.tombstone_paths())
    }

    /// The files under a tombstone.
    pub(crate) fn tombstone_paths(&self) -> impl Iterator<Item = &str> {
        self.tombstones.iter().map(|tombstone| tombstone.entry.path.as_str())
    }

    /// Every file that is live no more and still there, or may be: none has a name that a glob sees.
    pub(crate) fn aside_paths(&self) -> impl Iterator<Item = &str> {
        self.replaced.iter().map(|file| file.path.as_str()).chain(self.tombstone_paths())
    }

    /// Every path that belongs to this version, live or not: none of them is an orphan.
    pub(crate) fn known_paths(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replaced.iter().map(|file| file.path.as_str());
        self.kept_paths().chain(replaced).chain(self.runs().map(|run| run.path.as_str()))
    }
}

impl Group {
    /// Drops the entries of these paths, and the paths that were found.
    fn remove(&mut self, paths: &mut HashSet<&str>) {
        self.inline.retain(|file| !paths.remove(file.path.as_str()));
        let mut rest = Vec::new();
        self.segments.retain(|(_, entries)| {
            if paths.is_empty() || !entries.iter().any(|file| paths.contains(file.path.as_str())) {
                return true;
            }
            rest.extend(entries.iter().filter(|file| !paths.remove(file.path.as_str())).cloned());
            false
        });
        self.inline.extend(rest);
    }
}

impl Tombstones {
    /// Takes those out of which this is true.
    pub(crate) fn take_out(&mut self, mut wanted: impl FnMut(&Tombstone) -> bool) -> Vec<Tombstone> {
        let (mut taken, mut rest) = (Vec::new(), Vec::new());
        self.segments.retain(|(_, sealed)| {
            let are_wanted: Vec<bool> = sealed.iter().map(&mut wanted).collect();
            if !are_wanted.contains(&true) {
                return true;
            }
            for (tombstone, is_wanted) in sealed.iter().zip(are_wanted) {
                let list = if is_wanted { &mut taken } else { &mut rest };
                list.push(tombstone.clone());
            }
            false
        });
        for tombstone in std::mem::take(&mut self.inline) {
            let list = if wanted(&tombstone) { &mut taken } else { &mut rest };
            list.push(tombstone);
        }
        self.inline = rest;
        taken
    }
}

impl ReplacedFiles {
    /// Drops what names no file any more; a segment goes when all of its files are gone.
    pub(crate) fn forget(&mut self, gone: &HashSet<String>) {
        self.inline.retain(|file| !gone.contains(&file.path));
        self.segments.retain(|(_, files)| !files.iter().all(|file| gone.contains(&file.path)));
    }
}
