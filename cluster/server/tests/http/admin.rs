//! The node over HTTP: information, numbers, compaction, DeQL, shutdown and restart.

use crate::common::{Running, start, start_serving, start_with};
use serde_json::{Value, json};
use strandline_server::{Bound, Patience, Security, ServeError, ServeOptions, Server};
use strandline_workers::{Node, NodeOptions, Share, runtime};

const TICK: &str = r#"{"event_type":"Ticked","data":{}}"#;

#[test]
fn a_node_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    assert_eq!(server.get("/ready").ok(200)["status"], "ready");
    let info = server.get("/info").ok(200);
    assert_eq!((&info["stores"], info["version"].is_string()), (&json!(["s"]), true));
    assert_eq!(info["in_cluster"], false, "who asks for the cluster of a node alone is answered 501");
    assert_eq!(server.get("/v1/stores").ok(200)["stores"][0]["name"], "s");
    let config = server.get("/v1/stores/s").ok(200);
    assert_eq!(config["config"].as_object().unwrap().len(), 84);
    server.append("c", TICK).ok(201);
    server.get("streams/Call/c").ok(200);
    let metrics = server.get("/metrics").text();
    for line in ["strandline_appends_total 1", "strandline_events_total 1", "strandline_groups_total 1"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("strandline_tier_events{store=\"s\",tier=\"wal\"} 1"), "{metrics}");
    assert!(server.get("/openapi.json").ok(200)["paths"]["/health"].is_object());
    let bound = |line: &str| Some(line.split("le=\"").nth(1)?.split('"').next()?.to_owned());
    let bounds: Vec<String> = metrics.lines().filter_map(bound).collect();
    assert!(bounds.len() > 20 && bounds.contains(&"0.0001".to_owned()), "{bounds:?}");
    assert!(bounds.iter().all(|bound| bound.len() <= 10), "as exact as they are: {bounds:?}");
}

#[test]
fn whoever_opens_the_address_is_told_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let root = server.get("/").ok(200);
    assert_eq!((&root["console"], &root["routes"]), (&json!("/admin/"), &json!("/openapi.json")));
    for path in ["console", "metrics", "routes", "stores"] {
        assert_eq!(server.get(root[path].as_str().unwrap()).status, 200, "{path}");
    }
    server.get("/?x=1").error(400, "bad_request");
}

#[test]
fn whoever_opens_the_address_for_operators_is_told_where_to_go_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server =
        start_serving(folder.path(), |options| options, move |options| ServeOptions { admin: Some(any), ..options });
    let admin = format!("http://{}", server.admin.unwrap());
    let get = |path: &str| ureq::get(format!("{admin}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
    let root: Value = serde_json::from_str(&get("/")).unwrap();
    assert_eq!((&root["console"], &root["metrics"]), (&json!("/admin/"), &json!("/metrics")));
    assert!(root["stores"].as_str().unwrap().contains("serve --http"), "{root}");
    assert!(get("/admin/").contains("<html") && get("/metrics").contains("strandline_"));
    let of_clients = server.get("/").ok(200);
    assert_eq!(of_clients["stores"], "/v1/stores");
    assert!(of_clients["console"].as_str().unwrap().contains("serve --admin"), "{of_clients}");
}

#[test]
fn the_head_of_what_get_answers_is_the_same_without_the_body() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("a", r#"{"event_type":"Ticked","data":{}}"#).ok(201);
    // it asks for nothing that waits, so its lag does not grow from one answer to the next
    server.post("subscriptions/s", "{\"filter\":{\"stream_type\":\"Other\"}}").ok(201);
    for path in [
        "/",
        "/info",
        "/openapi.json",
        "/admin/",
        "/v1/stores",
        "streams/Call/a",
        "streams/Call/a/head",
        "streams/Call/none",
        "events",
        "events?limit=0",
        "scan",
        "subscriptions/s",
        "admin:compaction",
    ] {
        let (head, get) = (server.head(path), server.get(path));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length", "transfer-encoding", "etag", "x-strandline-tiers"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
    }
    // nobody becomes a subscriber by it, and nothing is done
    for path in ["subscribe", "subscriptions/s/events", "subscriptions/s/ack", "admin:compaction/run"] {
        assert_eq!(server.head(path).status, 405, "{path}");
    }
    assert_eq!(server.get("subscriptions/s").ok(200)["in_flight"], 0);
    let other = server.delete("streams/Call/a");
    assert_eq!(other.error(405, "bad_request")["details"]["methods"], json!(["GET", "POST", "HEAD"]));
    assert_eq!(other.header("allow"), "GET, POST, HEAD");
}

#[test]
fn load_balancers_may_ask_without_wanting_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    for path in ["/health", "/ready"] {
        let head = server.head(path);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let other = server.post(path, "{}").error(405, "bad_request");
        assert_eq!(other["details"]["methods"], json!(["GET", "HEAD"]));
    }
}

