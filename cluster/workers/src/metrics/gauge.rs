//! A number of things that are under way: each is a mark, which counts until it is dropped, however that comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are under way. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// Some of them.
#[derive(Debug)]
pub(crate) struct Mark {
    gauge: Gauge,
    count: usize,
}

impl Gauge {
    /// So many begin.
    pub(crate) fn mark(&self, count: usize) -> Mark {
        self.0.fetch_add(count, Ordering::Relaxed);
        Mark { gauge: self.clone(), count }
    }

    /// As of now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_counted_no_more() {
        let gauge = Gauge::default();
        let (one, three) = (gauge.mark(1), gauge.mark(3));
        assert_eq!(gauge.get(), 4);
        drop(three);
        assert_eq!(gauge.get(), 1);
        drop(one);
        assert_eq!(gauge.get(), 0);
    }
}
