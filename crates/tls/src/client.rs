//! The client's side: it trusts one file of authorities and nothing else, not the system's either.

use crate::error::TlsError;
use crate::{files, provider};
use rustls::ClientConfig;
use std::path::Path;
use std::sync::Arc;

/// A client that trusts these authorities and shows no certificate.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(authorities: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(files::authorities(authorities)?).with_no_client_auth()))
}
