//! Parts of a body whose logs other nodes lead: they are sent there over the native protocol, with the caller's token, each once.
//!
//! A body goes to the node that leads the meta group (`forward/affair.rs`), which as a rule leads its logs too; one that was moved, or elected
//! another leader, is led elsewhere for as long as that lasts. What that node says of its part stands in the place of this one's word.

use super::line;
use crate::decode::bulk::{Part, Rejected};
use crate::error::ApiError;
use crate::http::call::{Call, ServedStore};
use crate::native::{BODY_BYTES_MAX, Relay, led_elsewhere};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_client::{PartAppended, Refused};
use strandline_engine::append::{AppendOutcome, OnError};
use strandline_event::{BatchView, ErrorKind};
use strandline_workers::NodeError;
use strandline_workers::permits::BytePermit;

/// What other nodes did, by the place of the part.
pub(super) type There = BTreeMap<usize, PartAppended>;

/// The way to other nodes; `None`: this one is alone, or sends nothing on.
pub(super) fn way(call: &Call, served: &ServedStore) -> Option<Relay> {
    let control = call.app.node.cluster().filter(|_| call.app.forwards)?;
    // the guard has read it already; what is no token of ours is nobody's business
    let shown = call.header("authorization").and_then(|text| text.trim().split_once(' '));
    let token = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim());
    let by = (token, BODY_BYTES_MAX as u32);
    let of = (served.store.name(), served.store.is_limited());
    Some(Relay::new(control.clone(), by, of, (call.app.certificates.clone(), call.app.outgoing.clone())))
}

/// Has done what this node was not the one to do, and puts what became of it in its place.
pub(super) async fn done(
    served: &Arc<ServedStore>,
    relay: &Relay,
    parts: &[Part],
    results: &mut [Result<AppendOutcome, NodeError>],
    (rule, permit): (OnError, Arc<BytePermit>),
) -> There {
    let is_elsewhere = |result: &Result<AppendOutcome, NodeError>| matches!(result, Err(NodeError::NotLeader { .. }));
    let led: Vec<usize> = (0..parts.len()).filter(|at| results.get(*at).is_some_and(is_elsewhere)).collect();
    let mut there = There::new();
    if led.is_empty() {
        return there;
    }
    let asked = led.iter().filter_map(|at| {
        let error = results.get(*at)?.as_ref().err()?;
        Some((parts.get(*at)?.batch.clone(), error))
    });
    // rare, and large: no request carries it
    let said = Box::pin(led_elsewhere(served, relay, asked.collect(), rule, permit)).await;
    for (at, outcome) in led.into_iter().zip(said) {
        let (Some(result), Some(part)) = (results.get_mut(at), parts.get(at)) else { continue };
        match outcome {
            Ok(done) => {
                let duplicate_rows = usize::try_from(done.known).unwrap_or(usize::MAX);
                let chunk_known = done.chunk_known;
                *result = Ok(AppendOutcome { duplicate_rows, chunk_known, ..AppendOutcome::default() });
                there.insert(at, done);
            }
            // nobody has done it: this node's word says where the leader was
            Err(refused) if refused.kind() == Some(ErrorKind::NotLeader) => {}
            Err(refused) => *result = Err(refusal(&refused, part)),
        }
    }
    there
}

/// Another node's refusal of a part, with the line in the place of its row.
fn refusal(refused: &Refused, part: &Part) -> NodeError {
    if refused.code == OUTCOME_UNKNOWN {
        return NodeError::OutcomeUnknown;
    }
    let at = refused.row.map(|row| format!("line {}: ", line(part, row))).unwrap_or_default();
    let kind = refused.kind().unwrap_or(ErrorKind::Io);
    // this node has let the caller in, and no line is wrong: that one has not read its tokens, or opened the store, yet
    let is_of_the_caller = match kind {
        ErrorKind::Unauthenticated | ErrorKind::NotFound => true,
        ErrorKind::Forbidden => refused.row.is_none(),
        _ => false,
    };
    if is_of_the_caller {
        let why = format!("the node that leads a part of the body does not take it from this caller: {}", refused.text);
        return NodeError::Cluster { kind: ErrorKind::Unavailable, why };
    }
    NodeError::Cluster { kind, why: format!("{at}{}", refused.text) }
}

/// The lines that another node left out.
pub(super) fn rejected(done: &PartAppended, part: &Part) -> impl Iterator<Item = Rejected> {
    done.rejected.iter().map(move |row| {
        let kind = ErrorKind::from_code(&row.code).unwrap_or(ErrorKind::Io);
        Rejected { line: line(part, row.row), error: ApiError::new(kind, row.text.as_str()) }
    })
}

/// Stream types of which another node has stored events now.
pub(super) fn stream_types<'a>(there: &There, parts: &'a [Part]) -> Vec<&'a str> {
    let stored = there.iter().filter(|(_, done)| done.appended > 0);
    stored.filter_map(|(at, _)| Some(parts.get(*at)?.batch.view().stream_type())).collect()
}

/// The streams of a part of which another node has stored something, now or before.
pub(super) fn stored(done: &PartAppended, view: BatchView<'_>) -> BTreeSet<usize> {
    let left_out: BTreeSet<usize> = done.rejected.iter().map(|row| row.row as usize).collect();
    (0..view.rows()).filter(|row| !left_out.contains(row)).map(|row| view.stream_of(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_client::RejectedRow;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput};

    fn part() -> Part {
        let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
        for stream_id in ["a", "b", "a"] {
            batch.push(&EventInput { stream_id, event_type: "E", data: "{}", ..EventInput::default() }).unwrap();
        }
        Part { batch: batch.finish().unwrap(), lines: vec![2, 5, 9] }
    }

    #[test]
    fn another_nodes_word_is_told_by_the_lines_of_the_body() {
        let part = part();
        let no = |code: &str, row| Refused { code: code.to_owned(), text: "no".to_owned(), row, ..Refused::default() };
        let said = refusal(&no("seq_gap", Some(1)), &part);
        assert_eq!((said.kind(), said.to_string()), (ErrorKind::SeqGap, "line 5: no".to_owned()));
        assert!(matches!(refusal(&no(OUTCOME_UNKNOWN, None), &part), NodeError::OutcomeUnknown));
        assert_eq!(refusal(&no("of a later version", None), &part).kind(), ErrorKind::Io);
        // nobody may take it for lines that were refused
        for code in [ErrorKind::Unauthenticated, ErrorKind::Forbidden, ErrorKind::NotFound].map(ErrorKind::code) {
            assert_eq!(refusal(&no(code, None), &part).kind(), ErrorKind::Unavailable, "{code}");
        }
        assert_eq!(refusal(&no(ErrorKind::Forbidden.code(), Some(1)), &part).kind(), ErrorKind::Forbidden);
        let row = RejectedRow { row: 1, code: "seq_gap".to_owned(), text: "no".to_owned() };
        let done = PartAppended { appended: 2, rejected: vec![row], ..PartAppended::default() };
        let lines: Vec<_> = rejected(&done, &part).map(|left| (left.line, left.error.kind())).collect();
        assert_eq!(lines, [(5, ErrorKind::SeqGap)]);
        assert_eq!(stored(&done, part.batch.view()), BTreeSet::from([0]));
        assert_eq!(stored(&PartAppended::default(), part.batch.view()), BTreeSet::from([0, 1]));
        let mut there = There::from([(0, PartAppended { known: 3, ..PartAppended::default() })]);
        let parts = [part];
        assert!(stream_types(&there, &parts).is_empty(), "all of it was there");
        there.insert(0, done);
        assert_eq!(stream_types(&there, &parts), ["T"]);
    }
}
