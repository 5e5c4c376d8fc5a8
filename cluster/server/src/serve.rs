//! The listeners in front of a node, and their end: the node is drained first, then the native protocol closes, HTTP last.

use crate::access::guard::guard;
use crate::bound::{Bound, BoundAddress};
use crate::connections::{self, Connections, HTTP_PART};
use crate::forward::forward;
use crate::http::call::{App, Listening};
use crate::native::Native;
use crate::routes::{Side, configure};
use crate::security::Reloading;
use actix_web::dev::{Server as HttpServerRunning, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::Data;
use actix_web::{App as HttpApp, HttpServer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strandline_workers::NodeHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Time that running requests get to end: appends are drained before, so this is for reads whose client does not take them.
const SHUTDOWN_S: u64 = 4;
/// Time in which a client must have sent its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of a thread that are taken beyond the limit, to be told so; further ones wait.
const REFUSED_A_THREAD: usize = 64;

/// Signals in this time after the first one are taken for the same wish: who ends a process with its group (`timeout`, a terminal, an
/// init system) sends one to each, and it may arrive twice.
const REPEATS_IGNORED: Duration = Duration::from_secs(1);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No token file: only loopback may be served.
    #[error(
        "{0} is no loopback address: without a token file the server serves loopback only (127.0.0.1 or [::1]); \
         make tokens with `strandline token new --token-file FILE` and name the same file to `serve`"
    )]
    NotLoopback(SocketAddr),
    /// SIGHUP cannot be caught, by which tokens and certificates are read again.
    #[error("SIGHUP cannot be caught: {0}")]
    Signal(io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] strandline_tls::TlsError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}{}", advice(.error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// What to do where an address cannot be bound.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop what listens there, or name another address (--http, --native, --admin, --cluster)"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; name a port from 1024 on, or give the node the right to this one",
        _ => "",
    }
}

/// A server that serves.
pub struct Server {
    node: NodeHandle,
    http: SocketAddr,
    admin: Option<SocketAddr>,
    native: Option<SocketAddr>,
    natives: Option<Native>,
    listeners: Vec<(ServerHandle, JoinHandle<io::Result<()>>)>,
    _reloading: Option<Reloading>,
}

impl Server {
    /// Listens and serves. Must run on an actix system.
    ///
    /// # Errors
    /// [`ServeError`]; nothing listens then.
    pub fn start(node: NodeHandle, bound: Bound) -> Result<Self, ServeError> {
        let reloading = Reloading::start(&bound.security).map_err(ServeError::Signal)?;
        let [native, admin] = [&bound.native, &bound.admin].map(|bound| bound.as_ref().map(BoundAddress::address));
        let addresses = Listening { http: bound.http.address(), native, admin };
        let app = Data::new(App::new(node.clone(), addresses, (bound.forward, bound.patience), bound.security));
        let http = addresses.http;
        let data_side = move |side| side != Side::Admin || admin.is_none();
        let mut servers = vec![listen(bound.http, &app, data_side)?];
        if let Some(address) = bound.admin {
            servers.push(listen(address, &app, |side| side != Side::Data)?);
        }
        let listeners = servers.into_iter().map(|server| (server.handle(), tokio::spawn(server))).collect();
        let natives = bound.native.map(|bound| Native::start(bound, Arc::clone(&app))).transpose()?;
        Ok(Self { node, http, admin, native, natives, listeners, _reloading: reloading })
    }

    /// Where clients are served.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where operators are served, if elsewhere.
    #[must_use]
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where the native protocol is served.
    #[must_use]
    pub const fn native(&self) -> Option<SocketAddr> {
        self.native
    }

    /// Serves until SIGTERM or SIGINT, then shuts down in order. A later signal ends the process at once.
    ///
    /// # Errors
    /// When a worker does not end.
    pub async fn run_until_signal(self, mut signals: Signals) -> io::Result<()> {
        signals.next().await;
        tracing::info!("shutting down: finishing what is in flight");
        tokio::select! {
            ended = self.shutdown() => ended,
            () = signals.again() => Err(io::Error::other("ended by a second signal")),
        }
    }

    /// Refuses new appends, finishes what is in flight, flushes and marks the logs, closes HTTP, ends the node.
    ///
    /// # Errors
    /// When a worker does not end, the disk did not take what was in flight, or a store belongs to another node by now.
    pub async fn shutdown(self) -> io::Result<()> {
        let drained = self.node.drain().await;
        let lost = self.node.fenced().join(", ");
        if let Some(natives) = self.natives {
            natives.stop(Duration::from_secs(SHUTDOWN_S)).await;
        }
        for (handle, running) in self.listeners {
            handle.stop(true).await;
            // the listener's own end says nothing that matters now
            let _ = running.await;
        }
        let ended = self.node.stop().await;
        // it says why workers did not end, too
        drained.map_err(io::Error::other)?;
        ended.map_err(|workers| io::Error::other(format!("{workers} workers did not end")))?;
        if lost.is_empty() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "another node has taken {lost} over: what was acknowledged here and is not in its data files stands only in the \
             log below wal.path of this node; keep that folder"
        )))
    }
}

/// What a write over the limit of a file's size (`ulimit -f`) sends; the write fails as well, and that is answered as a full disk.
const SIGXFSZ: i32 = 25;

/// SIGTERM and SIGINT, caught from here on: before anybody is told that the node is ready, since whoever reads that may end it.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Caught so that it does not end the process.
    _file_size: Signal,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn catch() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, _file_size: signal(SignalKind::from_raw(SIGXFSZ))? })
    }

    /// Waits for one of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for one that is no repeat of the first, which has just come.
    async fn again(&mut self) {
        let repeats_end = Instant::now() + REPEATS_IGNORED;
        loop {
            self.next().await;
            if Instant::now() >= repeats_end {
                return;
            }
        }
    }
}

fn listen(
    bound: BoundAddress,
    app: &Data<App>,
    side: impl Fn(Side) -> bool + Clone + Send + 'static,
) -> Result<HttpServerRunning, ServeError> {
    let address = bound.address();
    let app = Data::clone(app);
    let certificates = app.certificates.clone();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16);
    let connections = connections::share(app.node.descriptors_max(), HTTP_PART, connections::MOST * threads);
    let counting = Connections::new(connections);
    let make = move || {
        let side = side.clone();
        HttpApp::new()
            .app_data(Data::clone(&app))
            .wrap(Condition::new(app.node.cluster().is_some(), from_fn(forward)))
            // the last one that is wrapped is asked first
            .wrap(from_fn(guard))
            .configure(move |config| configure(config, side))
    };
    let bind = |error| ServeError::Bind { address, error };
    let server = HttpServer::new(make)
        .workers(threads)
        .max_connections(connections.div_ceil(threads) + REFUSED_A_THREAD)
        .on_connect(move |_, extensions| {
            extensions.insert(counting.enter());
        })
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_S)
        .client_request_timeout(HEAD_TIMEOUT);
    let listener = bound.listen()?;
    let server = match certificates {
        Some(certificates) => server.listen_rustls_0_23(listener, certificates.server_config()?),
        None => server.listen(listener),
    };
    Ok(server.map_err(bind)?.run())
}
