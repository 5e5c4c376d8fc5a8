//! Tokens in a cluster: whichever node is asked, and whichever answers in its place, a token does what it does at a node alone, and no more.
//!
//! Node 1 alone compacts, node 3 alone reads, one of them leads: so each kind of request is sent on by at least one that is asked.

use super::KEYS;
use super::moves::{done, is_led};
use super::nodes::Nodes;
use crate::secrets::ask;
use crate::security::{audited, token};
use serde_json::{Value, json};
use strandline_client::{
    AllWanted, BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, EventInput, Expected, Filter, Options,
    Position, StreamWanted, SubscribeWanted,
};
use strandline_event::ErrorKind;

/// What must stand in no answer to tenant a.
const PLANTED: &str = "planted";
const ROLES: [&str; 3] = ["ingest,compact", "ingest", "ingest,read"];

struct Tokens {
    operator: String,
    reader: String,
    elsewhere: String,
    tenant: String,
}

impl Tokens {
    fn all(&self) -> [&str; 4] {
        [&self.operator, &self.reader, &self.elsewhere, &self.tenant]
    }
}

/// Nodes that ask for tokens of one file.
fn cluster(roles: [&'static str; 3]) -> (Nodes, Tokens) {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    let file = nodes.path().join("tokens");
    let tokens = Tokens {
        operator: token(&file, &["--name", "operator", "--role", "admin"]),
        reader: token(&file, &["--name", "reader", "--role", "read"]),
        elsewhere: token(&file, &["--name", "elsewhere", "--role", "append,read", "--stores", "another"]),
        tenant: token(&file, &["--name", "tenant-a", "--role", "append,read", "--tenant-id", "a"]),
    };
    for (node, roles) in (1..).zip(roles) {
        nodes.give(node, roles);
        nodes.tell(node, &["--token-file", &file.to_string_lossy()]);
        nodes.start(node);
    }
    (nodes, tokens)
}

/// The answer of a node, as soon as whoever's matter it is can be asked.
fn told(nodes: &Nodes, node: usize, (method, path): (&str, &str), token: &str, body: &str) -> String {
    let (url, mut answer) = (format!("http://{}", nodes.http_address(node)), String::new());
    nodes.until("it is answered", |_| {
        answer = ask(&url, method, path, token, body);
        !answer.starts_with("HTTP/1.1 503")
    });
    answer
}

fn expect(answer: &str, status: u16, says: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says), "{status} {says}: {answer}");
}

fn append(nodes: &Nodes, node: usize, token: &str, (stream, tenant, command): (&str, &str, &str)) -> String {
    let event = json!({ "event_type": "E", "data": { "of": tenant }, "tenant_id": tenant });
    let body = json!({ "events": [event], "command_id": command }).to_string();
    told(nodes, node, ("POST", &format!("/v1/stores/test/streams/Call/{stream}")), token, &body)
}

/// What a read of tenant a shows: its own once it is there, and nothing else at any time.
fn shows_its_own(nodes: &Nodes, node: usize, path: &str, token: &str) {
    nodes.until("its own are shown", |nodes| {
        let answer = told(nodes, node, ("GET", path), token, "");
        expect(&answer, 200, "");
        assert!(!answer.contains(PLANTED), "node {node}, {path}: {answer}");
        answer.matches("\"stream_id\":\"own\"").count() == 2
    });
}

