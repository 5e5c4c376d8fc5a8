//! The payload of a State frame: what a segment must know of the log before it, so that older segments may go.

use crate::frame::{VERSION, VERSION_REPLICATED, VERSION_SEALED, VERSION_TAGGED};
use crate::membership::Membership;
use crate::num::{LogId, SegmentNo, Vote};
use crate::wire::{Take, put_log_id, put_maybe_log_id, put_text, put_vote};
use strandline_event::Micros;
use strandline_keys::{KEY_NAME_BYTES, KeyName};

/// The segment before this one, and where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before {
    /// Its number.
    pub segment: SegmentNo,
    /// Offset in bytes where its valid bytes end.
    pub end: u64,
    /// The last entry of the log before this segment.
    pub last: Option<LogId>,
    /// When that entry was taken; `Micros::MIN` if there is none.
    pub last_time: Micros,
    /// Each of its frames carries a tag (only a segment whose frames do says so).
    pub has_tags: bool,
}

/// What a State frame of a replicated log says besides (FORMAT.md section 8). Entries are counted by number there: an entry of several
/// frames has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// Number of the next entry.
    pub next: u64,
    /// Number of the entry `committed`; 0 without one.
    pub committed: u64,
    /// Number of the entry `purged`; 0 without one.
    pub purged: u64,
    /// Number of the entry that set the membership.
    pub membership: u64,
    /// The log was cut off before this segment: what lies between the end of the segment before and this one is dead.
    pub cut: bool,
    /// Bytes that the file of this segment has at least until a later segment states its end; 0: not known.
    pub file_bytes: u64,
}

/// A log's state at the start of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The node that this log belongs to.
    pub node: u64,
    /// Bucket of the stream type.
    pub bucket: u32,
    /// Stream type.
    pub stream_type: String,
    /// The last vote.
    pub vote: Vote,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last entry that trimming may have removed.
    pub purged: Option<LogId>,
    /// Entry that set the membership.
    pub membership_id: LogId,
    /// The membership.
    pub membership: Membership,
    /// The segment before.
    pub before: Option<Before>,
    /// Of a replicated log; `None`: its entries have one frame each, and their numbers are their indices.
    pub numbers: Option<Numbers>,
    /// The key that seals the entries of this segment; `None`: they stand as they are.
    pub key: Option<KeyName>,
}

impl State {
    /// The payload bytes (FORMAT.md section 5).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        out.extend_from_slice(&self.node.to_le_bytes());
        out.extend_from_slice(&self.bucket.to_le_bytes());
        put_text(&mut out, &self.stream_type);
        put_vote(&mut out, self.vote);
        put_maybe_log_id(&mut out, self.committed);
        put_maybe_log_id(&mut out, self.purged);
        out.extend_from_slice(&[0; 8]);
        put_log_id(&mut out, self.membership_id);
        let membership = self.membership.encode();
        out.extend_from_slice(&u32::try_from(membership.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&membership);
        put_before(&mut out, self.before);
        if self.key.is_some() {
            out.push(u8::from(self.numbers.is_some()));
        }
        if let Some(numbers) = &self.numbers {
            put_numbers(&mut out, numbers);
        }
        if let Some(key) = &self.key {
            out.extend_from_slice(&key.to_bytes());
            out.push(u8::from(self.before.is_some_and(|before| before.has_tags)));
        }
        out
    }

    /// The version of the frame that holds it.
    #[must_use]
    pub const fn version(&self) -> u8 {
        match (&self.key, &self.numbers) {
            (Some(_), _) => VERSION_TAGGED,
            (None, Some(_)) => VERSION_REPLICATED,
            (None, None) => VERSION,
        }
    }

    /// An upper bound of the payload's bytes, the tag behind it included, without encoding it.
    pub(crate) fn encoded_len_max(&self) -> usize {
        let voters: usize = self.membership.voters.iter().map(|set| 2 + 8 * set.len()).sum();
        let nodes: usize = self.membership.nodes.iter().map(|(_, address)| 10 + address.len()).sum();
        353 + self.stream_type.len() + voters + nodes
    }

    /// Reads the payload of a frame of this version; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &[u8], version: u8) -> Option<Self> {
        let mut take = Take(bytes);
        let has_key = [VERSION_SEALED, VERSION_TAGGED].contains(&version);
        let mut state = Self {
            node: take.u64()?,
            bucket: take.u32()?,
            stream_type: take.text()?,
            vote: take.vote()?,
            committed: take.maybe_log_id()?,
            purged: take.maybe_log_id()?,
            membership_id: take.bytes(8).and_then(|_| take.log_id())?,
            membership: {
                let len = usize::try_from(take.u32()?).ok()?;
                Membership::decode(take.bytes(len)?)?
            },
            before: take_before(&mut take)?,
            numbers: match version {
                VERSION => None,
                _ if has_key && !take.flag()? => None,
                _ => Some(take_numbers(&mut take)?),
            },
            key: if has_key { Some(take_key(&mut take)?) } else { None },
        };
        if version == VERSION_TAGGED {
            let has_tags = take.flag()?;
            state.before.iter_mut().for_each(|before| before.has_tags = has_tags);
        }
        Some(state)
    }
}

