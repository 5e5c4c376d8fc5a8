//! Pages of history that followers are in the middle of: bounded over all of them together.
//!
//! A follower whose client takes nothing holds a page for long; when others need the room it is taken away, and its follower reads
//! it again. So slow clients cost reads of their own and no memory.

use super::page::FollowPage;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::Position;

struct Held {
    page: Arc<FollowPage>,
    after: Position,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Inner {
    held: HashMap<u64, Held>,
    bytes: usize,
    uses: u64,
    next_reader: u64,
}

/// The shelf.
pub(super) struct Shelf {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

impl Shelf {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    /// The number of one more reader.
    pub(super) fn next_reader(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.next_reader += 1;
        inner.next_reader
    }

    /// The page of a reader, if it holds what comes behind `through`.
    pub(super) fn get(&self, reader: u64, through: Position) -> Option<Arc<FollowPage>> {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        let held = inner.held.get_mut(&reader)?;
        held.used = uses;
        (held.after <= through && through < held.page.rows().through).then(|| Arc::clone(&held.page))
    }

    /// Puts a reader's page in the place of its last one; those that were not used for longest go where there is no room.
    pub(super) fn put(&self, reader: u64, after: Position, page: &Arc<FollowPage>) {
        let bytes = page.rows().bytes();
        let mut inner = self.inner.lock();
        inner.remove(reader);
        while inner.bytes + bytes > self.bytes_max {
            let oldest = inner.held.iter().min_by_key(|(_, held)| held.used).map(|(reader, _)| *reader);
            let Some(oldest) = oldest else { break };
            inner.remove(oldest);
        }
        inner.uses += 1;
        let used = inner.uses;
        inner.bytes += bytes;
        inner.held.insert(reader, Held { page: Arc::clone(page), after, bytes, used });
    }

    /// A reader is done with its page.
    pub(super) fn remove(&self, reader: u64) {
        self.inner.lock().remove(reader);
    }
}

impl Inner {
    fn remove(&mut self, reader: u64) {
        if let Some(held) = self.held.remove(&reader) {
            self.bytes -= held.bytes;
        }
    }
}
