//! Cases: what the node's own folder keeps, beside the logs.

use super::cases::{Case, case, line};
use super::prepare::Copy;
use std::path::PathBuf;

/// Files of the node, and of the store in its folder.
pub(super) const NODE: &[Case] = &[
    case("the node's id", |copy| {
        let path = copy.store.path().join("node/node-id");
        copy.write(&path, b"no id");
        line(&["node:", "node-id"])
    }),
    case("a byte of the registered stream types", |copy| {
        let path = kept(copy, "stream-types");
        copy.flip(&path, 30);
        line(&["store test:", "stream-types", "line 2 is damaged"])
    }),
    case("registered stream types of another store", |copy| {
        let body = "Registered\t4";
        let text = format!("strandline stream-types 1\n{:08x}\t{body}\n", crc32c::crc32c(body.as_bytes()));
        copy.write(&kept(copy, "stream-types"), text.as_bytes());
        line(&["store test:", "stream-types", "`Registered` 4 buckets, and the store's manifest 1"])
    }),
    case("a byte of the named subscriptions", |copy| {
        let path = kept(copy, "subscriptions");
        copy.flip(&path, 30);
        line(&["store test:", "subscriptions", "the group at offset 16 is damaged"])
    }),
    case("named subscriptions of an encrypted store", |copy| {
        copy.flip_bits(&kept(copy, "subscriptions"), 4, 3);
        line(&["store test:", "subscriptions", "it is sealed, and the store is not encrypted"])
    }),
    case("a pause that says something else", |copy| {
        std::fs::write(kept(copy, "paused"), b"strandline paused 2\n").unwrap();
        line(&["store test:", "paused", "counts as paused"])
    }),
];

/// A file that the node keeps for the store.
pub(super) fn kept(copy: &Copy, name: &str) -> PathBuf {
    copy.store.path().join("node/stores/test").join(name)
}
