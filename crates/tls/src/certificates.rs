//! A node's certificate, key and authorities, which are read again while it runs.
//!
//! A file may be replaced while it is read, and a pair is two files: what does not fit together is refused as a whole, and what was
//! read before stays in use. What is not valid at the moment is refused too, at a start and later: no other side would take it. The library
//! does not look at the moments of authorities, so this does: one that has ended is left out.

use crate::error::TlsError;
use crate::node::OfOneNode;
use crate::validity::{Moments, is_within};
use crate::{files, provider, validity};
use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use strandline_event::Micros;

/// Where they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// The certificate, and behind it the ones that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of other nodes; `None`: there are no other nodes.
    pub authorities: Option<PathBuf>,
}

/// What was read last.
struct Loaded {
    key: Arc<CertifiedKey>,
    /// From when to when each authority is valid.
    authorities: Vec<Moments>,
    node_server: Option<Arc<ServerConfig>>,
    node_client: Option<Arc<ClientConfig>>,
}

/// Certificates in use.
pub struct Certificates {
    files: Files,
    /// The node that they must speak for, since it was asked.
    node: OnceLock<u64>,
    loaded: Arc<ArcSwap<Loaded>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads them. A certificate that is not valid now is refused, and authorities of which none is.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: Files, now: Micros) -> Result<Arc<Self>, TlsError> {
        let loaded = Arc::new(ArcSwap::from_pointee(Loaded::read(&files, now)?));
        Ok(Arc::new(Self { files, node: OnceLock::new(), loaded }))
    }

    /// The files, for whoever watches them.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Reads them again: connections from now on are made with what stands there now. What is refused at a start is refused here too: what was
    /// read before may still be good.
    ///
    /// # Errors
    /// [`TlsError`]; what was read before stays in use.
    pub fn reload(&self, now: Micros) -> Result<(), TlsError> {
        let loaded = Loaded::read(&self.files, now)?;
        if let Some(node) = self.node.get() {
            crate::node::check(Some(&loaded.key.cert), *node).map_err(TlsError::Unusable)?;
        }
        self.loaded.store(Arc::new(loaded));
        Ok(())
    }

    /// Whether the certificates that are in use are valid, and each authority.
    ///
    /// # Errors
    /// [`TlsError::NotNow`].
    pub fn check_time(&self, now: Micros) -> Result<(), TlsError> {
        self.loaded.load().check_time(&self.files, now)
    }

    /// Whether the certificate speaks for a node. One that is read later must speak for the same.
    ///
    /// # Errors
    /// Why not, and what name it must have.
    pub fn check_node(&self, node: u64) -> Result<(), String> {
        crate::node::check(Some(&self.loaded.load().key.cert), node)?;
        // it is the same each time
        let _ = self.node.set(node);
        Ok(())
    }

    /// For listeners of clients, which show no certificate. It follows every reload.
    ///
    /// # Errors
    /// [`TlsError::Unusable`].
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(Newest(Arc::clone(&self.loaded)))))
    }

    /// For one connection of another node, as of now; `None`: there are no authorities.
    #[must_use]
    pub fn node_server(&self) -> Option<Arc<ServerConfig>> {
        self.loaded.load().node_server.clone()
    }

    /// For one connection to another node, as of now; `None`: there are no authorities.
    #[must_use]
    pub fn node_client(&self) -> Option<Arc<ClientConfig>> {
        self.loaded.load().node_client.clone()
    }
}

impl Loaded {
    /// The certificate and those that lead to its authority. One whose moments cannot be read is left to who connects.
    fn check_time(&self, from: &Files, now: Micros) -> Result<(), TlsError> {
        let times = self.key.cert.iter().filter_map(|certificate| validity::of(certificate));
        if let Some((from_moment, until)) = times.into_iter().find(|moments| !is_within(now, *moments)) {
            return Err(TlsError::NotNow { path: from.certificate.clone(), from: from_moment, until });
        }
        match (self.authorities.iter().find(|(_, until)| now > *until), &from.authorities) {
            (Some((first, until)), Some(path)) => {
                Err(TlsError::NotNow { path: path.clone(), from: *first, until: *until })
            }
            _ => Ok(()),
        }
    }

