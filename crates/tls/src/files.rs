//! PEM files: chains of certificates, a private key, authorities.

use crate::error::TlsError;
use crate::validity::{self, Moments, is_within};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use strandline_event::Micros;
use strandline_keys::secret_file;

/// A larger file is no file of certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// [`TlsError`].
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(content(path, "it holds no certificate (-----BEGIN CERTIFICATE-----)")),
        Err(error) => Err(content(path, &format!("it is no PEM file that can be read: {}", fault(&error)))),
    }
}

/// What is wrong. The reader's own words quote the file, which may hold a key too, or be one.
fn fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "the -----END line of a block is missing, or differs from its -----BEGIN line"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a -----BEGIN line does not end in -----: its line breaks may be lost"
        }
        pem::Error::Base64Decode(_) => "what stands in a block is no Base64",
        _ => "a block of it cannot be read",
    }
}

/// The private key of a file that nobody else may read.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let facts = std::fs::metadata(path).map_err(|error| TlsError::File { path: path.to_owned(), error })?;
    secret_file::check(&facts).map_err(|why| TlsError::Readable { path: path.to_owned(), why })?;
    // what the reader says of a broken key might hold some of it
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| content(path, "it holds no private key in PEM that can be read (PKCS#8, PKCS#1 or SEC1)"))
}

/// The authorities of a file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| content(path, &format!("a certificate is no authority: {error}")))?;
    }
    Ok(roots)
}

/// The authorities of a file that have not ended, and the moments of those whose moments can be read. At least one must be valid now.
pub(crate) fn authorities_of(path: &Path, now: Micros) -> Result<(RootCertStore, Vec<Moments>), TlsError> {
    let (mut roots, mut moments, mut unusable, mut is_one_valid) = (RootCertStore::empty(), Vec::new(), None, false);
    for certificate in chain(path)? {
        let of_it = validity::of(&certificate);
        if let Some((from, until)) = of_it.filter(|of_it| !is_within(now, *of_it)) {
            unusable.get_or_insert(TlsError::NotNow { path: path.to_owned(), from, until });
            if now > until {
                continue;
            }
        } else {
            is_one_valid = true;
        }
        moments.extend(of_it);
        roots.add(certificate).map_err(|error| content(path, &format!("a certificate is no authority: {error}")))?;
    }
    unusable.filter(|_| !is_one_valid).map_or(Ok((roots, moments)), Err)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::File { path: path.to_owned(), error };
    let facts = std::fs::metadata(path).map_err(failed)?;
    if facts.len() > FILE_BYTES_MAX {
        return Err(content(path, "it is too large for a file of certificates"));
    }
    std::fs::read(path).map_err(failed)
}

fn content(path: &Path, what: &str) -> TlsError {
    TlsError::Content { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As of a key whose line breaks were lost, or that was cut, given for a certificate.
    #[test]
    fn what_is_no_certificate_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        for text in [
            "-----BEGIN PRIVATE KEY-----planted-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----planted\n",
            "-----BEGIN PRIVATE KEY-----\nplanted\n",
            "-----BEGIN CERTIFICATE-----\nplanted!\n-----END CERTIFICATE-----\n",
            "planted\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = chain(&path).unwrap_err();
            let told = format!("{error} {error:?}");
            // bytes are quoted as a list of numbers
            assert!(!told.contains("planted") && !told.contains("112, 108"), "{text}: {told}");
        }
    }
}
