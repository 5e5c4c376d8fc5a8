//! What is hidden while it waits for a consumer's connection.

use super::*;
use strandline_engine::redact::Wish;
use strandline_engine::subscribe::durable::{Mode, Settings};
use strandline_event::EventRef;
use strandline_workers::subscriptions::{Consumed, SubscriptionWish};

const QUIET: Duration = Duration::from_secs(30);

#[test]
fn what_waits_for_a_connection_is_given_as_it_may_be_shown_when_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let node = start(dir, ", strict.immutable_events = false").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 3).await.unwrap();
        let settings =
            Settings { filter: Filter::default(), mode: Mode::Async, attempts_max: 9, ack_within_us: 60_000_000 };
        store.create_subscription("s", SubscriptionWish { settings, after: Some(Position::START) }).await.unwrap();
        let encode = |out: &mut Vec<u8>, event: &EventRef<'_>| out.extend_from_slice(event.data.as_bytes());
        let mut consumer = store.consume("s", Arc::new(encode)).unwrap();
        while store.subscription("s").unwrap().counts.in_flight < 3 {
            tokio::task::yield_now().await;
        }
        let event_id = store.read_stream(whole("c")).await.unwrap().rows().nth(1).unwrap().event_id;
        store.redact(Wish { event_id, who: "ops".to_owned(), reason: None }).await.unwrap();
        let Consumed::Events(given) = consumer.next(QUIET).await else { panic!("three events wait") };
        let texts: Vec<_> = given.iter().map(|event| String::from_utf8_lossy(&event.text).into_owned()).collect();
        assert_eq!(texts, ["{\"n\":0}", strandline_event::REDACTED, "{\"n\":2}"]);
        drop(consumer);
        stop(node).await;
    })
    .unwrap();
}
