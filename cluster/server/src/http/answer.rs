//! Answers: JSON, and bytes of a format.

use crate::encode::format::Format;
use crate::error::{ApiError, ApiResult};
use actix_web::HttpResponse;
use actix_web::HttpResponseBuilder;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Serialize;
use std::io;
use strandline_event::ErrorKind;
use strandline_workers::permits::{BytePermit, BytePermits};

/// Bytes of a page that are handed to the connection at once.
const PIECE_BYTES: usize = 256 << 10;

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(bytes) => bytes_of(status, Format::Json, bytes),
        // our own values with text keys always serialise
        Err(e) => HttpResponse::InternalServerError().body(e.to_string()),
    }
}

/// A JSON answer with status 200.
pub(crate) fn ok(body: &impl Serialize) -> HttpResponse {
    json(StatusCode::OK, body)
}

/// An answer of a format, encoded already.
pub(crate) fn bytes_of(status: StatusCode, format: Format, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::build(status).content_type(format.content_type()).body(bytes)
}

/// A page as the body of an answer. Its bytes are counted, from when it was read, until the client has taken them.
pub(crate) fn page(
    mut answer: HttpResponseBuilder,
    permits: &BytePermits,
    mut permit: BytePermit,
    bytes: Vec<u8>,
) -> ApiResult<HttpResponse> {
    if !permits.resize(&mut permit, bytes.len()) {
        let text = "too many bytes of answers wait for their clients: try again, or ask for a smaller page";
        return Err(ApiError::new(ErrorKind::Overloaded, text));
    }
    let len = bytes.len() as u64;
    let pieces = unfold((Bytes::from(bytes), permit), |(mut rest, permit)| async move {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), (rest, permit)))
    });
    Ok(answer.body(SizedStream::new(len, Box::pin(pieces))))
}
