//! How many connections an HTTP listener has, so that one too many is told so instead of waiting for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
}

impl Connections {
    /// At most so many are served.
    pub(crate) fn new(limit: usize) -> Self {
        Self { open: Arc::default(), limit }
    }

    /// One more came.
    pub(crate) fn enter(&self) -> Connection {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        Connection { open: Arc::clone(&self.open), is_over: before >= self.limit }
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
    fn one_too_many_is_over_and_the_next_after_an_end_is_not() {
        let connections = Connections::new(2);
        let (first, second) = (connections.enter(), connections.enter());
        assert!(!first.is_over && !second.is_over && connections.enter().is_over);
        drop(first);
        assert!(!connections.enter().is_over);
    }
}
