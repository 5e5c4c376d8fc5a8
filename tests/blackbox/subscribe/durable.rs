//! Named subscriptions: shared by stream, kept over kills, failed events, replays.

use super::{append, data, key, lines};
use crate::harness::{Http, Message, Sse, Store, run};
use crate::oracles::files;
use crate::security::until;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A consumer of the subscription `s`, and its number.
fn consumer(http: &Http, query: &str) -> Option<(Sse, String)> {
    let mut stream = Sse::try_open(http, &format!("subscriptions/s/events{query}"), None)?;
    let first = stream.next()?;
    assert_eq!(first.kind.as_deref(), Some("consumer"));
    let number = data(&first)["consumer"].as_str().unwrap().to_owned();
    Some((stream, number))
}

fn ack(http: &Http, message: &Message, consumer: &str) -> Option<Value> {
    let body = json!({ "position": message.id, "consumer": consumer });
    let answer = http.try_post("subscriptions/s/ack", "application/json", body.to_string().as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// What was given and acknowledged, over all consumers and kills.
#[derive(Default)]
struct Seen {
    /// In the order in which each stream's events came first.
    first: HashMap<(String, String), Vec<u64>>,
    acknowledged: HashSet<(String, String, u64)>,
    again: u64,
}

impl Seen {
    fn gave(&mut self, event: &Value) {
        let (stream_type, stream_id, seq) = key(event);
        assert!(!self.acknowledged.contains(&key(event)), "acknowledged and given again: {event}");
        let of = self.first.entry((stream_type, stream_id)).or_default();
        if of.contains(&seq) {
            self.again += 1;
        } else {
            of.push(seq);
        }
    }

    fn total(&self) -> usize {
        self.first.values().map(Vec::len).sum()
    }
}

/// Takes events until the node is gone or everything was seen; acknowledges each, now and then late.
fn consume(http: &Http, seen: &Mutex<Seen>, over: &AtomicBool) {
    let Some((mut stream, number)) = consumer(http, "?idle_s=1") else { return };
    let mut open: Vec<Message> = Vec::new();
    while let Some(message) = stream.next() {
        if message.kind.is_some() {
            break;
        }
        seen.lock().unwrap().gave(data(&message));
        open.push(message);
        if open.len() >= 5 {
            // one word for all that came before
            let last = open.last().unwrap();
            if ack(http, last, &number).is_none() {
                return;
            }
            seen.lock().unwrap().acknowledged.extend(open.drain(..).map(|m| key(data(&m))));
        }
        if over.load(Ordering::SeqCst) {
            return;
        }
    }
    if let Some(last) = open.last()
        && ack(http, last, &number).is_some()
    {
        seen.lock().unwrap().acknowledged.extend(open.drain(..).map(|m| key(data(&m))));
    }
}

#[test]
fn kills_lose_nothing_and_what_was_acknowledged_in_turn_does_not_come_again() {
    let store = Store::new(&["wal.rollover_mb = 1", "compaction.schedule = '0 0 1 1 *'"]);
    let mut wanted = 0;
    let seen = Mutex::new(Seen::default());
    for round in 0..4_u64 {
        let server = store.start();
        let http = server.http();
        if round == 0 {
            let made = http.post("subscriptions/s", &json!({ "attempts_max": 100 })).expect(201);
            assert_eq!((&made["mode"], &made["parked"]), (&json!("async"), &json!([])));
        }
        // acknowledged out of turn before the kill: only the position is kept, so those may come again
        let done = http.get("subscriptions/s").expect(200)["position"].as_str().unwrap().to_owned();
        let behind: HashSet<_> =
            http.global().iter().filter(|e| e["position"].as_str() > Some(done.as_str())).map(key).collect();
        seen.lock().unwrap().acknowledged.retain(|key| !behind.contains(key));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let consumers: Vec<_> = (0..3).map(|_| scope.spawn(|| consume(&http, &seen, &over))).collect();
            for body in 0..20 {
                http.bulk(&lines(round * 10_000 + body * 30..round * 10_000 + body * 30 + 30, 11));
                wanted += 30;
                if body == 10 {
                    http.compact();
                }
            }
            over.store(true, Ordering::SeqCst);
            server.kill();
            consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
        });
    }
    let server = store.start();
    let http = server.http();
    let done = http.get("subscriptions/s").expect(200)["position"].as_str().unwrap().to_owned();
    let behind: HashSet<_> =
        http.global().iter().filter(|e| e["position"].as_str() > Some(done.as_str())).map(key).collect();
    seen.lock().unwrap().acknowledged.retain(|key| !behind.contains(key));
    let over = AtomicBool::new(false);
    consume(&http, &seen, &over);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.total(), wanted, "nothing is missed");
    for (stream, seqs) in &seen.first {
        let in_order: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, &in_order, "the order of {stream:?}");
    }
    let end = http.get("subscriptions/s").expect(200);
    assert_eq!((end["in_flight"].as_u64(), end["parked"].as_array().map(Vec::len)), (Some(0), Some(0)), "{end}");
    let newest = http.global().last().unwrap()["position"].as_str().unwrap().to_owned();
    assert!(end["position"].as_str().unwrap() >= newest.as_str(), "{end}");
    let metrics = http.get_as("/metrics", "*/*").text();
    assert!(
        metrics.contains("strandline_subscription_lag_seconds{store=\"test\",subscription=\"s\"} 0\n"),
        "{metrics}"
    );
    server.stop();
}

