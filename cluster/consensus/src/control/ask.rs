//! What this node asks of another one about the cluster, or of all others at once.

use super::Control;
use super::outcome::ControlError;
use crate::fields::{FieldError, Put, Take};
use crate::group::ReadIndex;
use crate::join::AskKind;
use crate::meta::{MetaState, NodeState};
use crate::meta::{put_group, take_group};
use crate::net::Ask;
use crate::transport::{GroupId, NodeId, TransportError};
use futures_util::future::join_all;
use std::time::Duration;
use strandline_event::SharedBytes;

/// Time of one question.
const WITHIN: Duration = Duration::from_secs(3);

/// Version of the bodies of ReadIndex, and of an answer that is a number.
const VERSION: u8 = 1;

/// Groups about which something is asked or done at once.
const AT_ONCE: usize = 64;

/// A question with this body.
pub(super) fn question(kind: AskKind, body: &[u8]) -> Ask {
    Ask { kind: kind.to_u8(), body: SharedBytes::copy_aligned(body) }
}

/// Does the same with many groups, some at once: one that waits for a node that does not answer keeps no other one waiting.
pub(super) async fn some_at_once<F: Future<Output = ()>>(work: Vec<F>) {
    let mut rest = work.into_iter();
    loop {
        let some: Vec<F> = rest.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        join_all(some).await;
    }
}

impl Control {
    /// The other nodes that take part, also those that are drained, and where the state says that they are.
    pub(super) fn others(&self, state: &MetaState) -> Vec<(NodeId, String)> {
        let live = state.nodes().iter().filter(|(node, entry)| {
            **node != self.node() && matches!(entry.state, NodeState::Member | NodeState::Draining)
        });
        live.map(|(node, entry)| (*node, entry.facts.addresses.cluster.clone())).collect()
    }

    /// Asks these nodes the same, all at once; what each has answered in time.
    pub(super) async fn ask_each(
        &self,
        nodes: Vec<(NodeId, String)>,
        kind: AskKind,
        body: &[u8],
        within: Duration,
    ) -> Vec<(NodeId, Result<SharedBytes, TransportError>)> {
        let asking = nodes.into_iter().map(|(node, said)| {
            let ask = question(kind, body);
            async move {
                let address = self.transport().address(node).unwrap_or(said);
                (node, self.transport().ask(node, &address, ask, within).await)
            }
        });
        join_all(asking).await
    }

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

/// An answer that is a number.
pub(super) fn number_bytes(number: u64) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(number);
    out.0
}

pub(super) fn number_of(body: &[u8]) -> Result<u64, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let number = take.u64()?;
    take.end()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::Cell;
    use std::future::pending;

    #[test]
    fn a_number_is_read_back_and_nothing_shorter_longer_or_later() {
        let bytes = number_bytes(1 << 40);
        assert_eq!(number_of(&bytes), Ok(1 << 40));
        assert!((0..bytes.len()).all(|end| number_of(&bytes[..end]).is_err()));
        assert!(number_of(&[&bytes[..], &[0]].concat()).is_err());
        assert!(number_of(&[&[2][..], &bytes[1..]].concat()).is_err());
    }

    #[test]
    fn one_group_that_waits_keeps_no_other_one_waiting() {
        let count = Cell::new(0);
        let begun = &count;
        let never_answered = move |_: usize| async move {
            begun.set(begun.get() + 1);
            pending::<()>().await;
        };
        assert!(some_at_once((0..3).map(never_answered).collect()).now_or_never().is_none());
        assert_eq!(begun.take(), 3);
        let many = AT_ONCE + 1;
        assert!(some_at_once((0..many).map(never_answered).collect()).now_or_never().is_none());
        assert_eq!(begun.take(), AT_ONCE, "some at once");
        let answered = move |_: usize| async move { begun.set(begun.get() + 1) };
        assert!(some_at_once((0..many).map(answered).collect()).now_or_never().is_some());
        assert_eq!(begun.take(), many);
    }
}
