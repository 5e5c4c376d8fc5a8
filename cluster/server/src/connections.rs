//! How many connections an HTTP listener has, so that one too many is told so instead of waiting for ever.

use actix_web::body::BodySize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The part of the process' descriptors that the connections of HTTP may take, and as many those of the operators' address: logs and files need
/// the half of them.
pub(crate) const HTTP_PART: u64 = 4;
/// The part of native connections.
pub(crate) const NATIVE_PART: u64 = 8;
/// And of those to other nodes.
pub(crate) const OUTGOING_PART: u64 = 8;
/// However few descriptors there are.
const FEWEST: usize = 8;
/// However many there are: native ones, those to other nodes, and those of a thread that serves HTTP.
pub(crate) const MOST: usize = 25_000;

/// A last answer of so many bytes is with the system as soon as it is written.
const AT_ONCE_BYTES: u64 = 16 << 10;
/// How long what was sent behind such an answer waits for its end: until the connection has written it.
const AT_ONCE: Duration = Duration::from_millis(10);
/// And behind a larger one.
const LATER: Duration = Duration::from_secs(2);

/// How many connections of a kind there may be: a part of the descriptors of the process.
pub(crate) fn share(descriptors: u64, part: u64, most: usize) -> usize {
    usize::try_from(descriptors / part.max(1)).unwrap_or(usize::MAX).clamp(FEWEST, most.max(FEWEST))
}

/// The connections of a listener. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    open: Arc<AtomicUsize>,
    limit: usize,
}

/// One of them, while it is open.
#[derive(Debug)]
pub(crate) struct Connection {
    open: Arc<AtomicUsize>,
    /// It came when the limit was reached: its requests are refused.
    pub(crate) is_over: bool,
    /// Time that its last answer has; none: it was not given yet.
    last_answer: OnceLock<Duration>,
}

impl Connection {
    /// It has its last answer, of this size: whatever was sent behind is not heard.
    pub(crate) fn end(&self, answer: BodySize) {
        let is_small = matches!(answer, BodySize::None | BodySize::Sized(0..=AT_ONCE_BYTES));
        let _ = self.last_answer.set(if is_small { AT_ONCE } else { LATER });
    }

    /// After so long it ends, if more was sent.
    pub(crate) fn ends_after(&self) -> Option<Duration> {
        self.last_answer.get().copied()
    }
}

impl Connections {
    /// At most so many are served.
    pub(crate) fn new(limit: usize) -> Self {
        Self { open: Arc::default(), limit }
    }

    /// One more came.
    pub(crate) fn enter(&self) -> Connection {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        Connection { open: Arc::clone(&self.open), is_over: before >= self.limit, last_answer: OnceLock::new() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_the_descriptors_between_a_few_and_very_many() {
        for (descriptors, part, limit) in [
            (0, HTTP_PART, FEWEST),
            (240, HTTP_PART, 60),
            (240, NATIVE_PART, 30),
            (1 << 20, OUTGOING_PART, MOST),
            (u64::MAX, HTTP_PART, MOST),
        ] {
            assert_eq!(share(descriptors, part, MOST), limit, "a {part}th of {descriptors}");
        }
    }

    #[test]
    fn one_too_many_is_over_and_the_next_after_an_end_is_not() {
        let connections = Connections::new(2);
        let (first, second) = (connections.enter(), connections.enter());
        assert!(!first.is_over && !second.is_over && connections.enter().is_over);
        drop(first);
        assert!(!connections.enter().is_over);
    }

    #[test]
    fn a_last_answer_has_the_time_that_its_size_needs() {
        let connections = Connections::new(9);
        for (size, time) in [
            (BodySize::None, AT_ONCE),
            (BodySize::Sized(AT_ONCE_BYTES), AT_ONCE),
            (BodySize::Sized(AT_ONCE_BYTES + 1), LATER),
            (BodySize::Stream, LATER),
        ] {
            let connection = connections.enter();
            assert_eq!(connection.ends_after(), None);
            connection.end(size);
            assert_eq!(connection.ends_after(), Some(time), "{size:?}");
        }
    }
}
