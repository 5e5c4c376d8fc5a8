//! The scan: everything, each event once, in storage order, as fast as the client takes it.
//!
//! A piece of a batch is encoded ahead of the connection, no more: back-pressure goes down to the files. A client that is slower than any
//! answer may be taken is given up, with the files that its scan holds (`http/paced.rs`). (The batch itself may be a whole bulk body of the log, which all readers share.)
//!
//! Pieces are chunks of the answer, which a client can tell apart. Who is limited to tenants gets them by the bytes of its own events: where a batch ends
//! would tell how much of others lies in it. What waits for long goes out nevertheless: clients give up an answer that is silent. (An encoder of Arrow gives record batches by the events that it was given, whatever they came in.)
//!
//! The status waits for the first piece, so that what cannot be read at its begin is answered as any read. Where that is met later the connection breaks before the
//! answer ends: nobody takes a part for the whole. NDJSON says before it in a last line what it was.

use crate::access::{Caller, Need};
use crate::encode::event::Shape;
use crate::encode::format::{Format, wanted};
use crate::error::{ApiError, ApiResult, status_of};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::paced::paced;
use crate::routes::events::filter;
use crate::routes::{confirm_order, confirms};
use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::stream::unfold;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_durable::ipc::{Encoder, IpcError};
use strandline_engine::read::ScanBatch;
use strandline_event::ErrorKind;
use strandline_workers::ScanHandle;
use tokio::time::timeout;

/// Bytes of events that are encoded at once, and an event more.
const PIECE_BYTES: usize = 1 << 20;

/// The same for who is limited to tenants, at least too while there are more.
const OWN_PIECE_BYTES: usize = 64 << 10;

/// How long events wait for others that fill a piece, and for the batch that is read meanwhile.
const WAITS_MAX: Duration = Duration::from_secs(5);

/// How long the status waits for the first piece: less than the five seconds without a byte after which many a client gives up, and a node that
/// hands the answer on looks whether this one lives.
const BEGINS_WITHIN: Duration = Duration::from_secs(3);

/// What an event takes beside its texts, about.
const ROW_BYTES: usize = 512;

/// GET /v1/stores/{store}/scan
pub(crate) async fn scan(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let format = wanted(&call.request, &[Format::Ndjson, Format::Arrow])?;
    let query = call.query()?;
    let filter = filter(&query)?;
    let confirms = confirms(&query)?;
    query.finish()?;
    confirm_order(&served, confirms, filter.stream_type.as_deref()).await?;
    let scan = served.store.scan(filter).await.map_err(|e| failure::answer(&e, served.names()))?;
    let encoder = match format {
        Format::Arrow => Some(Encoder::new(served.names()).map_err(broken)?),
        _ => None,
    };
    let (caller, patience) = (call.caller(), call.app.patience);
    let (piece_bytes, least_bytes) = if served.store.is_limited() && encoder.is_none() {
        (OWN_PIECE_BYTES, OWN_PIECE_BYTES)
    } else {
        (PIECE_BYTES, 1)
    };
    let is_arrow = encoder.is_some();
    let scanning = Scanning { served, caller, scan, batch: None, encoder, is_arrow, piece_bytes, least_bytes };
    let mut making: Making = Box::pin(Box::new(scanning).made());
    let first = match timeout(BEGINS_WITHIN, &mut making).await {
        Ok((_, Err(error))) => return Err(error),
        Ok((scanning, Ok(piece))) => Step::Made(scanning, piece),
        // what is asked for is far behind: a client gives up an answer that is silent
        Err(_) => Step::Making(making),
    };
    let chunks = unfold(first, Step::next);
    Ok(HttpResponse::Ok().content_type(format.content_type()).streaming(paced(chunks, patience)))
}

/// A piece, and whether there may be more.
type Piece = (Bytes, bool);
/// The next piece while it is made.
type Making = Pin<Box<dyn Future<Output = (Box<Scanning>, ApiResult<Piece>)> + Send>>;

/// Where an answer stands.
enum Step {
    Making(Making),
    Made(Box<Scanning>, Piece),
    /// Why it ends was said.
    Breaks(io::Error),
    Over,
}

impl Step {
    async fn next(self) -> Option<(io::Result<Bytes>, Self)> {
        let (scanning, made) = match self {
            Self::Making(making) => making.await,
            Self::Made(scanning, piece) => (scanning, Ok(piece)),
            Self::Breaks(error) => {
                // the connection sends what it has when nothing is ready, and nothing more behind an error
                tokio::task::yield_now().await;
                return Some((Err(error), Self::Over));
            }
            Self::Over => return None,
        };
        Some(match made {
            Ok((bytes, true)) => (Ok(bytes), Self::Making(Box::pin(scanning.made()))),
            Ok((bytes, false)) => (Ok(bytes), Self::Over),
            Err(error) => {
                let breaks = io::Error::other(error.to_string());
                match scanning.last_line(&error) {
                    Some(line) => (Ok(line), Self::Breaks(breaks)),
                    None => (Err(breaks), Self::Over),
                }
            }
        })
    }
}