    /// What stands there, where it is valid now.
    fn read(from: &Files, now: Micros) -> Result<Self, TlsError> {
        let loaded = Self::whole(from, now)?;
        loaded.check_time(from, now)?;
        Ok(loaded)
    }

    fn whole(from: &Files, now: Micros) -> Result<Self, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let (chain, key) = (files::chain(&from.certificate)?, files::key(&from.key)?);
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|_| TlsError::Content {
            path: from.key.clone(),
            what: format!("it is not the key of {}", from.certificate.display()),
        })?;
        let key = Arc::new(key);
        let Some(authorities) = &from.authorities else {
            return Ok(Self { key, authorities: Vec::new(), node_server: None, node_client: None });
        };
        let (roots, authorities) = files::authorities_of(authorities, now)?;
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(This(Arc::clone(&key))));
        // who resumes shows no certificate anew: one that is trusted no more would go on
        (server.session_storage, server.send_tls13_tickets) = (Arc::new(NoServerSessionStorage {}), 0);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OfOneNode(verifier)))
            .with_client_cert_resolver(Arc::new(This(Arc::clone(&key))));
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { key, authorities, node_server: Some(Arc::new(server)), node_client: Some(Arc::new(client)) })
    }
}

/// Shows what was read last.
struct Newest(Arc<ArcSwap<Loaded>>);

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newest")
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

/// Shows one.
struct This(Arc<CertifiedKey>);

impl fmt::Debug for This {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("This")
    }
}

impl ResolvesServerCert for This {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for This {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{self, Pair};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// In 2026.
    const NOW: Micros = Micros(1_795_428_000_000_000);
    const YEAR: i64 = 365 * 86_400_000_000;

    fn put(folder: &Path, pair: &Pair) -> Files {
        let files = Files { certificate: folder.join("c.pem"), key: folder.join("k.pem"), authorities: None };
        fs::write(&files.certificate, &pair.certificate).unwrap();
        fs::write(&files.key, &pair.key).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    #[test]
    fn what_does_not_fit_together_is_refused_and_the_former_pair_stays() {
        let folder = tempfile::tempdir().unwrap();
        let set = dev::make(1, &[]).unwrap();
        let files = put(folder.path(), &set.server);
        let certificates = Certificates::open(files.clone(), NOW).unwrap();
        let first = certificates.loaded.load().key.cert[0].clone();
        fs::write(&files.certificate, &set.nodes[0].certificate).unwrap();
        let error = certificates.reload(NOW).unwrap_err().to_string();
        assert!(error.contains("is not the key of"), "{error}");
        assert_eq!(certificates.loaded.load().key.cert[0], first);
        put(folder.path(), &set.nodes[0]);
        certificates.reload(NOW).unwrap();
        assert_ne!(certificates.loaded.load().key.cert[0], first);
    }

    #[test]
    fn the_certificate_of_another_node_is_not_taken_later() {
        let folder = tempfile::tempdir().unwrap();
        let set = dev::make(2, &[]).unwrap();
        let certificates = Certificates::open(put(folder.path(), &set.nodes[0]), NOW).unwrap();
        assert!(certificates.check_node(2).is_err());
        certificates.check_node(1).unwrap();
        let first = certificates.loaded.load().key.cert[0].clone();
        put(folder.path(), &set.nodes[1]);
        let error = certificates.reload(NOW).unwrap_err().to_string();
        assert!(error.contains("node-1.strandline.internal"), "{error}");
        assert_eq!(certificates.loaded.load().key.cert[0], first);
    }

    #[test]
    fn what_has_expired_or_is_not_valid_yet_is_refused_and_the_former_pair_stays() {
        let folder = tempfile::tempdir().unwrap();
        let set = dev::make(0, &[]).unwrap();
        let certificates = Certificates::open(put(folder.path(), &set.server), NOW).unwrap();
        certificates.check_time(NOW).unwrap();
        let first = certificates.loaded.load().key.cert[0].clone();
        for (years, said) in [((2020, 2026), "to 2026-01-01"), ((2030, 2040), "from 2030-01-01")] {
            put(folder.path(), &dev::make_valid(0, &[], Some(years)).unwrap().server);
            let error = certificates.reload(NOW).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("c.pem"), "{error}");
            assert_eq!(certificates.loaded.load().key.cert[0], first);
        }
        put(folder.path(), &dev::make_valid(0, &[], Some((2026, 2027))).unwrap().server);
        certificates.reload(NOW).unwrap();
        // it ends while it is in use
        certificates.check_time(Micros(NOW.0 + YEAR)).unwrap_err();
    }

