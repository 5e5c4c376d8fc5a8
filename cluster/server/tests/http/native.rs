//! What the native protocol shares with HTTP: the account of bytes in flight, and the end of the node.

use crate::common::{Running, start, start_with};
use strandline_client::wire::append::encode_append;
use strandline_client::wire::hello::Hello;
use strandline_client::{BatchBuilder, BatchBytes, BatchUnit, Client, EventInput, Expected, OnError, Options};
use strandline_event::ErrorKind;
use strandline_workers::NodeOptions;

fn batch(unit: BatchUnit, count: usize, text_bytes: usize) -> BatchBytes {
    let data = format!("\"{}\"", "x".repeat(text_bytes));
    let mut batch = BatchBuilder::new("Call", unit);
    for _ in 0..count {
        batch.push(&EventInput { stream_id: "c", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    }
    batch.finish().unwrap()
}

/// The first two frames of a client, of which the second is an append of so many bytes.
pub(crate) fn hello_and_large_append(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let options = Options::new("");
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        body_max: options.answer_bytes_max,
        store: String::new(),
        token: String::new(),
        program: "test".to_owned(),
    };
    let large = batch(BatchUnit::Append, 1, bytes);
    let frame = encode_append(2, std::iter::once((&large, Expected::Any)), false);
    (hello.encode(1).into_bytes(), frame.into_bytes())
}

fn with_client<T>(server: &Running, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Client::connect(Options::new(server.native.to_string())).await.unwrap()).await })
}

#[test]
fn bytes_in_flight_are_counted_with_those_of_http_and_more_is_overloaded() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with(folder.path(), "", |options| NodeOptions { in_flight_bytes_max: 200 << 10, ..options });
    with_client(&server, async |client| {
        // the body passes unread, and the connection goes on
        for unit in [BatchUnit::Append, BatchUnit::Rows] {
            let large = batch(unit, 3, 100_000);
            let refused = match unit {
                BatchUnit::Append => client.append(large, Expected::Any).await.map(drop),
                BatchUnit::Rows => client.append_bulk(&[large], OnError::Abort).await.map(drop),
            };
            assert_eq!(refused.unwrap_err().kind(), Some(ErrorKind::Overloaded));
        }
        for _ in 0..10 {
            client.append(batch(BatchUnit::Append, 1, 100_000), Expected::Any).await.unwrap();
        }
        assert_eq!(client.head("Call", "c").await.unwrap().unwrap().last_seq.0, 10);
    });
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("strandline_in_flight_bytes 0"), "everything was given back: {metrics}");
}

#[test]
fn limits_of_an_append_are_those_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    with_client(&server, async |client| {
        let refused = client.append(batch(BatchUnit::Append, 10_001, 1), Expected::Any).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        let refused = client.append(batch(BatchUnit::Append, 17, 1_000_000), Expected::Any).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        let refused = client.append_bulk(&[batch(BatchUnit::Rows, 68, 1_000_000)], OnError::Abort).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        client.append(batch(BatchUnit::Append, 10_000, 1), Expected::Empty).await.unwrap();
    });
}
