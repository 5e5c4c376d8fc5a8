//! Bytes that nobody should send: each ends its own connection, and no other.

use crate::frames::{all, hello};
use crate::node::{CLUSTER, Node, SOON, call, transport};
use proptest::prelude::*;
use std::time::Duration;
use strandline_consensus::Transport;
use strandline_consensus::net::{Hello, Kind, Refused, RefusedCode, encode_answer, encode_call};
use strandline_event::SharedBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

fn known() -> Hello {
    Hello { cluster: CLUSTER, to: 2, node: 1, ..hello() }
}

/// Sends bytes behind the greeting (or instead of it), and gives everything that comes back until the end.
async fn send(node: &Node, greeting: bool, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    if greeting {
        stream.write_all(&known().encode().into_bytes()).await.unwrap();
    }
    // the other side may have ended it already
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The last frame of what came back.
fn last(answer: &[u8]) -> (u8, u64, SharedBytes) {
    let (mut rest, mut found) = (answer, None);
    while !rest.is_empty() {
        let bytes = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
        let whole = (32 + bytes).next_multiple_of(16);
        let (header, body) = crate::frames::cut(&rest[..whole]).unwrap();
        found = Some((header.kind, header.request, body));
        rest = &rest[whole..];
    }
    found.expect("nothing came back")
}

async fn still_serves(node: &Node) {
    assert_eq!(transport().call(2, &node.member(), call(b"ab"), SOON).await.unwrap()[..], *b"ba");
}

#[tokio::test]
async fn a_frame_that_may_not_come_now_ends_its_connection_and_is_told() {
    let node = Node::start(2, CLUSTER).await;
    let bystander = transport();
    bystander.call(2, &node.member(), call(b"x"), SOON).await.unwrap();
    let request = encode_call(1, &call(b"x")).into_bytes();
    let answer = encode_answer(3, Vec::new()).into_bytes();
    let zero = encode_call(0, &call(b"x")).into_bytes();
    for (greeting, bytes, said) in [
        (false, &request, "not expected"),
        (true, &answer, "not expected"),
        (true, &known().encode().into_bytes(), "id is not 0"),
        (true, &zero, "id is not 0"),
        (false, &b"GET / HTTP/1.1\r\nHost: localhost:7072\r\n\r\n".to_vec(), "HTTP port"),
    ] {
        let (kind, request, body) = last(&send(&node, greeting, bytes).await);
        let refused = Refused::decode(&body).unwrap();
        assert_eq!((kind, request, refused.code), (Kind::Refused.to_u8(), 0, RefusedCode::Protocol));
        assert!(refused.text.contains(said), "{}", refused.text);
    }
    bystander.call(2, &node.member(), call(b"x"), SOON).await.unwrap();
}

#[tokio::test]
async fn a_kind_of_a_later_version_is_refused_and_the_connection_stays() {
    let node = Node::start(2, CLUSTER).await;
    let mut later = encode_answer(3, Vec::new()).into_bytes();
    later[5] = 40;
    let crc = crc32c::crc32c(&later[..28]);
    later[28..32].copy_from_slice(&crc.to_le_bytes());
    let both = [later, encode_call(4, &call(b"ab")).into_bytes()].concat();
    let answer = send(&node, true, &both).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("kind 40"), "{text}");
    assert!(answer.windows(2).any(|two| two == b"ba"));
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_anything_is_kept() {
    let node = Node::start(2, CLUSTER).await;
    for (greeting, bytes) in [(false, 70_000_u32), (true, u32::MAX), (true, 265 << 20)] {
        let mut frame = if greeting { encode_call(1, &call(b"")) } else { known().encode() }.into_bytes();
        frame[16..20].copy_from_slice(&bytes.to_le_bytes());
        let crc = crc32c::crc32c(&frame[..28]);
        frame[28..32].copy_from_slice(&crc.to_le_bytes());
        let (_, _, body) = last(&send(&node, greeting, &frame).await);
        assert!(Refused::decode(&body).unwrap().text.contains("over the limit"));
    }
    still_serves(&node).await;
}

#[tokio::test]
async fn every_flipped_bit_of_a_request_is_found() {
    let node = Node::start(2, CLUSTER).await;
    let frame = encode_call(1, &call(b"entries")).into_bytes();
    for at in 0..frame.len() {
        let mut flipped = frame.clone();
        flipped[at] ^= 0x20;
        let (kind, request, body) = last(&send(&node, true, &flipped).await);
        assert_eq!((kind, request), (Kind::Refused.to_u8(), 0), "byte {at}: {:?}", String::from_utf8_lossy(&body));
    }
    assert!(node.world.seen.lock().is_empty());
    still_serves(&node).await;
}

#[tokio::test]
async fn frames_that_end_early_leave_nothing_behind() {
    let node = Node::start(2, CLUSTER).await;
    for (_, frame) in all() {
        let frame = frame.into_bytes();
        for end in [1, 31, 33, frame.len() - 1] {
            send(&node, true, &frame[..end.min(frame.len() - 1)]).await;
        }
    }
    assert!(node.world.seen.lock().is_empty());
    still_serves(&node).await;
}

/// A byte now and then keeps no connection: each part of a frame has its time.
#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_ends_its_connection() {
    let node = Node::start(2, CLUSTER).await;
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(&known().encode().into_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let frame = encode_call(1, &call(b"x")).into_bytes();
    let sending = tokio::spawn(async move {
        for byte in frame {
            if writing.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    // a reset is an end too
    let ended = timeout(SOON, reading.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "it stays open");
    sending.abort();
    assert!(node.world.seen.lock().is_empty());
    still_serves(&node).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_bytes_end_nothing_but_their_connection(
        greeting in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        like_a_frame in any::<bool>(),
    ) {
        let bytes = if like_a_frame { [b"SLCN\x01", &bytes[..]].concat() } else { bytes };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::start(2, CLUSTER).await;
            send(&node, greeting, &bytes).await;
            still_serves(&node).await;
        });
    }
}
