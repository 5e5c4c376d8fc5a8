//! Commands as bytes. Every byte stands in `META.md`, section 1; golden bytes in `tests/meta/`.

use super::command::Command;
use super::parts::{
    put_addresses, put_facts, put_group, put_nodes, put_remembered, take_addresses, take_erasable, take_facts,
    take_followers, take_group, take_nodes, take_remembered, take_roles,
};
use super::types::{Erasable, GroupId, NodeId};
use crate::fields::{FieldError, Put, Take};
use std::sync::Arc;
use strandline_wal::LeaderId;

/// The one version of commands there is.
const VERSION: u8 = 1;

/// Why bytes are no command or no snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// A snapshot begins otherwise.
    #[error("the bytes are no snapshot of the meta group")]
    Magic,
    /// Written by a later program.
    #[error(
        "version {0} of {1} is not known here: this node runs an older program than the one that wrote it; update it"
    )]
    Version(u8, &'static str),
    /// A later program's command.
    #[error(
        "a command of kind {0} is not known here: this node runs an older program than the one that wrote it; update it"
    )]
    Kind(u8),
    /// A snapshot was damaged.
    #[error("the checksum of a snapshot is wrong")]
    Crc,
    /// A field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl Command {
    const fn kind(&self) -> u8 {
        match self {
            Self::Create { .. } => 1,
            Self::DeclareStore { .. } => 2,
            Self::RegisterType { .. } => 3,
            Self::AddNode(_) => 4,
            Self::Admit(_) => 5,
            Self::Readdress { .. } => 6,
            Self::Drain(_) => 7,
            Self::Undrain(_) => 8,
            Self::Remove(_) => 9,
            Self::Replace { .. } => 10,
            Self::Move { .. } => 11,
            Self::Settled { .. } => 12,
            Self::SetReplication(_) => 13,
            Self::SetRoles { .. } => 14,
            Self::Compact { .. } => 15,
            Self::Pause { .. } => 16,
            Self::Remember { .. } => 17,
            Self::Lead { .. } => 18,
            Self::MoveLead { .. } => 19,
            Self::Follow(_) => 20,
            Self::Keep { .. } => 21,
            Self::RegisterWithout { .. } => 22,
            Self::Found { .. } => 23,
        }
    }

    /// As it stands in the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::default();
        out.u8(VERSION);
        out.u8(self.kind());
        out.zeros(2);
        self.put(&mut out);
        out.0
    }

    /// What stands behind the kind.
    fn put(&self, out: &mut Put) {
        match self {
            Self::Create { cluster, replication, node } => {
                out.u128(*cluster);
                out.u8(*replication);
                put_facts(out, node);
            }
            Self::DeclareStore { replaces, name, statement } => {
                out.u64(*replaces);
                out.text(name);
                out.text(statement);
            }
            Self::RegisterType { store, name, buckets, erasable, registered } => {
                put_type(out, (store, name), (*buckets, *erasable, *registered));
            }
            Self::RegisterWithout { store, name, buckets, erasable, registered, away } => {
                put_type(out, (store, name), (*buckets, *erasable, *registered));
                put_nodes(out, away);
            }
            Self::AddNode(facts) => put_facts(out, facts),
            Self::Admit(node) | Self::Drain(node) | Self::Undrain(node) | Self::Remove(node) => out.u64(*node),
            Self::Readdress { node, instance, addresses } => {
                out.u64(*node);
                out.u128(*instance);
                put_addresses(out, addresses);
            }
            Self::Replace { lost, with } => {
                out.u64(*lost);
                out.u64(*with);
            }
            // nodes are numbered from 1
            Self::Lead { group, node } => put_of_group(out, [node.unwrap_or(0)], group),
            Self::Move { group, from, to } | Self::MoveLead { group, from, to } => {
                put_of_group(out, [*from, *to], group);
            }
            Self::Settled { group, epoch, voters } => {
                put_of_group(out, [*epoch], group);
                put_nodes(out, voters);
            }
            Self::SetReplication(replication) => out.u8(*replication),
            Self::SetRoles { node, instance, roles } => {
                out.u64(*node);
                out.u128(*instance);
                out.u8(roles.to_u8());
            }
            Self::Compact { store, node } => {
                out.u64(*node);
                out.text(store);
            }
            Self::Pause { store, paused: said } | Self::Keep { store, keeps: said } => {
                out.u8(u8::from(*said));
                out.text(store);
            }
            Self::Remember { store, owner, turn, entries } => put_remember(out, store, (*owner, *turn), entries),
            Self::Follow(followers) => out.u8(followers.to_u8()),
            Self::Found { group, epoch, node } => put_of_group(out, [*epoch, *node], group),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`CodecError`]: a node that does not understand a command of the log must not go on behind it.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut take = Take(bytes);
        let version = take.u8()?;
        if version != VERSION {
            return Err(CodecError::Version(version, "a command"));
        }
        let kind = take.u8()?;
        take.zeros(2)?;
        let command = Self::take(kind, &mut take)?;
        take.end()?;
        Ok(command)
    }

    /// What stands behind a kind.
    fn take(kind: u8, take: &mut Take<'_>) -> Result<Self, CodecError> {
        Ok(match kind {
            1 => Self::Create { cluster: take.u128()?, replication: take.u8()?, node: take_facts(take)? },
            2 => {
                Self::DeclareStore { replaces: take.u64()?, name: take.text()?.into(), statement: take.text()?.into() }
            }
            3 => {
                let ((store, name), (buckets, erasable, registered)) = take_type(take)?;
                Self::RegisterType { store, name, buckets, erasable, registered }
            }
            4 => Self::AddNode(take_facts(take)?),
            5 => Self::Admit(take.u64()?),
            6 => Self::Readdress { node: take.u64()?, instance: take.u128()?, addresses: take_addresses(take)? },
            7 => Self::Drain(take.u64()?),
            8 => Self::Undrain(take.u64()?),
            9 => Self::Remove(take.u64()?),
            10 => Self::Replace { lost: take.u64()?, with: take.u64()? },
            11 => {
                let (from, to, group) = take_move(take)?;
                Self::Move { group, from, to }
            }
            12 => {
                let epoch = take.u64()?;
                Self::Settled { group: take_group(take)?, epoch, voters: take_nodes(take)? }
            }
            13 => Self::SetReplication(take.u8()?),
            14 => Self::SetRoles { node: take.u64()?, instance: take.u128()?, roles: take_roles(take)? },
            15 => Self::Compact { node: take.u64()?, store: take.text()?.into() },
            16 => Self::Pause { paused: take.flag()?, store: take.text()?.into() },
            17 => take_remember(take)?,
            18 => {
                let node = Some(take.u64()?).filter(|node| *node != 0);
                Self::Lead { group: take_group(take)?, node }
            }
            19 => {
                let (from, to, group) = take_move(take)?;
                Self::MoveLead { group, from, to }
            }
            20 => Self::Follow(take_followers(take)?),
            21 => Self::Keep { keeps: take.flag()?, store: take.text()?.into() },
            22 => {
                let ((store, name), (buckets, erasable, registered)) = take_type(take)?;
                Self::RegisterWithout { store, name, buckets, erasable, registered, away: take_nodes(take)? }
            }
            23 => {
                let (epoch, node, group) = take_move(take)?;
                Self::Found { group, epoch, node }
            }
            _ => return Err(CodecError::Kind(kind)),
        })
    }
}

