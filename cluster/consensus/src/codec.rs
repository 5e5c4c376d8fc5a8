//! Bytes of a group's requests and answers (`FORMAT.md`). Encoders and decoders stand side by side; payloads are slices of the body they
//! came in.
//!
//! It refuses what it does not know, and never trusts a length.

use crate::convert;
use crate::machine::{EntryId, Payload, Pointer};
use crate::transport::Member;
use crate::types::{Content, Entry, Proposal, Types};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{LogId, SnapshotMeta, StoredMembership, Vote};
use strandline_event::bytes::AlignedBytes;
use strandline_event::{LogIndex, Micros, SharedBytes};
use strandline_wal::LeaderId;

const VERSION: u16 = 1;
const ALIGN: usize = 16;

/// Why bytes are no request or answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub &'static str);

const ENDS: CodecError = CodecError("it ends too early");
const UNKNOWN: CodecError = CodecError("it has a version that this program does not know");
const WRONG: CodecError = CodecError("a field has an impossible value");

type Result<T> = std::result::Result<T, CodecError>;

#[derive(Default)]
struct Put(AlignedBytes);

impl Put {
    fn new() -> Self {
        let mut put = Self::default();
        put.bytes(&VERSION.to_le_bytes());
        put
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u32(&mut self, value: usize) {
        self.bytes(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn vote(&mut self, vote: &Vote<u64>) {
        self.u64(vote.leader_id.term);
        self.u64(vote.leader_id.node_id);
        self.u8(u8::from(vote.committed));
    }

    fn maybe_id(&mut self, id: Option<&LogId<u64>>) {
        self.u8(u8::from(id.is_some()));
        let id = id.copied().unwrap_or_default();
        self.u64(id.leader_id.term);
        self.u64(id.leader_id.node_id);
        self.u64(id.index);
    }

    fn membership(&mut self, membership: &openraft::Membership<u64, Member>) {
        let bytes = convert::membership_to_log(membership).encode();
        self.u32(bytes.len());
        self.bytes(&bytes);
    }

    fn align(&mut self) {
        let more = self.0.len().next_multiple_of(ALIGN) - self.0.len();
        self.bytes(&[0; ALIGN][..more]);
    }

    fn entry(&mut self, entry: &Entry) {
        self.u64(entry.log_id.index);
        self.u64(entry.log_id.leader_id.term);
        self.u64(entry.log_id.leader_id.node_id);
        let (kind, count) = match &entry.content {
            Content::Blank => (0, 0),
            Content::Membership(_) => (1, 0),
            Content::Payloads(proposal) => (2, proposal.payloads.len()),
        };
        self.bytes(&[kind, 0, 0, 0]);
        self.u32(count);
        match &entry.content {
            Content::Blank => {}
            Content::Membership(membership) => {
                self.membership(membership);
                self.align();
            }
            Content::Payloads(proposal) => proposal.payloads.iter().for_each(|payload| self.payload(payload)),
        }
    }

    fn payload(&mut self, payload: &Payload) {
        self.bytes(&payload.schema.to_le_bytes());
        self.bytes(&[0; 2]);
        self.bytes(&payload.count.to_le_bytes());
        self.bytes(&payload.time.0.to_le_bytes());
        self.u32(payload.len());
        self.bytes(&[0; 12]);
        payload.parts.iter().for_each(|part| self.bytes(part));
        self.align();
    }

    fn done(self) -> SharedBytes {
        SharedBytes::from_aligned(self.0)
    }
}

struct Take<'a> {
    body: &'a SharedBytes,
    at: usize,
}

impl<'a> Take<'a> {
    fn new(body: &'a SharedBytes) -> Result<Self> {
        let mut take = Self { body, at: 0 };
        if u16::from_le_bytes(take.array()?) == VERSION { Ok(take) } else { Err(UNKNOWN) }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or(ENDS)?;
        let bytes = self.body.get(self.at..end).ok_or(ENDS)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| ENDS)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WRONG),
        }
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn len(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).map_err(|_| WRONG)
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn vote(&mut self) -> Result<Vote<u64>> {
        let (term, node) = (self.u64()?, self.u64()?);
        Ok(if self.flag()? { Vote::new_committed(term, node) } else { Vote::new(term, node) })
    }

    fn id(&mut self) -> Result<LogId<u64>> {
        let leader = LeaderId { term: self.u64()?, node: self.u64()? };
        Ok(convert::raft_id(leader, self.u64()?))
    }

    fn maybe_id(&mut self) -> Result<Option<LogId<u64>>> {
        let there = self.flag()?;
        let id = self.id()?;
        Ok(there.then_some(id))
    }

    fn membership(&mut self) -> Result<openraft::Membership<u64, Member>> {
        let len = self.len()?;
        let membership = strandline_wal::Membership::decode(self.bytes(len)?).ok_or(WRONG)?;
        Ok(convert::membership_from_log(&membership))
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(ALIGN);
    }

    fn entry(&mut self) -> Result<Entry> {
        let number = self.u64()?;
        let leader = LeaderId { term: self.u64()?, node: self.u64()? };
        let kind = self.array::<4>()?[0];
        let count = self.len()?;
        let content = match kind {
            0 => Content::Blank,
            1 => {
                let membership = self.membership()?;
                self.align();
                Content::Membership(membership)
            }
            2 if count > 0 => {
                // a count says nothing before the bytes are there
                let mut payloads = Vec::new();
                for _ in 0..count {
                    payloads.push(self.payload()?);
                }
                Content::Payloads(Proposal { leader, number, payloads: payloads.into() })
            }
            _ => return Err(WRONG),
        };
        Ok(Entry { log_id: convert::raft_id(leader, number), index: LogIndex::ZERO, content })
    }

