//! What an error means to the one who called: one prescriptive kind, whatever crate it comes from.
//!
//! Every operation has its own error enum with small typed facts; each maps to one of these kinds.
//! The HTTP status of a kind is decided in the server, in one function.

/// The kind of an error; its [`code`](ErrorKind::code) is the `code` of HTTP answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The request cannot be understood.
    BadRequest,
    /// No or a wrong token.
    Unauthenticated,
    /// The token does not allow it.
    Forbidden,
    /// Unknown store, stream, event or route.
    NotFound,
    /// The stream's head is not the expected one.
    WrongExpectedSeq,
    /// A client's seq leaves a gap.
    SeqGap,
    /// A client's seq exists already with other content.
    SeqConflict,
    /// The command id exists already with other events.
    CommandConflict,
    /// The event id exists already.
    EventIdConflict,
    /// Subscriptions are off in this store.
    NotificationsDisabled,
    /// A subscription of this name was made otherwise.
    SubscriptionConflict,
    /// Over a size limit.
    TooLarge,
    /// A content type that is not served.
    UnsupportedMedia,
    /// A rule of the store (strict.*, *.required, partition.enforce) is violated.
    StrictViolation,
    /// An event's fields are not valid.
    InvalidEvent,
    /// Too much in flight: try again.
    Overloaded,
    /// Not now: starting, draining, or a log that refuses writes.
    Unavailable,
    /// Another node leads.
    NotLeader,
    /// No room on the disk.
    DiskFull,
    /// A stream has a hole and the policy is to fail.
    MissingSeq,
    /// Stored bytes are damaged, or two rows of one key differ.
    Integrity,
    /// The operating system or an object store failed.
    Io,
    /// Not served by this version, and said so.
    NotSupported,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::WrongExpectedSeq,
        Self::SeqGap,
        Self::SeqConflict,
        Self::CommandConflict,
        Self::EventIdConflict,
        Self::NotificationsDisabled,
        Self::SubscriptionConflict,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::StrictViolation,
        Self::InvalidEvent,
        Self::Overloaded,
        Self::Unavailable,
        Self::NotLeader,
        Self::DiskFull,
        Self::MissingSeq,
        Self::Integrity,
        Self::Io,
        Self::NotSupported,
    ];

    /// The kind of a code; `None`: a later version's.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The stable snake_case code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::WrongExpectedSeq => "wrong_expected_seq",
            Self::SeqGap => "seq_gap",
            Self::SeqConflict => "seq_conflict",
            Self::CommandConflict => "command_conflict",
            Self::EventIdConflict => "event_id_conflict",
            Self::NotificationsDisabled => "notifications_disabled",
            Self::SubscriptionConflict => "subscription_conflict",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media_type",
            Self::StrictViolation => "strict_violation",
            Self::InvalidEvent => "invalid_event",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::NotLeader => "not_leader",
            Self::DiskFull => "disk_full",
            Self::MissingSeq => "missing_seq",
            Self::Integrity => "integrity_error",
            Self::Io => "io_error",
            Self::NotSupported => "not_supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn every_kind_is_found_by_its_code() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(ErrorKind::from_code("later"), None);
    }
}
