//! An answer to a request whose body nobody reads.
//!
//! Of a body in chunks that was let go, the HTTP server reads the rest for as long as it comes, which may be for ever. One that is held until its
//! answer is written ends with its connection, within the time for that.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::web::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The answer's body, and the request's.
pub(super) struct Unread {
    answer: BoxBody,
    _held: Payload,
}

impl Unread {
    pub(super) const fn new(answer: BoxBody, held: Payload) -> Self {
        Self { answer, _held: held }
    }
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(context)
    }
}
