//! The node's refusals as frames say them: the code and the sentence of HTTP, and the facts that programs decide by.

use crate::error::ApiError;
use crate::failure;
use strandline_client::Refused;
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_engine::append::{AppendError, Refusal};
use strandline_event::FieldNames;
use strandline_workers::NodeError;

/// For a node's refusal.
pub(super) fn refused(error: &NodeError, names: &FieldNames) -> Refused {
    let mut refused = of_api(&failure::answer(error, names));
    match error {
        NodeError::Refused(refusal) => facts(&mut refused, refusal),
        NodeError::RefusedPart { batch, refusal } => {
            refused.part = Some(*batch as u32);
            facts(&mut refused, refusal);
        }
        NodeError::Strict { batch, row, .. } => {
            refused.part = Some(*batch as u32);
            refused.row = Some(*row);
        }
        NodeError::NotLeader { leader: Some(leader) } => refused.leader.clone_from(&leader.native),
        NodeError::OutcomeUnknown => OUTCOME_UNKNOWN.clone_into(&mut refused.code),
        _ => {}
    }
    refused
}

fn facts(refused: &mut Refused, refusal: &Refusal) {
    refused.row = refusal.row;
    match &refusal.error {
        AppendError::WrongExpectedSeq { actual, .. } => refused.last_seq = Some(*actual),
        AppendError::OutcomeUnknown { .. } => OUTCOME_UNKNOWN.clone_into(&mut refused.code),
        _ => {}
    }
}

/// For an answer that HTTP would give.
pub(super) fn of_api(error: &ApiError) -> Refused {
    Refused::new(error.kind(), error.message())
}
