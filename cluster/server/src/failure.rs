//! The node's refusals as answers: the sentence in the store's own names, the facts as details.

use crate::error::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;
use strandline_engine::append::{AppendError, Expected, Refusal};
use strandline_engine::read::ReadError;
use strandline_engine::store::ReplaceError;
use strandline_engine::strict::StrictViolation;
use strandline_event::{Field, FieldNames};
use strandline_workers::NodeError;

/// Stream types that are named where one is not known.
const TYPES_SHOWN: usize = 20;
/// Stream types among which one is looked for that was meant: a name of 200 bytes is held against each, letter by letter.
const MEANT_AMONG: usize = 500;

/// The answer for a node's refusal.
pub(crate) fn answer(error: &NodeError, names: &FieldNames) -> ApiError {
    match error {
        NodeError::Refused(refusal) | NodeError::RefusedPart { refusal, .. } => refused(refusal, names),
        NodeError::Strict { violation, .. } | NodeError::Unregistered(violation) => strict(violation, names),
        NodeError::Read(read) => unread(read),
        NodeError::Replace(refused) => replace(refused),
        NodeError::NotLeader { leader: Some(leader) } => ApiError::new(error.kind(), error.to_string())
            .with("leader", leader.node)
            .with("address", leader.http.as_str()),
        NodeError::Fenced { store } => {
            ApiError::new(error.kind(), error.to_string()).with("reason", "fenced").with("store", store.as_str())
        }
        NodeError::TooManyStreamTypes { limit, .. } | NodeError::TooManyNewTypes { limit, .. } => {
            ApiError::new(error.kind(), error.to_string()).with("limit_stream_types", *limit)
        }
        _ => ApiError::new(error.kind(), error.to_string()),
    }
}

/// The same answer with the stream types that there are, where none has this name: the one that was meant first, if it is one of the first
/// [`MEANT_AMONG`]. Nothing is added where none is known, or may be told.
pub(crate) fn with_stream_types(answer: ApiError, name: &str, known: &[Arc<str>]) -> ApiError {
    if known.is_empty() || known.iter().any(|known| **known == *name) {
        return answer;
    }
    let near = strandline_deql::nearest(name, known.iter().take(MEANT_AMONG).map(|known| &**known));
    let others = known.iter().map(|known| &**known).filter(|known| Some(*known) != near);
    let shown: Vec<&str> = near.into_iter().chain(others).take(TYPES_SHOWN).collect();
    let meant = near.map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
    let more = if known.len() > shown.len() { ", ..." } else { "" };
    answer
        .and(&format!("; no stream type of this name is known here{meant}; known are {}{more}", shown.join(", ")))
        .with("stream_types", shown)
}

fn replace(error: &ReplaceError) -> ApiError {
    let answer = ApiError::new(error.kind(), error.to_string());
    match error {
        ReplaceError::Fixed { store, keys } => answer.with("store", store.as_str()).with("keys", keys.clone()),
        _ => answer,
    }
}

fn unread(error: &ReadError) -> ApiError {
    let answer = ApiError::new(error.kind(), error.to_string());
    match error {
        ReadError::Missing { stream_type, stream_id, ranges, .. } => answer
            .with("stream_type", stream_type.as_str())
            .with("stream_id", stream_id.as_str())
            .with("missing", ranges.iter().map(range).collect::<Vec<Value>>()),
        _ => answer,
    }
}

/// A range of seqs as answers show it.
pub(crate) fn range(range: &(strandline_event::Seq, strandline_event::Seq)) -> Value {
    json!({ "from_seq": range.0.0, "to_seq": range.1.0 })
}

/// The answer for an owner's refusal of a whole request.
pub(crate) fn refused(refusal: &Refusal, names: &FieldNames) -> ApiError {
    let answer = append(&refusal.error, names);
    match refusal.row {
        Some(row) => answer.with("index", row),
        None => answer,
    }
}

