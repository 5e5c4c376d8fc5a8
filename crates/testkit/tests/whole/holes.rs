//! What no append can make and a fault can: a hole in a stream, one key with two contents. Reads say so, as they are told to.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::mpsc::channel;
use strandline_engine::append::Answer;
use strandline_engine::read::{Order, StreamRead};
use strandline_event::{
    BatchBuilder, BatchBytes, BatchUnit, ErrorKind, EventInput, IdPrefix, LogKey, Seq, StampedBatch, StampsBuilder,
};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{Entry, InlineIo, LogIo};

fn batch(rows: usize, data: &str) -> BatchBytes {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    for _ in 0..rows {
        builder.push(&EventInput { stream_id: "s", event_type: "E", data, ..EventInput::default() }).unwrap();
    }
    builder.finish().unwrap()
}

/// A store whose stream `s` has three events.
fn three(dir: &tempfile::TempDir, settings: &str) -> LocalStore {
    let tiers = "wal.enabled = true, wal.path = '/wal', inmemory.enabled = true";
    let mut store = LocalStore::new(declared(&dir.path().to_string_lossy(), &format!("{tiers}{settings}"))).unwrap();
    assert!(matches!(store.append_batch(batch(3, "1")), Answer::Done(_)));
    store
}

/// Puts a batch with these seqs into the log behind the rules' back, then starts again.
fn smuggle(store: &mut LocalStore, seqs: &[u64], data: &str) {
    let at = store.time.advance_us(1_000);
    let mut stamps = StampsBuilder::new(at, IdPrefix::v7(at, seqs[0]), seqs.len());
    for (i, seq) in seqs.iter().enumerate() {
        stamps.push(Seq(*seq), at.plus_us(i as i64));
    }
    let batch = StampedBatch::new(batch(seqs.len(), data), stamps.finish()).unwrap();
    let writer = store.driver(&LogKey::single("T")).unwrap().log_writer().unwrap();
    let leader = writer.state().vote.leader;
    let entry = Entry { leader, schema: 1, count: seqs.len() as u32, parts: &batch.payload_parts() };
    writer.push(entry, at).unwrap();
    let (send, receive) = channel();
    let group = writer.take_group().unwrap();
    InlineIo::new(abort_on_fatal()).submit(group, Box::new(move |done| drop(send.send(done))));
    writer.committed(receive.recv().unwrap().unwrap());
    store.kill().unwrap();
}

const WHOLE: StreamRead<'static> =
    StreamRead { stream_type: "T", stream_id: "s", from_seq: None, to_seq: None, limit: 1000, order: Some(Order::Asc) };

fn check_hole(store: &LocalStore, policy: &str) {
    match (policy, store.store().read_stream(&WHOLE)) {
        ("error", Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::MissingSeq);
            assert!(error.to_string().contains("seq 4 is missing"), "{error}");
        }
        ("warn", Ok(page)) => {
            assert_eq!((page.len(), page.warnings.len()), (5, 1));
            assert_eq!(page.verdict.missing, [(Seq(4), Seq(4))]);
        }
        ("ignore", Ok(page)) => {
            assert_eq!((page.len(), page.warnings.len(), page.verdict.contiguous), (5, 0, false));
        }
        (_, other) => panic!("{policy}: {other:?}"),
    }
    // a part that does not reach the hole is whole
    for read in [
        StreamRead { to_seq: Some(Seq(3)), ..WHOLE },
        StreamRead { from_seq: Some(Seq(5)), ..WHOLE },
        StreamRead { limit: 2, order: Some(Order::Desc), ..WHOLE },
    ] {
        assert!(store.store().read_stream(&read).unwrap().verdict.contiguous, "{read:?}");
    }
}

#[test]
fn a_hole_fails_a_read_or_warns_or_neither_as_the_policy_says() {
    for policy in ["error", "warn", "ignore"] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = three(&dir, &format!(", read.missing_seq.policy = '{policy}'"));
        smuggle(&mut store, &[5, 6], "1");
        check_hole(&store, policy);
        let report = strandline_engine::verify::verify(&store.store().config(), &(store.disk().clone() as _)).unwrap();
        assert!(report.findings.iter().any(|f| f.to_string().contains("seq 4 is missing")), "{:?}", report.findings);
    }
}

#[test]
fn one_key_with_two_contents_is_an_error_that_names_both_places() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = three(&dir, "");
    store.compact(&LogKey::single("T")).unwrap();
    smuggle(&mut store, &[3], "\"another\"");
    let error = store.store().read_stream(&WHOLE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let text = error.to_string();
    assert!(text.contains("seq 3") && text.contains(".parquet") && text.contains("of `T`, index"), "{text}");
}
