//! A member goes for ever.

use super::Control;
use super::outcome::ControlError;
use crate::meta::{Command, NodeState, Outcome};
use crate::transport::NodeId;

impl Control {
    /// Ends a node's membership. One on which no group counts is drained by the way; one that votes somewhere must be drained before.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn remove(&self, node: NodeId) -> Result<Outcome, ControlError> {
        // without a leader the command itself says so, after it has waited for one
        let known = self.leaders_state().await.ok();
        let is_idle = known.is_some_and(|state| {
            let is_member = state.nodes().get(&node).is_some_and(|entry| entry.state == NodeState::Member);
            is_member && !state.groups().values().any(|placement| placement.holds(node))
        });
        if is_idle {
            self.propose(&Command::Drain(node)).await?;
        }
        self.propose(&Command::Remove(node)).await
    }
}
