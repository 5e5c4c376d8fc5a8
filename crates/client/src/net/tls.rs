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
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the server must show; `None`: what stands before the port.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Trusts the authorities in a PEM file, and nobody else.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn trusting(authorities: &Path) -> Result<Self, TlsError> {
        Ok(Self { config: client_config(authorities)?, name: None })
    }

    /// As a configuration says, to a server that shows this name, wherever it is.
    #[must_use]
    pub fn to(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { config, name: Some(name) }
    }

    /// The certificate must have the name that was given, or else the name or the address that stands before the port.
    pub(super) async fn connect(&self, address: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => before_the_port(address)?,
        };
        TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await
    }
}

fn before_the_port(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(io::Error::other)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Tls {}
