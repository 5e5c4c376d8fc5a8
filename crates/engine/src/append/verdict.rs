//! What a pass over a request's rows finds: the owner answers by it, or stores by it.

use crate::Few;
use crate::append::error::Refusal;
use crate::append::outcome::{DuplicateRow, RejectedRow};
use crate::append::registry::Claim;
use std::collections::HashSet;
use strandline_event::{EventId, LogIndex, LogKey, Seq};

/// A command that the batch begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewCommand {
    pub(crate) key: u128,
    pub(crate) digest: u128,
    pub(crate) row: u32,
    pub(crate) count: u32,
}

/// A distinct stream of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JudgedStream {
    pub(crate) hash: u128,
    /// What memory said of its head before any row was judged.
    pub(super) ahead: Option<(Seq, LogIndex)>,
    /// Its head before the body, and within it; `None`: nothing asked for it.
    pub(super) heads: Option<(Seq, Seq)>,
    /// Its owner, of a new stream the tenant of its first row that was judged; `None`: nothing asked for it.
    pub(super) owner: Option<u64>,
}

impl JudgedStream {
    pub(super) const fn new(hash: u128) -> Self {
        Self { hash, ahead: None, heads: None, owner: None }
    }
}

/// What the pass found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Row -> its seq; 0: not stored.
    pub(crate) seqs: Few<u64>,
    pub(crate) stored: usize,
    pub(crate) duplicates: Vec<DuplicateRow>,
    /// Rows that `duplicates` covers.
    pub(crate) duplicate_rows: usize,
    pub(crate) rejected: Vec<RejectedRow>,
    /// Rows that may be stored already, with the seq under which, ascending: it is at or below the head before the body.
    pub(crate) behind: Vec<(u32, Seq)>,
    /// One of them was not looked up: ask for all, so that what is known does not fall short a second time.
    pub(crate) unread: bool,
    /// A stored row has an id that was looked up in files that are older than what memory has let go.
    pub(crate) recheck: bool,
    /// One of its commands is in flight in this log: nobody knows yet.
    pub(crate) waits_for: Option<LogKey>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) commands: Vec<NewCommand>,
    /// The last batch that any of this was judged by.
    pub(crate) depends: LogIndex,
    /// By distinct stream of the request.
    pub(crate) streams: Few<JudgedStream>,
    /// Ids of the request, if there are any.
    pub(crate) ids: HashSet<EventId>,
    /// Its command ids, held against other logs until this goes; of a store whose ids are unique in it as a whole.
    pub(super) claim: Option<Claim>,
}
