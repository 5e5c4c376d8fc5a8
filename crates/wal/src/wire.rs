//! Little-endian cursors over byte slices: the payloads of State, Vote and Membership frames.
//!
//! A reader that runs out of bytes answers `None`; it never panics.

use crate::num::{LeaderId, LogId, NUMBER_MAX, Vote};
use strandline_event::LogIndex;

/// Reads fields from the front of a slice.
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is counted on from.
    pub(crate) fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number <= NUMBER_MAX)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        String::from_utf8(self.bytes(usize::from(len))?.to_vec()).ok()
    }

    pub(crate) fn leader(&mut self) -> Option<LeaderId> {
        Some(LeaderId { term: self.number()?, node: self.u64()? })
    }

    pub(crate) fn vote(&mut self) -> Option<Vote> {
        Some(Vote { leader: self.leader()?, committed: self.flag()? })
    }

    pub(crate) fn log_id(&mut self) -> Option<LogId> {
        Some(LogId { leader: self.leader()?, index: LogIndex(self.number()?) })
    }

    pub(crate) fn maybe_log_id(&mut self) -> Option<Option<LogId>> {
        let there = self.flag()?;
        let id = self.log_id()?;
        Some(there.then_some(id))
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    // names are limited to 200 bytes long before they come here; a longer one is cut rather than wrapped
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

pub(crate) fn put_leader(out: &mut Vec<u8>, leader: LeaderId) {
    out.extend_from_slice(&leader.term.to_le_bytes());
    out.extend_from_slice(&leader.node.to_le_bytes());
}

pub(crate) fn put_vote(out: &mut Vec<u8>, vote: Vote) {
    put_leader(out, vote.leader);
    out.push(u8::from(vote.committed));
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    put_leader(out, id.leader);
    out.extend_from_slice(&id.index.0.to_le_bytes());
}

pub(crate) fn put_maybe_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(u8::from(id.is_some()));
    put_log_id(out, id.unwrap_or_default());
}
