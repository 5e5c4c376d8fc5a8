//! PostgreSQL: a table whose primary key is (stream, seq), COPY for batches.

use super::{About, Engine, OnDisk, Places, client_crate, version_of};
use crate::server::{Server, User, as_user, bytes_below, find, free_address, output};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, pin_mut};
use rustix::process::Signal;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use strandline_load::client::{Client, Failure};
use strandline_load::records::{Batch, Record};
use tempfile::TempDir;
use tokio_postgres::{NoTls, Statement};

/// What its durability depends on, as it is by default; the rest has its default too but for what the command line says.
const SERVER: [&str; 5] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "wal_sync_method=fdatasync",
    "unix_socket_directories=",
];
const TABLE: &str =
    "CREATE TABLE events (stream text NOT NULL, seq bigint NOT NULL, record text NOT NULL, PRIMARY KEY (stream, seq))";
const INSERT: &str = "INSERT INTO events (stream, seq, record) VALUES ($1, $2, $3)";
const READ: &str = "SELECT seq, record FROM events WHERE stream = $1 ORDER BY seq";
const COPY_IN: &str = "COPY events (stream, seq, record) FROM STDIN (FORMAT binary)";
const COPY_OUT: &str = "COPY events (stream, seq, record) TO STDOUT";

/// The folder of its programs: what was asked for, PATH, or the newest of Debian's.
fn programs(places: &Places) -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort_by_key(|bin| bin.parent().and_then(|v| v.file_name()?.to_str()?.parse::<u32>().ok()));
    debian.reverse();
    let folders: Vec<PathBuf> = places.programs.iter().cloned().chain(debian).collect();
    find("initdb", &folders)?.parent().map(ToOwned::to_owned)
}

/// Whether it is there.
pub(crate) fn is_there(places: &Places) -> bool {
    programs(places).is_some_and(|bin| bin.join("postgres").is_file())
}

/// A PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Postgres {
    address: SocketAddrV4,
    // before its folder
    _server: Server,
    folder: TempDir,
}

impl Postgres {
    /// Starts one with an empty table.
    pub(crate) async fn start(places: &Places) -> Result<Self, Failure> {
        let bin = programs(places).ok_or("PostgreSQL is not there")?;
        let (folder, address) = (places.folder("postgres")?, free_address()?);
        let user = User::below_root(&["postgres", "nobody"]);
        if let Some(user) = user {
            std::os::unix::fs::chown(folder.path(), Some(user.uid), Some(user.gid))?;
        }
        let data = folder.path().join("data");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"]).arg(&data);
        output(as_user(initdb.current_dir("/"), user))?;
        let mut command = Command::new(bin.join("postgres"));
        command.current_dir("/").arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
        for setting in SERVER.into_iter().chain(places.postgres.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        // INT is its fast shutdown: it does not wait for clients
        let mut server = Server::start(as_user(&mut command, user), folder.path(), "postgres")?.ended_with(Signal::INT);
        server.until(|said| said.contains("ready to accept connections").then_some(()))?;
        let this = Self { address, _server: server, folder };
        this.client().await?.batch_execute(TABLE).await?;
        Ok(this)
    }

    /// What it is.
    pub(crate) fn about(places: &Places) -> Result<About, Failure> {
        let version = version_of(&programs(places).ok_or("PostgreSQL is not there")?.join("postgres"))?;
        let settings = format!(
            "{}{}; {TABLE}; singles INSERT (prepared, its own transaction), batches COPY in binary, reads SELECT by key, \
             scan COPY of the table; bytes of the table with its index after VACUUM",
            SERVER[..4].join(", "),
            places.postgres.iter().map(|setting| format!(", {setting}")).collect::<String>(),
        );
        Ok(About { version, client: client_crate("tokio-postgres"), settings })
    }

    async fn client(&self) -> Result<tokio_postgres::Client, Failure> {
        let mut config = tokio_postgres::Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port()).user("bench").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Engine for Postgres {
    type Client = PostgresClient;

    async fn connect(&self) -> Result<PostgresClient, Failure> {
        let client = self.client().await?;
        let (insert, read) = (client.prepare(INSERT).await?, client.prepare(READ).await?);
        Ok(PostgresClient { client: Arc::new(client), insert, read })
    }

    async fn on_disk(&self) -> Result<OnDisk, Failure> {
        let client = self.client().await?;
        client.batch_execute("VACUUM events").await?;
        client.batch_execute("CHECKPOINT").await?;
        let row = client.query_one("SELECT pg_total_relation_size('events')", &[]).await?;
        let events = u64::try_from(row.try_get::<_, i64>(0)?)?;
        Ok(OnDisk { events, folder: bytes_below(self.folder.path(), &|_| true)? })
    }
}

/// A connection.
pub(crate) struct PostgresClient {
    client: Arc<tokio_postgres::Client>,
    insert: Statement,
    read: Statement,
}

impl Client for PostgresClient {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let seq = record.seq as i64;
        self.client.execute(&self.insert, &[&record.stream_id, &seq, &record.line]).await?;
        Ok(())
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let sink = self.client.copy_in::<_, Bytes>(COPY_IN).await?;
        pin_mut!(sink);
        sink.send(copied(batch)).await?;
        match sink.finish().await? {
            rows if rows == batch.len() as u64 => Ok(()),
            rows => Err(format!("COPY took {rows} rows of {}", batch.len()).into()),
        }
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        Ok(self.client.query(&self.read, &[&stream_id]).await?.len() as u64)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let rows = self.client.copy_out(COPY_OUT).await?;
        pin_mut!(rows);
        let mut events = 0;
        while let Some(bytes) = rows.next().await {
            events += memchr::memchr_iter(b'\n', &bytes?).count() as u64;
        }
        Ok(events)
    }
}

/// A batch in the binary format of COPY.
fn copied(batch: &Batch) -> Bytes {
    let mut out = BytesMut::with_capacity(batch.len() * 320);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_u64(0); // no flags, no extension
    for record in batch.records() {
        out.put_u16(3);
        let seq = record.seq.to_be_bytes();
        for field in [record.stream_id.as_bytes(), &seq, record.line.as_bytes()] {
            out.put_u32(field.len() as u32);
            out.put_slice(field);
        }
    }
    out.put_i16(-1);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_load::heads::Heads;
    use strandline_load::records::Calls;

    #[test]
    fn copied_rows_have_the_documented_form() {
        let mut batch = Batch::default();
        Calls::new(1, 0, 1, &Heads::new(1)).add(&mut batch);
        let (bytes, line) = (copied(&batch), batch.records().next().unwrap().line.len());
        assert_eq!(&bytes[..11], b"PGCOPY\n\xff\r\n\0");
        assert_eq!(&bytes[19..25], [0, 3, 0, 0, 0, 12], "three fields, the first of 12 bytes");
        assert_eq!(&bytes[37..49], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1], "the seq is 1");
        assert_eq!(bytes.len(), 49 + 4 + line + 2);
    }
}
