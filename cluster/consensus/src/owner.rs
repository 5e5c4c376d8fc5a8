//! Between the owner of a log (the engine's driver) and its group: batches out as payloads, entries back as batches.
//!
//! No state of its own: an actor and the tests' owners use the same few functions.

use crate::consensus::Abandoned;
use crate::group::Group;
use crate::machine::{Applied, EntryId, Payload};
use crate::storage::Storage;
use crate::types::Proposal;
use std::sync::Arc;
use strandline_engine::append::{Committed, GroupLost, Replica, ReplicatedGroup};
use strandline_event::StampedBatch;
use strandline_event::batch::BATCH_SCHEMA_VERSION;
use strandline_wal::LogWriter;

impl Replica for Storage {
    fn has_room(&self, bytes: usize) -> bool {
        Self::has_room(self, bytes)
    }

    fn leader(&self) -> Option<(u64, String)> {
        Self::leader(self).map(|(node, member)| (node, member.address))
    }

    fn seal(&self) {
        Self::seal(self);
    }
}

/// The entry up to which a log may be replayed at a start: what is known to be committed and is here.
#[must_use]
pub fn opened_through(writer: &LogWriter) -> Option<EntryId> {
    let committed = writer.committed_entry()?;
    let last = writer.last_entry().or_else(|| writer.purged_entry())?;
    let through = if committed.number <= last.number { committed } else { last };
    Some(EntryId { leader: through.id.leader, number: through.number, index: through.id.index })
}

/// A group of the driver as its entry.
#[must_use]
pub fn proposal_of(group: &ReplicatedGroup) -> Proposal {
    let payload = |(_, batch, time): &(_, StampedBatch, _)| Payload {
        schema: BATCH_SCHEMA_VERSION,
        count: u32::try_from(batch.rows()).unwrap_or(u32::MAX),
        time: *time,
        parts: batch.payload_shared(),
    };
    Proposal { leader: group.leader, number: group.number, payloads: group.batches.iter().map(payload).collect() }
}

/// An entry as the driver takes it.
///
/// # Errors
/// A payload is no batch: this node must not go on.
pub fn committed_of(applied: &Applied) -> Result<Committed, String> {
    let mut batches = Vec::with_capacity(applied.payloads.len());
    for (index, payload) in applied.frames() {
        // what was proposed here is still in the pieces in which it was accepted
        let batch = match &payload.parts {
            [_, none] if none.is_empty() => StampedBatch::from_payload(&payload.whole()),
            pieces => StampedBatch::from_parts(pieces),
        };
        batches.push((index, batch.map_err(|e| format!("entry {}: {e}", applied.id.number))?));
    }
    let EntryId { leader, number, index } = applied.id;
    Ok(Committed { leader, number, index, batches })
}

/// Proposes a group. `Err`: what the driver must be told of it.
///
/// # Errors
/// It was not stored, or nobody here knows.
pub async fn propose(group: &Group, batches: &ReplicatedGroup) -> Result<(), GroupLost> {
    let outcome = group.propose(proposal_of(batches)).await;
    outcome.map_err(|abandoned| {
        let why = Arc::from(abandoned.to_string());
        match abandoned {
            Abandoned::NotLeader { .. } | Abandoned::Stale => GroupLost::Nothing(why),
            Abandoned::Unknown(_) => GroupLost::Unknown(why),
        }
    })
}
