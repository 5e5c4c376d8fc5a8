//! How a client connects, and its limits.

use crate::net::tls::Tls;
use crate::wire::stay::Stay;
use std::fmt;
use std::time::Duration;

/// Options of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port` of a node's native protocol.
    pub address: String,
    /// Name of the store; empty: the only one of the node.
    pub store: String,
    /// Bearer token; empty: none.
    pub token: String,
    /// Connect by TLS; `None`: in plain text.
    pub tls: Option<Tls>,
    /// What the server does not send on to other nodes; said on each connection, where anything is.
    pub stay: Stay,
    /// What the client calls itself.
    pub program: String,
    /// Bytes of requests without an answer; who would go over it waits.
    pub in_flight_bytes_max: usize,
    /// How long requests wait for a connection before they fail.
    pub patience: Duration,
    /// Time for connecting and the first answer.
    pub connect_within: Duration,
    /// Silence of the server, while it owes answers, after which it is asked whether it lives, and after as much again given up.
    pub silence_max: Duration,
    /// Largest body of an answer.
    pub answer_bytes_max: u32,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the token
        let shown = (&self.address, &self.store, self.tls.is_some());
        f.debug_tuple("Options").field(&shown).finish()
    }
}

impl Options {
    /// The defaults for an address.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            store: String::new(),
            token: String::new(),
            tls: None,
            stay: Stay::default(),
            program: concat!("strandline-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            in_flight_bytes_max: 32 << 20,
            patience: Duration::from_secs(30),
            connect_within: Duration::from_secs(5),
            silence_max: Duration::from_secs(30),
            answer_bytes_max: 256 << 20,
        }
    }
}
