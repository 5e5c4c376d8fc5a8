//! Strandline: the release program as a user runs it, by one of its protocols.

use super::{About, Engine, OnDisk, Places, version_of};
use crate::server::{Server, bytes_below};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use strandline_load::client::{Client, Failure};
use strandline_load::http::Http;
use strandline_load::native::Native;
use tempfile::TempDir;

/// The store of the node.
pub(crate) const STORE: &str = "bench";

/// A node.
#[derive(Debug)]
pub(crate) struct Strandline {
    program: PathBuf,
    http: String,
    native: String,
    // before its folder
    server: Server,
    folder: TempDir,
}

/// How a node ends before it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It is asked to, and finishes what it does.
    Stop,
    /// By SIGKILL.
    Kill,
}

/// The store's statement; what it does not name has its default.
pub(crate) fn statement(folder: &Path, command_ids: bool) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let scope = if command_ids { ",\n  id.command_id.unique_scope = 'stream'" } else { "" };
    format!(
        "CREATE EVENTSTORE {STORE} WITH (\n  durable.type = 'parquet',\n  durable.path = '{}',\n  \
         partition.by = ('dt', 'stream_type'),\n  inmemory.enabled = true,\n  wal.enabled = true,\n  wal.path = '{}'{scope}\n);\n\
         CREATE AGGREGATE Call;\n",
        path("durable"),
        path("wal"),
    )
}

impl Strandline {
    /// Starts a node with an empty store.
    pub(crate) fn start(program: &Path, places: &Places, command_ids: bool) -> Result<Self, Failure> {
        let folder = places.folder("strandline")?;
        std::fs::write(folder.path().join("bench.deql"), statement(folder.path(), command_ids))?;
        let (server, http, native) = serve(program, folder.path())?;
        Ok(Self { program: program.to_owned(), http, native, server, folder })
    }

    /// Ends the node and starts it again; how long it took to serve.
    pub(crate) fn restart(&mut self, after: Ending) -> Result<Duration, Failure> {
        match after {
            Ending::Stop => self.server.end()?,
            Ending::Kill => self.server.kill()?,
        }
        let began = Instant::now();
        (self.server, self.http, self.native) = serve(&self.program, self.folder.path())?;
        Ok(began.elapsed())
    }

    /// Where HTTP is served.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// Bytes that are written in the log: its files are longer, since they are filled with zeros ahead.
    pub(crate) async fn log_bytes(&self) -> Result<u64, Failure> {
        let mut admin = Http::connect(&self.http, STORE).await?;
        match admin.ask("GET", &format!("/admin/v1/stores/{STORE}/wal")).await? {
            (200, text) => Ok(sum_of("\"bytes\":", &text)),
            (status, text) => Err(format!("the log cannot be looked at: {status} {text}").into()),
        }
    }

    /// Memory of the node's process.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Failure> {
        self.server.memory_bytes()
    }

    /// Bytes of what stands beside the data files below the durable path: manifests, sorted runs, the Delta log.
    pub(crate) fn sidecar_bytes(&self) -> Result<u64, Failure> {
        bytes_below(&self.folder.path().join("durable"), &|path| !is_data(path) && !was_data(path))
    }

    /// Asks for an action of the compaction: `pause`, `resume`, `run`; waits until it is done.
    pub(crate) async fn compaction(http: &str, action: &str) -> Result<(), Failure> {
        let mut admin = Http::connect(http, STORE).await?;
        let path = format!("/admin/v1/stores/{STORE}/compaction/{action}");
        match admin.ask("POST", &path).await? {
            (status, _) if (200..300).contains(&status) => Ok(()),
            (status, text) => Err(format!("compaction {action}: {status} {text}").into()),
        }
    }

    /// What it is.
    pub(crate) fn about(program: &Path, client: &str, command_ids: bool) -> Result<About, Failure> {
        let statement = statement(Path::new("DIR"), command_ids);
        let settings = format!(
            "`{}`; compaction is paused during the batches and run by hand after them; appends carry the seq that they expect",
            statement.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        Ok(About { version: version_of(program)?, client: client.to_owned(), settings })
    }
}

fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

/// A data file under another name: replaced by a merge, it stays for a day for those who read it; the Delta log has a second link to each.
fn was_data(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "old" || extension == "link")
}

