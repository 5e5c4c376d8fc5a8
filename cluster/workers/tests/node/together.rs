//! Appends that come together: each is answered as if it had come alone, whatever becomes of the others.

use super::*;
use strandline_event::{EventId, IdPrefix, Micros};
use strandline_workers::{StreamAppend, StreamOutcome};

fn event(stream_id: &str, more: EventInput<'_>, expected: Expected) -> StreamAppend {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
    builder.push(&EventInput { stream_id, event_type: "Ticked", data: "{}", ..more }).unwrap();
    StreamAppend { batch: builder.finish().unwrap(), expected }
}

fn command(id: &str) -> EventInput<'_> {
    EventInput { command_id: Some(id), ..EventInput::default() }
}

fn plain<'a>() -> EventInput<'a> {
    EventInput::default()
}

/// Seqs of the events, whether they were known, or the code.
fn told(outcome: &Result<StreamOutcome, NodeError>) -> Result<(Vec<u64>, bool), &'static str> {
    match outcome {
        Ok(StreamOutcome::Stored(batch)) => Ok(((0..batch.rows()).map(|row| batch.seq(row).0).collect(), false)),
        Ok(StreamOutcome::Known(events)) => Ok((events.iter().map(|event| event.seq.0).collect(), true)),
        Err(error) => Err(error.kind().code()),
    }
}

async fn alone(
    node: &NodeHandle,
    store: &StoreHandle,
    append: &StreamAppend,
) -> Result<(Vec<u64>, bool), &'static str> {
    match store.append_stream(append.batch.clone(), append.expected, false, permit(node)).await {
        Ok(done) => Ok((done.events.iter().map(|event| event.seq.0).collect(), done.duplicate)),
        Err(error) => Err(error.kind().code()),
    }
}

fn rounds() -> Vec<Vec<StreamAppend>> {
    let id = IdPrefix::v7(Micros(1_795_428_000_000_000), 9).id(0);
    let given = |id: EventId| EventInput { event_id: Some(id), ..plain() };
    let at = |seq: u64| EventInput { seq: Some(Seq(seq)), ..plain() };
    vec![
        // the first of their stream type: there is no log yet
        vec![event("a", command("c1"), Expected::Empty), event("b", plain(), Expected::Any)],
        vec![
            event("a", plain(), Expected::At(Seq(1))),
            event("a", command("c1"), Expected::Empty), // known
            event("a", plain(), Expected::At(Seq(1))),  // too late by the first of this round
            event("b", command("c1"), Expected::Any),   // another stream's command
            event("d", given(id), Expected::Any),
            event("c", command("c2"), Expected::Any),
            event("c", command("c2"), Expected::Any), // known by what is not durable yet
            event("b", at(1), Expected::Any),         // must be read first: the same event
            event("b", at(9), Expected::Any),         // a gap
        ],
        vec![event("e", given(id), Expected::Any), event("a", plain(), Expected::At(Seq(2)))],
    ]
}

#[test]
fn each_is_answered_as_if_it_had_come_alone() {
    runtime::run(async {
        let keys = ", id.command_id.unique_scope = 'stream'";
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (together, apart) = (start(one.path(), keys).await, start(other.path(), keys).await);
        let (store, apart_store) = (together.store("calls").unwrap(), apart.store("calls").unwrap());
        for (round, appends) in rounds().into_iter().enumerate() {
            let found = store.append_many(&appends, false, &permit(&together)).await;
            let mut wanted = Vec::new();
            for append in &appends {
                wanted.push(alone(&apart, &apart_store, append).await);
            }
            assert_eq!(found.iter().map(told).collect::<Vec<_>>(), wanted, "round {round}");
        }
        // a dry run stores nothing
        let dry = [event("a", plain(), Expected::Any), event("f", plain(), Expected::Empty)];
        let found = store.append_many(&dry, true, &permit(&together)).await;
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), [Ok((vec![4], false)), Ok((vec![1], false))]);
        assert!(store.head("Call".to_owned(), "f".to_owned()).await.unwrap().is_none());
        // a node that drains refuses each
        together.drain().await.unwrap();
        let found = store.append_many(&dry, false, &permit(&together)).await;
        assert!(found.iter().all(|outcome| told(outcome) == Err("unavailable")));
        drop((store, apart_store));
        stop(together).await;
        stop(apart).await;
    })
    .unwrap();
}

#[test]
fn many_go_into_one_group() {
    runtime::run(async {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path(), "").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "first", 1).await.unwrap();
        let before = node.metrics().groups.get();
        let appends: Vec<_> = (0..500).map(|n| event(&format!("s{n}"), plain(), Expected::Empty)).collect();
        let found = store.append_many(&appends, false, &permit(&node)).await;
        assert!(found.iter().all(|outcome| told(outcome) == Ok((vec![1], false))));
        // the owner was idle: they were written together, with no group but theirs
        assert_eq!(node.metrics().groups.get() - before, 1);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn what_must_be_read_first_waits_for_the_readers_and_is_not_refused() {
    runtime::run(async {
        let dir = tempfile::tempdir().unwrap();
        let few = NodeOptions { reads_max: 1, reader_threads: 1, ..options(dir.path()) };
        let keys = ", id.command_id.unique_scope = 'stream'";
        let node = Node::start(declarations(dir.path(), keys), few).await.unwrap();
        let store = node.store("calls").unwrap();
        let names: Vec<String> = (0..2000).map(|n| format!("n{n}")).collect();
        let prefix = IdPrefix::v7(Micros(1_795_428_000_000_000), 9);
        let given = |n: usize| EventInput { event_id: Some(prefix.id(n as u32)), ..plain() };
        // over the owner's mailbox and over the readers' gate, were they sent at once
        let appends: Vec<_> = names.iter().enumerate().map(|(n, name)| event(name, given(n), Expected::Any)).collect();
        let found = store.append_many(&appends, false, &permit(&node)).await;
        assert!(found.iter().all(|outcome| told(outcome) == Ok((vec![1], false))));
        let commands: Vec<_> = names[..200].iter().map(|name| event(name, command(name), Expected::Any)).collect();
        for known in [false, true] {
            let found = store.append_many(&commands, false, &permit(&node)).await;
            assert!(found.iter().all(|outcome| told(outcome) == Ok((vec![2], known))));
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}