#[test]
fn without_patience_a_new_subscription_gives_all_that_is_there() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&lines(0..60, 5));
    // with and without somebody else who follows; more than a consumer may hold, and then what only just came
    let mut wanted = 60;
    for round in 0..12 {
        let other = (round % 3 == 0).then(|| Sse::open(&http, "subscribe?after=end", None));
        let path = format!("subscriptions/s{round}");
        http.post(&path, &json!({})).expect(201);
        append(&http, "now", wanted..wanted + 3);
        wanted += 3;
        let (events, end) = Sse::open(&http, &format!("{path}/events?idle_s=0"), None).rest();
        assert_eq!((events.len() as u64, end.as_deref()), (wanted, Some("idle")), "round {round}");
        drop(other);
    }
    http.bulk(&lines(100..1100, 7));
    wanted += 1000;
    let printed = server.client(&["subscribe", "--durable", "cli", "--idle", "0"]);
    assert_eq!((printed.code, printed.stdout.lines().count() as u64), (0, wanted), "{}", printed.stderr);
    server.stop();
}

#[test]
fn what_cannot_be_read_ends_consumers_with_the_reason_and_counts_against_no_event() {
    let store = Store::new(&["compaction.schedule = '0 0 29 2 *'"]);
    let server = store.start();
    let http = server.http();
    for name in ["s", "parked"] {
        http.post(&format!("subscriptions/{name}"), &json!({ "attempts_max": 1 })).expect(201);
    }
    append(&http, "a", 0..40);
    let mut stream = Sse::open(&http, "subscriptions/parked/events", None);
    let first = stream.event();
    http.post("subscriptions/parked/park", &json!({ "position": first.id })).expect(200);
    drop(stream);
    http.compact();
    let path = store.durable().join(&files(&server)[0]);
    server.stop();
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 0x10;
    std::fs::write(&path, damaged).unwrap();
    let server = store.start();
    let http = server.http();
    let before = http.get("subscriptions/s").expect(200);
    assert_eq!(before["last_error"], Value::Null);
    let ended = |path: &str| {
        let (events, end) = Sse::open(&http, path, None).rest();
        (events.len(), end)
    };
    let integrity = (0, Some("integrity_error".to_owned()));
    assert_eq!(ended("subscribe?idle_s=0"), integrity, "who follows by itself is told so");
    // with patience and without, one after the other
    for query in ["?idle_s=0", "?idle_s=60", ""] {
        assert_eq!(ended(&format!("subscriptions/s/events{query}")), integrity, "{query}");
    }
    let followed = server.client(&["subscribe", "--durable", "s", "--idle", "0"]);
    assert_eq!((followed.code, followed.stdout.as_str()), (3, ""), "{followed:?}");
    assert!(followed.stderr.contains("(integrity_error)"), "{followed:?}");
    let status = http.get("subscriptions/s").expect(200);
    assert_eq!((&status["last_error"]["code"], &status["position"]), (&json!("integrity_error"), &before["position"]));
    assert_eq!((&status["waiting"], &status["parked"]), (&json!(0), &json!([])), "{status}");
    let shown = server.client(&["status"]);
    assert!(shown.code == 0 && shown.stdout.contains("subscription s cannot be read"), "{shown:?}");
    let failing = |http: &Http| {
        let metrics = http.get_as("/metrics", "*/*").text();
        let name = "strandline_subscription_failing{store=\"test\",subscription=\"s\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    assert_eq!(failing(&http).as_deref(), Some("1"));
    let parked = http.get("subscriptions/parked").expect(200)["parked"][0].clone();
    assert!(parked["unread"].is_string() && parked["stream_id"].is_null(), "it is not gone: {parked}");
    // put right in its place: who comes again is given everything, as never tried
    std::fs::write(&path, whole).unwrap();
    let (events, end) = Sse::open(&http, "subscriptions/s/events?idle_s=0", None).rest();
    assert_eq!((events.len(), end.as_deref()), (40, Some("idle")));
    assert!(events.iter().all(|event| event.attempt == 1));
    assert_eq!(http.get("subscriptions/s").expect(200)["last_error"], Value::Null);
    assert_eq!(failing(&http).as_deref(), Some("0"));
    let parked = http.get("subscriptions/parked").expect(200)["parked"][0].clone();
    assert_eq!((&parked["unread"], &parked["stream_id"]), (&Value::Null, &json!("a")), "{parked}");
    server.stop();
    store.assert_clean();
}

#[test]
fn consumers_share_by_stream_and_take_over_from_one_that_goes() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.post("subscriptions/s", &json!({})).expect(201);
    http.post("subscriptions/s", &json!({})).expect(200);
    http.post("subscriptions/s", &json!({ "attempts_max": 3 })).expect_error(409, "subscription_conflict");
    let (mut one, one_number) = consumer(&http, "?idle_s=1").unwrap();
    let (mut two, two_number) = consumer(&http, "?idle_s=5").unwrap();
    http.bulk(&lines(0..80, 20));
    // nobody acknowledges: the one ends, and what it held comes to the other
    let (ones, twos) = thread::scope(|scope| {
        let ones = scope.spawn(move || one.rest().0);
        (ones.join().unwrap(), two.rest().0)
    });
    let streams = |messages: &[Message]| -> HashSet<String> {
        let stream = |m: &Message| format!("{}/{}", data(m)["stream_type"], data(m)["stream_id"]);
        messages.iter().map(stream).collect()
    };
    let own = twos.len() - ones.len();
    assert!(!ones.is_empty() && own > 0 && twos.len() == 80, "{} and {}", ones.len(), twos.len());
    assert!(streams(&ones).is_disjoint(&streams(&twos[..own])), "a stream is with one of them");
    assert_eq!(streams(&ones), streams(&twos[own..]), "what the other one held");
    let keys: HashSet<_> = twos.iter().map(|m| key(data(m))).collect();
    assert_eq!(keys.len(), 80);
    // its word counts for all that it was given, though it has gone
    assert_eq!(ack(&http, twos.last().unwrap(), &two_number).unwrap()["acknowledged"], 80);
    let status = http.get("subscriptions/s").expect(200);
    assert_eq!((&status["in_flight"], &status["waiting"], &status["consumers"]), (&json!(0), &json!(0), &json!(0)));
    // a late word of who is gone does no harm
    let late = json!({ "position": http.global()[0]["position"], "consumer": one_number });
    assert_eq!(http.post("subscriptions/s/ack", &late).expect(200)["acknowledged"], 0);
    let (mut three, _) = consumer(&http, "").unwrap();
    assert_eq!(http.delete("subscriptions/s").expect(200)["deleted"], "s");
    assert_eq!(three.rest().1.as_deref(), Some("deleted"), "its consumers are told");
    http.get("subscriptions/s").expect_error(404, "not_found");
    http.get("subscriptions/s/events").expect_error(404, "not_found");
    server.stop();
}

