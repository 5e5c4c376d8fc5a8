//! Version files and segments as objects: names, listing, reading, create-if-absent.

use super::envelope::{Content, EnvelopeError, unwrap, wrap};
use super::json::{self, Skeleton};
use super::model::{Manifest, NO_MONTH, Replaced, SealedList, SegmentRef, Tombstone};
use crate::entry::FileEntry;
use crate::objects::{Created, NotCreated, ObjectError, Objects, create};
use crate::redaction::Redaction;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::ErrorKind;

/// Entries of a group that stay in the version file; over it they go into a sealed segment.
pub(crate) const INLINE_MAX: usize = 512;
/// So many tombstones stand in one sealed segment at most: a restore may put what is left of all of them into the lists at once.
const TOMBSTONES_MAX: usize = 4_096;
/// As [`INLINE_MAX`] for a month that is not the newest of its stream type: few files come to it any more.
pub(crate) const INLINE_OLD_MAX: usize = 64;
pub(crate) const SEGMENT_FOLDER: &str = "segments";
/// Names that one request to an object store lists.
const LISTED_AT_ONCE: usize = 1000;

/// Why a manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The disk or the object store.
    #[error("manifest: {0}")]
    Objects(#[from] ObjectError),
    /// The object is not a manifest that we read.
    #[error("manifest `{path}`: {source}")]
    Content {
        /// The object.
        path: String,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// A checkpoint knows of versions that are not there.
    #[error(
        "manifest version {version} is not there, and a checkpoint says that it was: put the folder of the manifests back as it was"
    )]
    Gone {
        /// The version.
        version: u64,
    },
    /// The version belongs to another store.
    #[error(
        "manifest version {version} is another store's, whose folder stands where this one's was: put this store's back (is the right disk \
         mounted?)"
    )]
    OtherStore {
        /// The version.
        version: u64,
    },
    /// There is none at all.
    #[error("there is no manifest: this is no store, or it has never been opened")]
    None,
}

impl ManifestError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Objects(error) => error.kind(),
            Self::Content { .. } | Self::Gone { .. } | Self::OtherStore { .. } => ErrorKind::Integrity,
            Self::None => ErrorKind::NotFound,
        }
    }
}

/// Name of a version file.
pub(crate) fn version_name(version: u64) -> String {
    format!("v{version:020}.json.zst")
}

pub(super) fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('v')?.strip_suffix(".json.zst")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// All versions that are there, rising. Lists everything: for the offline check, and for a first fold.
pub(crate) fn versions(objects: &dyn Objects) -> Result<Vec<u64>, ObjectError> {
    let listed = objects.list_range("", "v", "w")?;
    let mut out: Vec<u64> = listed.iter().filter_map(|info| version_of(&info.path)).collect();
    out.sort_unstable();
    Ok(out)
}

/// The newest version above `known`; `None`: there is none. A bucket is not listed from its beginning: whether anything stands
/// behind a name is one request, so the end is found by steps that double, and by halves after that.
pub(crate) fn newest_above(objects: &dyn Objects, known: u64) -> Result<Option<u64>, ObjectError> {
    search(known, |version| {
        let listed = objects.list_after(&version_name(version), LISTED_AT_ONCE)?;
        Ok((listed.objects.iter().filter_map(|info| version_of(&info.path)).max(), listed.complete))
    })
}

/// [`newest_above`] over what one request tells: the highest version in the part of the listing that begins behind a version,
/// and whether that part is the end of it.
pub(super) fn search<E>(
    known: u64,
    mut ask: impl FnMut(u64) -> Result<(Option<u64>, bool), E>,
) -> Result<Option<u64>, E> {
    let (mut newest, mut beyond) = (known, None);
    let mut step = 0;
    loop {
        let behind = match beyond {
            Some(end) if end <= newest => return Ok(Some(newest).filter(|newest| *newest > known)),
            Some(end) => newest + (end - newest) / 2,
            None => newest.saturating_add(step),
        };
        match ask(behind)? {
            (Some(last), true) => return Ok(Some(last)),
            (Some(last), false) => newest = newest.max(last),
            (None, _) => beyond = Some(behind),
        }
        step = (step * 2).max(LISTED_AT_ONCE as u64);
    }
}

/// A version without the entries of its segments, and the CRC32C of its file.
pub(crate) fn read_skeleton(objects: &dyn Objects, version: u64) -> Result<(Skeleton, u32), ManifestError> {
    let path = version_name(version);
    let bytes = objects.get(&path)?;
    let wrap = |source| ManifestError::Content { path: path.clone(), source };
    let json = unwrap(Content::Version, &bytes).map_err(wrap)?;
    let skeleton = json::read_version(&json).map_err(wrap)?;
    if skeleton.manifest.version != version {
        return Err(wrap(EnvelopeError::Damaged("it is another version than its name says")));
    }
    Ok((skeleton, crc32c::crc32c(&bytes)))
}

