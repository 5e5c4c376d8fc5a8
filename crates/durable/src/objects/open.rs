//! From a configured location to its objects. Buckets are refused by name until they are served.

use super::{LocalObjects, ObjectError, SharedObjects, StoreObjects};
use std::sync::Arc;
use strandline_deql::Location;

/// Opens a location. `create`: make the folder where there is none.
pub fn open_location(location: &Location, create: bool) -> Result<SharedObjects, ObjectError> {
    match location {
        Location::Local(path) if create => Ok(Arc::new(LocalObjects::open(path)?)),
        Location::Local(path) => Ok(Arc::new(LocalObjects::read_only(path))),
        Location::Memory { .. } => Ok(Arc::new(StoreObjects::memory()?)),
        Location::S3 { .. } | Location::Gs { .. } | Location::Azure { .. } => {
            Err(ObjectError::NotSupported { location: location.to_string() })
        }
    }
}

/// Opens the manifests' location.
pub fn open_manifests(location: &Location, create: bool) -> Result<SharedObjects, ObjectError> {
    open_location(location, create)
}
