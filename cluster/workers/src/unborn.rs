//! Appends to a stream type that has no log yet: judged against an empty one, so that only what is stored makes a log.

use crate::clock;
use crate::error::NodeError;
use std::sync::Arc;
use strandline_engine::append::{Answer, AppendOutcome, AppendRequest, Decision, Log, NothingSettled};
use strandline_engine::clock::ClosedClocks;
use strandline_engine::store::Store;
use strandline_event::{LogIndex, LogKey};

/// What the owner of an empty log would answer. `None`: it would store something (or wait for another log), so there must be a log.
pub(crate) async fn judge(store: &Arc<Store>, request: AppendRequest) -> Result<Option<AppendOutcome>, NodeError> {
    let store = Arc::clone(store);
    // as much work as the body is large
    let judging = tokio::task::spawn_blocking(move || judge_now(&store, request));
    judging.await.map_err(|_| NodeError::Defect)?
}

fn judge_now(store: &Store, mut request: AppendRequest) -> Result<Option<AppendOutcome>, NodeError> {
    let (wanted, now) = (request.inspect, clock::now());
    request.inspect = true;
    let key = LogKey::single(request.batch.view().stream_type());
    let clock = ClosedClocks::new(now).open_log();
    let mut log = Log::new(key, store.rules(), clock, Arc::new(NothingSettled), LogIndex::ZERO);
    log.visit(store.commands());
    match log.accept(&request, now, crate::random::bits(), LogIndex::FIRST) {
        Decision::Answer { answer: Answer::Refused(refusal), .. } => Err(NodeError::Refused(*refusal)),
        Decision::Answer { answer: Answer::Done(outcome), .. } if wanted || outcome.stamped.is_none() => {
            Ok(Some(AppendOutcome { inspect: wanted, ..*outcome }))
        }
        _ => Ok(None),
    }
}
