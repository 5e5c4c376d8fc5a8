//! Links over TLS: both sides show a certificate of one authority, and nobody speaks for another node.

use crate::node::{CLUSTER, Node, SOON, call, transport, transport_by};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_consensus::net::{Ask, NetTransport, TlsConnect};
use strandline_consensus::{Transport, TransportError};
use strandline_event::{Micros, SharedBytes};
use strandline_tls::{Certificates, Files, dev};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Certificates of an authority, as files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let set = dev::make(3, &[]).unwrap();
        this.put("ca", &set.authority);
        this.put("server", &set.server);
        (1..).zip(&set.nodes).for_each(|(id, pair)| this.put(&format!("node-{id}"), pair));
        this
    }

    fn put(&self, name: &str, pair: &dev::Pair) {
        fs::write(self.path(name, "pem"), &pair.certificate).unwrap();
        fs::write(self.path(name, "key"), &pair.key).unwrap();
        fs::set_permissions(self.path(name, "key"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.0.path().join(format!("{name}.{ending}"))
    }

    fn of(&self, name: &str) -> Arc<Certificates> {
        self.with(name, &self.path("ca", "pem"))
    }

    fn with(&self, name: &str, authorities: &Path) -> Arc<Certificates> {
        let files = Files {
            certificate: self.path(name, "pem"),
            key: self.path(name, "key"),
            authorities: Some(authorities.to_owned()),
        };
        Certificates::open(files, NOW).unwrap()
    }
}

/// In 2026.
const NOW: Micros = Micros(1_795_428_000_000_000);

fn speaking_as(node: u64, certificates: Arc<Certificates>) -> Arc<NetTransport> {
    transport_by(node, CLUSTER, Arc::new(TlsConnect(certificates)))
}

async fn why(transport: &NetTransport, to: u64, node: &Node) -> String {
    match transport.call(to, &node.member(), call(b"x"), SOON).await {
        Err(TransportError::Unreachable { why, .. } | TransportError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_with_their_own_certificates_speak_to_each_other() {
    let folder = Folder::new();
    let node = Node::start_with(2, CLUSTER, Some(folder.of("node-2"))).await;
    let one = speaking_as(1, folder.of("node-1"));
    let body = vec![7; 3 << 20];
    let answer = one.call(2, &node.member(), call(&body), SOON).await.unwrap();
    assert_eq!(answer.len(), body.len());
    // whoever listens there is some node, and says which
    let joining = transport_by(3, 0, Arc::new(TlsConnect(folder.of("node-3"))));
    let ask = Ask { kind: 1, body: SharedBytes::copy_aligned(b"") };
    assert_eq!(joining.ask(0, &node.address, ask, SOON).await.unwrap()[..], *b"3 1");
}

#[tokio::test]
async fn the_certificate_of_node_2_does_not_speak_for_node_1() {
    let folder = Folder::new();
    let node = Node::start_with(3, CLUSTER, Some(folder.of("node-3"))).await;
    // who asks
    let said = why(&speaking_as(1, folder.of("node-2")), 3, &node).await;
    assert!(said.contains("does not speak for node 1"), "{said}");
    let said = why(&speaking_as(1, folder.of("server")), 3, &node).await;
    assert!(said.contains("does not speak for node 1"), "{said}");
    assert!(node.world.seen.lock().is_empty(), "nothing of it was heard");
    // who answers: as node 1, with the certificate of node 2
    let false_one = Node::start_with(1, CLUSTER, Some(folder.of("node-2"))).await;
    let three = speaking_as(3, folder.of("node-3"));
    let said = why(&three, 1, &false_one).await;
    assert!(said.contains("certificate"), "{said}");
    let ask = Ask { kind: 1, body: SharedBytes::copy_aligned(b"") };
    let asked = three.ask(0, &false_one.address, ask, SOON).await.unwrap_err();
    assert!(asked.to_string().contains("does not speak for node 1"), "{asked}");
}

/// The authority of the nodes may have signed for servers and clients too.
#[tokio::test]
async fn a_certificate_of_no_node_is_none_of_a_node() {
    let folder = Folder::new();
    let node = Node::start_with(2, CLUSTER, Some(folder.of("node-2"))).await;
    let ask = || Ask { kind: 1, body: SharedBytes::copy_aligned(b"") };
    // who joins, and who says that it is no node
    for (id, who) in [(3, "node 3"), (0, "a node")] {
        let asking = transport_by(id, 0, Arc::new(TlsConnect(folder.of("server"))));
        let refused = asking.ask(0, &node.address, ask(), SOON).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("does not speak for {who}")), "{refused}");
    }
    assert!(node.world.seen.lock().is_empty(), "nothing of it was heard");
    // who answers: sought as node 1, and as whoever is there
    let server = Node::start_with(1, CLUSTER, Some(folder.of("server"))).await;
    let two = speaking_as(2, folder.of("node-2"));
    let said = why(&two, 1, &server).await;
    assert!(said.contains("certificate"), "{said}");
    let refused = two.ask(0, &server.address, ask(), SOON).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert!(server.world.seen.lock().is_empty());
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends() {
    let folder = Folder::new();
    let node = Node::start_with(2, CLUSTER, Some(folder.of("node-2"))).await;
    // nothing, and the beginning of a record
    for begin in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
        let mut socket = TcpStream::connect(&node.address).await.unwrap();
        socket.write_all(begin).await.unwrap();
        // a reset is an end too
        let ended = tokio::time::timeout(SOON, socket.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "it stays open");
    }
}

#[tokio::test]
async fn another_authority_and_plain_text_are_refused_both_ways() {
    let (folder, other) = (Folder::new(), Folder::new());
    let node = Node::start_with(2, CLUSTER, Some(folder.of("node-2"))).await;
    why(&speaking_as(1, other.of("node-1")), 2, &node).await;
    // it trusts the server, and is not trusted
    why(&speaking_as(1, other.with("node-1", &folder.path("ca", "pem"))), 2, &node).await;
    why(&transport(), 2, &node).await;
    let plain = Node::start(2, CLUSTER).await;
    why(&speaking_as(1, folder.of("node-1")), 2, &plain).await;
    let mut socket = TcpStream::connect(&node.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut told = Vec::new();
    let _ = socket.read_to_end(&mut told).await;
    assert!(!told.windows(4).any(|bytes| bytes == b"SNOD" || bytes == b"HTTP"), "an alert of TLS at most");
    assert!(node.world.seen.lock().is_empty() && plain.world.seen.lock().is_empty());
}

#[tokio::test]
async fn certificates_are_read_again_for_connections_from_then_on() {
    let (folder, next) = (Folder::new(), Folder::new());
    let certificates = folder.of("node-2");
    let node = Node::start_with(2, CLUSTER, Some(Arc::clone(&certificates))).await;
    speaking_as(1, folder.of("node-1")).call(2, &node.member(), call(b"a"), SOON).await.unwrap();
    for (name, ending) in [("node-2", "pem"), ("node-2", "key"), ("ca", "pem")] {
        fs::copy(next.path(name, ending), folder.path(name, ending)).unwrap();
    }
    certificates.reload(NOW).unwrap();
    speaking_as(1, next.of("node-1")).call(2, &node.member(), call(b"b"), SOON).await.unwrap();
    let before = folder.with("node-1", &next.path("ca", "pem"));
    why(&speaking_as(1, before), 2, &node).await;
}
