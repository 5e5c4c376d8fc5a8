//! Scans of one connection: parts go out while the client's window has room.
//!
//! A part holds whole batches as they stand in the log. Who is limited to tenants gets one event after the other, until the part is full of its own:
//! where a batch ends would tell how much of others lies in it.

use crate::access::{Caller, Need};
use crate::http::call::ServedStore;
use crate::native::outbox::Outbox;
use crate::native::refusal::{of_api, refused};
use crate::native::requests::unencodable;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use strandline_client::Refused;
use strandline_client::wire::events::EventsWriter;
use strandline_client::wire::fields::Writer;
use strandline_client::wire::read::begin_scan_part;
use strandline_engine::read::{Filter, ScanBatch};
use strandline_event::{EventRef, InvalidEvent};
use strandline_workers::ScanHandle;
use strandline_workers::permits::BytePermits;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Scans of one connection at a time.
const SCANS_MAX: usize = 8;
/// Bytes after which a part is sent.
const PART_BYTES: usize = 512 << 10;

/// The scans that run, by request.
///
/// Invariant: of [`SCANS_MAX`] places each scan holds one until it is over, cancelled or not.
#[derive(Clone)]
pub(super) struct Scans {
    running: Arc<Mutex<HashMap<u64, Arc<Window>>>>,
    places: Arc<Semaphore>,
}

/// How much a client lets a scan send.
#[derive(Default)]
struct Window {
    room: Mutex<Room>,
    changed: Notify,
}

#[derive(Default)]
struct Room {
    bytes: i64,
    cancelled: bool,
}

/// A scan of a connection, while it runs.
pub(super) struct Running {
    request: u64,
    window: Arc<Window>,
    scans: Scans,
    _place: OwnedSemaphorePermit,
}

impl Default for Scans {
    fn default() -> Self {
        Self { running: Arc::default(), places: Arc::new(Semaphore::new(SCANS_MAX)) }
    }
}

impl Scans {
    /// A scan begins, once those that were cancelled have made room. `None`: too many run, or one of this request.
    pub(super) async fn begin(&self, request: u64, bytes: u32) -> Option<Running> {
        // only who reads the connection asks, one after the other: what is counted here does not grow meanwhile
        if self.running.lock().len() >= SCANS_MAX {
            return None;
        }
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let mut scans = self.running.lock();
        if scans.contains_key(&request) {
            return None;
        }
        let window = Arc::new(Window::default());
        window.change(|room| room.bytes = i64::from(bytes));
        scans.insert(request, Arc::clone(&window));
        Some(Running { request, window, scans: self.clone(), _place: place })
    }

    /// The client takes more of a scan; one that has ended does not mind.
    pub(super) fn grant(&self, request: u64, bytes: u32) {
        if let Some(window) = self.running.lock().get(&request) {
            window.change(|room| room.bytes = room.bytes.saturating_add(i64::from(bytes)));
        }
    }

    /// The client wants no more of a scan.
    pub(super) fn cancel(&self, request: u64) {
        if let Some(window) = self.running.lock().remove(&request) {
            window.change(|room| room.cancelled = true);
        }
    }

    /// Nobody wants anything any more.
    pub(super) fn cancel_all(&self) {
        for (_, window) in self.running.lock().drain() {
            window.change(|room| room.cancelled = true);
        }
    }
}

impl Window {
    fn change(&self, change: impl FnOnce(&mut Room)) {
        change(&mut self.room.lock());
        self.changed.notify_one();
    }

    /// Waits for room; `false`: cancelled.
    async fn has_room(&self) -> bool {
        loop {
            {
                let room = self.room.lock();
                if room.cancelled {
                    return false;
                }
                if room.bytes > 0 {
                    return true;
                }
            }
            // one waiter: what is notified before is kept
            self.changed.notified().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut scans = self.scans.running.lock();
        if scans.get(&self.request).is_some_and(|window| Arc::ptr_eq(window, &self.window)) {
            scans.remove(&self.request);
        }
    }
}

impl Running {
    /// Sends everything that the filter keeps.
    pub(super) async fn run(
        self,
        (served, caller): (&ServedStore, &Caller),
        filter: Filter,
        outbox: &Outbox,
        answers: &BytePermits,
    ) {
        if let Err(error) = served.store.confirm(None).await {
            return self.fail(&refused(&error, served), outbox);
        }
        let scan = match served.store.scan(filter).await {
            Ok(scan) => scan,
            Err(error) => return self.fail(&refused(&error, served), outbox),
        };
        match self.send_all(scan, (served, caller), (outbox, answers)).await {
            Ok(()) => {}
            Err(refused) => {
                tracing::error!(store = served.store.name(), "a scan ended early: {}", refused.text);
                self.fail(&refused, outbox);
            }
        }
    }

