//! Orphans: objects that no manifest names, left behind by jobs that ended before their commit.
//!
//! Young ones may belong to a job that is running right now: only what is older than the grace period is swept.

use super::DurableTier;
use crate::objects::{ObjectError, ObjectInfo};
use std::collections::HashSet;
use strandline_event::Micros;

impl DurableTier {
    /// Files and runs that the current version does not name and that were last changed before `before`.
    /// Manifests are no orphans, wherever they are.
    pub fn orphans(&self, before: Micros) -> Result<Vec<ObjectInfo>, ObjectError> {
        let listed = self.inner.shared.objects.list("")?;
        let current = self.pin();
        let mut live: HashSet<&str> = current.files().iter().map(|f| f.path.as_str()).collect();
        for (_, state) in current.logs() {
            live.extend(state.heads.iter().chain(&state.commands).map(|run| run.path.as_str()));
        }
        let ours = |path: &str| {
            let stem = path.strip_suffix(".tmp").or_else(|| path.strip_suffix(".old")).unwrap_or(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            let known = stem.ends_with(".parquet") || stem.ends_with(".run") || name.starts_with(".aside-");
            known && !live.contains(stem)
        };
        Ok(listed.into_iter().filter(|info| info.modified < before && ours(&info.path)).collect())
    }

    /// Removes the orphans that were last changed before `before`; gives the names of those that are gone now.
    /// Call it only while no job is running that began before `before`.
    pub fn sweep(&self, before: Micros) -> Result<Vec<String>, ObjectError> {
        let mut gone = Vec::new();
        for orphan in self.orphans(before)? {
            self.delete(&orphan.path)?;
            gone.push(orphan.path);
        }
        Ok(gone)
    }
}
