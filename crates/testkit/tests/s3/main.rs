//! Object stores for real: moto's S3 server on loopback, and a proxy before it that loses answers and invents them.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../../tests/rigs/mod.rs"]
mod rigs;

mod commits;
mod contract;
mod damage;
mod kms;
mod retention;
mod uploads;

use rigs::{Moto, Proxy};
use std::sync::OnceLock;
use strandline_deql::Location;
use strandline_durable::SharedObjects;
use strandline_durable::objects::{ObjectError, Purpose, Settings, open_location};

/// The server of this process.
fn moto() -> &'static Moto {
    static SERVER: OnceLock<Moto> = OnceLock::new();
    SERVER.get_or_init(Moto::start)
}

fn location(prefix: &str) -> Location {
    Location::S3 { bucket: Moto::BUCKET.to_owned(), prefix: prefix.to_owned() }
}

/// Settings for a client of this address; answers that do not come are waited for shortly.
fn settings(url: &str) -> Settings {
    settings_with(url, &[])
}

fn settings_with(url: &str, more: &[(&str, &str)]) -> Settings {
    let env = Moto::env(url);
    let mut pairs: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    pairs.extend([("AWS_TIMEOUT", "2s"), ("AWS_CONNECT_TIMEOUT", "2s"), ("AWS_MAX_ATTEMPTS", "3")]);
    pairs.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    pairs.extend(more);
    Settings::new(&pairs)
}

/// Objects below a prefix of the test's bucket, through this address.
fn objects(url: &str, prefix: &str) -> SharedObjects {
    open_location(&location(prefix), Purpose::Read, &settings(url)).unwrap()
}

fn through(proxy: &Proxy, prefix: &str) -> SharedObjects {
    objects(&proxy.url(), prefix)
}

/// No text for people ever holds what the test's client authenticates with.
fn check_text(error: &ObjectError) -> String {
    let text = error.to_string();
    for secret in ["the-secret-that-nobody-may-print", "the-session-token"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}
