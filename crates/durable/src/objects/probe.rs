//! Asks an object store whether it keeps the promise that commits stand on: a second create of one name is refused.
//!
//! Some stores that speak S3 ignore `If-None-Match`; two nodes on such a store would commit over each other. Nothing is
//! assumed of any of them.

use super::failure::NOT_IMPLEMENTED;
use super::{Created, ObjectError, Objects, create};
use crate::tier::names::PROBE_PREFIX;

/// Creates an object under a name made of `entropy`, tries to create it again, and takes it away. `location`: for the error.
///
/// # Errors
/// `NoConditionalCreate`, and what the store says: so a wrong endpoint, region or credential is found before anything is done.
pub fn probe(objects: &dyn Objects, location: &str, entropy: u128) -> Result<(), ObjectError> {
    let path = format!("{PROBE_PREFIX}{entropy:032x}");
    let outcome = probe_name(objects, location, &path, entropy);
    let removed = objects.delete(&path);
    outcome?;
    match removed {
        Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn probe_name(objects: &dyn Objects, location: &str, path: &str, entropy: u128) -> Result<(), ObjectError> {
    let none = |what: &str| ObjectError::NoConditionalCreate { location: location.to_owned(), what: what.to_owned() };
    let first = format!("strandline probe {entropy:032x}: first create\n");
    let second = format!("strandline probe {entropy:032x}: this must not be here\n");
    match create(objects, path, first.as_bytes()).map_err(super::NotCreated::into_error) {
        Ok(Created::Ours) => {}
        Ok(Created::Others) => return Err(none("a name that nobody knows is taken")),
        Err(ObjectError::Refused { said, .. }) if said.contains(NOT_IMPLEMENTED) => return Err(none(&said)),
        Err(error) => return Err(error),
    }
    match create(objects, path, second.as_bytes()).map_err(super::NotCreated::into_error)? {
        Created::Ours => return Err(none("a second create of one name succeeds")),
        Created::Others => {}
    }
    if objects.get(path)?[..] != *first.as_bytes() {
        return Err(none("a create that is refused changes the object all the same"));
    }
    Ok(())
}
