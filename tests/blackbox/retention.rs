//! Retention over real input: flights of 2013, whose dates disagree with the order in which they came. A cut in the middle of the
//! year; every stream is whole (rows and retired ranges), whatever reads it; a restart; everything back; gone for good.
//!
//! The full year where `STRANDLINE_TEST_FLIGHTS` names it, as in `flights`.

use crate::flights::{Streams, fingerprint, input, is_full_year, stream_id, streams_of};
use crate::harness::{Server, Store};
use crate::oracles::oracle;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// 2013-07-03, as days since 1970: about the middle of the input.
const MIDDLE_DAYS: u64 = 15_889;

/// Fingerprints of events by stream and seq.
type Seen = BTreeMap<String, BTreeMap<u64, u64>>;

#[allow(clippy::disallowed_methods, reason = "the program under test counts the age of events from the real clock")]
fn keys() -> Vec<String> {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / (24 * 3600);
    let mut keys = [
        "partition.by = ('dt')",
        "partition.dt.expr = 'DATE(occurred_at)'",
        "id.command_id.unique_scope = 'stream'",
        "compaction.trigger = 'time'",
        "compaction.schedule = '0 0 1 1 *'",
        "wal.rollover_mb = 1",
        "retention.enabled = true",
        "retention.wal_hours = 0",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push(format!("retention.durable_days = {}", today - MIDDLE_DAYS));
    keys
}

fn admin(route: &str) -> String {
    format!("/admin/v1/stores/test/{route}")
}

fn note(seen: &mut Seen, event: &Value) {
    let before = seen.entry(stream_id(event)).or_default().insert(event["seq"].as_u64().unwrap(), fingerprint(event));
    assert!(before.is_none(), "twice: {event}");
}

fn scanned(server: &Server) -> Seen {
    let mut seen = Seen::new();
    server.http().each_line("scan", |line| note(&mut seen, &serde_json::from_slice(line).unwrap()));
    seen
}

fn in_global_order(server: &Server) -> Seen {
    let (mut seen, mut after) = (Seen::new(), String::new());
    loop {
        let page = server.http().get(&format!("events?limit=10000{after}")).expect(200);
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return seen;
        }
        events.iter().for_each(|event| note(&mut seen, event));
        after = format!("&after={}", page["next"].as_str().unwrap());
    }
}

/// Events of a page. Every page of a stream asks all daily files: of the full year a stream is read in one or two.
fn page_events() -> usize {
    if is_full_year() { 1_000 } else { 100 }
}

/// Reads a stream by itself: its rows, and what is retired; together they must be 1 to its head, in every page.
fn read(server: &Server, id: &str) -> (BTreeMap<u64, u64>, BTreeSet<u64>, u64) {
    let (mut rows, mut retired, mut from, limit) = (BTreeMap::new(), BTreeSet::new(), 1, page_events());
    loop {
        let page = server.http().get(&format!("streams/Aircraft/{id}?limit={limit}&from_seq={from}")).expect(200);
        let verdict = &page["verdict"];
        assert_eq!((&verdict["contiguous"], &verdict["missing"]), (&json!(true), &json!([])), "{id}: {verdict}");
        for event in page["events"].as_array().unwrap() {
            rows.insert(event["seq"].as_u64().unwrap(), fingerprint(event));
        }
        for range in verdict["retired"].as_array().unwrap() {
            retired.extend(range["from_seq"].as_u64().unwrap()..=range["to_seq"].as_u64().unwrap());
        }
        let (head, to) = (page["last_seq"].as_u64().unwrap(), verdict["to_seq"].as_u64().unwrap());
        if to >= head {
            return (rows, retired, head);
        }
        from = to + 1;
    }
}

/// Every read agrees about what is there; what is not there is retired. Gives the number of events that are left.
fn check(server: &Server, streams: &Streams) -> usize {
    let scan = scanned(server);
    assert!(in_global_order(server) == scan, "the global order and the scan agree");
    let none = BTreeMap::new();
    for (id, events) in streams {
        let (rows, retired, head) = read(server, id);
        assert_eq!(head, events.len() as u64, "{id}: the head stays");
        assert!(rows.keys().all(|seq| !retired.contains(seq)), "{id}: what is retired is not shown");
        let all: BTreeSet<u64> = rows.keys().copied().chain(retired.iter().copied()).collect();
        assert!(all.into_iter().eq(1..=head), "{id}: rows and retired ranges are the whole stream");
        assert!(
            rows.iter().all(|(seq, event)| *event == events[*seq as usize - 1]),
            "{id}: rows are those of the input"
        );
        assert!(&rows == scan.get(id).unwrap_or(&none), "{id}: a read by itself and the scan agree");
        let found = server.http().get(&format!("streams/Aircraft/{id}/head")).expect(200);
        assert_eq!(found["first_seq"].as_u64(), rows.keys().next().copied().or(Some(head + 1)), "{id}");
    }
    scan.values().map(BTreeMap::len).sum()
}

/// The events of the input that occurred before the cut, by the moments themselves.
fn old_events(streams: &Streams, server: &Server) -> (u64, u64) {
    let files = server.http().get(&admin("files")).expect(200);
    let status = server.http().get(&admin("retention")).expect(200);
    let before = status["before"].as_str().unwrap().to_owned();
    let rows = |file: &Value| file["rows"].as_u64().unwrap();
    let files = files["files"].as_array().unwrap();
    let old = files.iter().filter(|f| f["max"]["occurred_at"].as_str().unwrap() < before.as_str()).map(rows).sum();
    let candidates: u64 = status["candidates"].as_array().unwrap().iter().map(rows).sum();
    assert_eq!(candidates, old, "candidates are the files whose newest event is old");
    (old, streams.values().map(Vec::len).sum::<usize>() as u64)
}

