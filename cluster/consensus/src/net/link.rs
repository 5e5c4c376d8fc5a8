//! What a connection is made of: a stream of bytes in both directions, who opens one, and what the other side has shown of itself.

use crate::net::limits::SILENCE;
use crate::transport::{BoxFuture, NodeId};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use strandline_tls::{CertificateDer, Certificates, node};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A stream of bytes: TCP, TLS over it, a pipe of a test.
pub trait Link: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for T {}

/// A stream that was opened or taken.
pub struct Opened {
    /// The stream.
    pub link: Box<dyn Link>,
    /// The certificates of the other side; `None`: the stream is plain, and whoever is there is believed.
    pub shown: Option<Vec<CertificateDer<'static>>>,
}

impl Opened {
    /// A stream without certificates.
    #[must_use]
    pub fn plain(link: Box<dyn Link>) -> Self {
        Self { link, shown: None }
    }
}

/// Opens streams to addresses.
pub trait Connect: Send + Sync + 'static {
    /// Opens one to `host:port`, where this node is meant to be (0: any). The caller bounds the time.
    fn connect<'a>(&'a self, address: &'a str, node: NodeId) -> BoxFuture<'a, io::Result<Opened>>;
}

/// Opens TCP connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnect;

impl Connect for TcpConnect {
    fn connect<'a>(&'a self, address: &'a str, _: NodeId) -> BoxFuture<'a, io::Result<Opened>> {
        Box::pin(async move { Ok(Opened::plain(Box::new(connected(address).await?))) })
    }
}

/// Opens TLS connections: each side shows a certificate of the same authority, and this one looks for the name of the node that it means.
#[derive(Clone, Debug)]
pub struct TlsConnect(pub Arc<Certificates>);

impl Connect for TlsConnect {
    fn connect<'a>(&'a self, address: &'a str, node: NodeId) -> BoxFuture<'a, io::Result<Opened>> {
        Box::pin(async move {
            let (Some(config), Some(name)) = (self.0.node_client(), node::server_name(node)) else {
                return Err(no_authorities());
            };
            let stream = TlsConnector::from(config).connect(name, connected(address).await?).await?;
            let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
            Ok(Opened { link: Box::new(stream), shown: Some(shown.unwrap_or_default()) })
        })
    }
}

/// Takes a connection of another node, which must show a certificate where this node has some. The caller bounds the time.
pub(super) async fn accept(stream: TcpStream, certificates: Option<&Certificates>) -> io::Result<Opened> {
    let Some(certificates) = certificates else { return Ok(Opened::plain(Box::new(stream))) };
    let config = certificates.node_server().ok_or_else(no_authorities)?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
    Ok(Opened { link: Box::new(stream), shown: Some(shown.unwrap_or_default()) })
}

async fn connected(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// What holds for a stream of either side.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    // a request must not wait for the next one
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE))
}

fn no_authorities() -> io::Error {
    io::Error::other("there are no authorities of other nodes: name their file with --tls-ca")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_system_gives_up_a_node_that_takes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (opened, taken) = tokio::join!(connected(&address), listener.accept());
        let (opened, taken) = (opened.unwrap(), taken.unwrap().0);
        tune(&taken).unwrap();
        for stream in [opened, taken] {
            assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(SILENCE));
            assert!(stream.nodelay().unwrap());
        }
    }
}
