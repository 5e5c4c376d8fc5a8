//! Segments of every version that is kept, and where the entry of a file stands that is live no more.

use crate::entry::FileEntry;
use crate::manifest::{self, ManifestError, SegmentRef, Skeleton};
use crate::objects::Objects;
use std::collections::HashSet;
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
        let of_redactions: Vec<&SegmentRef> = skeleton.redactions.iter().filter(&mut new).collect();
        let fault = |segment: &SegmentRef, error: Option<ManifestError>| {
            let version = skeleton.manifest.version;
            error.map(|error| (segment.path.clone(), format!("version {version} names it: {error}")))
        };
        let files = of_files.into_iter().filter_map(|s| fault(s, manifest::read_entries(objects, s).err()));
        let replaced = of_replaced.into_iter().filter_map(|s| fault(s, manifest::read_replaced(objects, s).err()));
        let redacted = of_redactions.into_iter().filter_map(|s| fault(s, manifest::read_redactions(objects, s).err()));
        files.chain(replaced).chain(redacted).collect()
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
    let buried = skeleton.manifest.tombstones.into_iter().map(|tombstone| Arc::new(tombstone.entry));
    found.extend(buried.filter(wanted));
    // the newest segment is the likeliest
    for segment in skeleton.segments.iter().flat_map(|(_, segments)| segments).rev() {
        if found.len() >= paths.len() {
            break;
        }
        found.extend(manifest::read_entries(objects, segment)?.iter().filter(|file| wanted(file)).cloned());
    }
    Ok(found)
}