fn serve(program: &Path, folder: &Path) -> Result<(Server, String, String), Failure> {
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(folder.join("bench.deql")).arg("--data-dir").arg(folder.join("node"));
    command.args(["--http", "127.0.0.1:0", "--native", "127.0.0.1:0"]);
    let mut server = Server::start(&mut command, folder, "strandline")?;
    let (http, native) = server.until(|said| ready(said, "http").zip(ready(said, "native")))?;
    Ok((server, http, native))
}

/// The sum of the numbers that follow a key in JSON: all that is asked of answers here.
fn sum_of(key: &str, json: &str) -> u64 {
    let number =
        |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u64>().ok());
    json.split(key).skip(1).filter_map(number).sum()
}

/// An address of the line `ready http=... native=...`.
fn ready(said: &str, what: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("ready "))?;
    let address = line.split(' ').find_map(|part| part.strip_prefix(what)?.strip_prefix('='))?;
    Some(address.trim_start_matches("http://").to_owned())
}

/// A way to speak to a node.
pub(crate) trait Protocol {
    /// Its client.
    type Client: Client + 'static;

    /// A client with a connection of its own.
    async fn connect(node: &Strandline) -> Result<Self::Client, Failure>;

    /// Some clients on one connection.
    async fn connect_shared(node: &Strandline, clients: u32) -> Result<Option<Vec<Self::Client>>, Failure> {
        let _ = (node, clients);
        Ok(None)
    }
}

/// HTTP/1.1.
#[derive(Debug)]
pub(crate) struct OverHttp;

impl Protocol for OverHttp {
    type Client = Http;

    async fn connect(node: &Strandline) -> Result<Http, Failure> {
        Http::connect(&node.http, STORE).await
    }
}

/// The native protocol.
#[derive(Debug)]
pub(crate) struct OverNative;

impl Protocol for OverNative {
    type Client = Native;

    async fn connect(node: &Strandline) -> Result<Native, Failure> {
        Native::connect(&node.native, STORE).await
    }

    async fn connect_shared(node: &Strandline, clients: u32) -> Result<Option<Vec<Native>>, Failure> {
        let one = Self::connect(node).await?;
        Ok(Some((0..clients).map(|_| one.clone()).collect()))
    }
}

/// A node as an engine, by one protocol.
pub(crate) struct Over<'a, P>(&'a Strandline, PhantomData<P>);

impl<'a, P: Protocol> Over<'a, P> {
    /// The node by that protocol.
    pub(crate) const fn of(node: &'a Strandline) -> Self {
        Self(node, PhantomData)
    }
}

impl<P: Protocol> Engine for Over<'_, P> {
    type Client = P::Client;

    async fn connect(&self) -> Result<P::Client, Failure> {
        P::connect(self.0).await
    }

    async fn connect_shared(&self, clients: u32) -> Result<Option<Vec<P::Client>>, Failure> {
        P::connect_shared(self.0, clients).await
    }

    async fn on_disk(&self) -> Result<OnDisk, Failure> {
        let folder = self.0.folder.path();
        Ok(OnDisk { events: bytes_below(&folder.join("durable"), &is_data)?, folder: bytes_below(folder, &|_| true)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_segments_are_added() {
        let answer =
            r#"{"logs":[{"segments":[{"bytes":104173568,"name":"a"},{"bytes":20}]},{"segments":[]}],"bytes_max":7}"#;
        assert_eq!(sum_of("\"bytes\":", answer), 104_173_588);
    }

    #[test]
    fn a_data_file_under_another_name_is_neither_data_nor_a_sidecar() {
        let kinds = |name: &str| (is_data(Path::new(name)), was_data(Path::new(name)));
        assert_eq!(kinds("dt=1/part-1-1.parquet"), (true, false));
        assert_eq!(kinds("dt=1/part-1-1.parquet.old"), (false, true));
        assert_eq!(kinds("_delta/part-1-1.parquet.link"), (false, true));
        assert_eq!(kinds("_manifests/heads-1.run"), (false, false));
    }

    #[test]
    fn addresses_are_those_of_the_ready_line() {
        let said = "a note\nready http=127.0.0.1:7070 native=127.0.0.1:7071\n";
        assert_eq!(ready(said, "http").unwrap(), "127.0.0.1:7070");
        assert_eq!(ready(said, "native").unwrap(), "127.0.0.1:7071");
        assert_eq!(ready("read", "http"), None);
    }
}
