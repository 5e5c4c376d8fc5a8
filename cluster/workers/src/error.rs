//! Why a node says no: every operation's own error, one kind for the outside.

use crate::data_dir::DataDirError;
use crate::registry::RegistryError;
use crate::subscriptions::SubscriptionFileError;
use actix::MailboxError;
use std::sync::Arc;
use strandline_consensus::control::ControlError;
use strandline_durable::RetireError;
use strandline_engine::append::Refusal;
use strandline_engine::compact::CompactError;
use strandline_engine::read::ReadError;
use strandline_engine::redact::RedactError;
use strandline_engine::store::{OpenError, ReplaceError, SplitError};
use strandline_engine::strict::StrictViolation;
use strandline_engine::subjects::SealError;
use strandline_event::{ErrorKind, LogKey};

/// A node that leads, where clients reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAt {
    /// Its id.
    pub node: u64,
    /// `host:port` of its HTTP interface.
    pub http: String,
    /// `host:port` of its native protocol, where it serves that.
    pub native: Option<String>,
}

fn not_leader_text(leader: Option<&LeaderAt>) -> String {
    match leader {
        Some(at) => format!(
            "this node does not lead that; node {} does, at {}: ask it; nothing was done here",
            at.node, at.http
        ),
        None => {
            "no leader is known right now (one is being elected): nothing was done; try again in a moment".to_owned()
        }
    }
}

