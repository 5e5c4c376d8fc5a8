//! The store that is damaged: everything a store can hold on a local disk, made once by the real program, and copies of it.

use super::manifest;
use crate::harness::{Random, Server, Store};
use crate::oracles::oracle;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

const KEYS: &[&str] = &[
    "partition.by = ('dt')",
    "partition.dt.granularity = 'hour'",
    "row_group.max_rows = 60",
    "id.command_id.unique_scope = 'stream'",
    "compaction.trigger = 'time'",
    "compaction.schedule = '0 0 1 1 *'",
    "wal.rollover_mb = 1",
    "retention.enabled = true",
    "read.require_monotonic_seq = true",
];

/// A whole store that no node runs on.
pub(super) struct Ready {
    store: Store,
}

/// A copy of it, to be damaged.
pub(super) struct Copy {
    pub(super) store: Store,
}

/// One event of the stream type `Call` in an hour of a day; each second one has a command.
fn call(n: u64, day: &str, hour: u64) -> Value {
    let mut event = json!({
        "stream_type": "Call", "stream_id": format!("stream-{}", n % 7), "event_type": format!("E{}", n % 3),
        "occurred_at": format!("{day}T{hour:02}:10:00.{n:06}Z"), "data": {"n": n},
    });
    if n.is_multiple_of(2) {
        event["command_id"] = json!(format!("command-{n}"));
    }
    if n.is_multiple_of(3) {
        event["tenant_id"] = json!("acme");
    }
    event
}

/// Three days of hours in March, so that the list of an older month is sealed; an hour in April; and 2010, which retention takes.
fn calls(from: u64, hours: u64) -> Vec<Value> {
    let days = ["2026-03-01", "2026-03-02", "2026-03-03"];
    let mut lines = Vec::new();
    for n in 0..hours * 2 {
        lines.push(call(from + n, days[(n / 2 / 24 % 3) as usize], n / 2 % 24));
    }
    lines.extend((0..14).map(|n| call(from + hours * 2 + n, "2026-04-01", 3)));
    lines
}

/// Events whose text no codec makes small: they fill segments of the log, blocks and row groups of a file.
fn big(random: &mut Random, events: u64) -> Vec<Value> {
    let text = |random: &mut Random| {
        (0..1200).fold(String::new(), |mut text, _| {
            let _ = write!(text, "{:016x}", random.next());
            text
        })
    };
    let line = |n: u64, filler: String| {
        json!({ "stream_type": "Big", "stream_id": format!("b-{}", n % 5), "event_type": "B",
        "occurred_at": "2026-04-01T05:00:00Z", "data": filler })
    };
    (0..events).map(|n| line(n, text(random))).collect()
}

/// More marks of one chunk than a version lists: each refused row has one.
fn refused(server: &Server, store: &Store) {
    let good = json!({"stream_type": "Call", "stream_id": "stream-0", "event_type": "E", "occurred_at": "2026-04-01T03:00:00Z"});
    let bad = json!({"stream_type": "Call", "stream_id": "stream-0", "event_type": "E", "seq": 99_999});
    let text = (0..1100).fold(format!("{good}\n"), |mut text, _| {
        let _ = writeln!(text, "{bad}");
        text
    });
    let file = store.path().join("refused.ndjson");
    std::fs::write(&file, text).unwrap();
    let said = server.client(&["ingest", &file.to_string_lossy(), "--on-error", "skip"]);
    assert!(said.stdout.contains("appended 1,") && said.stdout.contains("refused 1100"), "{said:?}");
}

impl Ready {
    pub(super) fn new() -> Self {
        let store = Store::new(KEYS);
        let server = store.start();
        let http = server.http();
        let mut random = Random(7);
        http.post("stream-types", &json!({ "name": "Registered" })).expect(201);
        ["first", "second"]
            .iter()
            .for_each(|name| drop(http.post(&format!("subscriptions/{name}"), &json!({})).expect(201)));
        http.bulk(&(0..20).map(|n| call(n, "2010-01-01", n % 2)).collect::<Vec<_>>());
        http.bulk(&calls(20, 70));
        (0..4).for_each(|_| drop(http.bulk(&big(&mut random, 40))));
        refused(&server, &store);
        http.compact();
        server.stop();
        let server = store.start();
        let http = server.http();
        // the same partitions again: merges replace files, of the sealed list and of the other one
        http.bulk(&calls(200, 3));
        http.compact();
        let went = http.post("/admin/v1/stores/test/retention/run", &json!({})).expect(200);
        assert_eq!(went["events"], 20, "{went}");
        // what is in the log only
        http.bulk(&calls(300, 2));
        (0..4).for_each(|_| drop(http.bulk(&big(&mut random, 40))));
        server.stop();
        store.assert_clean();
        let ready = Self { store };
        ready.assert_has_everything();
        ready
    }

    /// A test of damage to what is not there would show nothing.
    fn assert_has_everything(&self) {
        let newest = manifest::newest(&self.store).1;
        let call = manifest::log(&newest, "Call");
        for runs in ["heads", "commands", "chunk_runs", "retired"] {
            assert!(!call[runs].as_array().unwrap().is_empty(), "{runs}: {call}");
        }
        assert!(!newest["tombstones"].as_array().unwrap().is_empty());
        assert!(!newest["replaced"]["files"].as_array().unwrap().is_empty(), "{newest}");
        assert!(!manifest::segments_of(&newest).is_empty());
        let copy = self.copy();
        assert!(copy.segments("Big").len() > 4, "{:?}", copy.segments("Big"));
        copy.store.assert_clean();
    }

    /// A copy in a folder of its own. Its files are links to the first ones: whoever damages one makes it anew.
    pub(super) fn copy(&self) -> Copy {
        let store = Store::new(KEYS);
        for part in ["durable", "log", "node"] {
            link_all(&self.store.path().join(part), &store.path().join(part));
        }
        Copy { store }
    }
}

fn link_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            link_all(&here, &there);
        } else if here.extension().is_some() {
            std::fs::hard_link(&here, &there).unwrap();
        } else {
            // locks are held on the file itself, whatever its name
            std::fs::copy(&here, &there).unwrap();
        }
    }
}

/// A bloom filter in a data file.
pub(super) fn bloom(path: &Path, column: &str) -> (usize, usize) {
    let said = oracle("damage.py", &[Path::new("regions"), path]);
    let found: Vec<Value> = serde_json::from_str(&said).unwrap();
    let filter = found.iter().find(|filter| filter["column"] == column).expect("the column has a filter");
    let number = |name: &str| filter[name].as_u64().unwrap() as usize;
    (number("start"), number("bytes"))
}
