//! What a client sees when the answer is no: `{"error", "code", "details"}` and a status.
//!
//! The status of every error is decided in [`status_of`] and nowhere else. Refuses to carry anything that
//! is not meant for a client: causes stay in the server's log.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value};
use std::fmt;
use strandline_event::{ErrorKind, Field, FieldNames};

/// Seconds that an overloaded server asks a client to wait.
const RETRY_AFTER_S: u32 = 1;

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    kind: ErrorKind,
    not_allowed: bool,
    message: String,
    details: Map<String, Value>,
}

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error of a kind with its sentence.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, not_allowed: false, message: message.into(), details: Map::new() }
    }

    /// The request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// An event's fields are not valid.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidEvent, message)
    }

    /// The same, said of the request and not of an event.
    pub(crate) fn into_bad_request(mut self) -> Self {
        self.kind = ErrorKind::BadRequest;
        self
    }

    /// Unknown store, stream, event or route.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Over a limit of `limit_bytes` bytes.
    pub(crate) fn too_large(what: &str, limit_bytes: usize) -> Self {
        let mib = limit_bytes >> 20;
        Self::new(ErrorKind::TooLarge, format!("{what} is over the limit of {mib} MiB ({limit_bytes} bytes)"))
            .with("limit_bytes", limit_bytes)
    }

    /// A part of the interface that this version does not serve.
    pub(crate) fn not_supported(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSupported, what)
    }

    /// The route exists, not with this method.
    pub(crate) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self { not_allowed: true, ..Self::bad_request(message) }
    }

    /// Adds a fact to `details`.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Names the field of an event that is wrong.
    pub(crate) fn of(self, names: &FieldNames, field: Field) -> Self {
        self.with("field", names.get(field))
    }

    /// The field of an event that is wrong, where it is one's.
    pub(crate) fn field(&self) -> Option<&str> {
        self.details.get("field")?.as_str()
    }

    /// Puts words before the sentence (which event, which line).
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Puts words behind the sentence (what to do next).
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// The kind.
    pub(crate) const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code of the answer.
    pub(crate) const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same for a caller that is limited to tenants, where it may name what is others': only that it went wrong, and whether it
    /// may have been done.
    pub(crate) fn for_tenants(&self) -> Self {
        if matches!(self.kind, ErrorKind::NotLeader | ErrorKind::NotSupported | ErrorKind::DiskFull) {
            return Self { details: self.details.clone(), message: self.message.clone(), ..*self };
        }
        let text = "the node could not do this now; its operator finds out why: try again later";
        let mut told = Self::new(self.kind, text);
        if let Some(outcome) = self.details.get("outcome") {
            told = told.with("outcome", outcome.clone());
        }
        told
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({ "error": self.message, "code": self.code(), "details": self.details })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        if self.not_allowed { StatusCode::METHOD_NOT_ALLOWED } else { status_of(self.kind) }
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((CONTENT_TYPE, "application/json"));
        if matches!(self.kind, ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::NotLeader) {
            answer.insert_header((RETRY_AFTER, RETRY_AFTER_S));
        }
        if self.kind == ErrorKind::Unauthenticated {
            answer.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"strandline\""));
        }
        answer.body(self.to_json().to_string())
    }
}

/// The status of a kind of error: the one place that decides it.
pub(crate) const fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::WrongExpectedSeq
        | ErrorKind::SeqGap
        | ErrorKind::SeqConflict
        | ErrorKind::CommandConflict
        | ErrorKind::EventIdConflict
        | ErrorKind::NotificationsDisabled
        | ErrorKind::SubscriptionConflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::StrictViolation | ErrorKind::InvalidEvent => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable | ErrorKind::NotLeader => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::MissingSeq | ErrorKind::Integrity | ErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::NotSupported => StatusCode::NOT_IMPLEMENTED,
    }
}
