//! Encryption at rest: nothing that an event says is found in any byte or name below the data folder, the log and durable.path; with the
//! wrong key, without one, or with files that were changed or exchanged the node says so and gives no wrong byte; other engines read a
//! file with its key; keys rotate.

mod damage;
mod runs;

use crate::harness::{Finished, Server, Sse, Store, run};
use crate::oracles::oracle;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strandline_wal::frame::{FrameHeader, HEADER_BYTES};
use strandline_wal::state::State;

/// Parts of what the planted events say; none of them may be found.
const PLANTED: [&str; 2] = ["planted-", "PlantedEvent"];

/// A store whose key file lies beside its folders.
struct Encrypted {
    store: Store,
    key: PathBuf,
}

impl Encrypted {
    fn new(log: bool, keys: &[&str]) -> Self {
        let store = if log { Store::new(&[]) } else { Store::without_log(&[]) };
        let this = Self { key: store.path().join("key"), store };
        let made = run(&["keys", "init", "--file", &this.key.to_string_lossy()]);
        assert_eq!(made.code, 0, "{made:?}");
        this.declare(keys);
        this
    }

    fn declare(&self, keys: &[&str]) {
        let key = format!("security.kms.key_id = '{}'", self.key.display());
        let ours = ["security.encrypt.at_rest = true", "security.kms.provider = 'local'", &key];
        let all: Vec<&str> = ours.into_iter().chain(keys.iter().copied()).collect();
        self.store.declare(&all);
    }

    /// How a start that must fail ends.
    fn refused(&self) -> Finished {
        match Server::try_start(self.store.program().args(self.store.serve_arguments())) {
            Ok(_) => panic!("the node started"),
            Err(finished) => finished,
        }
    }
}

fn event(n: usize) -> Value {
    json!({"stream_type": "Call", "stream_id": format!("planted-stream-{}", n % 7), "event_type": "PlantedEvent",
        "tenant_id": format!("planted-tenant-{}", n % 2), "command_id": format!("planted-command-{n}"),
        "occurred_at": format!("2026-0{}-02T10:00:00Z", 1 + n % 3),
        "metadata": {"from": "planted-meta"}, "data": {"text": format!("planted-payload-{n}"), "n": n}})
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { out.extend(files_below(&entry.path())) } else { out.push(entry.path()) }
    }
    out
}

fn folders(store: &Store) -> [PathBuf; 3] {
    [store.path().join("node"), store.log(), store.durable()]
}

/// Fails with the places where something planted stands.
fn nothing_planted_in(store: &Store) -> usize {
    folders(store).iter().map(|folder| assert_nothing_planted(folder)).sum()
}

/// The same, of everything below a folder; gives the number of files.
pub(crate) fn assert_nothing_planted(folder: &Path) -> usize {
    let files = files_below(folder);
    for file in &files {
        let name = file.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(file).unwrap();
        for text in PLANTED {
            assert!(!name.contains(text), "{name}");
            let found = bytes.windows(text.len()).position(|part| part == text.as_bytes());
            assert!(found.is_none(), "{name} holds {text} at {found:?}");
        }
    }
    files.len()
}

/// What is compressed hides texts from a search by itself: so each object says by its first or last bytes that it is sealed. Gives whether it is a data
/// file; `None`: it holds nothing of an event, or is on its way.
pub(crate) fn assert_is_sealed(path: &str, bytes: &[u8]) -> Option<bool> {
    let name = path.rsplit('/').next().unwrap();
    match name.rsplit('.').next().unwrap() {
        "parquet" => {
            assert!(bytes.ends_with(b"PARE"), "{path}");
            Some(true)
        }
        // on its way, or replaced by another
        "tmp" | "old" | "link" => None,
        _ if name.starts_with('.') || path.contains("/keyring/") => None,
        _ => {
            assert!(bytes.starts_with(b"SLSO"), "{path}");
            Some(false)
        }
    }
}

