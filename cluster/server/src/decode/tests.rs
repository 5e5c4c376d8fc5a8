use super::append::{self, ExpectedSeq};
use super::bulk::{BulkBody, BulkBuilder, OnError};
use crate::error::ApiError;
use strandline_event::{ErrorKind, Field, FieldNames, Seq};

fn names() -> FieldNames {
    FieldNames::default()
}

fn append(body: &str) -> Result<append::AppendBody, ApiError> {
    append::decode(body.as_bytes(), &names(), "Call", "c1")
}

fn ndjson(body: &[u8], on_error: OnError) -> Result<BulkBody, ApiError> {
    let names = names();
    let mut builder = BulkBuilder::new(&names, on_error, None);
    builder.ndjson(body)?;
    builder.finish()
}

#[test]
fn payloads_stay_byte_for_byte() {
    let body = "{\"events\":[{\"event_type\":\"A\",\"data\":{ \"x\" :\n 1.50,\"x\":\"\\u00e9\"},\"metadata\":null},\
                {\"event_type\":\"B\"}],\"expected_seq\":4,\"command_id\":\"k\"}";
    let decoded = append(body).unwrap();
    let view = decoded.batch.view();
    assert_eq!(view.data(0), "{ \"x\" :\n 1.50,\"x\":\"\\u00e9\"}");
    assert_eq!((view.data(1), view.metadata(0), view.command_id(1)), ("null", None, Some("k")));
    assert_eq!(decoded.expected, ExpectedSeq::At(Seq(4)));
}

#[test]
fn errors_of_an_append_name_what_is_wrong() {
    let cases = [
        ("", ErrorKind::BadRequest, "the body is empty"),
        (" \n", ErrorKind::BadRequest, "the body is empty"),
        ("{\"events\":[{\"data\":NaN}]}", ErrorKind::BadRequest, "JSON has no NaN"),
        ("{\"events\":\n[{\"data\":{\"a\":[1, -Infinity]}}]}", ErrorKind::BadRequest, "no infinity"),
        ("{}", ErrorKind::BadRequest, "no `events`"),
        ("{\"events\":[]}", ErrorKind::BadRequest, "is empty"),
        ("{\"events\":{}}", ErrorKind::BadRequest, "a list of events"),
        ("{\"event\":[]}", ErrorKind::BadRequest, "unknown field `event`"),
        ("{\"events\":[1]}", ErrorKind::InvalidEvent, "events[0]"),
        ("{\"events\":[{}]}", ErrorKind::InvalidEvent, "`event_type` is missing or empty"),
        ("{\"events\":[{\"event_type\":7}]}", ErrorKind::InvalidEvent, "a text for `event_type`"),
        ("{\"events\":[{\"event_type\":\"A\",\"eventId\":7}]}", ErrorKind::InvalidEvent, "unknown field `eventId`"),
        ("{\"events\":[{\"event_type\":\"A\",\"Tenant-Id\":7}]}", ErrorKind::InvalidEvent, "did you mean `tenant_id`"),
        ("{\"events\":[{\"event_type\":\"A\",\"event_id\":\"7\"}]}", ErrorKind::InvalidEvent, "no UUID"),
        ("{\"events\":[{\"event_type\":\"A\",\"seq\":-1}]}", ErrorKind::InvalidEvent, "a whole number for `seq`"),
        ("{\"events\":[{\"event_type\":\"A\",\"seq\":0}]}", ErrorKind::InvalidEvent, "starts at 1"),
        ("{\"events\":[{\"event_type\":\"A\",\"occurred_at\":\"yesterday\"}]}", ErrorKind::InvalidEvent, "RFC 3339"),
        (
            "{\"events\":[{\"event_type\":\"A\",\"ingested_at\":\"x\"}]}",
            ErrorKind::InvalidEvent,
            "assigned by the store",
        ),
        ("{\"events\":[{\"event_type\":\"A\",\"event_type\":\"B\"}]}", ErrorKind::InvalidEvent, "given twice"),
        (
            "{\"events\":[{\"event_type\":\"A\",\"stream_id\":\"c2\"}]}",
            ErrorKind::InvalidEvent,
            "not the one of the path",
        ),
        (
            "{\"events\":[{\"event_type\":\"A\",\"command_id\":\"a\"}],\"command_id\":\"b\"}",
            ErrorKind::InvalidEvent,
            "one command",
        ),
        ("{\"events\":[{\"event_type\":\"A\"}],\"expected_seq\":\"x\"}", ErrorKind::BadRequest, "`expected_seq`"),
        ("{\"events\":[{\"event_type\":\"A\",\"data\":{]}]}", ErrorKind::BadRequest, "broken JSON at column"),
    ];
    for (body, kind, sentence) in cases {
        let error = append(body).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}: {error}");
        assert!(error.message().contains(sentence), "{body}: {error}");
    }
}

