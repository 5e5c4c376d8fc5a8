//! What is hidden while it waits for a consumer's connection.

use super::*;
use strandline_engine::redact::Wish;
use strandline_workers::subscriptions::Consumed;

const QUIET: Duration = Duration::from_secs(30);

#[test]
fn what_waits_for_a_connection_is_given_as_it_may_be_shown_when_it_is_taken() {
    in_folder(async |dir| {
        let node = start(dir, ", strict.immutable_events = false").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 3).await.unwrap();
        let mut consumer = consumer_of_all(&store, "s", Mode::Async).await;
        while store.subscription("s").await.unwrap().counts.in_flight < 3 {
            tokio::task::yield_now().await;
        }
        let event_id = store.read_stream(whole("c")).await.unwrap().rows().nth(1).unwrap().event_id;
        store.redact(Wish { event_id, who: "ops".to_owned(), reason: None }).await.unwrap();
        let Consumed::Events(given) = consumer.next(QUIET).await else { panic!("three events wait") };
        let texts: Vec<_> = given.iter().map(|event| String::from_utf8_lossy(&event.text).into_owned()).collect();
        assert_eq!(texts, ["{\"n\":0}", strandline_event::REDACTED, "{\"n\":2}"]);
        drop(consumer);
        stop(node).await;
    });
}
