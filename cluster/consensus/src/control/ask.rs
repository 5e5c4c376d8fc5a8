//! What this node asks of another one about the cluster.

use super::Control;
use super::outcome::ControlError;
use crate::join::AskKind;
use crate::meta::MetaState;
use crate::net::Ask;
use std::time::Duration;
use strandline_event::SharedBytes;

/// Time of one question.
const WITHIN: Duration = Duration::from_secs(3);

impl Control {
    /// The state of the meta group as its leader has it: what a node that follows may not have applied yet.
    ///
    /// # Errors
    /// Nobody leads, or the leader cannot be reached.
    pub async fn leaders_state(&self) -> Result<MetaState, ControlError> {
        if self.parts.machine.next().is_some() {
            return Ok(self.state());
        }
        let none = |why: String| ControlError::NoLeader(why);
        let leader = self.leader_elsewhere();
        let (node, address) = leader.ok_or_else(|| none("its leader is being elected".to_owned()))?;
        let ask = Ask { kind: AskKind::State.to_u8(), body: SharedBytes::copy_aligned(&[]) };
        let asked = self.parts.transport.ask(node, &address, ask, WITHIN).await;
        MetaState::decode(&asked.map_err(|e| none(e.to_string()))?).map_err(|e| none(e.to_string()))
    }
}
