//! Why an append is refused: small facts, one sentence with the numbers and what to do next.

use crate::append::request::Expected;
use crate::strict::StrictViolation;
use std::fmt;
use std::sync::Arc;
use strandline_event::{ErrorKind, EventId, Field, FieldNames, Seq};

/// A refusal, and the row that caused it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Row of the request; `None`: the request as a whole.
    pub row: Option<u32>,
    /// Why.
    pub error: AppendError,
}

/// Why an append, or a row of a bulk body, is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// The stream stands elsewhere.
    WrongExpectedSeq {
        /// The stream.
        stream_id: String,
        /// What was expected.
        expected: Expected,
        /// Its last seq; 0: it has no event.
        actual: Seq,
    },
    /// A client's seq leaves a hole.
    SeqGap {
        /// The stream.
        stream_id: String,
        /// The next seq.
        next: Seq,
        /// The client's.
        given: Seq,
    },
    /// A client's seq is taken by another event, or skipped for ever.
    SeqConflict {
        /// The stream.
        stream_id: String,
        /// The client's.
        given: Seq,
        /// The last seq of the stream.
        head: Seq,
    },
    /// A client's seq is over the largest that can be stored, or the stream is full.
    SeqTooLarge {
        /// The stream.
        stream_id: String,
    },
    /// The command id was used for other events.
    CommandConflict {
        /// The id.
        command_id: String,
        /// Seq of the first event of its first use.
        first_seq: Seq,
        /// Number of events of its first use; 0: the caller is not told, since they may be another tenant's.
        count: u32,
    },
    /// The command id was used in another stream type of a store whose command ids are unique in it as a whole.
    CommandElsewhere {
        /// The id.
        command_id: String,
        /// The stream type of its first use.
        stream_type: Arc<str>,
    },
    /// The event id is taken.
    EventIdConflict {
        /// The id.
        event_id: EventId,
    },
    /// The caller is limited to tenants, and the event is of none of them. It is told no number.
    OtherTenant,
    /// The caller is limited to tenants, and the stream is not the event's tenant's. It is told no number.
    OtherOwner {
        /// The stream.
        stream_id: String,
    },
    /// A rule that the event breaks by itself.
    Strict(StrictViolation),
    /// The request contradicts itself.
    Shape(ShapeError),
    /// Its subject was erased, so nobody can say whether a command that is known came again or is another one.
    SubjectErased {
        /// Whose data it was, and when it was erased.
        reason: String,
    },
    /// A row of a chunk that was refused when the others were stored.
    RefusedBefore,
    /// No room for it on the disk.
    DiskFull {
        /// Bytes that the append needs in the log.
        needed_bytes: u64,
    },
    /// The commit that it waited for failed; of a store without a log.
    NotCommitted {
        /// What it means to the client: disk full, or not now.
        kind: ErrorKind,
        /// Why, and what to do.
        reason: String,
    },
    /// Another node leads the log; nothing was stored.
    NotLeader {
        /// Node and address of the leader, as far as it is known.
        leader: Option<(u64, String)>,
    },
    /// Nobody here knows whether it is stored.
    OutcomeUnknown {
        /// Why.
        reason: String,
    },
    /// Not now.
    Unavailable {
        /// Why, and what to do.
        reason: String,
    },
}

/// How a request can contradict itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShapeError {
    /// An append to one stream names several.
    SeveralStreams,
    /// A bulk body has an expected seq.
    ExpectedInBulk,
    /// The batch is of another stream type than the log.
    OtherStreamType,
    /// A row is over a limit that the edge checks.
    OverLimits,
}

