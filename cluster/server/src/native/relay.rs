//! The way of one connection to other nodes, by its client's token: what they lead, and what they read in the place of this node.
//!
//! One connection a node, made when it is first needed, closed with the client's. Many requests are under way on it; where it breaks, the rules of
//! the protocol (crates/client/PROTOCOL.md, section 8) say what may be sent there again. It marks what it sends on, so that nothing makes a second hop.

use crate::error::ApiError;
use crate::http::call::App;
use crate::native::refusal::of_api;
use crate::outgoing::{NO_PLACE, Outgoing, Place};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_client::wire::fields::{Encoded, Reader, Writer};
use strandline_client::wire::frames::Frame;
use strandline_client::wire::header::{Kind, Magic};
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_client::{Client, ClientError, Options, Refused, Stay, Tls};
use strandline_consensus::NodeId;
use strandline_consensus::control::Control;
use strandline_consensus::meta::NodeState;
use strandline_event::ErrorKind;
use strandline_tls::{Certificates, node};
use strandline_workers::LeaderAt;
use tokio::time::timeout;

/// Connecting takes longer only where nobody is.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a request waits for a connection that broke.
const PATIENCE: Duration = Duration::from_secs(1);
/// A node that owes an answer and says nothing is asked whether it lives, and given up after as much again.
const SILENCE: Duration = Duration::from_secs(4);
/// A node that could not be reached is not tried again at once.
const SHUT_FOR: Duration = Duration::from_millis(500);
/// A read takes no longer, unless the node stands still: it waits less for the leaders.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// No refusal is larger.
const REFUSAL_BYTES: u32 = 64 << 10;

/// The way to one node.
#[derive(Default)]
enum Way {
    #[default]
    Unknown,
    Open(String, Held),
    Shut(String, Instant, ClientError),
}

/// An open connection with the place that it takes.
struct Held {
    client: Client,
    _place: Place,
}

/// A node that reads.
pub(super) struct Reads {
    node: NodeId,
    /// By which it is known where it is left alone.
    http: String,
    native: String,
}

/// The way to other nodes.
pub(crate) struct Relay {
    control: Control,
    /// Of each connection, but for its address.
    each: Options,
    certificates: Option<Arc<Certificates>>,
    outgoing: Outgoing,
    /// The caller is told nothing that may be another tenant's.
    is_limited: bool,
    nodes: Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<Way>>>>,
}

/// Why another node gave no outcomes.
pub(super) enum No {
    /// Nothing was done, and it may be done elsewhere.
    NotThere(Refused),
    /// A word about all of it.
    All(Refused),
}

impl Relay {
    /// Of a client that has shown this token and takes answers so large, to this store.
    pub(crate) fn new(
        control: Control,
        (token, body_max): (&str, u32),
        (store, is_limited): (&str, bool),
        (certificates, outgoing): (Option<Arc<Certificates>>, Outgoing),
    ) -> Self {
        let each = Options {
            store: store.to_owned(),
            token: token.to_owned(),
            stay: Stay { led: true, reads: true },
            program: concat!("strandline-node/", env!("CARGO_PKG_VERSION")).to_owned(),
            patience: PATIENCE,
            connect_within: CONNECT_WITHIN,
            silence_max: SILENCE,
            answer_bytes_max: body_max.max(REFUSAL_BYTES),
            ..Options::new("")
        };
        Self { control, each, certificates, outgoing, is_limited, nodes: Mutex::default() }
    }

    /// The connection to a node.
    ///
    /// # Errors
    /// Nothing was sent.
    pub(super) async fn client(&self, node: NodeId, address: &str) -> Result<Client, ClientError> {
        let way = Arc::clone(self.nodes.lock().entry(node).or_default());
        // who comes meanwhile waits for the same connection
        let mut way = way.lock().await;
        match &*way {
            Way::Open(at, held) if at == address => return Ok(held.client.clone()),
            Way::Shut(at, since, why) if at == address && since.elapsed() < SHUT_FOR => return Err(why.clone()),
            // one to where the node was gives its place back
            _ => *way = Way::Unknown,
        }
        let Some(place) = self.outgoing.enter_to_stay() else {
            return Err(Refused::new(ErrorKind::Overloaded, NO_PLACE).into());
        };
        let connected = match self.options(node, address) {
            // rare, and large: no request carries it
            Ok(options) => Box::pin(Client::connect(options)).await,
            Err(error) => Err(error),
        };
        *way = match &connected {
            Ok(client) => Way::Open(address.to_owned(), Held { client: client.clone(), _place: place }),
            Err(why) => Way::Shut(address.to_owned(), Instant::now(), why.clone()),
        };
        connected
    }

