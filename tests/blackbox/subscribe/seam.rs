//! Plain subscribers: the seam under load with compaction running, filters, slow clients, the end of a node.

use super::{append, data, key, lines};
use crate::harness::{Http, Sse, Store};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const WRITERS: u64 = 3;
const BODIES: u64 = 60;
const LINES: u64 = 40;

/// Follows from a place (`resumes`: with a new connection every few hundred events) until it has seen so many events.
fn follow(http: &Http, query: &str, resumes: bool, wanted: usize) -> Vec<(String, (String, String, u64))> {
    let (mut seen, mut last): (Vec<(String, _)>, Option<String>) = (Vec::new(), None);
    while seen.len() < wanted {
        let mut stream = Sse::open(http, &format!("subscribe?{query}"), last.as_deref());
        for _ in 0..300 {
            let message = stream.event();
            seen.push((message.id.clone().unwrap(), key(data(&message))));
            assert_eq!(data(&message)["position"].as_str(), message.id.as_deref());
            if seen.len() >= wanted {
                break;
            }
            if !resumes && seen.len() % 300 == 0 {
                continue;
            }
        }
        last = stream.last_id.clone();
    }
    seen
}

#[test]
fn who_asks_only_for_what_is_there_gets_everything_that_was_acknowledged() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    // somebody follows: the live end is read for all, now and then
    append(&http, "a", 0..1);
    let mut other = Sse::open(&http, "subscribe", None);
    let mut last = other.event().id;
    for n in 1..30 {
        append(&http, "a", n..n + 1);
        let (events, end) = Sse::open(&http, "subscribe?idle_s=0", last.as_deref()).rest();
        assert_eq!((events.len(), end.as_deref()), (1, Some("idle")), "event {n}");
        assert_eq!(data(&events[0])["data"]["n"], n);
        last.clone_from(&events[0].id);
    }
    for n in 1..30 {
        assert_eq!(data(&other.event())["data"]["n"], n);
    }
    server.stop();
}

