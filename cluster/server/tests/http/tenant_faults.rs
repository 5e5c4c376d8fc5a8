//! What goes wrong inside a node, as a token of tenants is told it by every way of reading: that it did, and nothing else.

use crate::access::{As, TwoTokens, connect};
use crate::common::Running;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use strandline_client::wire::read::{AllWanted, Filter, StreamWanted};
use strandline_event::Position;
use strandline_server::access::Role;

/// Changes rows of every data file. What is known of the file, at its end, stays as it is.
fn damage(folder: &Path) -> usize {
    let mut files = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files += damage(&path);
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            let mut bytes = fs::read(&path).unwrap();
            bytes[40..100].iter_mut().for_each(|byte| *byte ^= 0xff);
            fs::write(&path, bytes).unwrap();
            files += 1;
        }
    }
    files
}

/// All that a request is answered, up to the end of its connection.
fn by_http(server: &Running, token: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "GET /v1/stores/s/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut told = Vec::new();
    // an answer that has begun is cut
    let _ = socket.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

fn by_frames(server: &Running, token: &str) -> [String; 3] {
    let (runtime, client) = connect(server, token, "").unwrap();
    runtime.block_on(async {
        let stream = client.read_stream(&StreamWanted::all("Call", "own")).await.err().unwrap();
        let everything = AllWanted { after: Position::START, limit: 100, filter: Filter::default() };
        let page = client.read_all(&everything).await.err().unwrap();
        let scan = client.scan(Filter::default(), 1 << 20).next().await.err().unwrap();
        [stream, page, scan].map(|error| error.to_string())
    })
}

#[test]
fn what_is_damaged_is_named_to_those_alone_who_see_all_of_it() {
    let tokens = TwoTokens::new(&[Role::Append, Role::Read]);
    let server = tokens.start();
    let everybody = As::new(&server, &tokens.all);
    for (stream, tenant) in [("own", "a"), ("planted", "b")] {
        let event = json!({ "event_type": "E", "data": { "n": 1 }, "tenant_id": tenant });
        everybody.post(&format!("streams/Call/{stream}"), &json!({ "events": vec![event; 10] }).to_string()).ok(201);
    }
    everybody.post("admin:compaction/run?wait=true", "").ok(200);
    server.stop();
    assert!(damage(&tokens.folder.path().join("durable")) > 0);
    let server = tokens.start();
    let ways = ["streams/Call/own", "events", "scan", "subscribe?idle_s=0"];
    let told = |token: &str| -> Vec<(&'static str, String)> {
        let by_http = ways.map(|path| (path, by_http(&server, token, path)));
        by_http.into_iter().chain(by_frames(&server, token).map(|text| ("a frame", text))).collect()
    };
    for (way, text) in told(&tokens.all) {
        assert!(text.contains(".parquet"), "{way}: {text}");
    }
    for (way, text) in told(&tokens.one) {
        assert!(text.contains("its operator finds out why"), "{way}: {text}");
        assert!(!text.contains(".parquet") && !text.contains("damaged") && !text.contains("planted"), "{way}: {text}");
    }
    server.stop();
}