    fn options(&self, node: NodeId, address: &str) -> Result<Options, ClientError> {
        let tls = match &self.certificates {
            None => None,
            // as of now: a connection that is made again later would show what was read before
            Some(certificates) => match (certificates.node_client(), node::server_name(node)) {
                (Some(config), Some(name)) => Some(Tls::to(config, name)),
                _ => {
                    let why = "there are no authorities of other nodes".to_owned();
                    return Err(ClientError::Unreachable { address: address.to_owned(), why });
                }
            },
        };
        Ok(Options { address: address.to_owned(), tls, ..self.each.clone() })
    }

    /// The next request makes another connection.
    fn forget(&self, node: NodeId) {
        self.nodes.lock().remove(&node);
    }

    /// The other node whose native protocol is at an address, as another one has named it.
    pub(super) fn node_at(&self, native: &str) -> Option<LeaderAt> {
        self.control.with_state(|state| {
            let others = state.nodes().values().filter(|entry| entry.facts.id != self.control.node());
            let entry = others.filter(|entry| entry.state != NodeState::Removed);
            let facts = entry.map(|entry| &entry.facts).find(|facts| facts.addresses.native == native)?;
            Some(LeaderAt { node: facts.id, http: facts.addresses.http.clone(), native: Some(native.to_owned()) })
        })
    }

    /// What came of appends that were sent to this node.
    pub(super) fn no(&self, (node, address): (NodeId, &str), error: ClientError) -> No {
        match error {
            ClientError::Refused(refused) => judged(refused),
            error @ ClientError::Unreachable { .. } => {
                self.forget(node);
                No::NotThere(unreachable_at(address, &error))
            }
            ClientError::OutcomeUnknown { why } => No::All(self.unknown(&why)),
            // an answer that cannot be read does not say that nothing was stored
            error => No::All(self.unknown(&error.to_string())),
        }
    }

    fn unknown(&self, why: &str) -> Refused {
        let why = if self.is_limited { String::new() } else { format!(" ({why})") };
        let text = format!(
            "the outcome is unknown: the answer of the node that leads was lost{why}; a retry with the same command id finds out where the store \
             keeps command ids (id.command_id.unique_scope); elsewhere read before you send it again"
        );
        Refused { code: OUTCOME_UNKNOWN.to_owned(), text, ..Refused::default() }
    }

    /// Whether other nodes read in the place of this one.
    pub(super) fn reads_elsewhere(&self) -> bool {
        !self.control.reads_here()
    }

    /// The nodes that are asked to, in this order; last one that holds every log, where this one does not.
    pub(super) fn readers(&self, app: &App) -> Vec<Reads> {
        let at = |(node, http): (NodeId, String)| {
            let native = self.control.entry(node)?.facts.addresses.native;
            (!native.is_empty()).then_some(Reads { node, http, native })
        };
        let readers = app.readers.in_turn(self.control.readers());
        readers.into_iter().chain(self.control.holds_more(&self.each.store)).filter_map(at).collect()
    }

    /// The connection to one of them; one that cannot be reached is left alone.
    pub(super) async fn reader(&self, app: &App, reads: &Reads) -> Option<Client> {
        match self.client(reads.node, &reads.native).await {
            Ok(client) => Some(client),
            Err(error) => {
                if !is_of_this_node(&error) {
                    self.pass_by(app, reads, &error);
                }
                None
            }
        }
    }

