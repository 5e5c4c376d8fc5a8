//! The groups of this node, by name: what arrives from other nodes finds its group here.

use crate::group::Group;
use crate::transport::{BoxFuture, Call, GroupId, NodeId, Serve, ServeError};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All groups of a node.
#[derive(Debug, Default)]
pub struct Groups(RwLock<BTreeMap<GroupId, Arc<Group>>>);

impl Groups {
    /// One more group; gives back the one of this name that was there.
    pub fn insert(&self, group: Arc<Group>) -> Option<Arc<Group>> {
        self.0.write().insert(group.id().clone(), group)
    }

    /// A group leaves this node.
    pub fn remove(&self, id: &GroupId) -> Option<Arc<Group>> {
        self.0.write().remove(id)
    }

    /// A group.
    #[must_use]
    pub fn get(&self, id: &GroupId) -> Option<Arc<Group>> {
        self.0.read().get(id).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Group>> {
        self.0.read().values().cloned().collect()
    }
}

impl Serve for Groups {
    fn serve(&self, from: NodeId, call: Call) -> BoxFuture<'_, Result<Vec<u8>, ServeError>> {
        Box::pin(async move {
            let group = self.get(&call.group).ok_or(ServeError::NoGroup(call.group))?;
            group.serve(from, call.rpc, call.body).await.map(|answer| answer.to_vec())
        })
    }
}
