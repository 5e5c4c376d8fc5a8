//! Tokens: roles, limits to stores, what a limit to tenants hides over every route and every kind of frame, tokens that are taken back.

use crate::common::{Answer, Running, start_guarded};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strandline_client::wire::read::{AllWanted, Filter, StreamWanted};
use strandline_client::wire::subscribe::SubscribeWanted;
use strandline_client::{BatchBuilder, BatchUnit, Client, ClientError, EventInput, Expected, OnError, Options};
use strandline_event::{ErrorKind, Position};
use strandline_server::access::{Role, TokenLine, append_line, token};

/// Makes a token and puts its line into the file.
pub(crate) fn token_in(file: &Path, name: &str, roles: &[Role], stores: &[&str], tenants: &[&str]) -> String {
    let some = |list: &[&str]| (!list.is_empty()).then(|| list.iter().map(|text| (*text).to_owned()).collect());
    let (stores, tenants) = (some(stores), some(tenants));
    let line = TokenLine { name: name.to_owned(), sha256: String::new(), roles: roles.to_vec(), stores, tenants };
    let made = token::make(line).unwrap();
    append_line(file, &made.line).unwrap();
    made.token
}

/// A folder with two tokens: of who sees all of it, and of tenant `a` alone.
pub(crate) struct TwoTokens {
    pub(crate) folder: tempfile::TempDir,
    file: PathBuf,
    pub(crate) all: String,
    pub(crate) one: String,
}

impl TwoTokens {
    /// `roles`: those of the second one.
    pub(crate) fn new(roles: &[Role]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
        let one = token_in(&file, "one", roles, &[], &["a"]);
        Self { folder, file, all, one }
    }

    /// A node over this folder that knows them.
    pub(crate) fn start(&self) -> Running {
        start_guarded(self.folder.path(), &self.file)
    }
}

pub(crate) struct As<'a>(&'a Running, String);

impl<'a> As<'a> {
    pub(crate) fn new(server: &'a Running, token: &str) -> Self {
        Self(server, format!("Bearer {token}"))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.0.get_with(path, &[("authorization", &self.1)])
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        let headers = [("authorization", self.1.as_str()), ("content-type", "application/json")];
        self.0.post_with(path, &headers, body.as_bytes())
    }

    fn append(&self, stream: &str, tenant: Option<&str>, more: &Value) -> Answer {
        let event = json!({ "event_type": "E", "data": { "of": tenant }, "tenant_id": tenant });
        let mut body = json!({ "events": [event] });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.post(&format!("streams/Call/{stream}"), &body.to_string())
    }
}

/// Every route of `/openapi.json` with what it says it needs.
fn routes(server: &Running) -> Vec<(String, String, String)> {
    let tree = server.get("/openapi.json").ok(200);
    let mut routes = Vec::new();
    for (path, methods) in tree["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            let needs = route["x-strandline-needs"].as_str().unwrap();
            routes.push((method.to_uppercase(), path.clone(), needs.to_owned()));
        }
    }
    assert!(routes.len() > 40);
    routes
}

