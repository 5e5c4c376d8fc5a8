//! Frames on their way in: read whole, into buffers whose first byte stands at a multiple of 16.
//!
//! A length is not believed: room is made as the bytes come.

use crate::net::header::{ALIGN, HEADER_BYTES, Header, NetError};
use crate::net::limits::STALL;
use std::io;
use std::time::Duration;
use strandline_event::SharedBytes;
use strandline_event::bytes::AlignedBytes;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

/// Room that is made before a byte of a body has come, and the least by which it grows.
const STEP_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;

/// A whole frame.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) header: Header,
    pub(super) body: SharedBytes,
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The other side is done, or the stream broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It sends what nobody may send.
    #[error(transparent)]
    Bad(#[from] NetError),
    /// Nothing came for too long.
    #[error("nothing was heard for {} seconds", .0.as_secs())]
    Silent(Duration),
}

pub(super) struct Incoming<R> {
    stream: BufReader<R>,
    body_max: usize,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Reads bodies of at most `body_max` bytes.
    pub(super) fn new(stream: R, body_max: usize) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER_BYTES, stream), body_max }
    }

    /// From now on bodies may be larger.
    pub(super) const fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    /// The next frame; `idle`: how long its first byte may take. It must be polled to its end: a frame that was begun and given
    /// up is lost.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Arrived, ReadError> {
        let mut head = [0; HEADER_BYTES];
        let (first, rest) = head.split_at_mut(1);
        within(idle, self.stream.read_exact(first)).await?;
        within(STALL, self.stream.read_exact(rest)).await?;
        let header = Header::decode(&head)?;
        let bytes = header.body_bytes as usize;
        if bytes > self.body_max {
            return Err(NetError::TooLarge { bytes, limit: self.body_max }.into());
        }
        let body = self.body(bytes).await?;
        if crc32c::crc32c(&body) != header.body_crc {
            return Err(NetError::BodyCrc.into());
        }
        Ok(Arrived { header, body })
    }

    async fn body(&mut self, bytes: usize) -> Result<SharedBytes, ReadError> {
        let padded = bytes.next_multiple_of(ALIGN);
        let mut buffer = AlignedBytes::with_capacity(padded.min(STEP_BYTES));
        while buffer.len() < padded {
            let (from, room) = (buffer.len(), buffer.len().max(STEP_BYTES));
            buffer.resize(padded.min(from + room), 0);
            for part in buffer.get_mut(from..).unwrap_or_default().chunks_mut(STEP_BYTES) {
                within(STALL, self.stream.read_exact(part)).await?;
            }
        }
        if buffer.iter().skip(bytes).any(|byte| *byte != 0) {
            return Err(NetError::Field(crate::fields::FieldError::NotZero).into());
        }
        buffer.resize(bytes, 0);
        Ok(SharedBytes::from_aligned(buffer))
    }
}

async fn within<T>(limit: Duration, read: impl Future<Output = io::Result<T>>) -> Result<T, ReadError> {
    match timeout(limit, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(ReadError::Silent(limit)),
    }
}
