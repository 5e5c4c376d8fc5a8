//! Redis streams: XADD and XRANGE, the append-only file synced before each answer.

use super::{About, Engine, OnDisk, Places, client_crate, version_of};
use crate::server::{Server, bytes_below, find, free_address};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value, cmd, pipe};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;
use strandline_load::client::{Client, Failure};
use strandline_load::records::{Batch, Record, stream_id};
use tempfile::TempDir;

const SETTINGS: &str = "appendonly yes, appendfsync always, save \"\", auto-aof-rewrite-percentage 0; a stream a stream, \
                        XADD with ids of the server (no check of the expected place), batches as one pipeline (not atomic), \
                        reads XRANGE, scan XRANGE of all streams, 8 in a pipeline, 4 pipelines at once";
const SCAN_STREAMS: u32 = 8;

/// Where its program is.
pub(crate) fn program(places: &Places) -> Option<PathBuf> {
    find("redis-server", &places.programs)
}

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    address: SocketAddrV4,
    streams: u32,
    // before its folder
    _server: Server,
    folder: TempDir,
}

impl Redis {
    /// Starts one. `streams`: ids from 0 that a scan reads.
    pub(crate) fn start(places: &Places, streams: u32) -> Result<Self, Failure> {
        let program = program(places).ok_or("redis-server is not there")?;
        let (folder, address) = (places.folder("redis")?, free_address()?);
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--daemonize", "no"]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]).arg(folder.path());
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        let mut server = Server::start(&mut command, folder.path(), "redis")?;
        server.until_it_listens(address)?;
        Ok(Self { address, streams, _server: server, folder })
    }

    /// What it is.
    pub(crate) fn about(places: &Places) -> Result<About, Failure> {
        let version = version_of(&program(places).ok_or("redis-server is not there")?)?;
        let version = version.split(" sha=").next().unwrap_or_default().to_owned();
        Ok(About { version, client: client_crate("redis"), settings: SETTINGS.to_owned() })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Failure> {
        let client = redis::Client::open(format!("redis://{}/", self.address))?;
        // its default gives up after half a second, which a pipeline of a scan may take
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

impl Engine for Redis {
    type Client = RedisClient;

    async fn connect(&self) -> Result<RedisClient, Failure> {
        Ok(RedisClient { connection: self.connection().await?, streams: self.streams })
    }

    async fn connect_shared(&self, clients: u32) -> Result<Option<Vec<RedisClient>>, Failure> {
        let one = self.connect().await?;
        Ok(Some((0..clients).map(|_| one.clone()).collect()))
    }

    async fn on_disk(&self) -> Result<OnDisk, Failure> {
        let folder = bytes_below(self.folder.path(), &|_| true)?;
        Ok(OnDisk { events: folder, folder })
    }
}

/// A connection.
#[derive(Clone)]
pub(crate) struct RedisClient {
    connection: MultiplexedConnection,
    streams: u32,
}

impl Client for RedisClient {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let mut command = cmd("XADD");
        command.arg(record.stream_id).arg("*").arg("d").arg(record.line);
        Ok(command.query_async::<()>(&mut self.connection).await?)
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut pipeline = pipe();
        for record in batch.records() {
            pipeline.cmd("XADD").arg(record.stream_id).arg("*").arg("d").arg(record.line).ignore();
        }
        Ok(pipeline.query_async::<()>(&mut self.connection).await?)
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        let mut command = cmd("XRANGE");
        let found: Value = command.arg(stream_id).arg("-").arg("+").query_async(&mut self.connection).await?;
        entries(&found)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let part = |nth| part_of_scan(self.connection.clone(), self.streams, nth);
        let (a, b, c, d) = tokio::try_join!(part(0), part(1), part(2), part(3))?;
        Ok(a + b + c + d)
    }
}

/// Events of every fourth pipeline's streams: while the client takes what one of them gave, the server works for the others.
async fn part_of_scan(mut connection: MultiplexedConnection, streams: u32, nth: u32) -> Result<u64, Failure> {
    let mut events = 0;
    for first in (nth * SCAN_STREAMS..streams).step_by(4 * SCAN_STREAMS as usize) {
        let mut pipeline = pipe();
        for stream in first..(first + SCAN_STREAMS).min(streams) {
            pipeline.cmd("XRANGE").arg(stream_id(stream)).arg("-").arg("+");
        }
        let found: Vec<Value> = pipeline.query_async(&mut connection).await?;
        for one in &found {
            events += entries(one)?;
        }
    }
    Ok(events)
}

fn entries(value: &Value) -> Result<u64, Failure> {
    match value {
        Value::Array(entries) => Ok(entries.len() as u64),
        other => Err(format!("XRANGE answered {other:?}").into()),
    }
}
