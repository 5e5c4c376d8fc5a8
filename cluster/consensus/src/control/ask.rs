//! What this node asks of another one about the cluster.

use super::Control;
use super::outcome::ControlError;
use crate::fields::{FieldError, Put, Take};
use crate::group::ReadIndex;
use crate::join::AskKind;
use crate::meta::MetaState;
use crate::meta::{put_group, take_group};
use crate::net::Ask;
use crate::transport::{GroupId, NodeId};
use std::time::Duration;
use strandline_event::SharedBytes;

/// Time of one question.
const WITHIN: Duration = Duration::from_secs(3);

/// Version of the bodies of ReadIndex.
const VERSION: u8 = 1;

/// A question with this body.
pub(super) fn question(kind: AskKind, body: &[u8]) -> Ask {
    Ask { kind: kind.to_u8(), body: SharedBytes::copy_aligned(body) }
}

impl Control {
    /// Where a read of a group that another node leads must be: asked there.
    ///
    /// # Errors
    /// That node does not lead it, or cannot be reached.
    pub async fn read_index(&self, leader: NodeId, group: &GroupId) -> Result<ReadIndex, ControlError> {
        let none = |why: String| ControlError::NoLeader(why);
        let address = self.address_of(leader).ok_or_else(|| none("where its leader is is not known".to_owned()))?;
        let mut body = Put::of(VERSION);
        put_group(&mut body, group);
        let ask = question(AskKind::ReadIndex, &body.0);
        let asked = self.parts.transport.ask(leader, &address, ask, WITHIN).await;
        index_of(&asked.map_err(|e| none(e.to_string()))?).map_err(|e| none(e.to_string()))
    }

    /// The same, asked by another node of a group that this one leads.
    pub(super) async fn read_index_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let wanted = wanted_of(body).map_err(|error| error.to_string())?;
        let group = self.groups().get(&wanted).ok_or_else(|| format!("there is no group {wanted} here"))?;
        let index = group.read_index().await.map_err(|error| error.to_string())?;
        let mut out = Put::of(VERSION);
        out.u64(index.number);
        out.moment(index.closed);
        Ok(out.0)
    }
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
        let ask = question(AskKind::State, &[]);
        let asked = self.parts.transport.ask(node, &address, ask, WITHIN).await;
        MetaState::decode(&asked.map_err(|e| none(e.to_string()))?).map_err(|e| none(e.to_string()))
    }
}

fn wanted_of(body: &[u8]) -> Result<GroupId, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let group = take_group(&mut take)?;
    take.end()?;
    Ok(group)
}

fn index_of(body: &[u8]) -> Result<ReadIndex, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let (number, closed) = (take.u64()?, take.moment()?);
    take.end()?;
    Ok(ReadIndex { number, closed })
}
