//! Opens the tier: birth of a store, or the claim of a new epoch by one commit; finishes what a crash left half done.

use super::commit::CommitError;
use super::in_place::{FilesAway, leftover};
use super::late::LateClaim;
use super::member::Claim;
use super::pins::{Gone, Pins};
use super::{Committer, DurableTier, Inner, MANIFEST_FOLDER, Shared, Snapshot, names};
use crate::delta::names::link;
use crate::delta::{DeltaLog, newest_shown};
use crate::keyring::{Provider, sealed_places};
use crate::layout::{Layout, LayoutError};
use crate::manifest::{self, Manifest, ManifestError, Put, Redactions, ReplacedFiles, Tombstones};
use crate::objects::{NotCreated, ObjectError, Objects, Purpose, Settings, SharedObjects, open_location, probe};
use crate::read::FileCache;
use crate::write::StagedFiles;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use strandline_deql::StoreConfig;
use strandline_event::{ErrorKind, Micros, hash};
use strandline_keys::KeyError;

/// Decoded footers that are kept, in bytes, where the caller names no bound.
pub const CACHE_BYTES_DEFAULT: usize = 128 << 20;
/// An owner that commits all the time is overtaken when one of its commits takes longer than a read and a create; it is rare that none of
/// so many does.
const CLAIM_TRIES: u32 = 256;
/// Tries after which the end of the versions is looked for again, in case the owner is quicker by a whole version and more.
const CLAIMS_BETWEEN_LOOKS: u32 = 4;

/// What an open needs besides the configuration.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `{writer}` in file names: the node's name.
    pub writer: String,
    /// The store's statement, kept in the manifest.
    pub config_text: String,
    /// Random bits: the job id of the claim; at birth the store's id comes from them too.
    pub entropy: u128,
    /// Random bits of their own, told nobody: at birth the key of the store's digests.
    pub secret: u128,
    /// Now.
    pub now: Micros,
    /// Bound of the cache of decoded footers.
    pub cache_bytes: usize,
    /// A folder of this process alone, for local copies of runs that are on an object store; none: they are kept in memory.
    pub scratch: Option<PathBuf>,
}

/// Why the tier cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A manifest is missing or damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk or the object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The keys of an encrypted store.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Another store lives there.
    #[error("the folder belongs to the store `{found}`, not to `{name}`")]
    OtherStore {
        /// The store that is to be opened.
        name: String,
        /// The one that is there.
        found: String,
    },
    /// There is another newest version than the one that was judged.
    #[error("the store was committed to by another owner just now: it was version {}, it is version {}", text(.judged), text(.found))]
    Moved {
        /// The version that was judged; none: there was no store.
        judged: Option<u64>,
        /// The newest one.
        found: Option<u64>,
    },
    /// Manifests are missing: a new store would give the numbers of what is there again, and sweep it away.
    #[error(
        "there is no manifest in {manifests}, but {files} holds `{found}`: a store was here, and what it knows of its files is \
         gone. Put the manifests back as they were (durable.commit.manifest_path; is its disk mounted?), or give the store \
         another durable.path and wal.path"
    )]
    ManifestsGone {
        /// Where they must be.
        manifests: String,
        /// Where the files are.
        files: String,
        /// One of these.
        found: String,
    },
    /// The manifests are there, and the files are not.
    #[error(transparent)]
    FilesAway(#[from] FilesAway),
    /// The newest manifests are missing.
    #[error(
        "the newest manifest in {manifests} is version {newest}, but the Delta log in {files} shows version {shown}: manifests \
         were lost or rolled back. Put them back as they were; if they were rolled back on purpose, remove \
         `{}` there (it is made anew): files that only the newer versions name are swept then",
        crate::delta::names::FOLDER
    )]
    ManifestsBehind {
        /// Where they are.
        manifests: String,
        /// Where the files are.
        files: String,
        /// The newest that is there.
        newest: u64,
        /// A newer one.
        shown: u64,
    },
    /// The next version can neither be made nor seen.
    #[error(
        "something that is no manifest stands in the place of manifest version {version}, perhaps a folder: restore the \
         manifest from a copy, or move away what stands there if there never was such a version"
    )]
    Obstructed {
        /// The version that is to be made.
        version: u64,
    },
    /// Others claim faster.
    #[error("the store is being claimed by others again and again; another owner runs on it")]
    Contended,
    /// The claim failed.
    #[error(transparent)]
    Claim(#[from] CommitError),
}

