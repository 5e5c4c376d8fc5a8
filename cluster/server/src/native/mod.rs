//! The native protocol in front of a node (crates/client/PROTOCOL.md says it byte by byte).
//!
//! ```text
//!  listener -> connection: reads and writes side by side
//!                read: frame -> decode, validate in place -> a task a request -> node
//!                write: outbox <- answers, in the order in which they are ready
//!  what another node leads, or reads in the place of this one -> relay: one connection to it for each of ours -> its answer
//! ```
//!
//! Nothing of the store is decided here. A request is refused or passed on as HTTP does it; what is refused for its bytes ends its
//! connection and no other. Where there is no room for a connection, the oldest that has not said who it is gives way to it.

mod append;
mod append_rows;
mod checks;
mod connection;
mod outbox;
mod pass;
mod refusal;
mod relay;
mod requests;
mod scan;
mod session;
mod several;
mod subscribe;

pub(crate) use append::led_elsewhere;
pub(crate) use relay::Relay;
pub(crate) use session::BODY_BYTES_MAX;

use crate::bound::BoundAddress;
use crate::connections::{self, NATIVE_PART};
use crate::http::call::App;
use crate::serve::ServeError;
use crate::stall::Patience;
use connection::{Connection, Peer};
use outbox::Outbox;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::Refused;
use strandline_consensus::net::Unheard;
use strandline_event::ErrorKind;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Pause after an error of `accept`: descriptors may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listener of the native protocol.
pub(crate) struct Native {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Native {
    /// Listens and serves. Must run on a tokio runtime.
    pub(crate) fn start(bound: BoundAddress, app: Arc<App>) -> Result<Self, ServeError> {
        let listener = bound.listen_here()?;
        let (stop, stopped) = watch::channel(false);
        let connections_max = connections::share(app.node.descriptors_max(), NATIVE_PART, connections::MOST);
        let tls = match &app.certificates {
            Some(certificates) => Some(Arc::new(certificates.server_config()?).into()),
            None => None,
        };
        let running = tokio::spawn(accept(listener, app, tls, stopped, connections_max));
        Ok(Self { stop, running })
    }

    /// Takes no further request, answers those that it has, and ends; what has not ended by then is cut off.
    pub(crate) async fn stop(self, within: Duration) {
        // nobody listens any more: it has ended
        let _ = self.stop.send(true);
        let ended = self.running;
        let abort = ended.abort_handle();
        if timeout(within, ended).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    mut stopped: watch::Receiver<bool>,
    connections_max: usize,
) {
    let (mut connections, mut unheard) = (JoinSet::new(), Unheard::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((socket, _)) if connections.len() < connections_max || unheard.end_oldest() => {
                let heard = Arc::default();
                let peer = Peer { socket, heard: Arc::clone(&heard) };
                let serving = Connection::run(Arc::clone(&app), tls.clone(), peer, stopped.clone());
                unheard.push(connections.spawn(serving), heard);
            }
            // who wants TLS is told nothing in plain text
            Ok((socket, _)) if tls.is_some() => drop(socket),
            Ok((socket, _)) => drop(tokio::spawn(turn_away(socket, app.patience))),
            Err(error) => {
                tracing::warn!("a native connection cannot be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Says why, if the socket takes it at once.
async fn turn_away(socket: TcpStream, patience: Patience) {
    let refused = Refused::new(ErrorKind::Overloaded, "too many connections are open: close some, or try again");
    let (_, writing) = socket.into_split();
    let outbox = Outbox::new(1, patience);
    outbox.push(refused.encode(0).into_bytes());
    outbox.close();
    outbox.write_to(writing).await;
}
