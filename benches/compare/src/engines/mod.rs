//! The stores that are compared, each with its server and its own client.

pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod strandline;
#[cfg(feature = "umadb")]
pub(crate) mod umadb;

use std::path::{Path, PathBuf};
use strandline_load::client::{Client, Failure};

/// A server that runs, and how to reach it.
pub(crate) trait Engine {
    /// Its client.
    type Client: Client + 'static;

    /// A client with a connection of its own.
    async fn connect(&self) -> Result<Self::Client, Failure>;

    /// Some clients on one connection, where the engine's client has such a thing and gains by it.
    async fn connect_shared(&self, clients: u32) -> Result<Option<Vec<Self::Client>>, Failure> {
        let _ = clients;
        Ok(None)
    }

    /// What it has on disk now.
    async fn on_disk(&self) -> Result<OnDisk, Failure>;
}

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnDisk {
    /// Of the events and what finds them.
    pub(crate) events: u64,
    /// Of everything in the server's folder: logs that are kept or reused as well.
    pub(crate) folder: u64,
}

/// Where servers are found and put.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Folders with programs of the peers, looked at before PATH.
    pub(crate) programs: Vec<PathBuf>,
    /// A folder on the disk that is measured.
    pub(crate) data: PathBuf,
    /// Settings of PostgreSQL beside those of its durability.
    pub(crate) postgres: Vec<String>,
}

impl Places {
    /// A new folder for a server.
    pub(crate) fn folder(&self, name: &str) -> Result<tempfile::TempDir, Failure> {
        Ok(tempfile::Builder::new().prefix(&format!("strandline-compare-{name}-")).tempdir_in(&self.data)?)
    }
}

/// Version and settings of an engine, as they stand in the results.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// As the server says.
    pub(crate) version: String,
    /// Its client.
    pub(crate) client: String,
    /// Every setting that is not the default, and what is on by default and matters.
    pub(crate) settings: String,
}

/// A crate and the version that this was built with.
pub(crate) fn client_crate(name: &str) -> String {
    format!("{name} {}", locked(name, include_str!("../../Cargo.lock")).unwrap_or("?"))
}

fn locked<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let entry =
        lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == format!("name = \"{name}\"")))?;
    entry.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

/// The first line of what a program says about its version.
pub(crate) fn version_of(program: &Path) -> Result<String, Failure> {
    let said = crate::server::output(std::process::Command::new(program).arg("--version"))?;
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_knows_the_clients() {
        let lock =
            "[[package]]\nname = \"redis\"\nversion = \"1.8.1\"\n\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        assert_eq!((locked("redis", lock), locked("a", lock), locked("b", lock)), (Some("1.8.1"), Some("2.0.0"), None));
        for name in ["redis", "tokio-postgres", "async-nats", "umadb-client"] {
            assert!(!client_crate(name).ends_with('?'), "{name}");
        }
    }
}