    /// Its request.
    pub(super) const fn request(&self) -> u64 {
        self.request
    }

    /// Waits for room in the client's window; `false`: cancelled.
    pub(super) async fn has_room(&self) -> bool {
        self.window.has_room().await
    }

    /// Waits until the window is changed.
    pub(super) async fn was_changed(&self) {
        self.window.changed.notified().await;
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.window.room.lock().cancelled
    }

    /// So many bytes of the window are used.
    pub(super) fn sent(&self, bytes: usize) {
        self.window.room.lock().bytes -= bytes as i64;
    }

    pub(super) fn fail(&self, refused: &Refused, outbox: &Outbox) {
        outbox.push(refused.encode(self.request).into_bytes());
    }

    async fn send_all(
        &self,
        mut scan: ScanHandle,
        (served, caller): (&ServedStore, &Caller),
        (outbox, answers): (&Outbox, &BytePermits),
    ) -> Result<(), Refused> {
        let (mut waiting, by_event) = (Waiting::default(), served.store.is_limited());
        loop {
            caller.may(Need::Read).map_err(|refused| of_api(&refused))?;
            if !self.window.has_room().await || !outbox.has_room().await {
                return Ok(());
            }
            let room = outbox.reserve(2 * PART_BYTES).await;
            let mut part = Part::new(self.request);
            let is_last = loop {
                part.fill(&mut waiting, by_event).map_err(|error| unencodable(&error))?;
                if part.is_full() {
                    break false;
                }
                let Some(batches) = scan.next_several(PART_BYTES).await else { break true };
                waiting.batches.extend(batches.map_err(|error| refused(&error, served))?);
            };
            let (frame, body_bytes) = part.finish(is_last).map_err(|error| unencodable(&error))?;
            self.window.change(|room| room.bytes -= body_bytes as i64);
            // a part that the client does not take has ended the scan with an error
            let permit = answers.wait(frame.len()).await;
            if !outbox.answer(self.request, frame, room, permit) || is_last {
                return Ok(());
            }
        }
    }
}

/// Batches whose events are in no part yet, of the first one from an event on.
#[derive(Default)]
struct Waiting {
    batches: VecDeque<ScanBatch>,
    next: usize,
}

/// A frame of events while it is made.
struct Part {
    out: Writer,
    events: EventsWriter,
    bytes: usize,
}

impl Part {
    fn new(request: u64) -> Self {
        Self { out: begin_scan_part(request, false, PART_BYTES * 2), events: EventsWriter::default(), bytes: 0 }
    }

    /// Adds what waits: all of it, or one event after the other until the part is full.
    fn fill(&mut self, waiting: &mut Waiting, by_event: bool) -> Result<(), InvalidEvent> {
        while let Some(batch) = waiting.batches.front() {
            if by_event {
                while waiting.next < batch.len() {
                    if self.is_full() {
                        return Ok(());
                    }
                    self.push(&batch.row(waiting.next))?;
                    waiting.next += 1;
                }
                waiting.next = 0;
            } else {
                self.add(batch)?;
            }
            waiting.batches.pop_front();
        }
        Ok(())
    }

    fn add(&mut self, batch: &ScanBatch) -> Result<(), InvalidEvent> {
        if let Some(stamped) = batch.stamped() {
            self.bytes += stamped.size_bytes();
            return self.events.stamped(&mut self.out, stamped);
        }
        batch.rows().try_for_each(|event| self.push(&event))
    }

    fn push(&mut self, event: &EventRef<'_>) -> Result<(), InvalidEvent> {
        self.bytes += event.data.len() + 128;
        self.events.push(&mut self.out, event)
    }

    const fn is_full(&self) -> bool {
        self.bytes >= PART_BYTES
    }

    /// The frame, and the length of its body: what the client grants again when it has taken it.
    fn finish(mut self, is_last: bool) -> Result<(Vec<u8>, usize), InvalidEvent> {
        self.events.finish(&mut self.out)?;
        if is_last {
            self.out.set_u8(0, 1);
        }
        let body_bytes = self.out.body_bytes();
        Ok((self.out.finish().into_bytes(), body_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_that_is_cancelled_keeps_its_place_until_it_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let scans = Scans::default();
            let mut running = Vec::new();
            for request in 0..SCANS_MAX as u64 {
                running.push(scans.begin(request, 1).await.unwrap());
            }
            assert!(scans.begin(99, 1).await.is_none(), "too many run");
            scans.cancel(0);
            let ninth = scans.begin(99, 1);
            tokio::pin!(ninth);
            assert!(futures_util::poll!(ninth.as_mut()).is_pending(), "its view is still held");
            drop(running.remove(0));
            assert!(ninth.await.is_some());
        });
    }
}
