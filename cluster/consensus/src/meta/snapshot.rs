//! The whole state as bytes: what a node that is far behind gets instead of the commands. `META.md`, section 2.

use super::codec::CodecError;
use super::parts::{
    put_facts, put_group, put_nodes, put_remembered, take_erasable, take_facts, take_followers, take_group, take_nodes,
    take_office, take_remembered,
};
use super::state::{ClusterFacts, MetaState};
use super::types::{Followers, GroupId, NodeEntry, NodeId, NodeState, Office, Placement, StoreEntry, TypeEntry};
use crate::fields::{FieldError, Put, Take};
use std::collections::BTreeMap;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"SLMS";
/// What is written. Version 1 does not say who founds a group; both earlier ones name compactors by group, where there never were any.
/// Up to version 3 nothing was paused by the cluster, and nothing remembered of subscriptions. Version 5 says who shall lead groups, and is
/// written only where that is said of one: until then a node whose program does not know it yet reads what the others write. So is version 6,
/// where not all members follow the logs, and version 7, where the fewest do.
const VERSION: u8 = 4;
const VERSION_LED: u8 = 5;
const VERSION_NEEDED: u8 = 6;
const VERSION_FEWEST: u8 = 7;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=VERSION_FEWEST;

impl MetaState {
    /// The state as bytes; equal states have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::default();
        let none = ClusterFacts { id: 0, replication: 0, followers: Followers::All };
        let cluster = self.cluster.as_ref().unwrap_or(&none);
        let is_led = self.groups.values().any(|placement| placement.leads.is_some());
        let version = match cluster.followers {
            Followers::Fewest => VERSION_FEWEST,
            Followers::Needed => VERSION_NEEDED,
            Followers::All if is_led => VERSION_LED,
            Followers::All => VERSION,
        };
        out.bytes(&MAGIC);
        out.u8(version);
        out.zeros(3);
        out.u64(self.applied);
        out.u8(u8::from(self.cluster.is_some()));
        out.u8(cluster.replication);
        // all: what versions that do not know it have here
        out.u8(if version < VERSION_NEEDED { 0 } else { cluster.followers.to_u8() });
        out.zeros(5);
        out.u128(cluster.id);
        out.count(self.nodes.len());
        for entry in self.nodes.values() {
            out.u8(entry.state.to_u8());
            put_facts(&mut out, &entry.facts);
        }
        out.count(self.stores.len());
        for (name, store) in &self.stores {
            put_store(&mut out, name, store, version);
        }
        out.count(self.groups.len());
        for (group, placement) in &self.groups {
            put_group(&mut out, group);
            put_placement(&mut out, placement, version);
        }
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        out.0
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`CodecError`]; what was there before stays true.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.get(..4) != Some(&MAGIC[..]) {
            return Err(CodecError::Magic);
        }
        let version = match bytes.get(4) {
            Some(known) if VERSIONS.contains(known) => *known,
            Some(other) => return Err(CodecError::Version(*other, "a snapshot")),
            None => return Err(FieldError::Short.into()),
        };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(FieldError::Short)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(CodecError::Crc);
        }
        let mut take = Take(body.get(5..).ok_or(FieldError::Short)?);
        take.zeros(3)?;
        let applied = take.u64()?;
        let (there, replication) = (take.flag()?, take.u8()?);
        let followers = followers(&mut take, there, version)?;
        take.zeros(5)?;
        let id = take.u128()?;
        if !there && (replication, id) != (0, 0) {
            return Err(FieldError::NotZero.into());
        }
        let cluster = there.then_some(ClusterFacts { id, replication, followers });
        let (nodes, stores) = (nodes(&mut take)?, stores(&mut take, version)?);
        let state = Self { applied, cluster, nodes, stores, groups: groups(&mut take, version)? };
        take.end()?;
        Ok(state)
    }
}

/// A state has one form only: that all follow says each version before.
fn followers(take: &mut Take<'_>, there: bool, version: u8) -> Result<Followers, FieldError> {
    if version < VERSION_NEEDED {
        take.zeros(1)?;
        return Ok(Followers::All);
    }
    match take_followers(take)? {
        Followers::Needed if there && version == VERSION_NEEDED => Ok(Followers::Needed),
        Followers::Fewest if there && version == VERSION_FEWEST => Ok(Followers::Fewest),
        _ => Err(FieldError::Value("a later version than the state needs")),
    }
}

