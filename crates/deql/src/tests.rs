//! The statement as a whole: example stores, golden diagnostics, round trips, random bytes.

mod examples;
mod golden;
mod random;
mod semantics;

use crate::{StoreConfig, parse_file};

/// The one store of a text that is right.
fn store(text: &str) -> StoreConfig {
    match parse_file("test.deql", text) {
        Ok(mut declarations) => declarations.stores.remove(0).config,
        Err(errors) => panic!("{errors}"),
    }
}

/// A store with the mandatory keys and these.
fn with(settings: &str) -> StoreConfig {
    store(&format!("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '/data/s', {settings});"))
}

/// The codes and messages of a text that is wrong.
fn mistakes(text: &str) -> Vec<String> {
    let errors = parse_file("test.deql", text).expect_err(text);
    errors.iter().map(|e| format!("{}: {}", e.kind.code(), e.message)).collect()
}
