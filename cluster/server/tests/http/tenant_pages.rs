//! Pages of the global order for tokens of tenants, over HTTP and the native protocol: nothing that they are told depends on what they may not see,
//! and they miss nothing of their own. And whose a stream is, over restarts.

use crate::access::{As, TwoTokens, connect, token_in};
use crate::common::{Running, start_guarded};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use strandline_client::wire::read::{AllWanted, Filter};
use strandline_client::{PartFacts, SubscribeWanted};
use strandline_event::Position;
use strandline_server::access::Role;

/// Events of others between two of the caller's: more than some pages of it hold.
const OTHERS: usize = 300;
/// Stream types and limits of pages. Nobody but others has an event of `Hidden`, and nobody one of `Nowhere`.
const ASKED: &[(Option<&str>, u32)] =
    &[(None, 100), (None, 1), (Some("Hidden"), 100), (Some("Hidden"), 1), (Some("Nowhere"), 100)];

fn append(who: &As<'_>, stream: &str, tenant: &str, count: usize) {
    let event = json!({ "event_type": "E", "data": {}, "tenant_id": tenant });
    who.post(&format!("streams/{stream}"), &json!({ "events": vec![event; count] }).to_string()).ok(201);
}

/// Of each page from the start: how many events it has, and its `next`.
fn told(server: &Running, token: &str) -> Vec<(usize, String)> {
    let who = As::new(server, token);
    let (runtime, client) = connect(server, token, "").unwrap();
    let page = |(stream_type, limit): &(Option<&str>, u32)| {
        let filter = stream_type.map_or(String::new(), |of| format!("&stream_type={of}"));
        let page = who.get(&format!("events?limit={limit}{filter}")).ok(200);
        let by_http = (page["events"].as_array().unwrap().len(), page["next"].as_str().unwrap().to_owned());
        let filter = Filter { stream_type: stream_type.map(str::to_owned), ..Filter::default() };
        let wanted = AllWanted { after: Position::START, limit: *limit, filter };
        let (events, next) = runtime.block_on(client.read_all(&wanted)).unwrap();
        assert_eq!((events.iter().count(), next.to_string()), by_http, "both ways in say the same");
        by_http
    };
    ASKED.iter().map(page).collect()
}

#[test]
fn next_depends_on_nothing_that_a_token_of_tenants_does_not_see() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let one = token_in(&file, "one", &[Role::Read], &[], &["a"]);
    let two = token_in(&file, "two", &[Role::Read], &[], &["a", "c"]);
    let server = start_guarded(folder.path(), &file);
    let all = As::new(&server, &all);
    append(&all, "Call/own", "a", 2);
    for token in [&one, &two] {
        let before = told(&server, token);
        assert_eq!(before.iter().map(|(events, _)| *events).collect::<Vec<_>>(), [2, 1, 0, 0, 0]);
        let start = Position::START.to_string();
        assert!(before[2..].iter().all(|(_, next)| *next == start), "there is nothing: {before:?}");
        let end = before[0].1.clone();
        // from the log and memory, then from files, then of what came behind these
        for round in 0..3 {
            match round {
                1 => drop(all.post("admin:compaction/run?wait=true", "").ok(200)),
                _ => append(&all, "Hidden/x", "b", OTHERS),
            }
            assert_eq!(told(&server, token), before, "round {round}");
            let rest = As::new(&server, token).get(&format!("events?after={end}")).ok(200);
            assert_eq!((&rest["events"], &rest["next"]), (&json!([]), &json!(end)), "it is at its end");
        }
    }
    // what comes behind all of it is found from where they are, and page by page
    append(&all, "Call/own", "a", 1);
    for token in [&one, &two] {
        let who = As::new(&server, token);
        let (mut seqs, mut after) = (Vec::new(), Position::START.to_string());
        loop {
            let page = who.get(&format!("events?limit=1&after={after}")).ok(200);
            let Some(event) = page["events"].as_array().unwrap().first() else { break };
            assert_eq!(event["stream_id"], "own");
            seqs.push(event["seq"].as_u64().unwrap());
            page["next"].as_str().unwrap().clone_into(&mut after);
        }
        assert_eq!(seqs, [1, 2, 3]);
    }
    server.stop();
}

#[test]
fn how_full_a_page_is_depends_on_nothing_that_a_token_of_tenants_does_not_see() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let two = token_in(&file, "two", &[Role::Read], &[], &["a", "c"]);
    let server = start_guarded(folder.path(), &file);
    let all = As::new(&server, &all);
    // between two of its own lies more of others than a page holds
    for (stream, tenant) in [("Call/own", "a"), ("Call/another", "c"), ("Call/own", "a")] {
        append(&all, stream, tenant, 1);
        append(&all, "Hidden/x", "b", 20);
    }
    for round in ["from the log and memory", "from files"] {
        assert_eq!(told(&server, &two)[..2].iter().map(|(events, _)| *events).collect::<Vec<_>>(), [3, 1], "{round}");
        let page = As::new(&server, &two).get("events?limit=3").ok(200);
        assert_eq!(page["events"].as_array().unwrap().len(), 3, "{round}: {page}");
        all.post("admin:compaction/run?wait=true", "").ok(200);
    }
    server.stop();
}