/// The same of everything below the folder of the files; there are some of both kinds.
pub(crate) fn assert_sealed(durable: &Path) {
    let sealed = |path: &PathBuf| assert_is_sealed(&path.to_string_lossy(), &fs::read(path).unwrap());
    let kinds: Vec<bool> = files_below(durable).iter().filter_map(sealed).collect();
    assert!(kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
}

/// The search finds what is not encrypted: in the log, in files, and in what is kept of a named subscription.
#[test]
fn what_is_not_encrypted_is_found() {
    let store = Store::new(&["durable.compression = 'none'"]);
    let server = store.start();
    server.http().bulk(&(0..50).map(event).collect::<Vec<_>>());
    server.http().compact();
    subscribe(&server);
    server.kill();
    for folder in folders(&store) {
        let holds = |file: &PathBuf| {
            let bytes = fs::read(file).unwrap();
            bytes.windows(PLANTED[0].len()).any(|part| part == PLANTED[0].as_bytes())
        };
        assert!(files_below(&folder).iter().any(holds), "{}", folder.display());
    }
}

fn stream(server: &Server, n: usize) -> Vec<Value> {
    server.http().stream("Call", &format!("planted-stream-{n}"))
}

/// A named subscription with a filter that names what is planted, and an event that is parked for a reason that does, too.
fn subscribe(server: &Server) {
    let http = server.http();
    let filter = json!({"stream_id": "planted-stream-1", "tenant_id": "planted-tenant-1"});
    let made = http.post("subscriptions/planted", &json!({"attempts_max": 1, "filter": filter}));
    assert!(made.status < 300, "{}", made.text());
    let mut consumer = Sse::try_open(&http, "subscriptions/planted/events", None).unwrap();
    assert!(consumer.next().is_some());
    let first = consumer.event();
    let body = json!({"position": first.id, "reason": "planted-payload is not liked"});
    let parked = http.post("subscriptions/planted/retry", &body);
    assert_eq!(parked.status, 200, "{}", parked.text());
}

#[test]
fn nothing_that_events_say_is_found_in_any_byte_or_name() {
    let keys = [
        "partition.by = ('tenant_id','dt')",
        "id.command_id.unique_scope = 'stream'",
        "wal.rollover_mb = 1",
        "retention.enabled = true",
        "retention.durable_days = 36500",
        "row_group.max_rows = 40",
        "durable.compression = 'none'",
    ];
    let encrypted = Encrypted::new(true, &keys);
    let store = &encrypted.store;
    let server = store.start();
    for part in 0..4 {
        server.http().bulk(&(part * 100..part * 100 + 100).map(event).collect::<Vec<_>>());
        assert!(part > 0 || nothing_planted_in(store) > 3);
        server.http().compact();
    }
    subscribe(&server);
    server.http().post("/admin/v1/stores/test/retention/run", &json!({})).expect(200);
    server.http().bulk(&(400..450).map(event).collect::<Vec<_>>());
    let before: Vec<_> = (0..7).map(|n| stream(&server, n)).collect();
    assert_eq!(before.iter().map(Vec::len).sum::<usize>(), 450);
    assert!(nothing_planted_in(store) > 20);
    let metrics = server.http().get("/metrics").text();
    assert!(metrics.contains("strandline_events_total"));
    assert_says_nothing_planted("/metrics", &metrics);
    server.kill();
    nothing_planted_in(store);
    assert_sealed(&store.durable());
    let verified = store.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_says_nothing_planted("verify", &format!("{verified:?}"));
    let server = store.start();
    assert_eq!((0..7).map(|n| stream(&server, n)).collect::<Vec<_>>(), before);
    assert_eq!(server.http().scan().len(), 450);
    assert_eq!(server.http().global().len(), 450);
    let again = server.http().bulk(&[event(3)]);
    assert_eq!(again["duplicates"], 1, "{again}");
    let id = before[2][5]["event_id"].as_str().unwrap();
    assert_eq!(server.http().get(&format!("events/{id}")).expect(200)["event"]["data"], before[2][5]["data"]);
    let named = server.http().get("subscriptions/planted").expect(200);
    assert!(named.to_string().contains("planted-payload is not liked"), "{named}");
    server.http().compact();
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_says_nothing_planted("the log", &ended.stderr);
    nothing_planted_in(store);
    store.assert_clean();
}

/// What is kept about a node, or sent to others, with what events say would undo the encryption.
fn assert_says_nothing_planted(by: &str, said: &str) {
    for text in PLANTED {
        assert!(!said.contains(text), "{by} says {text}: {said}");
    }
}

#[test]
fn a_store_without_a_log_says_as_little() {
    let encrypted = Encrypted::new(false, &["partition.by = ('tenant_id')", "durable.compression = 'none'"]);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..60).map(event).collect::<Vec<_>>());
    server.http().bulk(&(60..90).map(event).collect::<Vec<_>>());
    server.http().compact();
    assert!(nothing_planted_in(store) > 5);
    server.kill();
    assert_sealed(&store.durable());
    store.assert_clean();
    let server = store.start();
    assert_eq!(server.http().scan().len(), 90);
    server.stop();
}

