//! Command ids that are unique in the whole store: one stream type has a command, however many want it at once.

use super::*;
use strandline_workers::{Outcome, StreamAppend, StreamOutcome};

const KEYS: &str = ", id.command_id.unique_scope = 'store'";
const TYPES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

fn of(stream_type: &str, unit: BatchUnit, commands: &[&str]) -> BatchBytes {
    let mut builder = BatchBuilder::new(stream_type, unit);
    for command in commands {
        let event = EventInput { stream_id: "s", event_type: "E", data: "{}", ..EventInput::default() };
        builder.push(&EventInput { command_id: Some(command), ..event }).unwrap();
    }
    builder.finish().unwrap()
}

/// Whether it was known, or the code.
async fn send(
    node: &NodeHandle,
    store: &StoreHandle,
    stream_type: &str,
    command: &str,
    inspect: bool,
) -> Result<bool, &'static str> {
    let batch = of(stream_type, BatchUnit::Append, &[command]);
    match store.append_stream(batch, Expected::Any, inspect, permit(node)).await {
        Ok(done) => Ok(done.duplicate),
        Err(error) => Err(error.kind().code()),
    }
}

async fn check(node: &NodeHandle, store: &StoreHandle) {
    assert_eq!(send(node, store, "A", "k", false).await, Ok(true));
    for inspect in [true, false] {
        assert_eq!(send(node, store, "B", "k", inspect).await, Err("command_conflict"));
    }
    assert_eq!(store.engine().stream_types().len(), 1, "what is refused makes no log");
}

#[test]
fn a_command_is_one_stream_types_in_every_tier() {
    in_folder(async |dir| {
        let node = start(dir, KEYS).await;
        let store = node.store("calls").unwrap();
        assert_eq!(send(&node, &store, "A", "k", true).await, Ok(false));
        assert_eq!(send(&node, &store, "A", "k", false).await, Ok(false));
        check(&node, &store).await;
        drop(store);
        stop(node).await;
        let node = start(dir, KEYS).await;
        let store = node.store("calls").unwrap();
        check(&node, &store).await;
        for job in store.compact(None).await.unwrap() {
            assert_eq!(job.ended().await.error, None);
        }
        check(&node, &store).await;
        drop(store);
        stop(node).await;
        let node = start(dir, KEYS).await;
        let store = node.store("calls").unwrap();
        check(&node, &store).await;
        assert_eq!(send(&node, &store, "B", "other", false).await, Ok(false));
        assert_eq!(send(&node, &store, "A", "other", false).await, Err("command_conflict"));
        drop(store);
        stop(node).await;
    });
}

#[test]
fn of_many_that_come_at_once_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), KEYS).await;
        let store = node.store("calls").unwrap();
        for (round, there) in (0..40).zip([false].into_iter().chain(std::iter::repeat(true))) {
            // in the first round the logs are made meanwhile
            assert_eq!(store.engine().stream_types().len() == TYPES.len(), there);
            let (alone, together) = (format!("alone{round}"), format!("together{round}"));
            let sent = TYPES.iter().map(|stream_type| send(&node, &store, stream_type, &alone, false));
            let told = join_all(sent).await;
            assert_eq!(told.iter().filter(|told| **told == Ok(false)).count(), 1, "{told:?}");
            assert_eq!(told.iter().filter(|told| **told == Err("command_conflict")).count(), TYPES.len() - 1);
            for stream_type in TYPES {
                let fresh = format!("{stream_type}{round}");
                assert_eq!(send(&node, &store, stream_type, &fresh, false).await, Ok(false));
            }
            let appends: Vec<StreamAppend> = TYPES
                .iter()
                .map(|stream_type| StreamAppend {
                    batch: of(stream_type, BatchUnit::Append, &[together.as_str()]),
                    expected: Expected::Any,
                })
                .collect();
            let outcomes = store.append_many(&appends, false, &permit(&node)).await;
            let stored = |outcome: &&Outcome| matches!(outcome, Ok(StreamOutcome::Stored(_)));
            assert_eq!(outcomes.iter().filter(stored).count(), 1);
            let mut kinds = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(NodeError::kind);
            assert!(kinds.all(|kind| kind == ErrorKind::CommandConflict));
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn an_append_whose_answer_its_owner_hands_on_waits_for_the_other_log_too() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), KEYS).await;
        let store = node.store("calls").unwrap();
        for stream_type in TYPES {
            assert_eq!(send(&node, &store, stream_type, stream_type, false).await, Ok(false));
        }
        for round in 0..40 {
            let command = format!("c{round}");
            let answers = TYPES.map(|stream_type| {
                let (done, answer) = tokio::sync::oneshot::channel();
                let batch = of(stream_type, BatchUnit::Append, &[command.as_str()]);
                let append = vec![StreamAppend { batch, expected: Expected::Any }];
                store.append_many_then(append, false, &permit(&node), move |outcomes| drop(done.send(outcomes)));
                answer
            });
            let mut stored = 0;
            for answer in answers {
                match answer.await.unwrap().remove(0) {
                    Ok(StreamOutcome::Stored(_)) => stored += 1,
                    Ok(StreamOutcome::Known(_)) => panic!("it is another stream's"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::CommandConflict, "{error}"),
                }
            }
            assert_eq!(stored, 1);
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn bodies_of_several_stream_types_name_each_command_once() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), KEYS).await;
        let store = node.store("calls").unwrap();
        let send = |parts, on_error| store.append_bulk(parts, on_error, permit(&node));
        let rows = |stream_type: &str, commands: &[&str]| of(stream_type, BatchUnit::Rows, commands);
        let refused = send(vec![rows("A", &["a", "k"]), rows("B", &["b", "k"])], OnError::Abort).await.err().unwrap();
        assert!(matches!(refused, NodeError::RefusedPart { batch: 1, .. }), "{refused}");
        assert_eq!((refused.kind(), store.engine().stream_types().len()), (ErrorKind::CommandConflict, 0));
        let parts = send(vec![rows("A", &["a", "k"]), rows("B", &["b", "k"])], OnError::Skip).await.unwrap();
        let told = |part: &Result<strandline_engine::append::AppendOutcome, NodeError>| {
            let outcome = part.as_ref().unwrap();
            (outcome.stamped.as_ref().map_or(0, |stamped| stamped.rows()), outcome.rejected.len())
        };
        assert_eq!(parts.iter().map(told).collect::<Vec<_>>(), [(2, 0), (1, 1)]);
        let refused = send(vec![rows("A", &["c"]), rows("C", &["k"])], OnError::Abort).await.err().unwrap();
        assert!(matches!(refused, NodeError::RefusedPart { batch: 1, .. }), "{refused}");
        // bodies that want the same two commands in opposite order, at once
        for round in 0..40 {
            let (x, y) = (format!("x{round}"), format!("y{round}"));
            let (x, y) = (x.as_str(), y.as_str());
            let (one, other) = (vec![rows("A", &[x, y])], vec![rows("B", &[y, x])]);
            let both = join_all([send(one, OnError::Skip), send(other, OnError::Skip)]).await;
            let found: Vec<_> = both.into_iter().map(|parts| told(&parts.unwrap()[0])).collect();
            assert!(found == [(2, 0), (0, 2)] || found == [(0, 2), (2, 0)], "{found:?}");
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}