impl AppendError {
    /// What it means to the client.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongExpectedSeq { .. } => ErrorKind::WrongExpectedSeq,
            Self::SeqGap { .. } => ErrorKind::SeqGap,
            Self::SeqConflict { .. } => ErrorKind::SeqConflict,
            Self::RefusedBefore => ErrorKind::InvalidEvent,
            Self::SeqTooLarge { .. } => ErrorKind::InvalidEvent,
            Self::CommandConflict { .. } | Self::CommandElsewhere { .. } => ErrorKind::CommandConflict,
            Self::EventIdConflict { .. } => ErrorKind::EventIdConflict,
            Self::OtherTenant | Self::OtherOwner { .. } => ErrorKind::Forbidden,
            Self::Strict(violation) => violation.kind(),
            Self::SubjectErased { .. } => ErrorKind::StrictViolation,
            Self::Shape(_) => ErrorKind::BadRequest,
            Self::DiskFull { .. } => ErrorKind::DiskFull,
            Self::NotCommitted { kind, .. } => *kind,
            Self::NotLeader { .. } => ErrorKind::NotLeader,
            Self::OutcomeUnknown { .. } | Self::Unavailable { .. } => ErrorKind::Unavailable,
        }
    }

    /// The sentence, with the names that the store gives its fields.
    #[must_use]
    pub fn text(&self, names: &FieldNames) -> String {
        let seq = names.get(Field::Seq);
        match self {
            Self::WrongExpectedSeq { stream_id, expected, actual } => format!(
                "stream '{stream_id}' {}, but the append expects {}: read the stream from there and decide again",
                at_head(*actual),
                expected_text(*expected)
            ),
            Self::SeqGap { stream_id, next, given } => format!(
                "`{seq}` {given} leaves a gap: the next of stream '{stream_id}' is {next}; send {next} first, or leave `{seq}` out"
            ),
            Self::SeqConflict { stream_id, given, head } if given > head => format!(
                "`{seq}` {given} of stream '{stream_id}' stands twice in the request, with different events; the head is {head}: send from {} on, each once",
                head.0.saturating_add(1)
            ),
            Self::SeqConflict { stream_id, given, head } => format!(
                "`{seq}` {given} is behind the head {head} of stream '{stream_id}' and is not the event that is stored there, or comes with new ones; send from {} on",
                head.0.saturating_add(1)
            ),
            Self::SeqTooLarge { stream_id } => {
                format!("`{seq}` of stream '{stream_id}' would be over {}: no such event can be stored", i64::MAX)
            }
            Self::CommandConflict { command_id, count: 0, .. } => format!(
                "`{}` '{command_id}' was used before for other events; a new command needs a new id",
                names.get(Field::CommandId)
            ),
            Self::OtherTenant => format!(
                "this token appends events of its own tenants only: say one of them in `{}` of every event",
                names.get(Field::TenantId)
            ),
            Self::OtherOwner { stream_id } => format!(
                "this token appends to no stream '{stream_id}' for this tenant: it appends to streams all of whose events are of the tenant in `{}`",
                names.get(Field::TenantId)
            ),
            Self::CommandConflict { command_id, first_seq, count } => format!(
                "`{}` '{command_id}' was used before for other events ({count} from `{seq}` {first_seq}); a new command needs a new id",
                names.get(Field::CommandId)
            ),
            Self::CommandElsewhere { command_id, stream_type } => format!(
                "`{}` '{command_id}' was used before, in stream type '{stream_type}', and this store takes each once (id.command_id.unique_scope = 'store'); a new command needs a new id",
                names.get(Field::CommandId)
            ),
            Self::EventIdConflict { event_id } => format!(
                "`{}` {event_id} is taken by another event of this stream type; leave it out and the store makes one",
                names.get(Field::EventId)
            ),
            Self::Strict(violation) => violation.text(names),
            Self::Shape(shape) => shape.text().to_owned(),
            Self::RefusedBefore => "refused when the other lines of its chunk were stored, and not judged again with them: mend it and load it from a file of its own".to_owned(),
            Self::DiskFull { needed_bytes } => format!(
                "no room on the disk for {needed_bytes} bytes of log: make room, then send it again; reads go on"
            ),
            Self::NotLeader { leader: Some((node, address)) } => {
                format!("node {node} at {address} leads this log; nothing was stored: send it there")
            }
            Self::NotLeader { leader: None } => {
                "nobody is known to lead this log now; nothing was stored: try again in a moment".to_owned()
            }
            Self::OutcomeUnknown { reason } => format!(
                "the outcome is unknown ({reason}): a retry with the same command id finds out, and is safe, where the store keeps command ids \
                 (id.command_id.unique_scope); elsewhere read before you send it again"
            ),
            Self::SubjectErased { reason } | Self::NotCommitted { reason, .. } | Self::Unavailable { reason } => {
                reason.clone()
            }
        }
    }
}

impl ShapeError {
    const fn text(self) -> &'static str {
        match self {
            Self::SeveralStreams => "an append to one stream holds events of several; use the bulk append",
            Self::ExpectedInBulk => "a bulk append has no expected seq; append to one stream for that",
            Self::OtherStreamType => "the batch is of another stream type than the log it was sent to",
            Self::OverLimits => {
                "an event of the batch is over a limit of the envelope; check the lengths of its fields"
            }
        }
    }
}

fn at_head(head: Seq) -> String {
    if head == Seq::ZERO { "has no event".to_owned() } else { format!("is at {head}") }
}

fn expected_text(expected: Expected) -> String {
    match expected {
        Expected::Any => "nothing".to_owned(),
        Expected::Empty => "it to be empty".to_owned(),
        Expected::At(seq) => format!("{seq}"),
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&FieldNames::default()))
    }
}

impl std::error::Error for AppendError {}
