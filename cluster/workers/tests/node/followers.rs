//! What followers are told of where they are.

use super::*;
use futures_util::FutureExt;
use strandline_engine::tenants::TenantScope;
use strandline_workers::subscriptions::Followed;

const QUIET: Duration = Duration::from_secs(30);

async fn put(node: &NodeHandle, store: &StoreHandle, stream_id: &str, tenant: &str) {
    put_many(node, store, stream_id, tenant, 1).await;
}

async fn put_many(node: &NodeHandle, store: &StoreHandle, stream_id: &str, tenant: &str, count: usize) {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
    let event =
        EventInput { stream_id, event_type: "Ticked", data: "{}", tenant_id: Some(tenant), ..EventInput::default() };
    (0..count).for_each(|_| builder.push(&event).unwrap());
    store.append_stream(builder.finish().unwrap(), Expected::Any, false, permit(node)).await.unwrap();
}

#[test]
fn who_is_limited_to_tenants_and_begins_at_the_end_goes_on_from_a_place_that_is_no_event_of_others() {
    on_node(async |_, node, store| {
        put(&node, &store, "b", "beta").await;
        let acme = store.limited_to(&Arc::new(TenantScope::new(vec!["acme".to_owned()])));
        let mut limited = acme.follow(Filter::default(), None).await.unwrap();
        let all = store.follow(Filter::default(), None).await.unwrap();
        let start = limited.position().expect("a place to go on from");
        assert_ne!(Some(start), all.position(), "the newest event is another tenant's");
        put(&node, &store, "b", "beta").await;
        put(&node, &store, "a", "acme").await;
        let Followed::Events(slice) = limited.next(QUIET).await.unwrap() else { panic!("an event is there") };
        let given: Vec<_> = slice.events().map(|event| (event.stream_id.to_owned(), event.position())).collect();
        assert_eq!(given.len(), 1);
        assert_eq!((given[0].0.as_str(), Some(given[0].1)), ("a", limited.position()));
        let own = given[0].1;
        drop((slice, limited, all));
        // one that was given nothing before its connection broke
        let mut again = acme.follow(Filter::default(), Some(start)).await.unwrap();
        let Followed::Events(slice) = again.next(QUIET).await.unwrap() else { panic!("what came meanwhile is there") };
        assert_eq!(slice.events().map(|event| event.position()).collect::<Vec<_>>(), [own]);
        drop((slice, again, acme, store));
        stop(node).await;
    });
}

/// Whose connection has something else to do before the tenants of the events are known: a client grants room while its next part is made.
#[test]
fn who_gives_a_slice_up_before_it_is_given_is_given_it_again() {
    on_node(async |_, node, store| {
        let acme = store.limited_to(&Arc::new(TenantScope::new(vec!["acme".to_owned()])));
        let mut limited = acme.follow(Filter::default(), None).await.unwrap();
        let mut all = store.follow(Filter::default(), None).await.unwrap();
        put(&node, &store, "a", "acme").await;
        // from then on the page is there for all who follow
        let Followed::Events(slice) = all.next(QUIET).await.unwrap() else { panic!("an event is there") };
        drop(slice);
        for _ in 0..3 {
            assert!(limited.next(QUIET).now_or_never().is_none(), "a reader looks whose stream it is");
        }
        let Followed::Events(slice) = limited.next(QUIET).await.unwrap() else { panic!("its event is lost") };
        assert_eq!(slice.events().map(|event| event.stream_id).collect::<Vec<_>>(), ["a"]);
        drop((slice, limited, all, acme, store));
        stop(node).await;
    });
}

/// A page of history holds some thousand rows: more of others lie between two of the caller's.
#[test]
fn how_full_a_slice_of_history_is_depends_on_the_events_of_the_tenants_alone() {
    on_node(async |_, node, store| {
        for _ in 0..3 {
            put(&node, &store, "a", "acme").await;
            put_many(&node, &store, "b", "beta", 1100).await;
        }
        let scope = TenantScope::new(["acme", "carol"].map(str::to_owned).to_vec());
        let two = store.limited_to(&Arc::new(scope));
        let mut follower = two.follow(Filter::default(), Some(Position::START)).await.unwrap();
        let Followed::Events(slice) = follower.next(QUIET).await.unwrap() else { panic!("events are there") };
        assert_eq!(slice.events().map(|event| event.seq).collect::<Vec<_>>(), [Seq(1), Seq(2), Seq(3)]);
        drop((slice, follower, two, store));
        stop(node).await;
    });
}

#[test]
fn who_hears_nothing_for_long_keeps_the_place_of_the_newest_event_and_no_moment_behind_it() {
    on_node(async |_, node, store| {
        put(&node, &store, "a", "acme").await;
        let mut follower = store.follow(Filter::default(), Some(Position::START)).await.unwrap();
        let Followed::Events(slice) = follower.next(QUIET).await.unwrap() else { panic!("an event is there") };
        let newest = slice.events().last().map(|event| event.position());
        drop(slice);
        // each look at the end goes on behind the moment up to which the one before it has looked
        for _ in 0..4 {
            let came = follower.next(Duration::ZERO).await.unwrap();
            assert!(matches!(came, Followed::Quiet { .. }));
            assert_eq!(follower.position(), newest);
        }
        drop((follower, store));
        stop(node).await;
    });
}

#[test]
fn a_store_has_so_many_named_subscriptions_and_each_so_many_consumers() {
    on_node(async |_, node, store| {
        let settings =
            Settings { filter: Filter::default(), mode: Mode::Async, attempts_max: 9, ack_within_us: 60_000_000 };
        let wish = || SubscriptionWish { settings: settings.clone(), after: Some(Position::START) };
        let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
        let made = join_all(names.iter().map(|name| store.create_subscription(name, wish()))).await;
        assert!(made.iter().all(|made| made.as_ref().is_ok_and(|is_new| *is_new)));
        let refused = store.create_subscription("one-more", wish()).await.unwrap_err();
        assert!(matches!(refused, NodeError::TooManySubscriptions { limit: 1000 }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        assert!(!store.create_subscription("n7", wish()).await.unwrap(), "the same again is not one more");
        let come = || store.consume("n7", Arc::new(|_: &mut Vec<u8>, _: &EventRef<'_>| {}));
        let consumers: Vec<Consumer> = (0..256).map(|_| come().unwrap()).collect();
        assert_eq!(come().err().map(|refused| refused.kind()), Some(ErrorKind::Overloaded));
        drop(consumers);
        let deleted = join_all([store.delete_subscription("n7"), store.delete_subscription("n7")]).await;
        let gone = |error: &NodeError| error.kind() == ErrorKind::NotFound;
        assert_eq!(deleted.iter().filter(|one| one.is_ok()).count(), 1, "it is deleted once");
        assert!(deleted.iter().all(|one| one.as_ref().err().is_none_or(gone)));
        assert!(store.create_subscription("one-more", wish()).await.unwrap(), "there is room again");
        drop(store);
        stop(node).await;
    });
}
