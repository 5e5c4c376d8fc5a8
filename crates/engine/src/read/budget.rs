//! How much one page may hold: rows are counted by the reader, bytes by this.

use strandline_event::EventRef;

/// Bytes of events that one page holds at most; one event is always given, however large.
pub const PAGE_BYTES_MAX: usize = 16 << 20;

/// What an event takes besides its texts, about.
const ROW_BYTES: usize = 96;

/// Bytes of an event, about what it takes in an answer.
pub(crate) fn event_bytes(event: &EventRef<'_>) -> usize {
    let optional = [event.metadata, event.command_id, event.correlation_id, event.causation_id, event.tenant_id];
    let texts = [event.stream_type, event.stream_id, event.event_type, event.data];
    let bytes = texts.into_iter().chain(optional.into_iter().flatten()).map(str::len).sum::<usize>();
    bytes + ROW_BYTES
}

/// How many events fit, from the first on: at least one, if there is any.
pub(crate) fn fitting<'a>(events: impl Iterator<Item = EventRef<'a>>, bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let mut count = 0;
    for event in events {
        bytes = bytes.saturating_add(event_bytes(&event));
        if bytes > bytes_max && count > 0 {
            break;
        }
        count += 1;
    }
    count
}
