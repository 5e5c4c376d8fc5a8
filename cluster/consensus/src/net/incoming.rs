//! Frames on their way in: cut by `strandline_client::wire`, as a client's are, within the times that nodes give each other.
//!
//! A length is not believed: room is made as the bytes come.

use crate::net::kinds::{MAGIC, NetError};
use crate::net::limits::STALL;
use std::io;
use std::time::Duration;
use strandline_client::wire::frames::{FrameReader, Step};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// A whole frame.
pub(super) use strandline_client::wire::frames::Frame as Arrived;

/// So much of a body has to come within [`STALL`].
const STEP_BYTES: usize = 1 << 20;

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
    stream: R,
    frames: FrameReader,
}

/// What has to be there by a moment, however slowly its bytes come: a frame's first byte, the rest of its header, each [`STEP_BYTES`] of
/// its body, the end of it.
struct Part {
    limit: Duration,
    until: Instant,
    came: usize,
}

impl Part {
    fn begin(limit: Duration) -> Self {
        Self { limit, until: Instant::now() + limit, came: 0 }
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Reads bodies of at most `body_max` bytes.
    pub(super) fn new(stream: R, body_max: usize) -> Self {
        Self { stream, frames: FrameReader::with_magic(MAGIC, body_max) }
    }

    /// From now on bodies may be larger.
    pub(super) const fn set_body_max(&mut self, body_max: usize) {
        self.frames.set_body_max(body_max);
    }

    /// The next frame; `idle`: how long its first byte may take. It must be polled to its end: who begins again gives the part that
    /// comes its whole time again.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Arrived, ReadError> {
        let mut part = Part::begin(if self.frames.is_between_frames() { idle } else { STALL });
        loop {
            match self.frames.step().map_err(NetError::from)? {
                Step::Frame(frame) => return Ok(frame),
                Step::Head(_) => part = Part::begin(STALL),
                Step::Skipped(_) => {}
                Step::More => self.more(&mut part).await?,
            }
        }
    }

    async fn more(&mut self, part: &mut Part) -> Result<(), ReadError> {
        let is_first = self.frames.is_between_frames();
        let read = timeout_at(part.until, self.stream.read(self.frames.space())).await;
        let bytes = match read {
            Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => read?,
            Err(_) => return Err(ReadError::Silent(part.limit)),
        };
        self.frames.filled(bytes);
        part.came += bytes;
        if is_first || part.came >= STEP_BYTES {
            *part = Part::begin(STALL);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::encode_answer;
    use crate::net::limits::{BODY_BYTES_MAX, IDLE};
    use strandline_client::wire::error::WireError;
    use strandline_client::wire::fields::Writer;
    use strandline_client::wire::header::Kind;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    /// `first` bytes at once, the others in parts with a pause before each; the stream stays open.
    fn sent(bytes: Vec<u8>, first: usize, part: usize, pause: Duration) -> Incoming<DuplexStream> {
        let (ours, mut theirs) = duplex(64 << 10);
        tokio::spawn(async move {
            let (first, rest) = bytes.split_at(first);
            theirs.write_all(first).await.unwrap();
            for part in rest.chunks(part) {
                sleep(pause).await;
                if theirs.write_all(part).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        Incoming::new(ours, BODY_BYTES_MAX)
    }

    async fn is_silent(mut incoming: Incoming<DuplexStream>) -> Option<Duration> {
        match incoming.next(IDLE).await {
            Err(ReadError::Silent(limit)) => Some(limit),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_of_a_frame_has_its_time_however_its_bytes_come() {
        let (frame, second) = (encode_answer(1, vec![7; 100]).into_bytes(), Duration::from_secs(1));
        assert_eq!(is_silent(sent(Vec::new(), 0, 1, second)).await, Some(IDLE));
        // byte by byte: the header, and a body behind a whole header
        assert_eq!(is_silent(sent(frame.clone(), 0, 1, second)).await, Some(STALL));
        assert_eq!(is_silent(sent(frame.clone(), 32, 1, second)).await, Some(STALL));
        let arrived = sent(frame, 32, 20, second).next(IDLE).await.unwrap();
        assert_eq!((arrived.header.request, &arrived.body[..]), (1, &[7; 100][..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_may_take_its_time_for_each_part() {
        let (frame, part) = (encode_answer(1, vec![7; 3 << 20]).into_bytes(), STEP_BYTES / 4);
        let begun = Instant::now();
        let arrived = sent(frame.clone(), 32, part, STALL / 5).next(IDLE).await.unwrap();
        assert_eq!(arrived.body.len(), 3 << 20);
        assert!(arrived.body.is_aligned() && begun.elapsed() > STALL * 2);
        assert_eq!(is_silent(sent(frame, 32, part, STALL / 3)).await, Some(STALL));
    }

    #[tokio::test]
    async fn a_stream_that_ends_in_the_middle_of_a_frame_is_no_frame() {
        let frame = encode_answer(1, vec![7; 100]).into_bytes();
        for end in [0, 1, 32, frame.len() - 1] {
            let mut incoming = Incoming::new(&frame[..end], BODY_BYTES_MAX);
            assert!(matches!(incoming.next(IDLE).await, Err(ReadError::Io(_))), "cut at {end}");
        }
    }

    #[tokio::test]
    async fn another_limit_of_bodies_holds_from_the_next_frame_on() {
        let frame = encode_answer(1, vec![7; 100]).into_bytes();
        let both = [&frame[..], &frame[..]].concat();
        let mut incoming = Incoming::new(&both[..], 100);
        assert_eq!(incoming.next(IDLE).await.unwrap().body.len(), 100);
        incoming.set_body_max(99);
        let refused = incoming.next(IDLE).await.unwrap_err();
        let wanted = NetError::Frame(WireError::TooLarge { bytes: 100, limit: 99 });
        assert!(matches!(refused, ReadError::Bad(error) if error == wanted), "{refused}");
    }

    #[tokio::test]
    async fn frames_of_clients_are_none() {
        let ping = Writer::new(Kind::Ping, 1).finish().into_bytes();
        let mut incoming = Incoming::new(&ping[..], 100);
        assert!(matches!(incoming.next(IDLE).await, Err(ReadError::Bad(NetError::Magic))));
    }
}
