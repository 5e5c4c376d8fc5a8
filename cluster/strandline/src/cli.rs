//! The command line: commands and options, and for every option the environment variable `STRANDLINE_<OPTION>`.

mod cluster;
mod events;
mod operate;
mod token;
mod told;

pub(crate) use cluster::{Cluster, OfLog};
pub(crate) use events::{Append, Bench, Ingest, OnError, Protocol, Read, ReadFormat, Subscribe};
pub(crate) use operate::{
    Redact, Retention, RetentionRestore, RetentionRun, Subscriptions, SubscriptionsDelete, SubscriptionsList,
    SubscriptionsReplay, SubscriptionsShow,
};
pub(crate) use token::{Token, TokenList, TokenNew, TokenRevoke, TokenRole};
pub(crate) use told::{LogFormat, ServeTold};

use crate::commands::{Completions, Manual, Ready};
use crate::exit::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgGroup, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use strandline_consensus::meta::Roles;

/// An event store over three tiers: memory, log, Parquet.
#[derive(Parser, Debug)]
#[command(name = "strandline", version, subcommand_required = true, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the help and each manual page end with.
pub(crate) const AFTER: &str = "Every option also reads STRANDLINE_<OPTION> from the environment (a flag: 1, yes, true or 0, no, false).\n\
    Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 the server cannot be reached or failed.";

/// The commands of the program.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a node
    Serve(Serve),
    /// Parse and validate a file of statements; print every key's effective value
    Check(Check),
    /// Append one event, or NDJSON from stdin, to a stream
    Append(Append),
    /// Bulk load NDJSON (also .zst), Parquet or Arrow IPC; resumes after a break without duplicates
    Ingest(Ingest),
    /// Read a stream
    Read(Read),
    /// Tiers, sizes, lag and compaction as tables
    Status(Status),
    /// Whether a node takes requests: for health checks, needs neither token nor authority
    Ready(Ready),
    /// Compact now, and wait for the end
    Compact(Compact),
    /// Stop compaction by schedule and size until `resume`
    Pause(OnStore),
    /// Let compaction go on
    Resume(OnStore),
    /// Check log, manifests and files of a store that is not running
    Verify(Verify),
    /// Look into files of the log
    #[command(subcommand)]
    Wal(Wal),
    /// Look at the manifest
    #[command(subcommand)]
    Manifest(Manifest),
    /// List the live Parquet files
    Files(Files),
    /// The main job in a temporary folder, start to end, explained as it runs
    Demo,
    /// Load with generated call-detail records; prints rate and latencies
    Bench(Bench),
    /// SQL over all tiers (not served yet)
    Query(Later),
    /// Follow the store: one JSON line an event, history first, then live
    Subscribe(Subscribe),
    /// A shell's completions for this program
    Completions(Completions),
    /// Manual pages of this program
    Man(Manual),
    /// Tokens of a token file
    #[command(subcommand)]
    Token(Token),
    /// Key files of encrypted stores, rotation, and keys of data files for other engines
    #[command(subcommand)]
    Keys(Keys),
    /// Certificates
    #[command(subcommand)]
    Certs(Certs),
    /// Change a cluster: move logs, choose who leads them, drain, remove and replace nodes
    #[command(subcommand)]
    Cluster(Cluster),
    /// Erase a subject of an erasable stream type: its keys are destroyed; prints the receipt
    Erase(Erase),
    /// Take away what one event says: a marker stands in its place from then on
    Redact(Redact),
    /// Take out data files that are too old, or bring them back
    #[command(subcommand)]
    Retention(Retention),
    /// Named subscriptions: list and show them, replay what they have parked, delete them
    #[command(subcommand)]
    Subscriptions(Subscriptions),
}