#[test]
fn without_the_right_key_a_node_does_not_start_and_says_why() {
    let encrypted = Encrypted::new(true, &[]);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..10).map(event).collect::<Vec<_>>());
    server.http().compact();
    server.stop();
    let right = fs::read(&encrypted.key).unwrap();
    let said = |what: &str| {
        let refused = encrypted.refused();
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(what), "{refused:?}");
    };
    fs::set_permissions(&encrypted.key, PermissionsExt::from_mode(0o644)).unwrap();
    said("chmod 600");
    fs::remove_file(&encrypted.key).unwrap();
    said("strandline keys init");
    assert_eq!(run(&["keys", "init", "--file", &encrypted.key.to_string_lossy()]).code, 0);
    said("not the key that wrapped it");
    assert!(store.verify().code != 0);
    store.declare(&[]);
    assert!(encrypted.refused().stderr.contains("security.encrypt.at_rest"));
    encrypted.declare(&[]);
    fs::write(&encrypted.key, right).unwrap();
    let server = store.start();
    assert_eq!(server.http().scan().len(), 10);
    server.stop();
    let again = run(&["keys", "init", "--file", &encrypted.key.to_string_lossy()]);
    assert!(again.code == 2 && again.stderr.contains("never overwritten"), "{again:?}");
}

#[test]
fn files_that_were_changed_or_exchanged_give_an_error_and_no_wrong_byte() {
    let encrypted = Encrypted::new(true, &["partition.by = ('tenant_id')", "compaction.trigger = 'time'"]);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..200).map(event).collect::<Vec<_>>());
    server.http().compact();
    server.stop();
    let data: Vec<PathBuf> = files_below(&store.durable())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .collect();
    assert_eq!(data.len(), 2);
    let bytes: Vec<Vec<u8>> = data.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut flipped = bytes[0].clone();
    flipped[100] ^= 4;
    for (one, other) in [(bytes[1].clone(), bytes[0].clone()), (flipped, bytes[1].clone())] {
        fs::write(&data[0], one).unwrap();
        fs::write(&data[1], other).unwrap();
        assert_eq!(store.verify().code, 1);
        let server = store.start();
        // an answer that has begun is cut
        let scan = server.http().try_get_as("scan", "application/x-ndjson");
        assert!(scan.as_ref().map_or(true, |scan| scan.status >= 500), "{scan:?}");
        let page = server.http().get("events?limit=1000");
        assert!(page.status >= 500, "{}", page.text());
        server.stop();
    }
    fs::write(&data[0], &bytes[0]).unwrap();
    fs::write(&data[1], &bytes[1]).unwrap();
    store.assert_clean();
}

