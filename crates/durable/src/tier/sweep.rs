//! Orphans: objects that no manifest names, left behind by jobs that ended before their commit. And replaced files.
//!
//! Files that retention gave up have no grace period: they go as soon as no version that is pinned here names them.
//!
//! Never swept: what the newest version names as live or under a tombstone, what a job of this process holds, what is younger
//! than the grace period (an orphan may belong to an owner that is just being replaced, a replaced file to a reader of another
//! process), what a version that is pinned in this process names, and anything at all while it is unknown which version is
//! the newest. Sorted runs have a shorter grace period, since nobody opens one late.

use super::names::{PROBE_PREFIX, RUN_FOLDER};
use super::{DurableTier, MANIFEST_FOLDER, Snapshot, names};
use crate::delta;
use crate::manifest::{self, Replaced};
use crate::objects::{ObjectError, ObjectInfo};
use crate::runs::RunKind;
use std::collections::HashSet;
use strandline_event::Micros;

impl DurableTier {
    /// Files and runs that the current version does not name and that were last changed before `before`.
    /// Manifests are no orphans, wherever they are.
    pub fn orphans(&self, before: Micros) -> Result<Vec<ObjectInfo>, ObjectError> {
        let listed = self.inner.shared.objects.list("")?;
        Ok(orphans_of(&self.pin(), listed, before))
    }

    /// Whether an orphan has a name that only a commit gives: where files are staged, that of a data file without a suffix.
    #[must_use]
    pub fn is_published(&self, orphan: &str) -> bool {
        self.inner.shared.objects.stages() && orphan.ends_with(".parquet")
    }

    /// Removes the orphans that were last changed before `before`, and the files that were replaced before it and that no
    /// pinned version needs, also while jobs run; gives the names of those that are gone now. Does nothing under an epoch that is over, and after a commit of unknown outcome.
    pub fn sweep(&self, before: Micros) -> Result<Vec<String>, ObjectError> {
        // where no commit comes for long, what failed of the Delta log is tried again here
        self.follow();
        let objects = &*self.inner.shared.objects;
        let listed = objects.list_beside(MANIFEST_FOLDER)?;
        let (mut gone, orphans) = {
            // a commit writes runs and segments before its version names them: none is under way from here on
            let mut committer = self.inner.committer.lock();
            let unknown = self.settle_locked(&mut committer).is_err() || committer.unclear.is_some();
            // an owner that was replaced may know the newest version by now
            let ours = self.epoch() == Some(self.pin().epoch());
            if !ours || unknown || !self.is_newest()? {
                tracing::warn!("nothing is swept: this process does not know the newest manifest version");
                return Ok(Vec::new());
            }
            let current = self.pin();
            self.name_again(&current, &listed);
            self.rename_again(&current, &listed);
            let gone = self.sweep_replaced(&current, before)?;
            let orphans = orphans_of(&current, listed, before).into_iter().map(|orphan| orphan.path);
            (gone, orphans.filter(|path| !self.inner.staged.contains(stem(path))).collect::<Vec<_>>())
        };
        // names are never given again: commits need not wait
        objects.delete_all(&orphans)?;
        gone.extend(orphans);
        Ok(gone)
    }

    /// Removes sorted runs of heads, commands and chunks that the current version does not name and that were last changed before
    /// `before`; gives their names. Whoever has a version of this process open has mapped or fetched its runs, so nobody needs them:
    /// the age only spares a process that is opening an older version right now. Runs of removed seq ranges, which nothing
    /// can be made anew from, wait with all other orphans. Does nothing under an epoch that is over, and after a commit of
    /// unknown outcome.
    pub fn sweep_runs(&self, before: Micros) -> Result<Vec<String>, ObjectError> {
        let objects = &*self.inner.shared.objects;
        let listed = objects.list(RUN_FOLDER)?;
        let replaced: Vec<String> = {
            // what a commit had written when it was listed is named by now or never; a newer owner that had written some is seen
            let mut committer = self.inner.committer.lock();
            let unknown = self.settle_locked(&mut committer).is_err() || committer.unclear.is_some();
            let ours = self.epoch() == Some(self.pin().epoch());
            if !ours || unknown || !self.is_newest()? {
                return Ok(Vec::new());
            }
            let orphans = orphans_of(&self.pin(), listed, before).into_iter().map(|orphan| orphan.path);
            orphans.filter(|path| RunKind::of_path(path).is_some_and(|kind| kind != RunKind::Retired)).collect()
        };
        // names are never given again: commits need not wait
        objects.delete_all(&replaced)?;
        Ok(replaced)
    }