/// A request of a route with names filled in, that ends by itself.
fn request(who: &As<'_>, method: &str, path: &str, names: &[(&str, &str)]) -> Answer {
    let mut path = path.to_owned();
    for (name, value) in names {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    if path.ends_with("/subscribe") || path.ends_with("/n/events") {
        path.push_str("?idle_s=0");
    }
    let headers = [("authorization", who.1.as_str()), ("content-type", "application/json")];
    match method {
        "GET" => who.get(&path),
        "HEAD" => who.0.head_with(&path, &headers),
        "POST" => who.0.post_with(&path, &headers, b"{}"),
        "DELETE" => who.0.delete_with(&path, &headers),
        other => panic!("{other}: say how it is asked for"),
    }
}

const NAMES: &[(&str, &str)] = &[
    ("store", "s"),
    ("stream_type", "Call"),
    ("stream_id", "c"),
    ("event_id", "0197a000-0000-7000-8000-000000000000"),
    ("name", "n"),
    ("action", "drain"),
    ("file", "app.js"),
];

#[test]
fn every_route_takes_the_tokens_that_its_description_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = [
        ("append", token_in(&file, "appender", &[Role::Append], &[], &[])),
        ("read", token_in(&file, "reader", &[Role::Read], &[], &[])),
        ("admin", token_in(&file, "operator", &[Role::Admin], &[], &[])),
        ("store", token_in(&file, "of-one-store", &[Role::Admin], &["s"], &[])),
        ("tenant", token_in(&file, "of-a-tenant", &[Role::Append, Role::Read], &[], &["a"])),
    ];
    let server = start_guarded(folder.path(), &file);
    let described = routes(&server);
    // whatever is read is asked for its head too, unless it is followed
    let is_followed = |path: &str| path.ends_with("/subscribe") || path.ends_with("/{name}/events");
    let read = described.iter().filter(|(method, path, _)| method == "GET" && !is_followed(path));
    let heads: Vec<_> = read.map(|(_, path, needs)| ("HEAD".to_owned(), path.clone(), needs.clone())).collect();
    assert!(heads.len() > 20);
    for (method, path, needs) in described.into_iter().chain(heads) {
        let none = request(&As(&server, String::new()), &method, &path, NAMES);
        let wrong = request(&As::new(&server, "slt_wrong"), &method, &path, NAMES);
        let is_open = needs == "open";
        for answer in [none, wrong] {
            assert_eq!(answer.status == 401, !is_open, "{method} {path} without a token: {}", answer.status);
            assert!(is_open || answer.header("www-authenticate").starts_with("Bearer"));
        }
        for (who, token) in &tokens {
            let may = match (needs.as_str(), *who) {
                ("open" | "any token", _) => true,
                ("append", who) => who != "read",
                ("read", who) => who != "append",
                ("read, whole store", who) => matches!(who, "read" | "admin" | "store"),
                ("read, all stores", who) => matches!(who, "read" | "admin"),
                ("admin", who) => matches!(who, "admin" | "store"),
                ("admin, all stores", who) => who == "admin",
                (other, _) => panic!("{other}: say who may"),
            };
            let answer = request(&As::new(&server, token), &method, &path, NAMES);
            assert_ne!(answer.status, 401, "{method} {path} as {who}");
            let forbidden = answer.status == 403;
            assert!(forbidden != may, "{method} {path} as {who}: {}", answer.status);
        }
    }
    server.stop();
}

#[test]
fn a_store_that_a_token_does_not_name_does_not_exist_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let other = token_in(&file, "other", &[Role::Read, Role::Append, Role::Admin], &["elsewhere"], &[]);
    let server = start_guarded(folder.path(), &file);
    let other = As::new(&server, &other);
    let of_a_store: Vec<_> = routes(&server).into_iter().filter(|(_, path, _)| path.contains("{store}")).collect();
    assert!(of_a_store.len() > 35, "{}", of_a_store.len());
    for (method, path, _) in of_a_store {
        let error = request(&other, &method, &path, NAMES).error(404, "not_found");
        assert_eq!(error["details"]["stores"], json!([]), "{method} {path}: {error}");
        assert!(error["error"].as_str().unwrap().ends_with("; this token is for stores that this node does not serve"));
    }
    let error = other.get("/api/dereg/eventstores/s").error(404, "not_found");
    assert_eq!(error["details"]["stores"], json!([]), "{error}");
    assert_eq!(other.get("/v1/stores").ok(200), json!({ "stores": [] }));
    assert_eq!(other.get("/info").ok(200)["stores"], json!([]));
    for store in ["s", ""] {
        let refused = connect(&server, &other.1[7..], store).err().unwrap();
        assert_eq!(refused.kind(), Some(ErrorKind::NotFound), "{store}: {refused}");
    }
    server.stop();
}

/// What must appear in no answer to tenant a: it stands in what tenant b, and nobody, stored.
pub(crate) const PLANTED: &str = "planted";

pub(crate) struct Planted {
    /// Event ids and positions of events that tenant a does not see.
    secrets: Vec<String>,
    own: String,
}

