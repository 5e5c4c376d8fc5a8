//! The program `strandline`: the command line over a node and its HTTP interface.
//!
//! One small module a command; each returns `Result<(), Failure>`, and a [`exit::Failure`] knows its exit code.
//! It holds no rule of the store: client commands speak HTTP as any other program would (those that load much, the native
//! protocol), `serve` hands over to `workers` and `server`, and the offline commands to the crate that owns the format.

mod calls;
mod cli;
mod client;
mod commands;
mod exit;
mod log;
mod native;
mod out;
mod random;
mod span;
mod traces;
mod value;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(cli) => exit::code(commands::run(cli)),
        Err(code) => code,
    }
}
