//! A client of several nodes: learns who leads which stream type, and goes on elsewhere when a node is lost.
//!
//! What may be sent twice is decided in one place ([`Repeat`]). `not_leader` and "cannot be reached" mean that nothing was done: such a
//! request goes elsewhere whatever it holds. An answer that was lost means that the outcome is unknown: an append is repeated then only
//! where the store knows it again, by its command ids, and its caller is told otherwise.

use crate::net::error::ClientError;
use crate::net::options::Options;
use crate::net::queue::Repeat;
use crate::net::{Client, Page};
use crate::wire::append::{Expected, OnError};
use crate::wire::hello::Welcome;
use crate::wire::outcome::{Appended, BulkOutcomes, PartAppended};
use crate::wire::read::{HeadIs, StreamWanted};
use crate::wire::refused::{OUTCOME_UNKNOWN, Refused};
use crate::wire::stay::Stay;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{BatchBytes, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Pauses between attempts while no leader is known.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Stream types whose leaders are remembered; beyond it all are forgotten and learned again.
const LEADERS_MAX: usize = 10_000;

/// Parts of a bulk append that are on their way at a time.
const PARTS_AT_A_TIME: usize = 16;

/// How a client of a cluster connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterOptions {
    /// `host:port` of the native protocol of some nodes: others are learned.
    pub addresses: Vec<String>,
    /// Of each connection; its address is not looked at.
    pub each: Options,
    /// How long a request looks for a node that does it.
    pub patience: Duration,
}

impl ClusterOptions {
    /// The defaults for some nodes: one that is lost is left after a second.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let short = Duration::from_secs(1);
        // it hears who leads and goes there itself: one hop less from then on
        let stay = Stay { led: true, reads: false };
        let each = Options { stay, patience: short, connect_within: short, silence_max: short, ..Options::new("") };
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { addresses, each, patience: Duration::from_secs(30) }
    }
}

/// A client of one store of a cluster. Cloning shares it; any number of tasks may ask at a time.
#[derive(Clone)]
pub struct ClusterClient {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClusterOptions,
    clients: tokio::sync::Mutex<HashMap<String, Client>>,
    routes: Mutex<Routes>,
}

/// Whom to ask.
#[derive(Debug, Default)]
struct Routes {
    /// By stream type.
    leaders: HashMap<String, String>,
    /// Index of the node that is asked where no leader is known.
    any: usize,
}

impl Routes {
    fn learn(&mut self, stream_type: &str, leader: &str) {
        if self.leaders.len() >= LEADERS_MAX {
            self.leaders.clear();
        }
        self.leaders.insert(stream_type.to_owned(), leader.to_owned());
    }

    /// The node was no good: another one is asked next.
    fn leave(&mut self, stream_type: &str, address: &str, addresses: &[String]) {
        if self.leaders.get(stream_type).is_some_and(|leader| leader == address) {
            self.leaders.remove(stream_type);
        }
        if addresses.get(self.any).is_some_and(|any| any == address) {
            self.any = (self.any + 1) % addresses.len().max(1);
        }
    }
}

/// What an attempt says of the next one.
enum Next {
    /// It is over.
    End(ClientError),
    /// The leader is known, and is here: at once.
    Leader(String),
    /// Elsewhere, after a pause. `true`: the attempt may have been carried out.
    Elsewhere(ClientError, bool),
}

impl ClusterClient {
    /// A client that has reached one of the nodes.
    ///
    /// # Errors
    /// None of them answers, or one refuses (the store, a token, the version).
    pub async fn connect(options: ClusterOptions) -> Result<Self, ClientError> {
        if options.addresses.is_empty() {
            let text = "name the address of one node at least";
            return Err(ClientError::Refused(Refused::new(ErrorKind::BadRequest, text)));
        }
        let inner = Inner { options, clients: Default::default(), routes: Mutex::default() };
        let this = Self { inner: Arc::new(inner) };
        this.ask("", Repeat::Always, |client| async move { client.ping().await }).await?;
        Ok(this)
    }

