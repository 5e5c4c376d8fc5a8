//! A full disk: 507, the store stays readable, and appends work again once there is room.
//!
//! The disk is a small tmpfs that only the node sees (a mount namespace of its own), and, where the machine may allow no such
//! namespace, a shim that is loaded into the node (`shim.c`) and lets its folder be full at a word. One of them always runs.

use crate::harness::{Http, Server, Store, program};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const KEYS: &[&str] = &["wal.rollover_mb = 4", "inmemory.max_mb = 1", "compaction.trigger = 'time'"];
const DISK_MB: u64 = 48;
const FILLER_MB: u64 = 16;
/// Appends before the shim says that there is no room.
const APPENDS: u64 = 60;

/// A disk of a node that gets full.
trait SmallDisk {
    /// So many appends were taken; all of them fit until the disk says otherwise.
    fn took(&self, appends: u64);
    /// There is room again.
    fn make_room(&self);
}

#[test]
fn a_full_disk_is_said_and_passes() {
    let store = Store::new(KEYS);
    if Command::new("unshare").args(["-r", "-m", "true"]).status().is_ok_and(|s| s.success()) {
        let server = start_on_tmpfs(&store);
        let disk = Tmpfs(format!("/proc/{}/root{}/filler", server.id(), store.path().display()).into());
        fills_up_and_goes_on(&server, &disk);
        server.stop();
    } else {
        println!("disk_full: no mount namespaces on this machine, a shim in the node instead of a small disk");
        let (server, disk) = start_on_shim(&store, &[]);
        fills_up_and_goes_on(&server, &disk);
        server.stop();
    }
}

#[test]
fn a_full_disk_is_said_and_passes_without_a_log() {
    let store = Store::without_log(&["compaction.enabled = false"]);
    let (server, disk) = start_on_shim(&store, &[]);
    fills_up_and_goes_on(&server, &disk);
    server.stop();
    store.assert_clean();
}

/// A start is a commit as well.
#[test]
fn a_store_without_a_log_starts_on_a_full_disk_and_is_read() {
    let store = Store::without_log(&["compaction.enabled = false"]);
    let server = store.start();
    for n in 0..3 {
        server.http().post("streams/T/s", &append(n)).expect(201);
    }
    server.stop();
    std::fs::write(flag(&store), "").unwrap();
    let (server, disk) = start_on_shim(&store, &[]);
    let http = server.http();
    for _ in 0..2 {
        assert_eq!(http.stream("T", "s").len(), 3);
        http.post("streams/T/s", &append(3)).expect_error(507, "disk_full");
        let ready = http.get("/ready").expect(200);
        assert_eq!(ready["degraded"][0]["store"], "test", "{ready}");
        assert!(ready["degraded"][0]["error"].as_str().unwrap().contains("disk is full"), "{ready}");
    }
    disk.make_room();
    assert_eq!(http.post("streams/T/s", &append(3)).expect(201)["last_seq"], 4);
    assert_eq!(http.get("/ready").expect(200), json!({"status": "ready"}));
    assert_eq!(http.stream("T", "s").len(), 4);
    server.stop();
    store.assert_clean();
}

#[test]
fn a_job_that_finds_no_room_leaves_nothing_and_is_done_later() {
    let store = Store::new(KEYS);
    let (server, disk) = start_on_shim(&store, &[]);
    let http = server.http();
    for n in 0..20 {
        http.post("streams/T/s", &append(n)).expect(201);
    }
    disk.fill();
    let error = compact(&http)["error"].as_str().map(str::to_owned);
    assert!(error.as_ref().is_some_and(|error| error.contains("no room")), "{error:?}");
    assert_eq!(files_below(&store.durable(), ".parquet.tmp"), 0, "what was written is taken away");
    assert_eq!(files_below(&store.durable(), ".parquet"), 0);
    assert_eq!(http.stream("T", "s").len(), 20);
    disk.make_room();
    assert_eq!(compact(&http)["error"], Value::Null);
    assert_eq!(files_below(&store.durable(), ".parquet"), 1);
    assert_eq!(http.stream("T", "s").len(), 20);
    server.stop();
    store.assert_clean();
}

