//! What a store is opened with on this node: its disk, its randomness, its keys; how a node alone opens all that are declared; and
//! what a start found there, or did not.

use crate::data_dir::DataDir;
use crate::descriptors::{Descriptors, raise_limit};
use crate::member_stores::refuse_clusters;
use crate::node::{NodeOptions, StartError};
use crate::registry::Registry;
use crate::store_lock::StoreLock;
use crate::subjects::{self, NodeSubjects};
use crate::subscriptions::SubscriptionFile;
use crate::{clock, keys, random, served};
use std::sync::Arc;
use strandline_deql::{Declarations, StoreConfig};
use strandline_engine::store::{Judged, OpenError, OpenOptions, Opened, Store};
use strandline_keys::KeyError;

/// The stores of a node that are open, and what the node holds besides.
pub(crate) struct OpenedNode {
    pub(crate) data_dir: DataDir,
    pub(crate) locks: Vec<StoreLock>,
    pub(crate) descriptors: Descriptors,
    pub(crate) stores: Vec<Opened>,
    pub(crate) subjects: Option<NodeSubjects>,
    pub(crate) made: Made,
}

/// Opens all declared stores of a node alone.
///
/// # Errors
/// [`StartError`]; no store was claimed then, but where one cannot be opened that could be judged.
pub(crate) fn open_all(declarations: &Declarations, options: &NodeOptions) -> Result<OpenedNode, StartError> {
    refuse_clusters(declarations)?;
    let data_dir = DataDir::open(&options.data_dir)?;
    let configs = || declarations.stores.iter().map(|declared| &declared.config);
    // before the locks make the folders in which they lie
    served::refuse_bare(configs(), &*options.disk.0, data_dir.dir())?;
    // a store that another node serves is not even touched: opening it would take it over
    let locks = configs().map(StoreLock::to_serve).collect::<Result<Vec<_>, _>>()?;
    let subjects = subjects::open(options, declarations, &data_dir)?;
    let descriptors = Descriptors::new(options.descriptors_max.unwrap_or_else(raise_limit));
    // all stores are judged before any is claimed: a start that fails fences nobody
    let (mut judged, mut made) = (Vec::new(), Made { folder: data_dir.is_new(), stores: Vec::new() });
    for declared in &declarations.stores {
        let open = open_options(&declared.config, options, &data_dir)?;
        let name = declared.config.name.clone();
        let registry = Registry::open(&data_dir.store_folder(&name), &[])?;
        SubscriptionFile::look(&data_dir.store_folder(&name))?;
        let store = Store::judge(open).map_err(|error| refused(&name, error, &data_dir))?;
        // one in memory has forgotten them, and is told again
        let is_kept = !declared.config.durable.path.is_memory();
        let strange = if is_kept { registry.strange(&name, &store.buckets()) } else { Vec::new() };
        if !strange.is_empty() {
            return Err(StartError::Refused(strange));
        }
        if store.is_new() && is_kept {
            made.stores.push(name.clone());
        }
        judged.push((name, store));
    }
    let logs = judged.iter().map(|(_, store)| store.logs() as u64).sum();
    let (limit, missing) = (descriptors.limit(), descriptors.missing_for(logs));
    if missing > 0 {
        return Err(StartError::Descriptors { logs, limit, missing });
    }
    let open =
        |(name, store): (String, Judged)| store.at(clock::now()).open().map_err(|error| store_error(&name, error));
    let stores = judged.into_iter().map(open).collect::<Result<Vec<Opened>, _>>()?;
    stores.iter().for_each(|opened| served::keep(&opened.store, &data_dir));
    Ok(OpenedNode { data_dir, locks, descriptors, stores, subjects, made })
}

/// The options of a store.
///
/// # Errors
/// Its keys cannot be had; the data folder cannot be looked at.
pub(crate) fn open_options(
    config: &StoreConfig,
    options: &NodeOptions,
    data_dir: &DataDir,
) -> Result<OpenOptions, StartError> {
    let keys = keys::provider(config).map_err(|error| store_error(&config.name, no_keys(error)))?;
    Ok(OpenOptions {
        config: config.clone(),
        disk: Arc::clone(&options.disk.0),
        node: data_dir.node_id(),
        now: clock::now(),
        entropy: random::bits(),
        secret: random::bits(),
        accept_lost_log: options.accept_lost_log,
        grace: options.grace,
        scratch: Some(data_dir.store_folder(&config.name).join("scratch")),
        keys,
        served: served::mark_of(data_dir.dir(), &config.name)?,
    })
}

/// What a start of a node alone made, because there was nothing.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The data folder, or the node in it.
    pub folder: bool,
    /// Stores; those in memory alone are new at each start and not named.
    pub stores: Vec<String>,
}

/// Why a start is refused; first of all that another data folder is the one that served the store, where it is.
pub(crate) fn refused(store: &str, error: OpenError, data_dir: &DataDir) -> StartError {
    let Some(owner) = other_owner(&error) else { return store_error(store, error) };
    let of = match data_dir.is_new() {
        true => "new (it held no node id)".to_owned(),
        false => format!("that of node {:016x}", data_dir.node_id()),
    };
    let (store, dir) = (store.to_owned(), data_dir.dir().to_owned());
    StartError::OtherFolder { store, dir, of, owner, error: Box::new(error) }
}

/// The node that a store's logs belong to, if that is why they are refused.
fn other_owner(error: &OpenError) -> Option<String> {
    match error {
        OpenError::LogsOfAnother { owner, .. } => Some(owner.clone()),
        OpenError::Wal { error, .. } => match &**error {
            strandline_wal::OpenError::Identity { found, wanted, .. } if found.node != wanted.node => {
                Some(format!("{:016x}", found.node))
            }
            _ => None,
        },
        _ => None,
    }
}

/// A store whose keys cannot be had does not open.
pub(crate) fn no_keys(error: KeyError) -> OpenError {
    OpenError::Durable(error.into())
}

pub(crate) fn store_error(name: &str, error: OpenError) -> StartError {
    StartError::Store { store: name.to_owned(), error: Box::new(error) }
}