/// Where the server is; of every client command.
#[derive(Args, Debug, Clone)]
pub(crate) struct OnStore {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:7070")]
    pub(crate) url: String,
    /// Name of the store (may be left out where the server has only one)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Bearer token (better from the environment: STRANDLINE_TOKEN)
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// The authorities that a server's certificate is trusted by (PEM), for an https:// address
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// File of CREATE EVENTSTORE statements (without: one store `local_dev` with all three tiers under the data folder)
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// The node's own folder: node id, lock, registered types; a relative path counts from the current folder
    #[arg(long, default_value = "strandline-data")]
    pub(crate) data_dir: PathBuf,
    /// Address of the HTTP interface (port 0: any free one, named in the `ready` line)
    #[arg(long, default_value = "127.0.0.1:7070", value_parser = crate::value::address)]
    pub(crate) http: SocketAddr,
    /// Address of the native protocol (without: 127.0.0.1:7071, or any free port where --http asks for any)
    #[arg(long, value_parser = crate::value::address)]
    pub(crate) native: Option<SocketAddr>,
    /// An address of their own for the admin routes
    #[arg(long, value_parser = crate::value::address)]
    pub(crate) admin: Option<SocketAddr>,
    /// Go on where a log, or its end, is gone: its positions are skipped for ever. A log that is damaged is not given up by this
    #[arg(long)]
    pub(crate) accept_lost_log: bool,
    /// How long files stay that a merge has replaced, and files that a crash left behind (`90s`, `30m`, `24h`, `7d`)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::span::parse)]
    pub(crate) grace_files: Duration,
    /// How long files that retention took out can be brought back (`90s`, `30m`, `24h`, `7d`)
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = crate::span::parse)]
    pub(crate) grace_tombstone: Duration,
    /// The part of the time that a thread of compaction may work, in percent (it pauses for the rest; its priority is always
    /// lower than that of ingestion)
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = crate::value::whole::<u8>(1..=100))]
    pub(crate) compaction_share: u8,
    /// Time in which sync projections must have confirmed an append (`5s`, `1m`)
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::span::parse)]
    pub(crate) projection_timeout: Duration,
    /// File of the keys of subjects, outside of data folder, logs and files: for stream types that are erasable. In a cluster a folder that all nodes
    /// mount
    #[arg(long, value_name = "FILE")]
    pub(crate) subject_keys: Option<PathBuf>,
    /// Go on where keys of subjects are lost (for one start): what they sealed is never read again
    #[arg(long, requires = "subject_keys")]
    pub(crate) accept_lost_subject_keys: bool,
    /// File of tokens (`strandline token new`), for its owner alone: who shows none of them is refused, and addresses that are not
    /// loopback ones may be served. Read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Options of a cluster.
    #[command(flatten)]
    pub(crate) cluster: ServeCluster,
    /// The node's certificate.
    #[command(flatten)]
    pub(crate) tls: ServeTls,
    /// Its log, and traces.
    #[command(flatten)]
    pub(crate) told: ServeTold,
}

/// Options of `serve` for TLS. The files are read again when they change, and at SIGHUP.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ServeTls {
    /// The node's certificate, and behind it those that lead to its authority (PEM); with it every listener speaks TLS only
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM), for its owner alone
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// On a cluster: the authorities of the other nodes' certificates (PEM); nodes show theirs to each other
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Options of `erase`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("subject").required(true).args(["stream_id", "tenant_id"])))]
pub(crate) struct Erase {
    /// The stream whose data is erased
    #[arg(long)]
    pub(crate) stream_id: Option<String>,
    /// The tenant whose data is erased, of stream types that are erasable by tenant
    #[arg(long)]
    pub(crate) tenant_id: Option<String>,
    /// Of this stream type only (without: of all that are erasable so)
    #[arg(long)]
    pub(crate) stream_type: Option<String>,
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `serve` on a cluster.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ServeCluster {
    /// The node's id, a number from 1 that no other node has or had (an existing data directory has its own)
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = crate::value::node_id)]
    pub(crate) node_id: Option<u64>,
    /// Where other nodes reach this one; a first node makes the cluster
    #[arg(long, value_name = "ADDR", hide_short_help = true, value_parser = crate::value::address)]
    pub(crate) cluster: Option<SocketAddr>,
    /// Where the node listens for other nodes, if --cluster (where they reach it) is the address of something in between
    #[arg(long, value_name = "ADDR", hide_short_help = true, value_parser = crate::value::address)]
    pub(crate) cluster_listen: Option<SocketAddr>,
    /// Join the cluster of the node at this address (with an existing data directory: look for the others there first)
    #[arg(long, value_name = "ADDR", hide_short_help = true, value_parser = crate::value::member)]
    pub(crate) join: Option<String>,
    /// Voters of every log; the node that makes the cluster says it
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = crate::value::whole::<u8>(1..=7))]
    pub(crate) replication: Option<u8>,
    /// Answer with the leader's address (over HTTP: 503) instead of sending on what another node leads
    #[arg(long, hide_short_help = true)]
    pub(crate) no_forward: bool,
    /// What the node does: one or more of ingest,compact,read [default: what it did before; a new one: all three]
    #[arg(long, value_name = "ROLES", hide_short_help = true, value_parser = Roles::parse)]
    pub(crate) roles: Option<Roles>,
}