/// A request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The owner of the log refused.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// A rule of the store, checked before any owner was asked: batch, row.
    #[error("{violation}")]
    Strict {
        /// Which batch of the request.
        batch: usize,
        /// Which row of it.
        row: u32,
        /// The rule.
        violation: StrictViolation,
    },
    /// Only registered stream types are accepted.
    #[error("{0}")]
    Unregistered(StrictViolation),
    /// A read failed.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// A job failed or cannot start.
    #[error(transparent)]
    Compact(Box<CompactError>),
    /// Retention, or a restore, was not done.
    #[error(transparent)]
    Retire(Box<RetireError>),
    /// Nothing was redacted.
    #[error(transparent)]
    Redact(Box<RedactError>),
    /// A batch cannot be sealed.
    #[error(transparent)]
    Seal(Box<SealError>),
    /// Nothing was erased, or made erasable.
    #[error("{why}")]
    Erasure {
        /// What it means.
        kind: ErrorKind,
        /// The sentence.
        why: String,
    },
    /// Whether compaction is paused cannot be kept: it is as it was.
    #[error("nothing was changed, since it could not be kept over a restart: {0}")]
    PauseNotKept(DataDirError),
    /// The store's statement was not replaced.
    #[error(transparent)]
    Replace(Box<ReplaceError>),
    /// The statement sets a key to what this version cannot serve.
    #[error("store `{store}`: {lines}")]
    NotServed {
        /// The store.
        store: String,
        /// Keys and reasons.
        lines: String,
    },
    /// Manifests cannot be read.
    #[error(transparent)]
    Manifest(#[from] strandline_durable::ManifestError),
    /// A log cannot be made.
    #[error(transparent)]
    OpenLog(Box<OpenError>),
    /// Registrations cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The stream type is registered otherwise.
    #[error("stream type `{name}` is there already, and its number of buckets is {buckets}, which never changes")]
    OtherBuckets {
        /// The type.
        name: String,
        /// As registered, or as its first event made it.
        buckets: u32,
    },
    /// The stream type cannot be registered so.
    #[error("{why}")]
    Buckets {
        /// What it means.
        kind: ErrorKind,
        /// The sentence.
        why: String,
    },
    /// The stream type was registered with several buckets while its first events came.
    #[error("the stream type was registered with other buckets in this moment; nothing was stored: send it again")]
    BucketsChanged,
    /// The log is damaged: readable, not writable.
    #[error(
        "the log of `{log}` is damaged and takes no appends: {reason}; `strandline verify` names every finding, and docs/operations.md \
         says what to do (`If a log is damaged`)"
    )]
    DamagedLog {
        /// The log.
        log: LogKey,
        /// What is damaged.
        reason: Arc<str>,
    },
    /// The store sends no notifications.
    #[error("projection.notify_on_commit is false in store `{store}`: it sends no notifications")]
    NotificationsDisabled {
        /// The store.
        store: String,
    },
    /// No such subscription.
    #[error("there is no subscription `{name}`: make it with POST .../subscriptions/{name}")]
    UnknownSubscription {
        /// As asked for.
        name: String,
    },
    /// No consumer of a subscription has this number.
    #[error(
        "subscription `{name}` has no consumer {number}, so nothing is acknowledged: send the `consumer` that the stream of events began with, or leave it out \
         where there is only one"
    )]
    UnknownConsumer {
        /// The subscription.
        name: String,
        /// As it was said.
        number: u64,
    },
    /// The subscription is there, and was made otherwise.
    #[error(
        "subscription `{name}` is there and was made otherwise: delete it first (its position is lost then), or take another name"
    )]
    OtherSubscription {
        /// Its name.
        name: String,
    },
    /// A store has as many named subscriptions as it may.
    #[error("the store has {limit} named subscriptions, and no more are served: delete one first")]
    TooManySubscriptions {
        /// The limit.
        limit: usize,
    },
    /// Named subscriptions cannot be kept.
    #[error("named subscriptions cannot be kept: {0}")]
    Subscriptions(Arc<SubscriptionFileError>),
    /// No such store.
    #[error("there is no store `{name}`; this node serves {known}")]
    UnknownStore {
        /// As asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No such stream type.
    #[error("store `{store}` has no stream type `{name}`")]
    UnknownStreamType {
        /// The store.
        store: String,
        /// As asked for.
        name: String,
    },
    /// One part of a body was refused before any part was stored.
    #[error("{}", .refusal.error)]
    RefusedPart {
        /// Which batch of the request.
        batch: usize,
        /// What its owner says.
        refusal: Refusal,
    },
    /// Every stream type has a log of its own; there are enough.
    #[error(
        "store `{store}` has room for {limit} stream types, each of their buckets counted as one, and this is more: use stream ids for what there is much of"
    )]
    TooManyStreamTypes {
        /// The store.
        store: String,
        /// The most.
        limit: usize,
    },
    /// A request with too many new stream types: nothing of them is stored.
    #[error(
        "the request brings {found} new stream types; at most {limit} are taken at once, so send fewer together. A stream type is a kind of stream \
         (Call, Invoice): use stream ids for what there is much of"
    )]
    TooManyNewTypes {
        /// In the body.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// The process may open no more logs.
    #[error(
        "no log can be made for a new stream type: the process may open {limit} files, and what is left is kept for the logs \
         that are there. Raise the limit (`ulimit -n`) and start the node again"
    )]
    NoDescriptors {
        /// The limit of the process.
        limit: u64,
    },
    /// Another node took the store over: nothing is appended here, and what is read may lack what that one acknowledged.
    #[error(
        "store `{store}` is not this node's any more: another node owns it now (it claimed a newer epoch), and what is acknowledged there \
         is not seen here. Ask that node, and stop this one; consistency=local reads what this one has"
    )]
    Fenced {
        /// The store.
        store: String,
    },
    /// Another node leads what this is about; nothing was done.
    #[error("{}", not_leader_text(.leader.as_ref()))]
    NotLeader {
        /// The node to ask, as far as it is known.
        leader: Option<LeaderAt>,
    },
    /// The cluster says no, or cannot now.
    #[error("{why}")]
    Cluster {
        /// What it means.
        kind: ErrorKind,
        /// The sentence.
        why: String,
    },
    /// The caller is limited to tenants.
    #[error("this tells of the whole store, and this token is limited to tenants: use one that is not")]
    OfTheWholeStore,
    /// Too much in flight.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The node stops.
    #[error("the node is shutting down: try again in a moment, or on another node")]
    Draining,
    /// The worker went away with the request.
    #[error(
        "the outcome is unknown: the worker stopped; a retry with the same command id is safe where the store keeps command ids (id.command_id.unique_scope); elsewhere read before you send it again"
    )]
    OutcomeUnknown,
    /// A read met a defect of the program.
    #[error("the read failed inside the program; the log of the server says where")]
    Defect,
}

