//! Black-box tests: the real program as a process, asked over HTTP and by its commands, as a user would.
//!
//! They know no crate of the workspace but the Rust client, which `native.rs` asks; what they check is the contract.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod alone;
mod check;
mod cli;
mod cluster;
mod cold;
mod damage;
mod delta;
mod disk_full;
mod docs;
mod encryption;
mod ends;
mod erasure;
mod flights;
mod formats;
mod harness;
mod http;
mod in_memory;
mod ingest;
mod kill9;
mod layout;
mod logs;
mod merges;
mod mounted;
mod names;
mod native;
mod openapi;
mod operate;
mod operators;
mod oracles;
mod python;
mod redaction;
mod retention;
#[path = "../rigs/mod.rs"]
mod rigs;
mod s3;
mod secrets;
mod security;
mod statement;
mod strict;
mod subscribe;
mod synced;
mod terminal;
mod traces;
mod wrong;
