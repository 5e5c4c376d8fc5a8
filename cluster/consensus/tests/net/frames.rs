//! Fixtures of version 1: what was written once is read for ever, and is written the same.

use crate::node::call;
use std::path::{Path, PathBuf};
use strandline_client::wire::error::WireError;
use strandline_client::wire::header::{ALIGN, HEADER_BYTES, Header};
use strandline_consensus::net::{
    Ask, Frame, Hello, Kind, MAGIC, NetError, Refused, RefusedCode, Welcome, decode_ask, decode_call, encode_answer,
    encode_ask, encode_call,
};
use strandline_consensus::{Call, FieldError, GroupId, Rpc};
use strandline_event::SharedBytes;

pub(crate) fn hello() -> Hello {
    let program = "strandline 0.1.0".into();
    Hello { versions: (1, 1), body_max: 1 << 20, cluster: 0x11 << 100, instance: 0x22 << 90, node: 3, to: 4, program }
}

fn welcome() -> Welcome {
    Welcome { version: 1, body_max: 1 << 21, cluster: 0x11 << 100, node: 4, program: "strandline 0.1.0".into() }
}

fn meta_call() -> Call {
    Call { group: GroupId::Meta, rpc: Rpc::Vote, body: SharedBytes::copy_aligned(b"vote") }
}

fn ask() -> Ask {
    Ask { kind: 1, body: SharedBytes::copy_aligned(b"join") }
}

fn refused() -> Refused {
    Refused { code: RefusedCode::Stopped, text: "its log is damaged".into() }
}

pub(crate) fn all() -> Vec<(&'static str, Frame)> {
    vec![
        ("hello", hello().encode()),
        ("welcome", welcome().encode()),
        ("refused", refused().encode(9)),
        ("call", encode_call(5, &call(b"entries"))),
        ("call-meta", encode_call(6, &meta_call())),
        ("ask", encode_ask(7, &ask())),
        ("answer", encode_answer(8, b"done".to_vec())),
        ("answer-empty", encode_answer(8, Vec::new())),
    ]
}

/// Header and body of a whole frame, as a reader gets them.
pub(crate) fn cut(frame: &[u8]) -> Result<(Header, SharedBytes), NetError> {
    let header = Header::decode_with(MAGIC, frame.first_chunk().unwrap())?;
    let body = &frame[HEADER_BYTES..][..header.body_bytes as usize];
    assert_eq!(header.body_crc, crc32c(body));
    assert_eq!(frame.len(), (HEADER_BYTES + body.len()).next_multiple_of(ALIGN));
    Ok((header, SharedBytes::copy_aligned(body)))
}

/// The Castagnoli polynomial, bit by bit: not the crate that the frames are made with.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u8| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn frames_of_version_1_are_these_bytes() {
    for (name, frame) in all() {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/net-v1").join(format!("{name}.frame"));
        let frame = frame.into_bytes();
        if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
            std::fs::write(&path, &frame).unwrap();
        }
        assert_eq!(frame, std::fs::read(&path).unwrap(), "{name}: the layout has changed; a new one is a new version");
        cut(&frame).unwrap();
    }
    let kinds: Vec<u8> = all().into_iter().map(|(_, frame)| frame.into_bytes()[5]).collect();
    for kind in Kind::ALL {
        assert!(kinds.contains(&kind.to_u8()), "{kind:?} has no fixture");
        assert_eq!(Kind::from_u8(kind.to_u8()), Some(kind));
    }
}

#[test]
fn what_is_encoded_is_read_back() {
    let body = |frame: Frame| cut(&frame.into_bytes()).unwrap().1;
    assert_eq!(Hello::decode(&body(hello().encode())).unwrap(), hello());
    assert_eq!(Welcome::decode(&body(welcome().encode())).unwrap(), welcome());
    assert_eq!(Refused::decode(&body(refused().encode(1))).unwrap(), refused());
    for wanted in [meta_call(), call(b""), call(b"x"), call(&[7; 4_096])] {
        let read = decode_call(&body(encode_call(1, &wanted))).unwrap();
        assert_eq!((&read.group, read.rpc, &read.body[..]), (&wanted.group, wanted.rpc, &wanted.body[..]));
        assert!(read.body.is_aligned());
    }
    let read = decode_ask(&body(encode_ask(1, &ask()))).unwrap();
    assert_eq!((read.kind, &read.body[..], read.body.is_aligned()), (1, &b"join"[..], true));
}

#[test]
fn an_empty_answer_is_what_the_document_says() {
    let mut wanted = [0; HEADER_BYTES];
    wanted[..4].copy_from_slice(b"SLCN");
    (wanted[4], wanted[5], wanted[8]) = (1, 18, 8);
    let crc = crc32c(&wanted[..28]);
    wanted[28..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(encode_answer(8, Vec::new()).into_bytes(), wanted);
}

#[test]
fn frames_are_those_of_clients_but_for_their_magic() {
    for (name, frame) in all() {
        let frame = frame.into_bytes();
        let header = Header::decode_with(MAGIC, frame.first_chunk().unwrap()).unwrap();
        let native = header.encode();
        assert_eq!((&native[..4], &native[4..28]), (&b"SLNP"[..], &frame[4..28]), "{name}");
        assert_eq!(Header::decode(&native).unwrap(), header, "{name}");
        let (theirs, ours) = (Header::decode_with(MAGIC, &native), Header::decode(frame.first_chunk().unwrap()));
        assert_eq!((theirs, ours), (Err(WireError::Magic), Err(WireError::Magic)), "{name}");
    }
}

#[test]
fn a_later_version_is_named() {
    let mut frame = encode_answer(8, Vec::new()).into_bytes();
    frame[4] = 2;
    let error = NetError::from(Header::decode_with(MAGIC, frame.first_chunk().unwrap()).unwrap_err());
    assert_eq!(error, NetError::Version(2));
    assert!(error.to_string().contains("update"), "{error}");
    assert_eq!(Hello { versions: (2, 3), ..hello() }.version(), None);
    assert_eq!(Hello { versions: (1, 3), ..hello() }.version(), Some(1));
}

#[test]
fn bodies_that_were_cut_or_changed_are_refused_and_never_panic() {
    fn check<T>(name: &str, frame: Frame, decode: impl Fn(&SharedBytes) -> Result<T, NetError>, free_end: bool) {
        let body = cut(&frame.into_bytes()).unwrap().1;
        for end in 0..body.len() {
            let cut = decode(&SharedBytes::copy_aligned(&body[..end]));
            assert!(cut.is_err() || free_end && end >= ALIGN, "{name} cut at {end}");
        }
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut flipped = body.to_vec();
                flipped[at] ^= 1 << bit;
                // the checksum finds it before; here it must only not panic
                let _ = decode(&SharedBytes::copy_aligned(&flipped));
            }
        }
        let longer = decode(&SharedBytes::copy_aligned(&[&body[..], &[1]].concat()));
        assert!(longer.is_err() || free_end, "{name} made longer");
    }
    check("hello", hello().encode(), Hello::decode, false);
    check("welcome", welcome().encode(), Welcome::decode, false);
    check("refused", refused().encode(1), Refused::decode, false);
    check("call", encode_call(1, &call(b"entries")), decode_call, true);
    check("ask", encode_ask(1, &ask()), decode_ask, true);
    let unknown = decode_call(&SharedBytes::copy_aligned(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert!(matches!(unknown, Err(NetError::Field(FieldError::Value(_)))), "{unknown:?}");
}