#[test]
fn a_store_that_does_not_compact_says_so_with_one_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.enabled = false");
    let planned = server.get("admin:compaction/plan").error(400, "bad_request");
    let run = server.post("admin:compaction/run", "").error(400, "bad_request");
    assert_eq!(planned, run);
    assert!(run["error"].as_str().unwrap().contains("compaction.enabled"), "{run}");
}

/// The numbers of what reads touched: files, row groups, bytes, filters, filters that said no.
fn touched(server: &Running) -> [u64; 5] {
    let metrics = server.get("/metrics").text();
    ["files", "row_groups", "bytes", "filters", "filters_no"].map(|what| {
        let name = format!("strandline_read_{what}_total ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name}"));
        value.parse().unwrap()
    })
}

#[test]
fn the_numbers_say_what_reads_touched_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *', read.tiers = ('wal', 'durable')");
    for stream in ["a", "c", "e"] {
        server.append(stream, &[TICK; 5].join(",")).ok(201);
    }
    server.get("streams/Call/c").ok(200);
    assert_eq!(touched(&server), [0; 5], "what is in the log touches no file");
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let mut before = touched(&server);
    let mut since = |server: &Running| {
        let now = touched(server);
        let more: Vec<u64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        before = now;
        (more[0], more[1], more[2] > 0, more[3], more[4])
    };
    let page = server.get("streams/Call/c").ok(200);
    let id = page["events"][0]["event_id"].as_str().unwrap().to_owned();
    assert_eq!(since(&server), (1, 1, true, 1, 0), "a stream");
    server.get(&format!("events/{id}")).ok(200);
    assert_eq!(since(&server), (1, 1, true, 1, 0), "an event");
    server.get("streams/Call/b");
    assert_eq!(since(&server), (0, 0, false, 0, 0), "the heads say that there is no such stream");
    server.get("events?limit=10").ok(200);
    assert_eq!(since(&server), (2, 1, true, 0, 0), "the global order opens a file to choose, and again to fetch");
    assert_eq!(server.get("scan").status, 200);
    assert_eq!(since(&server), (1, 1, true, 0, 0), "a scan");
    let foreign = format!("{}{}", &id[..id.len() - 6], "0aaaaa");
    server.get(&format!("events/{foreign}"));
    let (files, groups, _, filters, no) = since(&server);
    assert_eq!((files, groups, filters), (filters, 0, no), "what is not there is ruled out by filters: {foreign}");
}

