//! What a connection is told on which no token that counts is shown.

use crate::access::token_in;
use crate::common::{Running, start_guarded};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use strandline_server::access::Role;

/// What a connection is told until its end, of requests that are sent at once.
fn told(server: &Running, requests: &str) -> String {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(requests.as_bytes()).unwrap();
    let mut told = String::new();
    socket.read_to_string(&mut told).unwrap();
    told.to_lowercase()
}

/// A place among the connections is not for who may do nothing: a request that is begun and never ended would keep it.
#[test]
fn who_shows_no_token_gets_one_answer_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let token = token_in(&file, "reader", &[Role::Read], &[], &[]);
    let server = start_guarded(folder.path(), &file);
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
    for shown in ["", "authorization: Bearer slt_wrong\r\n"] {
        for path in ["/health", "/ready", "/openapi.json", "/info", "/nowhere"] {
            let told = told(&server, &request(path, shown));
            assert!(told.starts_with("http/1.1 ") && told.contains("\r\nconnection: close\r\n"), "{path}: {told}");
        }
    }
    // a body that never ends is read by nobody, and its connection ends with the answer
    for (method, path) in [("POST", "/v1/stores/t/events"), ("GET", "/health"), ("POST", "/nowhere")] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let told = told(&server, &head);
        assert!(told.starts_with("http/1.1 ") && told.contains("\r\nconnection: close\r\n"), "{path}: {told}");
    }
    // what is sent behind it is answered by nobody, and the answer is whole
    for path in ["/health", "/openapi.json"] {
        let (whole, told) = (server.get(path).text(), told(&server, &request(path, "").repeat(40)));
        assert!(told.matches("connection: close\r\n").count() == 1 && told.ends_with(&whole.to_lowercase()), "{told}");
    }
    let shown = format!("authorization: Bearer {token}\r\n");
    let two = request("/health", &shown) + &request("/info", &format!("{shown}connection: close\r\n"));
    let told = told(&server, &two);
    assert_eq!(told.matches("http/1.1 200").count(), 2, "{told}");
    server.stop();
}

/// A proxy that judges by the last one would let pass what this node does as the first one, or the other way round.
#[test]
fn who_shows_two_tokens_shows_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = ["one", "two"].map(|name| token_in(&file, name, &[Role::Read], &[], &[]));
    let server = start_guarded(folder.path(), &file);
    let asked = |shown: &[&str]| {
        let shown: String = shown.iter().map(|token| format!("authorization: Bearer {token}\r\n")).collect();
        told(&server, &format!("GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{shown}\r\n"))
    };
    let [one, two] = tokens.each_ref().map(String::as_str);
    assert!(asked(&[one]).starts_with("http/1.1 200 "));
    for shown in [[one, two], [one, "slt_wrong"], ["slt_wrong", two], [one, one]] {
        let told = asked(&shown);
        assert!(told.starts_with("http/1.1 401 ") && told.contains("several `authorization` headers"), "{told}");
    }
    server.stop();
}