    /// Appends a batch (unit Append) to its stream, atomically, at the leader of its log.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append(&self, batch: BatchBytes, expected: Expected) -> Result<Appended, ClientError> {
        let (stream_type, repeat) = (batch.view().stream_type().to_owned(), Repeat::of(&batch));
        self.ask(&stream_type, repeat, |client| {
            let batch = batch.clone();
            async move { client.append(batch, expected).await }
        })
        .await
    }

    /// Appends batches (unit Rows) of many streams, at most one of each stream type; each goes to the leader of its log, side by side with
    /// others. The outcomes are in the order of the batches, each that of one part whatever became of the others; an error says in `part` which.
    ///
    /// # Errors
    /// None outside: each part has its own. A second batch of a stream type is refused.
    pub async fn append_bulk(&self, batches: &[BatchBytes], on_error: OnError) -> BulkOutcomes {
        if let [only] = batches {
            return vec![of_part(0, self.append_part(only, on_error).await)];
        }
        let (mut outcomes, mut waiting) = parts(batches);
        let mut running = JoinSet::new();
        loop {
            while running.len() < PARTS_AT_A_TIME
                && let Some((at, batch)) = waiting.pop_front()
            {
                let this = self.clone();
                running.spawn(async move { (at, this.append_part(&batch, on_error).await) });
            }
            match running.join_next().await {
                Some(Ok((at, outcome))) => {
                    if let Some(place) = outcomes.get_mut(at) {
                        *place = of_part(at, outcome);
                    }
                }
                // what stands in its place stays
                Some(Err(_)) => {}
                None => return outcomes,
            }
        }
    }

    async fn append_part(&self, batch: &BatchBytes, on_error: OnError) -> Result<PartAppended, Refused> {
        let (stream_type, repeat) = (batch.view().stream_type().to_owned(), Repeat::of(batch));
        let asked = self.ask(&stream_type, repeat, |client| {
            let batch = batch.clone();
            async move {
                let outcomes = client.append_bulk(std::slice::from_ref(&batch), on_error).await?;
                let only = outcomes.into_iter().next();
                only.unwrap_or_else(|| Err(Refused::new(ErrorKind::Io, "no outcome"))).map_err(ClientError::from)
            }
        });
        asked.await.map_err(|error| match error {
            ClientError::Refused(refused) => refused,
            error @ ClientError::Unreachable { .. } => Refused::new(ErrorKind::Unavailable, error.to_string()),
            ClientError::OutcomeUnknown { why } => unknown(why),
            // an answer that cannot be read, or never came, does not say that nothing was stored
            other => unknown(other.to_string()),
        })
    }

    /// First and last seq of a stream; `None`: there is no such stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn head(&self, stream_type: &str, stream_id: &str) -> Result<Option<HeadIs>, ClientError> {
        self.ask(stream_type, Repeat::Always, |client| async move { client.head(stream_type, stream_id).await }).await
    }

    /// A page of a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_stream(&self, wanted: &StreamWanted) -> Result<Page, ClientError> {
        self.ask(&wanted.stream_type, Repeat::Always, |client| async move { client.read_stream(wanted).await }).await
    }

    /// Asks the leader of a stream type, as far as it is known, and others until somebody does it.
    async fn ask<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        stream_type: &str,
        repeat: Repeat,
        op: impl Fn(Client) -> F,
    ) -> Result<T, ClientError> {
        let until = Instant::now() + self.inner.options.patience;
        let (mut pause, mut redirected, mut open) = (PAUSE_FIRST, false, None);
        let mut leader = None;
        loop {
            // buckets of a type may have several leaders: what others have learned meanwhile is no better than this one's own word
            let address = leader.take().unwrap_or_else(|| self.route(stream_type));
            let error = match self.attempt(&address, &op).await {
                Ok(done) => return Ok(done),
                Err((error, welcome)) => error_of(error, repeat, welcome.as_deref()),
            };
            let (error, may_be_done) = match self.next(stream_type, &address, error) {
                Next::End(error) => return Err(unless_known(error, open)),
                // one leader sends to the other while they change: with a pause from the second time on
                Next::Leader(at) if !redirected => {
                    (redirected, leader) = (true, Some(at));
                    continue;
                }
                Next::Leader(_) => {
                    (ClientError::Refused(Refused::new(ErrorKind::NotLeader, "the leaders change")), false)
                }
                Next::Elsewhere(error, may_be_done) => (error, may_be_done),
            };
            if may_be_done {
                open = Some(error.to_string());
            }
            if Instant::now() + pause >= until {
                return Err(unless_known(error, open));
            }
            sleep(pause).await;
            (pause, redirected) = ((pause * 2).min(PAUSE_MAX), false);
        }
    }

    async fn attempt<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        address: &str,
        op: &impl Fn(Client) -> F,
    ) -> Result<T, (ClientError, Option<Arc<Welcome>>)> {
        let client = self.client(address).await.map_err(|error| (error, None))?;
        op(client.clone()).await.map_err(|error| (error, client.welcome()))
    }

    fn next(&self, stream_type: &str, address: &str, error: Judged) -> Next {
        let mut routes = self.inner.routes.lock();
        match error {
            Judged::NotLeader(Refused { leader: Some(leader), .. }) if leader != address => {
                routes.learn(stream_type, &leader);
                Next::Leader(leader)
            }
            Judged::NotLeader(refused) => {
                routes.leave(stream_type, address, &self.inner.options.addresses);
                Next::Elsewhere(ClientError::Refused(refused), false)
            }
            Judged::Elsewhere(error, may_be_done) => {
                routes.leave(stream_type, address, &self.inner.options.addresses);
                Next::Elsewhere(error, may_be_done)
            }
            Judged::End(error) => Next::End(error),
        }
    }

    fn route(&self, stream_type: &str) -> String {
        let routes = self.inner.routes.lock();
        let any = || self.inner.options.addresses.get(routes.any).cloned().unwrap_or_default();
        routes.leaders.get(stream_type).cloned().unwrap_or_else(any)
    }

    async fn client(&self, address: &str) -> Result<Client, ClientError> {
        let mut clients = self.inner.clients.lock().await;
        if let Some(client) = clients.get(address) {
            return Ok(client.clone());
        }
        let options = Options { address: address.to_owned(), ..self.inner.options.each.clone() };
        let client = Client::connect(options).await?;
        clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }
}

