//! Answers: JSON, and bytes of a format.

use crate::encode::format::Format;
use crate::error::{ApiError, ApiResult};
use crate::stall::Patience;
use crate::task::{Tied, look_again};
use actix_web::HttpResponse;
use actix_web::HttpResponseBuilder;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use parking_lot::Mutex;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::Instant;
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
    (permits, patience): (&BytePermits, Patience),
    mut permit: BytePermit,
    bytes: Vec<u8>,
) -> ApiResult<HttpResponse> {
    if !permits.resize(&mut permit, bytes.len()) {
        let text = "too many bytes of answers wait for their clients: try again, or ask for a smaller page";
        return Err(ApiError::new(ErrorKind::Overloaded, text));
    }
    let len = bytes.len() as u64;
    Ok(answer.body(SizedStream::new(len, Box::pin(pieces(bytes, permit, patience)))))
}

/// What of a page is not taken yet, its permit, and when its client must have taken the next piece; `None`: it was too slow.
type Rest = Arc<Mutex<Option<(Bytes, BytePermit, Instant)>>>;

/// The pieces of a page. The connection asks for the next one when it has room; a client that reads nothing is never heard of again, so
/// when it has been too slow a task gives back what the page holds, and the answer breaks off.
fn pieces(bytes: Vec<u8>, permit: BytePermit, patience: Patience) -> impl Stream<Item = io::Result<Bytes>> {
    let is_long = bytes.len() > PIECE_BYTES;
    let end = Instant::now() + patience.for_answer(bytes.len());
    let next = move || end.min(Instant::now() + patience.for_piece());
    let rest: Rest = Arc::new(Mutex::new(Some((Bytes::from(bytes), permit, next()))));
    // what is taken at once needs nobody to watch it
    let watch = is_long.then(|| watch(&rest));
    unfold((rest, watch), move |(rest, watch)| async move {
        let piece = match &mut *rest.lock() {
            Some((bytes, _, late)) => {
                *late = next();
                Ok(bytes.split_to(bytes.len().min(PIECE_BYTES)))
            }
            None => Err(io::ErrorKind::TimedOut.into()),
        };
        let is_end = piece.as_ref().is_ok_and(Bytes::is_empty);
        (!is_end).then_some((piece, (rest, watch)))
    })
}

/// Takes a page back when its time is over; ends with the answer.
fn watch(rest: &Rest) -> Tied<()> {
    let rest = Arc::downgrade(rest);
    look_again(move || look(&rest.upgrade()?))
}

/// When to look again; what is late is taken back.
fn look(rest: &Rest) -> Option<Instant> {
    let mut rest = rest.lock();
    let late = rest.as_ref().map(|(_, _, late)| *late)?;
    if late > Instant::now() {
        return Some(late);
    }
    *rest = None;
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::time::Duration;
    use strandline_workers::permits::BytePermits;

    #[test]
    fn a_client_that_reads_nothing_gives_back_what_its_page_holds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let account = BytePermits::new(8 << 20);
            let page = || vec![7; 3 * PIECE_BYTES];
            let patience = |stall| Patience { stall, ..Patience::default() };
            let mut taken =
                Box::pin(pieces(page(), account.take(1 << 20).unwrap(), patience(Duration::from_secs(600))));
            let mut bytes = 0;
            while let Some(piece) = taken.next().await {
                bytes += piece.unwrap().len();
            }
            assert_eq!(bytes, 3 * PIECE_BYTES);
            drop(taken);
            let hurry = Patience { stall: Duration::ZERO, bytes_a_second: u64::MAX };
            let mut silent = Box::pin(pieces(page(), account.take(1 << 20).unwrap(), hurry));
            assert_eq!(silent.next().await.unwrap().unwrap().len(), PIECE_BYTES);
            // the answer itself is asked for nothing any more
            while account.in_flight_bytes() > 0 {
                tokio::task::yield_now().await;
            }
            assert!(silent.next().await.unwrap().is_err());
        });
    }
}
