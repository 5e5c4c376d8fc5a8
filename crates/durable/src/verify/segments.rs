//! Segments of every version that is kept, and where the entry of a file stands that is live no more.

use crate::entry::FileEntry;
use crate::manifest::{self, ManifestError, SegmentRef, Skeleton};
use crate::objects::Objects;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Segments that were checked: they never change, so each is read once however many versions name it.
#[derive(Default)]
pub(super) struct Segments {
    seen: HashSet<(String, u32)>,
}

impl Segments {
    /// Checks the segments of a version that were not seen before. Gives place and fault.
    pub(super) fn check(&mut self, objects: &dyn Objects, skeleton: &Skeleton) -> Vec<(String, String)> {
        let mut new = |segment: &&SegmentRef| self.seen.insert((segment.path.clone(), segment.crc32c));
        let of_files: Vec<&SegmentRef> =
            skeleton.segments.iter().flat_map(|(_, segments)| segments).filter(&mut new).collect();
        let of_replaced: Vec<&SegmentRef> = skeleton.replaced.iter().filter(&mut new).collect();
        let of_tombstones: Vec<&SegmentRef> = skeleton.tombstones.iter().filter(&mut new).collect();
        let of_redactions: Vec<&SegmentRef> = skeleton.redactions.iter().filter(&mut new).collect();
        let fault = |segment: &SegmentRef, error: Option<ManifestError>| {
            let version = skeleton.manifest.version;
            error.map(|error| (segment.path.clone(), format!("version {version} names it: {error}")))
        };
        let files = of_files.into_iter().filter_map(|s| fault(s, manifest::read_entries(objects, s).err()));
        let replaced = of_replaced.into_iter().filter_map(|s| fault(s, manifest::read_replaced(objects, s).err()));
        let buried = of_tombstones.into_iter().filter_map(|s| fault(s, manifest::read_tombstones(objects, s).err()));
        let redacted = of_redactions.into_iter().filter_map(|s| fault(s, manifest::read_redactions(objects, s).err()));
        files.chain(replaced).chain(buried).chain(redacted).collect()
    }
}

/// The entries that a version has of these files, live or under a tombstone. Reads a segment only where one is missing still.
pub(crate) fn entries_of(
    objects: &dyn Objects,
    version: u64,
    paths: &HashSet<&str>,
) -> Result<Vec<Arc<FileEntry>>, ManifestError> {
    let (skeleton, _) = manifest::read_skeleton(objects, version)?;
    let wanted = |file: &Arc<FileEntry>| paths.contains(file.path.as_str());
    let mut found: Vec<Arc<FileEntry>> = skeleton.manifest.files().filter(|file| wanted(file)).cloned().collect();
    let buried = skeleton.manifest.tombstones.inline.into_iter().map(|tombstone| Arc::new(tombstone.entry));
    found.extend(buried.filter(wanted));
    for segment in &skeleton.tombstones {
        if found.len() >= paths.len() {
            break;
        }
        let sealed = manifest::read_tombstones(objects, segment)?;
        let buried = sealed.iter().filter(|tombstone| paths.contains(tombstone.entry.path.as_str()));
        found.extend(buried.map(|tombstone| Arc::new(tombstone.entry.clone())));
    }
    // the newest segment is the likeliest
    for segment in skeleton.segments.iter().flat_map(|(_, segments)| segments).rev() {
        if found.len() >= paths.len() {
            break;
        }
        found.extend(manifest::read_entries(objects, segment)?.iter().filter(|file| wanted(file)).cloned());
    }
    Ok(found)
}

/// What the second of two versions changes.
pub(crate) struct Changed {
    /// Live files that the first does not have.
    pub(crate) added: Vec<Arc<FileEntry>>,
    /// Live files of the first that it does not have.
    pub(crate) removed: Vec<Arc<FileEntry>>,
    /// Paths of live files of both of which they do not say the same.
    pub(crate) edited: Vec<String>,
}

/// How the live files of two versions differ (`before` none: from no file). Reads only segments that they do not share.
pub(crate) fn changed_files(
    objects: &dyn Objects,
    before: Option<&Skeleton>,
    after: &Skeleton,
) -> Result<Changed, ManifestError> {
    let old: HashSet<&str> = before.into_iter().flat_map(segments_of).map(|segment| segment.path.as_str()).collect();
    let shared: HashSet<&str> =
        segments_of(after).map(|segment| segment.path.as_str()).filter(|path| old.contains(path)).collect();
    let files = |skeleton: &Skeleton| -> Result<HashMap<String, Arc<FileEntry>>, ManifestError> {
        let mut files: Vec<Arc<FileEntry>> = skeleton.manifest.files().cloned().collect();
        for segment in segments_of(skeleton).filter(|segment| !shared.contains(segment.path.as_str())) {
            files.extend(manifest::read_entries(objects, segment)?.iter().cloned());
        }
        Ok(files.into_iter().map(|file| (file.path.clone(), file)).collect())
    };
    let (old, new) = (before.map(&files).transpose()?.unwrap_or_default(), files(after)?);
    let only = |of: &HashMap<String, Arc<FileEntry>>, other: &HashMap<String, Arc<FileEntry>>| -> Vec<Arc<FileEntry>> {
        of.values().filter(|file| !other.contains_key(&file.path)).cloned().collect()
    };
    let edited = old.values().filter(|file| new.get(&file.path).is_some_and(|now| now != *file));
    let edited = edited.map(|file| file.path.clone()).collect();
    Ok(Changed { added: only(&new, &old), removed: only(&old, &new), edited })
}

/// The segments of live files that a version names.
fn segments_of(skeleton: &Skeleton) -> impl Iterator<Item = &SegmentRef> {
    skeleton.segments.iter().flat_map(|(_, segments)| segments)
}