    fn payload(&mut self) -> Result<Payload> {
        let schema = u16::from_le_bytes(self.array()?);
        self.bytes(2)?;
        let count = self.u32()?;
        let time = Micros(self.u64()?.cast_signed());
        let len = self.len()?;
        self.bytes(12)?;
        let from = self.at;
        self.bytes(len)?;
        let bytes = self.body.slice(from..from + len).ok_or(ENDS)?;
        self.align();
        Ok(Payload { count, ..Payload::new(schema, time, bytes) })
    }
}

/// Entries, or a heartbeat.
pub fn append_request(request: &AppendEntriesRequest<Types>) -> SharedBytes {
    let mut put = Put::new();
    put.bytes(&[0; 2]);
    put.u32(request.entries.len());
    put.vote(&request.vote);
    put.maybe_id(request.prev_log_id.as_ref());
    put.maybe_id(request.leader_commit.as_ref());
    put.align();
    request.entries.iter().for_each(|entry| put.entry(entry));
    put.done()
}

/// Reads [`append_request`].
pub fn append_request_of(body: &SharedBytes) -> Result<AppendEntriesRequest<Types>> {
    let mut take = Take::new(body)?;
    take.bytes(2)?;
    let count = take.len()?;
    let (vote, prev_log_id, leader_commit) = (take.vote()?, take.maybe_id()?, take.maybe_id()?);
    take.align();
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(take.entry()?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

/// The answer to entries.
pub fn append_answer(answer: &AppendEntriesResponse<u64>) -> SharedBytes {
    let mut put = Put::new();
    match answer {
        AppendEntriesResponse::Success => put.u8(0),
        AppendEntriesResponse::PartialSuccess(through) => {
            put.u8(1);
            put.maybe_id(through.as_ref());
        }
        AppendEntriesResponse::HigherVote(vote) => {
            put.u8(2);
            put.vote(vote);
        }
        AppendEntriesResponse::Conflict => put.u8(3),
    }
    put.done()
}

/// Reads [`append_answer`].
pub fn append_answer_of(body: &SharedBytes) -> Result<AppendEntriesResponse<u64>> {
    let mut take = Take::new(body)?;
    Ok(match take.u8()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(take.maybe_id()?),
        2 => AppendEntriesResponse::HigherVote(take.vote()?),
        3 => AppendEntriesResponse::Conflict,
        _ => return Err(WRONG),
    })
}

/// A vote that is asked for.
pub fn vote_request(request: &VoteRequest<u64>) -> SharedBytes {
    let mut put = Put::new();
    put.vote(&request.vote);
    put.maybe_id(request.last_log_id.as_ref());
    put.done()
}

/// Reads [`vote_request`].
pub fn vote_request_of(body: &SharedBytes) -> Result<VoteRequest<u64>> {
    let mut take = Take::new(body)?;
    Ok(VoteRequest { vote: take.vote()?, last_log_id: take.maybe_id()? })
}

/// The answer to a vote.
pub fn vote_answer(answer: &VoteResponse<u64>) -> SharedBytes {
    let mut put = Put::new();
    put.u8(u8::from(answer.vote_granted));
    put.vote(&answer.vote);
    put.maybe_id(answer.last_log_id.as_ref());
    put.done()
}

/// Reads [`vote_answer`].
pub fn vote_answer_of(body: &SharedBytes) -> Result<VoteResponse<u64>> {
    let mut take = Take::new(body)?;
    let vote_granted = take.flag()?;
    Ok(VoteResponse { vote_granted, vote: take.vote()?, last_log_id: take.maybe_id()? })
}

/// A snapshot.
pub fn snapshot_request(vote: &Vote<u64>, meta: &SnapshotMeta<u64, Member>, pointer: &Pointer) -> SharedBytes {
    let mut put = Put::new();
    put.vote(vote);
    put.maybe_id(meta.last_log_id.as_ref());
    put.u64(pointer.through.index.0);
    put.maybe_id(meta.last_membership.log_id().as_ref());
    put.membership(meta.last_membership.membership());
    put.u32(pointer.body.len());
    put.bytes(&pointer.body);
    put.done()
}

/// A snapshot that was asked to be installed.
pub type SnapshotRequest = (Vote<u64>, SnapshotMeta<u64, Member>, Pointer);

/// Reads [`snapshot_request`].
pub fn snapshot_request_of(body: &SharedBytes) -> Result<SnapshotRequest> {
    let mut take = Take::new(body)?;
    let (vote, last_log_id) = (take.vote()?, take.maybe_id()?.ok_or(WRONG)?);
    let (leader, number) = (convert::leader_of(&last_log_id), last_log_id.index);
    let through = EntryId { leader, number, index: LogIndex(take.u64()?) };
    let set_by = take.maybe_id()?;
    let last_membership = StoredMembership::new(set_by, take.membership()?);
    let len = take.len()?;
    let pointer = Pointer { through, body: take.bytes(len)?.to_vec() };
    let snapshot_id = format!("{}-{}-{number}", leader.term, leader.node);
    Ok((vote, SnapshotMeta { last_log_id: Some(last_log_id), last_membership, snapshot_id }, pointer))
}

/// The answer to a snapshot.
pub fn snapshot_answer(vote: &Vote<u64>) -> SharedBytes {
    let mut put = Put::new();
    put.vote(vote);
    put.done()
}

/// Reads [`snapshot_answer`].
pub fn snapshot_answer_of(body: &SharedBytes) -> Result<Vote<u64>> {
    Take::new(body)?.vote()
}

#[cfg(test)]
mod tests;
