//! The claim of a store: one commit of the next version under a raised epoch, or of the first version of a new store.
//!
//! It refuses to touch anything but manifests: what else a start has to do is `open`'s. Invariant: a claim stands right upon a version that was read
//! or judged, so nothing of an owner in between is passed over.

use super::late::LateClaim;
use super::open::{OpenError, OpenOptions, check_store, refuse_leftovers};
use super::{Shared, Snapshot};
use crate::manifest::{self, Manifest, Put, Redactions, ReplacedFiles, Tombstones};
use crate::objects::{NotCreated, ObjectError};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_event::hash;

/// An owner that commits all the time is overtaken when one of its commits takes longer than a read and a create; it is rare that none of
/// so many does.
const CLAIM_TRIES: u32 = 256;
/// Tries after which the end of the versions is looked for again, in case the owner is quicker by a whole version and more.
const CLAIMS_BETWEEN_LOOKS: u32 = 4;

/// What came of a claim.
pub(super) enum Claimed {
    /// It is this version; the CRC32C of its file.
    Made(Manifest, u32),
    /// There is no room for it, and the store is read for now: the version upon which it is to be made.
    NoRoom(Manifest, u32),
}

/// Upon which version an owner begins.
pub(super) enum Upon {
    /// Whatever is the newest.
    Newest,
    /// This one (none: a new store), and no other.
    Judged(Option<Arc<Snapshot>>),
    /// This one, or what its owner has committed since under the same declaration.
    Since(Arc<Snapshot>),
}

impl Upon {
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
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

/// Creates the next version under a raised epoch, or the first version of a new store.
pub(super) fn claim(
    shared: &Shared,
    config: &StoreConfig,
    options: &OpenOptions,
    upon: &Upon,
) -> Result<Claimed, OpenError> {
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
