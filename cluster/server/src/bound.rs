//! Addresses that are taken before a node opens its stores: a process that cannot listen must not claim a store.
//!
//! Nobody is heard yet: a client that comes before the node serves is refused by the system, it does not hang.

use crate::security::Security;
use crate::serve::ServeError;
use crate::stall::STALL;
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
    /// In a cluster: send on over HTTP what another node leads; else it is answered with where that node is.
    pub forward: bool,
    /// Who is served, and whether in plain text.
    pub security: Security,
}

/// Addresses that are taken.
#[derive(Debug)]
pub struct Bound {
    pub(crate) http: BoundAddress,
    pub(crate) admin: Option<BoundAddress>,
    pub(crate) native: Option<BoundAddress>,
    pub(crate) forward: bool,
    pub(crate) security: Security,
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
        let admin = options.admin.map(BoundAddress::new).transpose()?;
        let native = options.native.map(BoundAddress::new).transpose()?;
        let http = BoundAddress::new(options.http)?;
        Ok(Self { http, admin, native, forward: options.forward, security: options.security })
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
    fn new(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // a restart does not wait for the connections of the process before
            socket.set_reuseaddr(true)?;
            // a client that takes nothing of what was written is given up by the system: nobody else hears of it
            SockRef::from(&socket).set_tcp_user_timeout(Some(STALL * 2))?;
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