#[test]
fn compaction_is_run_watched_and_steered() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    server.append("c", &[TICK; 50].join(",")).ok(201);
    let status = server.get("admin:compaction").ok(200);
    assert_eq!(status["stream_types"][0]["events_waiting"], 50);
    assert_eq!((&status["schedule"], &status["last_run"]), (&json!("0 0 1 1 *"), &json!(null)), "{status}");
    assert_eq!((&status["enabled"], &status["paused"]), (&json!(true), &json!(false)), "{status}");
    assert!(status["next_tick"].as_str().unwrap().contains("-01-01T00:00:00"), "{status}");
    assert_eq!(server.get("admin:compaction/plan").ok(200)["jobs"][0]["events"], 50);
    assert_eq!(server.get("admin:compaction/plan?stream_type=Call").ok(200)["jobs"][0]["events"], 50);
    let unknown = server.get("admin:compaction/plan?stream_type=Cal").error(404, "not_found");
    assert_eq!(unknown["details"]["stream_types"], json!(["Call", "Declared"]), "{unknown}");
    for path in ["compaction/pause", "compaction/resume", "compaction/cancel", "retention/run"] {
        server.post(&format!("admin:{path}"), r#"{"dry_run":true}"#).error(400, "bad_request");
    }
    assert_eq!(server.post("admin:compaction/pause", "").ok(200)["paused"], true);
    assert_eq!(server.get("admin:compaction").ok(200)["paused"], true);
    let run = server.post("admin:compaction/run?wait=true", "").ok(200);
    assert_eq!((&run["ended"][0]["rows"], &run["ended"][0]["error"]), (&json!(50), &json!(null)));
    assert_eq!(server.post("admin:compaction/resume", "").ok(200)["paused"], false);
    assert_eq!(server.post("admin:compaction/cancel", "").ok(200)["cancelled"], 0);
    let status = server.get("admin:compaction").ok(200);
    assert_eq!(status["jobs"][0]["id"], run["jobs"][0]);
    assert!(status["last_run"].is_string() && status["running"] == json!([]), "{status}");
    assert_eq!((&status["jobs"][0]["rows_done"], &status["jobs"][0]["rows_total"]), (&json!(50), &json!(50)));
    assert_eq!(status["stream_types"][0]["events_waiting"], 0);
    assert_eq!(
        server.post("admin:compaction/run", "{\"stream_type\":\"Call\"}").ok(202)["jobs"].as_array().unwrap().len(),
        1
    );
    let nothing = server.post("admin:compaction/run?wait=true", "").ok(200);
    assert_eq!((&nothing["ended"][0]["rows"], &nothing["ended"][0]["phase"]), (&json!(0), &json!("done")));
    server.post("admin:compaction/run?stream_type=No", "").error(404, "not_found");
    server.post("admin:compaction/run", "{\"x\":1}").error(400, "bad_request");
    let files = server.get("admin:files").ok(200);
    assert_eq!((&files["files"][0]["rows"], &files["files"][0]["min"]["seq"]), (&json!(50), &json!(1)));
    let tiers = server.get("admin:tiers").ok(200);
    assert_eq!((&tiers["durable"]["events"], &tiers["inmemory"]["events"]), (&json!(50), &json!(50)));
    assert!(server.get("admin:manifest").ok(200)["version"].as_u64().unwrap() > 1);
    assert_eq!(server.get("admin:wal").ok(200)["logs"][0]["stream_type"], "Call");
}

#[test]
fn what_waits_and_what_jobs_did_is_told_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let waiting = || server.get("admin:compaction").ok(200)["stream_types"][0].clone();
    // the second run merges its file with that of the first
    for (more, merges) in [(3, 0), (2, 1)] {
        let first = server.append("c", TICK).ok(201)["events"][0]["ingested_at"].clone();
        server.append("c", &vec![TICK; more].join(",")).ok(201);
        let waits = waiting();
        assert_eq!((&waits["events_waiting"], &waits["oldest_waiting"]), (&json!(more + 1), &first), "{waits}");
        assert_eq!((&waits["segments_waiting"], &waits["sealed_segments"]), (&json!(1), &json!(0)), "{waits}");
        assert!(waits["bytes_waiting"].as_u64() > Some(0), "{waits}");
        let run = server.post("admin:compaction/run?wait=true", "").ok(200);
        let ended = run["ended"].as_array().unwrap();
        assert_eq!(ended.len(), 1 + merges, "{run}");
        for job in ended {
            let moment = |name: &str| strandline_event::time::parse_rfc3339(job[name].as_str().unwrap()).unwrap().0;
            assert_eq!(job["duration_ms"], json!((moment("ended_at") - moment("started_at")).max(0) / 1000), "{job}");
            assert!(job["asked_at"].is_string() && moment("asked_at") <= moment("started_at"), "{job}");
            assert!(job["input_bytes"].as_u64() > Some(0) && job["phase"] == "done", "{job}");
            assert_eq!((&job["error"], &job["cancelled"], &job["files"]), (&json!(null), &json!(false), &json!(1)));
        }
        let (compacted, last) = (&ended[0], &ended[merges]);
        assert_eq!((&compacted["rows"], &compacted["inputs"]), (&json!(more + 1), &json!(1)), "{run}");
        let files = server.get("admin:files").ok(200)["files"].clone();
        assert_eq!((files.as_array().map(Vec::len), &files[0]["bytes"]), (Some(1), &last["output_bytes"]), "{files}");
        assert_eq!(server.get("admin:compaction").ok(200)["jobs"][0], *last, "the newest first");
        let left = waiting();
        for name in ["events_waiting", "bytes_waiting", "segments_waiting"] {
            assert_eq!(left[name], 0, "{left}");
        }
        assert!(left["oldest_waiting"].is_null() && left["watermark"].as_u64() > Some(0), "{left}");
    }
}