impl NodeError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.error.kind(),
            Self::Strict { violation, .. } | Self::Unregistered(violation) => violation.kind(),
            Self::Read(error) => error.kind(),
            Self::Compact(error) => error.kind(),
            Self::Retire(error) => error.kind(),
            Self::Redact(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Replace(error) => error.kind(),
            Self::NotServed { .. } => ErrorKind::NotSupported,
            Self::OpenLog(error) => of_new_log(error),
            Self::Manifest(error) => error.kind(),
            Self::Subscriptions(error) if matches!(**error, SubscriptionFileError::Elsewhere(_)) => {
                ErrorKind::Unavailable
            }
            Self::PauseNotKept(DataDirError::Io { error, .. }) if strandline_wal::files::is_full(error) => {
                ErrorKind::DiskFull
            }
            Self::Registry(_) | Self::Subscriptions(_) | Self::PauseNotKept(_) | Self::Defect => ErrorKind::Io,
            Self::NotificationsDisabled { .. } => ErrorKind::NotificationsDisabled,
            Self::OtherSubscription { .. } => ErrorKind::SubscriptionConflict,
            Self::OtherBuckets { .. } => ErrorKind::StrictViolation,
            Self::UnknownStore { .. }
            | Self::UnknownStreamType { .. }
            | Self::UnknownSubscription { .. }
            | Self::UnknownConsumer { .. } => ErrorKind::NotFound,
            Self::OfTheWholeStore => ErrorKind::Forbidden,
            Self::Overloaded(_) => ErrorKind::Overloaded,
            Self::NotLeader { .. } => ErrorKind::NotLeader,
            Self::Cluster { kind, .. } | Self::Erasure { kind, .. } | Self::Buckets { kind, .. } => *kind,
            Self::RefusedPart { refusal, .. } => refusal.error.kind(),
            Self::TooManyStreamTypes { .. } | Self::TooManyNewTypes { .. } | Self::TooManySubscriptions { .. } => {
                ErrorKind::TooLarge
            }
            Self::Draining
            | Self::OutcomeUnknown
            | Self::BucketsChanged
            | Self::DamagedLog { .. }
            | Self::NoDescriptors { .. }
            | Self::Fenced { .. } => ErrorKind::Unavailable,
        }
    }
}

/// A log that cannot be made for want of room or descriptors may be made later.
fn of_new_log(error: &OpenError) -> ErrorKind {
    let OpenError::Wal { error: of_log, .. } = error else { return error.kind() };
    let strandline_wal::OpenError::Io { error: io, .. } = &**of_log else { return error.kind() };
    if strandline_wal::files::is_full(io) { ErrorKind::DiskFull } else { ErrorKind::Unavailable }
}

impl From<OpenError> for NodeError {
    fn from(error: OpenError) -> Self {
        Self::OpenLog(Box::new(error))
    }
}

impl From<ReadError> for NodeError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<RetireError> for NodeError {
    fn from(error: RetireError) -> Self {
        Self::Retire(Box::new(error))
    }
}

impl From<SealError> for NodeError {
    fn from(error: SealError) -> Self {
        Self::Seal(Box::new(error))
    }
}

impl From<RedactError> for NodeError {
    fn from(error: RedactError) -> Self {
        Self::Redact(Box::new(error))
    }
}

impl From<ReplaceError> for NodeError {
    fn from(error: ReplaceError) -> Self {
        Self::Replace(Box::new(error))
    }
}

impl From<SplitError> for NodeError {
    fn from(error: SplitError) -> Self {
        let kind = error.kind();
        match error {
            SplitError::Other { stream_type, buckets } => Self::OtherBuckets { name: stream_type, buckets },
            SplitError::Commit(error) => Self::Buckets { kind, why: error.to_string() },
        }
    }
}

impl From<CompactError> for NodeError {
    fn from(error: CompactError) -> Self {
        Self::Compact(Box::new(error))
    }
}

impl From<ControlError> for NodeError {
    fn from(error: ControlError) -> Self {
        Self::Cluster { kind: error.kind(), why: error.to_string() }
    }
}

impl From<MailboxError> for NodeError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Closed => Self::Draining,
            MailboxError::Timeout => Self::OutcomeUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_log_without_room_is_told_from_one_without_descriptors() {
        let kind = |kind: io::ErrorKind| {
            let error = Box::new(strandline_wal::OpenError::Io { dir: "/wal/T".into(), error: kind.into() });
            of_new_log(&OpenError::Wal { log: strandline_event::LogKey::single("T"), error })
        };
        for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            assert_eq!(kind(full), ErrorKind::DiskFull);
        }
        assert_eq!(kind(io::ErrorKind::Other), ErrorKind::Unavailable);
    }
}
