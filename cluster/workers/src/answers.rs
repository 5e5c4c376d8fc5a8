//! The answers to appends that came together: one list, handed on once, whatever their number.
//!
//! Invariant: the list is given when nobody is left who could still fill a place of it, so nobody waits for ever. Whoever fills the last
//! place hands it on in its own thread.

use crate::error::NodeError;
use crate::metrics::Mark;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use strandline_engine::append::Answer;

/// One place a request; empty: its owner went away with it.
pub(crate) type AnswerList = Vec<Option<Result<Answer, NodeError>>>;

/// Takes the list. It must not wait: the owner of a log may be who calls it.
type Done = Box<dyn FnOnce(AnswerList) + Send + Sync>;

/// The list while it is filled. Given by its end.
pub(crate) struct Answers {
    list: Mutex<AnswerList>,
    done: Option<Done>,
    /// They wait until the list is given.
    waited: Option<Mark>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Answers {
    /// A list of empty places, and who takes it.
    pub(crate) fn new(count: usize, waited: Mark, done: impl FnOnce(AnswerList) + Send + Sync + 'static) -> Arc<Self> {
        let list = Mutex::new((0..count).map(|_| None).collect());
        Arc::new(Self { list, done: Some(Box::new(done)), waited: Some(waited) })
    }

    /// Fills a place.
    pub(crate) fn put(&self, at: usize, answer: Result<Answer, NodeError>) {
        if let Some(place) = self.list.lock().get_mut(at) {
            *place = Some(answer);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // who hears the answers may look how many wait
            drop(self.waited.take());
            done(std::mem::take(self.list.get_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Gauge;

    #[test]
    fn the_list_comes_when_nobody_can_fill_it_any_more() {
        let waiting = Gauge::default();
        let given = Arc::new(Mutex::new(None));
        let taken = Arc::clone(&given);
        let answers = Answers::new(2, waiting.mark(2), move |list| *taken.lock() = Some(list));
        let other = Arc::clone(&answers);
        other.put(1, Err(NodeError::Draining));
        drop(other);
        assert!(given.lock().is_none() && waiting.get() == 2);
        drop(answers);
        let list = given.lock().take().unwrap();
        assert_eq!(waiting.get(), 0);
        assert!(list[0].is_none() && matches!(list[1], Some(Err(NodeError::Draining))));
    }
}