#[test]
fn too_many_events_are_refused_by_their_number() {
    let events = vec!["{\"event_type\":\"A\"}"; 10_001].join(",");
    let error = append(&format!("{{\"events\":[{events}]}}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("10000"));
}

#[test]
fn an_event_over_a_mebibyte_is_too_large() {
    let data = "x".repeat(1 << 20);
    let error = append(&format!("{{\"events\":[{{\"event_type\":\"A\",\"data\":\"{data}\"}}]}}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("1 MiB"));
}

#[test]
fn bulk_keeps_order_and_lines_per_stream_type() {
    let body = b"{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}\r\n\n\
        {\"stream_type\":\"B\",\"stream_id\":\"1\",\"event_type\":\"y\"}\n\
        {\"stream_type\":\"A\",\"stream_id\":\"2\",\"event_type\":\"z\"}";
    let body = ndjson(body, OnError::Abort).unwrap();
    let shape: Vec<_> = body.parts.iter().map(|p| (p.batch.view().stream_type().to_owned(), p.lines.clone())).collect();
    assert_eq!(shape, [("A".to_owned(), vec![1, 4]), ("B".to_owned(), vec![3])]);
}

#[test]
fn a_body_of_nothing_but_bad_lines_is_skipped_line_by_line() {
    let body = "no event\n".repeat(12_000);
    let skipped = ndjson(body.as_bytes(), OnError::Skip).unwrap();
    assert_eq!((skipped.parts.len(), skipped.rejected.len(), skipped.events), (0, 12_000, 12_000));
    let aborted = ndjson(body.as_bytes(), OnError::Abort).unwrap_err();
    assert!(aborted.message().contains("the first 100 refused lines"), "{aborted}");
}

#[test]
fn a_broken_line_is_named_and_the_rule_decides_about_the_rest() {
    let body = b"{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}\n{\"stream_type\":\xff}\n{oops\n\
        {\"stream_id\":\"1\",\"event_type\":\"x\"}\n{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}";
    let error = ndjson(body, OnError::Abort).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    assert!(error.message().starts_with("line 2: not UTF-8"), "{error}");
    let skipped = ndjson(body, OnError::Skip).unwrap();
    assert_eq!(skipped.parts[0].lines, [1, 5]);
    assert_eq!(skipped.rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn what_is_no_white_space_in_json_is_none_around_an_event() {
    let event = "{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}";
    let body = format!("{event}\x0c\n \t\r\n\x0c\n \t{event} \r\n");
    let skipped = ndjson(body.as_bytes(), OnError::Skip).unwrap();
    assert_eq!(skipped.parts[0].lines, [4]);
    assert_eq!(skipped.rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn nonsense_ends_soon() {
    let most = ndjson("x\n".repeat(100_000).as_bytes(), OnError::Skip).unwrap();
    assert_eq!(most.rejected.len(), 100_000);
    let error = ndjson("x\n".repeat(100_001).as_bytes(), OnError::Skip).unwrap_err();
    assert!(error.message().contains("more than 100000 lines"), "{error}");
    assert!(ndjson("x\n".repeat(100_001).as_bytes(), OnError::Abort).is_err());
    let deep = "[".repeat(1 << 20);
    assert!(ndjson(deep.as_bytes(), OnError::Abort).is_err());
}

#[test]
fn renamed_fields_are_the_only_names() {
    let mut names = FieldNames::default();
    names.set(Field::StreamType, "kind");
    names.set(Field::Payload, "body");
    let mut builder = BulkBuilder::new(&names, OnError::Skip, None);
    builder
        .array(
            b"[{\"kind\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\",\"body\":[1]},{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}]",
        )
        .unwrap();
    let body = builder.finish().unwrap();
    assert_eq!(body.parts[0].batch.view().data(0), "[1]");
    assert!(body.rejected[0].error.message().contains("did you mean `kind`"));
}

#[test]
fn an_array_is_read_element_by_element() {
    let names = names();
    let read = |body: &str, rule| {
        let mut builder = BulkBuilder::new(&names, rule, None);
        builder.array(body.as_bytes()).and_then(|()| builder.finish())
    };
    let event = "{\"stream_type\":\"A\",\"stream_id\":\"1\",\"event_type\":\"x\"}";
    let skipped = read(&format!("[{event},7,{event}]"), OnError::Skip).unwrap();
    assert_eq!((skipped.parts[0].lines.len(), skipped.rejected[0].line), (2, 2));
    for body in ["{}", "[1,2", "[1]x", ""] {
        assert_eq!(read(body, OnError::Skip).unwrap_err().kind(), ErrorKind::BadRequest, "{body}");
    }
    let ones = format!("[{}1]", "1,".repeat(100_001));
    assert!(read(&ones, OnError::Skip).unwrap_err().message().contains("more than 100000"));
}

#[test]
fn a_body_of_too_many_stream_types_is_refused() {
    let lines: String =
        (0..1001).map(|i| format!("{{\"stream_type\":\"T{i}\",\"stream_id\":\"1\",\"event_type\":\"x\"}}\n")).collect();
    assert_eq!(ndjson(lines.as_bytes(), OnError::Abort).unwrap_err().kind(), ErrorKind::TooLarge);
}
