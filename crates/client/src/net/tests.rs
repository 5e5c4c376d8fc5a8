//! The client against a server that is played: it answers when the test says so.

use super::*;
use crate::wire::append::{body_bytes_of_one, decode_append};
use crate::wire::append_rows::decode_append_rows;
use crate::wire::frames::{FrameReader, Step};
use crate::wire::header::NO_EVENTS_BODY_MAX;
use crate::wire::outcome::OutcomesWriter;
use crate::wire::stay::Stay;
use std::future::Future;
use std::time::Duration;
use strandline_event::{BatchBuilder, BatchUnit, EventInput, IdPrefix, Micros, Seq, StampsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) fn on_a_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// The other end of a connection.
pub(crate) struct Played {
    socket: TcpStream,
    frames: FrameReader,
    /// What it was told to keep to itself.
    pub(crate) stay: Option<Stay>,
}

/// What it says first.
fn welcome() -> Welcome {
    Welcome {
        version: 1,
        checks_commands: true,
        body_max: 1 << 20,
        requests_max: 64,
        store: "s".to_owned(),
        program: "played".to_owned(),
    }
}

impl Played {
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        Self::accept_with(listener, welcome()).await
    }

    async fn accept_with(listener: &TcpListener, welcome: Welcome) -> Self {
        let (socket, _) = listener.accept().await.unwrap();
        let mut played = Self { socket, frames: FrameReader::new(64 << 20), stay: None };
        let hello = played.next().await.unwrap();
        assert_eq!(Kind::from_u8(hello.header.kind), Some(Kind::Hello));
        played.say(welcome.encode(hello.header.request)).await;
        played
    }

    /// `None`: the client is gone.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.frames.step().unwrap() {
                Step::Frame(frame) if frame.header.kind == Kind::Stay.to_u8() => {
                    self.stay = Some(Stay::decode(&frame.body).unwrap());
                }
                Step::Frame(frame) => return Some(frame),
                Step::Head(_) | Step::Skipped(_) => {}
                Step::More => match self.socket.read(self.frames.space()).await {
                    Ok(0) | Err(_) => return None,
                    Ok(read) => self.frames.filled(read),
                },
            }
        }
    }

    pub(crate) async fn say(&mut self, frame: Encoded) {
        self.socket.write_all(&frame.into_bytes()).await.unwrap();
    }

    pub(crate) async fn store(&mut self, frame: &Frame) {
        let count = appends_in(frame);
        let mut out = OutcomesWriter::new(Kind::Appended, frame.header.request, count);
        for _ in 0..count {
            let mut stamps = StampsBuilder::new(Micros(1), IdPrefix::v7(Micros(1), 1), 1);
            stamps.push(Seq(1), Micros(1));
            out.appended(&Appended::Stored(stamps.finish()));
        }
        self.say(out.finish()).await;
    }
}

/// Appends of a frame, whatever its kind.
pub(crate) fn appends_in(frame: &Frame) -> usize {
    match Kind::from_u8(frame.header.kind) {
        Some(Kind::AppendRows) => decode_append_rows(&frame.body).unwrap().expected.len(),
        _ => decode_append(&frame.body).unwrap().appends.len(),
    }
}

pub(crate) fn batch(bytes: usize, command_id: Option<&str>) -> BatchBytes {
    let data = format!("\"{}\"", "x".repeat(bytes));
    let mut batch = BatchBuilder::new("T", BatchUnit::Append);
    let event = EventInput { stream_id: "s", event_type: "E", data: &data, command_id, ..EventInput::default() };
    batch.push(&event).unwrap();
    batch.finish().unwrap()
}

pub(crate) async fn listening() -> (TcpListener, Options) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options::new(listener.local_addr().unwrap().to_string());
    (listener, options)
}

#[test]
fn no_more_bytes_are_on_their_way_than_the_client_allows() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        // room for two of them
        let options = Options { in_flight_bytes_max: 50 << 10, ..options };
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let callers: Vec<_> = (0..5)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.append(batch(20 << 10, None), Expected::Any).await })
            })
            .collect();
        // what holds no bytes is not held up: it comes behind those that had room
        let pinging = tokio::spawn({
            let client = client.clone();
            async move { client.ping().await }
        });
        let mut appends = Vec::new();
        loop {
            let frame = played.next().await.unwrap();
            if frame.header.kind == Kind::Ping.to_u8() {
                played.say(encode_empty(Kind::Pong, frame.header.request)).await;
                break;
            }
            appends.push(frame);
        }
        pinging.await.unwrap().unwrap();
        assert_eq!(appends.len(), 2);
        let mut stored = 0;
        while stored < 5 {
            let frame = match appends.pop() {
                Some(frame) => frame,
                None => played.next().await.unwrap(),
            };
            played.store(&frame).await;
            stored += 1;
        }
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
    });
}

