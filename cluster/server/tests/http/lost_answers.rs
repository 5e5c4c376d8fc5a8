//! Answers of the native protocol that are lost: the connection ends when an append is stored, and before its client has heard of it.
//! What the store knows again is sent again by the client and stored once; of all else it says that nobody knows.

use crate::common::start;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::{HEADER_BYTES, Kind};
use strandline_client::{
    BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, EventInput, Expected, Filter, OnError, Options,
    PartAppended, Seq,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Stands before the server. It lets everything through, but for answers to appends that it is told to lose: instead of such a one the
/// client gets the end of the connection.
struct Proxy {
    address: String,
    to_lose: Arc<AtomicUsize>,
}

impl Proxy {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let to_lose = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&to_lose);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&left)));
            }
        });
        Self { address, to_lose }
    }

    fn lose(&self, answers: usize) {
        self.to_lose.store(answers, Ordering::SeqCst);
    }

    fn assert_all_lost(&self) {
        assert_eq!(self.to_lose.load(Ordering::SeqCst), 0, "the answers were to be lost");
    }
}

/// One connection, until a side ends it or an answer is lost. Then both are closed.
async fn carry(client: TcpStream, server: TcpStream, to_lose: Arc<AtomicUsize>) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = answers(from_server, to_client, &to_lose) => {}
    }
}

async fn answers(mut from_server: OwnedReadHalf, mut to_client: OwnedWriteHalf, to_lose: &AtomicUsize) {
    let mut frames = FrameReader::new(64 << 20);
    loop {
        match frames.step().unwrap() {
            Step::Frame(frame) if is_lost(&frame, to_lose) => return,
            Step::Frame(Frame { header, body }) => {
                let mut bytes = header.encode().to_vec();
                bytes.extend_from_slice(&body);
                bytes.resize(HEADER_BYTES + header.padded_bytes(), 0);
                if to_client.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More => match from_server.read(frames.space()).await {
                Ok(0) | Err(_) => return,
                Ok(read) => frames.filled(read),
            },
        }
    }
}

fn is_lost(frame: &Frame, to_lose: &AtomicUsize) -> bool {
    let is_of_appends = matches!(Kind::from_u8(frame.header.kind), Some(Kind::Appended | Kind::BulkAppended));
    let one_less = |left: usize| left.checked_sub(1);
    is_of_appends && to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

/// A client behind the proxy, and one that sees what is stored.
struct Rig {
    proxy: Proxy,
    client: Client,
    direct: Client,
}

fn with_rig(work: impl AsyncFnOnce(Rig)) {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = Proxy::before(server.native).await;
        let client = Client::connect(Options::new(proxy.address.clone())).await.unwrap();
        let direct = Client::connect(Options::new(server.native.to_string())).await.unwrap();
        work(Rig { proxy, client, direct }).await;
    });
}

impl Rig {
    /// Stream and payload of every event of the store.
    async fn stored(&self) -> Vec<(String, String)> {
        let (mut scan, mut found) = (self.direct.scan(Filter::default(), 1 << 20), Vec::new());
        while let Some(events) = scan.next().await.unwrap() {
            found.extend(events.iter().map(|event| (event.stream_id.to_owned(), event.data.to_owned())));
        }
        found.sort();
        found
    }
}

fn one(stream_id: &str, data: &str, command_id: Option<&str>) -> BatchBytes {
    let mut batch = BatchBuilder::new("T", BatchUnit::Append);
    batch.push(&EventInput { stream_id, event_type: "E", data, command_id, ..EventInput::default() }).unwrap();
    batch.finish().unwrap()
}

const ROWS: usize = 300;

/// Rows of many streams; some of them without a command id.
fn rows(without_command: impl Fn(usize) -> bool) -> BatchBytes {
    let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
    for (row, (stream_id, data)) in all_rows().into_iter().enumerate() {
        let command = format!("command-{row}");
        let command_id = (!without_command(row)).then_some(command.as_str());
        let event =
            EventInput { stream_id: &stream_id, event_type: "E", data: &data, command_id, ..EventInput::default() };
        batch.push(&event).unwrap();
    }
    batch.finish().unwrap()
}