impl OpenError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout(_) => ErrorKind::BadRequest,
            Self::Manifest(error) => error.kind(),
            Self::Objects(error) => error.kind(),
            Self::Keys(error) => error.kind(),
            Self::OtherStore { .. } => ErrorKind::BadRequest,
            Self::Obstructed { .. }
            | Self::ManifestsGone { .. }
            | Self::FilesAway(_)
            | Self::ManifestsBehind { .. } => ErrorKind::Integrity,
            Self::Moved { .. } | Self::Contended => ErrorKind::Unavailable,
            Self::Claim(error) => error.kind(),
        }
    }
}

fn text(version: &Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

/// What came of a claim.
enum Claimed {
    /// It is this version; the CRC32C of its file.
    Made(Manifest, u32),
    /// There is no room for it, and the store is read for now: the version upon which it is to be made.
    NoRoom(Manifest, u32),
}

/// Why a handle has no claim.
pub(super) enum Unclaimed {
    /// It only reads.
    ToRead,
    /// It has one when it is its turn.
    Member,
    /// There was no room for it.
    NoRoom(Box<LateClaim>),
}

/// Upon which version an owner begins.
enum Upon {
    /// Whatever is the newest.
    Newest,
    /// This one (none: a new store), and no other.
    Judged(Option<Arc<Snapshot>>),
    /// This one, or what its owner has committed since under the same declaration.
    Since(Arc<Snapshot>),
}

impl Upon {
    fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Newest | Self::Judged(None) => None,
            Self::Judged(Some(snapshot)) | Self::Since(snapshot) => Some(snapshot),
        }
    }

    /// The newest version is this one: whether it may be begun upon, or why not.
    fn allows(&self, current: &Manifest) -> Result<(), OpenError> {
        let Self::Since(judged) = self else { return Ok(()) };
        let said = |m: &Manifest| (m.store_id, m.epoch, m.logs_open);
        let before = judged.manifest();
        if said(before) == said(current) && before.config_text == current.config_text {
            return Ok(());
        }
        Err(OpenError::Moved { judged: Some(before.version), found: Some(current.version) })
    }
}

impl DurableTier {
    /// Opens the tier at the configured places and becomes its owner. An encrypted one is opened with its [`sealed_places`].
    pub fn open(config: &StoreConfig, options: OpenOptions) -> Result<Self, OpenError> {
        let settings = Settings::from_env();
        let purpose = Purpose::Own { scratch: options.scratch.as_deref() };
        let objects = open_location(&config.durable.path, purpose, &settings)?;
        let manifests = open_location(&config.durable.manifest_path, Purpose::Own { scratch: None }, &settings)?;
        let (objects, manifests) = sealed_places((objects, manifests), config, None, true)?;
        Self::open_with(objects, manifests, config, options)
    }

    /// Opens the tier on given objects and becomes its owner.
    pub fn open_with(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        Self::open_upon(objects, manifests, config, options, Upon::Newest)
    }

    /// [`open_with`](Self::open_with) right upon the version that was judged (none: there was no store). What it has read is
    /// not read again.
    ///
    /// # Errors
    /// `Moved` if another one is the newest by now: nothing is claimed then. Judge that one, and try again.
    pub fn open_judged(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
        options: OpenOptions,
        judged: Option<Arc<Snapshot>>,
    ) -> Result<Self, OpenError> {
        Self::open_upon(objects, manifests, config, options, Upon::Judged(judged))
    }