/// The ids of a stream of messages, and how many events it has.
fn followed(who: &As<'_>, query: &str) -> (Vec<String>, usize) {
    let text = who.get(&format!("subscribe?idle_s=0&{query}")).text();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    (ids, text.matches("data: {\"event_id\"").count())
}

#[test]
fn who_begins_at_the_end_is_told_where_before_anything_comes_and_misses_nothing_from_there() {
    let tokens = TwoTokens::new(&[Role::Read]);
    let server = tokens.start();
    let (everybody, own) = (As::new(&server, &tokens.all), As::new(&server, &tokens.one));
    append(&everybody, "Hidden/x", "b", 1);
    for token in [&tokens.all, &tokens.one] {
        let who = As::new(&server, token);
        let (ids, events) = followed(&who, "after=end");
        let [by_http] = &ids[..] else { panic!("one place, and none where nothing stands: {ids:?}") };
        assert_eq!(events, 0);
        let (runtime, client) = connect(&server, token, "").unwrap();
        let wanted = SubscribeWanted { after: None, window_bytes: 1, filter: Filter::default(), stream_id: None };
        let mut parts = client.parts(|id| wanted.encode(id));
        let first = runtime.block_on(parts.next()).unwrap();
        let (facts, events) = PartFacts::decode(&first.body).unwrap();
        assert!(events.is_empty() && !facts.inspected);
        append(&everybody, "Hidden/x", "b", 1);
        append(&everybody, "Call/own", "a", 1);
        for place in [by_http, &facts.position.to_string()] {
            let (_, events) = followed(&who, &format!("after={place}&stream_type=Call&stream_id=own"));
            assert!(events >= 1, "what came meanwhile is given");
        }
    }
    let newest = everybody.get("events?stream_type=Hidden").ok(200);
    let places: Vec<_> = newest["events"].as_array().unwrap().iter().map(|event| event["position"].clone()).collect();
    let (ids, _) = followed(&own, "after=end&stream_type=Hidden");
    assert!(ids.iter().all(|id| !places.contains(&json!(id))), "no place of another tenant's event");
    server.stop();
}

/// Damages the runs that keep the heads of streams; gives how many there are.
fn damage_heads(durable: &Path) -> usize {
    let runs = fs::read_dir(durable.join("_runs/Call")).unwrap().map(|entry| entry.unwrap().path());
    let is_of_heads = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("heads-");
    let heads: Vec<PathBuf> = runs.filter(is_of_heads).collect();
    heads.iter().for_each(|path| fs::write(path, "damaged").unwrap());
    heads.len()
}

/// Streams whose events lie in files, in the log, and in both; then again by heads that are made anew from the files.
#[test]
fn whose_a_stream_is_stays_known_over_restarts_and_damaged_heads() {
    let tokens = TwoTokens::new(&[Role::Append, Role::Read]);
    let server = tokens.start();
    let everybody = As::new(&server, &tokens.all);
    append(&everybody, "Call/own", "a", 2);
    append(&everybody, "Call/theirs", "b", 1);
    for stream in ["mixed", "late"] {
        append(&everybody, &format!("Call/{stream}"), "a", 1);
    }
    append(&everybody, "Call/mixed", "b", 1);
    everybody
        .post("streams/Call/nobodys", &json!({ "events": [{ "event_type": "E", "data": {} }] }).to_string())
        .ok(201);
    everybody.post("admin:compaction/run?wait=true", "").ok(200);
    append(&everybody, "Call/own", "a", 1);
    append(&everybody, "Call/late", "b", 1);
    server.stop();
    for damages in [false, true] {
        if damages {
            assert!(damage_heads(&tokens.folder.path().join("durable")) > 0);
        }
        let server = tokens.start();
        let who = As::new(&server, &tokens.one);
        let page = who.get("streams/Call/own").ok(200);
        assert_eq!((page["events"].as_array().unwrap().len(), &page["last_seq"]), (3, &json!(3)), "damaged: {damages}");
        for stream in ["theirs", "mixed", "late", "nobodys"] {
            for path in [format!("streams/Call/{stream}"), format!("streams/Call/{stream}/head")] {
                who.get(&path).error(404, "not_found");
            }
            let event = json!({ "events": [{ "event_type": "E", "data": {}, "tenant_id": "a" }] });
            who.post(&format!("streams/Call/{stream}"), &event.to_string()).error(403, "forbidden");
        }
        let page = who.get("events?limit=1000").ok(200);
        let events = page["events"].as_array().unwrap();
        assert!(
            events.len() == 3 && events.iter().all(|event| event["stream_id"] == "own"),
            "damaged: {damages}: {page}"
        );
        assert_eq!(who.get("scan").text().lines().count(), 3, "damaged: {damages}");
        server.stop();
    }
}
