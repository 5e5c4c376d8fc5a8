//! NDJSON decoded where it is read instead of where it is stored: the same decoder, for a client that sends batches.

use crate::decode::bulk::{BulkBuilder, OnError, listed};
pub use crate::decode::json::hint as json_hint;
use crate::error::{ApiError, status_of};
use serde_json::Value;
use strandline_event::{BatchBytes, Chunk, ErrorKind, FieldNames};

/// The events of one stream type.
#[derive(Debug)]
pub struct Part {
    /// The events, as they are stored.
    pub batch: BatchBytes,
    /// Row -> line of the body, from 1.
    pub lines: Vec<u32>,
}

/// A decoded body.
#[derive(Debug)]
pub struct Body {
    /// One part a stream type.
    pub parts: Vec<Part>,
    /// Lines that are no events, as HTTP lists them.
    pub rejected: Vec<Value>,
}

/// What HTTP would answer.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The body of the answer.
    pub body: Value,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { status: status_of(error.kind()).as_u16(), body: error.to_json() }
    }
}

/// Decodes a body. `skip`: lines that are no events are listed beside the others.
///
/// # Errors
/// The body as a whole is refused.
pub fn decode(body: &[u8], names: &FieldNames, skip: bool, chunk: Option<Chunk>) -> Result<Body, Refused> {
    let on_error = if skip { OnError::Skip } else { OnError::Abort };
    let mut builder = BulkBuilder::new(names, on_error, chunk);
    builder.ndjson(body)?;
    let body = builder.finish()?;
    let parts = body.parts.into_iter().map(|part| Part { batch: part.batch, lines: part.lines }).collect();
    Ok(Body { parts, rejected: listed(&body.rejected) })
}

/// The status of a code; one that this version does not know is an error of the server.
#[must_use]
pub fn status_of_code(code: &str) -> u16 {
    ErrorKind::from_code(code).map_or(500, |kind| status_of(kind).as_u16())
}