    /// Gives live files the names back that somebody has removed (a `VACUUM` of the Delta table by another engine), as long as
    /// another name of them is left. The caller holds the committer: none of them is being replaced.
    fn name_again(&self, current: &Snapshot, listed: &[ObjectInfo]) {
        let objects = &*self.inner.shared.objects;
        if !objects.stages() {
            return;
        }
        let there: HashSet<&str> = listed.iter().map(|info| info.path.as_str()).collect();
        for file in current.files().iter().filter(|file| !there.contains(file.path.as_str())) {
            let link = delta::names::link(&file.path);
            // since the listing it may have been committed, and it may be renamed right now
            let own = names::publish(objects, &file.path).and_then(|()| names::take_back(objects, &file.path));
            let named = match own.and_then(|()| objects.exists(&file.path)) {
                Ok(false) if there.contains(link.as_str()) => objects.link(&link, &file.path),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match named {
                Ok(()) => tracing::warn!(path = file.path, "a data file had lost its name: it has it again"),
                Err(error) => tracing::warn!(path = file.path, %error, "a data file has lost its name"),
            }
        }
    }

    /// Ends what a rename that failed, or a second link of a file, has left: a live file has no name beside its own, and one that
    /// is live no more is seen by no glob. The caller holds the committer: what is live stays so.
    fn rename_again(&self, current: &Snapshot, listed: &[ObjectInfo]) {
        let objects = &*self.inner.shared.objects;
        if !objects.stages() {
            return;
        }
        let there: HashSet<&str> = listed.iter().map(|info| info.path.as_str()).collect();
        let beside = |path: &str| [".tmp", ".old"].iter().any(|suffix| there.contains(&*format!("{path}{suffix}")));
        let live = current.files().iter().map(|file| file.path.as_str());
        let twice =
            live.filter(|path| there.contains(path) && beside(path)).map(|path| (path, names::only_own(objects, path)));
        let aside = current.manifest.aside_paths().filter(|path| there.contains(path));
        let seen = aside.map(|path| (path, names::set_aside(objects, path)));
        for (path, outcome) in twice.chain(seen) {
            match outcome {
                Ok(()) => tracing::warn!(path, "a data file had a name that it must not have: it is gone"),
                Err(error) => tracing::warn!(path, %error, "a data file has a name that it must not have"),
            }
        }
    }

    /// The caller holds the committer: `current` is the newest version, and no older one can be pinned from here on.
    pub(super) fn sweep_replaced(&self, current: &Snapshot, before: Micros) -> Result<Vec<String>, ObjectError> {
        let pinned = self.inner.pins.oldest().unwrap_or(current.version());
        let live: HashSet<&str> = current.manifest.kept_paths().collect();
        let over = |file: &Replaced| file.at_once || file.at < before;
        let due = |file: &&Replaced| over(file) && file.version <= pinned && !live.contains(file.path.as_str());
        let mut swept = Vec::new();
        for file in current.manifest.replaced.iter().filter(due) {
            if self.inner.gone.contains(&file.path) {
                continue;
            }
            self.delete_spellings(&file.path)?;
            self.inner.gone.insert(&file.path);
            swept.push(file.path.clone());
        }
        Ok(swept)
    }

    /// Removes a data file under every name that it may have.
    fn delete_spellings(&self, path: &str) -> Result<(), ObjectError> {
        let objects = &*self.inner.shared.objects;
        for name in names::to_delete(path).filter(|name| objects.stages() || name == path) {
            match objects.delete(&name) {
                Ok(()) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether nobody has committed behind our back.
    pub(super) fn is_newest(&self) -> Result<bool, ObjectError> {
        Ok(manifest::newest_above(&*self.inner.shared.manifests, self.pin().version())?.is_none())
    }
}

fn orphans_of(current: &Snapshot, listed: Vec<ObjectInfo>, before: Micros) -> Vec<ObjectInfo> {
    let known: HashSet<&str> = current.manifest.known_paths().collect();
    let ours = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let data = stem(path).ends_with(".parquet") && !path.starts_with(delta::names::FOLDER);
        let hidden = name.starts_with(".aside-") || name.starts_with(PROBE_PREFIX);
        let kind = data || path.ends_with(".run") || hidden;
        kind && !known.contains(stem(path))
    };
    listed.into_iter().filter(|info| info.modified < before && ours(&info.path)).collect()
}

/// The name that a manifest would say.
fn stem(path: &str) -> &str {
    let staged = path.strip_suffix(".tmp").or_else(|| path.strip_suffix(".old"));
    staged.or_else(|| delta::names::linked(path)).unwrap_or(path)
}