#[test]
fn pyarrow_and_duckdb_read_a_file_with_its_key() {
    let encrypted = Encrypted::new(true, &["row_group.max_rows = 50"]);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..300).map(event).collect::<Vec<_>>());
    server.http().compact();
    let rows: Vec<Value> = server.http().scan().iter().map(row).collect();
    let paths = server.client(&["files", "--format", "paths"]);
    server.stop();
    let path = Path::new(paths.stdout.trim());
    assert!(path.is_file(), "{paths:?}");
    for engine in ["read_encrypted.py", "read_encrypted_duckdb.py"] {
        unwrapped(&encrypted, path, &rows, engine);
    }
}

#[test]
fn what_is_redacted_of_an_encrypted_store_is_gone_from_its_files_too() {
    let keys = ["strict.immutable_events = false", "compaction.schedule = '0 0 1 1 *'", "wal.retention_hours = 0"];
    let encrypted = Encrypted::new(true, &keys);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..40).map(event).collect::<Vec<_>>());
    server.http().compact();
    server.http().bulk(&(40..60).map(event).collect::<Vec<_>>());
    let marker = json!({"redacted": true});
    // one that stands in a file, and one in the log
    let ids: Vec<Value> = [2, 45].map(|n| stream(&server, n % 7)[n / 7]["event_id"].clone()).to_vec();
    for id in &ids {
        let wish = json!({"event_id": id, "reason": "planted-payload was asked for"});
        server.http().post("/admin/v1/stores/test/redact", &wish).expect(200);
    }
    let check = |server: &Server, when: &str| {
        let rows = server.http().scan();
        assert_eq!(rows.len(), 60, "{when}");
        for row in rows {
            let is_redacted = ids.contains(&row["event_id"]);
            assert_eq!(row["data"] == marker, is_redacted, "{when}: {row}");
            assert_eq!(row["metadata"] == marker, is_redacted, "{when}: {row}");
        }
        nothing_planted_in(store);
    };
    check(&server, "at once");
    server.kill();
    store.assert_clean();
    let server = store.start();
    check(&server, "after a kill");
    server.http().compact();
    check(&server, "compacted and merged");
    let rows: Vec<Value> = server.http().scan().iter().map(row).collect();
    let paths = server.client(&["files", "--format", "paths"]);
    server.stop();
    nothing_planted_in(store);
    store.assert_clean();
    // the one file that is live, opened with its key by another engine, holds the marker in the place of the text
    let path = Path::new(paths.stdout.trim());
    assert!(path.is_file(), "{paths:?}");
    unwrapped(&encrypted, path, &rows, "read_encrypted.py");
    let server = store.start();
    check(&server, "started again");
    server.stop();
}

/// Another engine reads a file with its key, and finds these rows.
fn unwrapped(encrypted: &Encrypted, path: &Path, rows: &[Value], engine: &str) {
    let store = &encrypted.store;
    let config = store.config();
    let key = run(&["keys", "unwrap", &path.to_string_lossy(), "--config", &config.to_string_lossy()]);
    assert!(key.code == 0 && key.stdout.trim().len() == 64, "{key:?}");
    let (key_file, rows_file) = (store.path().join("hex"), store.path().join("rows.json"));
    fs::write(&key_file, key.stdout).unwrap();
    fs::write(&rows_file, serde_json::to_vec(rows).unwrap()).unwrap();
    oracle(engine, &[path, &key_file, &rows_file]);
}

/// What a row of Parquet says of an event.
fn row(event: &Value) -> Value {
    json!({"stream_id": event["stream_id"], "seq": event["seq"], "data": event["data"].to_string()})
}

/// Number of the store's key that the newest segment names.
fn key_of_segment(store: &Store) -> u64 {
    let of = |path: PathBuf| {
        let bytes = fs::read(path).unwrap();
        let header = FrameHeader::decode(&bytes).ok()?;
        let payload = bytes.get(HEADER_BYTES..)?.get(..header.payload_len as usize)?;
        let state = State::decode(header.body(payload), header.version)?;
        Some((header.segment, state.key?.number()))
    };
    files_below(&store.log()).into_iter().filter_map(of).max().unwrap().1
}

