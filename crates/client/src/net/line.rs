//! Who writes to the socket: the connection's task; or, where nothing is under way, the caller itself, which saves a change of
//! threads on the way.
//!
//! Invariant: one writer at a time. A caller writes only while the task has nothing to write, without waiting; what the socket does
//! not take at once is left to the task, in order.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::net::tcp::OwnedWriteHalf;

/// A larger frame is the task's: a caller does not copy much into the kernel.
pub(super) const DIRECT_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
struct State {
    /// Of the connection, while there is one.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// The task writes.
    busy: bool,
    /// What a caller began to write and the socket did not take.
    rest: Vec<u8>,
}

/// The way to one connection's socket.
#[derive(Default)]
pub(super) struct Line(Mutex<State>);

/// What became of a caller's attempt.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// All of it is with the kernel.
    Done,
    /// The task has to write: something else, or what is left.
    ToTask,
}

impl Line {
    /// A connection begins.
    pub(super) fn open(&self, socket: Arc<OwnedWriteHalf>) {
        *self.0.lock() = State { socket: Some(socket), ..State::default() };
    }

    /// The connection is over: nobody writes to it any more.
    pub(super) fn close(&self) {
        *self.0.lock() = State::default();
    }

    /// Writes what `take` gives, if nobody writes. What was taken and not written is left to the task.
    pub(super) fn attempt(&self, take: impl FnOnce(&mut Vec<u8>)) -> Attempt {
        // somebody else is here: then the task is woken anyway
        let Some(mut state) = self.0.try_lock() else { return Attempt::ToTask };
        if state.busy || !state.rest.is_empty() {
            return Attempt::ToTask;
        }
        let Some(socket) = state.socket.clone() else { return Attempt::ToTask };
        let mut bytes = Vec::new();
        take(&mut bytes);
        let mut written = 0;
        while written < bytes.len() {
            match socket.try_write(bytes.get(written..).unwrap_or_default()) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // full, or broken: the task finds out which
                _ => {
                    state.rest = bytes.split_off(written);
                    return Attempt::ToTask;
                }
            }
        }
        Attempt::Done
    }

    /// The task writes from here on: what was left, and what `take` gives. `false`: there is nothing, and callers may write.
    pub(super) fn begin(&self, rest: &mut Vec<u8>, take: impl FnOnce() -> bool) -> bool {
        let mut state = self.0.lock();
        rest.append(&mut state.rest);
        let has_more = take();
        state.busy = has_more || !rest.is_empty();
        state.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn connected() -> (Arc<OwnedWriteHalf>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Arc::new(ours.into_split().1), theirs)
    }

    #[test]
    fn a_caller_writes_only_where_nobody_else_does_and_what_is_left_comes_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let line = Line::default();
            assert_eq!(line.attempt(|_| panic!("nothing is taken without a connection")), Attempt::ToTask);
            let (socket, mut peer) = connected().await;
            line.open(socket);
            assert_eq!(line.attempt(|bytes| bytes.extend_from_slice(b"one")), Attempt::Done);
            let mut read = [0; 3];
            peer.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"one");

            // more than the kernel takes: the rest is the task's, and nobody passes it
            let large = vec![b'x'; 64 << 20];
            assert_eq!(line.attempt(|bytes| bytes.extend_from_slice(&large)), Attempt::ToTask);
            assert_eq!(line.attempt(|_| panic!("a rest waits")), Attempt::ToTask);
            let mut rest = Vec::new();
            assert!(line.begin(&mut rest, || false), "there is a rest to write");
            assert!(!rest.is_empty() && rest.len() < large.len());
            assert_eq!(line.attempt(|_| panic!("the task writes")), Attempt::ToTask);
            assert!(!line.begin(&mut Vec::new(), || false), "all is written");

            line.close();
            assert_eq!(line.attempt(|_| panic!("the connection is over")), Attempt::ToTask);
        });
    }
}
