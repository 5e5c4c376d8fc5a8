//! Appends that come together: each is answered as if it had come alone, whatever becomes of the others.

use super::*;
use strandline_engine::tenants::TenantScope;
use strandline_event::{Chunk, EventId, IdPrefix, Micros};
use strandline_workers::subscriptions::Consumed;
use strandline_workers::{Outcome, StreamAppend, StreamOutcome};

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
fn told(outcome: &Outcome) -> Result<(Vec<u64>, bool), &'static str> {
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

#[test]
fn a_chunk_of_one_tenant_is_no_chunk_of_another_in_a_frame_either() {
    on_node(async |_, node, store| {
        append(&node, &store, "c", 1).await.unwrap();
        let load = async |tenant: &str, stream_id: &str| {
            let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
            builder.set_chunk(Chunk { digest: [7; 16], number: 1 });
            let event = EventInput { stream_id, event_type: "E", data: "{}", tenant_id: Some(tenant), ..plain() };
            builder.push(&event).unwrap();
            let one = StreamAppend { batch: builder.finish().unwrap(), expected: Expected::Any };
            let limited = store.limited_to(&Arc::new(TenantScope::new(vec![tenant.to_owned()])));
            let outcome = limited.append_many(&[one], false, &permit(&node)).await.remove(0).unwrap();
            matches!(outcome, StreamOutcome::Stored(_))
        };
        assert!(load("acme", "a").await);
        assert!(load("beta", "b").await, "it is beta's first");
        assert_eq!((count(&store, "a").await, count(&store, "b").await), (1, 1));
        assert!(!load("beta", "b").await);
        assert_eq!(count(&store, "b").await, 1, "and its second");
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_frame_of_too_many_new_stream_types_makes_no_log() {
    on_node(async |dir, node, store| {
        append(&node, &store, "c", 1).await.unwrap();
        let of_type = |n: usize| StreamAppend {
            batch: batch(&format!("New{n}"), "s", 1, BatchUnit::Append),
            expected: Expected::Any,
        };
        let known = || event("c", plain(), Expected::Any);
        let folders = || std::fs::read_dir(dir.join("wal")).unwrap().count();
        let before = folders();
        let mut many: Vec<StreamAppend> = (0..257).map(of_type).collect();
        many.push(of_type(0));
        many.push(known());
        let outcomes = store.append_many(&many, false, &permit(&node)).await;
        let (last, new) = outcomes.split_last().unwrap();
        assert!(new.iter().all(|outcome| told(outcome) == Err("too_large")), "{:?}", told(&new[0]));
        let text = new[0].as_ref().err().unwrap().to_string();
        assert!(text.contains("257 new stream types") && text.contains("at most 256"), "{text}");
        assert_eq!(told(last), Ok((vec![2], false)), "what needs no new log is stored");
        assert_eq!(folders(), before, "no log was made");
        let dry = store.append_many(&many, true, &permit(&node)).await;
        assert!(dry.iter().all(Result::is_ok), "a dry run makes none");
        let few: Vec<StreamAppend> = (0..5).map(of_type).collect();
        assert!(store.append_many(&few, false, &permit(&node)).await.iter().all(Result::is_ok));
        assert_eq!(folders(), before + 5);
        drop(store);
        stop(node).await;
    });
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
        // nothing to look up before: the owner judges them as they are
        vec![
            event("a", plain(), Expected::Any),
            event("a", plain(), Expected::Empty),
            event("c", command("c2"), Expected::Any), // known
            event("b", at(1), Expected::Any),         // must be read first
        ],
        vec![event("g", plain(), Expected::Empty), event("g", plain(), Expected::At(Seq(1)))],
    ]
}

/// By the list that a task waits for, or as the owner hands them on.
async fn ask(
    node: &NodeHandle,
    store: &StoreHandle,
    appends: &[StreamAppend],
    inspect: bool,
    then: bool,
) -> Vec<Outcome> {
    if !then {
        return store.append_many(appends, inspect, &permit(node)).await;
    }
    let (done, outcomes) = tokio::sync::oneshot::channel();
    store.append_many_then(appends.to_vec(), inspect, &permit(node), move |outcomes| drop(done.send(outcomes)));
    outcomes.await.unwrap()
}

fn check_answered_as_if_alone(then: bool) {
    runtime::run(async {
        let keys = ", id.command_id.unique_scope = 'stream'";
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (together, apart) = (start(one.path(), keys).await, start(other.path(), keys).await);
        let (store, apart_store) = (together.store("calls").unwrap(), apart.store("calls").unwrap());
        for (round, appends) in rounds().into_iter().enumerate() {
            let found = ask(&together, &store, &appends, false, then).await;
            let mut wanted = Vec::new();
            for append in &appends {
                wanted.push(alone(&apart, &apart_store, append).await);
            }
            assert_eq!(found.iter().map(told).collect::<Vec<_>>(), wanted, "round {round}");
        }
        // a dry run stores nothing
        let dry = [event("a", plain(), Expected::Any), event("f", plain(), Expected::Empty)];
        let found = ask(&together, &store, &dry, true, then).await;
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), [Ok((vec![5], false)), Ok((vec![1], false))]);
        assert!(store.head("Call".to_owned(), "f".to_owned()).await.unwrap().is_none());
        // a node that drains refuses each
        together.drain().await.unwrap();
        let found = ask(&together, &store, &dry, false, then).await;
        assert!(found.iter().all(|outcome| told(outcome) == Err("unavailable")));
        drop((store, apart_store));
        stop(together).await;
        stop(apart).await;
    })
    .unwrap();
}

