//! Why a request of the client was not done, or may not have been.

use crate::wire::error::WireError;
use crate::wire::refused::{OUTCOME_UNKNOWN, Refused};
use strandline_event::ErrorKind;

/// A request that has no good answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no: nothing was done.
    #[error("{0}")]
    Refused(Refused),
    /// An append has no answer, or none that can be read, and was not repeated: it may be stored.
    #[error(
        "the outcome is unknown: {why}. Read the stream and decide again; an append whose events have a command id may be sent \
         again as it is"
    )]
    OutcomeUnknown {
        /// What happened to the connection or the answer.
        why: String,
    },
    /// No connection for as long as the client is patient: nothing was done.
    #[error("cannot reach {address}: {why}; is a node serving there (`strandline serve --native ADDR`)?")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// A scan whose connection broke.
    #[error("the scan ended early: {why}. Begin it again")]
    Broken {
        /// What happened to the connection.
        why: String,
    },
    /// The server's answer does not follow the protocol.
    #[error("the server's answer cannot be read: {0}")]
    Protocol(#[from] WireError),
    /// The client has been closed.
    #[error("the client is closed")]
    Closed,
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> Self {
        match refused.code.as_str() {
            OUTCOME_UNKNOWN => Self::OutcomeUnknown { why: refused.text },
            _ => Self::Refused(refused),
        }
    }
}

impl ClientError {
    /// The same of an append. An answer that cannot be read does not say that nothing was stored; nor does a refusal of what was sent
    /// `again`, unless it is the store's own word on it.
    pub(super) fn of_append(self, again: bool) -> Self {
        match self {
            Self::Protocol(_) => Self::OutcomeUnknown { why: self.to_string() },
            Self::Refused(_) if again && !self.is_the_stores_word() => Self::OutcomeUnknown {
                why: format!("the connection broke, and what was sent again was refused: {self}"),
            },
            other => other,
        }
    }

    /// Whether an append was judged, by what is stored or by a rule that held before too. All else is about a node, a connection or a
    /// caller, and an append that is stored may meet it when it comes again.
    pub(super) fn is_the_stores_word(&self) -> bool {
        use ErrorKind::{
            CommandConflict, EventIdConflict, InvalidEvent, SeqConflict, SeqGap, StrictViolation, WrongExpectedSeq,
        };
        let Some(kind) = self.kind() else { return false };
        let of_rules = matches!(kind, InvalidEvent | StrictViolation);
        of_rules || matches!(kind, CommandConflict | EventIdConflict | SeqConflict | SeqGap | WrongExpectedSeq)
    }

    /// What the server's refusal means; `None`: there is none, or of a later version.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(refused) => refused.kind(),
            _ => None,
        }
    }
}