#[test]
fn appends_of_one_frame_are_answered_each_on_its_own() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, mut played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let client = client.unwrap();
        let appends = [(batch(9, None), Expected::Any), (batch(9, None), Expected::Any)];
        for refused in [1, 2] {
            let answering = async {
                let frame = played.next().await.unwrap();
                assert_eq!(decode_append(&frame.body).unwrap().appends.len(), 2);
                let mut out = OutcomesWriter::new(Kind::Appended, frame.header.request, refused);
                (0..refused).for_each(|_| out.refused(&Refused::new(ErrorKind::WrongExpectedSeq, "elsewhere")));
                played.say(out.finish()).await;
            };
            let (outcomes, ()) = tokio::join!(client.append_many(&appends, false), answering);
            if refused == 1 {
                // nobody knows which of both it was
                assert!(matches!(outcomes, Err(ClientError::OutcomeUnknown { .. })), "{outcomes:?}");
            } else {
                let kinds = outcomes.unwrap().into_iter().map(|one| one.unwrap_err().kind());
                assert!(kinds.eq([Some(ErrorKind::WrongExpectedSeq); 2]));
            }
        }
        assert_eq!(played.stay, None, "who does not follow leaders lets everything be sent on");
    });
}

#[test]
fn a_request_over_the_servers_limit_is_not_sent() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, _played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let client = client.unwrap();
        let refused = client.append(batch((1 << 20) - 3, None), Expected::Any).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge));
        // nor is one that would end the connection
        let refused = client.append_bulk(&[batch(1, None)], OnError::Abort).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::BadRequest));
    });
}

#[test]
fn an_append_as_large_as_the_servers_limit_is_sent() {
    on_a_runtime(async {
        // one that is gathered, and one that is a frame of its own
        for bytes in [9, 20 << 10] {
            let body_bytes = body_bytes_of_one(&batch(bytes, None));
            for (body_max, is_sent) in [(body_bytes, true), (body_bytes - 1, false)] {
                let (listener, options) = listening().await;
                let limited = Welcome { body_max: body_max as u32, ..welcome() };
                let (client, played) = tokio::join!(Client::connect(options), Played::accept_with(&listener, limited));
                let (client, mut played) = (client.unwrap(), played);
                let appending =
                    tokio::spawn(async move { client.append(batch(bytes, None), Expected::Any).await.map(drop) });
                if is_sent {
                    let append = played.next().await.unwrap();
                    assert_eq!(append.body.len(), body_max);
                    played.store(&append).await;
                    appending.await.unwrap().unwrap();
                } else {
                    assert_eq!(appending.await.unwrap().unwrap_err().kind(), Some(ErrorKind::TooLarge));
                    assert!(played.next().await.is_none(), "nothing of it was sent");
                }
            }
        }
    });
}

/// A filter with so long a name.
fn filter(bytes: usize) -> Filter {
    Filter { event_type: Some("x".repeat(bytes)), ..Filter::default() }
}

#[test]
fn a_scan_or_subscription_with_too_long_a_filter_is_refused_and_the_connection_stays() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let following = |filter| SubscribeWanted { after: None, window_bytes: 1, filter, stream_id: None };
        let empty = ScanWanted { window_bytes: 1, filter: filter(0) }.encode(1).body_bytes;
        let fits = NO_EVENTS_BODY_MAX - empty;
        // the largest one goes
        let scan = client.scan(filter(fits), 1);
        let begun = played.next().await.unwrap();
        assert_eq!((begun.header.kind, begun.body.len()), (Kind::Scan.to_u8(), NO_EVENTS_BODY_MAX));
        drop(scan);
        assert_eq!(played.next().await.unwrap().header.kind, Kind::ScanCancel.to_u8());
        let told = client.scan(filter(fits + 1), 1).next().await.err().unwrap();
        assert_eq!(told.kind(), Some(ErrorKind::TooLarge));
        assert!(told.to_string().contains("65537 bytes is over the limit of 65536"), "{told}");
        let told = client.subscribe(following(filter(70_000))).next().await.err().unwrap();
        assert_eq!(told.kind(), Some(ErrorKind::TooLarge));
        let told = client.head("T", &"s".repeat(70_000)).await.unwrap_err();
        assert_eq!(told.kind(), Some(ErrorKind::TooLarge));
        // nothing of them was sent, and the connection is the same
        let answering = async {
            let ping = played.next().await.unwrap().header;
            assert_eq!(ping.kind, Kind::Ping.to_u8());
            played.say(encode_empty(Kind::Pong, ping.request)).await;
        };
        let (answered, ()) = tokio::join!(client.ping(), answering);
        answered.unwrap();
    });
}