/// The largest number of the store's key that a data file names.
pub(crate) fn newest_key_of_files(durable: &Path) -> u64 {
    let files = files_below(durable).into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet"));
    files.filter_map(|path| strandline_durable::key_metadata(&path).ok()?).map(|name| name.number()).max().unwrap()
}

/// The largest one that a manifest, and that a run, names in its header (crates/durable/FORMAT.md, section 7).
fn newest_keys_of_objects(store: &Store) -> [u64; 2] {
    let files = files_below(&store.durable());
    [".json.zst", ".run"].map(|end| {
        let of_kind = files.iter().filter(|path| path.to_string_lossy().ends_with(end));
        let heads = of_kind.map(|path| fs::read(path).unwrap()).filter(|bytes| bytes.starts_with(b"SLSO"));
        heads.map(|bytes| u64::from_le_bytes(bytes[16..24].try_into().unwrap())).max().unwrap()
    })
}

#[test]
fn keys_rotate_and_everything_is_read_before_and_after() {
    let encrypted = Encrypted::new(true, &[]);
    let store = &encrypted.store;
    let server = store.start();
    server.http().bulk(&(0..50).map(event).collect::<Vec<_>>());
    server.http().compact();
    server.http().bulk(&(50..60).map(event).collect::<Vec<_>>());
    let config = store.config().to_string_lossy().into_owned();
    let file = encrypted.key.to_string_lossy().into_owned();
    let rotated = run(&["keys", "rotate", "--file", &file, "--config", &config]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    for said in ["version 2", "key 1 is wrapped again", "key 2 is new"] {
        assert!(rotated.stdout.contains(said), "{said}: {rotated:?}");
    }
    // a node that is open goes on, and takes the new key: of its next segment, and of what comes of that
    assert_eq!((key_of_segment(store), newest_key_of_files(&store.durable())), (1, 1));
    let mut count = 60;
    let began = Instant::now();
    while (key_of_segment(store), newest_key_of_files(&store.durable())) != (2, 2) {
        assert!(began.elapsed() < Duration::from_secs(60), "the node does not take the new key");
        server.http().bulk(&(count..count + 10).map(event).collect::<Vec<_>>());
        server.http().compact();
        count += 10;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.http().scan().len(), count);
    server.stop();
    assert_eq!(newest_keys_of_objects(store), [2, 2]);
    let server = store.start();
    server.http().bulk(&(count..count + 10).map(event).collect::<Vec<_>>());
    assert_eq!(key_of_segment(store), 2, "a start begins with the new key");
    server.http().compact();
    assert_eq!(server.http().scan().len(), count + 10);
    server.stop();
    nothing_planted_in(store);
    store.assert_clean();
    let keyring = files_below(&store.durable()).into_iter().filter(|path| path.to_string_lossy().contains("keyring"));
    let texts: Vec<String> = keyring.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(
        texts.len() == 1 && texts[0].contains("key 1 local 2 ") && texts[0].contains("key 2 local 2 "),
        "{texts:?}"
    );
}

#[test]
fn a_key_file_of_no_store_gets_no_version() {
    let encrypted = Encrypted::new(true, &[]);
    let other = encrypted.store.path().join("other").to_string_lossy().into_owned();
    assert_eq!(run(&["keys", "init", "--file", &other]).code, 0);
    let before = fs::read(&other).unwrap();
    let config = encrypted.store.config().to_string_lossy().into_owned();
    let refused = run(&["keys", "rotate", "--file", &other, "--config", &config]);
    assert!(refused.code == 2 && refused.stderr.contains("security.kms.key_id"), "{refused:?}");
    assert_eq!(fs::read(&other).unwrap(), before);
}
