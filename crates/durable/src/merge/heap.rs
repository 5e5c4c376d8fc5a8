//! Which input has the next row: a binary heap of inputs, the smallest present row on top.
//!
//! Rows that compare equal come in the order of their inputs, so that a merge of the same files is always the same.

use super::MergeError;
use super::order::Order;
use super::source::Source;
use std::cmp::Ordering;

/// Numbers of inputs that still have rows.
pub(crate) struct Heap {
    order: Order,
    inputs: Vec<usize>,
}

impl Heap {
    pub(crate) fn new(order: Order, sources: &[Source]) -> Self {
        let mut inputs: Vec<usize> = (0..sources.len()).collect();
        // a sorted list is a heap
        inputs.sort_by(|a, b| order.compare(sources[*a].here(), sources[*b].here()));
        Self { order, inputs }
    }

    /// The input that has the next row.
    pub(crate) fn top(&self) -> Option<usize> {
        self.inputs.first().copied()
    }

    /// Goes on behind the next row.
    pub(crate) fn advance(&mut self, sources: &mut [Source]) -> Result<(), MergeError> {
        let Some(top) = self.top() else { return Ok(()) };
        if !sources[top].advance(&self.order)? {
            self.inputs.swap_remove(0);
        }
        self.sink(sources);
        Ok(())
    }

    /// Puts the input on top where it belongs.
    fn sink(&mut self, sources: &[Source]) {
        let mut at = 0;
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter().filter(|child| *child < self.inputs.len());
            let Some(child) = children.min_by(|a, b| self.compare(sources, *a, *b)) else { return };
            if self.compare(sources, at, child).is_le() {
                return;
            }
            self.inputs.swap(at, child);
            at = child;
        }
    }

    fn compare(&self, sources: &[Source], a: usize, b: usize) -> Ordering {
        let (a, b) = (self.inputs[a], self.inputs[b]);
        self.order.compare(sources[a].here(), sources[b].here()).then(a.cmp(&b))
    }
}
