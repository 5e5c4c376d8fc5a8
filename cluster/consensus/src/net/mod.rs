//! How nodes speak to each other: frames over a stream, many requests in flight, every one bounded in bytes and in time.
//!
//! ```text
//!  NetTransport ──> Peer (one a node, connects when asked, again after it broke) ══ stream ══ Listener ──> Serve (groups)
//!                                                                                                    └──> Hear (joining)
//! ```
//!
//! `PROTOCOL.md` says every byte; frames are made and cut by `strandline_client::wire`, as those of clients are. It refuses to know Raft,
//! groups' bodies and stores, and to repeat a request: whether that is
//! safe is known above. A stream is a trait ([`Link`]): TCP, or TLS over it with certificates on both
//! sides, whose names say which node they speak for.
//!
//! Invariants: an answer belongs to the one request whose id it has, on the connection on which that was asked; a request goes to the node
//! that it names or nowhere (the Hello says who is meant, the Welcome who it is); over TLS
//! nobody says that it is a node for which its certificate does not speak; a body stands at an address that is a multiple of 16; a
//! bad frame ends its own connection and no other.

mod body;
mod connection;
mod hello;
mod incoming;
mod kinds;
mod link;
mod listener;
mod outgoing;
mod peer;
mod transport;
mod unheard;

pub use body::{Ask, Refused, RefusedCode, decode_ask, decode_call, encode_answer, encode_ask, encode_call};
pub use hello::{Hello, Welcome, cluster_text};
pub use kinds::{Kind, MAGIC, NetError};
pub use link::{Connect, Link, Opened, TcpConnect, TlsConnect};
pub use listener::{Asker, Hear, Listener};
pub use outgoing::Frame;
pub use transport::{Identity, NetTransport};
pub use unheard::Unheard;

/// Limits of the links between nodes.
pub mod limits {
    use std::time::Duration;

    /// The largest body: a frame's payload of the log (256 MiB) and what stands around it.
    pub const BODY_BYTES_MAX: usize = 264 << 20;
    /// The largest body before both sides know who they are, and of everything that is no request.
    pub const SMALL_BYTES_MAX: usize = 64 << 10;
    /// Requests of one connection that are worked on; further ones wait in the socket.
    pub const REQUESTS_MAX: usize = 512;
    /// Bytes of the bodies of such requests, in KiB; one may be larger by itself.
    pub const REQUESTS_KIB_MAX: u32 = 512 << 10;
    /// Requests and answers that wait to be written to one connection.
    pub const QUEUE_MAX: usize = 512;
    /// Bytes that wait to be written to one connection; one body may be larger.
    pub const QUEUE_BYTES_MAX: usize = 64 << 20;
    /// Connections that a node takes at once.
    pub const CONNECTIONS_MAX: usize = 256;
    /// Of these, connections of who is no member as far as this node knows: nodes that join, and others.
    pub const STRANGERS_MAX: usize = 16;
    /// Time to connect and to say Hello and Welcome.
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
    /// Time without progress in the middle of a frame.
    pub const STALL: Duration = Duration::from_secs(10);
    /// Time after which the system gives a node up that takes nothing of what was written.
    pub const SILENCE: Duration = Duration::from_secs(20);
    /// Time without a frame, after which a node gives a connection up that nobody waits on.
    pub const IDLE: Duration = Duration::from_secs(60);
    /// The same for a connection of who is no member as far as this node knows.
    pub const STRANGER_IDLE: Duration = Duration::from_secs(10);
    /// Pauses between attempts to connect.
    pub const PAUSE_FIRST: Duration = Duration::from_millis(50);
    /// The longest of them.
    pub const PAUSE_MAX: Duration = Duration::from_secs(1);
}
