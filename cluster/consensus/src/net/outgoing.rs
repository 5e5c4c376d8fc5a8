//! Frames on their way out: a queue bounded by frames and by bytes, and its one writer.

use crate::net::kinds::{Kind, MAGIC};
use crate::net::limits::{QUEUE_BYTES_MAX, QUEUE_MAX, STALL};
use std::io;
use std::sync::Arc;
use strandline_client::wire::fields::Writer;
use strandline_event::SharedBytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use strandline_client::wire::fields::Encoded as Frame;

/// A frame with a tail of less than this is written with the frames before it.
const COPY_BYTES_MAX: usize = 16 << 10;
/// Bytes that are written at once at most, so that a slow link still shows progress.
const STEP_BYTES: usize = 1 << 20;
/// Bytes are counted in these.
const UNIT: usize = 1 << 10;

/// A frame with this body, which may go on with bytes that are not copied; what stands before those ends at a multiple of 16.
#[must_use]
pub(super) fn frame(kind: Kind, request: u64, body: &[u8], tail: Option<SharedBytes>) -> Frame {
    let mut frame = Writer::with_magic(MAGIC, kind.to_u8(), request, body.len());
    frame.bytes(body);
    frame.finish_with(tail)
}

/// A frame that waits, and the place that it takes.
#[derive(Debug)]
pub(super) struct Waiting(Frame, OwnedSemaphorePermit);

/// Puts frames into the queue. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    frames: Sender<Waiting>,
    bytes: Arc<Semaphore>,
}

/// Whoever wrote has ended.
#[derive(Debug)]
pub(super) struct Ended;

pub(super) fn queue() -> (Outbox, Receiver<Waiting>) {
    let (frames, taken) = channel(QUEUE_MAX);
    (Outbox { frames, bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX / UNIT)) }, taken)
}

impl Outbox {
    /// Waits for room and puts a frame in.
    pub(super) async fn put(&self, frame: Frame) -> Result<(), Ended> {
        let units = frame.len().div_ceil(UNIT).min(QUEUE_BYTES_MAX / UNIT);
        // QUEUE_BYTES_MAX is far below what a u32 of units holds
        let permit = Arc::clone(&self.bytes).acquire_many_owned(units as u32).await.map_err(|_| Ended)?;
        self.frames.send(Waiting(frame, permit)).await.map_err(|_| Ended)
    }
}

/// Writes what is put in until nobody can put any more in, or the stream takes nothing for [`STALL`].
pub(super) async fn write(mut frames: Receiver<Waiting>, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 << 10);
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        // what waits goes out together
        while let Some(Waiting(frame, permit)) = next {
            buffer.extend_from_slice(&frame.head);
            if let Some(tail) = &frame.tail {
                if tail.len() < COPY_BYTES_MAX {
                    buffer.extend_from_slice(tail);
                } else {
                    put(&mut stream, &buffer).await?;
                    buffer.clear();
                    put(&mut stream, tail).await?;
                }
                buffer.extend_from_slice(frame.pad());
            }
            drop(permit);
            if buffer.len() >= STEP_BYTES {
                break;
            }
            next = frames.try_recv().ok();
        }
        put(&mut stream, &buffer).await?;
        buffer.clear();
    }
    let _ = timeout(STALL, stream.shutdown()).await;
    Ok(())
}

async fn put(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    for part in bytes.chunks(STEP_BYTES) {
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing");
        timeout(STALL, stream.write_all(part)).await.map_err(slow)??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::encode_answer;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_ends_the_writing() {
        let (ours, theirs) = duplex(64 << 10);
        let (outbox, frames) = queue();
        outbox.put(encode_answer(1, vec![7; 1 << 20])).await.unwrap();
        let begun = Instant::now();
        let ended = write(frames, ours).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!((STALL..STALL * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!(outbox.put(encode_answer(2, Vec::new())).await.is_err(), "nobody writes any more");
        drop(theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_has_its_time_for_each_part() {
        let (ours, mut theirs) = duplex(64 << 10);
        let (outbox, frames) = queue();
        outbox.put(encode_answer(1, vec![7; 4 << 20])).await.unwrap();
        drop(outbox);
        let taking = tokio::spawn(async move {
            let (mut part, mut bytes) = (vec![0; 64 << 10], 0);
            loop {
                // a part of a megabyte takes 8 seconds
                sleep(Duration::from_millis(500)).await;
                match theirs.read(&mut part).await.unwrap() {
                    0 => return bytes,
                    read => bytes += read,
                }
            }
        });
        let begun = Instant::now();
        write(frames, ours).await.unwrap();
        assert!(begun.elapsed() > STALL * 2, "{:?}", begun.elapsed());
        assert!(taking.await.unwrap() > 4 << 20, "all of it, and what stands before it");
    }
}