#[test]
fn each_is_answered_as_if_it_had_come_alone() {
    check_answered_as_if_alone(false);
}

#[test]
fn so_is_each_whose_answer_the_owner_hands_on() {
    check_answered_as_if_alone(true);
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

#[test]
fn appends_to_a_store_with_sync_projections_wait_for_them_however_they_come() {
    in_folder(async |dir| {
        let node = start(dir, ", projection.mode = 'sync'").await;
        let store = node.store("calls").unwrap();
        // its owner is there: what comes from now on could go straight to it
        append(&node, &store, "first", 1).await.unwrap();
        let mut consumer = consumer_of_all(&store, "view", Mode::Sync).await;
        let quiet = Duration::from_secs(30);
        let Consumed::Events(before) = consumer.next(quiet).await else { panic!("there is one") };
        store.ack("view", before[0].position, None, false).await.unwrap();
        let (done, mut outcomes) = tokio::sync::oneshot::channel();
        let one = vec![event("s", plain(), Expected::Empty)];
        store.append_many_then(one, false, &permit(&node), move |outcomes| drop(done.send(outcomes)));
        let Consumed::Events(given) = consumer.next(quiet).await else { panic!("an event waits") };
        assert!(outcomes.try_recv().is_err(), "it was answered before the projection had it");
        store.ack("view", given[0].position, None, false).await.unwrap();
        assert_eq!(told(&outcomes.await.unwrap()[0]), Ok((vec![1], false)));
        drop((consumer, store));
        stop(node).await;
    });
}

#[test]
fn a_tenant_is_told_of_no_projection_that_asks_for_others_events_alone() {
    in_folder(async |dir| {
        let node = start(dir, ", projection.mode = 'sync'").await;
        let store = node.store("calls").unwrap();
        for tenant in ["acme", "zeta"] {
            let filter = Filter { tenant_id: Some(tenant.to_owned()), ..Filter::default() };
            let settings = Settings { filter, mode: Mode::Sync, attempts_max: 1, ack_within_us: 1_000_000 };
            let wish = SubscriptionWish { settings, after: Some(Position::START) };
            store.create_subscription(&format!("of-{tenant}"), wish).await.unwrap();
        }
        let acme = store.limited_to(&Arc::new(TenantScope::new(vec!["acme".to_owned()])));
        let one = [event("s", EventInput { tenant_id: Some("acme"), ..plain() }, Expected::Empty)];
        let outcome = acme.append_many(&one, false, &permit(&node)).await.remove(0).unwrap();
        let StreamOutcome::Stored(stored) = outcome else { panic!("it is new") };
        for (handle, names) in [(&acme, &["of-acme"][..]), (&store, &["of-acme", "of-zeta"][..])] {
            let said = handle.confirm_projections(&[&stored]).await.unwrap();
            assert_eq!(said.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), names);
        }
        drop((acme, store));
        stop(node).await;
    });
}
