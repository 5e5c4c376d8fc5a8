//! One connection: reads frames, begins requests, ends with the first bad byte.
//!
//! Invariant: what is read is bounded: the bodies of appends by the node's account of bytes, requests by their number, and nothing is
//! read while too many answers wait.

use crate::access::audit::Asked;
use crate::error::ApiError;
use crate::http::call::App;
use crate::native::append::{AppendOutcomes, encode_outcomes};
use crate::native::outbox::Outbox;
use crate::native::pass::InParts;
use crate::native::refusal::{no_room, of_api, refused};
use crate::native::requests::{Decoded, Failed, decode, filter};
use crate::native::scan::{Running, Scans};
use crate::native::session::{BODY_BYTES_MAX, REQUESTS_MAX, Session, welcome};
use crate::stall::{Pace, Patience};
use crate::trace;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use strandline_client::Refused;
use strandline_client::wire::error::WireError;
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::{Header, Kind, NO_EVENTS_BODY_MAX};
use strandline_client::wire::hello::Hello;
use strandline_client::wire::read::encode_empty;
use strandline_event::ErrorKind;
use strandline_workers::NodeError;
use strandline_workers::permits::{BytePermit, BytePermits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, Span};

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The part of the node's bytes of answers that one connection may hold.
const ANSWERS_PART: usize = 4;
/// A larger body is not looked at on a thread that other connections wait for.
pub(super) const DECODE_HERE_BYTES_MAX: usize = 64 << 10;

/// A connection that is served.
pub(super) struct Connection {
    app: Arc<App>,
    session: Session,
    from: Option<SocketAddr>,
    outbox: Arc<Outbox>,
    scans: Scans,
    /// Places of requests that are worked on.
    places: Arc<Semaphore>,
    /// Of the frame that is being read.
    permit: Option<BytePermit>,
}

/// Who has connected.
pub(super) struct Peer {
    pub(super) socket: TcpStream,
    /// It has said something that a client says.
    pub(super) heard: Arc<AtomicBool>,
}

/// Reads whole frames from the socket.
struct Incoming<R> {
    socket: R,
    frames: FrameReader,
    stopped: watch::Receiver<bool>,
    /// The first frame has come: from then on a client may be silent between frames, and gives way to no other.
    greeted: Arc<AtomicBool>,
    /// What the client is given where bytes are due.
    patience: Patience,
    /// Of the frame that comes.
    pace: Pace,
    /// Where the bytes of the frame that comes are counted, as they come.
    account: Option<BytePermits>,
    permit: BytePermit,
}

/// The writing half, of which answers have a share.
struct Shared(Arc<OwnedWriteHalf>);

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket: &TcpStream = (*self.0).as_ref();
        loop {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The last share that goes closes the direction.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Why no further frame is read.
enum End {
    /// The client is done, or the node stops.
    Closed,
    Bad(WireError),
    Slow,
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Bad(error)
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The first frame has come.
    fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Relaxed)
    }

    /// The next step that is not "more bytes".
    async fn step(&mut self) -> Result<Step, End> {
        loop {
            match self.frames.step()? {
                Step::More => {}
                step => return Ok(step),
            }
            if *self.stopped.borrow() && self.frames.is_between_frames() {
                return Err(End::Closed);
            }
            let is_between = self.frames.is_between_frames();
            let is_due = !self.is_greeted() || !is_between;
            let patience = if is_between { self.patience.stall } else { self.pace.patience(Instant::now()) };
            let read = tokio::select! {
                read = timeout(patience, self.socket.read(self.frames.space())) => read,
                changed = self.stopped.changed() => {
                    self.frames.filled(0);
                    match changed {
                        Ok(()) => continue,
                        // who would say so is gone: the node ends
                        Err(_) => return Err(End::Closed),
                    }
                }
            };
            match read {
                Ok(Ok(0) | Err(_)) => return Err(End::Closed),
                Ok(Ok(bytes)) => {
                    if is_between {
                        self.pace = Pace::begin(Instant::now(), self.patience);
                    }
                    self.pace.took(bytes);
                    self.frames.filled(bytes);
                    self.count(bytes);
                }
                Err(_) => {
                    self.frames.filled(0);
                    if is_due {
                        return Err(End::Slow);
                    }
                }
            }
        }
    }

    /// Bytes of a counted body have come; without room for them the rest of it passes unread.
    fn count(&mut self, bytes: usize) {
        let Some(account) = &self.account else { return };
        if !account.grow(&mut self.permit, bytes) {
            self.frames.skip_body();
            (self.account, self.permit) = (None, BytePermit::default());
        }
    }

    /// The first frame.
    async fn hello(&mut self) -> Result<(u64, Hello), End> {
        loop {
            match self.step().await? {
                // before a store is chosen nothing is counted
                Step::Head(header) if is_counted(&header) => return Err(WireError::Unexpected(header.kind).into()),
                Step::Head(header) => check_size(&header)?,
                Step::Frame(Frame { header, body }) if Kind::from_u8(header.kind) == Some(Kind::Hello) => {
                    check_request(header.request)?;
                    self.greeted.store(true, Ordering::Relaxed);
                    return Ok((header.request, Hello::decode(&body)?));
                }
                Step::Frame(frame) => return Err(WireError::Unexpected(frame.header.kind).into()),
                _ => {}
            }
        }
    }
}

