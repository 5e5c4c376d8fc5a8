//! Opens the tier: birth of a store, or the claim of a new epoch by one commit; finishes what a crash left half done.

mod error;

pub use error::OpenError;

use super::claiming::{Claimed, Upon, claim};
use super::in_place::leftover;
use super::late::LateClaim;
use super::member::Claim;
use super::pins::{Gone, Pins};
use super::{Committer, DurableTier, Inner, MANIFEST_FOLDER, Shared, Snapshot, names};
use crate::delta::names::link;
use crate::delta::{DeltaLog, newest_shown};
use crate::keyring::{Provider, sealed_places};
use crate::layout::Layout;
use crate::manifest::{self, Manifest, ManifestError};
use crate::objects::{ObjectError, Objects, Purpose, Settings, SharedObjects, open_location, probe};
use crate::read::FileCache;
use crate::write::StagedFiles;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use strandline_deql::StoreConfig;
use strandline_event::{Micros, hash};
use strandline_keys::KeyError;

/// Decoded footers that are kept, in bytes, where the caller names no bound.
pub const CACHE_BYTES_DEFAULT: usize = 128 << 20;

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

/// Why a handle has no claim.
pub(super) enum Unclaimed {
    /// It only reads.
    ToRead,
    /// It has one when it is its turn.
    Member,
    /// There was no room for it.
    NoRoom(Box<LateClaim>),
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
