//! Opens the durable.path of a store by its statement.

use strandline_deql::{Location, parse_file};
use strandline_durable::objects::{Purpose, Settings, SharedObjects, open_location};

/// A store's durable.path.
pub struct OpenedPlace {
    /// For people.
    pub location: String,
    /// As it is, nothing made.
    pub read: SharedObjects,
    /// For who may write; a folder is made if it is not there.
    pub write: Box<dyn FnOnce() -> Result<SharedObjects, String> + Send>,
}

/// Opens places. Blocks.
pub trait Places: Send + Sync + 'static {
    /// The durable.path of the one store that a statement declares.
    ///
    /// # Errors
    /// The statement cannot be read, or the location not be opened.
    fn open(&self, statement: &str) -> Result<OpenedPlace, String>;
}

/// Opens what statements name, with the settings of the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatementPlaces;

impl Places for StatementPlaces {
    fn open(&self, statement: &str) -> Result<OpenedPlace, String> {
        let declared = parse_file("statement of the cluster", statement).map_err(|e| e.render(false))?;
        let store = declared.stores.into_iter().next().ok_or("the cluster's statement declares no store")?;
        let location: Location = store.config.durable.path;
        let read = open_location(&location, Purpose::Read, &Settings::from_env()).map_err(|e| e.to_string())?;
        let text = location.to_string();
        let write = Box::new(move || {
            open_location(&location, Purpose::Own { scratch: None }, &Settings::from_env()).map_err(|e| e.to_string())
        });
        Ok(OpenedPlace { location: text, read, write })
    }
}