fn put_before(out: &mut Vec<u8>, before: Option<Before>) {
    out.push(u8::from(before.is_some()));
    let none = Before { segment: SegmentNo(0), end: 0, last: None, last_time: Micros::MIN, has_tags: false };
    let before = before.unwrap_or(none);
    out.extend_from_slice(&before.segment.0.to_le_bytes());
    out.extend_from_slice(&before.end.to_le_bytes());
    put_maybe_log_id(out, before.last);
    out.extend_from_slice(&before.last_time.0.to_le_bytes());
}

fn take_before(take: &mut Take<'_>) -> Option<Option<Before>> {
    let there = take.flag()?;
    let before = Before {
        segment: SegmentNo(take.number()?),
        end: take.number()?,
        last: take.maybe_log_id()?,
        last_time: Micros(take.i64()?),
        has_tags: false,
    };
    Some(there.then_some(before))
}

fn put_numbers(out: &mut Vec<u8>, numbers: &Numbers) {
    for number in [numbers.next, numbers.committed, numbers.purged, numbers.membership] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(numbers.cut));
    out.extend_from_slice(&numbers.file_bytes.to_le_bytes());
}

fn take_key(take: &mut Take<'_>) -> Option<KeyName> {
    take.bytes(KEY_NAME_BYTES)?.first_chunk().map(KeyName::from_bytes)
}

fn take_numbers(take: &mut Take<'_>) -> Option<Numbers> {
    Some(Numbers {
        next: take.number()?,
        committed: take.number()?,
        purged: take.number()?,
        membership: take.number()?,
        cut: take.flag()?,
        file_bytes: take.number()?,
    })
}

/// The payload of a Vote frame.
#[must_use]
pub fn encode_vote(vote: Vote) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    put_vote(&mut out, vote);
    out
}

/// Reads the payload of a Vote frame; `None` if it is not one.
#[must_use]
pub fn decode_vote(bytes: &[u8]) -> Option<Vote> {
    let mut take = Take(bytes);
    let vote = take.vote()?;
    take.0.is_empty().then_some(vote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::LeaderId;
    use strandline_event::LogIndex;

    #[test]
    fn state_round_trips_and_refuses_what_is_cut() {
        let id = |index| LogId { leader: LeaderId { term: 3, node: 9 }, index: LogIndex(index) };
        let before =
            Before { segment: SegmentNo(4), end: 8192, last: Some(id(77)), last_time: Micros(-5), has_tags: false };
        let tagged = Before { has_tags: true, ..before };
        let numbers = Numbers { next: 70, committed: 69, purged: 3, membership: 1, cut: true, file_bytes: 1 << 20 };
        let key = KeyName::from_bytes(&[7; KEY_NAME_BYTES]);
        let all = [
            (None, None, None, None, None),
            (Some(before), Some(id(77)), Some(id(12)), Some(numbers), None),
            (Some(before), None, Some(id(12)), None, Some(key)),
            (Some(tagged), Some(id(77)), Some(id(12)), Some(numbers), Some(key)),
            (None, Some(id(77)), None, Some(numbers), Some(key)),
        ];
        for (before, committed, purged, numbers, key) in all {
            let state = State {
                node: 9,
                bucket: 2,
                stream_type: "Aircraft".into(),
                vote: Vote { leader: LeaderId { term: 3, node: 9 }, committed: true },
                committed,
                purged,
                membership_id: id(0),
                membership: Membership::one(9),
                before,
                numbers,
                key,
            };
            let (bytes, version) = (state.encode(), state.version());
            assert!(bytes.len() + strandline_keys::TAG_BYTES <= state.encoded_len_max());
            assert_eq!(State::decode(&bytes, version), Some(state.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(State::decode(&bytes[..cut], version), None, "cut at {cut}");
            }
            let longer = [&bytes[..], &[1, 2, 3]].concat();
            assert_eq!(State::decode(&longer, version), Some(state), "later fields are ignored");
        }
    }

    #[test]
    fn vote_round_trips() {
        let vote = Vote { leader: LeaderId { term: 8, node: 1 }, committed: false };
        assert_eq!(decode_vote(&encode_vote(vote)), Some(vote));
        assert_eq!(decode_vote(&[2; 17]), None);
    }
}
