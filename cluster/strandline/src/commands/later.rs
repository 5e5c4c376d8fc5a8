//! Commands of the contract that are not served yet: they exist, and say so.

use crate::exit::Failure;

/// Refuses with exit code 2.
pub(crate) fn refuse(command: &str, what: &str) -> Result<(), Failure> {
    Err(Failure::Usage(format!("`{command}` is not served by this version ({what})")))
}
