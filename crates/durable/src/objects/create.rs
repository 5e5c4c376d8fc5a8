//! Create-if-absent with an answer: whose the object is, also where the store's own answer was lost.
//!
//! One try is [`Objects::put_new`]. What follows from its answer, and from what then stands under the name:
//!
//! | answer to the try | under the name | object store | local folder |
//! |---|---|---|---|
//! | created | | ours | ours |
//! | taken (412) | our bytes | ours: an earlier try did it, or a proxy sent it twice | another's |
//! | | other bytes | another's | another's |
//! | | nothing, or it cannot be read | another's; unclear where a try before was unclear | another's |
//! | conflict (409): another create was under way | | try again | |
//! | not sent: no connection | | try again | |
//! | refused (4xx), full | | not created | not created |
//! | unclear: time-out, 5xx, cut after it was sent | our bytes | ours | unclear: the folder may not be synced |
//! | | other bytes | another's | unclear |
//! | | nothing | try again: the earlier try may still land | not created |
//! | | it cannot be read | unclear | unclear |
//!
//! "Nothing is there" after an unclear try never means that it did not happen: the request may still be under way. Trying again
//! with the same bytes is safe, since the store lets only one create of a name succeed, and it alone gives an answer that holds.
//! When the tries are used up after an unclear one, or a refusal follows it, the answer is `Unclear`: the caller must bear both.
//! "Ours" is decided by all bytes: they hold something of their own (a job id), or it does not matter who wrote them.

use super::{ObjectError, Objects};

/// Tries before it is given up.
const TRIES: u32 = 6;

/// Whose the object is that stands under the name now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Created {
    /// This call created it.
    Ours,
    /// It was there, with other bytes or before this call.
    Others,
}

/// Why there is no answer that says so.
#[derive(Debug)]
pub(crate) enum NotCreated {
    /// It was not created by this call, and will not be.
    No(ObjectError),
    /// It may have been created, or may still be.
    Unclear(ObjectError),
}

impl NotCreated {
    pub(crate) fn into_error(self) -> ObjectError {
        match self {
            Self::No(error) | Self::Unclear(error) => error,
        }
    }
}

/// What stands under a name, compared with what was to be created.
enum Found {
    Same,
    Other,
    Nothing,
    Unread,
}

/// Creates an object if its name is free. See the table above.
pub(crate) fn create(objects: &dyn Objects, path: &str, bytes: &[u8]) -> Result<Created, NotCreated> {
    if objects.stages() {
        return create_locally(objects, path, bytes);
    }
    let mut unclear: Option<ObjectError> = None;
    let mut last = None;
    for tries in 0..TRIES {
        if tries > 0 {
            objects.pause(tries);
        }
        let error = match objects.put_new(path, bytes) {
            Ok(()) => return Ok(Created::Ours),
            Err(error) => error,
        };
        let taken = matches!(error, ObjectError::AlreadyExists { .. });
        match error {
            ObjectError::AlreadyExists { .. } => {}
            ObjectError::Conflict { .. } | ObjectError::Unreachable { .. } => {
                last = Some(error);
                continue;
            }
            error if error.leaves_it_open() => unclear = Some(error),
            error => return Err(unclear.map_or(NotCreated::No(error), NotCreated::Unclear)),
        }
        match look(objects, path, bytes) {
            Found::Same => return Ok(Created::Ours),
            Found::Other => return Ok(Created::Others),
            Found::Nothing if !taken => {}
            Found::Nothing | Found::Unread if taken && unclear.is_none() => return Ok(Created::Others),
            Found::Nothing | Found::Unread => break,
        }
    }
    let given_up = || NotCreated::No(last.unwrap_or_else(|| ObjectError::NotFound { path: path.to_owned() }));
    Err(unclear.map_or_else(given_up, NotCreated::Unclear))
}

fn create_locally(objects: &dyn Objects, path: &str, bytes: &[u8]) -> Result<Created, NotCreated> {
    match objects.put_new(path, bytes) {
        Ok(()) => Ok(Created::Ours),
        Err(ObjectError::AlreadyExists { .. }) => Ok(Created::Others),
        Err(error) => match objects.exists(path) {
            Ok(false) => Err(NotCreated::No(error)),
            Ok(true) | Err(_) => Err(NotCreated::Unclear(error)),
        },
    }
}

fn look(objects: &dyn Objects, path: &str, bytes: &[u8]) -> Found {
    match objects.get(path) {
        Ok(found) if found[..] == *bytes => Found::Same,
        Ok(_) => Found::Other,
        Err(ObjectError::NotFound { .. }) => Found::Nothing,
        Err(error) => {
            tracing::warn!(path, %error, "an object whose creation is unclear cannot be read");
            Found::Unread
        }
    }
}
