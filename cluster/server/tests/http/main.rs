//! The HTTP interface against a real node, one module a group of routes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod admin;
mod common;
mod events;
mod full_disk;
mod limits;
mod retention;
mod streams;
