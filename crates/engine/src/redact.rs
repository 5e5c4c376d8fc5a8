//! Redaction: an administrator takes away what one event said; the event, its id and its seq stay.
//!
//! ```text
//!  wish ─> where the id stands (every tier, tombstones too) ─> commit of the overlay: true from here on
//!                                                          ─> merges that rewrite the files that still hold the text
//! ```
//!
//! Refused where the store is immutable. What is committed is never taken back, so a second wish is answered with the first one's
//! word. Until a file is rewritten, and its grace period is over, its bytes hold the text; logs hold it until they are trimmed. No read shows it.

use crate::read::ReadError;
use crate::store::Store;
use parking_lot::Mutex;
use std::collections::HashSet;
use strandline_durable::{CommitError, Redact, Redaction, Snapshot, StreamQuery};
use strandline_event::{ErrorKind, EventId, Micros};

/// Bytes of a reason, at most.
pub const REASON_BYTES_MAX: usize = 1024;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The event.
    pub event_id: EventId,
    /// Who asks.
    pub who: String,
    /// Why, where that was said.
    pub reason: Option<String>,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redacted {
    /// The events that have the id: one, unless clients gave it to two stream types, or buckets of one.
    pub events: Vec<Redaction>,
    /// All of them were redacted before; nothing changed.
    pub already: bool,
}

/// Why nothing was redacted.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The statement forbids it.
    #[error("events of this store are immutable (strict.immutable_events): nothing can be redacted")]
    Immutable,
    /// The reason is too long.
    #[error("a reason has at most {REASON_BYTES_MAX} bytes, not {bytes}")]
    LongReason {
        /// Its length.
        bytes: usize,
    },
    /// No event has the id.
    #[error("there is no event {0}")]
    NotFound(EventId),
    /// Whether there is one cannot be told.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was not committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl RedactError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Immutable => ErrorKind::Forbidden,
            Self::LongReason { .. } => ErrorKind::BadRequest,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Read(error) => error.kind(),
            Self::Commit(error) => error.kind(),
        }
    }
}

/// Whether a store redacts at all: asked before anything else of a request is looked at.
///
/// # Errors
/// `Immutable`.
pub fn check_allowed(store: &Store) -> Result<(), RedactError> {
    if store.config().strict.immutable_events { Err(RedactError::Immutable) } else { Ok(()) }
}

/// Redacts every event that has the id. When it is answered, the overlay is durable, and no read shows the text. `job_id` is random.
///
/// # Errors
/// [`RedactError`]; then nothing changed, unless it is a commit of unknown outcome, which the same wish again finds out.
pub fn redact(store: &Store, wish: &Wish, job_id: u128, now: Micros) -> Result<Redacted, RedactError> {
    check_allowed(store)?;
    if let Some(bytes) = wish.reason.as_ref().map(String::len).filter(|bytes| *bytes > REASON_BYTES_MAX) {
        return Err(RedactError::LongReason { bytes });
    }
    let places = store.places_of_id(wish.event_id)?;
    let current = store.durable().pin();
    let new: Vec<Redaction> = places
        .into_iter()
        .filter(|(stream_type, stream_id, _)| !current.is_redacted(wish.event_id, (stream_type, stream_id)))
        .map(|(stream_type, stream_id, seq)| Redaction {
            event_id: wish.event_id,
            stream_type,
            stream_id,
            seq,
            at: now,
            who: wish.who.clone(),
            reason: wish.reason.clone(),
        })
        .collect();
    let already = new.is_empty();
    let snapshot = match already {
        true => current,
        false => store.durable().redact(&Redact { job_id, events: new })?,
    };
    let events: Vec<_> = snapshot.redactions().filter(|of| of.event_id == wish.event_id).cloned().collect();
    if events.is_empty() { Err(RedactError::NotFound(wish.event_id)) } else { Ok(Redacted { events, already }) }
}

/// Redacted events, each by its id and stream, that no live file holds the text of: nothing is left to rewrite for them. Only a memory, for
/// this process.
#[derive(Default)]
pub(crate) struct Rewritten(Mutex<HashSet<(EventId, String, String)>>);

impl Rewritten {
    /// Files have come back: look at all of them again.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Store {
    /// Live files, of one stream type or of all, that still hold the text of a redacted event: a merge rewrites them.
    pub(crate) fn files_to_rewrite(
        &self,
        snapshot: &Snapshot,
        stream_type: Option<&str>,
    ) -> Result<HashSet<String>, ReadError> {
        let mut paths = HashSet::new();
        for redaction in snapshot.redactions().filter(|of| stream_type.is_none_or(|name| name == of.stream_type)) {
            let key = (redaction.event_id, redaction.stream_type.clone(), redaction.stream_id.clone());
            if self.rewritten().0.lock().contains(&key) {
                continue;
            }
            let Redaction { stream_type, stream_id, seq, .. } = redaction;
            let (from_seq, to_seq) = (*seq, *seq);
            let rows = snapshot.stream(&StreamQuery {
                stream_type,
                stream_id,
                from_seq,
                to_seq,
                descending: false,
                limit: usize::MAX,
            })?;
            let ours = (0..rows.len()).filter(|i| rows.row(*i).event_id == redaction.event_id);
            let holding: Vec<usize> = ours.clone().filter(|i| !rows.row(*i).says_nothing()).collect();
            // one that is in no file yet is in a log, or under a tombstone
            if holding.is_empty() && ours.count() > 0 {
                self.rewritten().0.lock().insert(key);
            }
            paths.extend(holding.into_iter().map(|i| rows.place(i).file.path.clone()));
        }
        Ok(paths)
    }
}