/// A version with all its entries, and the CRC32C of its file.
pub(crate) fn read(objects: &dyn Objects, version: u64) -> Result<(Manifest, u32), ManifestError> {
    read_after(objects, version, None)
}

/// The same; segments that an earlier version names too are not read again, since they never change.
pub(crate) fn read_after(
    objects: &dyn Objects,
    version: u64,
    earlier: Option<&Manifest>,
) -> Result<(Manifest, u32), ManifestError> {
    let (skeleton, crc) = read_skeleton(objects, version)?;
    let mut manifest = skeleton.manifest;
    for (key, refs) in skeleton.segments {
        let known = earlier.and_then(|earlier| earlier.groups.get(&key)).map(|group| &*group.segments);
        let group = manifest.groups.entry(key).or_default();
        for segment in refs {
            let entries = held(known, &segment).map_or_else(|| read_entries(objects, &segment), Ok)?;
            group.segments.push((segment, entries));
        }
    }
    let known = earlier.map(|earlier| &*earlier.replaced.segments);
    for segment in skeleton.replaced {
        let files = held(known, &segment).map_or_else(|| read_replaced(objects, &segment), Ok)?;
        manifest.replaced.segments.push((segment, files));
    }
    let known = earlier.map(|earlier| &*earlier.tombstones.segments);
    for segment in skeleton.tombstones {
        let files = held(known, &segment).map_or_else(|| read_tombstones(objects, &segment), Ok)?;
        manifest.tombstones.segments.push((segment, files));
    }
    let known = earlier.map(|earlier| &*earlier.redactions.segments);
    for segment in skeleton.redactions {
        let events = held(known, &segment).map_or_else(|| read_redactions(objects, &segment), Ok)?;
        manifest.redactions.segments.push((segment, events));
    }
    Ok((manifest, crc))
}

/// A segment, and what it holds.
type Held<T> = (SegmentRef, Arc<[T]>);

/// What a segment holds, if it is among these.
fn held<T>(known: Option<&[Held<T>]>, segment: &SegmentRef) -> Option<Arc<[T]>> {
    known?.iter().find(|(known, _)| known == segment).map(|(_, held)| Arc::clone(held))
}

/// The entries of a segment.
pub(crate) fn read_entries(
    objects: &dyn Objects,
    segment: &SegmentRef,
) -> Result<Arc<[Arc<FileEntry>]>, ManifestError> {
    read_segment(objects, Content::Segment, segment, json::read_segment)
}

/// The replaced files of a segment.
pub(crate) fn read_replaced(objects: &dyn Objects, segment: &SegmentRef) -> Result<Arc<[Replaced]>, ManifestError> {
    read_segment(objects, Content::Replaced, segment, json::read_replaced)
}

/// The tombstones of a segment.
pub(crate) fn read_tombstones(objects: &dyn Objects, segment: &SegmentRef) -> Result<Arc<[Tombstone]>, ManifestError> {
    read_segment(objects, Content::Tombstones, segment, json::read_tombstones)
}

/// The redactions of a segment.
pub(crate) fn read_redactions(objects: &dyn Objects, segment: &SegmentRef) -> Result<Arc<[Redaction]>, ManifestError> {
    read_segment(objects, Content::Redactions, segment, json::read_redactions)
}

fn read_segment<T>(
    objects: &dyn Objects,
    content: Content,
    segment: &SegmentRef,
    decode: impl Fn(&[u8]) -> Result<Vec<T>, EnvelopeError>,
) -> Result<Arc<[T]>, ManifestError> {
    let bytes = objects.get(&segment.path)?;
    let wrap = |source| ManifestError::Content { path: segment.path.clone(), source };
    if crc32c::crc32c(&bytes) != segment.crc32c {
        return Err(wrap(EnvelopeError::Damaged("the checksum differs from the one in the manifest")));
    }
    let entries = unwrap(content, &bytes).and_then(|json| decode(&json)).map_err(wrap)?;
    if entries.len() as u64 != segment.files {
        return Err(wrap(EnvelopeError::Damaged("the number of entries differs from the one in the manifest")));
    }
    Ok(entries.into())
}

