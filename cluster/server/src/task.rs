//! Tasks that end with the one who began them.

use std::time::Instant;
use tokio::task::JoinHandle;

/// A task that is ended where this is dropped.
#[derive(Debug)]
pub(crate) struct Tied<T>(JoinHandle<T>);

impl<T> Tied<T> {
    /// Ties a task.
    pub(crate) const fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }
}

impl<T> Drop for Tied<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks at something now, and at each moment that the look gives; ends when it gives none.
pub(crate) fn look_again(mut look: impl FnMut() -> Option<Instant> + Send + 'static) -> Tied<()> {
    Tied::new(tokio::spawn(async move {
        while let Some(next) = look() {
            tokio::time::sleep_until(next.into()).await;
        }
    }))
}