fn put_store(out: &mut Put, name: &str, store: &StoreEntry, version: u8) {
    out.u64(store.version);
    out.text(name);
    out.text(&store.statement);
    // nodes are numbered from 1
    out.u64(store.compactor.unwrap_or(0));
    out.u64(store.compactor_epoch);
    out.u8(u8::from(store.paused));
    out.u64(store.remembered_turn);
    out.count(store.remembered.len());
    store.remembered.iter().for_each(|(name, value)| put_remembered(out, name, value));
    if version >= VERSION_FEWEST {
        out.u8(store.office.to_u8());
    }
    out.count(store.types.len());
    for (name, entry) in &store.types {
        out.u32(entry.buckets);
        out.u8(entry.erasable.to_u8());
        out.u8(u8::from(entry.registered));
        out.text(name);
    }
}

fn put_placement(out: &mut Put, placement: &Placement, version: u8) {
    out.u64(placement.epoch);
    out.u64(placement.settled_epoch);
    put_nodes(out, &placement.voters);
    put_nodes(out, &placement.learners);
    put_nodes(out, &placement.leaving);
    out.u64(placement.founder.unwrap_or(0));
    if version >= VERSION_LED {
        out.u64(placement.leads.unwrap_or(0));
    }
}

/// Adds an entry behind the ones before it: what is not sorted has another form already.
fn add<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Result<(), FieldError> {
    if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(FieldError::Value("entries that are not sorted"));
    }
    map.insert(key, value);
    Ok(())
}

fn nodes(take: &mut Take<'_>) -> Result<BTreeMap<NodeId, NodeEntry>, FieldError> {
    let mut nodes = BTreeMap::new();
    for _ in 0..take.count(38)? {
        let state =
            NodeState::from_u8(take.u8()?).ok_or(FieldError::Value("a state of a node that is not known here"))?;
        let facts = take_facts(take)?;
        add(&mut nodes, facts.id, NodeEntry { facts, state })?;
    }
    Ok(nodes)
}

fn stores(take: &mut Take<'_>, format: u8) -> Result<BTreeMap<String, StoreEntry>, FieldError> {
    let mut stores = BTreeMap::new();
    for _ in 0..take.count(20)? {
        let (version, name, statement) = (take.u64()?, take.text()?.to_owned(), take.text()?.to_owned());
        let (compactor, compactor_epoch) = if format < 3 { (0, 0) } else { (take.u64()?, take.u64()?) };
        let paused = if format < 4 { false } else { take.flag()? };
        let (remembered_turn, remembered) = if format < 4 { (0, BTreeMap::new()) } else { take_all_remembered(take)? };
        let office = if format < VERSION_FEWEST { Office::Unsaid } else { take_office(take)? };
        let mut types = BTreeMap::new();
        for _ in 0..take.count(10)? {
            let (buckets, erasable, registered) = (take.u32()?, take_erasable(take)?, take.flag()?);
            add(&mut types, take.text()?.to_owned(), TypeEntry { buckets, erasable, registered })?;
        }
        let compactor = Some(compactor).filter(|node| *node != 0);
        let entry = StoreEntry {
            version,
            statement,
            compactor,
            compactor_epoch,
            paused,
            remembered,
            remembered_turn,
            office,
            types,
        };
        add(&mut stores, name, entry)?;
    }
    Ok(stores)
}

/// What is remembered of a store, by its name.
type Remembered = BTreeMap<String, Arc<[u8]>>;

fn take_all_remembered(take: &mut Take<'_>) -> Result<(u64, Remembered), FieldError> {
    let (turn, mut remembered) = (take.u64()?, Remembered::new());
    for _ in 0..take.count(8)? {
        let (name, value) = take_remembered(take)?;
        add(&mut remembered, name, value)?;
    }
    Ok((turn, remembered))
}

fn groups(take: &mut Take<'_>, version: u8) -> Result<BTreeMap<GroupId, Placement>, FieldError> {
    let mut groups = BTreeMap::new();
    for _ in 0..take.count(48)? {
        let group = take_group(take)?;
        let (epoch, settled_epoch) = (take.u64()?, take.u64()?);
        let (voters, learners, leaving) = (take_nodes(take)?, take_nodes(take)?, take_nodes(take)?);
        if version < 3 {
            // the compactor of a group: no node ever had the role alone
            take.u64()?;
            take.u64()?;
        }
        let founder = Some(if version == 1 { 0 } else { take.u64()? }).filter(|node| *node != 0);
        let leads = Some(if version < VERSION_LED { 0 } else { take.u64()? }).filter(|node| *node != 0);
        let placement = Placement { epoch, settled_epoch, voters, learners, leaving, founder, leads };
        add(&mut groups, group, placement)?;
    }
    Ok(groups)
}