/// Seals inline lists that have grown (groups stand in the order of months, the newest last): writes their segments, which belong to nobody until a version names them.
pub(crate) fn seal(objects: &dyn Objects, manifest: &mut Manifest) -> Result<(), ManifestError> {
    let (version, epoch) = (manifest.version, manifest.epoch);
    let dated = manifest.groups.keys().filter(|(_, month)| month != NO_MONTH);
    let newest: HashMap<String, String> = dated.cloned().collect();
    for (n, (key, group)) in manifest.groups.iter_mut().enumerate() {
        let old = newest.get(&key.0).is_some_and(|month| *month != key.1);
        if group.inline.len() <= if old { INLINE_OLD_MAX } else { INLINE_MAX } {
            continue;
        }
        let entries = std::mem::take(&mut group.inline);
        let stem = format!("{SEGMENT_FOLDER}/s{version:020}-{epoch}-{n}");
        group.segments.push(write_segment(objects, Content::Segment, &stem, entries, json::write_segment)?);
    }
    let stem = |kind: &str| format!("{SEGMENT_FOLDER}/s{version:020}-{epoch}-{kind}");
    let Manifest { replaced, tombstones, redactions, .. } = manifest;
    seal_list(objects, replaced, (Content::Replaced, &stem("r")), usize::MAX, json::write_replaced)?;
    seal_list(objects, tombstones, (Content::Tombstones, &stem("t")), TOMBSTONES_MAX, json::write_tombstones)?;
    seal_list(objects, redactions, (Content::Redactions, &stem("x")), usize::MAX, json::write_redactions)
}

/// Seals a list that has grown, in segments of so many at most.
fn seal_list<T>(
    objects: &dyn Objects,
    list: &mut SealedList<T>,
    (content, stem): (Content, &str),
    most: usize,
    encode: impl Fn(&[T]) -> Result<Vec<u8>, serde_json::Error>,
) -> Result<(), ManifestError> {
    if list.inline.len() <= INLINE_MAX {
        return Ok(());
    }
    let mut entries = std::mem::take(&mut list.inline);
    while !entries.is_empty() {
        let others = entries.split_off(entries.len().min(most));
        list.segments.push(write_segment(objects, content, stem, entries, &encode)?);
        entries = others;
    }
    Ok(())
}

fn write_segment<T>(
    objects: &dyn Objects,
    content: Content,
    stem: &str,
    entries: Vec<T>,
    encode: impl Fn(&[T]) -> Result<Vec<u8>, serde_json::Error>,
) -> Result<(SegmentRef, Arc<[T]>), ManifestError> {
    let json = encode(&entries).map_err(std::io::Error::from);
    let bytes = json.and_then(|j| wrap(content, &j)).map_err(|e| ObjectError::from_io("segment", e))?;
    let crc32c = crc32c::crc32c(&bytes);
    let path = put_segment(objects, stem, &bytes)?;
    Ok((SegmentRef { path, crc32c, files: entries.len() as u64 }, entries.into()))
}

/// The version whose commit, or attempt, made a segment.
pub(crate) fn maker_of(segment: &str) -> Option<u64> {
    segment.strip_prefix(SEGMENT_FOLDER)?.strip_prefix("/s")?.get(..20)?.parse().ok()
}

fn put_segment(objects: &dyn Objects, stem: &str, bytes: &[u8]) -> Result<String, ObjectError> {
    let mut attempt = 0;
    loop {
        let path = format!("{stem}-{attempt}.json.zst");
        match create(objects, &path, bytes).map_err(NotCreated::into_error)? {
            Created::Ours => return Ok(path),
            // of a commit that never happened
            Created::Others => attempt += 1,
        }
    }
}

/// What became of a version that was to be created.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is ours; the CRC32C of its file.
    Ours(u32),
    /// Somebody else's has its number.
    Others,
}

/// Creates the version file if nobody has.
pub(crate) fn put(objects: &dyn Objects, manifest: &Manifest) -> Result<Put, NotCreated> {
    let path = version_name(manifest.version);
    let bytes = encode(&path, manifest).map_err(NotCreated::No)?;
    match create(objects, &path, &bytes)? {
        Created::Ours => Ok(Put::Ours(crc32c::crc32c(&bytes))),
        Created::Others => Ok(Put::Others),
    }
}

fn encode(path: &str, manifest: &Manifest) -> Result<Vec<u8>, ObjectError> {
    let json = json::write_version(manifest).map_err(|e| ObjectError::from_io(path, e.into()))?;
    let Manifest { tombstones, buckets, redactions, .. } = manifest;
    let content = match (tombstones.segments.is_empty(), buckets.is_empty(), redactions.is_empty()) {
        (false, _, _) => Content::VersionBurying,
        (true, false, _) => Content::VersionOfBuckets,
        (true, true, false) => Content::VersionRedacting,
        (true, true, true) => Content::Version,
    };
    wrap(content, &json).map_err(|e| ObjectError::from_io(path, e))
}
