//! Files of every kind that were changed, or stand in the place of others: a read gives what was stored, or an error, and `verify` names it.

use super::runs::{KEYS, RUNS, make_every_run};
use super::{Encrypted, files_below, folders};
use crate::erasure::copy;
use crate::harness::{Server, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// What is done to files of one kind.
struct Damage {
    what: String,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// The files that are read, by what they are.
pub(super) fn kinds(store: &Store) -> BTreeMap<String, Vec<PathBuf>> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "wal");
    let segments = files_below(&store.log()).into_iter().filter(is_segment);
    for path in files_below(&store.durable()).into_iter().chain(segments) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let kind = match path.extension().and_then(|end| end.to_str()).unwrap_or_default() {
            "tmp" | "old" | "link" => continue,
            _ if name.starts_with('.') => continue,
            "run" => format!("run of {}", name.split('-').next().unwrap()),
            "" => path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned(),
            end => end.to_owned(),
        };
        kinds.entry(kind).or_default().push(path);
    }
    kinds.values_mut().for_each(|paths| paths.sort());
    kinds
}

/// A bit of the newest file of each kind, and two files in the place of each other.
fn damages(store: &Store) -> Vec<Damage> {
    let (kinds, mut damages) = (kinds(store), Vec::new());
    let runs = RUNS.map(|of| format!("run of {of}"));
    for kind in ["parquet", "wal", "zst", "keyring"].into_iter().chain(runs.iter().map(String::as_str)) {
        let paths = &kinds[kind];
        let (first, last) = (paths.first().unwrap(), paths.last().unwrap());
        let bytes = fs::read(last).unwrap();
        // of a segment its state, and its first entry behind it: most of its bytes are none yet
        let places = if kind == "wal" { [40, 4096 + 200] } else { [bytes.len() / 8, bytes.len() / 2] };
        for at in places {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            damages
                .push(Damage { what: format!("{kind}: byte {at} of {last:?}"), files: vec![(last.clone(), flipped)] });
        }
        if first != last {
            let files = vec![(last.clone(), fs::read(first).unwrap()), (first.clone(), bytes)];
            damages.push(Damage { what: format!("{kind}: {first:?} and {last:?}"), files });
        }
    }
    damages
}

/// The keyring of another store in the place of this one's: the same key has wrapped both.
fn keyring_of_another(encrypted: &Encrypted) -> Damage {
    let other = Encrypted { store: Store::new(&[]), key: encrypted.key.clone() };
    other.declare(&[]);
    other.store.start().stop();
    let [ours, theirs] = [&encrypted.store, &other.store].map(|store| kinds(store)["keyring"][0].clone());
    Damage { what: format!("{theirs:?} as {ours:?}"), files: vec![(ours, fs::read(theirs).unwrap())] }
}

/// What rows say, by their ids.
fn said_by(rows: &[Value]) -> BTreeMap<String, Value> {
    let said = |row: &Value| json!([row["stream_id"], row["seq"], row["tenant_id"], row["data"], row["metadata"]]);
    rows.iter().map(|row| (row["event_id"].as_str().unwrap().to_owned(), said(row))).collect()
}

/// Every read gives what was stored, or an error; gives whether each gave it.
fn reads_right_or_not_at_all(server: &Server, right: &BTreeMap<String, Value>, what: &str) -> bool {
    let (http, mut all_right) = (server.http(), true);
    let mut judge = |answer: Option<(u16, Vec<Value>)>, wanted: &BTreeMap<String, Value>| match answer {
        Some((200, rows)) => assert!(said_by(&rows) == *wanted, "{what}: {rows:?} instead of {wanted:?}"),
        // one that has begun is cut
        Some((500.., _)) | None => all_right = false,
        Some((status, _)) => panic!("{what}: {status}"),
    };
    let page = |path: &str| {
        let answer = http.get(path);
        let rows = answer.json()["events"].as_array().cloned().unwrap_or_default();
        Some((answer.status, rows))
    };
    let scan = http.try_get_as("scan", "application/x-ndjson").ok();
    judge(scan.map(|scan| (scan.status, if scan.status == 200 { scan.lines() } else { Vec::new() })), right);
    judge(page("events?limit=1000"), right);
    for n in 0..7 {
        let id = format!("planted-stream-{n}");
        let of_stream = right.iter().filter(|(_, said)| said[0] == id.as_str());
        let wanted = of_stream.map(|(id, said)| (id.clone(), said.clone())).collect();
        judge(page(&format!("streams/Call/{id}?limit=1000")), &wanted);
    }
    all_right
}

/// Reads are refused then, or the start is, or it changes nothing.
#[test]
fn no_file_that_was_changed_or_exchanged_gives_a_wrong_row() {
    let encrypted = Encrypted::new(true, &KEYS);
    let store = &encrypted.store;
    let server = store.start();
    make_every_run(&server, store);
    for part in 0..3 {
        server.http().bulk(&(part * 100..part * 100 + 100).map(super::event).collect::<Vec<_>>());
        if part < 2 {
            server.http().compact();
        }
    }
    let right = said_by(&server.http().scan());
    assert_eq!(right.len(), 301);
    server.stop();
    let whole = tempfile::tempdir().unwrap();
    let places = || folders(store).into_iter().zip(["node", "log", "durable"].map(|name| whole.path().join(name)));
    places().for_each(|(here, kept)| copy(&here, &kept));
    let (mut damages, mut noticed) = (damages(store), 0);
    damages.push(keyring_of_another(&encrypted));
    for Damage { what, files } in &damages {
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        let is_clean = store.verify().code == 0;
        let all_right = match Server::try_start(store.program().args(store.serve_arguments())) {
            Ok(server) => {
                let all_right = reads_right_or_not_at_all(&server, &right, what);
                server.kill();
                all_right
            }
            Err(refused) => {
                assert!(refused.code > 0 && !refused.stderr.contains("panicked"), "{what}: {refused:?}");
                false
            }
        };
        assert!(all_right || !is_clean, "{what}: verify finds nothing");
        noticed += usize::from(!is_clean);
        for (here, kept) in places() {
            fs::remove_dir_all(&here).unwrap();
            copy(&kept, &here);
        }
    }
    assert!(noticed * 2 > damages.len(), "{noticed} of {}", damages.len());
    store.assert_clean();
}
