//! Which node a certificate speaks for: by DNS names in it, under a domain that belongs to nobody (`.internal` is reserved for such).
//!
//! Every certificate of a node has two of them: its own, and one that all nodes have, for whoever asks an address whose node is not
//! known yet. A certificate of node 2 has not the name of node 1, so it cannot speak as node 1, whatever its Hello says.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The name that every node's certificate has.
pub const ANY_NODE: &str = "node.strandline.internal";

/// A name that no node has: what speaks for it speaks for all of them.
const NO_NODE: &str = "no-node.strandline.internal";
const SPEAKS_FOR_ALL: &str = "its certificate speaks for every node";

/// The name of a node's certificate.
#[must_use]
pub fn name(node: u64) -> String {
    format!("node-{node}.strandline.internal")
}

/// Whom a connection to a node must reach; 0: any node.
#[must_use]
pub fn server_name(node: u64) -> Option<ServerName<'static>> {
    let name = if node == 0 { ANY_NODE.to_owned() } else { name(node) };
    ServerName::try_from(name).ok()
}

/// Whether the certificate of the other side speaks for this node (0: for some node).
///
/// # Errors
/// Why not, and what its certificate must have.
pub fn check(shown: Option<&[CertificateDer<'_>]>, node: u64) -> Result<(), String> {
    let wanted = if node == 0 { ANY_NODE.to_owned() } else { name(node) };
    let no = |why: &str| format!("{why}: a node shows a certificate with the name {wanted}");
    let Some(first) = shown.and_then(<[_]>::first) else { return Err(no("it showed no certificate")) };
    let certificate = ParsedCertificate::try_from(first).map_err(|_| no("its certificate cannot be read"))?;
    let Some(server_name) = server_name(node) else { return Err(no("there is no such node")) };
    if speaks_for_all(&certificate) {
        return Err(no(SPEAKS_FOR_ALL));
    }
    let speaks = verify_server_name(&certificate, &server_name);
    speaks.map_err(|_| no(&format!("its certificate does not speak for {}", who(node))))
}

fn speaks_for_all(certificate: &ParsedCertificate<'_>) -> bool {
    ServerName::try_from(NO_NODE).is_ok_and(|name| verify_server_name(certificate, &name).is_ok())
}

/// How a node looks at the certificate of one that it connects to: as the library does, and one that speaks for every node is none.
#[derive(Debug)]
pub(crate) struct OfOneNode(pub(crate) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for OfOneNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if speaks_for_all(&ParsedCertificate::try_from(end_entity)?) {
            return Err(Error::General(SPEAKS_FOR_ALL.to_owned()));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn who(node: u64) -> String {
    if node == 0 { "a node".to_owned() } else { format!("node {node}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn a_certificate_speaks_for_its_node_and_for_no_other() {
        let set = dev::make(2, &[]).unwrap();
        let of = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (two, server) = (of(&set.nodes[1].certificate), of(&set.server.certificate));
        check(Some(std::slice::from_ref(&two)), 2).unwrap();
        check(Some(std::slice::from_ref(&two)), 0).unwrap();
        assert!(check(Some(&[two]), 1).unwrap_err().contains("node-1.strandline.internal"));
        assert!(check(Some(&[server]), 0).is_err(), "a server's certificate is no node's");
        assert!(check(None, 1).is_err() && check(Some(&[]), 1).is_err());
        let names = ["*.strandline.internal".to_owned()];
        let wild = dev::make(0, &names).unwrap().server;
        assert!(check(Some(&[of(&wild.certificate)]), 1).unwrap_err().contains("every node"));
    }
}
