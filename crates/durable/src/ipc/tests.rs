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
fn a_column_that_is_given_twice_is_refused() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field as Column, Schema};
    use std::sync::Arc;
    let column = |name: &str| Column::new(name, DataType::Utf8, false);
    let schema = Arc::new(Schema::new(["stream_id", "event_type", "data", "stream_id"].map(column).to_vec()));
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let batch = RecordBatch::try_new(Arc::clone(&schema), ["a", "x", "1", "b"].map(text).to_vec()).unwrap();
    let mut bytes: Vec<u8> = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let error = InputBatches::from_ipc(&FieldNames::default(), Bytes::from(bytes)).err().unwrap();
    assert_eq!(error.to_string(), "column `stream_id` is given twice");
}

#[test]
fn a_seq_beyond_the_column_is_refused() {
    let texts = texts(1);
    let mut large = event(1, &texts[0]);
    large.seq = Seq(u64::MAX);
    large.event_id = EventId::default();
    assert!(matches!(encode(&FieldNames::default(), std::iter::once(large)), Err(IpcError::Seq(_))));
}

#[test]
fn claims_that_no_bytes_back_are_errors_and_cost_nothing() {
    let names = FieldNames::default();
    // a metadata length of 2 GB; a body of 2^62 bytes would be refused in the same way, by its missing bytes
    for head in [&b"\xff\xff\xff\x7f"[..], b"{\"stream_type\":\"A\"}", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b""] {
        assert!(InputBatches::from_ipc(&names, Bytes::copy_from_slice(head)).is_err());
    }
}

#[test]
fn a_small_stream_that_unpacks_to_very_much_is_refused() {
    use arrow::array::{ArrayRef, DictionaryArray, NullArray, RecordBatch, StringArray, UInt32Array};
    use std::sync::Arc;
    let long = StringArray::from(vec!["x".repeat(1 << 20)]);
    let keys = UInt32Array::from(vec![0; 10_000]);
    let unpacks: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(long)));
    let nothing: ArrayRef = Arc::new(NullArray::new(1 << 40));
    for column in [unpacks, nothing] {
        let columns = [("stream_id", Arc::clone(&column)), ("event_type", column)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        assert!(bytes.len() < 4 << 20);
        let error = InputBatches::from_ipc(&FieldNames::default(), bytes).unwrap().next().unwrap().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
}

#[test]
fn moments_of_any_unit_zone_or_text_are_moments() {
    use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
    use arrow::array::{TimestampMicrosecondArray, TimestampSecondArray};
    use std::sync::Arc;
    const AT: i64 = 1_357_017_300;
    let text = || StringArray::from(vec![Some("2013-01-01T05:15:00Z"), None, Some("2013-01-01 05:15:00")]);
    let seconds = || TimestampSecondArray::from(vec![Some(AT), None, Some(AT)]);
    let micros = TimestampMicrosecondArray::from(vec![Some(AT * 1_000_000), None, Some(AT * 1_000_000)]);
    let packed = DictionaryArray::new(Int32Array::from(vec![Some(0), None, Some(1)]), Arc::new(text().slice(0, 3)));
    let columns: [ArrayRef; 8] = [
        Arc::new(seconds()),
        Arc::new(seconds().with_timezone("UTC")),
        Arc::new(seconds().with_timezone("Europe/Berlin")),
        Arc::new(TimestampMillisecondArray::from(vec![Some(AT * 1000), None, Some(AT * 1000)])),
        Arc::new(micros.with_timezone("+02:00")),
        Arc::new(text()),
        Arc::new(arrow::array::StringViewArray::from(text().iter().collect::<Vec<_>>())),
        Arc::new(packed),
    ];
    let read = |occurred: ArrayRef| {
        let same: ArrayRef = Arc::new(StringArray::from(vec!["s"; 3]));
        let columns = [("stream_id", Arc::clone(&same)), ("event_type", same), ("occurred_at", occurred)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let batch = InputBatches::from_ipc(&FieldNames::default(), bytes).unwrap().next().unwrap()?;
        (0..3).map(|row| Ok(batch.input(row)?.occurred_at.map(|at| at.0))).collect::<Result<Vec<_>, IpcError>>()
    };
    for (n, column) in columns.into_iter().enumerate() {
        let last = if n == 7 { None } else { Some(AT * 1_000_000) };
        assert_eq!(read(column).unwrap(), [Some(AT * 1_000_000), None, last], "column {n}");
    }
    let wrong: [ArrayRef; 2] = [
        Arc::new(StringArray::from(vec!["2013-01-01T05:15:00Z", "2013-01-01T05:15:00Z", "yesterday"])),
        Arc::new(TimestampSecondArray::from(vec![0, 0, i64::MAX])),
    ];
    for column in wrong {
        let error = read(column).unwrap_err();
        assert!(error.to_string().starts_with("column `occurred_at`, row 2: it is not a timestamp"), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidEvent);
    }
}

/// Reads what it can; a panic is the caller's to catch, as the server does. An allocation that fails would end the test.
fn read_all(bytes: Vec<u8>) {
    let read = std::panic::AssertUnwindSafe(|| {
        for batch in InputBatches::from_ipc(&FieldNames::default(), Bytes::from(bytes)).into_iter().flatten().flatten()
        {
            (0..batch.rows()).for_each(|row| drop(batch.input(row)));
        }
    });
    let _ = std::panic::catch_unwind(read);
}

#[test]
fn lengths_that_are_patched_never_end_the_process() {
    let texts = texts(3);
    let events = || texts.iter().enumerate().map(|(i, t)| event(i as u64, t));
    let stream = encode(&FieldNames::default(), events()).unwrap();
    let mut columns = EventColumns::new(schema::arrow(&FieldNames::default()));
    events().for_each(|event| columns.push(&event).unwrap());
    let batch = columns.take().unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    let good = InputBatches::from_ipc(&FieldNames::default(), Bytes::from(file.clone())).unwrap();
    assert_eq!(good.map(|batch| batch.unwrap().rows()).sum::<usize>(), 3);
    // panics are expected: keep them out of the output
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for whole in [&stream, &file] {
        for at in (0..whole.len() - 8).step_by(4) {
            for value in [1_i64 << 40, i64::MAX, -1, i64::from(i32::MAX)] {
                let mut bytes = whole.clone();
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                read_all(bytes);
            }
        }
    }
    std::panic::set_hook(hook);
}