    /// [`open_with`](Self::open_with) upon the version that was judged, or upon those that its owner has committed since: of a store
    /// without a log, whose owner may commit faster than anybody judges.
    ///
    /// # Errors
    /// `Moved` if there is another owner by now, or another declaration: nothing is claimed then. Judge that one, and try again.
    pub fn open_since(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
        options: OpenOptions,
        judged: Arc<Snapshot>,
    ) -> Result<Self, OpenError> {
        Self::open_upon(objects, manifests, config, options, Upon::Since(judged))
    }

    fn open_upon(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
        options: OpenOptions,
        upon: Upon,
    ) -> Result<Self, OpenError> {
        refuse_clear(&*objects, config)?;
        let shared = shared(objects, manifests, config, options.cache_bytes)?;
        probe_places(&shared, config, options.entropy)?;
        let claimed = claim(&shared, config, &options, &upon)?;
        let before = upon.snapshot();
        let (manifest, crc) = match claimed {
            Claimed::Made(manifest, crc) => (manifest, crc),
            Claimed::NoRoom(manifest, crc) => {
                let snapshot = Snapshot::open(Arc::clone(&shared), manifest, before);
                let delta = delta_log(&shared, &snapshot, config);
                let late = Unclaimed::NoRoom(Box::new(LateClaim { config: config.clone(), options }));
                return Ok(Self::without_claim(shared, snapshot, crc, delta, late));
            }
        };
        let (epoch, file_seq) = (manifest.epoch, manifest.file_seq);
        let writer = names::writer_name(&options.writer, epoch);
        let snapshot = Snapshot::open(Arc::clone(&shared), manifest, before);
        let there = names_there(&*shared.objects)?;
        let (warnings, gone) = finish_renames(&snapshot, &there);
        let delta = delta_log(&shared, &snapshot, config);
        if let Some(Err(error)) = delta.as_ref().map(|delta| delta.heal(&snapshot, &there)) {
            tracing::warn!(store = config.name, %error, "a file has no link for readers of the Delta log");
        }
        let committer = Committer { current_crc32c: crc, unclear: None, late: None };
        let claim = Claim { epoch: Some(epoch), writer: Arc::from(writer), member: false, late: false };
        let (snapshot, pins) = (Arc::new(snapshot), Pins::default());
        pins.add(&snapshot);
        snapshot.lower_veil();
        let tier = Self {
            inner: Arc::new(Inner {
                shared,
                current: ArcSwap::new(snapshot),
                committer: Mutex::new(committer),
                file_seq: AtomicU64::new(file_seq),
                claim: ArcSwap::from_pointee(claim),
                staged: StagedFiles::default(),
                open_files: ArcSwap::default(),
                retirements: AtomicU64::new(0),
                pins,
                gone: Gone::new(gone),
                delta,
                warnings,
                abandoned: AtomicBool::new(false),
                clock: OnceLock::new(),
            }),
        };
        tier.follow();
        Ok(tier)
    }

    /// Opens the current version to read: writes nothing, claims nothing. `keys`: who wraps the keys of an encrypted store.
    pub fn open_read_only(config: &StoreConfig, keys: Provider) -> Result<Self, OpenError> {
        let settings = Settings::from_env();
        let objects = open_location(&config.durable.path, Purpose::Read, &settings)?;
        let manifests = open_location(&config.durable.manifest_path, Purpose::Read, &settings)?;
        let (objects, manifests) = sealed_places((objects, manifests), config, keys, false)?;
        Self::open_read_only_with(objects, manifests, config)
    }

