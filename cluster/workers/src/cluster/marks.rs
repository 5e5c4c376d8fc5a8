//! The mark in a store's files that says whose they are, as a node looks for it before it takes part, and makes it. In which order, and of which
//! stores, who calls decides.

use super::ClusterError;
use strandline_consensus::meta::MetaState;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{
    ClusterMark, MarkError, ObjectError, Purpose, Settings, cluster_mark, mark_for_cluster, open_location,
};
use strandline_durable::{DurableTier, OpenError};

/// A cluster takes no store from anybody; what bears its own mark it has taken already.
pub(super) fn check_free(store: &StoreConfig, has_log: bool, own: Option<&ClusterMark>) -> Result<(), ClusterError> {
    let location = store.durable.path.to_string();
    let place = |error| ClusterError::Place { store: store.name.clone(), location: location.clone(), error };
    let objects = open_location(&store.durable.path, Purpose::Read, &Settings::from_env()).map_err(place)?;
    match cluster_mark(&*objects) {
        Ok(None) => {}
        Ok(Some(there)) if own == Some(&there) => return Ok(()),
        Ok(Some(there)) => {
            return Err(ClusterError::Mark { store: store.name.clone(), error: MarkError::Others(there) });
        }
        Err(error) => return Err(ClusterError::Mark { store: store.name.clone(), error }),
    }
    if has_log {
        return Ok(());
    }
    let hidden = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    match objects.list("") {
        Ok(listed) if listed.iter().all(|object| hidden(&object.path)) => Ok(()),
        Err(ObjectError::NotFound { .. }) => Ok(()),
        Ok(_) => Err(ClusterError::NotEmpty { store: store.name.clone(), location }),
        Err(error) => Err(place(error)),
    }
}

/// All stores that a cluster was made with were marked before it was: one that it does not know and has not marked is a further one.
pub(super) fn check_further(state: &MetaState, cluster: u128, stores: &[StoreConfig]) -> Result<(), ClusterError> {
    let is_made = state.cluster().is_some();
    for store in stores.iter().filter(|store| is_made && !state.stores().contains_key(&store.name)) {
        check_free(store, false, Some(&ClusterMark { cluster, store: store.name.clone() }))?;
    }
    Ok(())
}

/// Whether a store is where it says, manifests and files. Where that cannot be told who marks it says why.
pub(super) fn is_there(store: &StoreConfig) -> bool {
    let open = |location| open_location(location, Purpose::Read, &Settings::from_env());
    let places = open(&store.durable.path).and_then(|files| Ok((files, open(&store.durable.manifest_path)?)));
    !places.is_ok_and(|(files, manifests)| {
        let looked = DurableTier::is_there(&*files, &*manifests, store);
        let is_away = || matches!(DurableTier::refuse_bare(&*files, &*manifests, store), Err(OpenError::FilesAway(_)));
        matches!(looked, Ok(false)) || is_away()
    })
}

/// Makes it. Files that bear that of another are refused.
pub(super) fn mark(store: &StoreConfig, cluster: u128) -> Result<(), ClusterError> {
    let (name, location) = (store.name.clone(), store.durable.path.to_string());
    let opened = open_location(&store.durable.path, Purpose::Own { scratch: None }, &Settings::from_env());
    let objects = opened.map_err(|error| ClusterError::Place { store: name.clone(), location, error })?;
    let mark = ClusterMark { cluster, store: name.clone() };
    mark_for_cluster(&*objects, &mark).map(drop).map_err(|error| ClusterError::Mark { store: name, error })
}
