//! The side that answers: takes connections, hears who asks, hands requests over, many at a time.

use crate::net::body::{Ask, Refused, RefusedCode, decode_ask, decode_call, encode_answer};
use crate::net::hello::{Hello, Welcome, cluster_text};
use crate::net::incoming::{Arrived, Incoming, ReadError};
use crate::net::kinds::{Kind, NetError};
use crate::net::limits::{
    BODY_BYTES_MAX, CONNECT_WITHIN, CONNECTIONS_MAX, IDLE, REQUESTS_KIB_MAX, REQUESTS_MAX, SMALL_BYTES_MAX,
    STRANGER_IDLE, STRANGERS_MAX,
};
use crate::net::link::{Link, Opened, accept, tune};
use crate::net::outgoing::{Outbox, queue, write};
use crate::net::transport::Identity;
use crate::net::unheard::Unheard;
use crate::stop::told;
use crate::transport::{BoxFuture, GroupId, NodeId, Serve};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_tls::{CertificateDer, Certificates, node};
use tokio::io::{AsyncRead, ReadHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// After an error of the system's, e.g. no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Its id; 0: it is no node.
    pub node: NodeId,
    /// Its data folder.
    pub instance: u128,
    /// Its cluster; 0: it has none yet.
    pub cluster: u128,
    /// The connection over which it asks, of all that were ever taken here; 0: it has not been let in yet.
    pub link: u64,
}

/// Whoever knows the cluster: lets nodes in and answers what is no matter of a group.
pub trait Hear: Send + Sync + 'static {
    /// Whether a node of this cluster may speak to this one.
    ///
    /// # Errors
    /// Why not: it was removed, or its id belongs to another data folder.
    fn admits(&self, asker: Asker) -> Result<(), String>;

    /// Whether it is a member, as far as this node has heard.
    fn knows(&self, asker: Asker) -> bool;

    /// Whether what it says in a group counts here.
    ///
    /// # Errors
    /// Why not; it may be heard later.
    fn takes_part(&self, asker: Asker, group: &GroupId) -> Result<(), String>;

    /// A connection stands from now on.
    fn came(&self, _asker: Asker) {}

    /// It has ended, also where its end was never said. What came over it may be answered later.
    fn left(&self, _asker: Asker) {}

    /// Answers.
    fn ask(&self, asker: Asker, ask: Ask) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// What serves the connections of a node.
