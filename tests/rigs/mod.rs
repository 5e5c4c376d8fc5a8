//! Rigs for tests against a real S3 server: the server, and a proxy in front of it that does what networks do.
//!
//! They know no crate of the workspace; the tests of crates and the black-box tests include them by path. Each test process
//! starts a server of its own; it ends when the process does, however that happens.

// who includes them uses a part of them
#![allow(dead_code)]

mod moto;
mod proxy;

pub(crate) use moto::Moto;
pub(crate) use proxy::{Act, Proxy};
