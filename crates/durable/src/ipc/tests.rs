use super::*;
use crate::testing::{event, texts};
use bytes::Bytes;
use strandline_event::{EventId, Seq};

#[test]
fn a_stream_comes_back_row_by_row() {
    let mut names = FieldNames::default();
    names.set(Field::Payload, "payload");
    let texts = texts(20_000);
    let events: Vec<_> = texts.iter().enumerate().map(|(i, t)| event(i as u64, t)).collect();
    let bytes = encode(&names, events.iter().copied()).unwrap();
    let mut row = 0;
    for batch in InputBatches::from_ipc(&names, Bytes::from(bytes)).unwrap() {
        let batch = batch.unwrap();
        for i in 0..batch.rows() {
            let (input, expected) = (batch.input(i).unwrap(), &events[row]);
            assert_eq!(batch.stream_type(i), Some(expected.stream_type));
            assert_eq!((input.event_id, input.seq), (Some(expected.event_id), Some(expected.seq)));
            assert_eq!((input.data, input.metadata), (expected.data, expected.metadata));
            assert_eq!((input.event_version, input.occurred_at), (expected.event_version, Some(expected.occurred_at)));
            assert_eq!((input.stream_id, input.tenant_id), (expected.stream_id, expected.tenant_id));
            row += 1;
        }
    }
    assert_eq!(row, events.len());
}

#[test]
fn damaged_bytes_are_errors() {
    let names = FieldNames::default();
    let texts = texts(10);
    let good = encode(&names, texts.iter().enumerate().map(|(i, t)| event(i as u64, t))).unwrap();
    for cut in 0..good.len() {
        let batches = InputBatches::from_ipc(&names, Bytes::copy_from_slice(&good[..cut]));
        let rows: usize = batches.map_or(0, |b| b.flatten().map(|b| b.rows()).sum());
        assert!(rows <= 10);
    }
    assert!(InputBatches::from_ipc(&names, Bytes::from_static(b"ARROW1 no file")).is_err());
}

#[test]
fn unknown_and_missing_columns_are_named() {
    let texts = texts(1);
    let bytes = Bytes::from(encode(&FieldNames::default(), std::iter::once(event(1, &texts[0]))).unwrap());
    let mut names = FieldNames::default();
    names.set(Field::Seq, "no");
    let error = InputBatches::from_ipc(&names, bytes).err().unwrap();
    assert_eq!(error.to_string(), "unknown column `seq`");
}

#[test]
fn a_seq_beyond_the_column_is_refused() {
    let texts = texts(1);
    let mut large = event(1, &texts[0]);
    large.seq = Seq(u64::MAX);
    large.event_id = EventId::default();
    assert!(matches!(encode(&FieldNames::default(), std::iter::once(large)), Err(IpcError::Seq(_))));
}