/// The lag of `s` as the metrics and the subscription itself say it.
fn lag(http: &Http) -> (f64, f64) {
    let name = "strandline_subscription_lag_seconds{store=\"test\",subscription=\"s\"} ";
    let metrics = http.get_as("/metrics", "*/*").text();
    let told = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    (told.parse().unwrap(), http.get("subscriptions/s").expect(200)["lag_s"].as_f64().unwrap())
}

/// Who asks how far it is behind waits for a look only so long: it may take some questions.
fn nothing_waits(http: &Http, why: &str) {
    assert!((0..100).any(|_| lag(http) == (0.0, 0.0)), "{why}: {:?}", lag(http));
}

fn something_waits(http: &Http, why: &str) {
    let (metric, status) = lag(http);
    assert!(metric > 0.0 && status > 0.0, "{why}: {metric}, {status}");
    // no event is older than this store
    assert!(metric < 86_400.0 && status < 86_400.0, "it counts from no event that is there: {metric}, {status}");
}

#[test]
fn the_lag_is_more_than_nothing_until_the_newest_event_is_acknowledged() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.post("subscriptions/s", &json!({})).expect(201);
    nothing_waits(&http, "there is nothing");
    let (mut stream, number) = consumer(&http, "").unwrap();
    for n in 0..2 {
        append(&http, "a", n..n + 1);
        let event = stream.event();
        something_waits(&http, "it is not acknowledged");
        ack(&http, &event, &number).unwrap();
        nothing_waits(&http, "it is");
    }
    server.stop();
}