    /// [`open_read_only`](Self::open_read_only) on given objects.
    pub fn open_read_only_with(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
    ) -> Result<Self, OpenError> {
        let shared = shared(objects, manifests, config, CACHE_BYTES_DEFAULT)?;
        let Some(newest) = manifest::newest_version(&*shared.manifests)? else {
            refuse_leftovers(&*shared.objects, config)?;
            return Err(ManifestError::None.into());
        };
        let (manifest, crc) = manifest::read(&*shared.manifests, newest)?;
        check_store(&manifest, config)?;
        let snapshot = Snapshot::open(Arc::clone(&shared), manifest, None);
        Ok(Self::without_claim(shared, snapshot, crc, None, Unclaimed::ToRead))
    }

    /// A handle that commits nothing: to read, or until it has a claim.
    pub(super) fn without_claim(
        shared: Arc<Shared>,
        snapshot: Snapshot,
        crc: u32,
        delta: Option<DeltaLog>,
        why: Unclaimed,
    ) -> Self {
        let (file_seq, snapshot, pins) = (snapshot.manifest().file_seq, Arc::new(snapshot), Pins::default());
        if !matches!(why, Unclaimed::ToRead) {
            pins.add(&snapshot);
        }
        let member = matches!(why, Unclaimed::Member);
        let late = if let Unclaimed::NoRoom(late) = why { Some(late) } else { None };
        let claim = Claim { epoch: None, writer: Arc::from(""), member, late: late.is_some() };
        snapshot.lower_veil();
        let inner = Inner {
            shared,
            current: ArcSwap::new(snapshot),
            committer: Mutex::new(Committer { current_crc32c: crc, unclear: None, late }),
            file_seq: AtomicU64::new(file_seq),
            claim: ArcSwap::from_pointee(claim),
            staged: StagedFiles::default(),
            open_files: ArcSwap::default(),
            retirements: AtomicU64::new(0),
            pins,
            gone: Gone::default(),
            delta,
            warnings: Vec::new(),
            abandoned: AtomicBool::new(false),
            clock: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }
}

/// Nothing is ever written in clear where the declaration says that the store is encrypted.
pub(super) fn refuse_clear(objects: &dyn Objects, config: &StoreConfig) -> Result<(), KeyError> {
    if config.security.encrypt_at_rest && objects.keys().is_none() { Err(KeyError::NoRing) } else { Ok(()) }
}

/// Where there is no manifest at all there must be nothing of a store: one bounded listing on an object store.
pub(super) fn refuse_leftovers(objects: &dyn Objects, config: &StoreConfig) -> Result<(), OpenError> {
    let Some(found) = leftover(objects)? else { return Ok(()) };
    let (manifests, files) = (config.durable.manifest_path.to_string(), config.durable.path.to_string());
    Err(OpenError::ManifestsGone { manifests, files, found })
}

impl DurableTier {
    /// Whether the newest manifest is the newest that there ever was, as far as the Delta log tells: it follows each version
    /// that changes files.
    ///
    /// # Errors
    /// `ManifestsBehind`; the objects.
    pub fn refuse_behind_delta_log(&self, config: &StoreConfig) -> Result<(), OpenError> {
        let (shared, snapshot) = (&self.inner.shared, self.pin());
        let newest = snapshot.version();
        let Some(shown) = newest_shown(&*shared.objects, snapshot.store_id())?.filter(|shown| *shown > newest) else {
            return Ok(());
        };
        // its owner may be at work right now
        if manifest::newest_above(&*shared.manifests, newest)?.is_some() {
            return Ok(());
        }
        let (manifests, files) = (config.durable.manifest_path.to_string(), config.durable.path.to_string());
        Err(OpenError::ManifestsBehind { manifests, files, newest, shown })
    }
}

/// Object stores must keep the promise that commits stand on.
pub(super) fn probe_places(shared: &Shared, config: &StoreConfig, entropy: u128) -> Result<(), ObjectError> {
    let places = [(&shared.objects, &config.durable.path), (&shared.manifests, &config.durable.manifest_path)];
    for (objects, location) in places {
        if !objects.stages() {
            let name = hash::keyed_hash(0, 0, &[b"probe", location.to_string().as_bytes(), &entropy.to_le_bytes()]);
            probe(&**objects, &location.to_string(), name)?;
        }
    }
    Ok(())
}

/// All names below the root of a folder. An object store is not listed at every start.
pub(super) fn names_there(objects: &dyn Objects) -> Result<HashSet<String>, ObjectError> {
    let listed = if objects.stages() { objects.list_beside(MANIFEST_FOLDER)? } else { Vec::new() };
    Ok(listed.into_iter().map(|info| info.path).collect())
}

/// Gives files the names that this version means where a crash came between. A file that is not there fails only the reads
/// that need it: it is named in a warning. Gives the replaced files that are there no more, too. On an object store nothing
/// has another name: `verify` finds files that are missing.
pub(super) fn finish_renames(snapshot: &Snapshot, there: &HashSet<String>) -> (Vec<String>, HashSet<String>) {
    let objects = &*snapshot.shared.objects;
    let mut warnings = Vec::new();
    if !objects.stages() {
        return (warnings, HashSet::new());
    }
    let spelled = |path: &str, name: &str| there.contains(&format!("{path}{name}"));
    for file in snapshot.files() {
        let named = match (spelled(&file.path, ".tmp"), spelled(&file.path, ".old")) {
            (false, false) if there.contains(&file.path) => continue,
            _ if there.contains(&file.path) => names::only_own(objects, &file.path),
            (true, _) => names::publish(objects, &file.path),
            (false, true) => names::take_back(objects, &file.path),
            // somebody has removed its own name only
            (false, false) if there.contains(&link(&file.path)) => objects.link(&link(&file.path), &file.path),
            (false, false) => {
                let path = &file.path;
                warnings.push(format!("data file `{path}` is in the manifest but not there: reads that need it fail"));
                continue;
            }
        };
        if let Err(error) = named {
            warnings.push(format!("data file `{}` is not found by its name: {error}", file.path));
        }
    }
    let mut gone = HashSet::new();
    let replaced = snapshot.manifest.replaced.iter().map(|file| file.path.as_str());
    let aside = replaced.map(|path| (path, true)).chain(snapshot.manifest.tombstone_paths().map(|path| (path, false)));
    for (path, may_go) in aside {
        if !there.contains(path) && !spelled(path, ".tmp") {
            // where a link is left, its deletion is not over
            if may_go && !spelled(path, ".old") && !there.contains(&link(path)) {
                gone.insert(path.to_owned());
            }
        } else if let Err(error) = names::set_aside(objects, path) {
            warnings.push(format!("data file `{path}` is live no more and keeps its name: {error}"));
        }
    }
    (warnings, gone)
}

pub(super) fn shared(
    objects: SharedObjects,
    manifests: SharedObjects,
    config: &StoreConfig,
    cache_bytes: usize,
) -> Result<Arc<Shared>, OpenError> {
    let layout = ArcSwap::from_pointee(Layout::new(config)?.with_keys(objects.keys().cloned()));
    Ok(Arc::new(Shared { objects, manifests, layout, cache: FileCache::new(cache_bytes), veil: Arc::default() }))
}

/// The writer of the Delta log; an encrypted store has none.
pub(super) fn delta_log(shared: &Shared, snapshot: &Snapshot, config: &StoreConfig) -> Option<DeltaLog> {
    let clear = !config.security.encrypt_at_rest;
    clear.then(|| DeltaLog::new(Arc::clone(&shared.objects), snapshot, config.envelope.clone()))
}

pub(super) fn check_store(manifest: &Manifest, config: &StoreConfig) -> Result<(), OpenError> {
    if manifest.store_name == config.name {
        return Ok(());
    }
    Err(OpenError::OtherStore { name: config.name.clone(), found: manifest.store_name.clone() })
}

/// Creates the next version under a raised epoch, or the first version of a new store.
fn claim(shared: &Shared, config: &StoreConfig, options: &OpenOptions, upon: &Upon) -> Result<Claimed, OpenError> {
    let manifests = &*shared.manifests;
    let mut known = upon.snapshot().map_or(0, Snapshot::version);
    let may_follow = !matches!(upon, Upon::Judged(_));
    // the version that somebody else was faster with, and what it was to be
    let mut beaten: Option<Manifest> = None;
    for tries in 0..CLAIM_TRIES {
        // right upon it, with no look in between: that would take as long as the owner's next commit
        let passed = beaten.as_ref().map(|ours| ours.version);
        let newest = match passed.filter(|_| may_follow && !tries.is_multiple_of(CLAIMS_BETWEEN_LOOKS)) {
            Some(version) => Some(version),
            // a store that was judged is not asked for what lies before what was judged
            None if known == 0 => manifest::newest_version(manifests)?,
            None => manifest::newest_above(manifests, known)?,
        };
        match (passed, newest) {
            (Some(version), None) => return Err(OpenError::Obstructed { version }),
            (_, Some(_)) if !may_follow => {
                let judged = upon.snapshot().map(Snapshot::version);
                return Err(OpenError::Moved { judged, found: newest });
            }
            _ => known = newest.unwrap_or(known),
        }
        let next = if known == 0 {
            refuse_leftovers(&*shared.objects, config)?;
            birth(config, options)
        } else {
            let earlier = beaten.as_ref().or_else(|| upon.snapshot().map(Snapshot::manifest));
            let (current, crc) = match manifest::read_after(manifests, known, earlier) {
                Err(_) if passed == Some(known) && manifest::newest_above(manifests, known - 1)?.is_none() => {
                    return Err(OpenError::Obstructed { version: known });
                }
                read => read?,
            };
            check_store(&current, config)?;
            upon.allows(&current)?;
            raised(current, crc, config, options)
        };
        match manifest::put(manifests, &next) {
            Ok(Put::Ours(crc)) => return Ok(Claimed::Made(next, crc)),
            // somebody else was faster: claim above them
            Ok(Put::Others) => beaten = Some(next),
            Err(NotCreated::No(ObjectError::DiskFull { .. })) if known > 0 && LateClaim::is_for(shared, config) => {
                let (current, crc) = manifest::read(manifests, known)?;
                return Ok(Claimed::NoRoom(current, crc));
            }
            Err(error) => return Err(error.into_error().into()),
        }
    }
    Err(OpenError::Contended)
}

pub(super) fn raised(current: Manifest, crc: u32, config: &StoreConfig, options: &OpenOptions) -> Manifest {
    Manifest {
        version: current.version + 1,
        previous_crc32c: Some(crc),
        epoch: current.epoch + 1,
        owner: options.writer.clone(),
        job_id: options.entropy,
        // the owner before may have had another clock
        committed_at: options.now.max(current.committed_at),
        logs_open: config.wal.enabled,
        ..current
    }
}

pub(super) fn birth(config: &StoreConfig, options: &OpenOptions) -> Manifest {
    Manifest {
        version: 1,
        previous_crc32c: None,
        store_name: config.name.clone(),
        store_id: hash::keyed_hash(0, 0, &[b"store id", &options.entropy.to_le_bytes()]).to_be_bytes(),
        // nothing that is published, an id of a job or of the store, may tell anything of it
        digest_key: ((options.secret >> 64) as u64, options.secret as u64),
        epoch: 1,
        owner: options.writer.clone(),
        job_id: options.entropy,
        committed_at: options.now,
        file_seq: 1,
        config_text: options.config_text.clone(),
        logs_open: config.wal.enabled,
        logs: BTreeMap::new(),
        groups: BTreeMap::new(),
        replaced: ReplacedFiles::default(),
        tombstones: Tombstones::default(),
        redactions: Redactions::default(),
        buckets: BTreeMap::new(),
    }
}
