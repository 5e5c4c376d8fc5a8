//! Erasable stream types of a cluster: the meta group says which ones they are, the keys of their subjects lie in one folder that all nodes mount.
//!
//! ```text
//!  serve --subject-keys FOLDER ─> outside of data folders, logs and files; made by the first node, the same one at each
//!  {data folder}/subject-keys.shared    which folder it is, and how far it had come: a start with another or an older one is refused
//! ```
//!
//! | a member starts | the cluster has erasable types | it has none yet |
//! |---|---|---|
//! | with the folder that it had, or its first one | it seals and opens once other members see what it writes there (`replicas/sharing.rs`) | so too |
//! | with another one, or an older copy | refused | refused, if keys were used before |
//! | with a file | refused | refused |
//! | without | refused; if it joins, or learns of them later, it stores and shows nothing of them | they cannot be registered |
//!
//! Invariant: what is erasable is never stored as it came. A node that knows the log of a stream type knows what is erasable of it, since the same
//! command makes both, and owners are given what is sealed only (`StoreHandle::check_sealed`).

use super::{NodeSubjects, refusal, refuse_inside};
use crate::data_dir::at;
use crate::error::NodeError;
use crate::node::{NodeOptions, StartError};
use crate::random;
use crate::store::StoreHandle;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_consensus::control::{Control, MetaMachine};
use strandline_consensus::meta::{Erasable, TypeEntry};
use strandline_deql::Declarations;
use strandline_engine::subjects::{Kinds, SharedPlace, SubjectKeys, look_reached};
use strandline_event::{BatchView, ErrorKind};
use strandline_keys::subject::folder::Bits;
use strandline_keys::subject::may_be_sealed;
use strandline_keys::subject::record::SubjectKind;
use tokio::sync::RwLock;

/// Why a cluster makes no stream type erasable, and erases none, at a node without the folder.
pub(crate) const NO_FOLDER: &str = "this node has no keys for subjects: start every node of the cluster with --subject-keys FOLDER, a folder outside of all data that all of \
     them mount";

/// What the cluster says of stream types, as far as this node has heard.
struct OfCluster(Arc<MetaMachine>);

impl Kinds for OfCluster {
    fn kind_of(&self, store: &str, stream_type: &str) -> Option<SubjectKind> {
        self.0.with(|state| kind_of(state.stores().get(store)?.types.get(stream_type)?))
    }

    fn types_of(&self, store: &str) -> Vec<(String, SubjectKind)> {
        self.0.with(|state| {
            let types = state.stores().get(store).into_iter().flat_map(|entry| &entry.types);
            types.filter_map(|(name, entry)| Some((name.clone(), kind_of(entry)?))).collect()
        })
    }
}

const fn kind_of(entry: &TypeEntry) -> Option<SubjectKind> {
    match entry.erasable {
        Erasable::No => None,
        Erasable::Stream => Some(SubjectKind::Stream),
        Erasable::Tenant => Some(SubjectKind::Tenant),
    }
}

/// As the commands of the meta group say it.
pub(crate) const fn erasable_by(kind: Option<SubjectKind>) -> Erasable {
    match kind {
        None => Erasable::No,
        Some(SubjectKind::Stream) => Erasable::Stream,
        Some(SubjectKind::Tenant) => Erasable::Tenant,
    }
}

/// Where a node's data folder keeps how far the folder of keys had come.
pub(super) fn kept_in(data_folder: &Path) -> PathBuf {
    data_folder.join("subject-keys.shared")
}

pub(crate) fn bits() -> Bits {
    let mut bits = [0; 16];
    random::fill(&mut bits);
    bits
}

/// In a cluster the keys are no file: that would be one process's.
pub(crate) fn refuse_file(options: &NodeOptions) -> Result<(), StartError> {
    match options.subject_keys.as_deref().filter(|path| path.is_file()) {
        None => Ok(()),
        Some(path) => Err(StartError::Refused(vec![format!(
            "--subject-keys {}: it is a file, and the keys of erasable stream types of a cluster lie in a folder that all its nodes mount; name one",
            path.display()
        )])),
    }
}