#[derive(Clone)]
pub struct Listener {
    identity: Arc<Identity>,
    groups: Arc<dyn Serve>,
    cluster: Arc<dyn Hear>,
    certificates: Option<Arc<Certificates>>,
    /// Places for connections of who is not known.
    strangers: Arc<Semaphore>,
    /// Of the connection that this one serves: whether it was said who is there.
    heard: Arc<AtomicBool>,
    /// Connections that said so.
    links: Arc<AtomicU64>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Listener {
    /// Serves as this node.
    #[must_use]
    pub fn new(identity: Arc<Identity>, groups: Arc<dyn Serve>, cluster: Arc<dyn Hear>) -> Self {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let (heard, links) = (Arc::default(), Arc::default());
        Self { identity, groups, cluster, certificates: None, strangers, heard, links }
    }

    /// Over TLS alone: who connects must show a certificate that speaks for the node that its Hello names.
    #[must_use]
    pub fn with_certificates(self, certificates: Arc<Certificates>) -> Self {
        Self { certificates: Some(certificates), ..self }
    }

    /// Takes connections until `stopped` says so; then all of them end.
    pub async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let (mut connections, mut unheard) = (JoinSet::new(), Unheard::default());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let has_room = connections.len() < CONNECTIONS_MAX || unheard.end_oldest();
                        // over the limit: it is closed, who asks tries again
                        if has_room && tune(&stream).is_ok() {
                            let heard = Arc::<AtomicBool>::default();
                            let this = Self { heard: Arc::clone(&heard), ..self.clone() };
                            unheard.push(connections.spawn(this.accepted(stream)), heard);
                        }
                    }
                    Err(error) => {
                        tracing::warn!("a connection of another node could not be taken: {error}");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = told(&mut stopped) => break,
            }
        }
        connections.shutdown().await;
    }

    /// A handshake that is slow or fails holds its own connection and nothing else.
    async fn accepted(self, stream: TcpStream) {
        match timeout(CONNECT_WITHIN, accept(stream, self.certificates.as_deref())).await {
            Ok(Ok(opened)) => self.connection(opened).await,
            Ok(Err(error)) => tracing::debug!("a connection was refused: {error}"),
            Err(_) => tracing::debug!("a connection was refused: its handshake took too long"),
        }
    }

    /// Serves one connection to its end.
    pub async fn connection(self, opened: Opened) {
        let Opened { link, shown } = opened;
        let (reading, writing) = tokio::io::split(link);
        let (outbox, frames) = queue();
        let mut incoming = Incoming::new(reading, SMALL_BYTES_MAX);
        let serving = async move {
            if let Some(refused) = self.serve(&mut incoming, &outbox, shown.as_deref()).await {
                // the stream may be gone; then nobody is there to be told
                let _ = outbox.put(refused.encode(0)).await;
            }
        };
        let writing = write(frames, writing);
        tokio::pin!(serving, writing);
        tokio::select! {
            () = &mut serving => { let _ = writing.await; }
            _ = &mut writing => {}
        }
    }

    /// `Some`: why it ends, where the other side should know.
    async fn serve(
        &self,
        incoming: &mut Incoming<ReadHalf<Box<dyn Link>>>,
        outbox: &Outbox,
        shown: Option<&[CertificateDer<'static>]>,
    ) -> Option<Refused> {
        let asker = match self.greet(incoming, outbox, shown).await {
            Ok(asker) => asker,
            Err(end) => return end,
        };
        let mut stranger = match self.stranger(asker) {
            Ok(stranger) => stranger,
            Err(refused) => return Some(refused),
        };
        let stands = Stands::begin(&*self.cluster, asker);
        incoming.set_body_max(if stranger.is_some() { SMALL_BYTES_MAX } else { BODY_BYTES_MAX });
        let (places, room) =
            (Arc::new(Semaphore::new(REQUESTS_MAX)), Arc::new(Semaphore::new(REQUESTS_KIB_MAX as usize)));
        let mut requests = JoinSet::new();
        loop {
            while requests.try_join_next().is_some() {}
            if stranger.is_some() && self.cluster.knows(asker) {
                stranger = None;
                incoming.set_body_max(BODY_BYTES_MAX);
            }
            let idle = match (requests.is_empty(), &stranger) {
                (true, Some(_)) => STRANGER_IDLE,
                (true, None) => IDLE,
                (false, _) => IDLE * 2,
            };
            let arrived = match incoming.next(idle).await {
                Ok(arrived) => arrived,
                // what it has asked for is done and answered where it still listens
                Err(error @ ReadError::Io(_)) => {
                    drop(stands);
                    while requests.join_next().await.is_some() {}
                    return ended(&error);
                }
                Err(error) => return ended(&error),
            };
            let kib = (arrived.header.body_bytes >> 10).min(REQUESTS_KIB_MAX);
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return None };
            let Ok(held) = Arc::clone(&room).acquire_many_owned(kib).await else { return None };
            match self.request(asker, arrived, outbox) {
                Ok(Some(work)) => {
                    requests.spawn(async move {
                        work.await;
                        drop((place, held));
                    });
                }
                Ok(None) => {}
                Err(error) => return Some(Refused::new(RefusedCode::Protocol, error)),
            }
        }
    }

    /// The place of a connection of somebody who is not known; `None`: a member's, which needs none.
    fn stranger(&self, asker: Asker) -> Result<Option<OwnedSemaphorePermit>, Refused> {
        if self.cluster.knows(asker) {
            return Ok(None);
        }
        if asker.cluster != 0 && asker.node != 0 {
            // others are asked about it now, whatever it sends first; its requests hear what came of that
            let _ = self.cluster.takes_part(asker, &GroupId::Meta);
        }
        let place = Arc::clone(&self.strangers).try_acquire_owned();
        place.map(Some).map_err(|_| {
            let why = "too many that are no members are connected here: ask again, or ask another node";
            Refused::new(RefusedCode::NotAdmitted, why)
        })
    }

    async fn greet<R: AsyncRead + Unpin>(
        &self,
        incoming: &mut Incoming<R>,
        outbox: &Outbox,
        shown: Option<&[CertificateDer<'static>]>,
    ) -> Result<Asker, Option<Refused>> {
        let bad = |error: NetError| Some(Refused::new(RefusedCode::Protocol, error));
        let arrived = incoming.next(CONNECT_WITHIN).await.map_err(|error| ended(&error))?;
        if Kind::from_u8(arrived.header.kind) != Some(Kind::Hello) {
            return Err(bad(NetError::Unexpected(arrived.header.kind)));
        }
        let hello = Hello::decode(&arrived.body).map_err(bad)?;
        let Some(version) = hello.version() else { return Err(bad(NetError::Version(hello.versions.1))) };
        if self.certificates.is_some() {
            let speaks = node::check(shown, hello.node);
            speaks.map_err(|why| Some(Refused::new(RefusedCode::NotAdmitted, why)))?;
        }
        self.check(&hello).map_err(|why| Some(Refused::new(RefusedCode::NotAdmitted, why)))?;
        let welcome = Welcome {
            version,
            body_max: u32::try_from(BODY_BYTES_MAX).unwrap_or(u32::MAX),
            cluster: self.identity.cluster(),
            node: self.identity.node,
            program: self.identity.program.clone(),
        };
        self.heard.store(true, Ordering::Relaxed);
        outbox.put(welcome.encode()).await.map_err(|_| None)?;
        let link = self.links.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Asker { node: hello.node, instance: hello.instance, cluster: hello.cluster, link })
    }

    fn check(&self, hello: &Hello) -> Result<(), String> {
        let (node, cluster) = (self.identity.node, self.identity.cluster());
        if hello.to != 0 && hello.to != node {
            return Err(format!("this is node {node}, not node {}: its address has changed", hello.to));
        }
        if hello.cluster != 0 && cluster != 0 && hello.cluster != cluster {
            let (theirs, ours) = (cluster_text(hello.cluster), cluster_text(cluster));
            return Err(format!("this is a node of {ours}, node {} is of {theirs}", hello.node));
        }
        if hello.cluster == 0 {
            // it joins: what it may ask is decided by who answers
            return Ok(());
        }
        let (node, instance, cluster) = (hello.node, hello.instance, hello.cluster);
        self.cluster.admits(Asker { node, instance, cluster, link: 0 })
    }

    /// The work of a request; `None`: it was answered at once.
    fn request(
        &self,
        asker: Asker,
        arrived: Arrived,
        outbox: &Outbox,
    ) -> Result<Option<BoxFuture<'static, ()>>, NetError> {
        let (request, outbox, this) = (arrived.header.request, outbox.clone(), self.clone());
        if request == 0 {
            return Err(NetError::Field(crate::FieldError::Value("a request's id is not 0")));
        }
        let kind = Kind::from_u8(arrived.header.kind);
        let refuse = |code, text: String| -> BoxFuture<'static, ()> {
            let (refused, outbox) = (Refused::new(code, text), outbox.clone());
            Box::pin(async move {
                let _ = outbox.put(refused.encode(request)).await;
            })
        };
        Ok(Some(match kind {
            // a member of no cluster has no part in any group
            Some(Kind::Call) if asker.cluster == 0 || asker.node == 0 => {
                refuse(RefusedCode::NotAdmitted, "who has not joined takes no part in a group".to_owned())
            }
            Some(Kind::Call) => {
                let call = decode_call(&arrived.body)?;
                if let Err(why) = self.cluster.takes_part(asker, &call.group) {
                    return Ok(Some(refuse(RefusedCode::NotAdmitted, why)));
                }
                Box::pin(async move {
                    let answered = this.groups.serve(asker.node, call).await;
                    let frame = answered
                        .map_or_else(|e| Refused::from(e).encode(request), |bytes| encode_answer(request, bytes));
                    let _ = outbox.put(frame).await;
                })
            }
            Some(Kind::Ask) => {
                let ask = decode_ask(&arrived.body)?;
                Box::pin(async move {
                    let answered = this.cluster.ask(asker, ask).await;
                    let no = |text| Refused::new(RefusedCode::No, text).encode(request);
                    let _ = outbox.put(answered.map_or_else(no, |bytes| encode_answer(request, bytes))).await;
                })
            }
            Some(kind) => return Err(NetError::Unexpected(kind.to_u8())),
            None => refuse(
                RefusedCode::No,
                format!("requests of kind {} are not known here: update this node", arrived.header.kind),
            ),
        }))
    }
}

/// A connection while it stands. Whoever knows the cluster hears of its end, whatever ends it.
struct Stands<'a> {
    cluster: &'a dyn Hear,
    asker: Asker,
}

impl<'a> Stands<'a> {
    fn begin(cluster: &'a dyn Hear, asker: Asker) -> Self {
        cluster.came(asker);
        Self { cluster, asker }
    }
}

impl Drop for Stands<'_> {
    fn drop(&mut self) {
        self.cluster.left(self.asker);
    }
}

/// What the other side is told about an end of its making.
fn ended(error: &ReadError) -> Option<Refused> {
    match error {
        ReadError::Io(_) => None,
        ReadError::Bad(error) => Some(Refused::new(RefusedCode::Protocol, error)),
        ReadError::Silent(_) => Some(Refused::new(RefusedCode::Protocol, error)),
    }
}
