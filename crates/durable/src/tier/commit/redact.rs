//! The commit that redacts events: from this version on no read shows what they said. It moves no file and no watermark.
//!
//! Invariant: redactions are only ever added; of an event that is redacted already the first word (who, when, why) stays.

use super::{Change, CommitError};
use crate::manifest::Manifest;
use crate::redaction::Redaction;
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;

/// Events to redact.
#[derive(Clone, Debug)]
pub struct Redact {
    /// The job.
    pub job_id: u128,
    /// The events; all of one moment. Not empty.
    pub events: Vec<Redaction>,
}

impl DurableTier {
    /// Redacts events. When it is answered, the version that says so is durable, and no read of this process shows what they said.
    /// Those that are redacted already stay as they are.
    pub fn redact(&self, redact: &Redact) -> Result<Arc<Snapshot>, CommitError> {
        let Some(first) = redact.events.first() else { return Ok(self.pin()) };
        Ok(self.change(redact, redact.job_id, first.at)?.snapshot())
    }
}

impl Change for Redact {
    fn is_done(&self, current: &Snapshot, _: u128) -> bool {
        self.events.iter().all(|event| is_redacted(current, event))
    }

    fn apply(&self, _: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let new = self.events.iter().filter(|event| !is_redacted(current, event));
        next.redactions.inline.extend(new.cloned());
        Ok(())
    }
}

fn is_redacted(current: &Snapshot, event: &Redaction) -> bool {
    current.is_redacted(event.event_id, (&event.stream_type, &event.stream_id))
}
