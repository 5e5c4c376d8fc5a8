//! Redaction as the node runs it: the commit in a thread that may block, a line for the operators, then the merges that rewrite what
//! holds the text. Nobody waits for these: no read shows the text any more, and the clock's tick merges what they leave.

use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::fence;
use crate::messages::RewriteRedacted;
use crate::store::StoreHandle;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_durable::Redaction;
use strandline_engine::redact::{self, RedactError, Redacted, Wish};

impl StoreHandle {
    /// Whether the store redacts at all: asked before anything else of a request is looked at.
    ///
    /// # Errors
    /// `Redact(Immutable)`.
    pub fn check_redacts(&self) -> Result<(), NodeError> {
        Ok(redact::check_allowed(&self.parts.store)?)
    }

    /// Takes away what one event said. When it is answered, that is durable, and no read of this node shows it, nor of any other member of its
    /// cluster but of those that are given beside it: they have not said in time that they know it. They follow the manifest, and show the text until
    /// they have read it.
    ///
    /// # Errors
    /// `Redact`; `Fenced`, `Draining`, `NotLeader`.
    pub async fn redact(&self, wish: Wish) -> Result<(Redacted, Vec<u64>), NodeError> {
        self.node.check_serving()?;
        self.check_compacts().await?;
        // in a cluster the event may stand in a log that another node leads
        self.confirm(None).await?;
        let (parts, name) = (Arc::clone(&self.parts), self.name().to_owned());
        let redacting = tokio::task::spawn_blocking(move || {
            let _end = EndOnPanic("a redaction panicked");
            if parts.fenced.load(Ordering::SeqCst) {
                return Err(NodeError::Fenced { store: name });
            }
            let done = redact::redact(&parts.store, &wish, crate::random::bits(), clock::now());
            if let Err(RedactError::Commit(error)) = &done {
                fence::mind(&parts.fenced, &name, error);
            }
            let done = done?;
            // here: who asked may be gone by now
            for Redaction { event_id, stream_type, seq, who, .. } in done.events.iter().filter(|_| !done.already) {
                tracing::info!(target: "strandline_audit", store = name.as_str(), action = "redact", %event_id, stream_type, seq = seq.0, who);
            }
            Ok(done)
        });
        let redacted = redacting.await.map_err(|_| NodeError::OutcomeUnknown)??;
        let behind = match &self.parts.replicas {
            Some(replicas) => replicas.look_everywhere().await,
            None => Vec::new(),
        };
        let types: BTreeSet<Arc<str>> = redacted.events.iter().map(|of| Arc::from(of.stream_type.as_str())).collect();
        for stream_type in types {
            let rewrite = RewriteRedacted { store: Arc::from(self.name()), stream_type };
            // a node that stops rewrites when it starts again
            let _ = self.node.supervisor.send(rewrite).await;
        }
        Ok((redacted, behind))
    }

    /// What is redacted, oldest first.
    #[must_use]
    pub fn redactions(&self) -> Vec<Redaction> {
        self.parts.store.durable().pin().redactions().cloned().collect()
    }
}