/// How commands print that know a table and JSON.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckFormat {
    Table,
    Json,
}

/// Options of `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The file of statements (`-`: stdin)
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
}

/// Options of `status`.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Refresh every two seconds until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// Show every row of every table, not only the first 20
    #[arg(long)]
    pub(crate) all: bool,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `compact`.
#[derive(Args, Debug)]
pub(crate) struct Compact {
    /// Only this stream type
    #[arg(long)]
    pub(crate) stream_type: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Commands on certificates.
#[derive(Subcommand, Debug)]
pub(crate) enum Certs {
    /// Make an authority and certificates for development: of a server, and of the nodes of a cluster
    Dev(CertsDev),
}

/// Options of `certs dev`.
#[derive(Args, Debug)]
pub(crate) struct CertsDev {
    /// The folder to make them in; what is there already is kept, and refused
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_parser = crate::value::whole::<u64>(0..=100))]
    pub(crate) nodes: u64,
    /// Further names or addresses of the servers, with commas between them (localhost, 127.0.0.1 and ::1 are always there)
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', value_parser = crate::value::host)]
    pub(crate) hosts: Vec<String>,
}

/// Which store an offline command looks at.
#[derive(Args, Debug)]
pub(crate) struct Offline {
    /// The folder of the node
    #[arg(long, default_value = "strandline-data")]
    pub(crate) data_dir: PathBuf,
    /// The file of statements that the node runs with (without: the store `local_dev`)
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

/// Options of `verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Which stores.
    #[command(flatten)]
    pub(crate) offline: Offline,
    /// Only this store
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// The file of the keys of subjects that the node runs with, in a cluster the folder: what is wrong with it is told, and which events are
    /// sealed with other keys
    #[arg(long, value_name = "FILE")]
    pub(crate) subject_keys: Option<PathBuf>,
    /// How to print: one line a finding, or one JSON object
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
}

/// Commands on files of the log.
#[derive(Subcommand, Debug)]
pub(crate) enum Wal {
    /// Print the frames of a segment file
    Dump {
        /// The segment file
        file: PathBuf,
    },
}

/// Commands on the manifest.
#[derive(Subcommand, Debug)]
pub(crate) enum Manifest {
    /// The current manifest and its history: of a running node, or with --data-dir or --config from the disk
    Show(ManifestShow),
}

/// What `keys` does.
#[derive(Subcommand, Debug)]
pub(crate) enum Keys {
    /// Make a key file, with one key in it
    Init {
        /// The file; it must not exist
        #[arg(long)]
        file: PathBuf,
    },
    /// Add a version to a key file, and wrap the keys of stores again under the newest version
    Rotate(KeysRotate),
    /// Print the key of an encrypted Parquet file (64 hex digits), for engines that read such files
    Unwrap(KeysUnwrap),
}

/// Options of `keys rotate`.
#[derive(Args, Debug)]
pub(crate) struct KeysRotate {
    /// The key file that gets a new version (not for keys of a service, which rotates them itself)
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// The file of statements: the keys of its encrypted stores are wrapped again
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

/// Options of `keys unwrap`.
#[derive(Args, Debug)]
pub(crate) struct KeysUnwrap {
    /// The Parquet file, wherever it is now on this machine (of one on an object store a copy)
    pub(crate) file: PathBuf,
    /// The file of statements
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// The store it comes from; needed where it is live no more
    #[arg(long)]
    pub(crate) store: Option<String>,
}

/// Versions that `manifest show` lists where nobody says how many; as many as a node does.
pub(crate) const VERSIONS_DEFAULT: usize = 100;

/// Options of `manifest show`.
#[derive(Args, Debug)]
pub(crate) struct ManifestShow {
    /// Look at the disk: the folder of the node
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Look at the disk: the file of statements
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Versions before this one; without it from the newest on
    #[arg(long, value_name = "VERSION", value_parser = crate::value::number)]
    pub(crate) before: Option<u64>,
    /// At most so many versions
    #[arg(long, default_value_t = VERSIONS_DEFAULT, value_parser = crate::value::whole::<usize>(1..=1000))]
    pub(crate) limit: usize,
    /// How to print: everything as JSON, or versions and logs as tables
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// How `files` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FilesFormat {
    Table,
    Json,
    Paths,
}

/// Options of `files`.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: FilesFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// A command that is not served yet: takes any arguments, so that the refusal is what one sees.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) rest: Vec<String>,
}