impl Connection {
    /// Serves a connection to its end.
    pub(super) async fn run(
        app: Arc<App>,
        tls: Option<TlsAcceptor>,
        Peer { socket, heard }: Peer,
        stopped: watch::Receiver<bool>,
    ) {
        // without it small answers wait for the client's next bytes
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let from = socket.peer_addr().ok();
        let outbox = Arc::new(Outbox::new(app.node.answers().limit_bytes() / ANSWERS_PART, app.patience));
        if let Some(tls) = tls {
            // plain text, a client that trusts another authority, or one that never goes on: nobody to talk to
            let Ok(Ok(socket)) = timeout(HANDSHAKE, tls.accept(socket)).await else { return };
            let (reading, writing) = tokio::io::split(socket);
            return Self::converse(app, (reading, writing), outbox, stopped, (from, heard)).await;
        }
        let (reading, writing) = socket.into_split();
        let writing = Arc::new(writing);
        let direct = Arc::clone(&writing);
        outbox.set_direct(Box::new(move |bytes| direct.try_write(bytes)));
        Self::converse(app, (reading, Shared(writing)), outbox, stopped, (from, heard)).await;
    }

    /// Reads and writes side by side.
    async fn converse(
        app: Arc<App>,
        (reading, writing): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        outbox: Arc<Outbox>,
        stopped: watch::Receiver<bool>,
        (from, greeted): (Option<SocketAddr>, Arc<AtomicBool>),
    ) {
        let frames = FrameReader::new(BODY_BYTES_MAX);
        let mut incoming = Incoming {
            socket: reading,
            frames,
            stopped,
            greeted,
            patience: app.patience,
            pace: Pace::begin(Instant::now(), app.patience),
            account: None,
            permit: BytePermit::default(),
        };
        let (out, http) = (Arc::clone(&outbox), app.addresses.http.port());
        let serving = async {
            let end = Self::serve(app, &mut incoming, &outbox, from).await;
            match end {
                End::Bad(WireError::Magic) if !incoming.is_greeted() && incoming.frames.is_http() => {
                    outbox.push(other_port(http));
                }
                end => tell_end(&outbox, &end),
            }
            outbox.close();
        };
        let writing = out.write_to(writing);
        tokio::pin!(serving, writing);
        tokio::select! {
            () = &mut serving => writing.await,
            // the client takes nothing any more: what it has asked for goes on and is answered to nobody
            () = &mut writing => {}
        }
    }

    async fn serve(
        app: Arc<App>,
        incoming: &mut Incoming<impl AsyncRead + Unpin>,
        outbox: &Arc<Outbox>,
        from: Option<SocketAddr>,
    ) -> End {
        let (request, hello) = match incoming.hello().await {
            Ok(hello) => hello,
            Err(end) => return end,
        };
        let session = match welcome(&app, &hello, from) {
            Ok((session, welcome)) => {
                outbox.set_body_max(hello.body_max);
                outbox.push(welcome.encode(request).into_bytes());
                session
            }
            Err(refused) => {
                outbox.push(refused.encode(0).into_bytes());
                return End::Closed;
            }
        };
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        let outbox = Arc::clone(outbox);
        let mut connection = Self { app, session, from, outbox, scans: Scans::default(), places, permit: None };
        let end = loop {
            if let Err(end) = connection.next(incoming).await {
                break end;
            }
        };
        connection.scans.cancel_all();
        // what was asked for is answered, though the client may have closed its side
        let _ = connection.places.acquire_many(REQUESTS_MAX as u32).await;
        end
    }

