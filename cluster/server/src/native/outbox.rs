//! Answers of one connection on their way out: whoever has one puts it here. Where nothing waits it is written at once, which saves a
//! change of threads; else, and what the socket does not take at once, one task writes.
//!
//! Invariant: answers that nobody takes hold up their own connection and nothing else. Their bytes are reserved before they are made and
//! held until they are written, out of an account of the connection's own that is a part of the node's; a connection that takes
//! nothing for a while, or next to nothing for longer ([`Pace`]), ends.

use crate::stall::{Pace, Patience};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use strandline_client::Refused;
use strandline_client::wire::header::{HEADER_BYTES, KIND_AT, Kind};
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_event::ErrorKind;
use strandline_workers::permits::{BytePermit, BytePermits};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes of answers that wait before no further request is read.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Answers up to this size are written together.
const TOGETHER_BYTES: usize = 64 << 10;

/// What is said instead of an answer that is too large. An append was done by then: it must not be called refused.
fn too_large(answer: &[u8], why: &str) -> Refused {
    match answer.get(KIND_AT).copied().and_then(Kind::from_u8) {
        Some(Kind::Appended | Kind::BulkAppended) => {
            let text =
                format!("{why}: the appends were judged and may be stored; read their streams, or append less at once");
            Refused { code: OUTCOME_UNKNOWN.to_owned(), text, ..Refused::default() }
        }
        _ => Refused::new(ErrorKind::TooLarge, format!("{why}: ask for less at once")),
    }
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(Vec<u8>, Held)>,
    /// Of the frames, and of those that the task writes.
    bytes: usize,
    /// Where who has an answer may write it.
    direct: Option<Direct>,
    /// No further answer comes.
    closed: bool,
    /// The socket takes nothing any more.
    broken: bool,
}

/// Writes what the socket takes without waiting.
pub(super) type Direct = Box<dyn Fn(&[u8]) -> io::Result<usize> + Send>;

/// What an answer holds until it is written: of the connection's account, and of the node's.
pub(super) type Held = [BytePermit; 2];

impl Waiting {
    /// Bytes that the socket took. An error is the task's to find.
    fn write_directly(&self, frame: &[u8]) -> usize {
        let Some(direct) = &self.direct else { return 0 };
        direct(frame).unwrap_or(0)
    }
}

/// The answers that wait.
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Bytes of answers that this connection may hold.
    account: BytePermits,
    patience: Patience,
    /// Something can be written, or nothing more will come.
    wake: Notify,
    /// There may be room again.
    room: Notify,
    /// The largest body that the client takes.
    body_max: AtomicUsize,
}

impl Outbox {
    /// For a connection that may hold so many bytes of answers.
    pub(super) fn new(held_bytes_max: usize, patience: Patience) -> Self {
        Self {
            waiting: Mutex::default(),
            account: BytePermits::new(held_bytes_max.max(1)),
            patience,
            wake: Notify::new(),
            room: Notify::new(),
            body_max: AtomicUsize::new(usize::MAX),
        }
    }

    /// Answers may be written where they are made, in whole frames or not: one that is cut goes on with the task.
    pub(super) fn set_direct(&self, direct: Direct) {
        self.waiting.lock().direct = Some(direct);
    }

    /// Room for an answer that is to be made; waits until the client has taken enough of the others.
    pub(super) async fn reserve(&self, bytes: usize) -> BytePermit {
        self.account.wait(bytes).await
    }

    /// The largest body that the client takes.
    pub(super) fn set_body_max(&self, bytes: u32) {
        self.body_max.store(bytes as usize, Ordering::Relaxed);
    }

    /// Adds the answer to a request; one that the client does not take is an error instead, and `false`. `room` was reserved for it.
    pub(super) fn answer(&self, request: u64, frame: Vec<u8>, mut room: BytePermit, permit: BytePermit) -> bool {
        // one that was foreseen too small goes out with what it has
        let _ = self.account.resize(&mut room, frame.len());
        let (bytes, limit) = (frame.len().saturating_sub(HEADER_BYTES), self.body_max.load(Ordering::Relaxed));
        if bytes <= limit {
            self.put(frame, [room, permit]);
            return true;
        }
        let told = too_large(&frame, &format!("the answer has {bytes} bytes and this client takes {limit}"));
        self.push(told.encode(request).into_bytes());
        false
    }

    /// Adds a small frame that nobody reserved room for.
    pub(super) fn push(&self, frame: Vec<u8>) {
        self.put(frame, Held::default());
    }

    fn put(&self, mut frame: Vec<u8>, held: Held) {
        let mut waiting = self.waiting.lock();
        if waiting.broken {
            return;
        }
        if waiting.bytes == 0 && frame.len() <= TOGETHER_BYTES {
            let written = waiting.write_directly(&frame);
            if written == frame.len() {
                return;
            }
            frame.drain(..written);
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back((frame, held));
        drop(waiting);
        self.wake.notify_one();
    }

    /// Waits until so much has been taken that more may come; `false`: nobody takes anything any more.
    pub(super) async fn has_room(&self) -> bool {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            // heard from here on: what is freed between the look and the wait is not missed
            freed.as_mut().enable();
            {
                let waiting = self.waiting.lock();
                if waiting.broken {
                    return false;
                }
                if waiting.bytes < WAITING_BYTES_MAX {
                    return true;
                }
            }
            freed.await;
        }
    }

    /// What is there is written, then the socket is closed.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Writes until it is closed and empty, or the socket breaks or takes nothing any more.
    pub(super) async fn write_to(&self, mut socket: impl AsyncWrite + Unpin) {
        let mut together = Vec::with_capacity(TOGETHER_BYTES);
        loop {
            let (taken, permits) = self.take(&mut together);
            if taken == 0 {
                if self.waiting.lock().closed {
                    break;
                }
                self.wake.notified().await;
                continue;
            }
            if !self.write(&mut socket, &together).await {
                self.broke();
                return;
            }
            drop(permits);
            self.waiting.lock().bytes -= taken;
            self.room.notify_waiters();
        }
        self.waiting.lock().direct = None;
        // a peer that is gone does not mind
        let _ = socket.shutdown().await;
    }

    /// `false`: the socket is broken, or has taken nothing for too long.
    async fn write(&self, socket: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> bool {
        let mut pace = Pace::begin(Instant::now(), self.patience);
        while !bytes.is_empty() {
            match timeout(pace.patience(Instant::now()), socket.write(bytes)).await {
                Ok(Ok(taken)) if taken > 0 => {
                    pace.took(taken);
                    bytes = bytes.get(taken..).unwrap_or(&[]);
                }
                _ => return false,
            }
        }
        // TLS keeps what the socket did not take
        matches!(timeout(self.patience.stall, socket.flush()).await, Ok(Ok(())))
    }

    /// Takes frames that are written together: several small ones, or one.
    fn take(&self, together: &mut Vec<u8>) -> (usize, Vec<Held>) {
        together.clear();
        let mut waiting = self.waiting.lock();
        let mut permits = Vec::new();
        while let Some((frame, held)) = waiting
            .frames
            .pop_front_if(|(frame, _)| together.is_empty() || together.len() + frame.len() <= TOGETHER_BYTES)
        {
            permits.push(held);
            if together.is_empty() && frame.len() > TOGETHER_BYTES {
                *together = frame;
            } else {
                together.extend_from_slice(&frame);
            }
        }
        (together.len(), permits)
    }

    fn broke(&self) {
        let mut waiting = self.waiting.lock();
        waiting.broken = true;
        waiting.direct = None;
        waiting.frames.clear();
        waiting.bytes = 0;
        drop(waiting);
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