/// The command line with everything that it takes.
pub(crate) fn command() -> clap::Command {
    with_env(Cli::command())
}

/// Parses the arguments; help, version and usage errors are printed and give their exit code.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    command().try_get_matches().and_then(|m| from_matches(&m)).map_err(|error| {
        let asked = !error.use_stderr();
        if asked {
            return crate::exit::code(crate::out::bytes(error.render().to_string().as_bytes()));
        }
        crate::out::note(error.render().to_string().trim_end());
        if let Some(tip) = tip(&error) {
            crate::out::note(&format!("\n  tip: {tip}"));
        }
        crate::exit::code(Err(Failure::Usage(String::new())))
    })
}

/// What other programs call by this name, or take without one.
fn tip(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    match given.as_str() {
        _ if error.kind() != ErrorKind::UnknownArgument => None,
        "--port" | "--listen" | "--bind" => Some("`serve --http 127.0.0.1:8080` says where the node listens"),
        "--host" => Some("`--url http://HOST:PORT` names the node that is asked"),
        file if file.ends_with(".deql") => Some("`serve` and `verify` take the file of statements as --config FILE"),
        _ => None,
    }
}

fn from_matches(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    if let (Command::Append(append), Some((_, given))) = (&mut cli.command, matches.subcommand()) {
        let typed = |option| given.value_source(option) == Some(ValueSource::CommandLine);
        append.is_one_event = typed("event_type") || (typed("data") && append.event_type.is_some());
    }
    Ok(cli)
}

/// Gives every long option its environment variable, in which a flag is a word.
fn with_env(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some(long) if !matches!(long, "help" | "version") => {
            let name = format!("STRANDLINE_{}", long.to_uppercase().replace('-', "_"));
            let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = arg.env(name).hide_env_values(true);
            // `--limit -1` is a wrong number, and no option that is not known
            if is_flag { arg.value_parser(flag) } else { arg.allow_negative_numbers(true) }
        }
        _ => arg,
    });
    command.mut_subcommands(with_env)
}

/// A flag from the environment.
fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" => Ok(true),
        "0" | "no" | "false" | "" => Ok(false),
        _ => Err("1, yes and true set it, 0, no and false (or nothing) do not".to_owned()),
    }
}

#[cfg(test)]
mod contract;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(command: &clap::Command, found: &mut Vec<(String, Option<String>)>) {
        for arg in command.get_arguments() {
            if let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) {
                found.push((long.to_owned(), arg.get_env().map(|e| e.to_string_lossy().into_owned())));
            }
        }
        command.get_subcommands().for_each(|c| options(c, found));
    }

    #[test]
    fn every_option_reads_its_environment_variable() {
        let command = command();
        command.clone().debug_assert();
        let mut found = Vec::new();
        options(&command, &mut found);
        assert!(found.len() > 40, "{found:?}");
        for (long, env) in found {
            assert_eq!(env.unwrap(), format!("STRANDLINE_{}", long.to_uppercase().replace('-', "_")));
        }
    }

    #[test]
    fn a_flag_of_the_environment_is_a_word() {
        for (words, set) in [(["1", "yes", "TRUE"], true), (["0", "No", ""], false)] {
            assert!(words.into_iter().all(|word| flag(word) == Ok(set)));
        }
        assert!(flag("maybe").is_err());
    }

    #[test]
    fn an_event_on_the_command_line_is_the_one_event() {
        let is_one_event = |more: &[&str]| {
            let line = ["strandline", "append", "--stream-type", "T", "--stream-id", "S"].iter().chain(more);
            let cli = from_matches(&Cli::command().try_get_matches_from(line).unwrap()).unwrap();
            matches!(cli.command, Command::Append(Append { is_one_event: true, .. }))
        };
        assert!(is_one_event(&["--event-type", "E"]) && !is_one_event(&[]));
        assert!(!is_one_event(&["--tenant-id", "t"]) && !is_one_event(&["--data", "1"]));
    }

    #[test]
    fn commands_that_are_not_served_take_anything() {
        for line in ["query SELECT 1", "keys init --file F"] {
            let line = std::iter::once("strandline").chain(line.split(' '));
            Cli::command().try_get_matches_from(line).unwrap();
        }
    }
}