fn old_names(store: &Store) -> usize {
    let mut count = 0;
    for folder in std::fs::read_dir(store.durable()).unwrap().flatten().filter(|e| e.path().is_dir()) {
        let files = std::fs::read_dir(folder.path()).unwrap().flatten();
        count += files.filter(|e| e.file_name().to_string_lossy().ends_with(".parquet.old")).count();
    }
    count
}

fn count(store: &Store, seen: &Seen, gaps: bool) {
    let (events, streams) = (seen.values().map(BTreeMap::len).sum::<usize>().to_string(), seen.len().to_string());
    let mut arguments = vec![store.durable(), events.into(), streams.into()];
    if gaps {
        arguments.push("gaps".into());
    }
    oracle("count.py", &arguments.iter().map(AsRef::as_ref).collect::<Vec<&Path>>());
}

#[test]
fn half_a_year_of_flights_goes_comes_back_and_goes_for_good() {
    let input = input();
    let streams = streams_of(&input);
    let keys = keys();
    let store = Store::new(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let server = store.start();
    let ingested = server.client(&["ingest", &input.file.to_string_lossy()]);
    assert!(ingested.code == 0, "{ingested:?}");
    server.http().compact();
    let (old, all) = old_events(&streams, &server);
    assert!(old > all / 4 && old < all * 3 / 4, "the cut lies in the middle: {old} of {all}");
    let went = server.http().post(&admin("retention/run"), &json!({})).expect(200);
    assert_eq!(went["events"].as_u64(), Some(old), "{went}");
    let again = server.http().post(&admin("retention/run"), &json!({})).expect(200);
    assert_eq!((&again["files"], &again["error"]), (&json!(0), &Value::Null), "{again}");
    let left = check(&server, &streams);
    println!("retention: {old} of {all} events are gone in {} ranges, {left} are left", went["ranges"]);
    assert_eq!(left as u64 + old, all);
    assert_eq!(old_names(&store) as u64, went["files"].as_u64().unwrap());
    let seen = scanned(&server);
    retry(&server, &streams);

    server.kill();
    let server = store.start();
    assert!(check(&server, &streams) == left && scanned(&server) == seen, "after a restart");
    count(&store, &seen, true);

    let one = server.http().get(&admin("retention")).expect(200)["tombstones"][0].clone();
    let back = server.http().post(&admin("restore"), &json!({ "partition": one["partition"] })).expect(200);
    assert!(back["events"].as_u64() >= one["rows"].as_u64(), "{back}");
    let part = check(&server, &streams);
    assert_eq!(part as u64, left as u64 + back["events"].as_u64().unwrap());
    let rest = server.http().post(&admin("retention/restore"), &json!({})).expect(200);
    assert_eq!(part as u64 + rest["events"].as_u64().unwrap(), all);
    assert_eq!(check(&server, &streams) as u64, all, "everything is back");
    assert!(streams.keys().all(|id| read(&server, id).1.is_empty()), "and nothing is retired");
    count(&store, &scanned(&server), false);

    let went = server.http().post(&admin("retention/run"), &json!({})).expect(200);
    assert_eq!(went["events"].as_u64(), Some(old), "{went}");
    server.stop();
    store.assert_clean();
    let server = Server::start_from(store.program().args(store.serve_arguments()).args(["--grace-tombstone", "0"]));
    assert_eq!(old_names(&store), 0, "the start has swept them");
    assert_eq!(check(&server, &streams), left);
    let nothing = server.http().post(&admin("restore"), &json!({})).expect(200);
    assert_eq!(nothing["files"], 0, "{nothing}");
    retry(&server, &streams);
    server.stop();
    count(&store, &seen, true);
    store.assert_clean();
}

/// A command whose events are gone gets its first answer again, and stores nothing.
fn retry(server: &Server, streams: &Streams) {
    let line = first_line();
    let id = stream_id(&serde_json::from_str(&line).unwrap());
    assert!(read(server, &id).1.contains(&1), "the first event of the first aircraft is old");
    // as it was sent, byte for byte
    let event = line.split_once(&format!("\"stream_id\":\"{id}\",")).unwrap().1;
    let body = format!("{{\"events\":[{{{event}]}}");
    let path = format!("streams/Aircraft/{id}");
    let answer = server.http().post_as(&path, "application/json", body.as_bytes()).expect(200);
    assert_eq!((&answer["duplicate"], &answer["first_seq"]), (&json!(true), &json!(1)), "{answer}");
    assert_eq!(answer["events"][0]["event_id"], Value::Null, "the event itself is not shown: {answer}");
    assert_eq!(read(server, &id).2, streams[&id].len() as u64, "nothing was stored");
    let other = body.replace("\"event_type\":\"", "\"event_type\":\"Other");
    server.http().post_as(&path, "application/json", other.as_bytes()).expect_error(409, "command_conflict");
}

fn first_line() -> String {
    let unpacked = zstd::stream::read::Decoder::new(std::fs::File::open(input().file).unwrap()).unwrap();
    BufReader::new(unpacked).lines().next().unwrap().unwrap()
}
