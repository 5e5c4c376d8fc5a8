//! Whether the folder of subject keys is the one that the other members use: each writes there what the others must see.
//!
//! ```text
//!  this node ── a probe ─> folder        "look now" (as for redactions) ─> every other member ── what it sees, by its name ─> folder ─> this node
//! ```
//!
//! More than half of all members with this one: the keys are used. Two folders cannot both have so many. A stream type becomes erasable only when all of
//! them have answered: each of them may have to seal what it takes. Nothing of this is asked of a node that runs and has agreed.

use super::{LOOK_EVERY, PAUSE, StoreReplicas};
use crate::error::NodeError;
use crate::registry::StreamTypeEntry;
use crate::subjects::shared::{NO_FOLDER, bits, erasable_by};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::NodeId;
use strandline_consensus::meta::NodeState;
use strandline_engine::subjects::{SubjectFileError, SubjectKeys};
use strandline_event::ErrorKind;
use strandline_keys::subject::record::SubjectKind;
use tokio::time::{sleep, timeout};

/// How long a folder has for an answer to other nodes: they ask for more than that.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a node that registered a stream type may take to hear of it itself.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

impl StoreReplicas {
    /// The keys, where this node was given the folder.
    fn keys(&self) -> Option<Arc<SubjectKeys>> {
        self.parts.store.subjects().filter(|keys| keys.folder().is_some()).cloned()
    }

    /// What subjects of a stream type are, as far as this node has heard.
    pub(super) fn kind_of(&self, stream_type: &str) -> Option<SubjectKind> {
        self.parts.store.subjects()?.kind_of(self.name(), stream_type)
    }

    /// Agrees with the others on the folder, then follows what they erase. Ends where there is none.
    pub(super) async fn keep_keys(&self) {
        let Some(keys) = self.keys() else { return };
        loop {
            if keys.is_agreed() {
                if !keys.types_of(self.name()).is_empty() {
                    let follows = Arc::clone(&keys);
                    // what is wrong `/ready` says
                    let _ = tokio::task::spawn_blocking(move || follows.follow()).await;
                }
            } else if let Err(error) = self.agree(&keys).await {
                tracing::warn!("the folder of subject keys cannot be used yet: {error}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn agree(&self, keys: &Arc<SubjectKeys>) -> Result<(), SubjectFileError> {
        let turn = self.parts.probing.lock().await;
        // another store of this node may have; and who has not heard of itself does not know the others
        let Some(others) = self.others().filter(|_| !keys.is_agreed()) else { return Ok(()) };
        let unseen = self.unseen(keys, &others).await?;
        drop(turn);
        let members = others.len() + 1;
        if is_most(members - unseen.len(), members) {
            keys.agree();
        }
        Ok(())
    }

    /// The other members that have not shown that they see what this node writes to the folder. One question at a time: the next one is written over it.
    async fn unseen(&self, keys: &Arc<SubjectKeys>, others: &[NodeId]) -> Result<Vec<NodeId>, SubjectFileError> {
        let (node, bits) = (self.parts.control.node(), bits());
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let writes = Arc::clone(keys);
        let writing = tokio::task::spawn_blocking(move || writes.folder().map_or(Ok(()), |of| of.probe(node, bits)));
        writing.await.map_err(std::io::Error::other).map_err(failed)??;
        self.look_everywhere().await;
        let (reads, asked) = (Arc::clone(keys), others.to_vec());
        let reading = tokio::task::spawn_blocking(move || {
            let Some(folder) = reads.folder() else { return Ok(asked) };
            let mut unseen = Vec::new();
            for other in asked {
                if !folder.is_seen(node, bits, other)? {
                    unseen.push(other);
                }
            }
            Ok::<_, SubjectFileError>(unseen)
        });
        reading.await.map_err(std::io::Error::other).map_err(failed)?
    }

    /// Another node has asked this one to look: it is shown that this one sees its probe, and what it erased is hidden here. `Err`: it may not be, in
    /// answers that were opened before.
    pub(super) async fn look_at_keys(&self) -> Result<(), String> {
        let Some(keys) = self.keys() else { return Ok(()) };
        let has_opened = !keys.types_of(self.name()).is_empty();
        let (node, others) = (self.parts.control.node(), self.others().unwrap_or_default());
        let turn = Arc::clone(&self.looking);
        let looking = async move {
            // a folder that does not answer holds one thread, however often others ask
            let turn = turn.lock_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                if let Some(folder) = keys.folder() {
                    folder.answer_probes(node, &others)?;
                }
                keys.look_again()
            });
            work.await
        };
        let why = match timeout(ANSWER_WITHIN, looking).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => format!("the folder of subject keys cannot be looked at: {error}"),
            Ok(Err(_)) | Err(_) => "the folder of subject keys does not answer".to_owned(),
        };
        tracing::warn!("{why}");
        if has_opened { Err(why) } else { Ok(()) }
    }