#[test]
fn what_a_subscription_does_not_ask_for_makes_it_not_late() {
    let store = Store::new(&[]);
    let mut server = store.start();
    let mut http = server.http();
    let other = |http: &Http| http.post("streams/Other/a", &json!({ "events": [{ "event_type": "E" }] })).expect(201);
    other(&http);
    let wish = json!({ "filter": { "stream_type": "Call" }, "after": "" });
    http.post("subscriptions/s", &wish).expect(201);
    for restart in [false, true] {
        if restart {
            server.stop();
            server = store.start();
            http = server.http();
        }
        nothing_waits(&http, "nobody came, and there is nothing for anybody");
        other(&http);
        nothing_waits(&http, "nor is the newest event");
        // the next node finds them in files
        http.compact();
    }
    append(&http, "a", 0..3);
    other(&http);
    something_waits(&http, "nobody was given it");
    let (mut stream, number) = consumer(&http, "").unwrap();
    let given: Vec<Message> = (0..3).map(|_| stream.event()).collect();
    ack(&http, &given[0], &number).unwrap();
    something_waits(&http, "two are held");
    http.post("subscriptions/s/park", &json!({ "position": given[1].id })).expect(200);
    something_waits(&http, "one is");
    http.post("subscriptions/s/park", &json!({ "position": given[2].id })).expect(200);
    nothing_waits(&http, "what is parked is nobody's affair before it is replayed");
    drop(stream);
    other(&http);
    nothing_waits(&http, "nor what came when its consumer went");
    append(&http, "a", 3..4);
    something_waits(&http, "the next one");
    server.stop();
}