/// The answer for a refused append or row.
pub(crate) fn append(error: &AppendError, names: &FieldNames) -> ApiError {
    let answer = ApiError::new(error.kind(), error.text(names));
    match error {
        AppendError::WrongExpectedSeq { stream_id, expected, actual } => answer
            .with("stream_id", stream_id.as_str())
            .with("expected_seq", expected_json(*expected))
            .with("last_seq", actual.0),
        AppendError::SeqGap { stream_id, next, given } => {
            answer.with("stream_id", stream_id.as_str()).with("next_seq", next.0).with("given_seq", given.0)
        }
        AppendError::SeqConflict { stream_id, given, head } => {
            answer.with("stream_id", stream_id.as_str()).with("given_seq", given.0).with("last_seq", head.0)
        }
        AppendError::CommandConflict { command_id, count: 0, .. } => answer.with("command_id", command_id.as_str()),
        AppendError::OtherOwner { stream_id } => answer.with("stream_id", stream_id.as_str()),
        AppendError::CommandConflict { command_id, first_seq, count } => {
            answer.with("command_id", command_id.as_str()).with("first_seq", first_seq.0).with("count", *count)
        }
        AppendError::CommandElsewhere { command_id, stream_type } => {
            answer.with("command_id", command_id.as_str()).with("stream_type", &**stream_type)
        }
        AppendError::EventIdConflict { event_id } => answer.with("event_id", event_id.to_string()),
        AppendError::Strict(violation) => strict(violation, names),
        AppendError::DiskFull { needed_bytes } => answer.with("needed_bytes", *needed_bytes),
        AppendError::NotLeader { leader: Some((node, address)) } => {
            answer.with("leader", *node).with("address", address.as_str())
        }
        AppendError::OutcomeUnknown { .. } => answer.with("outcome", "unknown"),
        AppendError::OtherTenant
        | AppendError::SubjectErased { .. }
        | AppendError::NotLeader { leader: None }
        | AppendError::SeqTooLarge { .. }
        | AppendError::RefusedBefore
        | AppendError::Shape(_)
        | AppendError::NotCommitted { .. }
        | AppendError::Unavailable { .. } => answer,
    }
}

fn strict(violation: &StrictViolation, names: &FieldNames) -> ApiError {
    let answer = ApiError::new(violation.kind(), violation.text(names));
    match violation {
        StrictViolation::Missing { field, rule } => answer.with("field", names.get(*field)).with("rule", *rule),
        StrictViolation::NullPartition { field, .. } => {
            answer.with("field", names.get(*field)).with("rule", "partition.enforce")
        }
        StrictViolation::LongPartition { field, bytes, room } => {
            answer.with("field", names.get(*field)).with("bytes", *bytes).with("room", *room)
        }
        StrictViolation::IdVersion { .. } => answer.with("field", names.get(Field::EventId)),
        StrictViolation::OtherCommand { .. } => answer.with("field", names.get(Field::CommandId)),
        StrictViolation::UnknownStreamType { name, .. } => {
            answer.with("field", names.get(Field::StreamType)).with("stream_type", name.as_str())
        }
    }
}

fn expected_json(expected: Expected) -> Value {
    match expected {
        Expected::Any => json!("any"),
        Expected::Empty => json!("empty"),
        Expected::At(seq) => json!(seq.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_meant_is_looked_for_among_so_many() {
        let known: Vec<Arc<str>> = (0..=MEANT_AMONG).map(|n| Arc::from(format!("{n:0>9}"))).collect();
        let told =
            |name: &str| with_stream_types(ApiError::not_found("no".to_owned()), name, &known).message().to_owned();
        let (near, far) = (format!("{:0>9}x", MEANT_AMONG - 1), "quite another one");
        assert!(told(&near).contains("did you mean"), "{}", told(&near));
        assert!(!told(far).contains("did you mean") && told(far).contains("known are 000000000, "), "{}", told(far));
        // the last one is none of them; another is near enough
        let last = format!("{MEANT_AMONG:0>9}");
        assert!(!told(&format!("{last}x")).contains(&format!("did you mean '{last}'")));
    }
}