    /// The other members; `None`: this node has not heard yet that it is one itself.
    fn others(&self) -> Option<Vec<NodeId>> {
        let control = &self.parts.control;
        control.with_state(|state| {
            let is_live = |state: &NodeState| matches!(state, NodeState::Member | NodeState::Draining);
            let live = state.nodes().iter().filter(|(_, entry)| is_live(&entry.state)).map(|(node, _)| *node);
            let (own, others): (Vec<NodeId>, Vec<NodeId>) = live.partition(|node| *node == control.node());
            (!own.is_empty()).then_some(others)
        })
    }

    /// Registers a stream type whose subjects can be erased, in the whole cluster.
    pub(crate) async fn register_erasable(
        &self,
        entry: StreamTypeEntry,
        kind: SubjectKind,
    ) -> Result<StreamTypeEntry, NodeError> {
        let refused = |kind, why| Err(NodeError::Erasure { kind, why });
        let Some(keys) = self.keys() else {
            return refused(ErrorKind::NotSupported, NO_FOLDER.to_owned());
        };
        match (self.kind_of(&entry.name), self.buckets_of(&entry.name)) {
            (Some(known), _) if known != kind => {
                let why = format!("stream type `{}` is erasable by {}, which never changes", entry.name, known.word());
                return refused(ErrorKind::StrictViolation, why);
            }
            (None, Some(_)) => {
                let why =
                    format!("stream type `{}` is there already, and not erasable, which never changes", entry.name);
                return refused(ErrorKind::StrictViolation, why);
            }
            // the same again asks nobody: a member may be away
            (Some(_), Some(buckets)) if buckets == entry.buckets => return Ok(entry),
            (Some(_), Some(buckets)) => return Err(NodeError::OtherBuckets { name: entry.name.to_string(), buckets }),
            (_, None) => {}
        }
        let cannot = |error: SubjectFileError| NodeError::Erasure { kind: error.kind(), why: error.to_string() };
        let turn = self.parts.probing.lock().await;
        let others = self.others().ok_or_else(|| self.not_leader(None))?;
        let unseen = self.unseen(&keys, &others).await.map_err(cannot)?;
        drop(turn);
        if !unseen.is_empty() {
            let nodes: Vec<String> = unseen.iter().map(ToString::to_string).collect();
            let why = format!(
                "nothing was registered: these nodes have not shown that they see what this node writes to its folder of --subject-keys: {}. All \
                 members must run, and mount the same one; try again",
                nodes.join(", ")
            );
            return refused(ErrorKind::Unavailable, why);
        }
        keys.agree();
        let (name, buckets) = (entry.name.to_string(), entry.buckets);
        self.propose(name, buckets, erasable_by(Some(kind)), true).await?;
        let hearing = async {
            while self.kind_of(&entry.name).is_none() {
                sleep(PAUSE).await;
            }
        };
        // it is registered, whenever this node hears of it
        let _ = timeout(HEARD_WITHIN, hearing).await;
        Ok(entry)
    }
}

/// Two folders are never both seen by so many.
const fn is_most(seen: usize, members: usize) -> bool {
    seen * 2 > members
}

fn failed(error: std::io::Error) -> SubjectFileError {
    SubjectFileError::Io { path: std::path::PathBuf::from("--subject-keys"), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_folders_at_most_one_is_used_and_one_that_all_see_is() {
        for members in 1..=9 {
            assert!(is_most(members, members));
            assert!((0..=members).all(|seen| !is_most(seen, members) || !is_most(members - seen, members)));
        }
        assert!(is_most(2, 3) && !is_most(1, 2) && !is_most(2, 4));
    }
}
