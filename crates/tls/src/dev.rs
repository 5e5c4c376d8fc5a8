//! Certificates for development and tests: an authority that is made here, and what it signs. Not for production: the authority's
//! key lies beside what it signs.

use crate::error::TlsError;
use crate::node;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Where development servers are, whatever else is named.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate with its key, both as PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// An authority and what it signed.
pub struct Set {
    /// The authority, which clients and nodes are given as `--tls-ca`.
    pub authority: Pair,
    /// For one node alone.
    pub server: Pair,
    /// For nodes 1, 2, ... of a cluster.
    pub nodes: Vec<Pair>,
}

/// Makes an authority, a server's certificate and those of nodes 1 to `nodes`, all for the loopback names and `hosts`.
///
/// # Errors
/// A host is no name and no address; the system has no random bits.
pub fn make(nodes: u64, hosts: &[String]) -> Result<Set, TlsError> {
    make_valid(nodes, hosts, None)
}

/// The same, valid in these years: from the beginning of one to the beginning of the other.
///
/// # Errors
/// As [`make`].
pub fn make_valid(nodes: u64, hosts: &[String], years: Option<(i32, i32)>) -> Result<Set, TlsError> {
    let hosts: Vec<String> = HOSTS.iter().map(|host| (*host).to_owned()).chain(hosts.iter().cloned()).collect();
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Strandline development authority");
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    let authority = Pair { certificate, key: key.serialize_pem() };
    let issuer = Issuer::new(params, key);
    let server = signed(&issuer, "Strandline development server", hosts.clone(), years)?;
    let of_node = |id: u64| {
        let names = [node::name(id), node::ANY_NODE.to_owned()];
        let hosts = hosts.iter().cloned().chain(names).collect();
        signed(&issuer, &format!("Strandline development node {id}"), hosts, years)
    };
    Ok(Set { authority, server, nodes: (1..=nodes).map(of_node).collect::<Result<_, _>>()? })
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    hosts: Vec<String>,
    years: Option<(i32, i32)>,
) -> Result<Pair, TlsError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(hosts).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    if let Some((from, until)) = years {
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    }
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Unusable(format!("a certificate cannot be made: {error}"))
}
