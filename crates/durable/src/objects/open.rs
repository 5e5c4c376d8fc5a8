//! From a configured location to its objects. Kinds of object stores that the build leaves out are refused by name.

use super::{LocalObjects, ObjectError, SharedObjects, StoreObjects};
use std::path::Path;
use std::sync::Arc;
use strandline_deql::Location;
use strandline_keys::{Entropy, KeyError, KeyProvider};

/// What the environment says of object stores: names and values, as `AWS_REGION` and `eu-central-1`.
#[derive(Clone, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// These; for tests.
    #[must_use]
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// What the process was started with. An empty value counts as none.
    #[must_use]
    pub fn from_env() -> Self {
        let texts =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let ours = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
        Self(texts.filter(|(name, value)| ours(name) && !value.is_empty()).collect())
    }

    #[cfg(feature = "cloud")]
    pub(super) fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    #[cfg(feature = "cloud")]
    pub(super) fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// Whether an endpoint of AWS that does not speak TLS is meant.
    #[cfg(feature = "s3")]
    pub(super) fn aws_may_speak_plain(&self) -> bool {
        self.get("AWS_ALLOW_HTTP").is_some_and(|text| matches!(text, "true" | "1" | "TRUE" | "True"))
    }
}

/// What a location is opened for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// To read: nothing is made.
    Read,
    /// To own it: a folder is made; local copies of an object store's runs go into a folder of the node.
    Own {
        /// A folder that is this process's alone; none: runs are kept in memory.
        scratch: Option<&'a Path>,
    },
}

/// Opens a location. Errors: a kind that this build leaves out, settings that make no sense; for an owner also what the
/// folder says.
pub fn open_location(
    location: &Location,
    purpose: Purpose<'_>,
    settings: &Settings,
) -> Result<SharedObjects, ObjectError> {
    match (location, purpose) {
        (Location::Local(path), Purpose::Own { .. }) => Ok(Arc::new(LocalObjects::open(path)?)),
        (Location::Local(path), Purpose::Read) => Ok(Arc::new(LocalObjects::read_only(path))),
        (Location::Memory { .. }, _) => Ok(Arc::new(StoreObjects::memory()?)),
        (remote, Purpose::Read) => Ok(Arc::new(open_remote(remote, settings)?)),
        (remote, Purpose::Own { scratch: None }) => Ok(Arc::new(open_remote(remote, settings)?)),
        (remote, Purpose::Own { scratch: Some(folder) }) => {
            Ok(Arc::new(open_remote(remote, settings)?.with_scratch(folder)?))
        }
    }
}

/// The provider of keys `aws_kms`. It asks nobody yet.
///
/// # Errors
/// `NotSupported` in a build without `s3`; settings that make no sense.
#[cfg_attr(not(feature = "s3"), allow(unused_variables))]
pub fn aws_kms(key_id: &str, settings: &Settings, entropy: Arc<dyn Entropy>) -> Result<Arc<dyn KeyProvider>, KeyError> {
    #[cfg(feature = "s3")]
    return Ok(Arc::new(super::kms::KmsKeys::open(key_id, settings, entropy)?));
    #[cfg(not(feature = "s3"))]
    return Err(KeyError::NotSupported("aws_kms"));
}

#[cfg_attr(not(feature = "cloud"), allow(unused_variables))]
fn open_remote(location: &Location, settings: &Settings) -> Result<StoreObjects, ObjectError> {
    match location {
        #[cfg(feature = "s3")]
        Location::S3 { bucket, prefix } => super::cloud::s3(location, bucket, prefix, settings),
        #[cfg(feature = "gs")]
        Location::Gs { bucket, prefix } => super::cloud::gs(location, bucket, prefix, settings),
        #[cfg(feature = "az")]
        Location::Azure { container, prefix } => super::cloud::az(location, container, prefix, settings),
        _ => {
            let feature = match location {
                Location::Gs { .. } => "gs",
                Location::Azure { .. } => "az",
                _ => "s3",
            };
            Err(ObjectError::NotSupported { location: location.to_string(), feature })
        }
    }
}
