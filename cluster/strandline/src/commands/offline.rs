//! The stores that an offline command looks at: those that the node on this folder would serve.

use super::serve;
use crate::cli::Offline;
use crate::exit::Failure;
use strandline_deql::StoreConfig;

/// The configurations, all or the one that is named.
pub(crate) fn stores(options: &Offline, named: Option<&str>) -> Result<Vec<StoreConfig>, Failure> {
    let data_dir = serve::absolute(&options.data_dir)?;
    let declarations = serve::declarations(options.config.as_deref(), &data_dir)?;
    let known: Vec<StoreConfig> = declarations.stores.into_iter().map(|declared| declared.config).collect();
    let Some(name) = named else { return Ok(known) };
    let names: Vec<&str> = known.iter().map(|config| config.name.as_str()).collect();
    let unknown = Failure::Usage(format!("no store is called {name}; there is {}", names.join(", ")));
    known.iter().find(|config| config.name == name).map(|config| vec![config.clone()]).ok_or(unknown)
}