    /// One frame, or a part of it.
    async fn next(&mut self, incoming: &mut Incoming<impl AsyncRead + Unpin>) -> Result<(), End> {
        match incoming.step().await? {
            Step::More => Ok(()),
            Step::Head(header) => {
                if !self.outbox.has_room().await {
                    return Err(End::Closed);
                }
                check_size(&header)?;
                incoming.permit = BytePermit::default();
                incoming.account = is_counted(&header).then(|| self.app.node.permits().clone());
                // what is declared is not held before it comes: a client that sends nothing keeps nobody out
                if incoming.account.as_ref().is_some_and(|all| !all.could_take(header.body_bytes as usize)) {
                    incoming.account = None;
                    incoming.frames.skip_body();
                }
                Ok(())
            }
            Step::Skipped(header) => {
                self.outbox.push(no_room(&self.session.served).encode(header.request).into_bytes());
                Ok(())
            }
            Step::Frame(frame) => {
                incoming.account = None;
                self.permit = Some(std::mem::take(&mut incoming.permit));
                self.begin(frame).await
            }
        }
    }

    /// Begins a request; it goes on by itself.
    async fn begin(&mut self, frame: Frame) -> Result<(), End> {
        let request = frame.header.request;
        check_request(request)?;
        let decoded = if frame.body.len() <= DECODE_HERE_BYTES_MAX {
            decode(&frame, self.session.served.names())
        } else {
            let served = Arc::clone(&self.session.served);
            let decoding = tokio::task::spawn_blocking(move || decode(&frame, served.names()));
            decoding.await.unwrap_or(Err(WireError::Body("it cannot be read").into()))
        };
        let permit = self.permit.take();
        match decoded {
            Ok(Decoded::ScanMore(bytes)) => self.scans.grant(request, bytes),
            Ok(Decoded::ScanCancel) => self.scans.cancel(request),
            Ok(Decoded::Stay(stay)) => {
                self.session.stay = stay;
                self.outbox.push(encode_empty(Kind::Pong, request).into_bytes());
            }
            Ok(decoded) => {
                if let Err(refused) = self.session.caller.may(decoded.need()) {
                    let (method, path) = (decoded.name(), self.session.served.store.name());
                    let asked = Asked { from: self.from, method, path };
                    self.session.caller.refused(&asked, refused.code(), refused.message());
                    self.outbox.push(of_api(&refused).encode(request).into_bytes());
                    return Ok(());
                }
                let places = Arc::clone(&self.places).acquire_many_owned(decoded.places()).await;
                let Ok(place) = places else { return Err(End::Closed) };
                let room = self.outbox.reserve(decoded.answer_bytes()).await;
                self.spawn(request, decoded, permit, (place, room)).await;
            }
            Err(Failed::Refused(refused)) => self.outbox.push(refused.encode(request).into_bytes()),
            Err(Failed::Bad(error)) => return Err(error.into()),
        }
        Ok(())
    }

    async fn spawn(
        &self,
        request: u64,
        decoded: Decoded,
        permit: Option<BytePermit>,
        (place, room): (OwnedSemaphorePermit, BytePermit),
    ) {
        let (app, served, outbox) = (Arc::clone(&self.app), Arc::clone(&self.session.served), Arc::clone(&self.outbox));
        let span = trace::native(decoded.name());
        let (bodies, read) = (self.session.bodies_elsewhere(), self.session.read_elsewhere());
        let asker = self.session.asker(self.from, decoded.name());
        let decoded = match decoded {
            Decoded::Append(checked) => {
                let (led, permit) = (self.session.led_elsewhere(), Arc::new(permit.unwrap_or_default()));
                let answered = answers(request, outbox, (place, room), span.clone());
                return span.in_scope(|| checked.begin(&served, (led, asker), permit, answered));
            }
            Decoded::Rows(checked) => {
                let (led, permit) = (self.session.led_elsewhere(), Arc::new(permit.unwrap_or_default()));
                let answered = answers(request, outbox, (place, room), span.clone());
                let permits = (app.node.permits().clone(), permit);
                return span.in_scope(|| checked.begin(&served, (led, asker), permits, answered));
            }
            Decoded::Scan(wanted) => return self.spawn_parts(request, InParts::Scan(wanted)).await,
            Decoded::Subscribe(wanted) => return self.spawn_parts(request, InParts::Subscription(wanted)).await,
            decoded => decoded,
        };
        tokio::spawn(async move {
            let asking = async {
                if let Some(relay) = &read
                    && let Some(frame) = decoded.read_there(relay, &app, request).await
                {
                    let held = app.node.answers().wait(frame.len()).await;
                    return (frame, Some(held));
                }
                decoded.run(&served, (bodies.0.as_deref(), bodies.1, asker.as_ref()), request, permit).await
            };
            let (answer, held) = asking.instrument(span).await;
            outbox.answer(request, answer, room, held.unwrap_or_default());
            drop(place);
        });
    }

