//! What became of a group that was handed over: here, if it is known by the time the owner looks; later, by the way of all groups.
//!
//! Invariant: it is told once.

use parking_lot::Mutex;
use strandline_wal::{Group, GroupFailed};

type Written = Result<Group, GroupFailed>;

/// The place of one group.
#[derive(Default)]
pub(super) struct WrittenHere(Mutex<Looked>);

#[derive(Default)]
struct Looked {
    result: Option<Written>,
    /// The owner has looked.
    is_over: bool,
}

impl WrittenHere {
    /// Puts the word for the owner, if it has not looked; given back: it must be told otherwise.
    pub(super) fn put(&self, result: Written) -> Option<Written> {
        let mut looked = self.0.lock();
        if looked.is_over {
            return Some(result);
        }
        looked.result = Some(result);
        None
    }

    /// What is known by now; from here on the word goes otherwise.
    pub(super) fn take(&self) -> Option<Written> {
        let mut looked = self.0.lock();
        looked.is_over = true;
        looked.result.take()
    }
}