    #[test]
    fn what_is_not_valid_is_refused_at_a_start_too() {
        let folder = tempfile::tempdir().unwrap();
        for (years, said) in [((2020, 2026), "to 2026-01-01"), ((2030, 2040), "from 2030-01-01")] {
            let files = put(folder.path(), &dev::make_valid(0, &[], Some(years)).unwrap().server);
            let error = Certificates::open(files, NOW).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("c.pem"), "{error}");
        }
    }

    fn authority(years: (i32, i32)) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    /// The library takes what an authority signed that has ended: it looks at no moment of an authority.
    #[test]
    fn an_authority_that_has_ended_is_not_trusted_and_one_that_ends_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let files = put(folder.path(), &dev::make(0, &[]).unwrap().server);
        let files = Files { authorities: Some(folder.path().join("ca.pem")), ..files };
        let write = |text: &[String]| fs::write(files.authorities.as_ref().unwrap(), text.concat()).unwrap();
        let (old, now, later) = (authority((2010, 2020)), authority((2026, 2027)), authority((2030, 2040)));
        for (only, said) in [(&old, "to 2020-01-01"), (&later, "from 2030-01-01")] {
            write(std::slice::from_ref(only));
            let error = Certificates::open(files.clone(), NOW).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("ca.pem"), "{error}");
        }
        // while authorities are exchanged, the old one, the one of now and the next stand side by side
        write(&[old, now, later.clone()]);
        let certificates = Certificates::open(files.clone(), NOW).unwrap();
        let trusted = || certificates.loaded.load().authorities.len();
        assert_eq!(trusted(), 2);
        certificates.check_time(NOW).unwrap();
        let (in_2028, in_2031) = (Micros(NOW.0 + 2 * YEAR), Micros(NOW.0 + 5 * YEAR));
        let ended = certificates.check_time(in_2028).unwrap_err().to_string();
        assert!(ended.contains("ca.pem") && ended.contains("to 2027-01-01"), "{ended}");
        // the next one is not valid yet: what is in use stays
        certificates.reload(in_2028).unwrap_err();
        assert_eq!(trusted(), 2);
        certificates.reload(in_2031).unwrap();
        assert_eq!(trusted(), 1);
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused_without_a_byte_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let set = dev::make(0, &[]).unwrap();
        let files = put(folder.path(), &set.server);
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Certificates::open(files.clone(), NOW), Err(TlsError::Readable { .. })));
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        let planted = "QUJDREVGR0g=";
        let broken = format!("-----BEGIN PRIVATE KEY-----\n{planted}*\n-----END PRIVATE KEY-----\n");
        fs::write(&files.key, broken).unwrap();
        let error = Certificates::open(files.clone(), NOW).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(planted), "{error}");
        fs::write(&files.certificate, "no PEM").unwrap();
        assert!(Certificates::open(files, NOW).unwrap_err().to_string().contains("holds no certificate"));
    }
}