    /// Begins what is answered in parts: by a node that reads, where this one does not, or here.
    async fn spawn_parts(&self, request: u64, wanted: InParts) {
        let Some(running) = self.running(request, wanted.window_bytes()).await else { return };
        let (app, served, outbox) = (Arc::clone(&self.app), Arc::clone(&self.session.served), Arc::clone(&self.outbox));
        let (caller, read) = (self.session.caller.clone(), self.session.read_elsewhere());
        tokio::spawn(async move {
            if let Some(relay) = &read
                && running.pass(relay, (&app, &caller), &wanted, &outbox).await
            {
                return;
            }
            let answers = app.node.answers();
            match wanted {
                InParts::Scan(wanted) => {
                    running.run((&served, &caller), filter(wanted.filter), &outbox, answers).await;
                }
                InParts::Subscription(wanted) => {
                    running.follow((&served, &caller), wanted, (&outbox, answers)).await;
                }
            }
        });
    }

    /// A place for a scan or a subscription; where there is none its client is told.
    async fn running(&self, request: u64, window_bytes: u32) -> Option<Running> {
        let running = self.scans.begin(request, window_bytes).await;
        if running.is_none() {
            let text = "too many scans and subscriptions run on this connection, or one of this request: end one first";
            let refused = refused(&NodeError::Overloaded(text), &self.session.served);
            self.outbox.push(refused.encode(request).into_bytes());
        }
        running
    }
}

impl Drop for Connection {
    /// However it ends, nobody can grant its scans more.
    fn drop(&mut self) {
        self.scans.cancel_all();
    }
}

/// Who answers the appends of a frame. Its place, and the span, are held until then.
fn answers(
    request: u64,
    outbox: Arc<Outbox>,
    (place, room): (OwnedSemaphorePermit, BytePermit),
    span: Span,
) -> impl FnOnce(AppendOutcomes) + Send + Sync + 'static {
    move |outcomes| {
        outbox.answer(request, encode_outcomes(request, &outcomes), room, BytePermit::default());
        drop((place, span));
    }
}

/// An answer is told apart by its request's id; 0 is the connection itself.
const fn check_request(request: u64) -> Result<(), WireError> {
    if request == 0 { Err(WireError::Body("a request's id is not 0")) } else { Ok(()) }
}

/// Bodies that nobody counts are small.
fn check_size(header: &Header) -> Result<(), WireError> {
    let (bytes, limit) = (header.body_bytes as usize, NO_EVENTS_BODY_MAX);
    if bytes <= limit || is_counted(header) {
        return Ok(());
    }
    Err(WireError::TooLarge { bytes, limit })
}

/// Whether the node counts the body among the bytes in flight.
fn is_counted(header: &Header) -> bool {
    Kind::from_u8(header.kind).is_some_and(Kind::carries_events)
}

/// What a client that speaks HTTP is told, in HTTP.
fn other_port(http: u16) -> Vec<u8> {
    let text = format!("this port speaks Strandline's native protocol; HTTP is served at port {http}");
    let body = ApiError::bad_request(text).to_json().to_string();
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Says why the connection ends, where that is not the client's wish.
fn tell_end(outbox: &Outbox, end: &End) {
    let refused = match end {
        End::Closed => return,
        End::Bad(error) => {
            let kind =
                if matches!(error, WireError::TooLarge { .. }) { ErrorKind::TooLarge } else { ErrorKind::BadRequest };
            Refused::new(kind, format!("{error}; the connection ends"))
        }
        End::Slow => Refused::new(
            ErrorKind::BadRequest,
            "a frame did not arrive: 30 seconds without a byte, or less than 4 KiB a second; the connection ends",
        ),
    };
    outbox.push(refused.encode(0).into_bytes());
}

#[cfg(test)]
mod tests;
