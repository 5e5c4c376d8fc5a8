//! One module a command.

mod append;
mod bench;
mod certs;
mod check;
mod cluster;
mod compact;
mod demo;
mod erase;
mod files;
mod ingest;
mod keys;
mod later;
mod manifest;
mod manual;
mod member;
mod names;
mod offline;
mod read;
mod ready;
mod redact;
mod retention;
mod serve;
mod status;
mod subscribe;
mod subscriptions;
mod token;
mod verify;
mod wal;

use crate::cli::{Cli, Command};
use crate::exit::Failure;
pub(crate) use manual::{Completions, Manual};
pub(crate) use names::field_names;
pub(crate) use ready::Ready;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(options) => serve::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Append(options) => append::run(&options),
        Command::Ingest(options) => ingest::run(&options),
        Command::Read(options) => read::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Ready(options) => ready::run(&options),
        Command::Compact(options) => compact::run(&options),
        Command::Pause(on) => compact::switch(&on, "pause"),
        Command::Resume(on) => compact::switch(&on, "resume"),
        Command::Verify(options) => verify::run(&options),
        Command::Wal(crate::cli::Wal::Dump { file }) => wal::dump(&file),
        Command::Manifest(crate::cli::Manifest::Show(options)) => manifest::show(&options),
        Command::Files(options) => files::run(&options),
        Command::Demo => demo::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Query(_) => {
            later::refuse("query", "SQL over all tiers; DuckDB reads the files: `strandline files --format paths`")
        }
        Command::Subscribe(options) => subscribe::run(&options),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::manual(&options),
        Command::Token(command) => token::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::Certs(crate::cli::Certs::Dev(options)) => certs::dev(&options),
        Command::Cluster(command) => cluster::run(&command),
        Command::Erase(options) => erase::run(&options),
        Command::Redact(options) => redact::run(&options),
        Command::Retention(command) => retention::run(&command),
        Command::Subscriptions(command) => subscriptions::run(&command),
    }
}
