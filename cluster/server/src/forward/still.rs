//! Whether a node from which nothing comes still answers anybody: work may take as long as it takes, and a process that stands still keeps its
//! connections open.
//!
//! A connection on which nothing came for a while is none to judge by, so another one asks for a word. Only silence there counts: a node that
//! refuses it drains, or is gone, and then the first connection breaks by itself.

use super::relay::{To, connect};
use crate::outgoing::Outgoing;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::NodeId;
use strandline_tls::Certificates;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// How long nothing may come before the node is asked, and how long that may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Before the head of an answer.
    pub(super) head: Duration,
    /// Within a body.
    pub(super) body: Duration,
    /// The word that is asked for.
    pub(super) word: Duration,
}

impl Patience {
    /// What is followed says every 15 seconds that it lives: nobody asks about that.
    pub(super) const USUAL: Self =
        Self { head: Duration::from_secs(5), body: Duration::from_secs(20), word: Duration::from_secs(5) };
}

/// A node that owes something.
#[derive(Clone)]
pub(super) struct Owes {
    node: NodeId,
    address: String,
    certificates: Option<Arc<Certificates>>,
    outgoing: Outgoing,
    pub(super) patience: Patience,
}

impl Owes {
    pub(super) fn new(to: &To<'_>, outgoing: &Outgoing, patience: Patience) -> Self {
        let (address, certificates) = (to.address.to_owned(), to.certificates.clone());
        Self { node: to.node, address, certificates, outgoing: outgoing.clone(), patience }
    }

    /// What comes, unless the node stands still. Nothing may come for so long before it is asked.
    pub(super) async fn or_still<T>(
        &self,
        quiet: Duration,
        comes: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        tokio::select! {
            came = comes => came,
            () = self.stands_still(quiet) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "it takes connections and says nothing any more"))
            }
        }
    }

    async fn stands_still(&self, quiet: Duration) {
        loop {
            sleep(quiet).await;
            if self.says_nothing().await {
                return;
            }
        }
    }

    async fn says_nothing(&self) -> bool {
        let Some(_turn) = self.outgoing.turn_to_ask().await else { return false };
        let to = To { node: self.node, address: &self.address, certificates: self.certificates.clone() };
        let ask = format!("GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        let word = async {
            let mut stream = connect(&to).await?;
            stream.write_all(ask.as_bytes()).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        timeout(self.patience.word, word).await.is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn owes(address: &str, word: Duration) -> Owes {
        let patience = Patience { word, ..Patience::USUAL };
        Owes::new(&To { node: 2, address, certificates: None }, &Outgoing::new(1), patience)
    }

    #[tokio::test]
    async fn a_node_that_takes_connections_and_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let owes = owes(&listener.local_addr().unwrap().to_string(), Duration::from_millis(20));
        let waits = owes.or_still(Duration::from_millis(1), std::future::pending::<io::Result<()>>());
        assert_eq!(waits.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_says_anything_or_takes_no_connection_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let owes = owes(&listener.local_addr().unwrap().to_string(), Duration::from_secs(60));
        let (says_nothing, taken) = tokio::join!(owes.says_nothing(), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap();
            stream
        });
        assert!(!says_nothing);
        drop((taken, listener));
        assert!(!owes.says_nothing().await, "it drains, or is gone");
    }
}