/// Streams of a, of b, of nobody, and one that is of both by now.
pub(crate) fn plant(all: &As<'_>) -> Planted {
    for n in 0..3 {
        all.append("own", Some("a"), &json!({ "command_id": format!("own-{n}") })).ok(201);
    }
    for n in 0..5 {
        all.append("b-planted", Some("b-planted"), &json!({ "command_id": format!("planted-{n}") })).ok(201);
    }
    all.append("nobodys-planted", None, &json!({})).ok(201);
    all.append("mixed-planted", Some("a"), &json!({})).ok(201);
    all.append("mixed-planted", Some("b-planted"), &json!({})).ok(201);
    all.append("b-first-planted", Some("b-planted"), &json!({})).ok(201);
    all.append("b-first-planted", Some("a"), &json!({})).ok(201);
    let invoice = json!({ "events": [{ "event_type": "E", "data": {}, "tenant_id": "b-planted" }] });
    all.post("streams/Type-planted/x", &invoice.to_string()).ok(201);
    let page = all.get("events?limit=1000").ok(200);
    let events = page["events"].as_array().unwrap().clone();
    assert_eq!(events.len(), 14);
    let theirs = |event: &&Value| event["stream_id"] != "own";
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let secrets = events.iter().filter(theirs).flat_map(|e| [text(e, "event_id"), text(e, "position")]).collect();
    let own = events.iter().find(|event| event["stream_id"] == "own").map(|event| text(event, "event_id")).unwrap();
    Planted { secrets, own }
}

fn holds_nothing(answer: &Answer, planted: &Planted, what: &str) {
    let headers: String = answer.headers.iter().map(|(k, v)| format!("{k}: {}\n", v.to_str().unwrap())).collect();
    let all = format!("{headers}{}", String::from_utf8_lossy(&answer.body));
    // the names that were asked for come back in sentences: they are told apart below
    for secret in planted.secrets.iter().map(String::as_str).chain([PLANTED, "Type-"]) {
        assert!(!all.contains(secret), "{what} shows {secret}: {all}");
    }
}

/// What each route does for a token that is limited to a tenant: the decision that a new route needs.
fn decision(method: &str, path: &str) -> &'static str {
    let store = path.strip_prefix("/v1/stores/{store}");
    match (method, path, store) {
        (_, "/" | "/health" | "/ready" | "/openapi.json" | "/admin" | "/admin/" | "/admin/{file}", _) => {
            "says nothing of events"
        }
        ("GET", "/info" | "/v1/stores" | "/api/dereg/eventstores" | "/api/dereg/eventstores/{name}", _) => {
            "the store's settings"
        }
        ("GET", _, Some("" | "/stream-types")) => "the store's settings",
        ("GET", _, Some("/events" | "/events/{event_id}" | "/scan" | "/subscribe")) => "its own events",
        ("GET", _, Some("/streams/{stream_type}/{stream_id}" | "/streams/{stream_type}/{stream_id}/head")) => {
            "its own events"
        }
        ("POST", _, Some("/streams/{stream_type}/{stream_id}" | "/events")) => "its own events",
        ("POST", _, Some("/stream-types")) => "forbidden",
        (_, _, Some(rest)) if rest.starts_with("/subscriptions") => "forbidden",
        (_, "/metrics" | "/api/deql/create" | "/api/deql/export", _) => "forbidden",
        _ if path.starts_with("/admin/v1/") => "forbidden",
        _ => panic!("{method} {path}: decide what a token that is limited to a tenant gets, and test it here"),
    }
}

#[test]
fn a_token_of_one_tenant_sees_nothing_of_another_over_every_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let a = token_in(&file, "a", &[Role::Append, Role::Read], &[], &["a"]);
    let two = token_in(&file, "two", &[Role::Append, Role::Read], &[], &["a", "c"]);
    let server = start_guarded(folder.path(), &file);
    let (all, a, two) = (As::new(&server, &all), As::new(&server, &a), As::new(&server, &two));
    let planted = plant(&all);
    // from the log and memory, then from files, then of what was appended behind them
    for round in 0..3 {
        for who in [&a, &two] {
            for (method, path, _) in routes(&server) {
                let answer = request(who, &method, &path, NAMES);
                if !matches!(path.as_str(), "/openapi.json" | "/admin/{file}" | "/admin/") {
                    holds_nothing(&answer, &planted, &format!("{method} {path}"));
                }
                if decision(&method, &path) == "forbidden" {
                    answer.error(403, "forbidden");
                }
            }
            sees_its_own(who, &planted, round);
            hides_the_others(who, &planted);
            asks_for_others(who);
        }
        all.post("admin:compaction/run?wait=true", "").ok(200);
        let more = if round == 1 { 2 } else { 0 };
        for n in 0..more {
            all.append("b-planted", Some("b-planted"), &json!({ "command_id": format!("planted-more-{n}") })).ok(201);
        }
    }
    server.stop();
}

