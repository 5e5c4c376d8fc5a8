//! The meta group's state as a node keeps it beside the log, so that the log may be cut off. Every byte stands in `META.md`, section 4.
//!
//! ```text
//!  a segment of the log is full, and all of it applied -> the state is kept, durable -> whole segments below it go
//!  a start -> what was kept, then the log above it
//!  a pointer of another member -> kept with the members as of then -> the log goes on behind it
//! ```
//!
//! Invariant: what was purged is in what is kept. One that is damaged, or gone while the log has lost its beginning, is refused: such a node must not vote.

use super::machine::MetaMachine;
use crate::fields::{FieldError, Put, Take};
use crate::machine::EntryId;
use crate::meta::{CodecError, MetaState};
use std::io;
use strandline_event::LogIndex;
use strandline_wal::num::LogId;
use strandline_wal::{Last, LeaderId, Membership};

const MAGIC: [u8; 4] = *b"SLMK";
/// The one version there is.
const VERSION: u8 = 1;

/// Where a node keeps its state: one small file.
pub trait Keep: Send + Sync + 'static {
    /// What was kept last; `None`: nothing ever was.
    ///
    /// # Errors
    /// What the disk says.
    fn read(&self) -> io::Result<Option<Vec<u8>>>;

    /// Keeps it in the place of what was kept before; durable on return. A crash leaves one or the other.
    ///
    /// # Errors
    /// What the disk says; what was kept before is still there.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Why the node must not go on with this folder; `None`: it may.
    ///
    /// # Errors
    /// What the disk says.
    fn forsaken(&self) -> io::Result<Option<String>>;

    /// The node must not go on with it, and says why at its next start; durable on return.
    ///
    /// # Errors
    /// What the disk says.
    fn forsake(&self, why: &str) -> io::Result<()>;
}

/// Why what was kept cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read.
    #[error("the kept state of the meta group cannot be read: {0}")]
    Disk(#[from] io::Error),
    /// It is damaged, or of a later program.
    #[error(
        "the kept state of the meta group: {0}. A node without it must not vote: remove its data directory, join again under a new \
         --node-id, and `replace` this node by the new one"
    )]
    Bytes(#[from] CodecError),
    /// It lacks what it had acknowledged, and was told so by the leader that knew.
    #[error(
        "this data directory lacks what the node had acknowledged, because an older copy was put in its place or its disk lost something: {0}. \
         It must not vote: remove it, join again under a new --node-id, and `replace` this node by the new one"
    )]
    Forsaken(String),
}

/// A state with its place in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// The last entry in it.
    pub(super) through: EntryId,
    /// Who belonged to the group then, and what set it, where another member has said so: this node's log may not hold it.
    pub(super) members: Option<(Membership, Last)>,
    /// The state.
    pub(super) state: MetaState,
}

fn put_place(out: &mut Put, leader: LeaderId, index: LogIndex, number: u64) {
    [leader.term, leader.node, index.0, number].into_iter().for_each(|value| out.u64(value));
}

fn take_place(take: &mut Take<'_>) -> Result<Last, FieldError> {
    let leader = LeaderId { term: take.u64()?, node: take.u64()? };
    Ok(Last { id: LogId { leader, index: LogIndex(take.u64()?) }, number: take.u64()? })
}

fn put_block(out: &mut Put, bytes: &[u8]) {
    out.count(bytes.len());
    out.bytes(bytes);
}

fn take_block<'a>(take: &mut Take<'a>) -> Result<&'a [u8], FieldError> {
    let count = take.count(1)?;
    take.bytes(count)
}

impl Kept {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Put::default();
        out.bytes(&MAGIC);
        out.u8(VERSION);
        out.u8(u8::from(self.members.is_some()));
        out.zeros(2);
        put_place(&mut out, self.through.leader, self.through.index, self.through.number);
        if let Some((members, set_by)) = &self.members {
            put_place(&mut out, set_by.id.leader, set_by.id.index, set_by.number);
            put_block(&mut out, &members.encode());
        }
        put_block(&mut out, &self.state.encode());
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.get(..4) != Some(&MAGIC[..]) {
            return Err(CodecError::Magic);
        }
        match bytes.get(4) {
            Some(&VERSION) => {}
            Some(other) => return Err(CodecError::Version(*other, "a kept state")),
            None => return Err(FieldError::Short.into()),
        }
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(FieldError::Short)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(CodecError::Crc);
        }
        let mut take = Take(body.get(5..).ok_or(FieldError::Short)?);
        let has_members = take.flag()?;
        take.zeros(2)?;
        let Last { id, number } = take_place(&mut take)?;
        let through = EntryId { leader: id.leader, number, index: id.index };
        let members = has_members.then(|| take_members(&mut take)).transpose()?;
        let state = MetaState::decode(take_block(&mut take)?)?;
        take.end()?;
        Ok(Self { through, members, state })
    }
}

fn take_members(take: &mut Take<'_>) -> Result<(Membership, Last), FieldError> {
    let set_by = take_place(take)?;
    let members = Membership::decode(take_block(take)?).ok_or(FieldError::Value("members that are none"))?;
    Ok((members, set_by))
}

impl MetaMachine {
    /// Over what was kept, if anything was.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn open(keep: Box<dyn Keep>) -> Result<Self, KeptError> {
        if let Some(why) = keep.forsaken()? {
            return Err(KeptError::Forsaken(why));
        }
        let kept = keep.read()?.map(|bytes| Kept::decode(&bytes)).transpose()?;
        Ok(Self::over(keep, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Addresses, Command, NodeFacts, Roles};
    use std::path::Path;

    fn kept(members: bool) -> Kept {
        let leader = LeaderId { term: 3, node: 2 };
        let addresses = Addresses { cluster: "a:1".into(), http: "a:2".into(), native: String::new() };
        let node = NodeFacts { id: 1, instance: 5, roles: Roles::ALL, addresses };
        let mut state = MetaState::default();
        state.apply(7, &Command::Create { cluster: 7, replication: 3, node }).unwrap();
        let set_by = Last { id: LogId { leader, index: LogIndex(8) }, number: 6 };
        let member = Membership { voters: vec![vec![1, 2]], nodes: vec![(1, "a:1".into()), (2, "b:1".into())] };
        let through = EntryId { leader, number: 9, index: LogIndex(11) };
        Kept { through, members: members.then_some((member, set_by)), state }
    }

    #[test]
    fn kept_states_of_version_1_are_these_bytes_and_nothing_that_was_cut_or_changed_is_one() {
        for (name, members) in [("own", false), ("installed", true)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/kept-v1/{name}.kept"));
            let whole = kept(members).encode();
            if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
                std::fs::write(&path, &whole).unwrap();
            }
            let golden = std::fs::read(&path).unwrap();
            assert_eq!(whole, golden, "{name}: the layout has changed; a new one is a new version");
            assert_eq!(Kept::decode(&golden).unwrap(), kept(members));
            assert!((0..whole.len()).all(|end| Kept::decode(&whole[..end]).is_err()));
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x10;
                assert!(Kept::decode(&flipped).is_err(), "flipped at {at}");
            }
        }
    }
}