fn by_http(nodes: &Nodes, node: usize, tokens: &Tokens) {
    let (tenant, store) = (tokens.tenant.as_str(), "/v1/stores/test");
    for route in ["streams/Call/own", "events", "scan", "subscribe?idle_s=1"] {
        shows_its_own(nodes, node, &format!("{store}/{route}"), tenant);
    }
    let (stream, none) = (format!("{store}/streams/Call/b-planted"), format!("{store}/streams/Call/none"));
    for path in [stream.clone(), format!("{stream}/head")] {
        expect(
            &told(nodes, node, ("GET", &path), tenant, ""),
            404,
            "there is no stream 'b-planted' of stream type 'Call'",
        );
    }
    expect(&told(nodes, node, ("GET", &none), tenant, ""), 404, "there is no stream 'none' of stream type 'Call'");
    expect(&append(nodes, node, tenant, ("b-planted", "a", "x")), 403, "forbidden");
    expect(&append(nodes, node, tenant, ("own", "b-planted", "x")), 403, "forbidden");
    let line =
        json!([{ "stream_type": "Call", "stream_id": "b-planted", "event_type": "E", "data": {}, "tenant_id": "a" }]);
    let bulk = ("POST", "/v1/stores/test/events");
    expect(&told(nodes, node, bulk, tenant, &line.to_string()), 403, "forbidden");

    expect(&append(nodes, node, &tokens.reader, ("own", "a", "x")), 403, "role append");
    expect(&told(nodes, node, bulk, &tokens.reader, &line.to_string()), 403, "role append");
    expect(&told(nodes, node, ("GET", &stream), &tokens.reader, ""), 200, "b-planted");
    expect(&told(nodes, node, ("GET", &stream), &tokens.elsewhere, ""), 404, "not_found");
    expect(&append(nodes, node, &tokens.elsewhere, ("own", "a", "x")), 404, "not_found");
    for shown in ["", "slt_of-nobody"] {
        expect(&told(nodes, node, ("GET", &stream), shown, ""), 401, "unauthenticated");
        expect(&append(nodes, node, shown, ("own", "a", "x")), 401, "unauthenticated");
    }
    let run = ("POST", "/admin/v1/stores/test/compaction/run?wait=true");
    for who in [&tokens.reader, &tokens.tenant] {
        expect(&told(nodes, node, run, who, ""), 403, "role admin");
    }
    let operator = |nodes: &Nodes| told(nodes, node, run, &tokens.operator, "");
    nodes.until("it compacts", |nodes| operator(nodes).starts_with("HTTP/1.1 200 "));
}

fn batch(stream_id: &str, tenant: &str) -> BatchBytes {
    let mut batch = BatchBuilder::new("Call", BatchUnit::Append);
    let (tenant_id, command_id) = (Some(tenant), Some("x"));
    batch
        .push(&EventInput { stream_id, event_type: "E", data: "{}", tenant_id, command_id, ..EventInput::default() })
        .unwrap();
    batch.finish().unwrap()
}

async fn connect(nodes: &Nodes, node: usize, token: &str) -> Result<Client, ClientError> {
    let (token, store) = (token.to_owned(), "test".to_owned());
    Client::connect(Options { token, store, ..Options::new(nodes.natives()[node - 1].clone()) }).await
}

async fn by_frames(nodes: &Nodes, node: usize, tokens: &Tokens) {
    let forbidden = |error: ClientError| assert_eq!(error.kind(), Some(ErrorKind::Forbidden), "node {node}: {error}");
    let refused = connect(nodes, node, "slt_of-nobody").await.err().unwrap();
    assert_eq!(refused.kind(), Some(ErrorKind::Unauthenticated), "node {node}: {refused}");
    let reader = connect(nodes, node, &tokens.reader).await.unwrap();
    assert_eq!(reader.head("Call", "b-planted").await.unwrap().unwrap().last_seq.0, 2);
    forbidden(reader.append(batch("own", "a"), Expected::Any).await.unwrap_err());

    let client = connect(nodes, node, &tokens.tenant).await.unwrap();
    assert_eq!(client.head("Call", "own").await.unwrap().unwrap().last_seq.0, 2);
    assert!(client.head("Call", "b-planted").await.unwrap().is_none());
    let page = client.read_stream(&StreamWanted::all("Call", "b-planted")).await.unwrap();
    assert_eq!((page.events.len(), page.facts.head.0), (0, 0));
    forbidden(client.append(batch("b-planted", "a"), Expected::Any).await.unwrap_err());
    forbidden(client.append(batch("own", "b-planted"), Expected::Any).await.unwrap_err());
    let is_own = |stream: &str| assert_eq!(stream, "own", "node {node}");
    let everything = AllWanted { after: Position::START, limit: 100, filter: Filter::default() };
    client.read_all(&everything).await.unwrap().0.iter().for_each(|event| is_own(event.stream_id));
    let (mut scan, mut scanned) = (client.scan(Filter::default(), 1 << 20), 0);
    while let Some(events) = scan.next().await.unwrap() {
        events.iter().for_each(|event| is_own(event.stream_id));
        scanned += events.len();
    }
    assert_eq!(scanned, 2, "node {node}");
    let after = Some(Position::START);
    let wanted = SubscribeWanted { after, window_bytes: 1 << 20, filter: Filter::default(), stream_id: None };
    let (mut following, mut followed) = (client.subscribe(wanted), 0);
    while followed < 2 {
        let came = following.next().await.unwrap();
        came.events.iter().for_each(|event| is_own(event.stream_id));
        followed += came.events.len();
    }
}

