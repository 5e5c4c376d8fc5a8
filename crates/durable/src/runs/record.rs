//! What a run holds: fixed-size records, ordered by a 128-bit key that counts as identity.
//!
//! Two different streams of one hash would be one stream to us; with 10^10 keys the chance is below 10^-18 (see `event::hash`).

use crate::manifest::ChunkMark;
use strandline_event::{Micros, Seq, hash};

/// Kinds of runs; the number stands in the trailer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RunKind {
    /// stream -> head.
    Heads,
    /// command -> what it did.
    Commands,
    /// chunk of a resumable ingestion -> that it is stored, and how much of it was refused.
    Chunks,
    /// stream -> seqs that retention removed.
    Retired,
}

impl RunKind {
    /// As stored.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        match self {
            Self::Heads => 1,
            Self::Commands => 2,
            Self::Chunks => 3,
            Self::Retired => 4,
        }
    }

    /// Word in file names.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Commands => "commands",
            Self::Chunks => "chunks",
            Self::Retired => "retired",
        }
    }

    /// The kind of the run of this name.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_suffix(".run")?;
        let word = name.split('-').next()?;
        [Self::Heads, Self::Commands, Self::Chunks, Self::Retired].into_iter().find(|kind| kind.word() == word)
    }

    /// For people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Retired => "retired ranges",
            other => other.word(),
        }
    }
}

/// A record of a run.
pub trait Record: Copy + Send + Sync {
    /// The kind of run that holds it.
    const KIND: RunKind;
    /// Its length in bytes, a multiple of 8.
    const BYTES: usize;
    /// Identity and order (of retired ranges: their order begins with it).
    fn key(&self) -> u128;
    /// Appends exactly `BYTES` bytes; the key comes first, big-endian, so that records sort as bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// From exactly `BYTES` bytes.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// State of a stream as of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadRecord {
    /// `hash::stream_hash` of its id.
    pub stream: u128,
    /// Its last seq.
    pub last_seq: Seq,
    /// Its first seq.
    pub first_seq: Seq,
    /// [`tenant_hash`] of its first event's tenant; 0: none; [`MIXED_TENANTS`]: its events are of several.
    pub owner_tenant: u64,
}

impl Record for HeadRecord {
    const KIND: RunKind = RunKind::Heads;
    const BYTES: usize = 40;

    fn key(&self) -> u128 {
        self.stream
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stream.to_be_bytes());
        for n in [self.last_seq.0, self.first_seq.0, self.owner_tenant] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            stream: u128_at(bytes, 0)?,
            last_seq: Seq(u64_at(bytes, 16)?),
            first_seq: Seq(u64_at(bytes, 24)?),
            owner_tenant: u64_at(bytes, 32)?,
        })
    }
}

/// What a command did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandRecord {
    /// Hash of scope and command id.
    pub key: u128,
    /// Digest of the request.
    pub digest: u128,
    /// Seq of its first event.
    pub first_seq: Seq,
    /// Number of its events.
    pub count: u32,
    /// ingested_at of its first event.
    pub ingested_at: Micros,
    /// `hash::stream_hash` of its stream.
    pub stream: u128,
}

impl Record for CommandRecord {
    const KIND: RunKind = RunKind::Commands;
    const BYTES: usize = 72;

    fn key(&self) -> u128 {
        self.key
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_be_bytes());
        out.extend_from_slice(&self.digest.to_be_bytes());
        out.extend_from_slice(&self.first_seq.0.to_le_bytes());
        out.extend_from_slice(&u64::from(self.count).to_le_bytes());
        out.extend_from_slice(&self.ingested_at.0.to_le_bytes());
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: u128_at(bytes, 0)?,
            digest: u128_at(bytes, 16)?,
            first_seq: Seq(u64_at(bytes, 32)?),
            count: u32::try_from(u64_at(bytes, 40)?).ok()?,
            ingested_at: Micros(u64_at(bytes, 48)?.cast_signed()),
            stream: u128_at(bytes, 56)?,
        })
    }
}

impl Record for ChunkMark {
    const KIND: RunKind = RunKind::Chunks;
    const BYTES: usize = 32;

    fn key(&self) -> u128 {
        u128::from_be_bytes(self.digest)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let digest = u128_at(bytes, 0)?.to_be_bytes();
        Some(Self { digest, number: u64_at(bytes, 16)?, at: Micros(u64_at(bytes, 24)?.cast_signed()) })
    }
}

/// Seqs of a stream that retention removed, both ends included. A stream may have several, which neither touch nor overlap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RetiredRange {
    /// `hash::stream_hash` of its id.
    pub stream: u128,
    /// The first one.
    pub first: Seq,
    /// The last one.
    pub last: Seq,
}

impl Record for RetiredRange {
    const KIND: RunKind = RunKind::Retired;
    const BYTES: usize = 32;

    fn key(&self) -> u128 {
        self.stream
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stream.to_be_bytes());
        for n in [self.first.0, self.last.0] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { stream: u128_at(bytes, 0)?, first: Seq(u64_at(bytes, 16)?), last: Seq(u64_at(bytes, 24)?) })
    }
}

/// In the place of a stream's owner: its events are of several tenants, or of one and of none.
pub const MIXED_TENANTS: u64 = u64::MAX;

/// Hash of a tenant as heads keep it: never 0, which means none, nor [`MIXED_TENANTS`].
#[must_use]
pub fn tenant_hash(tenant: Option<&str>) -> u64 {
    tenant.map_or(0, |t| (hash::bytes_hash(t.as_bytes()) as u64).clamp(1, MIXED_TENANTS - 1))
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.get(at..at + 16)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
