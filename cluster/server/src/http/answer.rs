//! Answers: JSON, and bytes of a format.

use crate::encode::format::Format;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

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
