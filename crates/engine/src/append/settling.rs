//! Letting go of what a manifest took over, in steps: a compaction may settle millions of streams, and their log takes appends
//! meanwhile.
//!
//! Invariant: what is still here below the watermark says the same as the runs do, so nobody can tell how far this has come.

use crate::append::published::Published;
use crate::chunks::ChunkMarks;
use crate::commands::Commands;
use crate::ids::IdWalks;
use crate::table::Walk;
use strandline_event::LogIndex;

/// Places of the tables that one step looks at: some ten microseconds, where a sync takes a hundred.
const STEP_PLACES: usize = 4_096;

/// One pass over a log's tables.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Heads, commands and chunks of batches at or below it leave.
    through: LogIndex,
    /// Ids of batches at or below it.
    ids_through: LogIndex,
    heads: Walk,
    commands: Walk,
    ids: IdWalks,
}

impl Settling {
    /// A pass that has not begun.
    pub(crate) fn new(through: LogIndex, ids_through: LogIndex) -> Self {
        Self { through, ids_through, ..Self::default() }
    }

    /// The next step; `true`: it was the last one. Readers wait for no longer than one.
    pub(crate) fn step(&mut self, published: &Published, commands: &mut Commands, chunks: &mut ChunkMarks) -> bool {
        let budget = &mut { STEP_PLACES };
        published.heads.write().settle_some(self.through, &mut self.heads, budget)
            && commands.settle_some(self.through, &mut self.commands, budget)
            && chunks.settle_some(self.through, budget)
            && published.ids.write().settle_some(self.ids_through, &mut self.ids, budget)
    }
}
