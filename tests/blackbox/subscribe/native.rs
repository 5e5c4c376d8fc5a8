//! Subscriptions of the native protocol, by the Rust client.

use super::{append, lines};
use crate::harness::{Server, Store};
use serde_json::{Value, json};
use strandline_client::{Client, ClientError, Filter, Options, Position, SubscribeWanted, Subscription};
use tokio::runtime::Runtime;

/// Small, so that the server waits for what the client grants.
const WINDOW_BYTES: u32 = 16 << 10;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn connect(server: &Server) -> Client {
    Client::connect(Options { store: "test".to_owned(), ..Options::new(server.native()) }).await.unwrap()
}

fn wanted(after: Option<Position>) -> SubscribeWanted {
    SubscribeWanted { after, window_bytes: WINDOW_BYTES, filter: Filter::default(), stream_id: None }
}

/// So many events, by their numbers.
async fn take(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let followed = subscription.next().await.unwrap();
        assert!(!followed.inspected);
        let number = |data: &str| serde_json::from_str::<serde_json::Value>(data).unwrap()["n"].as_u64().unwrap();
        seen.extend(followed.events.iter().map(|event| number(event.data)));
    }
    seen
}

#[test]
fn a_client_follows_over_the_seam_and_over_a_restart_of_the_node() {
    let store = Store::new(&["projection.notify_on_inspect = true"]);
    let native = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let start = || {
        let mut arguments = store.serve_arguments();
        arguments.extend(["--native".to_owned(), native.clone()]);
        Server::start_from(store.program().args(arguments))
    };
    let server = start();
    server.http().bulk(&lines(0..2000, 7));
    let runtime = runtime();
    runtime.block_on(async {
        let client = connect(&server).await;
        let mut all = client.subscribe(wanted(Some(Position::START)));
        let order: Vec<u64> = server.http().global().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
        assert_eq!(take(&mut all, 2000).await, order, "history, by parts of a small window");
        let mut new = client.subscribe(wanted(None));
        let one = SubscribeWanted {
            filter: Filter { stream_type: Some("Call".to_owned()), ..Filter::default() },
            stream_id: Some("s3".to_owned()),
            ..wanted(Some(Position::START))
        };
        let mut one = client.subscribe(one);
        let of_one: Vec<u64> = order.iter().copied().filter(|n| n % 2 == 0 && n / 2 % 7 == 3).collect();
        assert_eq!(take(&mut one, of_one.len()).await, of_one);
        let writer = {
            let http = server.http();
            std::thread::spawn(move || append(&http, "live", 10_000..10_050))
        };
        assert_eq!(take(&mut all, 50).await, (10_000..10_050).collect::<Vec<_>>());
        writer.join().unwrap();
        // what begins with the first ask sees what is committed from then on
        let (fresh, ()) = tokio::join!(take(&mut new, 1), async {
            let http = server.http();
            for n in 0..100 {
                let http = http.clone();
                tokio::task::spawn_blocking(move || append(&http, "more", 20_000 + n..20_001 + n)).await.unwrap();
            }
        });
        assert!(fresh.iter().all(|n| *n >= 20_000), "nothing of what was there: {fresh:?}");
        assert_eq!(take(&mut all, 100).await, (20_000..20_100).collect::<Vec<_>>());
        let dry = json!({ "events": [{ "event_type": "Dry", "data": { "n": 7 } }] });
        server.http().post("streams/Call/live?inspect=true", &dry).expect(201);
        let told = all.next().await.unwrap();
        assert!(told.inspected && told.events.iter().all(|event| event.event_type == "Dry"));
        server.kill();
        let server = start();
        append(&server.http(), "live", 10_050..10_060);
        assert_eq!(take(&mut all, 10).await, (10_050..10_060).collect::<Vec<_>>(), "behind the last that was taken");
        // it lets go of what it asked for: as many again may be begun
        drop((all, new, one));
        for _ in 0..20 {
            let mut again = client.subscribe(wanted(Some(Position::START)));
            assert!(take(&mut again, 5).await.len() >= 5);
        }
        server.stop();
    });
    store.assert_clean();
}

#[test]
fn a_client_is_given_what_its_filter_keeps() {
    let store = Store::new(&[]);
    let server = store.start();
    server.http().bulk(&lines(0..90, 5));
    let order = server.http().global();
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        Filter { stream_type: text("Bill"), ..Filter::default() },
        Filter { event_type: text("Ended"), ..Filter::default() },
        Filter { tenant_id: text("acme"), ..Filter::default() },
        Filter { event_type: text("Ended"), tenant_id: text("acme"), ..Filter::default() },
    ];
    runtime().block_on(async {
        let client = connect(&server).await;
        for filter in filters {
            let asked = [
                ("stream_type", filter.stream_type.clone()),
                ("event_type", filter.event_type.clone()),
                ("tenant_id", filter.tenant_id.clone()),
            ];
            let keeps = |event: &&Value| asked.iter().all(|(of, text)| text.as_ref().is_none_or(|t| event[*of] == *t));
            let kept: Vec<u64> = order.iter().filter(keeps).map(|event| event["data"]["n"].as_u64().unwrap()).collect();
            assert!(!kept.is_empty() && kept.len() < order.len(), "{asked:?} keeps some");
            let mut subscription = client.subscribe(SubscribeWanted { filter, ..wanted(Some(Position::START)) });
            assert_eq!(take(&mut subscription, kept.len()).await, kept, "{asked:?}");
        }
    });
    server.stop();
}

#[test]
fn a_client_follows_from_any_place_and_what_happened_in_a_time() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let at = |n: u64| format!("2026-03-01T00:00:{n:02}Z");
    let event = |n: u64| json!({ "event_type": "E", "occurred_at": at(n), "data": { "n": n } });
    http.post("streams/Call/s", &json!({ "events": (0..6).map(event).collect::<Vec<_>>() })).expect(201);
    http.compact();
    http.post("streams/Call/s", &json!({ "events": (6..10).map(event).collect::<Vec<_>>() })).expect(201);
    let order = http.global();
    let place = Position::parse(order[5]["position"].as_str().unwrap()).unwrap();
    let moment = |n: u64| strandline_event::time::parse_rfc3339(&at(n));
    runtime().block_on(async {
        let client = connect(&server).await;
        let mut behind = client.subscribe(wanted(Some(place)));
        assert_eq!(take(&mut behind, 4).await, [6, 7, 8, 9]);
        let filter = Filter { occurred_from: moment(4), occurred_before: moment(8), ..Filter::default() };
        let mut then = client.subscribe(SubscribeWanted { filter, ..wanted(Some(Position::START)) });
        assert_eq!(take(&mut then, 4).await, [4, 5, 6, 7]);
    });
    server.stop();
}

#[test]
fn a_client_is_refused_where_the_store_sends_no_notifications() {
    let store = Store::new(&["projection.notify_on_commit = false"]);
    let server = store.start();
    append(&server.http(), "s", 0..1);
    runtime().block_on(async {
        let client = connect(&server).await;
        let refused = client.subscribe(wanted(Some(Position::START))).next().await.unwrap_err();
        assert!(matches!(&refused, ClientError::Refused(r) if r.code == "notifications_disabled"), "{refused}");
    });
    server.stop();
}
