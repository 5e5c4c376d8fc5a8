//! HEAD is answered as GET is, with the same head and without the body.
//!
//! The request goes on as a GET, so no route, rule or other node has to know of it; the body is let go before a byte of it is asked for. A stream of events
//! has no such head: whoever is answered there is a subscriber.

use crate::routes::answers_head;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Whether a request is a HEAD; it goes on as a GET where one answers it.
pub(crate) fn is_asked_for(request: &mut ServiceRequest) -> bool {
    if request.method() != Method::HEAD {
        return false;
    }
    if request.match_pattern().is_some_and(|pattern| answers_head(&pattern)) {
        request.head_mut().method = Method::GET;
    }
    true
}

/// The answer without its body.
pub(crate) fn without_body(answered: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    answered.map_body(|_, body| BoxBody::new(Left(body.size())))
}

/// What is left of a body: how long it would be, which the head tells.
struct Left(BodySize);

impl MessageBody for Left {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