#[test]
fn a_job_that_waits_for_its_turn_has_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    // one thread, which pauses for almost all of its time
    let slow = |options: NodeOptions| NodeOptions {
        compaction_share: Share::new(1).unwrap(),
        compaction_threads: 1,
        ..options
    };
    let server = start_with(folder.path(), ", compaction.schedule = '0 0 1 1 *'", slow);
    for n in 0..60 {
        let events = format!("{{\"events\":[{}]}}", [TICK; 500].join(","));
        for stream_type in ["Call", "Bill"] {
            server.post(&format!("streams/{stream_type}/c{n}"), &events).ok(201);
        }
    }
    server.post("admin:compaction/run", "").ok(202);
    let running = loop {
        let running = server.get("admin:compaction").ok(200)["running"].as_array().unwrap().clone();
        assert_eq!(running.len(), 2, "none has ended: {running:?}");
        if running.iter().any(|job| job["rows_done"].as_u64() > Some(0)) {
            break running;
        }
        std::thread::yield_now();
    };
    let (works, waits): (Vec<_>, Vec<_>) = running.iter().partition(|job| job["started_at"].is_string());
    assert_eq!((works.len(), waits.len()), (1, 1), "{running:?}");
    assert!(works[0]["rows_done"].as_u64() > Some(0), "{running:?}");
    assert_eq!((&waits[0]["phase"], &waits[0]["started_at"]), (&json!("waiting"), &json!(null)), "{running:?}");
    assert!(waits[0]["asked_at"].is_string() && waits[0]["eta_s"].is_null(), "{running:?}");
    server.post("admin:compaction/cancel", "").ok(200);
    let ended = loop {
        let now = server.get("admin:compaction").ok(200);
        if now["running"] == json!([]) {
            break now["jobs"].as_array().unwrap().clone();
        }
        std::thread::yield_now();
    };
    let moment = |told: &Value| told.as_str().map(|text| strandline_event::time::parse_rfc3339(text).unwrap().0);
    for job in &ended {
        let took = moment(&job["started_at"]).map_or(0, |began| (moment(&job["ended_at"]).unwrap() - began).max(0));
        assert_eq!(job["duration_ms"], json!(took / 1000), "{job}");
    }
}

