//! The scan: everything, each event once, in storage order, as fast as the client takes it.
//!
//! One batch is encoded ahead of the connection, no more: back-pressure goes down to the files.

use crate::access::{Caller, Need};
use crate::encode::event::Shape;
use crate::encode::format::{Format, wanted};
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::routes::events::filter;
use crate::routes::{confirm, confirms};
use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::stream::unfold;
use std::io;
use std::sync::Arc;
use strandline_durable::ipc::{Encoder, IpcError};
use strandline_engine::read::ScanBatch;
use strandline_event::ErrorKind;
use strandline_workers::ScanHandle;

/// GET /v1/stores/{store}/scan
pub(crate) async fn scan(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let format = wanted(&call.request, &[Format::Ndjson, Format::Arrow])?;
    let query = call.query()?;
    let filter = filter(&query)?;
    let confirms = confirms(&query)?;
    query.finish()?;
    confirm(&served, confirms, None).await?;
    let scan = served.store.scan(filter).await.map_err(|e| failure::answer(&e, served.names()))?;
    let encoder = match format {
        Format::Arrow => Some(Encoder::new(served.names()).map_err(broken)?),
        _ => None,
    };
    let caller = call.caller();
    let state = Some(Scanning { served, caller, scan, encoder });
    let chunks = unfold(state, |state| async move {
        let mut scanning = state?;
        match scanning.chunk().await {
            Ok((bytes, true)) => Some((Ok(bytes), Some(scanning))),
            Ok((bytes, false)) => Some((Ok(bytes), None)),
            // the status is sent already: the connection breaks, so that nobody takes a part for the whole
            Err(e) => Some((Err(e), None)),
        }
    });
    Ok(HttpResponse::Ok().content_type(format.content_type()).streaming(chunks))
}

fn broken(error: IpcError) -> ApiError {
    ApiError::new(ErrorKind::Io, format!("the events cannot be put into Arrow: {error}"))
}

struct Scanning {
    served: Arc<ServedStore>,
    caller: Caller,
    scan: ScanHandle,
    encoder: Option<Encoder>,
}

impl Scanning {
    /// The next bytes that are not empty, and whether there may be more.
    async fn chunk(&mut self) -> io::Result<(Bytes, bool)> {
        while let Some(batch) = self.scan.next().await {
            self.caller.may(Need::Read).map_err(|refused| io::Error::other(refused.to_string()))?;
            let batch = batch.map_err(|e| {
                tracing::error!(store = self.served.store.name(), "a scan ended early: {e}");
                io::Error::other(e.to_string())
            })?;
            let bytes = self.encode(&batch)?;
            if !bytes.is_empty() {
                return Ok((bytes.into(), true));
            }
        }
        let rest = match self.encoder.take() {
            Some(encoder) => encoder.finish().map_err(io::Error::other)?,
            None => Vec::new(),
        };
        Ok((rest.into(), false))
    }

    fn encode(&mut self, batch: &ScanBatch) -> io::Result<Vec<u8>> {
        if let Some(encoder) = &mut self.encoder {
            for event in batch.rows() {
                encoder.push(&event).map_err(io::Error::other)?;
            }
            return Ok(encoder.take());
        }
        let mut out = Vec::with_capacity(batch.len() * 512);
        for event in batch.rows() {
            self.served.writer.write(&mut out, &event, Shape::Line, false);
            out.push(b'\n');
        }
        Ok(out)
    }
}
