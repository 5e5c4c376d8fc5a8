//! Which input has the next row: a binary heap of inputs, the smallest present row on top.
//!
//! Rows that compare equal come in the order of their inputs, so that a merge of the same files is always the same.

use super::MergeError;
use super::order::Order;
use super::source::Source;
use crate::redaction::Veil;
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

    /// How many rows of the input on top come one after the other, as they stand in its batch: one at least, `most` at most.
    pub(crate) fn run(&self, sources: &mut [Source], veil: &Veil, most: usize) -> usize {
        let Some(top) = self.top().filter(|top| most > 1 && sources[*top].is_plain(&self.order, veil)) else {
            return 1;
        };
        let sources = &*sources;
        let (batch, at) = sources[top].here();
        let rows = most.min(batch.rows() - at);
        let below = [1, 2].into_iter().filter(|child| *child < self.inputs.len());
        let Some(next) = below.min_by(|a, b| self.compare(sources, *a, *b)).map(|child| self.inputs[child]) else {
            return rows;
        };
        let comes_first = |row: usize| {
            let order = self.order.compare((batch, at + row), sources[next].here());
            order.then(top.cmp(&next)).is_lt()
        };
        // the first one does; where the next does not, inputs take turns, and nothing more is looked at
        let (mut first, mut behind) = (0, 1);
        while behind < rows && comes_first(behind) {
            (first, behind) = (behind, 2 * behind);
        }
        behind = behind.min(rows);
        while behind - first > 1 {
            let middle = first.midpoint(behind);
            if comes_first(middle) {
                first = middle;
            } else {
                behind = middle;
            }
        }
        first + 1
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
