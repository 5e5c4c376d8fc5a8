//! The node's refusals as frames say them: the code and the sentence of HTTP, and the facts that programs decide by.

use crate::error::{ApiError, status_of};
use crate::failure;
use crate::http::call::ServedStore;
use strandline_client::Refused;
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_engine::append::{AppendError, Refusal};
use strandline_workers::NodeError;

/// For a node's refusal.
pub(super) fn refused(error: &NodeError, served: &ServedStore) -> Refused {
    let answer = failure::answer(error, served.names());
    // what goes wrong inside a node may name what is another tenant's
    let is_told = !served.store.is_limited() || !status_of(answer.kind()).is_server_error();
    let mut refused = of_api(&if is_told { answer } else { answer.for_tenants() });
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

/// For appends whose bytes the node has no room for.
pub(super) fn no_room(served: &ServedStore) -> Refused {
    refused(&NodeError::Overloaded("too many bytes of appends are in flight: try again"), served)
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
