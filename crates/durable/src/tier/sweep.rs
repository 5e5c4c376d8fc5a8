//! Orphans: objects that no manifest names, left behind by jobs that ended before their commit.
//!
//! Never swept: what the newest version names, what a job of this process holds, what is younger than the grace period (it
//! may belong to an owner that is just being replaced), and anything at all while it is unknown which version is the newest.

use super::{DurableTier, Snapshot};
use crate::manifest;
use crate::objects::{ObjectError, ObjectInfo};
use std::collections::HashSet;
use strandline_event::Micros;

impl DurableTier {
    /// Files and runs that the current version does not name and that were last changed before `before`.
    /// Manifests are no orphans, wherever they are.
    pub fn orphans(&self, before: Micros) -> Result<Vec<ObjectInfo>, ObjectError> {
        let listed = self.inner.shared.objects.list("")?;
        Ok(orphans_of(&self.pin(), listed, before))
    }

    /// Removes the orphans that were last changed before `before`, also while jobs run; gives the names of those that are
    /// gone now. Does nothing under an epoch that is over, and after a commit of unknown outcome.
    pub fn sweep(&self, before: Micros) -> Result<Vec<String>, ObjectError> {
        let objects = &*self.inner.shared.objects;
        let listed = objects.list("")?;
        // a commit writes runs and segments before its version names them: none is under way from here on
        let committer = self.inner.committer.lock();
        if self.inner.epoch.is_none() || committer.unknown.is_some() || !self.is_newest()? {
            tracing::warn!("nothing is swept: this process does not know the newest manifest version");
            return Ok(Vec::new());
        }
        let mut gone = Vec::new();
        for orphan in orphans_of(&self.pin(), listed, before) {
            if self.inner.staged.contains(stem(&orphan.path)) {
                continue;
            }
            match objects.delete(&orphan.path) {
                Ok(()) => gone.push(orphan.path),
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// Whether nobody has committed behind our back.
    fn is_newest(&self) -> Result<bool, ObjectError> {
        let newest = manifest::versions(&*self.inner.shared.manifests)?.pop();
        Ok(newest == Some(self.pin().version()))
    }
}

fn orphans_of(current: &Snapshot, listed: Vec<ObjectInfo>, before: Micros) -> Vec<ObjectInfo> {
    let mut live: HashSet<&str> = current.files().iter().map(|f| f.path.as_str()).collect();
    live.extend(current.manifest.runs().map(|run| run.path.as_str()));
    let ours = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let known = stem(path).ends_with(".parquet") || path.ends_with(".run") || name.starts_with(".aside-");
        known && !live.contains(stem(path))
    };
    listed.into_iter().filter(|info| info.modified < before && ours(&info.path)).collect()
}

/// The name that a manifest would say.
fn stem(path: &str) -> &str {
    path.strip_suffix(".tmp").or_else(|| path.strip_suffix(".old")).unwrap_or(path)
}