#[test]
fn a_connection_that_broke_is_made_again_and_what_may_be_repeated_is() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let ask = |command: Option<&'static str>| {
            let client = client.clone();
            tokio::spawn(async move { client.append(batch(20 << 10, command), Expected::Any).await })
        };
        let (with, without) = (ask(Some("c")), ask(None));
        for _ in 0..2 {
            played.next().await.unwrap();
        }
        drop(played);
        assert!(matches!(without.await.unwrap(), Err(ClientError::OutcomeUnknown { .. })));
        let mut played = Played::accept(&listener).await;
        let again = played.next().await.unwrap();
        let appends = decode_append(&again.body).unwrap().appends;
        assert_eq!(appends[0].batch.view().command_id(0), Some("c"));
        played.store(&again).await;
        assert_eq!(with.await.unwrap().unwrap().first_seq(), Seq(1));
        // the last handle closes the connection
        drop(client);
        assert!(played.next().await.is_none());
    });
}

#[test]
fn a_new_connection_goes_by_its_own_welcome() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let ask = |bytes: usize| {
            let client = client.clone();
            tokio::spawn(async move { client.append(batch(bytes, Some("c")), Expected::Any).await })
        };
        let large = ask(20 << 10);
        played.next().await.unwrap();
        drop(played);
        let mut played = Played::accept_with(&listener, Welcome { body_max: 8 << 10, ..welcome() }).await;
        // sent again it would end this connection too, and it may be stored
        let told = large.await.unwrap().unwrap_err();
        assert!(matches!(told, ClientError::OutcomeUnknown { .. }), "{told}");
        assert!(told.to_string().contains("limit of 8192"), "{told}");
        let small = ask(9);
        let append = played.next().await.unwrap();
        assert!(append.body.len() < 8 << 10);
        drop(played);
        // the same address is another store now: nothing goes there
        let other = Welcome { store: "other".to_owned(), ..welcome() };
        let mut played = Played::accept_with(&listener, other).await;
        let told = small.await.unwrap().unwrap_err();
        assert!(matches!(told, ClientError::OutcomeUnknown { .. }), "{told}");
        assert!(told.to_string().contains("'other'"), "{told}");
        assert!(played.next().await.is_none());
    });
}

#[test]
fn what_was_sent_again_and_refused_by_the_node_may_be_stored_all_the_same() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let large = tokio::spawn({
            let client = client.clone();
            async move { client.append(batch(20 << 10, Some("c")), Expected::Any).await }
        });
        let bulk = tokio::spawn(async move {
            let mut rows = BatchBuilder::new("T", BatchUnit::Rows);
            let command_id = Some("d");
            rows.push(&EventInput { stream_id: "s", event_type: "E", command_id, ..EventInput::default() }).unwrap();
            client.append_bulk(&[rows.finish().unwrap()], OnError::Abort).await
        });
        for _ in 0..2 {
            played.next().await.unwrap();
        }
        drop(played);
        let mut played = Played::accept(&listener).await;
        for _ in 0..2 {
            let again = played.next().await.unwrap().header;
            let refused = Refused::new(ErrorKind::NotLeader, "another node leads");
            let answer = if again.kind == Kind::Append.to_u8() {
                refused.encode(again.request)
            } else {
                let mut out = OutcomesWriter::new(Kind::BulkAppended, again.request, 1);
                out.refused(&refused);
                out.finish()
            };
            played.say(answer).await;
        }
        let told = large.await.unwrap().unwrap_err();
        assert!(matches!(told, ClientError::OutcomeUnknown { .. }), "{told}");
        let parts = bulk.await.unwrap().unwrap();
        let told = parts[0].as_ref().unwrap_err();
        assert_eq!(told.code, OUTCOME_UNKNOWN);
        assert!(told.text.contains("another node leads"), "{told}");
    });
}