fn sees_its_own(who: &As<'_>, planted: &Planted, round: usize) {
    let page = who.get("streams/Call/own").ok(200);
    assert_eq!((page["events"].as_array().unwrap().len(), &page["last_seq"]), (3, &json!(3)), "round {round}");
    assert_eq!(who.get("streams/Call/own/head").ok(200)["last_seq"], 3);
    let page = who.get("events?limit=2").ok(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    let rest = who.get(&format!("events?after={}", page["next"].as_str().unwrap())).ok(200);
    assert_eq!(rest["events"].as_array().unwrap().len(), 1, "the next page begins behind the last: {rest}");
    let end = rest["next"].as_str().unwrap();
    assert!(who.get(&format!("events?after={end}")).ok(200)["events"].as_array().unwrap().is_empty());
    assert_eq!(who.get("scan").text().lines().count(), 3);
    assert_eq!(who.get(&format!("events/{}", planted.own)).ok(200)["event"]["stream_id"], "own");
    let followed = who.get("subscribe?idle_s=0").text();
    assert_eq!(
        followed.matches("data: {\"event_id\"").count() + followed.matches("data:{\"event_id\"").count(),
        3,
        "{followed}"
    );
    assert!(who.get("events?tenant_id=a").ok(200)["events"].as_array().unwrap().len() == 3);
}

fn hides_the_others(who: &As<'_>, planted: &Planted) {
    for stream in ["b-planted", "nobodys-planted", "mixed-planted", "b-first-planted", "there-is-none"] {
        for path in [format!("streams/Call/{stream}"), format!("streams/Call/{stream}/head")] {
            let error = who.get(&path).error(404, "not_found");
            let text = error["error"].as_str().unwrap();
            assert_eq!(text, format!("there is no stream '{stream}' of stream type 'Call'"), "as if there were none");
        }
    }
    let mistyped = who.get("streams/Cal/own").error(404, "not_found");
    assert_eq!(
        (&mistyped["error"], &mistyped["details"]),
        (&json!("there is no stream 'own' of stream type 'Cal'"), &json!({}))
    );
    let ids: Vec<&String> =
        planted.secrets.iter().filter(|secret| secret.contains('-') && secret.len() == 36).collect();
    assert!(ids.len() >= 11);
    for id in ids {
        let error = who.get(&format!("events/{id}")).error(404, "not_found");
        assert_eq!(error["error"], format!("there is no event {id}"));
    }
    assert_eq!(who.get("stream-types").ok(200)["stream_types"].as_array().unwrap().len(), 1, "what is registered");
    who.get("streams/Call/own?as_of=1").error(403, "forbidden");
}

fn asks_for_others(who: &As<'_>) {
    let empty = who.get("events?tenant_id=b-planted").ok(200);
    assert!(empty["events"].as_array().unwrap().is_empty());
    assert_eq!(who.get("scan?tenant_id=b-planted").text(), "");
    assert!(!who.get("subscribe?tenant_id=b-planted&idle_s=0").text().contains("event_id"));
    // appends: no tenant, another tenant, another's stream, a stream of several; never a number
    for (stream, tenant, more) in [
        ("own", None, json!({})),
        ("own", Some("b-planted"), json!({ "expected_seq": 1 })),
        ("new-planted", Some("b-planted"), json!({})),
        ("b-planted", Some("a"), json!({ "expected_seq": "empty" })),
        ("b-planted", Some("a"), json!({ "command_id": "planted-0" })),
        ("nobodys-planted", Some("a"), json!({ "expected_seq": 7 })),
        ("mixed-planted", Some("a"), json!({})),
        ("b-first-planted", Some("a"), json!({})),
    ] {
        let error = who.append(stream, tenant, &more).error(403, "forbidden");
        let told = error.to_string().replace(stream, "");
        assert!(!told.chars().any(|c| c.is_ascii_digit() && c != '0'), "a number: {told}");
    }
    let lines = "{\"stream_type\":\"Call\",\"stream_id\":\"own\",\"event_type\":\"E\",\"data\":{},\"tenant_id\":\"b-planted\"}\n";
    let headers = [("authorization", who.1.as_str()), ("content-type", "application/x-ndjson")];
    who.0.post_with("events", &headers, lines.as_bytes()).error(403, "forbidden");
    let skipped = who.0.post_with("events?on_error=skip", &headers, lines.as_bytes()).ok(201);
    assert_eq!((&skipped["appended"], &skipped["rejected"][0]["code"]), (&json!(0), &json!("forbidden")));
}

#[test]
fn a_tenant_appends_to_its_own_streams_and_no_command_of_another_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let a = token_in(&file, "a", &[Role::Append], &[], &["a", "c"]);
    let server = start_guarded(folder.path(), &file);
    let (all, a) = (As::new(&server, &all), As::new(&server, &a));
    for seq in 1..=2 {
        assert_eq!(a.append("own", Some("a"), &json!({})).ok(201)["last_seq"], seq);
    }
    a.append("own", Some("c"), &json!({})).error(403, "forbidden");
    a.append("own", Some("a"), &json!({ "expected_seq": 7 })).error(409, "wrong_expected_seq");
    for n in 0..4 {
        all.append("b", Some("b"), &json!({ "command_id": format!("c-{n}") })).ok(201);
    }
    let error = a.append("own", Some("a"), &json!({ "command_id": "c-3" })).error(409, "command_conflict");
    assert_eq!(error["details"], json!({ "command_id": "c-3" }), "no number of the other's");
    let error = all.append("own", Some("a"), &json!({ "command_id": "c-3" })).error(409, "command_conflict");
    assert_eq!(error["details"]["first_seq"], 4);
    // nor where an event id stands, only that it is taken
    let theirs = all.append("b", Some("b"), &json!({})).ok(201)["events"][0]["event_id"].clone();
    let event = json!({ "event_type": "E", "data": {}, "tenant_id": "a", "event_id": theirs });
    let error = a.append("own", Some("a"), &json!({ "events": [event] })).error(409, "event_id_conflict");
    assert_eq!(error["details"], json!({ "event_id": theirs, "index": 0 }), "no place of the other's");
    // the same event with the same command, sent by another tenant, is no retry of it
    let event = json!({ "event_type": "E", "data": { "of": "b" }, "tenant_id": "a" });
    let again = a.append("b", Some("a"), &json!({ "command_id": "c-0", "events": [event] })).error(403, "forbidden");
    assert_eq!(again["details"], json!({ "stream_id": "b", "index": 0 }), "{again}");
    // a stream whose first event is on its way already: whoever is first owns it, in one body too
    let line = |tenant: &str| {
        json!({ "stream_type": "Call", "stream_id": "new", "event_type": "E", "data": {}, "tenant_id": tenant })
            .to_string()
    };
    let body = format!("{}\n{}\n", line("a"), line("c"));
    let headers = [("authorization", a.1.as_str()), ("content-type", "application/x-ndjson")];
    let answer = server.post_with("events?on_error=skip", &headers, body.as_bytes()).ok(201);
    assert_eq!((&answer["appended"], &answer["rejected"][0]["line"]), (&json!(1), &json!(2)), "{answer}");
    // a body of two types, of which one line is for another's stream: nothing of it is stored
    let own = json!({ "stream_type": "Fresh", "stream_id": "own", "event_type": "E", "tenant_id": "a" });
    let theirs = json!({ "stream_type": "Call", "stream_id": "b", "event_type": "E", "tenant_id": "a" });
    let error = server.post_with("events", &headers, format!("{own}\n{theirs}\n").as_bytes()).error(403, "forbidden");
    assert_eq!(error["details"], json!({ "stream_id": "b", "line": 2 }), "{error}");
    all.get("streams/Fresh/own/head").error(404, "not_found");
    server.stop();
}