#[test]
fn nothing_is_missed_and_nothing_comes_twice_while_events_move_between_the_tiers() {
    let store = Store::new(&[
        "inmemory.max_mb = 1",
        "inmemory.ttl_seconds = 1",
        "wal.rollover_mb = 1",
        "wal.retention_hours = 0",
        "compaction.trigger = ('time')",
        "compaction.schedule = '0 0 1 1 *'",
    ]);
    let server = store.start();
    let http = server.http();
    // what is there before anybody comes lies in files, in the log, in memory
    http.bulk(&lines(0..400, 7));
    http.compact();
    http.bulk(&lines(400..800, 7));
    let all = (800 + WRITERS * BODIES * LINES) as usize;
    let calls = all / 2;
    let over = AtomicBool::new(false);
    let followed = thread::scope(|scope| {
        let follower = |query: &'static str, resumes: bool, wanted: usize| {
            let http = http.clone();
            scope.spawn(move || (query, follow(&http, query, resumes, wanted)))
        };
        let followers =
            vec![follower("", false, all), follower("", true, all), follower("stream_type=Call", true, calls)];
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                http.compact();
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let http = http.clone();
                scope.spawn(move || {
                    for body in 0..BODIES {
                        let first = 1_000_000 * (writer + 1) + body * LINES;
                        http.bulk(&lines(first..first + LINES, 7));
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let late = follow(&http, "", false, all);
        let followed: Vec<_> = followers.into_iter().map(|follower| follower.join().unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        (followed, late)
    });
    let (followed, late) = followed;
    let global: Vec<_> = http.global().iter().map(|e| (e["position"].as_str().unwrap().to_owned(), key(e))).collect();
    assert_eq!(global.len(), all);
    assert!(late == global, "who comes after all of it reads the same");
    for (query, seen) in followed {
        let wanted: Vec<_> = global.iter().filter(|(_, (of, ..))| query.is_empty() || of == "Call").cloned().collect();
        assert!(seen == wanted, "`{query}`: every event, once, in the global order");
    }
    server.stop();
    store.assert_clean();
}

#[test]
fn filters_places_limits_and_ends_are_as_asked_for() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&lines(0..60, 5));
    let all = http.global();
    let numbers = |query: &str, last: Option<&str>| {
        let (events, end) = Sse::open(&http, &format!("subscribe?idle_s=0&{query}"), last).rest();
        assert_eq!(end.as_deref(), Some("idle"), "{query}");
        events.iter().map(|m| data(m)["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let wanted = |keep: &dyn Fn(&serde_json::Value) -> bool| {
        let kept = all.iter().filter(|e| keep(e));
        kept.map(|e| e["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("", None), wanted(&|_| true));
    assert_eq!(numbers("stream_type=Bill", None), wanted(&|e| e["stream_type"] == "Bill"));
    assert_eq!(numbers("stream_id=s2", None), wanted(&|e| e["stream_id"] == "s2"));
    assert_eq!(
        numbers("event_type=Ended&tenant_id=acme", None),
        wanted(&|e| e["event_type"] == "Ended" && e["tenant_id"] == "acme")
    );
    http.compact();
    assert_eq!(
        numbers("stream_id=s2&stream_type=Call", None),
        wanted(&|e| e["stream_id"] == "s2" && e["stream_type"] == "Call"),
        "in files"
    );
    let tenth = all[9]["position"].as_str().unwrap();
    assert_eq!(numbers(&format!("after={tenth}"), None), wanted(&|e| e["position"].as_str() > Some(tenth)));
    assert_eq!(numbers("", Some(tenth)).len(), 50, "Last-Event-ID is where a client was");
    assert!(numbers("after=end", None).is_empty());
    let (events, end) = Sse::open(&http, "subscribe?limit=7", None).rest();
    assert!(events.len() == 7 && end.as_deref() == Some("limit"));
    http.get("subscribe?after=nowhere").expect_error(400, "bad_request");
    http.get("subscribe?limit=0").expect_error(400, "bad_request");
    http.get("subscribe?colour=red").expect_error(400, "bad_request");
    // the program says the same, a line an event
    let lines = server.client(&["subscribe", "--stream-id", "s2", "--idle", "0"]);
    assert_eq!((lines.code, lines.stdout.lines().count()), (0, wanted(&|e| e["stream_id"] == "s2").len()), "{lines:?}");
    let behind = server.client(&["subscribe", "--after", tenth, "--idle", "0"]);
    assert_eq!((behind.code, behind.stdout.lines().count()), (0, 50), "{behind:?}");
    let lines = server.client(&["subscribe", "--durable", "cli", "--limit", "25"]);
    assert_eq!((lines.code, lines.stdout.lines().count()), (0, 25), "{lines:?}");
    let rest = server.client(&["subscribe", "--durable", "cli", "--idle", "1"]);
    assert_eq!((rest.code, rest.stdout.lines().count()), (0, 35), "what was printed does not come again: {rest:?}");
    server.stop();
}

/// The numbers of events, from the smallest on.
fn sorted<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<u64> {
    let mut numbers: Vec<u64> = events.map(|event| event["data"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn each_filter_is_kept_by_plain_ones_by_named_ones_and_by_the_program() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&lines(0..60, 5));
    http.compact();
    http.bulk(&lines(60..90, 5));
    let all = http.global();
    let filters: [&[(&str, &str)]; 5] = [
        &[("stream_type", "Bill")],
        &[("stream_id", "s2")],
        &[("event_type", "Ended")],
        &[("tenant_id", "acme")],
        &[("event_type", "Ended"), ("tenant_id", "acme")],
    ];
    for (at, filter) in filters.into_iter().enumerate() {
        let keeps = |event: &&Value| filter.iter().all(|(key, value)| event[*key] == *value);
        let wanted = sorted(all.iter().filter(keeps));
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{filter:?} keeps some");
        let query: Vec<String> = filter.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (plain, _) = Sse::open(&http, &format!("subscribe?idle_s=0&{}", query.join("&")), None).rest();
        assert_eq!(sorted(plain.iter().map(data)), wanted, "{filter:?}");
        let kept: Map<String, Value> = filter.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let path = format!("subscriptions/kept-{at}");
        assert_eq!(http.post(&path, &json!({ "filter": kept })).expect(201)["filter"], json!(kept));
        let (named, end) = Sse::open(&http, &format!("{path}/events?limit={}", wanted.len()), None).rest();
        assert_eq!((sorted(named.iter().map(data)), end.as_deref()), (wanted.clone(), Some("limit")), "{filter:?}");
        let options: Vec<String> =
            filter.iter().map(|(key, value)| format!("--{}={value}", key.replace('_', "-"))).collect();
        let mut arguments = vec!["subscribe", "--idle", "0"];
        arguments.extend(options.iter().map(String::as_str));
        let printed = server.client(&arguments);
        let events: Vec<Value> = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((printed.code, sorted(events.iter())), (0, wanted), "{filter:?}");
    }
    server.stop();
}

#[test]
fn who_asks_for_a_time_is_given_what_happened_in_it() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let at = |n: u64| format!("2026-03-01T00:00:{n:02}Z");
    let append = |n: u64| {
        let event = json!({ "event_type": "E", "occurred_at": at(n), "data": { "n": n } });
        http.post("streams/Call/s", &json!({ "events": [event] })).expect(201);
    };
    // in no order of time, in files and in the log
    [5, 1, 9, 3].into_iter().for_each(append);
    http.compact();
    [7, 2, 6, 4].into_iter().for_each(append);
    let bounds = [
        (vec![("occurred_from", 3), ("occurred_to", 7)], vec![3, 4, 5, 6]),
        (vec![("occurred_from", 3)], vec![3, 4, 5, 6, 7, 9]),
        (vec![("occurred_to", 7)], vec![1, 2, 3, 4, 5, 6]),
    ];
    for (which, (given, wanted)) in bounds.into_iter().enumerate() {
        let query: String = given.iter().map(|(name, n)| format!("&{name}={}", at(*n))).collect();
        let page = http.get(&format!("events?limit=100{query}")).expect(200);
        assert_eq!(sorted(page["events"].as_array().unwrap().iter()), wanted, "{query}");
        let scanned = http.get_as(&format!("scan?consistency=leader{query}"), "application/x-ndjson").lines();
        assert_eq!(sorted(scanned.iter()), wanted, "{query}");
        let (plain, _) = Sse::open(&http, &format!("subscribe?idle_s=0{query}"), None).rest();
        assert_eq!(sorted(plain.iter().map(data)), wanted, "{query}");
        let kept: Map<String, Value> = given.iter().map(|(name, n)| ((*name).to_owned(), json!(at(*n)))).collect();
        let path = format!("subscriptions/then-{which}");
        let made = http.post(&path, &json!({ "filter": kept })).expect(201);
        assert!(given.iter().all(|(name, _)| made["filter"][*name].is_string()), "{made}");
        let (named, _) = Sse::open(&http, &format!("{path}/events?limit={}", wanted.len()), None).rest();
        assert_eq!(sorted(named.iter().map(data)), wanted, "{query}");
    }
    let mut live = Sse::open(&http, &format!("subscribe?occurred_from={}&occurred_to={}", at(3), at(7)), None);
    (0..4).for_each(|_| drop(live.event()));
    [8, 5].into_iter().for_each(append);
    assert_eq!(data(&live.event())["data"]["n"], 5, "what comes now is judged, too");
    for wrong in ["subscribe?occurred_to=soon", "events?occurred_to=soon"] {
        http.get(wrong).expect_error(400, "bad_request");
    }
    let wrong = json!({ "filter": { "occurred_from": "soon" } });
    http.post("subscriptions/wrong", &wrong).expect_error(400, "bad_request");
    server.stop();
}

#[test]
fn who_follows_a_node_that_stops_is_told_and_goes_on_with_the_next() {
    let store = Store::new(&[]);
    let server = store.start();
    append(&server.http(), "s", 0..5);
    let mut stream = Sse::open(&server.http(), "subscribe", None);
    (0..5).for_each(|_| drop(stream.event()));
    server.signal_terminate();
    let (events, end) = stream.rest();
    assert!(events.is_empty());
    assert_eq!(end.as_deref(), Some("unavailable"));
    assert_eq!(server.ended().code, 0);
    let server = store.start();
    append(&server.http(), "s", 5..7);
    let mut again = Sse::open(&server.http(), "subscribe", stream.last_id.as_deref());
    assert_eq!([again.event(), again.event()].map(|m| data(&m)["data"]["n"].clone()), [json!(5), json!(6)]);
    server.stop();
}

fn memory_mb(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn clients_that_take_nothing_hold_up_no_append_and_no_memory() {
    const SLOW: usize = 60;
    let store = Store::new(&["inmemory.enabled = false", "wal.fsync = false"]);
    let server = store.start();
    let http = server.http();
    append(&http, "s", 0..1);
    let mut slow: Vec<Sse> = (0..SLOW).map(|_| Sse::open(&http, "subscribe", None)).collect();
    slow.iter_mut().for_each(|stream| drop(stream.event()));
    let consume = |n: usize| {
        http.post(&format!("subscriptions/slow{n}"), &json!({ "ack_within_s": 3600 })).expect(201);
        Sse::open(&http, &format!("subscriptions/slow{n}/events"), None)
    };
    let mut consumers: Vec<Sse> = (0..SLOW / 3).map(consume).collect();
    consumers.iter_mut().for_each(|stream| drop(stream.event()));
    let payload = "x".repeat(2000);
    let body: Vec<_> = (0..1000)
        .map(|n| json!({ "stream_type": "Call", "stream_id": format!("l{n}"), "event_type": "E", "data": payload }))
        .collect();
    http.bulk(&body);
    let before = memory_mb(server.id());
    // 80 MB for each of them, if it were kept for them
    (0..40).for_each(|_| drop(http.bulk(&body)));
    let grown = memory_mb(server.id()).saturating_sub(before);
    assert!(grown < 400, "memory grew by {grown} MB");
    // a consumer holds so many at most that it has not acknowledged, and is given the next ones then
    for (n, stream) in consumers.iter_mut().enumerate() {
        let held = http.get(&format!("subscriptions/slow{n}")).expect(200)["in_flight"].clone();
        assert!(held.as_u64().is_some_and(|held| (1..=256).contains(&held)), "{held}");
        let seen: HashSet<_> = (0..100).map(|_| key(data(&stream.event()))).collect();
        assert_eq!(seen.len(), 100);
    }
    // and each has missed nothing
    for stream in slow.iter_mut().take(3) {
        let seen: HashSet<_> = (0..41_000).map(|_| key(data(&stream.event()))).collect();
        assert_eq!(seen.len(), 41_000);
    }
    drop((slow, consumers));
    server.stop();
}
