//! Options of the commands that write, read and follow events.

use super::OnStore;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `append`: one event, or what the events of stdin have in common.
#[derive(Args, Debug)]
pub(crate) struct Append {
    /// Type of the aggregate
    #[arg(long)]
    pub(crate) stream_type: String,
    /// Instance of the aggregate
    #[arg(long)]
    pub(crate) stream_id: String,
    /// Kind of the one event that the options describe. Without it the events come as NDJSON from stdin, all in one append, and
    /// what the options say of an event holds for each line that does not say it. From the environment, this option does
    /// too; it makes the one event where stdin holds no line
    #[arg(long)]
    pub(crate) event_type: Option<String>,
    /// Payload, JSON
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Metadata, JSON
    #[arg(long)]
    pub(crate) metadata: Option<String>,
    /// Schema version of the event
    #[arg(long, value_parser = crate::value::whole::<u32>(0..=u64::from(u32::MAX)))]
    pub(crate) event_version: Option<u32>,
    /// When it happened, RFC 3339 (without: now, by the server's clock)
    #[arg(long)]
    pub(crate) occurred_at: Option<String>,
    /// Idempotency id of the append
    #[arg(long)]
    pub(crate) command_id: Option<String>,
    /// Correlation id
    #[arg(long)]
    pub(crate) correlation_id: Option<String>,
    /// Causation id
    #[arg(long)]
    pub(crate) causation_id: Option<String>,
    /// Tenant
    #[arg(long)]
    pub(crate) tenant_id: Option<String>,
    /// The event type or the payload stands on the command line: there is one event, and stdin is not read.
    #[arg(skip)]
    pub(crate) is_one_event: bool,
    /// The stream's last seq as you know it (a number, `empty` or `any`); otherwise nothing is stored
    #[arg(long)]
    pub(crate) expected_seq: Option<String>,
    /// Dry run: same checks and answer, nothing stored
    #[arg(long)]
    pub(crate) inspect: bool,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// What `ingest` does with lines that the store refuses.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnError {
    /// Stop there; what came before is stored
    Abort,
    /// Store the others and list the refused ones
    Skip,
}

/// How a command that loads much speaks to the server.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// Batches over the native protocol, at the address that the server of --url names
    Native,
    /// NDJSON over HTTP
    Http,
}

/// Options of `ingest`.
#[derive(Args, Debug)]
pub(crate) struct Ingest {
    /// NDJSON (plain or .zst), Parquet or Arrow IPC; `-`: NDJSON from stdin, kept in a temporary file while it is loaded
    pub(crate) file: PathBuf,
    /// What to do with a line that the store refuses
    #[arg(long, value_enum, default_value = "abort")]
    pub(crate) on_error: OnError,
    /// Begin at this line (from 1): to go on with a file that was mended
    #[arg(long, default_value_t = 1, value_parser = crate::value::whole::<u64>(1..=u64::MAX))]
    pub(crate) from_line: u64,
    /// Seconds to wait for a server that does not answer before giving up
    #[arg(long, default_value_t = 60, value_parser = crate::value::number)]
    pub(crate) patience: u64,
    /// How to speak to the server
    #[arg(long, value_enum, default_value = "native")]
    pub(crate) protocol: Protocol,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// How `read` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadFormat {
    Table,
    Ndjson,
    Json,
}

/// Options of `read`.
#[derive(Args, Debug)]
pub(crate) struct Read {
    /// Type of the aggregate
    #[arg(long)]
    pub(crate) stream_type: String,
    /// Instance of the aggregate
    #[arg(long)]
    pub(crate) stream_id: String,
    /// First seq
    #[arg(long, value_parser = crate::value::number)]
    pub(crate) from_seq: Option<u64>,
    /// Last seq
    #[arg(long, value_parser = crate::value::number)]
    pub(crate) to_seq: Option<u64>,
    /// At most so many events
    #[arg(long, default_value_t = 1000, value_parser = crate::value::whole::<u64>(1..=u64::MAX))]
    pub(crate) limit: u64,
    /// Oldest first, by seq. Without this and --desc the store's read.default_order holds, in each page of 10,000 events
    #[arg(long, conflicts_with = "desc")]
    pub(crate) asc: bool,
    /// Newest first, by seq
    #[arg(long)]
    pub(crate) desc: bool,
    /// As of this version of the manifest, or of the newest one that was committed at or before this moment (RFC 3339): what
    /// was in data files then, and nothing else
    #[arg(long, value_name = "VERSION|TIME", value_parser = crate::value::as_of)]
    pub(crate) as_of: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: ReadFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `subscribe`.
#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    /// Only this stream type
    #[arg(long)]
    pub(crate) stream_type: Option<String>,
    /// Only streams of this id
    #[arg(long)]
    pub(crate) stream_id: Option<String>,
    /// Only this event type
    #[arg(long)]
    pub(crate) event_type: Option<String>,
    /// Only this tenant
    #[arg(long)]
    pub(crate) tenant_id: Option<String>,
    /// Only what happened at this moment or later, RFC 3339
    #[arg(long, value_name = "MOMENT", value_parser = crate::value::moment)]
    pub(crate) occurred_from: Option<String>,
    /// Only what happened before this moment, RFC 3339
    #[arg(long, value_name = "MOMENT", value_parser = crate::value::moment)]
    pub(crate) occurred_to: Option<String>,
    /// Behind this position (an event's `position`, or `end`: only what comes from now on). Without it from the beginning; of a named
    /// subscription that is there already, from where it stands
    #[arg(long, value_name = "POSITION", visible_alias = "from")]
    pub(crate) after: Option<String>,
    /// A named subscription, made with these options if it is not there: the server keeps its position, and what was printed is acknowledged
    #[arg(long, value_name = "NAME")]
    pub(crate) durable: Option<String>,
    /// End after so many events
    #[arg(long, value_parser = crate::value::whole::<u64>(1..=u64::MAX))]
    pub(crate) limit: Option<u64>,
    /// End after so many seconds without an event (0: at the end of what is there)
    #[arg(long, value_name = "SECONDS", value_parser = crate::value::whole::<u64>(0..=3600))]
    pub(crate) idle: Option<u64>,
    /// Seconds to wait for a server that does not answer before giving up
    #[arg(long, default_value_t = 60, value_parser = crate::value::number)]
    pub(crate) patience: u64,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Events in all
    #[arg(long, default_value_t = 1_000_000, value_parser = crate::value::number)]
    pub(crate) events: u64,
    /// Events of one request
    #[arg(long, default_value_t = 1_000, value_parser = crate::value::whole::<u64>(1..=100_000))]
    pub(crate) batch: u64,
    /// Connections that append at the same time
    #[arg(long, default_value_t = 4, value_parser = crate::value::whole::<u64>(1..=1_024))]
    pub(crate) connections: u64,
    /// Streams (subscribers) in all
    #[arg(long, default_value_t = 10_000, value_parser = crate::value::whole::<u64>(1..=u64::MAX))]
    pub(crate) streams: u64,
    /// How to speak to the server
    #[arg(long, value_enum, default_value = "native")]
    pub(crate) protocol: Protocol,
    /// Requests in flight on each connection of the native protocol; single events that wait together go together
    #[arg(long, default_value_t = 1, value_parser = crate::value::whole::<u64>(1..=4_096))]
    pub(crate) callers: u64,
    /// Seed of the generated records
    #[arg(long, default_value_t = 1, value_parser = crate::value::number)]
    pub(crate) seed: u64,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}
