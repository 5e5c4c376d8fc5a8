//! NATS JetStream: one stream of JetStream, a subject a stream, each message synced before its answer; atomic batches.
//!
//! JetStream is asked by its documented requests (`$JS.API...`, ADR-31 and ADR-50): the client's own layer has no batches yet.

use super::{About, Engine, OnDisk, Places, client_crate, version_of};
use crate::server::{Server, bytes_below, find, free_address};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_load::client::{Client, Failure};
use strandline_load::records::{Batch, Record};
use tempfile::TempDir;

const CREATE: &str = r#"{"name":"calls","subjects":["Call.*"],"retention":"limits","storage":"file","num_replicas":1,"discard":"new",
    "max_msgs":-1,"max_bytes":-1,"max_age":0,"allow_direct":true,"allow_atomic":true}"#;
const SETTINGS: &str = "jetstream sync_interval always; stream storage file, 1 replica, allow_direct, allow_atomic; a subject a stream; \
                        no check of the expected place; batches are atomic batches (Nats-Batch-Id, 1,000 messages); reads and scan \
                        are direct gets of many (batch, next_by_subj)";
/// Below what the client buffers for a subscription.
const SCAN_MESSAGES: u64 = 10_000;
/// One read asks for as many messages of a subject at once.
const READ_MESSAGES: u64 = 1_000;

/// Where its program is.
pub(crate) fn program(places: &Places) -> Option<PathBuf> {
    find("nats-server", &places.programs)
}

/// A NATS server.
#[derive(Debug)]
pub(crate) struct Nats {
    address: SocketAddrV4,
    // before its folder
    _server: Server,
    folder: TempDir,
}

impl Nats {
    /// Starts one with an empty stream.
    pub(crate) async fn start(places: &Places) -> Result<Self, Failure> {
        let program = program(places).ok_or("nats-server is not there")?;
        let (folder, address) = (places.folder("nats")?, free_address()?);
        let config = folder.path().join("nats.conf");
        let store = folder.path().join("store");
        let text = format!(
            "listen: \"{address}\"\njetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n  max_file_store: 200GB\n}}\n",
            store.display()
        );
        std::fs::write(&config, text)?;
        let mut server = Server::start(Command::new(program).arg("-c").arg(&config), folder.path(), "nats")?;
        server.until(|said| said.contains("Server is ready").then_some(()))?;
        let this = Self { address, _server: server, folder };
        let client = this.connect().await?;
        let answer = client.client.request("$JS.API.STREAM.CREATE.calls", CREATE.into()).await?;
        accepted(&answer)?;
        Ok(this)
    }

    /// What it is.
    pub(crate) fn about(places: &Places) -> Result<About, Failure> {
        let version = version_of(&program(places).ok_or("nats-server is not there")?)?;
        Ok(About { version, client: client_crate("async-nats"), settings: SETTINGS.to_owned() })
    }
}

impl Engine for Nats {
    type Client = NatsClient;

    async fn connect(&self) -> Result<NatsClient, Failure> {
        Ok(NatsClient { client: async_nats::connect(self.address.to_string()).await? })
    }

    async fn connect_shared(&self, clients: u32) -> Result<Option<Vec<NatsClient>>, Failure> {
        let one = self.connect().await?;
        Ok(Some((0..clients).map(|_| NatsClient { client: one.client.clone() }).collect()))
    }

    async fn on_disk(&self) -> Result<OnDisk, Failure> {
        let folder = bytes_below(self.folder.path(), &|_| true)?;
        Ok(OnDisk { events: folder, folder })
    }
}

/// A connection.
pub(crate) struct NatsClient {
    client: async_nats::Client,
}

/// Answers of JetStream are small JSON objects; one with an error has it as a field.
fn accepted(answer: &Message) -> Result<(), Failure> {
    let refused = answer.status.is_some() || memchr::memmem::find(&answer.payload, b"\"error\":").is_some();
    if refused || answer.payload.is_empty() {
        let status = answer.status.map(|s| s.to_string()).unwrap_or_default();
        return Err(format!("JetStream answered {status} {}", String::from_utf8_lossy(&answer.payload)).into());
    }
    Ok(())
}

fn subject(record: Record<'_>) -> String {
    format!("Call.{}", record.stream_id)
}

/// Ids of batches are unique to the server for as long as they are open.
static BATCHES: AtomicU64 = AtomicU64::new(0);

impl Client for NatsClient {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let payload = Bytes::copy_from_slice(record.line.as_bytes());
        accepted(&self.client.request(subject(record), payload).await?)
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let id = format!("b{}", BATCHES.fetch_add(1, Ordering::Relaxed));
        for (sequence, record) in (1..).zip(batch.records()) {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", sequence.to_string().as_str());
            let payload = Bytes::copy_from_slice(record.line.as_bytes());
            if sequence < batch.len() {
                self.client.publish_with_headers(subject(record), headers, payload).await?;
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let answer = self.client.request_with_headers(subject(record), headers, payload).await?;
            accepted(&answer)?;
            let count = format!("\"count\":{}", batch.len());
            if memchr::memmem::find(&answer.payload, count.as_bytes()).is_none() {
                return Err(format!("JetStream committed {}", String::from_utf8_lossy(&answer.payload)).into());
            }
        }
        Ok(())
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        Ok(self.get(1, READ_MESSAGES, &format!("Call.{stream_id}")).await?.0)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let (mut events, mut next) = (0, 1);
        loop {
            let (found, last) = self.get(next, SCAN_MESSAGES, ">").await?;
            if found == 0 {
                return Ok(events);
            }
            (events, next) = (events + found, last + 1);
        }
    }
}

impl NatsClient {
    /// Messages of a subject from a sequence on: how many came, and the sequence of the last.
    async fn get(&self, from: u64, count: u64, subject: &str) -> Result<(u64, u64), Failure> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let wanted = format!("{{\"seq\":{from},\"batch\":{count},\"next_by_subj\":\"{subject}\"}}");
        self.client.publish_with_reply("$JS.API.DIRECT.GET.calls", inbox, wanted.into()).await?;
        let (mut found, mut last) = (0, 0);
        while let Some(message) = answers.next().await {
            match message.status.map(|status| status.as_u16()) {
                // 204: the end of what was asked for; 404: there is none
                Some(204 | 404) => return Ok((found, last)),
                Some(status) => return Err(format!("a direct get was answered with {status}").into()),
                None => {}
            }
            found += 1;
            // only the last one's is needed; which that is, nobody knows before the end
            let sequence = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
            last = sequence.and_then(|sequence| sequence.as_str().parse().ok()).unwrap_or(last);
        }
        Err("the connection closed during a direct get".into())
    }
}
