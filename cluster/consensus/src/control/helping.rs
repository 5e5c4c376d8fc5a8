//! Several compactors share the work of a store: the one that is named hands a part of it to the others, which give back what they wrote.
//!
//! | who shares | |
//! |---|---|
//! | nodes with `compact` and without `ingest` | while the one that is named is such a node |
//! | nobody else | who ingests is left alone by what others compact |
//!
//! Each partition, and each log, has one taker, by rendezvous: the node whose hash with it is the largest. So each has exactly one, and one node
//! more or less moves only those that it gets or had. Who is asked in vain costs nothing but time: the node that is named does it itself.
//!
//! It refuses to know what is handed over: the store's part on each node says how. What helps commits nothing, so nothing here is fenced.

use super::Control;
use super::ask::question;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::{MetaState, NodeEntry, NodeState};
use crate::transport::{BoxFuture, NodeId, TransportError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;
use strandline_event::hash::keyed_hash;

/// Version of the body.
const VERSION: u8 = 1;
/// Time of one question: who works says how far it is long before.
const WITHIN: Duration = Duration::from_secs(3);

/// A store on this node: how it does a part of what another one compacts.
pub trait Helps: Send + Sync + 'static {
    /// Does it, or says how far it is; in less than a second.
    fn help<'a>(&'a self, what: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>>;
}

/// The stores of this node, by name.
pub(super) type Helpers = Mutex<BTreeMap<String, Arc<dyn Helps>>>;

/// The node that takes this part of the work; `None`: there are no nodes.
#[must_use]
pub fn taker(nodes: &[NodeId], what: &str) -> Option<NodeId> {
    nodes.iter().copied().max_by_key(|node| (keyed_hash(*node, 0, &[what.as_bytes()]), *node))
}

fn is_compactor(entry: &NodeEntry) -> bool {
    let roles = entry.facts.roles;
    entry.state == NodeState::Member && roles.compact && !roles.ingest
}

/// The nodes that share what `node` is named to compact; it is always one of them.
fn sharers(state: &MetaState, node: NodeId) -> Vec<NodeId> {
    if !state.nodes().get(&node).is_some_and(is_compactor) {
        return vec![node];
    }
    state.nodes().iter().filter(|(_, entry)| is_compactor(entry)).map(|(id, _)| *id).collect()
}

impl Control {
    /// How a store of this node does a part of what another one compacts.
    pub fn helps_by(&self, store: &str, how: Arc<dyn Helps>) {
        self.helpers.lock().insert(store.to_owned(), how);
    }

    /// The nodes that share what this one is named to compact, itself among them.
    #[must_use]
    pub fn sharers(&self) -> Vec<NodeId> {
        self.with_state(|state| sharers(state, self.node()))
    }

    /// Asks another node to do a part of what this one compacts, or how far it is.
    ///
    /// # Errors
    /// It does not do it, or cannot be reached.
    pub async fn ask_help(&self, node: NodeId, store: &str, what: &[u8]) -> Result<SharedBytes, TransportError> {
        let address = self.address_of(node).unwrap_or_default();
        let mut body = Put::of(VERSION);
        body.text(store);
        body.bytes(what);
        let ask = question(AskKind::Help, &body.0);
        self.transport().ask(node, &address, ask, WITHIN).await
    }

    /// The same, asked by another node.
    pub(super) async fn help_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let (store, what) = parts_of(body).map_err(|error| error.to_string())?;
        let how = self.helpers.lock().get(store).cloned();
        let how = how.ok_or_else(|| format!("store `{store}` is not open here"))?;
        how.help(what).await
    }
}

fn parts_of(body: &[u8]) -> Result<(&str, &[u8]), FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    Ok((take.text()?, take.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixtures::{cluster_of, tell};
    use crate::meta::Command;

    #[test]
    fn compactors_share_and_nobody_else_does() {
        let mut cluster = cluster_of(&["ingest", "ingest,compact", "ingest", "compact", "read", "compact,read"]);
        assert_eq!((sharers(&cluster, 4), sharers(&cluster, 6)), (vec![4, 6], vec![4, 6]));
        assert_eq!(sharers(&cluster, 2), [2], "one that ingests compacts alone");
        assert_eq!(sharers(&cluster, 9), [9]);
        tell(&mut cluster, &Command::Drain(6));
        assert_eq!(sharers(&cluster, 4), [4], "one that is drained gets nothing new");
    }

    #[test]
    fn every_partition_has_one_taker_and_one_node_less_moves_no_other_partition() {
        let nodes = [2, 5, 9];
        let mut counts = BTreeMap::new();
        for day in 0..300 {
            let partition = format!("`Call` dt={day}");
            let taken = taker(&nodes, &partition).unwrap();
            let mut turned = nodes;
            turned.reverse();
            assert_eq!(taker(&turned, &partition), Some(taken), "whoever looks, in whatever order");
            *counts.entry(taken).or_insert(0) += 1;
            for gone in nodes {
                let others: Vec<NodeId> = nodes.into_iter().filter(|node| *node != gone).collect();
                let then = taker(&others, &partition).unwrap();
                assert_ne!(then, gone);
                assert!(taken == gone || then == taken, "{partition}");
            }
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 50), "{counts:?}");
        assert_eq!(taker(&[], "`Call`"), None);
    }

    #[test]
    fn a_body_is_a_store_and_what_it_is_asked() {
        let mut body = Put::of(VERSION);
        body.text("orders");
        body.bytes(b"{}");
        assert_eq!(parts_of(&body.0), Ok(("orders", &b"{}"[..])));
        for end in 0..body.0.len() - 2 {
            assert!(parts_of(&body.0[..end]).is_err(), "cut at {end}");
        }
        body.0[0] = 2;
        assert!(parts_of(&body.0).is_err());
    }
}
