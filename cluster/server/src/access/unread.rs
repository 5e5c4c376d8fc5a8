//! Bodies of requests that are held until the answer is written, and what is sent behind the last answer of a connection.
//!
//! Of a body in chunks that was let go, the HTTP server reads the rest for as long as it comes, which may be for ever. One that is held until its
//! answer is written ends with its connection, within the time for that, if it was not read to its end by then.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse};
use futures_util::{Stream, stream};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A request's body.
pub(super) struct Held(Rc<RefCell<Payload>>);

impl Held {
    /// Of a request whose body nobody reads.
    pub(super) fn alone(request: &mut ServiceRequest) -> Self {
        Self(Rc::new(RefCell::new(request.take_payload())))
    }

    /// Of a request whose body somebody may read. `None`: it has a length, and the server itself sees to it.
    pub(super) fn beside(request: &mut ServiceRequest) -> Option<Self> {
        if !request.headers().contains_key(TRANSFER_ENCODING) {
            return None;
        }
        let held = Self::alone(request);
        let body = Rc::clone(&held.0);
        let read = stream::poll_fn(move |context| Stream::poll_next(Pin::new(&mut *body.borrow_mut()), context));
        let read: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(read);
        request.set_payload(Payload::from(read));
        Some(held)
    }
}

/// The answer's body, and the request's.
pub(super) struct Unread {
    answer: BoxBody,
    _held: Held,
}

impl Unread {
    pub(super) const fn new(answer: BoxBody, held: Held) -> Self {
        Self { answer, _held: held }
    }
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        MessageBody::poll_next(Pin::new(&mut self.get_mut().answer), context)
    }
}

/// Ends the connection of a request that was sent behind its last answer, which has so long to be written: nobody hears the request.
pub(super) async fn end(request: ServiceRequest, time: Duration) -> ServiceResponse<BoxBody> {
    tokio::time::sleep(time).await;
    // an error in the place of a body breaks the connection before a byte of this answer is written
    let broken = stream::iter([Err::<Bytes, io::Error>(io::ErrorKind::ConnectionAborted.into())]);
    request.into_response(HttpResponse::build(StatusCode::UNAUTHORIZED).streaming(broken))
}
