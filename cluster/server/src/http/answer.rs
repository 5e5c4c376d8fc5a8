//! Answers: JSON, and bytes of a format.

use crate::encode::format::Format;
use crate::error::{ApiError, ApiResult};
use crate::stall::answer_within;
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
use std::time::Duration;
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
    let (len, within) = (bytes.len() as u64, answer_within(bytes.len()));
    Ok(answer.body(SizedStream::new(len, Box::pin(pieces(bytes, permit, within)))))
}

/// What of a page is not taken yet, and its permit; `None`: its client was too slow.
type Rest = Arc<Mutex<Option<(Bytes, BytePermit)>>>;

/// The pieces of a page. The connection asks for the next one when it has room; a client that reads nothing is never heard of again, so
/// after `within` a task gives back what the page holds, and the answer breaks off.
fn pieces(bytes: Vec<u8>, permit: BytePermit, within: Duration) -> impl Stream<Item = io::Result<Bytes>> {
    let is_long = bytes.len() > PIECE_BYTES;
    let rest: Rest = Arc::new(Mutex::new(Some((Bytes::from(bytes), permit))));
    // what is taken at once needs nobody to watch it
    let watch = is_long.then(|| Watch::over(&rest, within));
    unfold((rest, watch), |(rest, watch)| async move {
        let piece = match &mut *rest.lock() {
            Some((bytes, _)) => Ok(bytes.split_to(bytes.len().min(PIECE_BYTES))),
            None => Err(io::ErrorKind::TimedOut.into()),
        };
        let is_end = piece.as_ref().is_ok_and(Bytes::is_empty);
        (!is_end).then_some((piece, (rest, watch)))
    })
}

/// Takes a page back when its time is over; ends with the answer.
struct Watch(tokio::task::JoinHandle<()>);

impl Watch {
    fn over(rest: &Rest, within: Duration) -> Self {
        let rest = Arc::downgrade(rest);
        Self(tokio::spawn(async move {
            tokio::time::sleep(within).await;
            if let Some(rest) = rest.upgrade() {
                *rest.lock() = None;
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use strandline_workers::permits::BytePermits;

    #[test]
    fn a_client_that_reads_nothing_gives_back_what_its_page_holds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let account = BytePermits::new(8 << 20);
            let page = || vec![7; 3 * PIECE_BYTES];
            let mut taken = Box::pin(pieces(page(), account.take(1 << 20).unwrap(), Duration::from_secs(600)));
            let mut bytes = 0;
            while let Some(piece) = taken.next().await {
                bytes += piece.unwrap().len();
            }
            assert_eq!(bytes, 3 * PIECE_BYTES);
            drop(taken);
            let mut silent = Box::pin(pieces(page(), account.take(1 << 20).unwrap(), Duration::ZERO));
            assert_eq!(silent.next().await.unwrap().unwrap().len(), PIECE_BYTES);
            // the answer itself is asked for nothing any more
            while account.in_flight_bytes() > 0 {
                tokio::task::yield_now().await;
            }
            assert!(silent.next().await.unwrap().is_err());
        });
    }
}