#[test]
fn a_drain_that_finds_no_room_is_said_and_ends_with_3() {
    let store = Store::new(KEYS);
    let (server, disk) = start_on_shim(&store, &[("FULL_SAYS_ROOM", "1")]);
    let http = server.http();
    http.post("streams/T/s", &append(0)).expect(201);
    disk.fill();
    // larger than what the log holds ahead: it is accepted, and then there is no room for it
    let large = json!({"events": (1..=8).map(|n| append(n)["events"][0].clone()).map(enlarged).collect::<Vec<_>>()});
    let sending = {
        let http = http.clone();
        std::thread::spawn(move || http.try_post("streams/T/s", "application/json", large.to_string().as_bytes()))
    };
    let began = Instant::now();
    while files_below(&store.log(), ".wal") < 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "it begins a segment of its own");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.signal_terminate();
    while http.get("/ready").status == 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "a node that ends is not ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    http.get("/ready").expect_error(503, "unavailable");
    let ended = server.ended();
    assert!(ended.code == 3 && ended.stderr.contains("test/T") && ended.stderr.contains("make room"), "{ended:?}");
    assert!(
        sending.join().unwrap().is_ok_and(|answer| answer.status == 503),
        "the outcome is unknown, and that is said"
    );
    disk.make_room();
    let server = store.start();
    let kept = server.http().stream("T", "s").len();
    assert!(kept == 1 || kept == 9, "an append is there whole or not at all: {kept} events");
    server.stop();
    store.assert_clean();
}

fn enlarged(mut event: Value) -> Value {
    event["data"]["filler"] = json!("x".repeat(900_000));
    event
}

fn append(n: u64) -> Value {
    json!({"events": [{"event_type": "E", "data": {"n": n, "filler": "x".repeat(50_000)}}]})
}

fn fills_up_and_goes_on(server: &Server, disk: &dyn SmallDisk) {
    let http = server.http();
    let mut acknowledged = 0;
    let refused = loop {
        disk.took(acknowledged);
        let answer = http.post("streams/T/s", &append(acknowledged));
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < DISK_MB * 20, "the disk never gets full");
    };
    refused.expect_error(507, "disk_full");
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(http.get("streams/T/s/head").expect(200)["last_seq"], acknowledged);
    assert_eq!(http.stream("T", "s").len() as u64, acknowledged);
    disk.make_room();
    let began = Instant::now();
    while http.post("streams/T/s", &append(acknowledged)).status != 201 {
        assert!(began.elapsed() < Duration::from_secs(30), "appends work again once there is room");
        std::thread::sleep(Duration::from_millis(100));
    }
    let events = http.stream("T", "s");
    assert_eq!(events.len() as u64, acknowledged + 1);
    assert_eq!(events.last().unwrap()["data"]["n"], acknowledged);
}

/// Compacts now; the one job as it ended.
fn compact(http: &Http) -> Value {
    let run = http.post_as("/admin/v1/stores/test/compaction/run?wait=true", "application/json", b"").expect(200);
    let ended = run["ended"].as_array().unwrap();
    assert_eq!(ended.len(), 1, "{run}");
    ended[0].clone()
}

fn files_below(folder: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path, end) } else { usize::from(ends(&path, end)) }).sum()
}

fn ends(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}

/// The file that takes the room, seen through the node's own mounts.
struct Tmpfs(PathBuf);

impl SmallDisk for Tmpfs {
    fn took(&self, _: u64) {}

    fn make_room(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn start_on_tmpfs(store: &Store) -> Server {
    let folder = store.path().display().to_string();
    let statement = std::fs::read_to_string(store.config()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={DISK_MB}m tmpfs {folder} && head -c {FILLER_MB}M /dev/zero > {folder}/filler && \
         printf '%s' \"$STATEMENT\" > {folder}/store.deql && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &script, "sh"]).arg(program().get_program()).args(store.serve_arguments());
    Server::start_from(command.env("STATEMENT", statement))
}

/// The file that makes the disk full, beside the store's folder.
struct Shim(PathBuf);

impl Shim {
    fn fill(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

impl SmallDisk for Shim {
    fn took(&self, appends: u64) {
        if appends == APPENDS {
            self.fill();
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// Where a store's shim has its flag.
fn flag(store: &Store) -> PathBuf {
    store.path().join("is-full")
}

fn start_on_shim(store: &Store, more: &[(&str, &str)]) -> (Server, Shim) {
    let (library, flag) = (store.shim("disk_full/shim.c"), flag(store));
    let mut command = program();
    command.args(store.serve_arguments()).env("LD_PRELOAD", &library);
    command.env("FULL_FOLDER", store.path()).env("FULL_FLAG", &flag).envs(more.iter().copied());
    (Server::start_from(&mut command), Shim(flag))
}
