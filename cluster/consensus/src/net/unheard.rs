//! Connections that have not said who they are, the oldest first. Where a listener has no room for a new one they give way to it: who says
//! nothing keeps nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::AbortHandle;

/// Such connections of a listener; each with whether it was said by now who is there.
#[derive(Debug, Default)]
pub struct Unheard(VecDeque<(AbortHandle, Arc<AtomicBool>)>);

impl Unheard {
    /// One more was taken.
    pub fn push(&mut self, connection: AbortHandle, heard: Arc<AtomicBool>) {
        self.0.retain(|(connection, heard)| !connection.is_finished() && !heard.load(Ordering::Relaxed));
        self.0.push_back((connection, heard));
    }

    /// Ends the oldest; `false`: there is none.
    pub fn end_oldest(&mut self) -> bool {
        while let Some((connection, heard)) = self.0.pop_front() {
            if !connection.is_finished() && !heard.load(Ordering::Relaxed) {
                connection.abort();
                return true;
            }
        }
        false
    }
}
