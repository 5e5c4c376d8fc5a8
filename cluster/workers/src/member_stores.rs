//! The stores of a node that is a member of a cluster, and what a node alone must not serve.

use crate::data_dir::DataDir;
use crate::descriptors::{Descriptors, raise_limit};
use crate::node::{NodeOptions, OpenedNode, StartError};
use crate::opening::{open_options, store_error};
use crate::store_lock::StoreLock;
use strandline_deql::Declarations;
use strandline_durable::objects::{Purpose, Settings, cluster_mark, open_location};
use strandline_engine::store::{OpenReport, Opened, Store};

/// A store whose files belong to a cluster is served by its members alone. What cannot be looked at is named when it is opened.
pub(crate) fn refuse_clusters(declarations: &Declarations) -> Result<(), StartError> {
    let mut lines = Vec::new();
    for config in declarations.stores.iter().map(|declared| &declared.config).filter(|c| !c.durable.path.is_memory()) {
        let Ok(objects) = open_location(&config.durable.path, Purpose::Read, &Settings::from_env()) else { continue };
        if let Ok(Some(_)) = cluster_mark(&*objects) {
            lines.push(format!(
                "store {}: {} belongs to a cluster: start a member of it (serve --cluster), or give this node another durable.path",
                config.name, config.durable.path
            ));
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(StartError::Refused(lines)) }
}

/// Opens the stores of a cluster; their logs are opened where the cluster places them.
pub(crate) fn open_members(
    declarations: &Declarations,
    options: &NodeOptions,
    folder: Option<DataDir>,
) -> Result<OpenedNode, StartError> {
    if options.subject_keys.is_some() {
        let line = "--subject-keys: erasable stream types are not served in a cluster, whose nodes have no common place for the keys";
        return Err(StartError::Refused(vec![line.to_owned()]));
    }
    let data_dir = match folder {
        Some(folder) => folder,
        None => DataDir::open(&options.data_dir)?,
    };
    let configs = declarations.stores.iter().map(|declared| &declared.config);
    let locks = configs.map(StoreLock::to_share).collect::<Result<Vec<_>, _>>()?;
    let descriptors = Descriptors::new(options.descriptors_max.unwrap_or_else(raise_limit));
    let mut stores = Vec::new();
    for declared in &declarations.stores {
        let name = &declared.config.name;
        let open = open_options(&declared.config, options, &data_dir)?;
        let store = Store::open_member(&open).map_err(|error| store_error(name, error))?;
        stores.push(Opened { store, logs: Vec::new(), report: OpenReport::default() });
    }
    Ok(OpenedNode { data_dir, locks, descriptors, stores, subjects: None })
}