#[test]
fn a_chunk_of_one_tenant_is_no_chunk_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let [acme, beta] =
        ["acme", "beta"].map(|tenant| token_in(&file, tenant, &[Role::Read, Role::Append], &[], &[tenant]));
    let all = token_in(&file, "all", &[Role::Read, Role::Append], &[], &[]);
    let server = start_guarded(folder.path(), &file);
    let load = |token: &str, tenant: &str, streams: &[&str]| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-ndjson"),
            ("x-strandline-chunk-digest", "00112233445566778899aabbccddeeff"),
            ("x-strandline-chunk-number", "1"),
        ];
        let line = |id: &&str| {
            json!({"stream_type": "Call", "stream_id": id, "event_type": "E", "tenant_id": tenant}).to_string()
        };
        let lines: Vec<String> = streams.iter().map(line).collect();
        server.post_with("events", &headers, lines.join("\n").as_bytes())
    };
    // who knows the file of another loads something else under its digest first
    assert_eq!(load(&acme, "acme", &["acme-1"]).ok(201)["appended"], 1);
    assert_eq!(load(&beta, "beta", &["beta-1", "beta-2"]).ok(201), json!({"appended":2,"duplicates":0,"rejected":[]}));
    assert_eq!(load(&beta, "beta", &["beta-1", "beta-2"]).ok(201), json!({"appended":0,"duplicates":2,"rejected":[]}));
    // nor does it learn that another has loaded it
    load(&acme, "beta", &["beta-1", "beta-2"]).error(403, "forbidden");
    assert_eq!(load(&all, "beta", &["beta-3"]).ok(201)["appended"], 1);
    server.stop();
}

