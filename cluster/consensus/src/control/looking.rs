//! Every member looks for what was committed to a store now, instead of at its next turn: a redaction is answered when nobody shows the text
//! any more, or says who has not answered.
//!
//! It refuses to know what is looked for: the store's part on each node says how.

use super::Control;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::NodeState;
use crate::net::Ask;
use crate::transport::{BoxFuture, NodeId};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;

/// Version of the body.
const VERSION: u8 = 1;
/// Time that a member has: it reads a manifest.
const WITHIN: Duration = Duration::from_secs(3);

/// A store on this node: how it looks for what others have committed.
pub trait Looks: Send + Sync + 'static {
    /// What was committed before this call is known here when it returns.
    fn look(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// The stores of this node, by name.
pub(super) type Lookers = Mutex<BTreeMap<String, Arc<dyn Looks>>>;

impl Control {
    /// How this node looks for what others have committed to a store.
    pub fn looks_by(&self, store: &str, how: Arc<dyn Looks>) {
        self.lookers.lock().insert(store.to_owned(), how);
    }

    /// Every other member looks now. Gives those that have not said in time that they did.
    pub async fn look_everywhere(&self, store: &str) -> Vec<NodeId> {
        let others: Vec<(NodeId, String)> = self.with_state(|state| {
            let live = state.nodes().iter().filter(|(node, entry)| {
                **node != self.node() && matches!(entry.state, NodeState::Member | NodeState::Draining)
            });
            live.map(|(node, entry)| (*node, entry.facts.addresses.cluster.clone())).collect()
        });
        let mut body = Put::default();
        body.u8(VERSION);
        body.zeros(7);
        body.text(store);
        let asking = others.into_iter().map(|(node, said)| {
            let ask = Ask { kind: AskKind::Look.to_u8(), body: SharedBytes::copy_aligned(&body.0) };
            async move {
                let address = self.transport().address(node).unwrap_or(said);
                let asked = self.transport().ask(node, &address, ask, WITHIN).await;
                asked.err().map(|error| {
                    tracing::warn!(node, store, "it has not said that it looked for what was committed: {error}");
                    node
                })
            }
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// The same, asked by another node.
    pub(super) async fn look_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let store = store_of(body).map_err(|error| error.to_string())?;
        let how = self.lookers.lock().get(&store).cloned();
        // it opens the store later, at what is newest then
        let Some(how) = how else { return Ok(Vec::new()) };
        how.look().await.map(|()| Vec::new())
    }
}

fn store_of(body: &[u8]) -> Result<String, FieldError> {
    let mut take = Take(body);
    if take.u8()? != VERSION {
        return Err(FieldError::Value("a version that is not known here"));
    }
    take.zeros(7)?;
    let store = take.text()?.to_owned();
    take.end()?;
    Ok(store)
}
