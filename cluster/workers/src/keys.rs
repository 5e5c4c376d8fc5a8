//! The providers of keys that declarations name, with the operating system's random bits.

use crate::random;
use std::path::Path;
use std::sync::Arc;
use strandline_deql::{KmsProvider, StoreConfig};
use strandline_durable::Provider;
use strandline_durable::objects::{Settings, aws_kms};
use strandline_keys::{Entropy, KeyError, KeyProvider, LocalKeys};

/// Random bytes of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        random::fill(bytes);
    }
}

/// Who wraps the keys of a store; `None`: it is not encrypted.
///
/// # Errors
/// The key file cannot be used; a provider that this build does not serve.
pub fn provider(config: &StoreConfig) -> Result<Provider, KeyError> {
    let security = &config.security;
    if !security.encrypt_at_rest {
        return Ok(None);
    }
    let (Some(provider), Some(key_id)) = (&security.kms_provider, &security.kms_key_id) else {
        return Err(KeyError::NoProvider);
    };
    let provider: Arc<dyn KeyProvider> = match provider {
        KmsProvider::Local => Arc::new(LocalKeys::open(Path::new(key_id), Arc::new(SystemEntropy))?),
        KmsProvider::AwsKms => aws_kms(key_id, &Settings::from_env(), Arc::new(SystemEntropy))?,
    };
    Ok(Some(provider))
}
