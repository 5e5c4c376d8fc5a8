//! Real input: flights of 2013. The full file (1,000,898 events) where `STRANDLINE_TEST_FLIGHTS` names it or it lies beside the
//! repository, else the committed sample; which one is printed.

use crate::harness::{Server, Store, root};
use crate::oracles::oracle;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

const KEYS: &[&str] = &[
    "partition.by = ('dt')",
    "partition.dt.expr = DATE(occurred_at)",
    "id.command_id.unique_scope = 'stream'",
    "compaction.max_open_files = 8",
    "compaction.trigger = 'time'",
    "compaction.schedule = '0 0 1 1 *'",
];

/// What is known about an input.
struct Input {
    file: PathBuf,
    events: usize,
    streams: usize,
    dates: usize,
}

fn input() -> Input {
    let given = std::env::var_os("STRANDLINE_TEST_FLIGHTS").map(PathBuf::from);
    let full = given.unwrap_or_else(|| root().join("../shared/data/flights-2013.ndjson.zst"));
    if full.exists() {
        println!("flights: the full file");
        return Input { file: full, events: 1_000_898, streams: 4_050, dates: 367 };
    }
    println!("flights: {} is not there: the committed sample stands in", full.display());
    Input { file: root().join("samples/flights-sample.ndjson.zst"), events: 11_210, streams: 43, dates: 367 }
}

/// Events of each stream as they stand in the file, without reading the store's code.
fn streams_of(input: &Input) -> BTreeMap<String, Vec<Value>> {
    let unpacked = zstd::stream::read::Decoder::new(std::fs::File::open(&input.file).unwrap()).unwrap();
    let mut streams: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in BufReader::new(unpacked).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        streams.entry(event["stream_id"].as_str().unwrap().to_owned()).or_default().push(event);
    }
    streams
}

#[test]
fn a_year_of_flights_goes_in_is_compacted_and_comes_back() {
    let input = input();
    let streams = streams_of(&input);
    assert_eq!((streams.len(), streams.values().map(Vec::len).sum::<usize>()), (input.streams, input.events));
    let store = Store::new(KEYS);
    let server = store.start();
    let ingested = server.client(&["ingest", &input.file.to_string_lossy()]);
    assert!(ingested.code == 0, "{ingested:?}");
    print!("flights: {}", ingested.stdout);
    assert!(
        ingested.stdout.starts_with(&format!("appended {}, already there 0, refused 0", input.events)),
        "{ingested:?}"
    );
    let open = most_open_files(&server);
    println!("flights: compacted; at most {open} data files were open at once");
    assert!(open <= 8, "compaction.max_open_files");
    let files = server.http().get("/admin/v1/stores/test/files").expect(200);
    let folders: std::collections::BTreeSet<String> = std::fs::read_dir(store.durable())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("dt="))
        .collect();
    assert_eq!(folders.len(), input.dates);
    let rows: u64 = files["files"].as_array().unwrap().iter().map(|f| f["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, input.events as u64);
    for (stream_id, wanted) in &streams {
        same_stream(&server, stream_id, wanted);
    }
    println!("flights: all {} streams equal the input", streams.len());
    server.stop();
    oracle(
        "count.py",
        &[
            &store.durable(),
            std::path::Path::new(&input.events.to_string()),
            std::path::Path::new(&input.streams.to_string()),
        ],
    );
    store.assert_clean();
}

/// Compacts, and looks again and again at the files that the node holds open for writing.
fn most_open_files(server: &Server) -> usize {
    std::thread::scope(|scope| {
        let http = server.http();
        let run = scope.spawn(move || http.compact());
        let mut most = 0;
        while !run.is_finished() {
            most = most.max(server.open_files(".parquet"));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        run.join().unwrap();
        most
    })
}

fn same_stream(server: &Server, stream_id: &str, wanted: &[Value]) {
    let found = server.http().stream("Aircraft", stream_id);
    assert_eq!(found.len(), wanted.len(), "{stream_id}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(found["seq"], i + 1, "{stream_id}");
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&found[name], value, "{stream_id} seq {}: {name}", i + 1);
        }
    }
}
