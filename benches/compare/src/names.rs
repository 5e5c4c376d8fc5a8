//! Names of the engines in tables and on the command line.

pub(crate) const REDIS: &str = "Redis";
pub(crate) const POSTGRES: &str = "PostgreSQL";
pub(crate) const NATS: &str = "JetStream";
pub(crate) const UMADB: &str = "UmaDB";
pub(crate) const UMADB_CHECKED: &str = "UmaDB, stream check";
pub(crate) const NATIVE: &str = "Strandline native";
pub(crate) const HTTP: &str = "Strandline HTTP";
pub(crate) const NATIVE_IDS: &str = "Strandline native, command ids";