#[test]
fn a_running_job_tells_how_far_it_is_and_ends_where_somebody_cancels_it() {
    let folder = tempfile::tempdir().unwrap();
    // it pauses for almost all of its time
    let slow = |options: NodeOptions| NodeOptions { compaction_share: Share::new(1).unwrap(), ..options };
    let server = start_with(folder.path(), ", compaction.schedule = '0 0 1 1 *'", slow);
    for n in 0..40 {
        server.append(&format!("c{n}"), &[TICK; 500].join(",")).ok(201);
    }
    let run = server.post("admin:compaction/run", "").ok(202);
    let status = || server.get("admin:compaction").ok(200);
    let job = loop {
        let now = status();
        assert_eq!(now["jobs"], json!([]), "it has not ended");
        if now["running"][0]["eta_s"].as_f64() > Some(0.0) {
            break now["running"][0].clone();
        }
        std::thread::yield_now();
    };
    assert_eq!((&job["id"], &job["kind"], &job["trigger"]), (&run["jobs"][0], &json!("compact"), &json!("hand")));
    assert_eq!((&job["stream_type"], &job["bucket"]), (&json!("Call"), &json!(0)), "{job}");
    assert!(["selecting", "sorting", "writing"].contains(&job["phase"].as_str().unwrap()), "{job}");
    assert!(job["rows_total"] == 20_000 && job["started_at"].is_string(), "{job}");
    assert!((1..20_000).contains(&job["rows_done"].as_u64().unwrap()), "how far it is, by which that is told: {job}");
    assert!(job.get("ended_at").is_none(), "{job}");
    let gauge = "strandline_compaction_jobs_running{store=\"s\"} 1";
    assert!(server.get("/metrics").text().lines().any(|line| line == gauge), "{gauge}");
    assert_eq!(server.post("admin:compaction/cancel", "").ok(200)["cancelled"], 1);
    let ended = loop {
        let now = status();
        if now["running"] == json!([]) {
            break now;
        }
        std::thread::yield_now();
    };
    assert_eq!((&ended["jobs"][0]["id"], &ended["jobs"][0]["cancelled"]), (&job["id"], &json!(true)), "{ended}");
    let cancelled = &ended["jobs"][0];
    assert_eq!((&cancelled["phase"], &cancelled["error"]), (&json!("cancelled"), &json!(null)), "{cancelled}");
    assert!(["selecting", "sorting", "writing"].contains(&cancelled["ended_in"].as_str().unwrap()), "{cancelled}");
    assert_eq!((&cancelled["rows"], &cancelled["inputs"]), (&json!(0), &json!(0)), "{cancelled}");
    assert_eq!(ended["stream_types"][0]["events_waiting"], 20_000, "nothing of it was committed: {ended}");
    assert_eq!(server.get("admin:files").ok(200)["files"], json!([]));
    let counted = "strandline_compaction_jobs_failed_total 1";
    assert!(server.get("/metrics").text().lines().any(|line| line == counted), "{counted}");
}

#[test]
fn tiers_log_and_manifest_are_told_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let tier = |name: &str| {
        let tiers = server.get("admin:tiers").ok(200);
        ["events", "oldest", "newest"].map(|number| tiers[name][number].clone())
    };
    let ingested = |appended: &Value, at: usize| appended["events"][at]["ingested_at"].clone();
    let first = server.append("a", &[TICK; 3].join(",")).ok(201);
    let three = [json!(3), ingested(&first, 0), ingested(&first, 2)];
    assert_eq!((tier("inmemory"), tier("wal")), (three.clone(), three.clone()));
    assert_eq!(tier("durable"), [json!(0), json!(null), json!(null)]);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let second = server.append("a", TICK).ok(201);
    assert_eq!((tier("durable"), tier("wal")[0].clone()), (three, json!(1)));
    assert_eq!(tier("wal"), [json!(1), ingested(&second, 0), ingested(&second, 0)], "what is not in files yet");

    let log = server.get("admin:wal").ok(200)["logs"][0].clone();
    let segments = log["segments"].as_array().unwrap();
    let (oldest, newest) = (&segments[0], segments.last().unwrap());
    assert!(segments.len() > 1, "the run began a new one: {log}");
    assert_eq!((&oldest["first_index"], &newest["last_index"]), (&log["first_index"], &log["last_index"]), "{log}");
    assert!(segments.iter().all(|s| s["bytes"].as_u64() > Some(0) && s["newest"].is_string()), "{log}");
    assert_eq!((&newest["sealed"], &log["refuses_writes"]), (&json!(false), &json!(null)), "{log}");

    let manifest = server.get("admin:manifest").ok(200);
    let files = server.get("admin:files").ok(200)["files"].clone();
    assert_eq!((&manifest["files"], &manifest["rows"], &manifest["bytes"]), (&json!(1), &json!(3), &files[0]["bytes"]));
    assert_eq!(manifest["logs"][0]["compacted_through"], log["watermark"], "{manifest}");
    let history = manifest["history"].as_array().unwrap();
    let versions: Vec<u64> = history.iter().map(|version| version["version"].as_u64().unwrap()).collect();
    assert!(
        versions.len() > 1 && versions.windows(2).all(|pair| pair[0] == pair[1] + 1),
        "the newest first: {manifest}"
    );
    for same in ["version", "epoch", "committed_at", "files", "rows", "bytes"] {
        assert_eq!(history[0][same], manifest[same], "{same}");
    }
    assert_eq!((history[0]["job_id"].as_str().map(str::len), &history[1]["rows"]), (Some(32), &json!(0)), "{manifest}");
    assert_eq!(manifest["next_before"], json!(null), "that is all of them");
    let (mut listed, mut path) = (Vec::new(), "admin:manifest?limit=1".to_owned());
    while listed.len() <= history.len() {
        let page = server.get(&path).ok(200);
        listed.extend(page["history"].as_array().unwrap().clone());
        let Some(next) = page["next_before"].as_u64() else { break };
        path = format!("admin:manifest?limit=1&before={next}");
    }
    assert_eq!(&listed, history, "page by page");
    assert_eq!(server.get("admin:manifest?before=1").ok(200)["history"], json!([]));
    for wrong in ["limit=0", "limit=1001", "limit=x", "before=-1", "after=1"] {
        server.get(&format!("admin:manifest?{wrong}")).error(400, "bad_request");
    }
}