#[test]
fn the_program_refuses_other_filters_than_those_that_are_kept() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&lines(0..20, 4));
    http.post("subscriptions/s", &json!({ "filter": { "stream_type": "Call" } })).expect(201);
    let before = http.get("subscriptions/s").expect(200)["position"].clone();
    let with = |more: &[&str]| server.client(&[&["subscribe", "--durable", "s", "--idle", "1"][..], more].concat());
    for other in [&["--stream-type", "Aircraft"][..], &["--stream-type", "Call", "--event-type", "Ended"]] {
        let refused = with(other);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
        assert!(refused.stderr.contains("subscription_conflict"), "{refused:?}");
        assert!(!refused.stderr.contains("nobody has registered"), "{refused:?}");
    }
    assert_eq!(http.get("subscriptions/s").expect(200)["position"], before, "nothing was acknowledged");
    let same = with(&["--stream-type", "Call"]);
    assert_eq!((same.code, same.stdout.lines().count()), (0, 10), "{same:?}");
    assert!(!same.stderr.contains("filter"), "{same:?}");
    let unsaid = with(&[]);
    assert_eq!((unsaid.code, unsaid.stdout.as_str()), (0, ""), "{unsaid:?}");
    assert!(unsaid.stderr.contains("its own filter takes: {\"stream_type\":\"Call\"}"), "{unsaid:?}");
    assert!(!unsaid.stderr.contains("--after"), "{unsaid:?}");
    let placed = with(&["--stream-type", "Call", "--after", "end"]);
    assert!(placed.code == 0 && placed.stderr.contains("whatever --after says"), "{placed:?}");
    let mistyped = ["subscribe", "--durable", "t", "--stream-type", "Nope", "--idle", "0"];
    for told in ["no stream type `Nope` is known yet", "nobody has registered a stream type 'Nope'"] {
        let waits = server.client(&mistyped);
        assert!(waits.code == 0 && waits.stderr.contains(told), "{waits:?}");
        assert_eq!(waits.stderr.matches("Nope").count(), 1, "it is said once: {waits:?}");
    }
    server.stop();
}

