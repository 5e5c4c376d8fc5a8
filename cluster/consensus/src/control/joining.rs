//! The joining node's side: asks a member, proves that it shares the stores, and is let in.

use super::Entropy;
use super::ask::question;
use super::places::Places;
use crate::join::{AskKind, Join, Offer, Place, Proof, ProofError, StoreProof, prove_store};
use crate::meta::{CodecError, NodeFacts};
use crate::net::NetTransport;
use crate::transport::{NodeId, TransportError};
use std::sync::Arc;
use std::time::Duration;
use strandline_durable::objects::cluster_mark;
use strandline_event::SharedBytes;

/// Time of each of the two questions: the member asks its leader, and the stores.
const WITHIN: Duration = Duration::from_secs(40);

/// Why a node is not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The node that was asked says no, or nobody is there.
    #[error("{}", asked(.at, .error))]
    Member {
        /// Who was asked.
        at: String,
        /// What it says.
        error: TransportError,
    },
    /// It does not share a store.
    #[error(transparent)]
    Proof(Box<ProofError>),
    /// A store's durable.path cannot be opened here.
    #[error("store `{0}`: durable.path cannot be opened on this node: {1}")]
    Place(String, String),
    /// The answer cannot be read.
    #[error("the answer of {at} cannot be read: {error}")]
    Answer {
        /// Who was asked.
        at: String,
        /// Why.
        error: CodecError,
    },
    /// A thread ended.
    #[error("the stores' durable.path could not be looked at")]
    Ended,
}

/// What came of asking the node at `at`, whose number nobody knows, and what to do.
fn asked(at: &str, error: &TransportError) -> String {
    match error {
        TransportError::Refused { why, .. } => format!("{at} does not let this node join: {why}"),
        TransportError::Unreachable { why, .. } => format!(
            "no node answers at {at} (--join): {why}; start that node, or name the --cluster address of a member that runs"
        ),
        TransportError::TimedOut { waited_ms, .. } => {
            format!(
                "the node at {at} (--join) gave no answer within {waited_ms} ms: start this node again, or name another member"
            )
        }
        TransportError::TooLarge { .. } => format!("{at} cannot be asked: {error}"),
    }
}

impl From<ProofError> for JoinError {
    fn from(error: ProofError) -> Self {
        Self::Proof(Box::new(error))
    }
}

/// What a member refuses that passes by itself: it is joining, several nodes join at once, a leader is being elected.
const PASSES: [&str; 3] = ["ask again", "ask to join again", "has no leader that can be reached"];

impl JoinError {
    /// Whether somebody has to change something before another try makes sense.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Member { error: TransportError::Refused { why, .. }, .. } => {
                !PASSES.iter().any(|said| why.contains(said))
            }
            Self::Member { .. } => false,
            Self::Proof(error) => !matches!(**error, ProofError::Object { .. }),
            Self::Ended => false,
            Self::Place(..) | Self::Answer { .. } => true,
        }
    }
}

/// Asks the node at `at` to join; gives what has to be proven. Nothing counts on this node yet: it may still decline.
///
/// # Errors
/// [`JoinError`].
pub async fn ask_to_join(transport: &NetTransport, at: &str, facts: NodeFacts) -> Result<Offer, JoinError> {
    let answer = ask(transport, at, AskKind::Join, Join(facts).encode()).await?;
    Offer::decode(&answer).map_err(|error| JoinError::Answer { at: at.to_owned(), error })
}

/// Proves what was offered by the node at `at`; from then on the node is a member. Both steps may be repeated from the first, by the same
/// node with the same folder.
///
/// # Errors
/// [`JoinError`].
pub async fn enter(
    transport: &NetTransport,
    at: &str,
    node: NodeId,
    offer: Offer,
    places: Arc<dyn Places>,
    entropy: Entropy,
) -> Result<(), JoinError> {
    let stores = prove_offer(offer, places, entropy).await?;
    admit(transport, at, node, stores).await
}

/// Makes the proof that this node shares the stores that it was offered. It is no member yet, and may still decline.
///
/// # Errors
/// [`JoinError`].
pub async fn prove_offer(
    offer: Offer,
    places: Arc<dyn Places>,
    entropy: Entropy,
) -> Result<Vec<StoreProof>, JoinError> {
    let proving = tokio::task::spawn_blocking(move || prove(&offer, &*places, &entropy));
    proving.await.map_err(|_| JoinError::Ended)?
}

/// Shows the proof to the node at `at`: the node is a member from here on, and others count on it.
///
/// # Errors
/// [`JoinError`].
pub async fn admit(transport: &NetTransport, at: &str, node: NodeId, stores: Vec<StoreProof>) -> Result<(), JoinError> {
    ask(transport, at, AskKind::Prove, Proof { node, stores }.encode()).await.map(drop)
}

async fn ask(transport: &NetTransport, at: &str, kind: AskKind, body: Vec<u8>) -> Result<SharedBytes, JoinError> {
    let ask = question(kind, &body);
    transport.ask(0, at, ask, WITHIN).await.map_err(|error| JoinError::Member { at: at.to_owned(), error })
}

fn prove(offer: &Offer, places: &dyn Places, entropy: &Entropy) -> Result<Vec<StoreProof>, JoinError> {
    let mut proofs = Vec::new();
    for store in &offer.stores {
        let name = || store.name.clone();
        let place = places.open(&store.statement).map_err(|why| JoinError::Place(name(), why))?;
        // before a folder is made: a path that nobody shares stays as it was
        if cluster_mark(&*place.read).map_err(|error| ProofError::Mark(name(), error))?.is_none() {
            return Err(ProofError::NotShared { store: name(), location: place.location }.into());
        }
        let objects = (place.write)().map_err(|why| JoinError::Place(name(), why))?;
        let seen = Place { store: &store.name, location: &place.location, objects: &*objects };
        proofs.push(prove_store(seen, offer.cluster, store.probe, (entropy(), entropy()))?);
    }
    Ok(proofs)
}
