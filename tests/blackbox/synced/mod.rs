//! What is committed is on stable storage, step by step: a data file and the names of its folders before the version that names it, that
//! version before it has its name, and its folder before anybody is answered. No power can be cut here; what the node syncs, and
//! when, is told by a library that is loaded into it (`shim.c`).

use crate::harness::{Server, Store};
use serde_json::{Value, json};
use std::path::PathBuf;

const KEYS: &[&str] = &["partition.by = ('dt')", "compaction.schedule = '0 0 29 2 *'"];
const DAYS: u64 = 3;

/// Where the library writes.
fn told(store: &Store) -> PathBuf {
    store.path().join("synced")
}

fn start(store: &Store) -> Server {
    let library = store.shim("synced/shim.c");
    let mut command = store.program();
    command.args(store.serve_arguments()).env("LD_PRELOAD", library).env("SYNCED_LOG", told(store));
    Server::start_from(&mut command)
}

/// What the node has synced and named so far, in its order.
fn steps(store: &Store) -> Vec<String> {
    std::fs::read_to_string(told(store)).unwrap().lines().map(str::to_owned).collect()
}

/// The place of the first step from there on that did this to such a path.
fn first(steps: &[String], from: usize, what: &str, path: impl Fn(&str) -> bool) -> usize {
    let is = |step: &String| step.split_once(' ').is_some_and(|(did, to)| did == what && path(to));
    let found = steps.iter().skip(from).position(is);
    found.map(|at| from + at).unwrap_or_else(|| panic!("no such `{what}` from step {from} on of {steps:#?}"))
}

/// The folder of a data file.
fn folder(file: &str) -> String {
    format!("/durable/{}", file.rsplit_once('/').unwrap().0)
}

/// All that makes a commit of this file last was done, in its order. Gives the step that named the version.
fn assert_committed(steps: &[String], from: usize, file: &str) -> usize {
    let above = first(steps, from, "sync", |path| path.ends_with("/durable"));
    let data = first(steps, from, "sync", |path| path.ends_with(&format!("/durable/{file}.tmp")));
    let its_name = first(steps, data, "sync", |path| path.ends_with(&folder(file)));
    let version = first(steps, its_name, "name", |path| path.contains("/_manifests/v"));
    assert!(above < version, "the folder is new: {steps:#?}");
    let before = steps[..version].iter().rposition(|step| step.contains("/_manifests/"));
    let aside = before.map(|at| steps[at].as_str()).unwrap_or_default();
    assert!(aside.starts_with("sync ") && aside.contains("/.aside-"), "what gets the name is synced: {steps:#?}");
    first(steps, version, "sync", |path| path.ends_with("/_manifests"));
    version
}

/// Behind its commit a file got its own name, which stays.
fn assert_named(steps: &[String], version: usize, file: &str) {
    let named = first(steps, version, "name", |path| path.ends_with(&format!("/durable/{file}")));
    first(steps, named, "sync", |path| path.ends_with(&folder(file)));
}

/// The only data file of a day, as the manifest names it.
fn file_of(server: &Server, day: u64) -> String {
    let listed: Value = server.http().get("/admin/v1/stores/test/files").expect(200);
    let paths = listed["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    let of_day: Vec<&str> = paths.filter(|path| path.contains(&format!("dt=2026-11-{day:02}"))).collect();
    assert_eq!(of_day.len(), 1, "{listed}");
    of_day[0].to_owned()
}

/// An event of a day that has no folder yet.
fn append(server: &Server, day: u64) {
    let event = json!({"event_type": "E", "occurred_at": format!("2026-11-{day:02}T12:00:00Z")});
    server.http().post("streams/T/s", &json!({ "events": [event] })).expect(201);
}

#[test]
fn an_append_without_a_log_is_answered_when_its_commit_is_on_stable_storage() {
    commits_are_on_stable_storage(&Store::without_log(KEYS), append);
}

#[test]
fn a_job_has_ended_when_its_commit_is_on_stable_storage() {
    commits_are_on_stable_storage(&Store::new(KEYS), |server, day| {
        append(server, day);
        server.http().compact();
    });
}

/// `commit`: an event of this day is in files when it comes back.
fn commits_are_on_stable_storage(store: &Store, commit: impl Fn(&Server, u64)) {
    let server = start(store);
    let mut committed = Vec::new();
    for day in 1..=DAYS {
        let from = steps(store).len();
        commit(&server, day);
        // as it was when the answer came
        let then = steps(store);
        let file = file_of(&server, day);
        committed.push((assert_committed(&then, from, &file), file));
    }
    server.stop();
    let all = steps(store);
    committed.iter().for_each(|(version, file)| assert_named(&all, *version, file));
    store.assert_clean();
}
