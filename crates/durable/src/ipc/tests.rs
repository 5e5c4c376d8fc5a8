use super::*;
use crate::testing::{event, texts};
use bytes::Bytes;
use strandline_event::{EventId, Field, Seq};

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
    assert_eq!(error.to_string(), "unknown column `seq`; did you mean `no`?");
    let bytes = Bytes::from(encode(&names, std::iter::once(event(1, &texts[0]))).unwrap());
    let error = InputBatches::from_ipc(&FieldNames::default(), bytes).err().unwrap();
    let (known, listed) = ("unknown column `no`; the columns are `event_id`, `stream_type`, ", error.to_string());
    assert!(listed.starts_with(known) && listed.ends_with("`causation_id`, `tenant_id`"), "{listed}");
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
        let batch = InputBatches::from_ipc(&FieldNames::default(), bytes).unwrap().next().unwrap().unwrap();
        let moment = |row: usize| batch.input(row).map(|input| input.occurred_at.map(|at| at.0));
        [moment(0), moment(1), moment(2)]
    };
    for (n, column) in columns.into_iter().enumerate() {
        let last = if n == 7 { None } else { Some(AT * 1_000_000) };
        assert_eq!(read(column), [Ok(Some(AT * 1_000_000)), Ok(None), Ok(last)], "column {n}");
    }
    let wrong: [ArrayRef; 2] = [
        Arc::new(StringArray::from(vec!["2013-01-01T05:15:00Z", "2013-01-01T05:15:00Z", "yesterday"])),
        Arc::new(TimestampSecondArray::from(vec![0, 0, i64::MAX])),
    ];
    for column in wrong {
        // the others are what they are
        let [first, second, third] = read(column);
        assert!(first.is_ok() && second.is_ok(), "{first:?}, {second:?}");
        let error = third.unwrap_err();
        assert!(error.to_string().starts_with("`occurred_at` is no moment"), "{error}");
        assert_eq!(IpcError::from(error).kind(), ErrorKind::InvalidEvent);
    }
}

#[test]
fn what_a_row_has_wrong_is_wrong_with_that_row() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let texts = |texts: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let numbers = |numbers: [i64; 3]| -> ArrayRef { Arc::new(Int64Array::from(numbers.to_vec())) };
    let read = |name: &str, column: ArrayRef| {
        let same = texts([Some("s"); 3]);
        let columns = [("stream_id", Arc::clone(&same)), ("event_type", same), (name, column)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let batch = InputBatches::from_ipc(&FieldNames::default(), bytes).unwrap().next().unwrap().unwrap();
        [0, 1, 2].map(|row| batch.input(row).err().map(|error| error.name))
    };
    let id = Some("0190a6e4-7c1a-7000-8000-000000000000");
    for (name, column) in [
        ("event_id", texts([id, Some("none"), None])),
        ("seq", numbers([1, -1, 2])),
        ("event_version", numbers([0, 1 << 32, 1])),
    ] {
        assert_eq!(read(name, column), [None, Some(name.to_owned()), None]);
    }
}

#[test]
fn a_moment_of_a_parquet_file_without_a_zone_is_utc() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
    use std::sync::Arc;
    const AT: i64 = 1_357_017_300_000;
    let same: ArrayRef = Arc::new(StringArray::from(vec!["s"]));
    for column in
        [TimestampMillisecondArray::from(vec![AT]), TimestampMillisecondArray::from(vec![AT]).with_timezone("UTC")]
    {
        let occurred: ArrayRef = Arc::new(column);
        let columns = [("stream_id", Arc::clone(&same)), ("event_type", Arc::clone(&same)), ("occurred_at", occurred)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = tempfile::tempfile().unwrap();
        let writer = parquet::arrow::ArrowWriter::try_new(file.try_clone().unwrap(), batch.schema(), None);
        let mut writer = writer.unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let mut batches = InputBatches::from_parquet(&FieldNames::default(), file).unwrap();
        assert_eq!(batches.left_out(), None);
        let read = batches.next().unwrap().unwrap();
        assert_eq!(read.input(0).unwrap().occurred_at.map(|at| at.0), Some(AT * 1000));
    }
}

#[test]
fn what_the_store_gives_by_itself_is_left_out_and_told() {
    let mut names = FieldNames::default();
    names.set(Field::IngestedAt, "stored_at");
    let texts = texts(1);
    let bytes = Bytes::from(encode(&names, std::iter::once(event(1, &texts[0]))).unwrap());
    assert_eq!(InputBatches::from_ipc(&names, bytes).unwrap().left_out(), Some("stored_at"));
}

#[test]
fn compressed_buffers_are_refused_with_what_to_send() {
    let said = |text: &str| IpcError::from(ArrowError::InvalidArgumentError(text.to_owned()));
    let refused = said("lz4 IPC decompression requires the lz4 feature");
    assert_eq!(refused.kind(), ErrorKind::BadRequest);
    let text = refused.to_string();
    assert!(text.contains("(lz4)") && text.contains("IpcWriteOptions(compression=None)"), "{text}");
    assert!(!text.contains("feature"), "{text}");
    assert!(matches!(said("something else"), IpcError::Arrow(_)));
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
