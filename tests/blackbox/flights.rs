//! Real input: flights of 2013, from one `ingest` command to every stream read back and counted by DuckDB.
//!
//! The full file (1,000,898 events) where `STRANDLINE_TEST_FLIGHTS` names it (`scripts/flights FILE`), else the committed
//! sample; which one is printed. Every event is compared in a full scan, and every stream is read by itself as well (in the
//! full file a stream lies in up to 367 files: all 4,050 of them take a while).

use crate::harness::{Server, Store, root};
use crate::oracles::oracle;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

const KEYS: &[&str] = &[
    "partition.by = ('dt')",
    "partition.dt.expr = 'DATE(occurred_at)'",
    "id.command_id.unique_scope = 'stream'",
    "compaction.max_open_files = 8",
    "compaction.trigger = 'time'",
    "compaction.schedule = '0 0 1 1 *'",
];

/// What is known about an input.
pub(crate) struct Input {
    pub(crate) file: PathBuf,
    pub(crate) events: usize,
    pub(crate) streams: usize,
    dates: usize,
}

fn full_year() -> Option<PathBuf> {
    std::env::var_os("STRANDLINE_TEST_FLIGHTS").map(PathBuf::from)
}

/// Whether the input is the full year.
pub(crate) fn is_full_year() -> bool {
    full_year().is_some()
}

pub(crate) fn input() -> Input {
    if let Some(file) = full_year() {
        println!("flights: the full file {}", file.display());
        return Input { file, events: 1_000_898, streams: 4_050, dates: 367 };
    }
    println!("flights: STRANDLINE_TEST_FLIGHTS names no file: the committed sample stands in");
    let file = root().join("samples/flights-sample.ndjson.zst");
    Input { file, events: 11_210, streams: 43, dates: 367 }
}

/// Fingerprints of the events of each stream, in order.
pub(crate) type Streams = BTreeMap<String, Vec<u64>>;

/// The fields that the input gives, all of them, as one number.
pub(crate) fn fingerprint(event: &Value) -> u64 {
    const FIELDS: [&str; 9] = [
        "stream_type",
        "stream_id",
        "event_type",
        "event_version",
        "occurred_at",
        "command_id",
        "correlation_id",
        "tenant_id",
        "data",
    ];
    let mut hasher = DefaultHasher::new();
    FIELDS.map(|field| event[field].to_string()).hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn stream_id(event: &Value) -> String {
    event["stream_id"].as_str().unwrap().to_owned()
}

/// What stands in the file, read without the store's code.
pub(crate) fn streams_of(input: &Input) -> Streams {
    let unpacked = zstd::stream::read::Decoder::new(std::fs::File::open(&input.file).unwrap()).unwrap();
    let mut streams = Streams::new();
    for line in BufReader::new(unpacked).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        streams.entry(stream_id(&event)).or_default().push(fingerprint(&event));
    }
    streams
}

/// What a full scan gives: each stream by seq, which must be 1, 2, 3 ...
fn scanned(server: &Server) -> Streams {
    let mut by_seq: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    server.http().each_line("scan", |line| {
        let event: Value = serde_json::from_slice(line).unwrap();
        let seq = event["seq"].as_u64().unwrap();
        let before = by_seq.entry(stream_id(&event)).or_default().insert(seq, fingerprint(&event));
        assert!(before.is_none(), "twice: {event}");
    });
    let whole = |(id, events): (String, BTreeMap<u64, u64>)| {
        assert!(events.keys().copied().eq(1..=events.len() as u64), "{id} has a hole");
        (id, events.into_values().collect())
    };
    by_seq.into_iter().map(whole).collect()
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
    assert!(scanned(&server) == streams, "the scan equals the input");
    let read = read_one_by_one(&server, &streams);
    println!("flights: the scan equals the input, and so do {read} of {} streams read by themselves", streams.len());
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

/// Compacts, and looks again and again at the data files that the node holds open: how many there were at once.
pub(crate) fn most_open_files(server: &Server) -> usize {
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

/// Reads streams over two connections; gives how many.
fn read_one_by_one(server: &Server, streams: &Streams) -> usize {
    let chosen: Vec<(&String, &Vec<u64>)> = streams.iter().collect();
    let read = |part: usize| {
        for (id, wanted) in chosen.iter().skip(part).step_by(2) {
            let found = server.http().stream("Aircraft", id);
            assert!(found.iter().map(fingerprint).eq(wanted.iter().copied()), "stream {id}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| read(1));
        read(0);
    });
    chosen.len()
}
