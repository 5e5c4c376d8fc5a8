//! TLS: certificates and keys from files, the configurations that are made of them, and which node a certificate speaks for.
//!
//! ```text
//!  files ──> Certificates ──> server_config   HTTP, admin, native: the server shows its certificate, clients show none
//!                  │ reload   node_server     links between nodes: both sides show a certificate of the same authority
//!                  └────────> node_client
//!  authority's file ────────> client_config   clients: they trust this authority and no other
//! ```
//!
//! It refuses to know sockets and runtimes. Invariants: a connection is made with the certificates as they were read last, whole pairs
//! only; no name of a key reaches an error, no byte of one does; a certificate speaks for a node only where its names say so.

mod certificates;
mod client;
pub mod dev;
mod error;
mod files;
pub mod node;
mod validity;

pub use certificates::{Certificates, Files};
pub use client::client_config;
pub use error::TlsError;
pub use files::chain as authorities;
pub use rustls::pki_types::{CertificateDer, ServerName};
pub use rustls::{ClientConfig, ServerConfig};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The one provider of the program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