pub(crate) fn connect(
    server: &Running,
    token: &str,
    store: &str,
) -> Result<(tokio::runtime::Runtime, Client), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (token, store) = (token.to_owned(), store.to_owned());
    let options = Options { token, store, ..Options::new(server.native.to_string()) };
    let client = runtime.block_on(Client::connect(options))?;
    Ok((runtime, client))
}

fn one(unit: BatchUnit, stream: &str, tenant: Option<&str>) -> strandline_client::BatchBytes {
    let mut batch = BatchBuilder::new("Call", unit);
    let event =
        EventInput { stream_id: stream, event_type: "E", data: "{}", tenant_id: tenant, ..EventInput::default() };
    batch.push(&event).unwrap();
    batch.finish().unwrap()
}

fn everything() -> AllWanted {
    AllWanted { after: Position::START, limit: 100, filter: Filter::default() }
}

fn following_all() -> SubscribeWanted {
    let after = Some(Position::START);
    SubscribeWanted { after, window_bytes: 1 << 20, filter: Filter::default(), stream_id: None }
}

#[test]
fn every_kind_of_frame_asks_for_its_role_and_hides_other_tenants() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let append = token_in(&file, "append", &[Role::Append], &[], &[]);
    let read = token_in(&file, "read", &[Role::Read], &[], &[]);
    let a = token_in(&file, "a", &[Role::Append, Role::Read], &[], &["a"]);
    let server = start_guarded(folder.path(), &file);
    plant(&As::new(&server, &all));
    for wrong in ["", "slt_wrong"] {
        let refused = connect(&server, wrong, "").err().unwrap();
        assert_eq!(refused.kind(), Some(ErrorKind::Unauthenticated), "{refused}");
    }
    let of = |stream: &str| StreamWanted::all("Call", stream);
    let forbidden = |error: ClientError| assert_eq!(error.kind(), Some(ErrorKind::Forbidden), "{error}");
    let (runtime, client) = connect(&server, &append, "").unwrap();
    runtime.block_on(async {
        client.ping().await.unwrap();
        client.append(one(BatchUnit::Append, "free", None), Expected::Any).await.unwrap();
        forbidden(client.head("Call", "own").await.unwrap_err());
        forbidden(client.read_stream(&of("own")).await.err().unwrap());
        forbidden(client.read_all(&everything()).await.err().unwrap());
        forbidden(client.scan(Filter::default(), 1 << 20).next().await.unwrap_err());
        forbidden(client.subscribe(following_all()).next().await.err().unwrap());
    });
    let (runtime, client) = connect(&server, &read, "").unwrap();
    runtime.block_on(async {
        assert_eq!(client.head("Call", "b-planted").await.unwrap().unwrap().last_seq.0, 5);
        forbidden(client.append(one(BatchUnit::Append, "free", None), Expected::Any).await.unwrap_err());
        forbidden(client.append_bulk(&[one(BatchUnit::Rows, "free", None)], OnError::Skip).await.unwrap_err());
    });
    let (runtime, client) = connect(&server, &a, "").unwrap();
    runtime.block_on(async {
        assert_eq!(client.head("Call", "own").await.unwrap().unwrap().last_seq.0, 3);
        for stream in ["b-planted", "mixed-planted", "b-first-planted", "nobodys-planted", "there-is-none"] {
            assert!(client.head("Call", stream).await.unwrap().is_none(), "{stream}");
            let page = client.read_stream(&of(stream)).await.unwrap();
            assert_eq!((page.events.iter().count(), page.facts.head.0), (0, 0), "{stream}");
            let append = one(BatchUnit::Append, stream, Some("b-planted"));
            forbidden(client.append(append, Expected::Any).await.unwrap_err());
        }
        let rows = one(BatchUnit::Rows, "own", None);
        let outcome = client.append_bulk(&[rows], OnError::Abort).await.unwrap().remove(0);
        assert_eq!(outcome.unwrap_err().code, "forbidden");
        client.append(one(BatchUnit::Append, "own", Some("a")), Expected::Any).await.unwrap();
        let (events, next) = client.read_all(&everything()).await.unwrap();
        let streams: Vec<_> = events.iter().map(|event| event.stream_id.to_owned()).collect();
        assert!(!streams.is_empty() && streams.iter().all(|stream| stream == "own"), "{streams:?}");
        assert!(next > Position::START);
        let mut scan = client.scan(Filter::default(), 1 << 20);
        let mut scanned = 0;
        while let Some(part) = scan.next().await.unwrap() {
            for event in part.iter() {
                assert_eq!(event.stream_id, "own");
                scanned += 1;
            }
        }
        assert_eq!(scanned, 4);
        let mut following = client.subscribe(following_all());
        let mut followed = 0;
        while followed < 4 {
            let came = following.next().await.unwrap();
            for event in came.events.iter() {
                assert_eq!(event.stream_id, "own");
                followed += 1;
            }
        }
    });
    server.stop();
}

