//! What a manifest took over: from then on files are asked for it, and memory lets it go, step by step between appends.
//!
//! Invariant: a step changes no answer, since what it takes away `settled` has.

use super::Log;
use crate::append::settled::Settled;
use crate::append::settling::Settling;
use std::sync::Arc;
use strandline_event::LogIndex;
use strandline_event::invariant::broken;

/// How long ids of a store without a log stay in memory once they are in files, in microseconds.
const IDS_LINGER_US: i64 = 10_000_000;

impl Log {
    /// A manifest took over everything up to `through`: `settled` has it. Memory lets it go with
    /// [`settle_step`](Self::settle_step). What is in flight stays: one that holds it took what may never have been stored.
    pub fn compacted(&mut self, through: LogIndex, settled: Arc<dyn Settled>) {
        if self.in_flight.front().is_some_and(|entry| entry.index <= through) {
            broken("a compaction job took more than is committed");
        }
        self.follow_manifest(through, settled);
        self.ids_left = self.watermark;
        self.begin_settling();
    }

    /// A pass begins, or another one once this has ended: one that began anew each time might never come to its end.
    fn begin_settling(&mut self) {
        match self.settling {
            Some(_) => self.settle_again = true,
            None => self.settling = Some(Settling::new(self.watermark, self.ids_left)),
        }
    }

    /// Lets go of some more of what manifests took over; `false`: there is nothing more. No answer depends on when it is called.
    pub fn settle_step(&mut self) -> bool {
        let Some(settling) = &mut self.settling else { return false };
        if settling.step(&self.published, &mut self.commands, &mut self.chunks) {
            let again = std::mem::take(&mut self.settle_again);
            self.settling = again.then(|| Settling::new(self.watermark, self.ids_left));
        }
        self.settling.is_some()
    }

    /// Whether [`settle_step`](Self::settle_step) has something to do.
    #[must_use]
    pub const fn settles(&self) -> bool {
        self.settling.is_some()
    }

    /// As [`compacted`](Self::compacted), right after each commit of a store without a log. Ids stay for a while: a
    /// client's ids are looked up in files before its append comes here, and commits would overtake that look-up again
    /// and again.
    pub fn settled_at_once(&mut self, through: LogIndex, settled: Arc<dyn Settled>) {
        self.follow_manifest(through, settled);
        // what one commit took over: as much as was in flight
        self.published.heads.write().settle(through);
        self.commands.settle(through);
        self.chunks.settle(through);
        self.lingering.push_back((through, self.published.clock.last()));
        let Some((_, oldest)) = self.lingering.front() else { return };
        // now and then: letting go looks at every id that is there
        if self.published.clock.last() > oldest.plus_us(2 * IDS_LINGER_US) {
            let left = self.published.clock.last().plus_us(-IDS_LINGER_US);
            while let Some((index, _)) = self.lingering.pop_front_if(|(_, moment)| *moment < left) {
                self.ids_left = index;
            }
            self.begin_settling();
        }
    }

    /// From here on what is asked of files is asked of this manifest's. An older one that is heard of later has nothing that memory let go since.
    fn follow_manifest(&mut self, through: LogIndex, settled: Arc<dyn Settled>) {
        if through >= self.watermark {
            *self.published.settled.write() = settled;
            self.watermark = through;
        }
    }
}
