//! What this version does not do yet: keys that have no effect so far, and settings that a node refuses to start with.
//!
//! A line goes when its part of the store stands. What stays is no contradiction of the statement: a store that was made so must still be read, so
//! that it can be declared otherwise.

use crate::config::StoreConfig;
use crate::config::choice::KmsProvider;
use crate::location::Location;
use strandline_event::Field;

/// A key, whether it matters in a store, and why it is here.
type Line = (&'static str, fn(&StoreConfig) -> bool, &'static str);

const NOT_ACTIVE: &[Line] = &[];

const NO_S3: &str = "this build serves no s3://: build it with the cargo feature `s3`, or use a local folder";
const NO_GS: &str = "this build serves no gs://: build it with the cargo feature `gs` (cargo install --features gs)";
const NO_AZ: &str = "this build serves no az://: build it with the cargo feature `az` (cargo install --features az)";

fn no_s3(location: &Location) -> bool {
    matches!(location, Location::S3 { .. }) && !cfg!(feature = "s3")
}

fn no_kms(config: &StoreConfig) -> bool {
    let security = &config.security;
    security.encrypt_at_rest && security.kms_provider == Some(KmsProvider::AwsKms) && !cfg!(feature = "s3")
}

fn no_gs(location: &Location) -> bool {
    matches!(location, Location::Gs { .. }) && !cfg!(feature = "gs")
}

fn no_az(location: &Location) -> bool {
    matches!(location, Location::Azure { .. }) && !cfg!(feature = "az")
}

/// A redaction takes a row out of an order that is made of what it said, and its file would name an order that it has not.
fn sorts_by_what_is_redacted(config: &StoreConfig) -> bool {
    let hidden = |field: &Field| matches!(field, Field::Payload | Field::Metadata);
    !config.strict.immutable_events && config.row_group.sort_by.iter().any(hidden)
}

const REFUSED: &[Line] = &[
    (
        "row_group.sort_by",
        sorts_by_what_is_redacted,
        "it names payload or metadata, and strict.immutable_events is false: a redacted event would stand out of its order; sort by other fields",
    ),
    ("durable.path", |c| no_s3(&c.durable.path), NO_S3),
    ("durable.path", |c| no_gs(&c.durable.path), NO_GS),
    ("durable.path", |c| no_az(&c.durable.path), NO_AZ),
    ("durable.commit.manifest_path", |c| no_s3(&c.durable.manifest_path), NO_S3),
    ("durable.commit.manifest_path", |c| no_gs(&c.durable.manifest_path), NO_GS),
    ("durable.commit.manifest_path", |c| no_az(&c.durable.manifest_path), NO_AZ),
    (
        "security.kms.provider",
        no_kms,
        "this build serves no aws_kms: build it with the cargo feature `s3`, or use 'local', a key file",
    ),
];

fn lines(table: &[Line], config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    table.iter().filter(|(_, applies, _)| applies(config)).map(|(key, _, reason)| (*key, *reason)).collect()
}

/// Keys of a store that have no effect in this version, each with the reason. A node starts and lists them.
#[must_use]
pub fn not_active_yet(config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    lines(NOT_ACTIVE, config)
}

/// Keys of a store whose values this version cannot serve, each with the reason. A node refuses to start with them.
#[must_use]
pub fn serve_refusals(config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    lines(REFUSED, config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_keys_are_listed() {
        for (key, ..) in NOT_ACTIVE.iter().chain(REFUSED) {
            assert!(crate::config::key::index_of(key).is_some(), "{key}");
        }
    }
}