#[test]
fn merges_are_planned_run_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", compaction.schedule = '0 0 1 1 *', partition.by = 'tenant_id'");
    let event = r#"{"event_type":"Ticked","data":{},"tenant_id":"a"}"#;
    server.append("c", event).ok(201);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    server.append("c", event).ok(201);
    let plan = server.get("admin:compaction/plan").ok(200);
    assert_eq!((plan["jobs"].as_array().map(Vec::len), &plan["merges"]), (Some(1), &json!([])), "{plan}");
    let following = &plan["following"];
    assert_eq!((following.as_array().map(Vec::len), &following[0]["stream_type"]), (Some(1), &json!("Call")), "{plan}");
    assert_eq!(following[0]["partition"], json!({ "tenant_id": "a" }), "{plan}");
    assert_eq!(following[0]["files"].as_array().map(Vec::len), Some(1), "the job writes the other one: {plan}");
    let run = server.post("admin:compaction/run?wait=true", "").ok(200);
    let (planned, taken) =
        (plan["jobs"][0]["bytes"].as_u64().unwrap(), run["ended"][0]["input_bytes"].as_u64().unwrap());
    // a log that was quiet for a moment has proven its end by a block more
    assert!([planned, planned + 4096].contains(&taken), "both are of the log: {plan} {run}");
    let (ended, merge) = (run["ended"].as_array().unwrap(), &run["ended"][1]);
    assert_eq!((ended.len(), &ended[0]["kind"], &ended[0]["partition"]), (2, &json!("compact"), &json!(null)));
    assert_eq!((&merge["kind"], &merge["partition"]), (&json!("merge"), &json!({ "tenant_id": "a" })));
    assert_eq!((&merge["inputs"], &merge["files"], &merge["rows"]), (&json!(2), &json!(1), &json!(2)));
    let status = server.get("admin:compaction").ok(200);
    assert_eq!(status["jobs"][0]["id"], merge["id"]);
    assert_eq!(server.get("admin:files").ok(200)["files"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("admin:compaction/plan").ok(200), json!({ "jobs": [], "merges": [], "following": [] }));
    let manifest = server.get("admin:manifest").ok(200);
    assert_eq!(manifest["replaced"]["files"], 2, "{manifest}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.lines().any(|line| line == "strandline_merge_input_files_total 2"), "{metrics}");
    assert_eq!(server.get("streams/Call/c").ok(200)["last_seq"], 2);
}

#[test]
fn deql_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    assert_eq!(server.get("/api/dereg/eventstores").ok(200)["eventstores"][0]["name"], "s");
    assert_eq!(server.get("/api/dereg/eventstores/s").ok(200)["name"], "s");
    server.get("/api/dereg/eventstores/x").error(404, "not_found");
    let done =
        server.post("/api/deql/create", "{\"deql\":\"CREATE AGGREGATE Invoice; DESCRIBE EVENTSTORES;\"}").ok(201);
    assert_eq!(done["results"][0]["aggregate"], "Invoice");
    let text = server.get("/api/deql/export").ok(200)["deql"].as_str().unwrap().to_owned();
    assert!(text.contains("CREATE EVENTSTORE s") && text.contains("CREATE AGGREGATE Invoice"), "{text}");
    let broken = server.post("/api/deql/create", "{\"deql\":\"CREATE NONSENSE\"}").error(400, "bad_request");
    assert!(broken["details"]["diagnostics"]["errors"][0]["line"].is_number(), "{broken}");
    // whatever is sent there, none of its words comes back
    for body in [
        r#"{"deql":"hunter2"}"#,
        r#"{"deql":"CREATE EVENTSTORE t WITH (durable.pasword = 'hunter2')"}"#,
        r#"{"deql":"CREATE NONSENSE hunter2"}"#,
        r#"{"hunter2":1}"#,
        r#""hunter2""#,
        "hunter2",
    ] {
        let refused = server.post("/api/deql/create", body).error(400, "bad_request").to_string();
        assert!(!refused.contains("hunter2") && refused.contains("CREATE"), "{refused}");
    }
    let body = json!({ "deql": "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = '/tmp/t', wal.enabled = true, wal.path = '/tmp/w');" });
    server.post("/api/deql/create", &body.to_string()).error(501, "not_supported");
    let replaced = text.replacen(
        "CREATE EVENTSTORE s WITH (",
        "CREATE OR REPLACE EVENTSTORE s WITH (compaction.min_segment_mb = 7,",
        1,
    );
    let done = server.post("/api/deql/create", &json!({ "deql": replaced }).to_string()).ok(201);
    assert_eq!(done["results"][0]["changed"], json!(["compaction.min_segment_mb"]), "{done}");
    assert_eq!(done["results"][0]["warnings"], json!([]), "{done}");
    let idle = replaced.replacen("compaction.min_segment_mb = 7,", "compaction.enabled = false,", 1);
    let warned = server.post("/api/deql/create", &json!({ "deql": idle }).to_string()).ok(201);
    let said = json!(["compaction.enabled: nothing moves to the durable tier"]);
    assert_eq!(warned["results"][0]["warnings"], said, "what a start would say: {warned}");
    server.post("/api/deql/create", &json!({ "deql": replaced }).to_string()).ok(201);
    assert_eq!(server.get("/api/dereg/eventstores/s").ok(200)["config"]["compaction.min_segment_mb"], 7);
    assert!(server.get("/api/deql/export").ok(200)["deql"].as_str().unwrap().contains("compaction.min_segment_mb = 7"));
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", TICK).ok(201);
    server.post("stream-types", "{\"name\":\"Kept\"}").ok(201);
    server.stop();
    let server = start(folder.path(), "");
    let read = server.get("streams/Call/c");
    assert_eq!(read.ok(200)["last_seq"], 1);
    assert!(server.get("stream-types").text().contains("Kept"));
    server.append("c", TICK).ok(201);
}

#[test]
fn only_loopback_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let text = format!(
        "CREATE EVENTSTORE s WITH (durable.type='parquet', durable.path='{dir}/d', wal.enabled=true, wal.path='{dir}/w');"
    );
    let declarations = strandline_deql::parse_file("t", &text).unwrap();
    runtime::run(async {
        let node = Node::start(declarations, NodeOptions::new(folder.path().join("n"))).await.unwrap();
        let options = ServeOptions {
            http: "0.0.0.0:0".parse().unwrap(),
            admin: None,
            native: None,
            forward: true,
            security: Security::default(),
            patience: Patience::default(),
        };
        assert!(matches!(Bound::new(options), Err(ServeError::NotLoopback(_))));
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(
            node,
            Bound::new(ServeOptions {
                http: any,
                admin: Some(any),
                native: None,
                forward: true,
                security: Security::default(),
                patience: Patience::default(),
            })
            .unwrap(),
        )
        .unwrap();
        assert_ne!(server.http(), server.admin().unwrap());
        server.shutdown().await.unwrap();
    })
    .unwrap();
}
