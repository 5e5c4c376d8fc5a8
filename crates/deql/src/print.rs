//! A store back to a statement. Invariant: what is printed parses to an equal configuration.

use crate::config::StoreConfig;
use crate::config::key::{Key, keys};
use crate::declarations::{Statement, parse_file};
use std::fmt::Write as _;

/// The statement with the keys that the store sets, in the order of the reference.
#[must_use]
pub fn print(config: &StoreConfig) -> String {
    let lines = keys().filter(|key| config.is_set(key.name)).filter_map(|key| assignment(config, key));
    statement(config, &lines.collect::<Vec<_>>().join(",\n"))
}

/// The statement with all 84 keys: those that are not set stand as comments, with the value that holds.
#[must_use]
pub fn print_full(config: &StoreConfig) -> String {
    let last_set = keys().filter(|key| config.is_set(key.name)).last().map(|key| key.name);
    let line = |key: &Key| match (assignment(config, key), config.is_set(key.name)) {
        (Some(text), true) if last_set == Some(key.name) => text,
        (Some(text), true) => format!("{text},"),
        (Some(text), false) => format!("    -- {} (default)", text.trim_start()),
        (None, _) => format!("    -- {} (not set)", key.name),
    };
    statement(config, &keys().map(line).collect::<Vec<_>>().join("\n"))
}

/// The stores and stream types of a node as one file: the answer of EXPORT DEREG. A stream type may have any name, a statement only an
/// identifier: the others stand as comments, on one line each, so that the file reads back whatever clients called their types.
#[must_use]
pub fn export(stores: &[&StoreConfig], aggregates: &[&str]) -> String {
    let mut out = stores.iter().map(|config| print(config)).collect::<Vec<_>>().join("\n");
    if !stores.is_empty() && !aggregates.is_empty() {
        out.push('\n');
    }
    for name in aggregates {
        let statement = format!("CREATE AGGREGATE {name};");
        // writing to a String cannot fail
        let _ = match reads_back(&statement, name) {
            true => writeln!(out, "{statement}"),
            false => writeln!(out, "-- the stream type {name:?} has no name that a statement takes"),
        };
    }
    out
}

/// Whether a statement declares this stream type and nothing else.
fn reads_back(statement: &str, name: &str) -> bool {
    parse_file("", statement).is_ok_and(|declared| match declared.statements.as_slice() {
        [Statement::CreateAggregate { name: read }] => read == name,
        _ => false,
    })
}

fn statement(config: &StoreConfig, body: &str) -> String {
    format!("CREATE EVENTSTORE {} WITH (\n{body}\n);\n", config.name)
}

fn assignment(config: &StoreConfig, key: &Key) -> Option<String> {
    key.value(config).map(|value| format!("    {} = {value}", key.name))
}
