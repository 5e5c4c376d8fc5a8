//! Single events that go as rows of one frame: each is an append of its own, is answered as one by itself is, and counts as one.

use crate::access::{As, token_in};
use crate::common::{Running, start, start_guarded, start_with};
use crate::counted::told;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use strandline_client::wire::append_rows::encode_append_rows;
use strandline_client::wire::frames::{FrameReader, Step};
use strandline_client::wire::header::Kind;
use strandline_client::wire::hello::Hello;
use strandline_client::wire::outcome::decode_appended;
use strandline_client::{Appended, BatchBuilder, BatchBytes, BatchUnit, EventInput, Expected, Refused, Seq};
use strandline_event::ErrorKind;
use strandline_server::access::Role;
use strandline_workers::NodeOptions;

const REQUEST: u64 = 2;
const TICK: &str = r#"{"event_type":"Ticked","data":0,"tenant_id":"a"}"#;
const BY_STREAM: &str = ", id.command_id.unique_scope = 'stream', compaction.schedule = '0 0 1 1 *'";

type Outcome = Result<Appended, Refused>;

fn one(stream_id: &str, data: &str, command_id: Option<&str>) -> BatchBytes {
    let mut batch = BatchBuilder::new("Call", BatchUnit::Append);
    let tenant_id = Some("a");
    batch
        .push(&EventInput { stream_id, event_type: "E", data, command_id, tenant_id, ..EventInput::default() })
        .unwrap();
    batch.finish().unwrap()
}

/// What becomes of appends that go as rows of one frame.
fn append(server: &Running, token: &str, appends: &[(BatchBytes, Expected)]) -> Vec<Outcome> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        body_max: 16 << 20,
        store: String::new(),
        token: token.to_owned(),
        program: "test".to_owned(),
    };
    let rows = encode_append_rows(REQUEST, appends.iter().map(|(batch, expected)| (batch, *expected))).unwrap();
    let mut socket = TcpStream::connect(server.native).unwrap();
    socket.write_all(&[hello.encode(1).into_bytes(), rows.into_bytes()].concat()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut reader = FrameReader::new(16 << 20);
    loop {
        match reader.step().unwrap() {
            Step::Frame(frame) if frame.header.request == REQUEST => {
                assert_eq!(Kind::from_u8(frame.header.kind), Some(Kind::Appended));
                return decode_appended(&frame.body).unwrap();
            }
            Step::Frame(_) | Step::Head(_) | Step::Skipped(_) => {}
            Step::More => {
                let count = socket.read(reader.space()).unwrap();
                assert!(count > 0, "the connection ended without an answer");
                reader.filled(count);
            }
        }
    }
}

fn said(outcomes: &[Outcome]) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Ok(known) if known.is_known() => format!("known {}", known.first_seq().0),
        Ok(stored) => format!("stored {}", stored.first_seq().0),
        Err(refused) => refused.code.clone(),
    };
    outcomes.iter().map(one).collect()
}

