//! The answers to appends that came together: one list, one wake-up, whatever their number.
//!
//! Invariant: the list is given when nobody is left who could still fill a place of it, so nobody waits for ever.

use crate::error::NodeError;
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_engine::append::Answer;
use tokio::sync::oneshot;

/// One place a request; empty: its owner went away with it.
pub(crate) type AnswerList = Vec<Option<Result<Answer, NodeError>>>;

/// The list while it is filled. Given by its end.
#[derive(Debug)]
pub(crate) struct Answers {
    list: Mutex<AnswerList>,
    done: Option<oneshot::Sender<AnswerList>>,
}

impl Answers {
    /// A list of empty places, and where it comes out.
    pub(crate) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<AnswerList>) {
        let (done, answered) = oneshot::channel();
        let list = Mutex::new((0..count).map(|_| None).collect());
        (Arc::new(Self { list, done: Some(done) }), answered)
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
            // a client that is gone does not mind
            let _ = done.send(std::mem::take(self.list.get_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_comes_when_nobody_can_fill_it_any_more() {
        let (answers, mut answered) = Answers::new(2);
        let other = Arc::clone(&answers);
        other.put(1, Err(NodeError::Draining));
        drop(other);
        assert!(answered.try_recv().is_err());
        drop(answers);
        let list = answered.try_recv().unwrap();
        assert!(list[0].is_none() && matches!(list[1], Some(Err(NodeError::Draining))));
    }
}