#[test]
fn a_server_that_chooses_another_version_is_not_talked_to() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let later = Welcome { version: 2, ..welcome() };
        let (client, _played) = tokio::join!(Client::connect(options), Played::accept_with(&listener, later));
        assert_eq!(client.err(), Some(ClientError::Protocol(WireError::Version(2))));
    });
}

#[test]
fn a_scan_goes_on_while_others_wait_for_its_place() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let only_one = Welcome { requests_max: 1, ..welcome() };
        let (client, played) = tokio::join!(Client::connect(options), Played::accept_with(&listener, only_one));
        let (client, mut played) = (client.unwrap(), played);
        let mut scan = client.scan(Filter::default(), 1);
        let begun = played.next().await.unwrap().header.request;
        let pinging = tokio::spawn({
            let client = client.clone();
            async move { client.ping().await }
        });
        // it waits in the client from here on
        tokio::task::yield_now().await;
        let part = |is_last| crate::wire::read::begin_scan_part(begun, is_last, 0).finish();
        let serving = async {
            played.say(part(false)).await;
            let more = played.next().await.unwrap().header;
            assert_eq!((more.kind, more.request), (Kind::ScanMore.to_u8(), begun));
            played.say(part(true)).await;
            let ping = played.next().await.unwrap().header;
            assert_eq!(ping.kind, Kind::Ping.to_u8());
            played.say(encode_empty(Kind::Pong, ping.request)).await;
        };
        let (scanned, ()) = tokio::join!(scan.next(), serving);
        assert!(scanned.unwrap().is_none());
        pinging.await.unwrap().unwrap();
    });
}

#[test]
fn a_server_that_says_nothing_any_more_is_given_up() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (silence_max, patience) = (Duration::from_millis(50), Duration::from_millis(50));
        let options = Options { silence_max, patience, connect_within: patience, ..options };
        let (client, mut played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let client = client.unwrap();
        let waiting = tokio::spawn(async move { client.append(batch(9, None), Expected::Any).await });
        let kinds = [Kind::Append, Kind::Ping].map(Kind::to_u8);
        for kind in kinds {
            assert_eq!(played.next().await.unwrap().header.kind, kind, "it asks before it gives up");
        }
        assert!(matches!(waiting.await.unwrap(), Err(ClientError::OutcomeUnknown { .. })));
    });
}

#[test]
fn scans_that_are_dropped_hold_up_nothing() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        // more than the server's requests_max
        for _ in 0..70 {
            let scan = client.scan(Filter::default(), 1 << 20);
            let begun = played.next().await.unwrap().header;
            drop(scan);
            let cancelled = played.next().await.unwrap().header;
            assert_eq!(begun.kind, Kind::Scan.to_u8());
            assert_eq!((cancelled.kind, cancelled.request), (Kind::ScanCancel.to_u8(), begun.request));
        }
        let appending = tokio::spawn({
            let client = client.clone();
            async move { client.append(batch(9, None), Expected::Any).await }
        });
        let append = played.next().await.unwrap();
        played.store(&append).await;
        appending.await.unwrap().unwrap();
    });
}

#[test]
fn a_scan_with_a_part_that_cannot_be_read_is_cancelled() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        let (client, played) = tokio::join!(Client::connect(options), Played::accept(&listener));
        let (client, mut played) = (client.unwrap(), played);
        let mut scan = client.scan(Filter::default(), 1 << 20);
        let begun = played.next().await.unwrap().header.request;
        let mut part = crate::wire::read::begin_scan_part(begun, false, 0);
        part.u32(7);
        played.say(part.finish()).await;
        assert!(matches!(scan.next().await, Err(ClientError::Protocol(_))));
        drop(scan);
        let cancelled = played.next().await.unwrap().header;
        assert_eq!((cancelled.kind, cancelled.request), (Kind::ScanCancel.to_u8(), begun));
    });
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    on_a_runtime(async {
        let (listener, options) = listening().await;
        drop(listener);
        let error = Client::connect(options).await.err().unwrap();
        assert!(error.to_string().contains("strandline serve --native"), "{error}");
    });
}
