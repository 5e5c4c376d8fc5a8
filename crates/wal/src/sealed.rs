//! The keys of segments that are there already: each is found by the name that the segment's State frame says.
//!
//! Invariant: a log is encrypted from its first segment to its last, or not at all; a segment of the other kind was put there by
//! somebody, and is corrupt.

use crate::recovery::{Corrupt, Recovery};
use crate::tags::Seal;
use strandline_keys::{Purpose, StoreKeys};

/// Finds the key of each segment. One that is not to be had, or not to be expected, is reported.
pub(crate) fn take_keys(keys: Option<&StoreKeys>, recovery: &mut Recovery) {
    let log_id = recovery.log_id.unwrap_or_default();
    for kept in &mut recovery.kept {
        let what = match (keys, &kept.key_name) {
            (None, None) => continue,
            (Some(keys), Some(name)) => match keys.find(name, Purpose::Segment(log_id, kept.number.0)) {
                Ok(key) => {
                    kept.seal = Some(Seal { key, tags: kept.has_tags });
                    continue;
                }
                Err(error) => error.to_string(),
            },
            (None, Some(_)) => {
                "it is sealed, and no keys are at hand: the store was made with security.encrypt.at_rest = true"
                    .to_owned()
            }
            (Some(_), None) => {
                "the segment is not sealed, and the store is encrypted: somebody put it there".to_owned()
            }
        };
        recovery.report.corrupt.push(Corrupt { segment: kept.number, offset: 0, what });
    }
}
