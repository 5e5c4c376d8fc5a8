//! Addresses that are taken before a node opens its stores: a process that cannot listen must not claim a store.
//!
//! Nobody is heard yet: a client that comes before the node serves is refused by the system, it does not hang.

use crate::security::Security;
use crate::serve::ServeError;
use crate::stall::Patience;
use socket2::SockRef;
use std::net::{SocketAddr, TcpListener};
use tokio::net::TcpSocket;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Clients, and operators too where `admin` is none. Port 0: any free one.
    pub http: SocketAddr,
    /// Operators.
    pub admin: Option<SocketAddr>,
    /// Clients of the native protocol.
    pub native: Option<SocketAddr>,
    /// In a cluster: send on what another node leads; else it is answered with where that node is.
    pub forward: bool,
    /// Who is served, and whether in plain text.
    pub security: Security,
    /// What a slow client is given.
    pub patience: Patience,
}

/// Addresses that are taken.
#[derive(Debug)]
pub struct Bound {
    pub(crate) http: BoundAddress,
    pub(crate) admin: Option<BoundAddress>,
    pub(crate) native: Option<BoundAddress>,
    pub(crate) forward: bool,
    pub(crate) security: Security,
    pub(crate) patience: Patience,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct BoundAddress {
    address: SocketAddr,
    socket: TcpSocket,
}

impl Bound {
    /// Takes the addresses. Must run on a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is taken then.
    pub fn new(options: ServeOptions) -> Result<Self, ServeError> {
        for address in [Some(options.http), options.admin, options.native].into_iter().flatten() {
            if !address.ip().is_loopback() && !options.security.admits_others() {
                return Err(ServeError::NotLoopback(address));
            }
        }
        let patience = options.patience;
        let bind = |address| BoundAddress::new(address, patience);
        let admin = options.admin.map(bind).transpose()?;
        let native = options.native.map(bind).transpose()?;
        let http = bind(options.http)?;
        Ok(Self { http, admin, native, forward: options.forward, security: options.security, patience })
    }
}

impl Bound {
    /// Where clients reach it over HTTP.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// And over the native protocol.
    #[must_use]
    pub fn native(&self) -> Option<SocketAddr> {
        self.native.as_ref().map(BoundAddress::address)
    }
}

impl BoundAddress {
    fn new(address: SocketAddr, patience: Patience) -> Result<Self, ServeError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // a restart does not wait for the connections of the process before
            socket.set_reuseaddr(true)?;
            // of what is accepted too: a small piece behind others (the end of an answer, an event for a subscriber) is sent at once, not when
            // the client has confirmed those
            socket.set_nodelay(true)?;
            // a client that takes nothing of what was written is given up by the system: nobody else hears of it
            SockRef::from(&socket).set_tcp_user_timeout(Some(patience.for_silence()))?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok(Self { address, socket })
        };
        bind().map_err(|error| ServeError::Bind { address, error })
    }

    /// The address, with its port.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on clients are heard.
    pub(crate) fn listen(self) -> Result<TcpListener, ServeError> {
        let address = self.address;
        let listener = self.listen_here()?.into_std();
        listener.map_err(|error| ServeError::Bind { address, error })
    }

    /// The same, on the runtime that this is called on.
    pub(crate) fn listen_here(self) -> Result<tokio::net::TcpListener, ServeError> {
        let address = self.address;
        self.socket.listen(BACKLOG).map_err(|error| ServeError::Bind { address, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_sends_at_once_and_the_system_gives_up_a_client_that_takes_nothing() {
        let any = "127.0.0.1:0".parse().unwrap();
        let patience = Patience::default();
        let bound = |address| BoundAddress::new(address, patience).unwrap();
        let (by_threads, here) = (bound(any), bound(any));
        let listeners =
            [tokio::net::TcpListener::from_std(by_threads.listen().unwrap()).unwrap(), here.listen_here().unwrap()];
        for listener in listeners {
            let address = listener.local_addr().unwrap();
            let (_client, taken) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            let taken = taken.unwrap().0;
            let timeout = SockRef::from(&taken).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(patience.for_silence()), "what is accepted has what the listener has");
            assert!(taken.nodelay().unwrap(), "that too");
        }
    }
}
