//! UmaDB: events with their stream as a tag; with or without a condition that the stream has not grown.

use super::{About, Engine, OnDisk, Places, client_crate, version_of};
use crate::server::{Server, bytes_below, find, free_address};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use strandline_load::client::{Client, Failure};
use strandline_load::records::{Batch, EVENT_TYPE, Record};
use tempfile::TempDir;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync, DcbQuery, DcbQueryItem};

const SETTINGS: &str = "defaults; the stream as the one tag of an event; reads by tag, scan reads all";
const CHECKED: &str = "; singles have the condition that their stream has not grown since";
/// Events of a message of an answer.
const READ_BATCH: u32 = 1_000;

/// Where its program is.
pub(crate) fn program(places: &Places) -> Option<PathBuf> {
    find("umadb", &places.programs)
}

/// An UmaDB server.
#[derive(Debug)]
pub(crate) struct UmaDb {
    address: SocketAddrV4,
    checked: bool,
    // before its folder
    _server: Server,
    folder: TempDir,
}

impl UmaDb {
    /// Starts one. `checked`: singles have the condition that their stream has no event after the last one the client knows.
    pub(crate) fn start(places: &Places, checked: bool) -> Result<Self, Failure> {
        let program = program(places).ok_or("umadb is not there")?;
        let (folder, address) = (places.folder("umadb")?, free_address()?);
        let mut command = Command::new(program);
        command.args(["--listen", &address.to_string(), "--db-path"]).arg(folder.path().join("calls.db"));
        let mut server = Server::start(&mut command, folder.path(), "umadb")?;
        server.until_it_listens(address)?;
        Ok(Self { address, checked, _server: server, folder })
    }

    /// What it is.
    pub(crate) fn about(places: &Places, checked: bool) -> Result<About, Failure> {
        let check = if checked { CHECKED } else { "; no condition" };
        let version = version_of(&program(places).ok_or("umadb is not there")?)?;
        Ok(About { version, client: client_crate("umadb-client"), settings: format!("{SETTINGS}{check}") })
    }
}

impl Engine for UmaDb {
    type Client = UmaDbConnection;

    async fn connect(&self) -> Result<UmaDbConnection, Failure> {
        let client = UmaDbClient::new(format!("http://{}", self.address)).batch_size(READ_BATCH);
        let client = Arc::new(client.connect_async().await?);
        Ok(UmaDbConnection { client, last: self.checked.then(HashMap::new) })
    }

    async fn connect_shared(&self, clients: u32) -> Result<Option<Vec<UmaDbConnection>>, Failure> {
        let one = self.connect().await?;
        let again = |_| UmaDbConnection { client: Arc::clone(&one.client), last: one.last.clone() };
        Ok(Some((0..clients).map(again).collect()))
    }

    async fn on_disk(&self) -> Result<OnDisk, Failure> {
        let folder = bytes_below(self.folder.path(), &|_| true)?;
        Ok(OnDisk { events: folder, folder })
    }
}

/// A connection.
pub(crate) struct UmaDbConnection {
    client: Arc<AsyncUmaDbClient>,
    /// Streams and the position of their last event, where appends are checked.
    last: Option<HashMap<u32, u64>>,
}

fn event(record: Record<'_>) -> DcbEvent {
    DcbEvent::new().event_type(EVENT_TYPE).tags([record.stream_id]).data(record.line.as_bytes())
}

fn of_stream(stream_id: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([stream_id]))
}

impl Client for UmaDbConnection {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let Some(last) = &mut self.last else {
            self.client.append(vec![event(record)], None, None).await?;
            return Ok(());
        };
        let mut after = last.get(&record.stream).copied();
        if after.is_none() && record.seq > 1 {
            // written by another client before: where the stream stands is read once
            after = self.client.read_with_head(Some(of_stream(record.stream_id)), None, true, Some(1)).await?.1;
        }
        let condition = DcbAppendCondition::new(of_stream(record.stream_id)).after(after);
        let position = self.client.append(vec![event(record)], Some(condition), None).await?;
        last.insert(record.stream, position);
        Ok(())
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.client.append(batch.records().map(event).collect(), None, None).await?;
        Ok(())
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        Ok(self.client.read_with_head(Some(of_stream(stream_id)), None, false, None).await?.0.len() as u64)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let mut events = self.client.read(None, None, false, None).await?;
        let mut count = 0;
        while let Some(event) = events.next().await {
            event?;
            count += 1;
        }
        Ok(count)
    }
}
