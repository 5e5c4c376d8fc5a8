//! What becomes of a command, here and on its way between nodes. `PROTOCOL.md`, section 6.

use crate::fields::{FieldError, Put, Take};
use crate::meta::{Outcome, Refusal};
use strandline_event::ErrorKind;

/// Why a command was not done, or may not have been.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// The meta group says no: nothing has changed.
    #[error("{text}")]
    Refused {
        /// What it means.
        kind: ErrorKind,
        /// The sentence.
        text: String,
    },
    /// Nobody leads the meta group, or its leader cannot be reached.
    #[error(
        "the meta group has no leader that can be reached ({0}): more than half of its voters must run and see each other; nothing was changed"
    )]
    NoLeader(String),
    /// It may be done all the same.
    #[error("the outcome is unknown ({0}): look at `strandline status`, and repeat it: every command may be repeated")]
    Unknown(String),
}

impl ControlError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::NoLeader(_) | Self::Unknown(_) => ErrorKind::Unavailable,
        }
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { kind: refusal.kind(), text: refusal.to_string() }
    }
}

/// The answer of one node to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proposed {
    /// It was applied.
    Done(Outcome),
    /// The meta group says no.
    Refused {
        /// What it means.
        kind: ErrorKind,
        /// The sentence.
        text: String,
    },
    /// That node does not lead: nothing was done.
    NotLeader,
    /// It may be done all the same.
    Unknown(String),
}

impl Proposed {
    /// As the body of an answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::default();
        match self {
            Self::Done(Outcome::Changed) => out.u8(1),
            Self::Done(Outcome::AsBefore) => out.u8(2),
            Self::Refused { kind, text } => {
                out.u8(3);
                out.text(kind.code());
                out.text(text);
            }
            Self::NotLeader => out.u8(4),
            Self::Unknown(why) => {
                out.u8(5);
                out.text(why);
            }
        }
        out.0
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut take = Take(bytes);
        let proposed = match take.u8()? {
            1 => Self::Done(Outcome::Changed),
            2 => Self::Done(Outcome::AsBefore),
            3 => {
                // a later version's kind is still a refusal
                let kind = ErrorKind::from_code(take.text()?).unwrap_or(ErrorKind::BadRequest);
                Self::Refused { kind, text: take.text()?.to_owned() }
            }
            4 => Self::NotLeader,
            5 => Self::Unknown(take.text()?.to_owned()),
            _ => return Err(FieldError::Value("an outcome that is not known here")),
        };
        take.end()?;
        Ok(proposed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back_and_nothing_shorter_or_longer() {
        let all = [
            Proposed::Done(Outcome::Changed),
            Proposed::Done(Outcome::AsBefore),
            Proposed::Refused { kind: ErrorKind::NotFound, text: "there is no node 9".into() },
            Proposed::NotLeader,
            Proposed::Unknown("it broke".into()),
        ];
        for proposed in all {
            let bytes = proposed.encode();
            assert_eq!(Proposed::decode(&bytes).as_ref(), Ok(&proposed));
            assert!((0..bytes.len()).all(|end| Proposed::decode(&bytes[..end]).is_err()));
            assert!(Proposed::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(Proposed::decode(&[9]).is_err());
    }
}