/// A node without the keys stores and shows nothing of what is erasable. One that was let in in this moment (`joins`) goes on with that: others count on
/// its vote, and it may not have heard of such types before; its next start is refused.
pub(crate) fn refuse_without_keys(control: &Control, options: &NodeOptions, joins: bool) -> Result<(), StartError> {
    let store = control.with_state(|state| {
        let mut stores = state.stores().iter();
        let found = stores.find(|(_, store)| store.types.values().any(|of| kind_of(of).is_some()));
        found.map(|(name, _)| name.clone())
    });
    match store.filter(|_| options.subject_keys.is_none()) {
        None => Ok(()),
        Some(store) if joins => {
            tracing::warn!(
                "store {store} has erasable stream types, of which this node stores and shows nothing: start it again with the folder of \
                 their keys that the other nodes use (--subject-keys FOLDER)"
            );
            Ok(())
        }
        Some(store) => Err(StartError::Refused(vec![format!(
            "store {store} has erasable stream types: name the folder of their keys that the other nodes use (--subject-keys FOLDER)"
        )])),
    }
}

/// Opens the keys of a member. They are used once it is known that others use the same ones.
pub(crate) fn open_member(
    options: &NodeOptions,
    declarations: &Declarations,
    control: &Control,
) -> Result<NodeSubjects, StartError> {
    // the rest of the control plane holds the stores, and these hold the keys
    let kinds = Box::new(OfCluster(control.machine()));
    let (disk, kept) = (&options.disk.0, kept_in(&options.data_dir));
    let slot = look_reached(&**disk, &kept).map_err(at(&kept))?;
    let of = |keys, path: PathBuf| {
        let (keys, gate, disk) = (Arc::new(keys), Arc::new(RwLock::new(())), Arc::clone(disk));
        NodeSubjects { keys, gate, probing: Arc::default(), path, disk, _lock: None }
    };
    let Some(path) = options.subject_keys.as_deref() else {
        return match slot {
            None => Ok(of(SubjectKeys::without_folder(kinds), PathBuf::new())),
            Some(_) => Err(StartError::Refused(vec![
                "this node was served with the keys of subjects: name their folder (--subject-keys), since the cluster has erasable stream types"
                    .to_owned(),
            ])),
        };
    };
    refuse_file(options)?;
    refuse_inside(path, declarations, &options.data_dir)?;
    let (asked, made) = (slot.map(|slot| slot.reached), slot.and_then(|slot| slot.made));
    let place = SharedPlace { path, asked, made, bits };
    let (keys, has_reached) = SubjectKeys::open_shared(&place, kinds)?;
    let fault = match slot {
        Some(slot) if slot.file != keys.id() => "is another folder than the one that this node was served with",
        Some(_) if !has_reached => {
            "is behind the data of this node: it is an older copy, which holds the keys of subjects that were erased since, or lacks keys that events are sealed with"
        }
        _ => "",
    };
    keys.tell_node(&**disk, &kept)?;
    if !fault.is_empty() {
        let path = path.display();
        if !options.accept_lost_subject_keys {
            return Err(StartError::Refused(vec![format!(
                "--subject-keys {path} {fault}; mount the right one. Only if there is none, start each node once with --accept-lost-subject-keys: what \
                 was sealed with keys that are lost is never read again, and who was erased since the copy was made must be erased again"
            )]));
        }
        tracing::warn!("--subject-keys {path} {fault}: keys that are lost were accepted as lost");
        keys.follow()?;
    }
    Ok(of(keys, path.to_owned()))
}

impl StoreHandle {
    /// The last look before an owner: this node may have heard only now that the stream type is erasable. Of one that has a log here it has heard.
    pub(crate) fn check_sealed(&self, batch: BatchView<'_>) -> Result<(), NodeError> {
        if self.parts.replicas.is_none() || self.erasable(batch.stream_type()).is_none() {
            return Ok(());
        }
        let is_sealed = |row| may_be_sealed(batch.data(row)) && batch.metadata(row).is_none_or(may_be_sealed);
        if (0..batch.rows()).all(is_sealed) {
            return Ok(());
        }
        let why = "the stream type was registered as erasable in this moment; nothing was stored: send it again";
        Err(refusal(ErrorKind::Unavailable, why))
    }

    /// Every other member hides now what was erased, also in answers that it had opened before. Gives those that have not said so in time: what they
    /// begin afterwards does not show it either.
    pub async fn hide_erased(&self) -> Vec<u64> {
        match &self.parts.replicas {
            Some(replicas) => replicas.look_everywhere().await,
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