/// In one step: the node looks at the file by itself too, and would take one that was just emptied for what is meant.
#[expect(clippy::disallowed_methods, reason = "it need not outlive the test")]
fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("new");
    fs::copy(file, &aside).unwrap();
    fs::write(&aside, text).unwrap();
    fs::rename(&aside, file).unwrap();
}

#[test]
fn a_token_that_is_taken_back_is_refused_on_open_connections_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let stays = token_in(&file, "stays", &[Role::Read], &[], &[]);
    let goes = token_in(&file, "goes", &[Role::Read], &[], &[]);
    let writes = token_in(&file, "writes", &[Role::Append], &[], &[]);
    let server = start_guarded(folder.path(), &file);
    let mut following = TcpStream::connect(server.address).unwrap();
    following.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let shown = format!("host: localhost\r\nauthorization: Bearer {goes}\r\nconnection: close\r\n\r\n");
    following.write_all(format!("GET /v1/stores/s/subscribe HTTP/1.1\r\n{shown}").as_bytes()).unwrap();
    let mut begun = [0; 12];
    following.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let (runtime, client) = connect(&server, &goes, "").unwrap();
    runtime.block_on(client.ping()).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let without: String =
        before.lines().filter(|line| !line.contains("\"goes\"")).map(|line| format!("{line}\n")).collect();
    // a file that cannot be taken changes nothing
    replace(&file, "no tokens");
    server.access.reload().unwrap_err();
    As::new(&server, &goes).get("events").ok(200);
    replace(&file, &without);
    server.access.reload().unwrap();
    As::new(&server, &goes).get("events").error(401, "unauthenticated");
    // a subscription ends with the next event, and is not given it
    As::new(&server, &writes).append("c", None, &json!({})).ok(201);
    let mut told = String::new();
    following.read_to_string(&mut told).unwrap();
    assert!(told.contains("\"code\":\"unauthenticated\"") && !told.contains("event_id"), "{told}");
    As::new(&server, &stays).get("events").ok(200);
    let refused = runtime.block_on(client.head("Call", "c")).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Unauthenticated), "{refused}");
    let new = token_in(&file, "new", &[Role::Read], &[], &[]);
    server.access.reload().unwrap();
    As::new(&server, &new).get("events").ok(200);
    server.stop();
}
