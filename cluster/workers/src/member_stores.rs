//! The stores of a node that is a member of a cluster, and what a node alone must not serve.

use crate::data_dir::DataDir;
use crate::descriptors::{Descriptors, raise_limit};
use crate::node::{NodeOptions, StartError};
use crate::opening::{Made, OpenedNode, open_options, store_error};
use crate::served;
use crate::store_lock::StoreLock;
use crate::subjects::shared::{open_member, refuse_file};
use crate::subjects::unserved_in_cluster;
use std::io;
use strandline_consensus::control::Control;
use strandline_consensus::join::ProofError;
use strandline_deql::{Declarations, Location, StoreConfig};
use strandline_durable::objects::{MarkError, Purpose, Settings, cluster_mark, open_location};
use strandline_durable::{DurableTier, OpenError as DurableError};
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

/// What no node of a cluster is started with.
pub(crate) fn refuse_options(options: &NodeOptions) -> Result<(), StartError> {
    refuse_file(options)
}

/// Whether this node could serve these stores: everything that [`open_members`] refuses is found, and nothing stays open. Asked before the
/// node is a member: others count on one that was let in.
pub(crate) async fn check_members(
    stores: Vec<StoreConfig>,
    options: &NodeOptions,
    folder: &DataDir,
) -> Result<(), StartError> {
    let unserved = unserved_in_cluster(&options.data_dir, stores.iter().map(|store| store.name.as_str()));
    if !unserved.is_empty() {
        return Err(StartError::Refused(unserved));
    }
    served::refuse_bare(&stores, &*options.disk.0, folder.dir())?;
    let mut opened = Vec::new();
    for config in &stores {
        refuse_keys(config)?;
        opened.push((config.name.clone(), open_options(config, options, folder)?));
    }
    let checking = tokio::task::spawn_blocking(move || {
        let _locks = stores.iter().map(StoreLock::to_share).collect::<Result<Vec<_>, _>>()?;
        for (name, open) in opened {
            drop(Store::open_member(&open).map_err(|error| store_error(&name, error))?);
        }
        Ok(())
    });
    checking.await.map_err(io::Error::other)?
}

/// A member was let in where it found the files of its cluster. It bears no store where none are, and serves nobody else's: what is mounted there
/// may be another share by now, or none.
fn refuse_foreign(config: &StoreConfig, cluster: u128) -> Result<(), StartError> {
    let (name, durable) = (&config.name, &config.durable);
    if durable.path.is_memory() {
        return Ok(());
    }
    let fails = |error: DurableError| store_error(name, error.into());
    let open = |location: &Location| {
        open_location(location, Purpose::Read, &Settings::from_env()).map_err(|error| fails(error.into()))
    };
    let files = open(&durable.path)?;
    let line = match cluster_mark(&*files) {
        Ok(Some(there)) if there.cluster == cluster && there.store == *name => return Ok(()),
        Ok(Some(there)) | Err(MarkError::Others(there)) => format!("store {name}: {}", MarkError::Others(there)),
        // files without it were put back so
        Ok(None) if DurableTier::is_there(&*files, &*open(&durable.manifest_path)?, config).map_err(fails)? => {
            return Ok(());
        }
        Ok(None) => ProofError::NotShared { store: name.clone(), location: durable.path.to_string() }.to_string(),
        // who joins is told
        Err(MarkError::Damaged) => return Ok(()),
        Err(MarkError::Object(error)) => return Err(fails(error.into())),
    };
    Err(StartError::Refused(vec![line]))
}

fn refuse_keys(config: &StoreConfig) -> Result<(), StartError> {
    let refused = strandline_deql::serve_refusals(config);
    let lines: Vec<String> =
        refused.into_iter().map(|(key, reason)| format!("store {}: {key}: {reason}", config.name)).collect();
    if lines.is_empty() { Ok(()) } else { Err(StartError::Refused(lines)) }
}

/// Opens the stores of a cluster; their logs are opened where the cluster places them.
pub(crate) fn open_members(
    declarations: &Declarations,
    options: &NodeOptions,
    folder: Option<DataDir>,
    control: &Control,
) -> Result<OpenedNode, StartError> {
    refuse_options(options)?;
    let stores = declarations.stores.iter().map(|declared| declared.config.name.as_str());
    let unserved = unserved_in_cluster(&options.data_dir, stores);
    if !unserved.is_empty() {
        return Err(StartError::Refused(unserved));
    }
    let data_dir = match folder {
        Some(folder) => folder,
        None => DataDir::open(&options.data_dir)?,
    };
    let configs = || declarations.stores.iter().map(|declared| &declared.config);
    // before the locks make the folders in which they lie
    served::refuse_bare(configs(), &*options.disk.0, data_dir.dir())?;
    configs().try_for_each(|config| refuse_foreign(config, control.cluster()))?;
    let locks = configs().map(StoreLock::to_share).collect::<Result<Vec<_>, _>>()?;
    let subjects = Some(open_member(options, declarations, control)?);
    let descriptors = Descriptors::new(options.descriptors_max.unwrap_or_else(raise_limit));
    let mut stores = Vec::new();
    for declared in &declarations.stores {
        let name = &declared.config.name;
        let open = open_options(&declared.config, options, &data_dir)?;
        let store = Store::open_member(&open).map_err(|error| store_error(name, error))?;
        served::keep(&store, &data_dir);
        stores.push(Opened { store, logs: Vec::new(), report: OpenReport::default() });
    }
    Ok(OpenedNode { data_dir, locks, descriptors, stores, subjects, made: Made::default() })
}
