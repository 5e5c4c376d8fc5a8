//! What callers and the connection share, and the task that keeps a connection.

use crate::net::connection::{Open, ping, serve};
use crate::net::error::ClientError;
use crate::net::line::{Attempt, DIRECT_BYTES_MAX, Line};
use crate::net::options::Options;
use crate::net::queue::{Queue, Request, Single, Untold};
use crate::wire::fields::Encoded;
use crate::wire::frames::Frame;
use crate::wire::hello::Welcome;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

/// Pauses between attempts to connect.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    pub(super) options: Options,
    queue: Mutex<Queue>,
    pub(super) line: Line,
    /// Something waits for the connection, or the client is closed.
    pub(super) wake: Notify,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

impl Shared {
    pub(super) fn new(options: Options, welcome: Welcome) -> Arc<Self> {
        let bytes_max = options.in_flight_bytes_max.clamp(1, u32::MAX as usize);
        let queue = Mutex::new(Queue::new(welcome));
        let (line, wake, bytes) = (Line::default(), Notify::new(), Arc::new(Semaphore::new(bytes_max)));
        Arc::new(Self { options, queue, line, wake, bytes, bytes_max })
    }

    /// What the server said on the last connection.
    pub(super) fn welcome(&self) -> Option<Arc<Welcome>> {
        self.queue.lock().welcome.clone()
    }

    /// Room for so many bytes, if there is some and nobody waits for it.
    pub(super) fn room_now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(self.bytes_max) as u32;
        Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()
    }

    /// Waits for room for so many bytes.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ClientError> {
        let bytes = bytes.min(self.bytes_max) as u32;
        Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| ClientError::Closed)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.queue.lock().next_id()
    }

    pub(super) fn gather(&self, single: Single) {
        self.put(true, |queue| queue.push_single(single));
    }

    pub(super) fn send(&self, request: Request) {
        let is_small = request.frame.len() <= DIRECT_BYTES_MAX;
        self.put(is_small, |queue| queue.push_request(request));
    }

    /// Something waits for the connection: written at once where nothing else is under way, else by the connection's task, which
    /// lets gather what comes meanwhile.
    fn go_on(&self, is_alone: bool) {
        let write = |bytes: &mut Vec<u8>| self.take().iter().for_each(|frame| frame.put(bytes));
        if !is_alone || self.line.attempt(write) == Attempt::ToTask {
            self.wake.notify_one();
        }
    }

    /// A frame that nobody waits for an answer to.
    pub(super) fn tell(&self, id: u64, frame: Encoded) {
        self.put(true, |queue| {
            queue.push_word(id, frame);
            None
        });
    }

    /// Puts something into the queue, and goes on with it; who is not taken is told. `is_small`: it may be written at once.
    fn put(&self, is_small: bool, push: impl FnOnce(&mut Queue) -> Option<Untold>) {
        let mut queue = self.queue.lock();
        let was_idle = queue.is_idle();
        let untold = push(&mut queue);
        drop(queue);
        match untold {
            Some(untold) => untold.tell(),
            None => self.go_on(was_idle && is_small),
        }
    }

    /// Nobody takes the parts of a scan any more.
    pub(super) fn cancel(&self, id: u64) {
        self.queue.lock().cancel(id);
        self.wake.notify_one();
    }

    pub(super) fn ping(&self) {
        let id = self.next_id();
        self.tell(id, ping(id));
    }

    /// Frames that go to the socket now.
    pub(super) fn take(&self) -> Vec<Arc<Encoded>> {
        let mut taken = self.queue.lock().take();
        if taken.has_gathered() {
            taken.encode();
            self.queue.lock().on_its_way(&mut taken);
        }
        taken.frames
    }

    /// Hands an answer to who waits for it. What nobody waits for (a pong, a scan that was given up) is dropped.
    pub(super) fn answer(&self, frame: Frame) -> Result<(), ClientError> {
        let mut queue = self.queue.lock();
        let answered = queue.answered(&frame);
        let may_go_on = queue.has_waiting();
        drop(queue);
        let delivered = answered.map_or(Ok(()), |answered| answered.deliver(frame));
        if may_go_on {
            self.wake.notify_one();
        }
        delivered
    }

    /// Another connection begins: who cannot be served on it is told.
    fn renew(&self, welcome: &Welcome) -> Result<(), ClientError> {
        let untold = self.queue.lock().renew(welcome.clone())?;
        untold.into_iter().for_each(Untold::tell);
        Ok(())
    }

    pub(super) fn is_owed(&self) -> bool {
        self.queue.lock().is_owed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// No caller is left.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_one();
    }
}

/// Keeps a connection until the client is closed.
pub(super) async fn run(shared: Arc<Shared>, first: Open) {
    let mut open = first;
    loop {
        let why = serve(&shared, open).await;
        let untold = shared.queue.lock().broke(&why);
        untold.into_iter().for_each(Untold::tell);
        match reconnect(&shared).await {
            Some(again) => open = again,
            None => return,
        }
    }
}

/// Tries again and again while anybody waits. `None`: the client is closed.
async fn reconnect(shared: &Shared) -> Option<Open> {
    let mut pause = PAUSE_FIRST;
    let mut since = Instant::now();
    loop {
        if shared.is_closed() {
            return None;
        }
        if shared.queue.lock().is_idle() {
            shared.wake.notified().await;
            since = Instant::now();
            continue;
        }
        let opened = Open::new(&shared.options).await;
        match opened.and_then(|open| shared.renew(&open.welcome).map(|()| open)) {
            Ok(open) => return Some(open),
            Err(error) => {
                let is_final = !matches!(error, ClientError::Unreachable { .. }) && !is_passing(&error);
                if is_final || since.elapsed() >= shared.options.patience {
                    let untold = shared.queue.lock().give_up(&error);
                    untold.into_iter().for_each(Untold::tell);
                }
            }
        }
        // a client that is closed does not wait
        let _ = timeout(pause, async {
            while !shared.is_closed() {
                sleep(PAUSE_FIRST).await;
            }
        })
        .await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A refusal that another attempt may not meet.
fn is_passing(error: &ClientError) -> bool {
    use strandline_event::ErrorKind::{Overloaded, Unavailable};
    matches!(error.kind(), Some(Overloaded | Unavailable))
}