/// What is said of a stream type: its parts, what may be erased of it, and whether somebody registered it.
type Said = (u32, Erasable, bool);

fn put_type(out: &mut Put, (store, name): (&str, &str), (buckets, erasable, registered): Said) {
    out.u32(buckets);
    out.u8(erasable.to_u8());
    out.u8(u8::from(registered));
    out.text(store);
    out.text(name);
}

fn take_type(take: &mut Take<'_>) -> Result<((String, String), Said), FieldError> {
    let said = (take.u32()?, take_erasable(take)?, take.flag()?);
    Ok(((take.text()?.into(), take.text()?.into()), said))
}

/// Numbers, and the group that they are of.
fn put_of_group<const N: usize>(out: &mut Put, numbers: [u64; N], group: &GroupId) {
    numbers.into_iter().for_each(|number| out.u64(number));
    put_group(out, group);
}

/// Two numbers and the group that they are of.
fn take_move(take: &mut Take<'_>) -> Result<(NodeId, NodeId, GroupId), FieldError> {
    Ok((take.u64()?, take.u64()?, take_group(take)?))
}

fn put_remember(out: &mut Put, store: &str, (owner, turn): (LeaderId, u64), entries: &[(String, Arc<[u8]>)]) {
    [owner.term, owner.node, turn].into_iter().for_each(|value| out.u64(value));
    out.text(store);
    out.count(entries.len());
    entries.iter().for_each(|(name, value)| put_remembered(out, name, value));
}

fn take_remember(take: &mut Take<'_>) -> Result<Command, FieldError> {
    let owner = LeaderId { term: take.u64()?, node: take.u64()? };
    let (turn, store) = (take.u64()?, take.text()?.to_owned());
    let entries = (0..take.count(8)?).map(|_| take_remembered(take)).collect::<Result<_, _>>()?;
    Ok(Command::Remember { store, owner, turn, entries })
}
