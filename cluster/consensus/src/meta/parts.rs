//! What commands and the snapshot have in common, as bytes: nodes, groups, choices, what is remembered. Every byte stands in `META.md`.
//!
//! It refuses to know the order in which they stand: that is `codec`'s and `snapshot`'s.

use super::types::{Addresses, Erasable, Followers, GroupId, NodeFacts, NodeId, Office, Roles};
use crate::fields::{FieldError, Put, Take};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_event::LogKey;

pub(super) fn put_remembered(out: &mut Put, name: &str, value: &[u8]) {
    out.text(name);
    out.count(value.len());
    out.bytes(value);
}

pub(super) fn take_remembered(take: &mut Take<'_>) -> Result<(String, Arc<[u8]>), FieldError> {
    let name = take.text()?.to_owned();
    let bytes = take.count(1)?;
    Ok((name, Arc::from(take.bytes(bytes)?)))
}

pub(super) fn take_erasable(take: &mut Take<'_>) -> Result<Erasable, FieldError> {
    Erasable::from_u8(take.u8()?).ok_or(FieldError::Value("what may be erased is not known here"))
}

pub(crate) fn put_facts(out: &mut Put, facts: &NodeFacts) {
    out.u64(facts.id);
    out.u128(facts.instance);
    out.u8(facts.roles.to_u8());
    put_addresses(out, &facts.addresses);
}

pub(crate) fn take_facts(take: &mut Take<'_>) -> Result<NodeFacts, FieldError> {
    let (id, instance) = (take.u64()?, take.u128()?);
    Ok(NodeFacts { id, instance, roles: take_roles(take)?, addresses: take_addresses(take)? })
}

pub(super) fn take_roles(take: &mut Take<'_>) -> Result<Roles, FieldError> {
    Roles::from_u8(take.u8()?).ok_or(FieldError::Value("roles that are not known here"))
}

pub(super) fn take_followers(take: &mut Take<'_>) -> Result<Followers, FieldError> {
    Followers::from_u8(take.u8()?).ok_or(FieldError::Value("who follows logs is not known here"))
}

pub(super) fn take_office(take: &mut Take<'_>) -> Result<Office, FieldError> {
    Office::from_u8(take.u8()?).ok_or(FieldError::Value("whether logs are needed is not known here"))
}

pub(super) fn put_addresses(out: &mut Put, addresses: &Addresses) {
    out.text(&addresses.cluster);
    out.text(&addresses.http);
    out.text(&addresses.native);
}

pub(super) fn take_addresses(take: &mut Take<'_>) -> Result<Addresses, FieldError> {
    Ok(Addresses { cluster: take.text()?.into(), http: take.text()?.into(), native: take.text()?.into() })
}

/// The meta group has no store: an empty name stands for it.
pub(crate) fn put_group(out: &mut Put, group: &GroupId) {
    let (store, stream_type, bucket) = match group {
        GroupId::Meta => ("", "", 0),
        GroupId::Log { store, log } => (&**store, &*log.stream_type, log.bucket),
    };
    out.u32(bucket);
    out.text(store);
    out.text(stream_type);
}

pub(crate) fn take_group(take: &mut Take<'_>) -> Result<GroupId, FieldError> {
    let (bucket, store, stream_type) = (take.u32()?, take.text()?, take.text()?);
    match (store.is_empty(), stream_type.is_empty(), bucket) {
        (true, true, 0) => Ok(GroupId::Meta),
        (false, false, _) => {
            Ok(GroupId::Log { store: store.into(), log: LogKey { stream_type: stream_type.into(), bucket } })
        }
        _ => Err(FieldError::Value("a group without a store or a stream type")),
    }
}

pub(super) fn put_nodes(out: &mut Put, nodes: &BTreeSet<NodeId>) {
    out.count(nodes.len());
    nodes.iter().for_each(|node| out.u64(*node));
}

pub(super) fn take_nodes(take: &mut Take<'_>) -> Result<BTreeSet<NodeId>, FieldError> {
    let mut nodes = BTreeSet::new();
    for _ in 0..take.count(8)? {
        let node = take.u64()?;
        if nodes.last().is_some_and(|last| *last >= node) {
            return Err(FieldError::Value("nodes that are not sorted"));
        }
        nodes.insert(node);
    }
    Ok(nodes)
}