#[test]
fn the_program_follows_what_happened_in_a_window() {
    let store = Store::new(&[]);
    let server = store.start();
    let event = |hour: u64| json!({ "event_type": "E", "occurred_at": format!("2026-01-01T{hour:02}:00:00Z") });
    let events: Vec<Value> = (8..12).map(event).collect();
    server.http().post("streams/Call/a", &json!({ "events": events })).expect(201);
    let window = ["--occurred-from", "2026-01-01T10:00:00+01:00", "--occurred-to", "2026-01-01T11:00:00Z"];
    let with = |more: &[&str]| server.client(&[&["subscribe", "--idle", "0"][..], &window[..], more].concat());
    for (more, lines) in [(&[][..], 2), (&["--durable", "w"], 2), (&["--durable", "w"], 0)] {
        let followed = with(more);
        assert_eq!((followed.code, followed.stdout.lines().count()), (0, lines), "{more:?}: {followed:?}");
    }
    let other = server.client(&["subscribe", "--durable", "w", "--occurred-to", "2026-01-01T12:00:00Z"]);
    assert!(other.code == 1 && other.stderr.contains("subscription_conflict"), "{other:?}");
    let wrong = server.client(&["subscribe", "--occurred-from", "yesterday"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("RFC 3339"), "{wrong:?}");
    server.stop();
}

/// A server in the place of a node that was started anew: it gives an event, and knows its consumer no more. It ends with the test.
fn forgetful() -> String {
    const GIVEN: &str = "event: consumer\ndata: {\"consumer\":\"7\"}\n\nid: 1\ndata: {\"n\":1}\n\n\
                         event: end\ndata: {\"code\":\"idle\",\"error\":\"no event came\"}\n\n";
    const UNKNOWN: &str = r#"{"error":"subscription `s` has no consumer 7","code":"not_found","details":{}}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = BufReader::new(socket.try_clone().unwrap());
            let head: Vec<String> =
                request.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let Some(asked) = head.first() else { continue };
            let length = |line: &String| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
            let _ = request.read_exact(&mut vec![0_u8; head.iter().find_map(length).unwrap_or(0)]);
            let (status, body) = if asked.contains("/s/events") {
                ("200 OK", GIVEN)
            } else if asked.contains("/s/ack") {
                ("404 Not Found", UNKNOWN)
            } else {
                ("200 OK", r#"{"filter":{}}"#)
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = socket.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn the_program_goes_on_where_another_consumer_has_what_it_printed() {
    let url = forgetful();
    let followed = run(&["subscribe", "--durable", "s", "--idle", "0", "--store", "test", "--url", &url]);
    assert_eq!((followed.code, followed.stdout.as_str()), (0, "{\"n\":1}\n"), "{followed:?}");
}

#[test]
fn an_event_that_fails_is_tried_again_then_parked_and_can_be_replayed() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let wish = json!({ "attempts_max": 2, "ack_within_s": 60, "filter": { "stream_type": "Call" } });
    assert_eq!(http.post("subscriptions/s", &wish).expect(201)["filter"], json!({ "stream_type": "Call" }));
    append(&http, "a", 0..2);
    http.post("streams/Other/a", &json!({ "events": [{ "event_type": "E" }] })).expect(201);
    let (mut stream, number) = consumer(&http, "").unwrap();
    let first = stream.event();
    let second = stream.event();
    assert_eq!((first.attempt, second.attempt), (1, 1));
    let failed = json!({ "position": first.id, "reason": "no such customer" });
    http.post("subscriptions/s/retry", &failed).expect(200);
    let (again, behind) = (stream.event(), stream.event());
    assert_eq!((again.id.as_ref(), again.attempt), (first.id.as_ref(), 2));
    assert_eq!(behind.id, second.id, "what follows in its stream follows it again");
    http.post("subscriptions/s/retry", &failed).expect(200);
    ack(&http, &behind, &number).unwrap();
    let status = http.get("subscriptions/s").expect(200);
    let parked = &status["parked"][0];
    assert_eq!((&parked["attempts"], &parked["reason"]), (&json!(2), &json!("no such customer")), "{status}");
    assert!(status["position"].as_str() >= second.id.as_deref(), "{status}");
    http.post("subscriptions/s/retry", &failed).expect_error(404, "not_found");
    // it stays parked over a kill
    drop(stream);
    server.kill();
    let server = store.start();
    let http = server.http();
    assert_eq!(http.get("subscriptions/s").expect(200)["parked"].as_array().unwrap().len(), 1);
    let (mut stream, number) = consumer(&http, "").unwrap();
    assert_eq!(http.post("subscriptions/s/replay", &json!({})).expect(200)["replayed"], 1);
    let replayed = stream.event();
    assert_eq!(replayed.id, first.id);
    assert_eq!(ack(&http, &replayed, &number).unwrap()["acknowledged"], 1);
    append(&http, "a", 2..3);
    let third = stream.event();
    http.post("subscriptions/s/park", &json!({ "position": third.id })).expect(200);
    let status = http.get("subscriptions/s").expect(200);
    assert_eq!((status["parked"].as_array().unwrap().len(), &status["in_flight"]), (1, &json!(0)), "{status}");
    for (body, route) in [(json!({}), "ack"), (json!({ "position": "x" }), "park"), (json!({ "position": 5 }), "retry")]
    {
        http.post(&format!("subscriptions/s/{route}"), &body).expect_error(400, "bad_request");
    }
    server.stop();
}

/// A consumer that hangs says neither yes nor no.
#[test]
fn who_says_nothing_in_time_is_given_an_event_again_until_it_is_parked() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let wish = json!({ "attempts_max": 2, "ack_within_s": 0.1 });
    assert_eq!(http.post("subscriptions/s", &wish).expect(201)["ack_within_s"], json!(0.1));
    let (mut stream, _) = consumer(&http, "").unwrap();
    append(&http, "a", 0..1);
    let (first, again) = (stream.event(), stream.event());
    assert_eq!((first.attempt, again.attempt, &again.id), (1, 2, &first.id));
    until("it is parked", || http.get("subscriptions/s").expect(200)["parked"][0].is_object());
    let status = http.get("subscriptions/s").expect(200);
    let parked = &status["parked"][0];
    assert_eq!((&parked["attempts"], &parked["reason"]), (&json!(2), &json!("no acknowledgement in time")), "{status}");
    let counts = ["in_flight", "waiting", "consumers"].map(|name| status[name].as_u64());
    assert_eq!(counts, [Some(0), Some(0), Some(1)], "it is still connected: {status}");
    // what comes behind it in its stream is not held up
    append(&http, "a", 1..2);
    let next = stream.event();
    assert_eq!((data(&next)["seq"].as_u64(), next.attempt), (Some(2), 1));
    drop(stream);
    server.stop();
}
