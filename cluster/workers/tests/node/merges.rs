//! Merges on a running node: by hand behind a run, cancelled, and when the node stops.

use super::{append, count, on_node, start};
use strandline_engine::append::OnError;
use strandline_event::{BatchBuilder, BatchUnit, EventInput, Micros};
use strandline_workers::{JobKind, NodeHandle, StoreHandle};

/// Events of `days` days, one small file a day.
async fn days(node: &NodeHandle, store: &StoreHandle, days: i64) {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
    for day in 0..days {
        let occurred_at = Some(Micros(1_767_225_600_000_000).plus_us(day * 86_400_000_000));
        builder.push(&EventInput { stream_id: "c", event_type: "E", occurred_at, ..EventInput::default() }).unwrap();
    }
    let batch = builder.finish().unwrap();
    let answers = store.append_bulk(vec![batch], OnError::Abort, super::permit(node)).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
}

#[test]
fn a_run_by_hand_merges_behind_it_and_says_so() {
    on_node(async |dir, node, store| {
        append(&node, &store, "c", 10).await.unwrap();
        let first = store.compact(None).await.unwrap();
        assert!(first[0].merges().await.is_empty(), "one file is nothing to merge");
        append(&node, &store, "c", 10).await.unwrap();
        assert!(store.plan(None).await.unwrap().merges.is_empty(), "what the run will write is not there yet");
        let jobs = store.compact(None).await.unwrap();
        assert_eq!((jobs[0].ended().await.rows, &jobs[0].kind), (10, &JobKind::Compact));
        let merges = jobs[0].merges().await;
        let end = merges[0].ended().await;
        assert_eq!((merges.len(), end.inputs, end.files, end.rows, end.error), (1, 2, 1, 20, None));
        assert!(merges[0].subject().contains("dt="), "{}", merges[0].subject());
        let files = store.files().await.unwrap();
        assert_eq!((files.len(), files[0].entry.rows, count(&store, "c").await), (1, 20, 20));
        assert!(store.jobs().running().is_empty());
        drop((store, jobs, first));
        super::stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c").await, 20);
        drop(store);
        super::stop(node).await;
    });
}

#[test]
fn a_node_stops_amid_a_round_and_who_waits_is_told() {
    on_node(async |dir, node, store| {
        for _ in 0..2 {
            days(&node, &store, 60).await;
            store.compact(None).await.unwrap()[0].merges().await;
        }
        days(&node, &store, 60).await;
        let jobs = store.compact(None).await.unwrap();
        jobs[0].ended().await;
        // the round of 60 partitions has begun, or is about to
        drop(store);
        super::stop(node).await;
        let merges = jobs[0].merges().await;
        assert!(merges.iter().all(|merge| merge.end().is_some()));
        drop((jobs, merges));
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c").await, 180);
        let jobs = store.compact(None).await.unwrap();
        jobs[0].merges().await;
        assert_eq!((store.files().await.unwrap().len(), count(&store, "c").await), (60, 180));
        drop((store, jobs));
        super::stop(node).await;
    });
}

#[test]
fn a_cancelled_merge_ends_its_round() {
    on_node(async |_, node, store| {
        days(&node, &store, 40).await;
        store.compact(None).await.unwrap()[0].merges().await;
        days(&node, &store, 40).await;
        let jobs = store.compact(None).await.unwrap();
        jobs[0].ended().await;
        while store.cancel().await.unwrap() == 0 && store.jobs().ended().len() < 42 {
            tokio::task::yield_now().await;
        }
        let merges = jobs[0].merges().await;
        let cancelled = merges.iter().filter(|merge| merge.end().is_some_and(|end| end.cancelled)).count();
        assert!(
            cancelled == 1 && merges.len() < 40 || cancelled == 0 && merges.len() == 40,
            "{cancelled} of {}",
            merges.len()
        );
        let counted = (node.metrics().merges_failed.get(), node.metrics().merges_done.get());
        assert_eq!(counted, (cancelled as u64, (merges.len() - cancelled) as u64));
        assert_eq!(count(&store, "c").await, 80);
        let jobs = store.compact(None).await.unwrap();
        jobs[0].merges().await;
        assert_eq!((store.files().await.unwrap().len(), count(&store, "c").await), (40, 80));
        drop((store, jobs));
        super::stop(node).await;
    });
}