fn broken(error: IpcError) -> ApiError {
    ApiError::new(ErrorKind::Io, format!("the events cannot be put into Arrow: {error}"))
}

/// Whether a piece of so many bytes goes out, so long after it was begun.
fn goes(bytes: usize, least_bytes: usize, waited: Duration) -> bool {
    bytes >= least_bytes || (bytes > 0 && waited >= WAITS_MAX)
}

struct Scanning {
    served: Arc<ServedStore>,
    caller: Caller,
    scan: ScanHandle,
    /// The batch that is being encoded, and its next event.
    batch: Option<(ScanBatch, usize)>,
    encoder: Option<Encoder>,
    is_arrow: bool,
    /// A piece is as large, and an event more.
    piece_bytes: usize,
    /// None but the last is smaller, or one that has waited.
    least_bytes: usize,
}

impl Scanning {
    async fn made(mut self: Box<Self>) -> (Box<Self>, ApiResult<Piece>) {
        let piece = self.chunk().await;
        (self, piece)
    }

    /// What it ends with where it ends early; an Arrow stream has no place for it.
    fn last_line(&self, error: &ApiError) -> Option<Bytes> {
        if self.is_arrow {
            return None;
        }
        let is_others = self.served.store.is_limited() && status_of(error.kind()).is_server_error();
        let told = if is_others { error.for_tenants().to_json() } else { error.to_json() };
        Some(format!("{told}\n").into())
    }

    async fn chunk(&mut self) -> ApiResult<Piece> {
        let (mut out, began) = (Vec::new(), Instant::now());
        while let Some((batch, next)) = self.next().await? {
            let next = self.encode(&mut out, &batch, next)?;
            if next < batch.len() {
                self.batch = Some((batch, next));
            }
            if goes(out.len(), self.least_bytes, began.elapsed()) {
                return Ok((out.into(), true));
            }
        }
        if let Some(encoder) = self.encoder.take() {
            out.extend(encoder.finish().map_err(broken)?);
        }
        Ok((out.into(), false))
    }

    /// The batch to go on with.
    async fn next(&mut self) -> ApiResult<Option<(ScanBatch, usize)>> {
        let begun = self.batch.take();
        let next = match begun {
            Some(begun) => Some(begun),
            None => match self.scan.next().await {
                Some(Ok(batch)) => Some((batch, 0)),
                Some(Err(e)) => {
                    tracing::error!(store = self.served.store.name(), "a scan ended early: {e}");
                    return Err(failure::answer(&e, self.served.names()));
                }
                None => None,
            },
        };
        if next.is_some() {
            self.caller.may(Need::Read)?;
        }
        Ok(next)
    }

    /// Adds events of a batch from `next` on to a piece; where the next one begins.
    fn encode(&mut self, out: &mut Vec<u8>, batch: &ScanBatch, mut next: usize) -> ApiResult<usize> {
        if let Some(encoder) = &mut self.encoder {
            let mut bytes = 0;
            while next < batch.len() && bytes < self.piece_bytes {
                let event = batch.row(next);
                bytes += event.data.len() + event.metadata.map_or(0, str::len) + ROW_BYTES;
                encoder.push(&event).map_err(broken)?;
                next += 1;
            }
            let ready = encoder.take();
            if out.is_empty() {
                *out = ready;
            } else {
                out.extend(ready);
            }
            return Ok(next);
        }
        out.reserve(self.piece_bytes.min((batch.len() - next) * ROW_BYTES));
        while next < batch.len() && out.len() < self.piece_bytes {
            self.served.writer.write(out, &batch.row(next), Shape::Line, false);
            out.push(b'\n');
            next += 1;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_goes_out_when_it_is_full_or_has_waited_and_never_empty() {
        let (now, late) = (Duration::ZERO, WAITS_MAX);
        assert!(goes(OWN_PIECE_BYTES, OWN_PIECE_BYTES, now) && goes(1, 1, now));
        assert!(!goes(OWN_PIECE_BYTES - 1, OWN_PIECE_BYTES, now) && goes(1, OWN_PIECE_BYTES, late));
        assert!(!goes(0, 1, late) && !goes(0, OWN_PIECE_BYTES, late));
    }
}
