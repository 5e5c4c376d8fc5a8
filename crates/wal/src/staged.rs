//! The group behind the one that is on its way: closed, and handed to the thread of the disk, which begins it by itself when the one before is
//! durable. Nobody has to be woken in between. While it has not begun it can be taken back, and what comes meanwhile goes with it.
//!
//! ```text
//!  pushed -> gathering --take_next--> staged --(the one before is durable)--> in flight
//!                ^----reopen_next-------+
//! ```
//!
//! Invariant: at most one group of a log is written and not durable. The headers of a staged group say already that the one before it is on
//! the disk; whoever is handed it writes nothing of it before that is true ([`LogIo::keeps_order`]).

use crate::group::Group;
use crate::io::LogIo;
use crate::writer::{InFlight, LogWriter};

impl LogWriter {
    /// The group behind the one in flight, for a `LogIo` that keeps the order. `None`: nothing waits, or a group is staged already, or it is one
    /// that the writer hands over itself when the one before is durable.
    pub fn take_next(&mut self) -> Option<Group> {
        let before = self.in_flight.filter(|_| self.staged.is_none() && self.start.config.fsync)?;
        if self.closed.is_empty() && self.gathering.as_ref().is_some_and(can_be_staged) {
            self.close_gathering();
        }
        let mut group = self.closed.pop_front_if(|group| can_be_staged(group))?;
        group.finish(before.last_number().next(), true);
        self.staged = Some(InFlight::of(&group));
        Some(group)
    }

    /// Takes the staged group back from where it waits, so that what is pushed next goes with it. `false`: there is none, it has begun, or it goes as
    /// it is.
    pub fn reopen_next(&mut self, io: &dyn LogIo) -> bool {
        let takes_more = !self.roll && self.gathering.is_none() && self.closed.is_empty();
        let Some(staged) = self.staged.filter(|_| takes_more) else { return false };
        let Some(mut group) = io.take_back(&self.start.files, staged.number()) else { return false };
        self.staged = None;
        group.reopen();
        self.gathering = Some(group);
        true
    }
}

/// One that begins a segment or takes some away changes the folder, and one that no checksum proves brings its proof along: these go one by one.
fn can_be_staged(group: &Group) -> bool {
    !group.begins && group.removals.is_empty() && !group.needs_proof
}
