//! What a store is opened with on this node: its disk, its randomness, its keys; and what a start found there, or did not.

use crate::data_dir::DataDir;
use crate::node::{NodeOptions, StartError};
use crate::{clock, keys, random};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_engine::store::{OpenError, OpenOptions};
use strandline_keys::KeyError;

/// The options of a store.
///
/// # Errors
/// Its keys cannot be had.
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