/// The parts that are sent, and what is said of each as long as nothing else is.
fn parts(batches: &[BatchBytes]) -> (BulkOutcomes, VecDeque<(usize, BatchBytes)>) {
    let (mut outcomes, mut waiting, mut types) = (BulkOutcomes::new(), VecDeque::new(), HashSet::new());
    for (at, batch) in batches.iter().enumerate() {
        let stream_type = batch.view().stream_type().to_owned();
        // side by side nobody could say which of two comes first
        let text = format!("two batches of one bulk append are of stream type '{stream_type}': join them");
        let refused = if types.insert(stream_type) {
            waiting.push_back((at, batch.clone()));
            unknown("the part was given up inside the client".to_owned())
        } else {
            Refused::new(ErrorKind::BadRequest, text)
        };
        outcomes.push(of_part(at, Err(refused)));
    }
    (outcomes, waiting)
}

/// An error says which part it is about.
fn of_part(at: usize, outcome: Result<PartAppended, Refused>) -> Result<PartAppended, Refused> {
    outcome.map_err(|refused| Refused { part: Some(at as u32), ..refused })
}

fn unknown(text: String) -> Refused {
    Refused { code: OUTCOME_UNKNOWN.to_owned(), text, ..Refused::default() }
}

/// An error, and what it means for another attempt.
enum Judged {
    NotLeader(Refused),
    Elsewhere(ClientError, bool),
    End(ClientError),
}

fn error_of(error: ClientError, repeat: Repeat, welcome: Option<&Welcome>) -> Judged {
    match error {
        ClientError::Refused(refused) if refused.kind() == Some(ErrorKind::NotLeader) => Judged::NotLeader(refused),
        // electing, starting, draining: not here, not now
        ClientError::Refused(refused) if refused.kind() == Some(ErrorKind::Unavailable) => {
            Judged::Elsewhere(ClientError::Refused(refused), false)
        }
        error @ ClientError::Unreachable { .. } => Judged::Elsewhere(error, false),
        error @ ClientError::OutcomeUnknown { .. } if welcome.is_some_and(|welcome| repeat.is_safe(welcome)) => {
            Judged::Elsewhere(error, true)
        }
        error => Judged::End(error),
    }
}

/// After an attempt that may have been carried out an error of a later one does not say that nothing was done, unless it is the
/// store's own word on the append.
fn unless_known(error: ClientError, open: Option<String>) -> ClientError {
    match open {
        Some(why) if !error.is_the_stores_word() => ClientError::OutcomeUnknown { why },
        _ => error,
    }
}

#[cfg(test)]
mod tests;
