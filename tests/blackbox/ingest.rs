//! `strandline ingest`: resumes after a break without duplicates, keeps order, says which line is broken.

use crate::harness::{Server, Store};
use crate::oracles::{oracle, python};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Lines without command ids: only the chunk marks can tell what is stored.
fn lines(count: u64) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let data = json!({"n": n, "filler": "x".repeat(150)});
        let line = json!({"stream_type": "T", "stream_id": format!("s{}", n % 40), "event_type": "E", "data": data});
        writeln!(text, "{line}").unwrap();
        text
    })
}

fn write(store: &Store, name: &str, text: &str) -> String {
    let path: PathBuf = store.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn assert_each_once_in_order(server: &Server, count: u64) {
    let mut seen = 0;
    for stream in 0..40 {
        let events = server.http().stream("T", &format!("s{stream}"));
        let numbers: Vec<&Value> = events.iter().map(|e| &e["data"]["n"]).collect();
        let wanted: Vec<Value> = (0..count).filter(|n| n % 40 == stream).map(|n| json!(n)).collect();
        assert!(numbers.iter().copied().eq(&wanted), "stream s{stream}: {} of {}", numbers.len(), wanted.len());
        seen += events.len() as u64;
    }
    assert_eq!(seen, count);
}

#[test]
fn a_second_run_stores_nothing_twice() {
    let store = Store::new(&[]);
    let server = store.start();
    let file = write(&store, "in.ndjson", &lines(25_000));
    let first = server.client(&["ingest", &file]);
    assert!(first.code == 0 && first.stdout.starts_with("appended 25000, already there 0, refused 0"), "{first:?}");
    for compacted in [false, true] {
        if compacted {
            server.http().compact();
        }
        let second = server.client(&["ingest", &file]);
        assert!(second.code == 0 && second.stdout.starts_with("appended 0, already there 25000"), "{second:?}");
    }
    assert_each_once_in_order(&server, 25_000);
    server.kill();
    let server = store.start();
    let third = server.client(&["ingest", &file]);
    assert!(third.code == 0 && third.stdout.starts_with("appended 0, already there 25000"), "{third:?}");
    assert_each_once_in_order(&server, 25_000);
}

#[test]
fn it_goes_on_where_a_killed_node_or_a_killed_client_left_it() {
    let count = 60_000;
    let store = Store::new(&["wal.rollover_mb = 1", "compaction.min_segment_mb = 1"]);
    let file = write(&store, "in.ndjson", &lines(count));
    let mut pause = Duration::from_millis(150);
    for round in 0..6 {
        let server = store.start();
        let arguments = ["ingest", &file, "--patience", "0", "--url", server.url()];
        let mut client =
            crate::harness::program().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(pause);
        pause += Duration::from_millis(60);
        if round % 2 == 0 {
            client.kill().unwrap();
            client.wait().unwrap();
            server.stop();
        } else {
            server.kill();
            client.wait().unwrap();
        }
    }
    let server = store.start();
    let last = server.client(&["ingest", &file]);
    assert_eq!(last.code, 0, "{last:?}");
    assert_each_once_in_order(&server, count);
    server.stop();
    store.assert_clean();
}

#[test]
fn both_protocols_tell_the_same_and_one_goes_on_where_the_other_stopped() {
    let text = {
        let mut lines: Vec<String> = lines(12_000).lines().map(str::to_owned).collect();
        lines[10_500] = "{\"stream_type\":\"T\"".to_owned();
        lines.insert(3, json!({"stream_type": "U", "stream_id": "s0", "event_type": "E", "seq": 7}).to_string());
        lines.join("\n")
    };
    let told: Vec<[String; 4]> = ["http", "native"]
        .into_iter()
        .map(|protocol| {
            let store = Store::new(&[]);
            let server = store.start();
            let file = write(&store, "in.ndjson", &text);
            let run = |more: &[&str]| {
                let arguments = [&["ingest", file.as_str(), "--protocol", protocol], more].concat();
                let finished = server.client(&arguments);
                assert_eq!(finished.code, 1, "{finished:?}");
                // how long it took is not the same
                let told = finished.stdout.split(" lines in").next().unwrap_or_default().to_owned();
                [told, finished.stderr.replace(&file, "in.ndjson")]
            };
            let ([first, why], [skipped, named]) = (run(&[]), run(&["--on-error", "skip"]));
            assert_eq!(server.http().scan().len(), 11_999);
            let other = if protocol == "http" { "native" } else { "http" };
            let again = server.client(&["ingest", &file, "--on-error", "skip", "--protocol", other]);
            assert!(again.stdout.starts_with("appended 0, already there 11999, refused 2"), "{again:?}");
            [first, why, skipped, named]
        })
        .collect();
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_broken_line_is_named_and_one_can_go_on() {
    let store = Store::new(&[]);
    let server = store.start();
    let mut text: Vec<String> = lines(25_000).lines().map(str::to_owned).collect();
    let whole = text[14_000].clone();
    text[14_000] = "{\"stream_type\":\"T\",\"stream_id\":".to_owned();
    let file = write(&store, "in.ndjson", &text.join("\n"));
    let broken = server.client(&["ingest", &file]);
    assert_eq!(broken.code, 1, "{broken:?}");
    let named = format!("line 14001 of {file}: ");
    assert_eq!(broken.stderr.matches("line 14001").count(), 1, "{}", broken.stderr);
    assert!(broken.stderr.contains(&named) && broken.stderr.contains("before line 10001 is."), "{}", broken.stderr);
    assert!(!broken.stderr.contains("on_error"), "HTTP's name of the option: {}", broken.stderr);
    let stopped = "stopped: appended 10000, already there 0 of 25000 lines in ";
    assert!(broken.stdout.starts_with(stopped), "a line was refused, and counted by nobody: {}", broken.stdout);
    let option = broken.stderr.split("--from-line ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    text[14_000] = whole;
    let mended = write(&store, "in.ndjson", &text.join("\n"));
    let rest = server.client(&["ingest", &mended, "--from-line", option]);
    assert_eq!(rest.code, 0, "{rest:?}");
    assert_each_once_in_order(&server, 25_000);
}

#[test]
fn refused_lines_can_be_left_out() {
    let store = Store::new(&[]);
    let server = store.start();
    let good = lines(12_000);
    let file = write(&store, "in.ndjson", &format!("not json\n{good}{{\"stream_type\":\"T\"}}\n"));
    assert_eq!(server.client(&["ingest", &file]).code, 1);
    let skipped = server.client(&["ingest", &file, "--on-error", "skip"]);
    assert_eq!(skipped.code, 1, "{skipped:?}");
    assert!(skipped.stdout.starts_with("appended 12000, already there 0, refused 2"), "{skipped:?}");
    assert!(skipped.stderr.contains("line 1:") && skipped.stderr.contains("line 12002:"), "{}", skipped.stderr);
    assert_each_once_in_order(&server, 12_000);
}

#[test]
fn a_second_run_refuses_again_what_the_store_refused() {
    let store = Store::new(&[]);
    let server = store.start();
    let gap = r#"{"stream_type":"T","stream_id":"s0","event_type":"E","seq":900000}"#;
    let file = write(&store, "in.ndjson", &format!("{}{gap}\n{}", lines(11_000), lines(9)));
    let skip = |server: &Server| server.client(&["ingest", &file, "--on-error", "skip"]);
    let first = skip(&server);
    assert!(first.code == 1 && first.stdout.starts_with("appended 11009, already there 0, refused 1"), "{first:?}");
    server.kill();
    let server = store.start();
    for compacted in [false, true] {
        if compacted {
            server.http().compact();
        }
        let second = skip(&server);
        assert!(
            second.code == 1 && second.stdout.starts_with("appended 0, already there 11009, refused 1"),
            "{second:?}"
        );
        assert!(second.stderr.contains("line 11001:"), "{}", second.stderr);
    }
    assert_eq!(server.http().scan().len(), 11_009);
}

#[test]
fn a_line_of_100_mb_is_refused_before_anything_is_sent() {
    let store = Store::new(&[]);
    let server = store.start();
    let file = write(&store, "in.ndjson", &format!("{}\"{}\"\n", lines(3), "y".repeat(100 << 20)));
    let refused = server.client(&["ingest", &file]);
    assert!(refused.code == 1 && refused.stderr.contains("line 4"), "{refused:?}");
    assert_eq!(server.http().scan().len(), 0);
}

#[test]
fn packed_input_stdin_and_what_is_no_file() {
    let store = Store::new(&[]);
    let server = store.start();
    let sample = crate::harness::root().join("samples/flights-sample.ndjson.zst");
    let ingested = server.client(&["ingest", &sample.to_string_lossy()]);
    assert!(ingested.code == 0 && ingested.stdout.starts_with("appended 11210,"), "{ingested:?}");
    let piped = server.client_with_input(&["ingest", "-"], lines(100).as_bytes());
    assert!(piped.code == 0 && piped.stdout.starts_with("appended 100,"), "{piped:?}");
    assert_eq!(server.client(&["ingest", "/no/such/file"]).code, 2);
    assert_eq!(server.client_with_input(&["ingest", "-"], b"").code, 2);
}

#[test]
fn parquet_and_arrow_files_are_loaded_as_they_are() {
    let from = Store::new(&[]);
    let source = from.start();
    let file = write(&from, "in.ndjson", &lines(3_000));
    assert_eq!(source.client(&["ingest", &file]).code, 0);
    let wanted = source.http().stream("T", "s7");
    let arrow = from.path().join("scan.arrow");
    std::fs::write(&arrow, source.http().get_as("scan", "application/vnd.apache.arrow.stream").body).unwrap();
    source.http().compact();
    let parquet = source.client(&["files", "--format", "paths"]).stdout.lines().next().unwrap().to_owned();
    for input in [arrow.to_string_lossy().into_owned(), parquet] {
        let to = Store::new(&[]);
        let server = to.start();
        let ingested = server.client(&["ingest", &input]);
        assert!(ingested.code == 0 && ingested.stdout.starts_with("appended 3000,"), "{ingested:?}");
        let found = server.http().stream("T", "s7");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!((&found["event_id"], &found["data"]), (&wanted["event_id"], &wanted["data"]));
        }
        assert_each_once_in_order(&server, 3_000);
    }
}

/// Streams of Arrow that are small as they come: buffers that are compressed, and a dictionary that says one megabyte again and again.
const SMALL_ARROW: &str = r#"
import sys
import pyarrow as pa
import pyarrow.ipc

texts = {"stream_type": "T", "stream_id": "s", "event_type": "E", "data": '"' + "x" * 1_000_000 + '"'}
plain = pa.table({name: [text] * 64 for name, text in texts.items()})
keys = pa.array([0] * 5000, pa.int32())
packed = pa.table({name: pa.DictionaryArray.from_arrays(keys, pa.array([text])) for name, text in texts.items()})


def write(path, table, **options):
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)


write(sys.argv[1], plain, compression="zstd")
write(sys.argv[2], plain, compression="lz4")
write(sys.argv[3], packed)
"#;

#[test]
fn a_small_body_of_arrow_that_unpacks_to_very_much_is_refused() {
    let store = Store::new(&[]);
    let server = store.start();
    let aside = tempfile::tempdir().unwrap();
    let files = ["zstd.arrow", "lz4.arrow", "packed.arrow"].map(|name| aside.path().join(name));
    let made = Command::new(python()).arg("-c").arg(SMALL_ARROW).args(&files).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let refusals = [(400, "bad_request"), (400, "bad_request"), (413, "too_large")];
    for (file, (status, code)) in files.iter().zip(refusals) {
        let body = std::fs::read(file).unwrap();
        assert!(body.len() < 2 << 20, "{}: {} bytes", file.display(), body.len());
        server.http().post_as("events", "application/vnd.apache.arrow.stream", &body).expect_error(status, code);
        let ingested = server.client(&["ingest", &file.to_string_lossy()]);
        assert_ne!(ingested.code, 0, "{ingested:?}");
    }
    assert_eq!(server.http().scan().len(), 0);
    server.stop();
    store.assert_clean();
}

#[test]
fn rows_that_are_no_events_are_left_out_as_lines_are() {
    let store = Store::new(&[]);
    let server = store.start();
    oracle("broken_rows.py", &[store.path()]);
    let file = |name: &str| store.path().join(name).to_string_lossy().into_owned();
    let stopped = server.client(&["ingest", &file("rows.parquet")]);
    assert_eq!((stopped.code, stopped.stdout.as_str()), (1, ""), "{stopped:?}");
    assert!(stopped.stderr.contains("row 2: broken JSON in `data`"), "{stopped:?}");
    assert!(stopped.stderr.contains("no NaN") && stopped.stderr.contains("--on-error skip"), "{stopped:?}");
    // the same rows in another file are the same load: what is marked are rows, not bytes
    for (name, told) in [("rows.parquet", "appended 2, already there 0"), ("rows.arrow", "appended 0, already there 2")]
    {
        let skipped = server.client(&["ingest", &file(name), "--on-error", "skip"]);
        assert_eq!(skipped.code, 1, "{skipped:?}");
        assert!(skipped.stdout.starts_with(&format!("{told}, refused 2 of 4 lines")), "{skipped:?}");
        for refused in ["line 2: broken JSON in `data`", "line 3: `occurred_at` is no moment"] {
            assert!(skipped.stderr.contains(refused), "{skipped:?}");
        }
    }
    let found = server.http().stream("T", "s");
    assert_eq!(found.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 4]);
    server.stop();
}
