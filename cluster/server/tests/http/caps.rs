//! How many connections a listener takes: one too many is told so and does not hang, and when another ends there is room again.

use crate::common::{Running, start_serving};
use crate::native::hello_of;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use strandline_server::ServeOptions;
use strandline_workers::NodeOptions;

/// Descriptors of the node, as far as it knows.
const DESCRIPTORS: usize = 240;
/// More than the native listener has room for.
const SILENT: usize = 60;

fn start(dir: &std::path::Path) -> Running {
    let any = "127.0.0.1:0".parse().unwrap();
    start_serving(
        dir,
        |options| NodeOptions { descriptors_max: Some(DESCRIPTORS as u64), ..options },
        move |options| ServeOptions { admin: Some(any), ..options },
    )
}

/// A connection, and whether it is served.
fn served(address: SocketAddr, ask: &[u8], refused: &str) -> (TcpStream, bool) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // one that is turned away may be closed already
    let _ = socket.write_all(ask);
    let mut told = Vec::new();
    let mut part = [0; 1024];
    loop {
        match socket.read(&mut part) {
            Ok(bytes) if bytes > 0 => told.extend_from_slice(&part[..bytes]),
            _ => panic!("neither served nor refused: {}", String::from_utf8_lossy(&told)),
        }
        let text = String::from_utf8_lossy(&told);
        if text.contains(refused) {
            return (socket, false);
        }
        if text.contains("\"ok\"") || text.contains("strandline/") {
            return (socket, true);
        }
    }
}

#[test]
fn one_connection_too_many_is_told_so_by_every_listener() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let health = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    let listeners = [
        (server.address, health.clone(), DESCRIPTORS / 4),
        (server.admin.unwrap(), health, DESCRIPTORS / 4),
        (server.native, hello_of(1), DESCRIPTORS / 8),
    ];
    for (address, ask, limit) in listeners {
        let serve = || served(address, &ask, "too many connections");
        let mut open = Vec::new();
        let over = loop {
            let (socket, is_served) = serve();
            if !is_served {
                break socket;
            }
            open.push(socket);
            assert!(open.len() <= limit, "one more than {limit} at {address}");
        };
        assert_eq!(open.len(), limit, "{address}");
        drop(over);
        open.pop();
        let began = Instant::now();
        while !serve().1 {
            assert!(began.elapsed() < Duration::from_secs(60), "an end makes no room");
        }
    }
}

/// Who has said nothing, or has only begun to, gives way to who comes later.
#[test]
fn native_connections_that_say_nothing_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let hello = hello_of(1);
    let mut silent = Vec::new();
    for n in 0..SILENT {
        let mut socket = TcpStream::connect(server.native).unwrap();
        if n % 2 == 0 {
            // one that gave way is closed
            let _ = socket.write_all(&hello[..9]);
        }
        silent.push(socket);
    }
    for _ in 0..3 {
        let (socket, is_served) = served(server.native, &hello, "too many connections");
        assert!(is_served, "who says nothing keeps others out");
        silent.push(socket);
    }
}
