//! TLS of a client: whom it trusts, and by which name it knows a server.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_tls::{ClientConfig, ServerName, TlsError, client_config};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connect by TLS, to servers whose certificates an authority has signed. Cloning shares it.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the authorities in a PEM file, and nobody else.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn trusting(authorities: &Path) -> Result<Self, TlsError> {
        client_config(authorities).map(Self)
    }

    /// The certificate must have the name, or the address, that stands before the port.
    pub(super) async fn connect(&self, address: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}