/// Every end that an append may have, where both streams have one event; and what is said of each.
fn of_all_ends() -> (Vec<(BatchBytes, Expected)>, [&'static str; 7]) {
    let at = |seq| Expected::At(Seq(seq));
    let all = vec![
        (one("a", "1", Some("k")), at(1)),
        (one("a", "2", None), at(2)),
        (one("a", "1", Some("k")), Expected::Any),
        (one("a", "9", Some("k")), Expected::Any),
        (one("b", "1", None), at(7)),
        (one("b", "1", Some("k of b")), at(1)),
        (one("a", "3", None), at(3)),
    ];
    let ends = ["stored 2", "stored 3", "known 2", "command_conflict", "wrong_expected_seq", "stored 2", "stored 4"];
    (all, ends)
}

/// An event in each of both streams.
fn plant(server: &Running) {
    ["a", "b"].iter().for_each(|stream| drop(server.append(stream, TICK).ok(201)));
}

fn numbers(server: &Running, stream: &str) -> Vec<u64> {
    let page = server.get(&format!("streams/Call/{stream}")).ok(200);
    page["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

#[test]
fn rows_are_answered_and_counted_as_appends_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path(), BY_STREAM);
    plant(&server);
    let counts = |server: &Running| {
        let series = ["appends_total", "appends_refused_total", "append_seconds_count{store=\"s\"}", "events_total"];
        series.map(|series| told(server, series))
    };
    assert_eq!(counts(&server), [2.0, 0.0, 2.0, 2.0]);
    let (all, ends) = of_all_ends();
    let outcomes = append(&server, "", &all);
    assert_eq!(said(&outcomes), ends);
    assert_eq!(counts(&server), [7.0, 2.0, 9.0, 6.0]);
    assert_eq!(told(&server, "group_batches_sum{store=\"s\"}"), 3.0, "what is stored is one batch");
    // the first answer again names the same event
    let (Ok(Appended::One(first)), Ok(Appended::Known(known))) = (&outcomes[0], &outcomes[2]) else {
        panic!("{outcomes:?}")
    };
    assert_eq!((known[0].event_id, known[0].ingested_at), (Some(first.event_id), Some(first.ingested_at)));
    // where nothing is stored at once, no time counts but that of each append
    let again = [all[0].clone(), all[4].clone(), all[5].clone()];
    let known = ["known 2", "wrong_expected_seq", "known 2"];
    assert_eq!(said(&append(&server, "", &again)), known);
    assert_eq!(counts(&server), [9.0, 3.0, 12.0, 6.0]);
    assert_eq!(told(&server, "appends_waiting"), 0.0);
    // and after a start, and out of files
    server.stop();
    server = start(folder.path(), BY_STREAM);
    assert_eq!(said(&append(&server, "", &again)), known);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    assert_eq!(said(&append(&server, "", &again)), known);
    assert_eq!((numbers(&server, "a"), numbers(&server, "b")), (vec![0, 1, 2, 3], vec![0, 1]));
    server.stop();
}

#[test]
fn rows_are_answered_alike_where_they_have_to_come_by_themselves() {
    let (all, ends) = of_all_ends();
    // of streams that several logs hold
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), BY_STREAM);
    server.post("stream-types", r#"{"name":"Call","buckets":64}"#).ok(201);
    plant(&server);
    assert_eq!(said(&append(&server, "", &all)), ends);
    assert_eq!((numbers(&server, "a"), numbers(&server, "b")), (vec![0, 1, 2, 3], vec![0, 1]));
    server.stop();
    // beside one that is broken, which is refused alone
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), BY_STREAM);
    plant(&server);
    let (mut with_broken, mut ends_of_them) = (all.clone(), ends.to_vec());
    with_broken.insert(1, (one("a", "{", None), Expected::Any));
    ends_of_them.insert(1, "bad_request");
    assert_eq!(said(&append(&server, "", &with_broken)), ends_of_them);
    assert_eq!((numbers(&server, "a"), numbers(&server, "b")), (vec![0, 1, 2, 3], vec![0, 1]));
    server.stop();
    // by a token that is limited to their tenant, and by one of another
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = ["a", "b"].map(|tenant| token_in(&file, tenant, &[Role::Append, Role::Read], &[], &[tenant]));
    let server = start_guarded(folder.path(), &file);
    for stream in ["a", "b"] {
        let events = format!("{{\"events\":[{TICK}]}}");
        As::new(&server, &tokens[0]).post(&format!("streams/Call/{stream}"), &events).ok(201);
    }
    assert_eq!(said(&append(&server, &tokens[1], &all)), ["forbidden"; 7]);
    assert_eq!(said(&append(&server, &tokens[0], &all)), ends);
    server.stop();
}

/// A stream's id stands once in the archive of all rows, and in each one's own.
#[test]
fn rows_that_come_by_themselves_count_with_the_bytes_that_they_have_then() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with(folder.path(), "", |options| NodeOptions { in_flight_bytes_max: 1 << 20, ..options });
    server.append("a", TICK).ok(201);
    let long = "x".repeat(1024);
    let mut all = vec![(one(&long, "1", None), Expected::Any); 2000];
    all[1000] = (one(&long, "{", None), Expected::Any);
    let outcomes = append(&server, "", &all);
    let is_overloaded = |outcome: &Outcome| {
        let refused = outcome.as_ref().err();
        refused.is_some_and(|refused| refused.kind() == Some(ErrorKind::Overloaded))
    };
    assert!(outcomes.len() == 2000 && outcomes.iter().all(is_overloaded), "{:?}", said(&outcomes));
    server.get(&format!("streams/Call/{long}/head")).error(404, "not_found");
    // together they are small
    all[1000] = all[0].clone();
    assert!(append(&server, "", &all).iter().all(Result::is_ok));
    assert_eq!(server.get(&format!("streams/Call/{long}/head")).ok(200)["last_seq"], 2000);
    server.stop();
}
