//! What logs hold that the store does not have: events that an owner acknowledged after another one had taken the store over (with
//! `--accept-lost-log`), and before it found that out.
//!
//! The folder says by its marks whose logs these are. What was in data files when that owner made its last version is not looked at; of the
//! rest each event is looked up by its id. Nothing of it is ever taken over by itself: the other owner has given out the same seqs.

use super::{OfflineLog, Report};
use crate::store::marks::Marked;
use crate::view::frames;
use std::sync::Arc;
use strandline_durable::{DurableTier, Snapshot};
use strandline_event::{EventId, LogIndex};

/// Events of a log that are nowhere in the store.
struct Left {
    events: u64,
    first: LogIndex,
    last: LogIndex,
}

/// Names them, where the logs are those of an owner that was replaced.
pub(super) fn check_left(tier: &DurableTier, marked: &Marked, logs: &[OfflineLog], report: &mut Report) {
    let snapshot = tier.pin();
    let Some(epoch) = marked.epochs.last().copied().filter(|epoch| *epoch < snapshot.epoch()) else { return };
    // a version that was folded away, or cannot be read (which others say), only makes it look at more
    let past = tier.last_version_of(epoch).ok().flatten();
    for log in logs {
        let low =
            past.as_ref().and_then(|past| past.logs.get(&log.key)).map_or(LogIndex::ZERO, |(through, _)| *through);
        let place = format!("log of `{}`", log.key);
        match left_of(&snapshot, log, low.max(log.view.first_index().prev())) {
            Ok(Left { events: 0, .. }) => {}
            Ok(Left { events, first, last }) => report.add(
                place,
                format!(
                    "{events} events at index {first} to {last} stand here and nowhere else in the store: the owner of epoch {epoch} \
                     acknowledged them while epoch {} had begun already. `strandline wal dump` shows them; append anew what the \
                     store lacks, and keep this folder until then",
                    snapshot.epoch()
                ),
            ),
            Err(error) => report.add(place, error),
        }
    }
}

fn left_of(snapshot: &Arc<Snapshot>, log: &OfflineLog, low: LogIndex) -> Result<Left, String> {
    let mut left = Left { events: 0, first: LogIndex::ZERO, last: LogIndex::ZERO };
    for frame in frames::entries(&log.key, &log.view, low, log.view.last_index()).map_err(|e| e.to_string())? {
        let frame = frame.map_err(|e| e.to_string())?;
        for event in frame.batch.iter() {
            if is_there(snapshot, event.event_id)? {
                continue;
            }
            if left.events == 0 {
                left.first = frame.index;
            }
            (left.events, left.last) = (left.events + 1, frame.index);
        }
    }
    Ok(left)
}

/// In a data file that is live, or under a tombstone.
fn is_there(snapshot: &Arc<Snapshot>, id: EventId) -> Result<bool, String> {
    let live = snapshot.find_event_id(id).map_err(|e| e.to_string())?;
    Ok(!live.is_empty() || !snapshot.find_buried_event_id(id).map_err(|e| e.to_string())?.is_empty())
}