/// What they are stored as.
fn all_rows() -> Vec<(String, String)> {
    (0..ROWS).map(|row| (format!("s{}", row % 7), format!("{{\"n\":{row}}}"))).collect()
}

fn sorted(mut all: Vec<(String, String)>) -> Vec<(String, String)> {
    all.sort();
    all
}

#[test]
fn a_single_append_whose_answer_was_lost_is_found_stored_and_is_there_once() {
    with_rig(async |rig| {
        // also where the answer to what is sent again is lost
        for (stream_id, answers) in [("a", 1), ("b", 3)] {
            rig.proxy.lose(answers);
            let known = rig.client.append(one(stream_id, "{}", Some("c")), Expected::Empty).await.unwrap();
            assert!(known.is_known(), "{known:?}");
            assert_eq!((known.first_seq(), known.last_seq()), (Seq(1), Seq(1)));
            rig.proxy.assert_all_lost();
        }
        let once = ["a", "b"].map(|stream_id| (stream_id.to_owned(), "{}".to_owned()));
        assert_eq!(rig.stored().await, once);
    });
}

#[test]
fn appends_that_went_together_and_lost_their_answers_are_there_once_each() {
    with_rig(async |rig| {
        rig.proxy.lose(2);
        let asking: Vec<_> = (0..20)
            .map(|n| {
                let (client, stream_id) = (rig.client.clone(), format!("s{n:02}"));
                tokio::spawn(async move { client.append(one(&stream_id, "{}", Some("c")), Expected::Empty).await })
            })
            .collect();
        let mut known = 0;
        for asked in asking {
            let appended = asked.await.unwrap().unwrap();
            assert_eq!((appended.first_seq(), appended.last_seq()), (Seq(1), Seq(1)));
            known += usize::from(appended.is_known());
        }
        rig.proxy.assert_all_lost();
        assert!(known > 0, "those of the first answer were stored by then");
        let once: Vec<_> = (0..20).map(|n| (format!("s{n:02}"), "{}".to_owned())).collect();
        assert_eq!(rig.stored().await, once);
    });
}

#[test]
fn a_bulk_append_whose_answer_was_lost_is_found_stored_and_is_there_once() {
    with_rig(async |rig| {
        rig.proxy.lose(1);
        let parts = rig.client.append_bulk(&[rows(|_| false)], OnError::Abort).await.unwrap();
        rig.proxy.assert_all_lost();
        let all_known = PartAppended { known: ROWS as u64, ..PartAppended::default() };
        assert_eq!(parts, [Ok(all_known)]);
        assert_eq!(rig.stored().await, sorted(all_rows()));
    });
}

#[test]
fn without_a_command_id_a_lost_answer_is_told_and_nothing_is_sent_again() {
    with_rig(async |rig| {
        rig.proxy.lose(1);
        let told = rig.client.append(one("a", "{}", None), Expected::Empty).await.unwrap_err();
        assert!(matches!(told, ClientError::OutcomeUnknown { .. }), "{told}");
        rig.proxy.assert_all_lost();
        assert_eq!(rig.stored().await, [("a".to_owned(), "{}".to_owned())], "it was stored, as it may be");
        // the client goes on
        let next = rig.client.append(one("a", "{}", None), Expected::At(Seq(1))).await.unwrap();
        assert_eq!(next.first_seq(), Seq(2));
    });
    with_rig(async |rig| {
        rig.proxy.lose(1);
        // one row is enough
        let bulk = [rows(|row| row == ROWS - 1)];
        let told = rig.client.append_bulk(&bulk, OnError::Abort).await.unwrap_err();
        assert!(matches!(told, ClientError::OutcomeUnknown { .. }), "{told}");
        rig.proxy.assert_all_lost();
        assert_eq!(rig.stored().await, sorted(all_rows()));
    });
}
