//! Follows the global order across kills: from its last position it sees every event, each once, in order.

use super::stream_of;
use crate::harness::{Answer, Http};
use std::collections::HashSet;
use std::time::Duration;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Follower {
    next: Option<String>,
    seen: HashSet<(String, u64)>,
    last: Option<String>,
}

impl Follower {
    /// Events seen.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Reads on until the node is gone.
    pub(crate) fn follow_until_it_dies(&mut self, http: &Http) {
        while let Ok(answer) = http.try_get_as(&self.path(), "application/json") {
            // too busy is an answer of a living node too; every other one fails the test
            if answer.status != 429 {
                self.take(&answer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads on until nothing is left.
    pub(crate) fn catch_up(&mut self, http: &Http) {
        while self.take(&http.get(&self.path())) > 0 {}
    }

    fn path(&self) -> String {
        let after = self.next.as_ref().map(|next| format!("&after={next}")).unwrap_or_default();
        format!("events?limit=1000{after}")
    }

    fn take(&mut self, answer: &Answer) -> usize {
        let page = answer.expect(200);
        let events = page["events"].as_array().unwrap();
        for event in events {
            let key = (stream_of(event), event["seq"].as_u64().unwrap());
            let position = event["position"].as_str().unwrap().to_owned();
            assert!(self.last.as_ref() < Some(&position), "positions ascend");
            assert!(self.seen.insert(key), "seen twice: {event}");
            self.last = Some(position);
        }
        self.next = page["next"].as_str().map(str::to_owned).or(self.next.take());
        events.len()
    }
}
