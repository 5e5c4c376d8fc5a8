//! What a store is opened with on this node: its disk, its randomness, its keys.

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

/// A store whose keys cannot be had does not open.
pub(crate) fn no_keys(error: KeyError) -> OpenError {
    OpenError::Durable(error.into())
}

pub(crate) fn store_error(name: &str, error: OpenError) -> StartError {
    StartError::Store { store: name.to_owned(), error: Box::new(error) }
}