#[test]
fn a_token_does_no_more_at_a_node_that_sends_on_what_it_is_asked() {
    let (mut nodes, tokens) = cluster(ROLES);
    for (stream, tenant) in [("own", "a"), ("b-planted", "b-planted")] {
        for command in ["1", "2"] {
            let answer = append(&nodes, 2, &tokens.operator, (stream, tenant, command));
            assert!(["HTTP/1.1 200", "HTTP/1.1 201"].iter().any(|status| answer.starts_with(status)), "{answer}");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // from the logs first, then from files
    for node in 1..=3 {
        by_http(&nodes, node, &tokens);
        runtime.block_on(by_frames(&nodes, node, &tokens));
    }
    drop(runtime);
    let logs = nodes.end_all();
    for log in &logs {
        for secret in tokens.all() {
            assert!(!log.contains(&secret[4..]), "a token stands in a log");
        }
        for (who, method) in [("tenant-a", "POST"), ("reader", "POST"), ("?", "GET")] {
            let words = ["refused", &format!("who={who} "), &format!("method={method} ")];
            assert!(audited(log, &words) > 0, "{words:?}: {log}");
        }
        assert!(audited(log, &["administration", "who=operator", "/compaction/run", "status=200"]) > 0, "{log}");
    }
}

/// What a node says of a bucket of Call, or of the meta group.
fn shard(nodes: &Nodes, node: usize, token: &str, bucket: Option<u64>) -> Value {
    let answer = told(nodes, node, ("GET", "/admin/v1/cluster"), token, "");
    let body = &answer[answer.find("\r\n\r\n").unwrap()..];
    let said: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
    let is_it = |shard: &&Value| match bucket {
        Some(bucket) => shard["stream_type"] == "Call" && shard["bucket"] == bucket,
        None => shard["stream_type"].is_null(),
    };
    said["shards"].as_array().unwrap().iter().find(is_it).cloned().unwrap_or_default()
}

#[test]
fn of_a_body_that_names_a_stream_of_another_tenant_nothing_is_stored_whoever_leads_it() {
    const STREAMS: usize = 12;
    let (mut nodes, tokens) = cluster([""; 3]);
    let seen = |nodes: &Nodes, node: usize, bucket: Option<u64>| shard(nodes, node, &tokens.operator, bucket);
    nodes.until("every node votes", |nodes| {
        let meta = seen(nodes, 1, None);
        meta["settled"] == true && meta["voters"].as_array().map(Vec::len) == Some(3)
    });
    let call = json!({ "name": "Call", "buckets": 3 }).to_string();
    expect(&told(&nodes, 1, ("POST", "/v1/stores/test/stream-types"), &tokens.operator, &call), 201, "");
    for (of, leader) in [(0, 1), (1, 2), (2, 3)] {
        let line = format!("cluster lead --stream-type Call --bucket {of} --node {leader} --token {}", tokens.operator);
        done(&nodes, leader, &line);
        nodes.until("it leads", |nodes| (1..=3).all(|node| is_led(&seen(nodes, node, Some(of)), leader)));
    }
    for stream in 0..STREAMS {
        let stream = format!("theirs-{stream}");
        let answer = append(&nodes, 1, &tokens.operator, (stream.as_str(), "b", "1"));
        assert!(["HTTP/1.1 200", "HTTP/1.1 201"].iter().any(|status| answer.starts_with(status)), "{answer}");
    }
    let everything = |node: usize| {
        // waits until this node has what the leaders have
        let answer = told(&nodes, node, ("GET", "/v1/stores/test/events?limit=1000"), &tokens.operator, "");
        expect(&answer, 200, "");
        assert_eq!(answer.matches("\"stream_id\":\"theirs-").count(), STREAMS, "{answer}");
        answer
    };
    let line = |stream: &str| json!({ "stream_type": "Call", "stream_id": stream, "event_type": "E", "data": {}, "tenant_id": "a" });
    for node in 1..=3 {
        everything(node);
    }
    for node in 1..=3 {
        for theirs in 0..STREAMS {
            let own = (0..STREAMS).map(|stream| line(&format!("own-{node}-{theirs}-{stream}")));
            let body = own.chain([line(&format!("theirs-{theirs}"))]).collect::<Vec<_>>();
            let bulk = ("POST", "/v1/stores/test/events");
            let answer = told(&nodes, node, bulk, &tokens.tenant, &json!(body).to_string());
            expect(&answer, 403, "forbidden");
        }
    }
    for node in 1..=3 {
        assert!(!everything(node).contains("own-"), "node {node} shows a part of a body");
    }
    nodes.stop_all();
}