    /// It has not answered. What it says of this caller is no reason to leave it alone for the others: its tokens may be read a moment later.
    pub(super) fn pass_by(&self, app: &App, reads: &Reads, error: &ClientError) {
        if is_of_the_caller(error) {
            tracing::debug!(node = reads.node, address = reads.native, "a read is refused there: {error}");
        } else {
            self.leave_alone(app, reads, &error.to_string());
        }
    }

    /// It cannot read now.
    pub(super) fn leave_alone(&self, app: &App, reads: &Reads, why: &str) {
        tracing::debug!(node = reads.node, address = reads.native, "a read is not answered there: {why}");
        self.forget(reads.node);
        app.readers.is_left_alone(reads.http.clone());
    }

    /// Has a read answered by a node that reads; `None`: none of them does.
    pub(super) async fn read(&self, app: &App, encode: impl Fn(u64) -> Encoded, request: u64) -> Option<Vec<u8>> {
        for reads in self.readers(app) {
            let Some(client) = self.reader(app, &reads).await else { continue };
            match timeout(ANSWERS_WITHIN, client.pass(&encode)).await {
                Ok(Ok(frame)) if !cannot(&frame) => return Some(again(&frame, request)),
                Ok(Ok(_)) => self.leave_alone(app, &reads, "it cannot"),
                Ok(Err(error)) => self.pass_by(app, &reads, &error),
                Err(_) => self.leave_alone(app, &reads, "no answer in time"),
            }
        }
        None
    }
}

/// Nothing was sent to this node.
pub(super) fn not_sent(address: &str, error: ClientError) -> No {
    match error {
        ClientError::Refused(refused) => judged(refused),
        error => No::NotThere(unreachable_at(address, &error)),
    }
}

/// A refusal of the other node itself.
fn judged(refused: Refused) -> No {
    if refused.kind() == Some(ErrorKind::NotLeader) { No::NotThere(refused) } else { No::All(refused) }
}

fn unreachable_at(address: &str, why: &ClientError) -> Refused {
    let text = format!(
        "the node that does this, at {address}, cannot be reached ({why}): nothing was done; try again in a moment"
    );
    of_api(&ApiError::new(ErrorKind::NotLeader, text))
}

/// Whether a node that is there refuses this caller, as it would not each.
fn is_of_the_caller(error: &ClientError) -> bool {
    use ErrorKind::{Forbidden, NotFound, Unauthenticated};
    let ClientError::Refused(refused) = error else { return false };
    matches!(refused.kind(), Some(Unauthenticated | Forbidden | NotFound))
}

/// Whether there was no place for a connection, which says nothing of the other node.
fn is_of_this_node(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refused) if refused.text == NO_PLACE)
}

/// Whether a node says that it cannot read now.
pub(super) fn cannot(frame: &Frame) -> bool {
    let not_now = |refused: Refused| matches!(refused.kind(), Some(ErrorKind::Unavailable | ErrorKind::NotLeader));
    is_refusal(frame) && Refused::read(&mut Reader::new(&frame.body)).is_ok_and(not_now)
}

pub(super) fn is_refusal(frame: &Frame) -> bool {
    frame.header.kind == Kind::Error.to_u8()
}

/// The same frame as the answer to a client's request.
pub(super) fn again(frame: &Frame, request: u64) -> Vec<u8> {
    let mut out = Writer::with_magic(Magic::NATIVE, frame.header.kind, request, frame.body.len());
    out.bytes(&frame.body);
    out.finish().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_refuses_one_caller_is_not_left_alone_by_the_others() {
        let refused = |kind| ClientError::Refused(Refused::new(kind, "no"));
        for kind in [ErrorKind::Unauthenticated, ErrorKind::Forbidden, ErrorKind::NotFound] {
            assert!(is_of_the_caller(&refused(kind)), "{kind:?}");
        }
        for kind in [ErrorKind::Unavailable, ErrorKind::NotLeader, ErrorKind::Overloaded] {
            assert!(!is_of_the_caller(&refused(kind)), "{kind:?}");
        }
        let away = ClientError::Unreachable { address: "n2:7071".to_owned(), why: "refused".to_owned() };
        assert!(!is_of_the_caller(&away) && !is_of_the_caller(&ClientError::Closed));
    }
}
