//! The commands: what they print, and the exit codes 0, 1, 2, 3.

use crate::harness::{Finished, Server, Store, program, root, run, run_command, run_with_input};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A script that runs seldom would find out when somebody waits for its figures.
#[test]
fn what_the_scripts_ask_of_the_program_exists() {
    let mut asked = 0;
    for entry in std::fs::read_dir(root().join("scripts")).unwrap().map(Result::unwrap) {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        for called in ["\"$strandline\" ", "\"$program\" "] {
            for behind in text.split(called).skip(1) {
                let command: String = behind.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                if command.is_empty() || command.starts_with('-') {
                    continue;
                }
                let told = run(&["help", command.as_str()]);
                assert_eq!(told.code, 0, "{} calls `strandline {command}`: {told:?}", entry.path().display());
                asked += 1;
            }
        }
    }
    assert!(asked > 3, "{asked} calls were found");
}

#[test]
fn bench_loads_a_store_with_names_and_demands_of_its_own() {
    let store = Store::new(&[
        "envelope.payload_key = 'cdr'",
        "envelope.tenant_id_key = 'operator'",
        "strict.tenant_required = true",
        "id.command_id.required = true",
        "id.command_id.unique_scope = 'stream'",
    ]);
    let server = store.start();
    let loaded = server.client(&["bench", "--events", "200", "--batch", "50", "--connections", "2", "--streams", "10"]);
    assert!(loaded.code == 0 && loaded.stdout.contains("200 events"), "{loaded:?}");
    assert_eq!(server.http().scan().len(), 200);
    server.stop();
}

#[test]
fn serve_refuses_what_this_version_does_not_serve() {
    let refused = [("row_group.sort_by", vec!["row_group.sort_by = ('metadata')", "strict.immutable_events = false"])];
    for (name, keys) in refused {
        let store = Store::new(&[]);
        let text = std::fs::read_to_string(store.config()).unwrap();
        let text = text.replace("\n);", &format!(",\n  {}\n);", keys.join(",\n  ")));
        std::fs::write(store.config(), text).unwrap();
        let finished = run(&store.serve_arguments());
        assert_eq!(finished.code, 2, "{name}: {finished:?}");
        assert!(finished.stderr.contains(name), "{name}: {}", finished.stderr);
    }
}

#[test]
fn what_a_cluster_refuses_is_named_before_anything_is_touched() {
    for (options, keys, said) in [
        ("--join 127.0.0.1:1", "", "give --cluster ADDR too"),
        ("--node-id 3", "", "give --cluster ADDR too"),
        ("--roles read", "", "give --cluster ADDR too"),
        ("--cluster 127.0.0.1:1 --node-id 0", "", "from 1"),
        ("--cluster 127.0.0.1:1 --join 127.0.0.1:2", "", "needs --node-id"),
        ("--cluster 127.0.0.1:1 --roles write", "", "ingest,compact,read"),
        ("--cluster 127.0.0.1:1 --replication 9", "", "from 1 to 7"),
        ("--cluster 127.0.0.1:1", "wal.fsync = false", "wal.fsync"),
        ("--cluster 0.0.0.0:1", "", "run on one machine"),
        ("--cluster 127.0.0.1:1 --roles compact,read", "", "the first node of a cluster keeps its logs"),
        ("--cluster 127.0.0.1:1 --roles ", "", "a role is missing"),
        ("--cluster 127.0.0.1:1 --accept-lost-log", "", "gets what it lacks from the others"),
        ("--no-forward", "", "give --cluster ADDR too"),
    ] {
        let store = Store::new(&[]);
        if !keys.is_empty() {
            let text = std::fs::read_to_string(store.config()).unwrap();
            std::fs::write(store.config(), text.replace("\n);", &format!(",\n  {keys}\n);"))).unwrap();
        }
        let mut arguments = store.serve_arguments();
        arguments.extend(options.split(' ').map(str::to_owned));
        let finished = run(&arguments);
        assert!(finished.code == 2 && finished.stderr.contains(said), "{options} {keys}: {finished:?}");
        let left: Vec<_> = std::fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["store.deql"], "{options} {keys}");
    }
}

#[test]
fn the_directory_of_a_clusters_member_is_never_served_as_a_node_alone() {
    let store = Store::new(&[]);
    let arguments = store.serve_arguments();
    let dir = arguments.iter().position(|word| word == "--data-dir").map(|at| arguments[at + 1].clone()).unwrap();
    std::fs::create_dir_all(&dir).unwrap();
    let member = std::path::Path::new(&dir).join("member");
    let body = format!("strandline member 1\ncluster {:032x}\nnode 3\ninstance {:032x}\nfounds no\n", 5, 7);
    let crc = crc32c::crc32c(body.as_bytes());
    std::fs::write(&member, format!("{body}crc32c {crc:08x}\n")).unwrap();
    let finished = run(&arguments);
    assert!(finished.code == 2 && finished.stderr.contains("must not write to it"), "{finished:?}");
    std::fs::write(&member, body).unwrap();
    let finished = run(&arguments);
    assert!(finished.code == 3 && finished.stderr.contains("is damaged"), "{finished:?}");
}

#[test]
fn a_restart_with_an_edited_file_may_change_what_alters_nothing_on_disk() {
    let store = Store::new(&["compaction.min_segment_mb = 2"]);
    store.start().stop();
    store.declare(&["compaction.min_segment_mb = 3", "wal.rollover_mb = 8"]);
    let server = store.start();
    assert!(server.http().get("/v1/stores/test").text().contains("3"));
    server.stop();
    let config = store.config().to_string_lossy().into_owned();
    let shown = run(&["manifest", "show", "--config", &config]);
    assert!(
        shown.code == 0 && shown.stdout.contains("min_segment_mb"),
        "the statement that holds is on disk: {shown:?}"
    );
    store.declare(&["partition.by = ('dt')", "envelope.seq_key = 'version'"]);
    let finished = run(&store.serve_arguments());
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("partition.by") && finished.stderr.contains("envelope.seq_key"), "{finished:?}");
}

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let store = Store::new(&[]);
    let server = store.start();
    let second = run(&store.serve_arguments());
    assert!(second.code == 2 && second.stderr.contains("node"), "{second:?}");
    assert_eq!(server.http().get("/health").status, 200);
}

#[test]
fn read_goes_on_where_a_page_is_cut_by_its_bytes() {
    let store = Store::new(&[]);
    let server = store.start();
    let filler = "x".repeat(1_000_000);
    for n in 0..24 {
        let events = serde_json::json!({"events": [{"event_type": "E", "data": {"n": n, "filler": filler}}]});
        server.http().post("streams/T/s", &events).expect(201);
    }
    let page = server.http().get("streams/T/s?limit=24").expect(200);
    let (held, next) = (page["events"].as_array().unwrap().len() as u64, page["next_seq"].as_u64().unwrap());
    assert!(held < 24 && next == held + 1, "a page of 24 MB is cut: {held} events, next {next}");
    let table = server.client(&["read", "--stream-type", "T", "--stream-id", "s", "--limit", "23"]);
    assert!(table.stderr.contains("23 events") && table.stderr.contains("there is more"), "{}", table.stderr);
    let past = server.client(&["read", "--stream-type", "T", "--stream-id", "s", "--from-seq", "30"]);
    assert_eq!(past.stdout, "there is no event from seq 30 on: the stream's last seq is 24\n", "{past:?}");
    for order in [&[][..], &["--desc"]] {
        let read = |format: &'static str, limit: &'static str| {
            let to = ["read", "--stream-type", "T", "--stream-id", "s", "--format", format, "--limit", limit];
            server.client(&[&to[..], order].concat())
        };
        let lines = read("ndjson", "24");
        let seqs: Vec<u64> = lines.stdout.lines().map(seq_of).collect();
        let wanted: Vec<u64> = if order.is_empty() { (1..=24).collect() } else { (1..=24).rev().collect() };
        assert_eq!(seqs, wanted);
        assert_eq!(read("ndjson", "23").stdout.lines().count(), 23);
        let whole: Value = serde_json::from_str(&read("json", "200001").stdout).unwrap();
        assert_eq!(
            whole["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
            wanted
        );
        assert_eq!((&whole["verdict"]["from_seq"], &whole["verdict"]["to_seq"]), (&Value::from(1), &Value::from(24)));
        assert_eq!((&whole["verdict"]["contiguous"], &whole["next_seq"]), (&Value::from(true), &Value::Null));
    }
    server.stop();
}

fn seq_of(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()
}

#[test]
fn read_asks_for_no_order_that_nobody_asked_for() {
    let store = Store::new(&["read.default_order = ('occurred_at')", "read.require_monotonic_seq = false"]);
    let server = store.start();
    let event = |seq: u64, at: &str| serde_json::json!({"event_type": "E", "seq": seq, "occurred_at": at});
    let events = [event(1, "2026-03-01T00:00:00Z"), event(5, "2026-01-01T00:00:00Z"), event(6, "2026-02-01T00:00:00Z")];
    server.http().post("streams/T/s", &serde_json::json!({"events": events})).expect(201);
    let read = |more: &[&str]| {
        let read = ["read", "--stream-type", "T", "--stream-id", "s", "--format", "ndjson"];
        let lines = server.client(&[&read[..], more].concat());
        assert_eq!(lines.code, 0, "{lines:?}");
        lines.stdout.lines().map(seq_of).collect::<Vec<_>>()
    };
    assert_eq!((read(&[]), read(&["--asc"]), read(&["--desc"])), (vec![5, 6, 1], vec![1, 5, 6], vec![6, 5, 1]));
    assert_eq!((read(&["--limit", "2"]), read(&["--from-seq", "5"])), (vec![5, 1], vec![5, 6]));
    let table = server.client(&["read", "--stream-type", "T", "--stream-id", "s"]);
    assert!(table.stderr.contains("clients skipped seqs"), "{}", table.stderr);
    server.stop();
}

#[test]
fn names_that_clients_gave_cannot_steer_a_terminal() {
    let store = Store::new(&[]);
    let server = store.start();
    let hostile = "T\u{1b}[2J\r";
    server
        .http()
        .post("streams/T%1B%5B2J%0D/s%1B", &serde_json::json!({"events": [{"event_type": hostile}]}))
        .expect(201);
    let compacted = server.client(&["compact"]);
    let read = server.client(&["read", "--stream-type", hostile, "--stream-id", "s\u{1b}"]);
    let none = server.client(&["read", "--stream-type", hostile, "--stream-id", "none"]);
    for told in [&server.client(&["status"]), &compacted, &read, &none] {
        let text = format!("{}{}", told.stdout, told.stderr);
        assert!(text.contains(r"T\u{1b}[2J\r"), "{text:?}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    server.stop();
    store.assert_clean();
}

#[test]
fn what_commits_replaced_is_no_crash() {
    let store = Store::without_log(&[]);
    let server = store.start();
    for _ in 0..6 {
        server.http().post("streams/T/s", &serde_json::json!({"events": [{"event_type": "E"}]})).expect(201);
    }
    server.stop();
    let verified = store.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.stderr.contains("sorted runs (") && verified.stderr.contains("replaced"), "{}", verified.stderr);
    assert!(verified.stderr.lines().count() == 1 && !verified.stderr.contains("crash"), "{}", verified.stderr);
}

#[test]
fn the_help_of_an_option_is_one_paragraph() {
    let help = run(&["append", "--help"]);
    assert!(help.stdout.contains("all in one append, and what the options say of an event"), "{}", help.stdout);
}

#[test]
fn a_node_that_cannot_listen_claims_no_store() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = Store::new(&[]);
    let mut arguments = store.serve_arguments();
    *arguments.last_mut().unwrap() = taken.local_addr().unwrap().to_string();
    let refused = run(&arguments);
    assert!(refused.code == 2 && refused.stderr.contains("cannot listen"), "{refused:?}");
    assert!(!store.durable().exists(), "nothing is made");
    drop(taken);
    Server::start_from(program().args(&arguments)).stop();
    let versions = || std::fs::read_dir(store.durable().join("_manifests")).unwrap().count();
    let (claimed, taken) = (versions(), std::net::TcpListener::bind(arguments.last().unwrap()).unwrap());
    assert_eq!(run(&arguments).code, 2);
    assert_eq!(versions(), claimed, "an owner would not be fenced");
    drop(taken);
}

#[test]
fn append_and_read_with_exit_codes() {
    let store = Store::new(&[]);
    let server = store.start();
    let to = ["--stream-type", "T", "--stream-id", "s"];
    let append = |more: &[&str]| server.client(&[&["append"], &to[..], more].concat());
    let first =
        append(&["--event-type", "E", "--data", "{\"a\":1.0}", "--expected-seq", "empty", "--event-version", "2"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(serde_json::from_str::<Value>(&first.stdout).unwrap()["last_seq"], 1);
    let conflict = append(&["--event-type", "E", "--expected-seq", "empty"]);
    assert!(conflict.code == 1 && conflict.stderr.contains("wrong_expected_seq"), "{conflict:?}");
    assert_eq!(append(&["--event-type", "E", "--data", "{"]).code, 2);
    assert_eq!(append(&["--expected-seq", "soon", "--event-type", "E"]).code, 2);
    let from_stdin = [&["append"], &to[..]].concat();
    let two =
        server.client_with_input(&from_stdin, b"{\"event_type\":\"E\",\"data\":{\"n\":2}}\n{\"event_type\":\"E\"}\n");
    assert_eq!(two.code, 0, "{two:?}");

    let read = |more: &[&str]| server.client(&[&["read"], &to[..], more].concat());
    assert_eq!(read(&["--format", "ndjson"]).stdout.lines().count(), 3);
    assert_eq!(read(&["--format", "ndjson", "--from-seq", "3"]).stdout.lines().count(), 1);
    let json: Value = serde_json::from_str(&read(&["--format", "json"]).stdout).unwrap();
    assert_eq!(json["last_seq"], 3);
    let table = read(&[]);
    assert!(table.stdout.contains("event_type") && table.stderr.contains("inmemory"), "{table:?}");
    assert!(!table.stderr.contains("there is more"), "{table:?}");
    assert!(read(&["--limit", "2"]).stderr.contains("there is more"));
    assert_eq!(server.client(&["read", "--stream-type", "T", "--stream-id", "nobody"]).code, 1);
    assert_eq!(server.client(&["read", "--stream-type", "T", "--stream-id", "s", "--store", "nowhere"]).code, 1);
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    let finished = run(&["status", "--url", "http://127.0.0.1:1"]);
    assert!(finished.code == 3 && finished.stderr.contains("strandline serve"), "{finished:?}");
}

#[test]
fn usage_errors_are_exit_code_2_and_options_come_from_the_environment() {
    assert_eq!(run(&["read"]).code, 2);
    assert_eq!(run(&["no-such-command"]).code, 2);
    assert_eq!(run(&["--help"]).code, 0);
    assert_eq!(run(&["--version"]).code, 0);
    let output = program().args(["status"]).env("STRANDLINE_URL", "ftp://x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let finished = run(&["query", "SELECT 1"]);
    assert!(finished.code == 2 && finished.stderr.contains("not served"), "{finished:?}");
}

/// Runs `append` on the stream `s` of type `T` with these STRANDLINE_ variables.
fn append_with(server: &Server, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Finished {
    let mut command = program();
    command.args(["append", "--stream-type", "T", "--stream-id", "s", "--url", server.url()]).args(arguments);
    command.envs(environment.iter().map(|(name, value)| (format!("STRANDLINE_{name}"), value)));
    run_command(command, input.as_bytes())
}

#[test]
fn append_takes_from_the_environment_what_a_line_does_not_say() {
    let store = Store::new(&["envelope.tenant_id_key = 'org'"]);
    let server = store.start();
    let environment = [("TENANT_ID", "acme"), ("CORRELATION_ID", "k1")];
    let lines = "{\"event_type\":\"A\"}\n{\"event_type\":\"B\",\"org\":\"other\",\"data\":{\"n\":1}}\n";
    let appended = append_with(&server, &environment, &[], lines);
    assert_eq!(appended.code, 0, "{appended:?}");
    // an event type of the environment is one too; without a line it makes the one event
    let typed = [("EVENT_TYPE", "C"), ("TENANT_ID", "acme")];
    assert_eq!(append_with(&server, &typed, &[], "{\"data\":1}\n{\"event_type\":\"D\"}\n").code, 0);
    assert_eq!(append_with(&server, &typed, &[], "").code, 0);
    // on the command line it stands for one event, whatever stdin holds
    assert_eq!(append_with(&server, &typed, &["--event-type", "E", "--tenant-id", "mine"], "{}\n").code, 0);
    let found: Vec<String> = server.http().stream("T", "s").iter().map(told).collect();
    assert_eq!(
        found,
        ["A acme k1 null", "B other k1 {\"n\":1}", "C acme - 1", "D acme - null", "C acme - null", "E mine - null"]
    );
    let none = append_with(&server, &environment, &[], "");
    assert!(none.code == 2 && none.stderr.contains("--event-type"), "{none:?}");
    server.stop();
}

/// Event type, tenant, correlation id and data of an event.
fn told(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {}", text("event_type"), text("org"), text("correlation_id"), event["data"])
}

#[test]
fn a_flag_from_the_environment_is_a_word() {
    let store = Store::new(&[]);
    let server = store.start();
    let one = ["--event-type", "E"];
    for (word, stored) in [("1", 0), ("yes", 0), ("true", 0), ("0", 1), ("no", 2), ("false", 3), ("", 4)] {
        let appended = append_with(&server, &[("INSPECT", word)], &one, "");
        assert_eq!(appended.code, 0, "{word}: {appended:?}");
        assert_eq!(server.http().stream("T", "s").len(), stored, "{word}");
    }
    let unclear = append_with(&server, &[("INSPECT", "perhaps")], &one, "");
    assert!(unclear.code == 2 && unclear.stderr.contains("--inspect") && unclear.stderr.contains("yes"), "{unclear:?}");
    server.stop();
    for (word, starts) in [("0", true), ("1", true), ("perhaps", false)] {
        let mut serve = program();
        serve.args(store.serve_arguments()).env("STRANDLINE_ACCEPT_LOST_LOG", word);
        match Server::try_start(&mut serve) {
            Ok(server) => server.stop(),
            Err(finished) => {
                assert!(finished.code == 2 && finished.stderr.contains("--accept-lost-log"), "{finished:?}")
            }
        }
        assert!(starts || Server::try_start(&mut serve).is_err());
    }
}

#[test]
fn status_compact_files_manifest_and_wal_show_the_store() {
    let store = Store::new(&[]);
    let server = store.start();
    let line = br#"{"stream_type":"T","stream_id":"s","event_type":"E","data":{}}"#;
    assert_eq!(server.client_with_input(&["ingest", "-"], line).code, 0);
    let status = server.client(&["status"]);
    assert!(status.code == 0 && status.stdout.contains("wal"), "{status:?}");
    for (command, paused) in [("pause", true), ("resume", false)] {
        assert_eq!(server.client(&[command]).code, 0);
        let compaction = server.http().get("/admin/v1/stores/test/compaction").expect(200);
        assert_eq!(compaction["paused"], paused, "{command}");
    }
    let compact = server.client(&["compact"]);
    assert_eq!(compact.code, 0, "{compact:?}");
    let again = server.client(&["compact"]);
    assert_eq!(again.code, 0, "{again:?}");
    let paths = server.client(&["files", "--format", "paths"]);
    let path = paths.stdout.lines().next().expect("one live file");
    assert!(std::path::Path::new(path).is_file(), "{path} opens as it is printed");
    assert!(server.client(&["manifest", "show"]).stdout.contains("version"));
    server.stop();
    let segment = std::process::Command::new("find").arg(store.log()).args(["-name", "*.wal"]).output().unwrap();
    let segment = String::from_utf8(segment.stdout).unwrap();
    let dump = run(&["wal", "dump", segment.lines().next().expect("a segment is there")]);
    assert!(dump.code == 0 && dump.stdout.lines().count() >= 1, "{dump:?}");
    assert_eq!(run(&["wal", "dump", "/no/such/file"]).code, 2);
    let noise = store.path().join("noise.wal");
    std::fs::write(&noise, vec![7_u8; 100_000]).unwrap();
    assert_eq!(run(&["wal", "dump", &noise.to_string_lossy()]).code, 1);
    // a segment that nothing was written to yet is one; a file without a byte is none
    for (bytes, code) in [(vec![0_u8; 4096], 0), (Vec::new(), 1)] {
        std::fs::write(&noise, &bytes).unwrap();
        let dump = run(&["wal", "dump", &noise.to_string_lossy()]);
        assert_eq!((dump.code, dump.stderr.contains("holds nothing")), (code, code == 1), "{dump:?}");
    }
    store.assert_clean();
}

#[test]
fn verify_finds_a_damaged_file() {
    let store = Store::new(&[]);
    let server = store.start();
    let line = br#"{"stream_type":"T","stream_id":"s","event_type":"E","data":{"text":"some payload"}}"#;
    server.client_with_input(&["ingest", "-"], line);
    server.http().compact();
    let paths = server.client(&["files", "--format", "paths"]);
    server.stop();
    store.assert_clean();
    let path = paths.stdout.lines().next().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    std::fs::write(path, bytes).unwrap();
    let config = store.config();
    let elsewhere = run(&["verify", "--config", &config.to_string_lossy(), "--data-dir", "/no/such/folder"]);
    assert!(elsewhere.code == 2 && elsewhere.stderr.contains("/no/such/folder"), "{elsewhere:?}");
    let finished = store.verify();
    assert_eq!(finished.code, 1, "{finished:?}");
    let name = std::path::Path::new(path).file_name().unwrap().to_string_lossy();
    assert!(finished.stdout.contains(name.as_ref()), "{finished:?}");
}

#[test]
fn a_start_says_what_it_made_and_verify_where_it_looked() {
    let store = Store::new(&[]);
    let shown = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let (node, config) = (shown(store.path().join("node")), shown(store.config()));
    let said = |server: Server| {
        assert_eq!(server.data_dir(), node);
        let ended = server.finish();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stderr
    };
    let first = said(store.start());
    let made = format!("new: made the data folder {node} and the empty store test (declared in {config})");
    assert!(first.contains(&made) && first.contains("--data-dir"), "{first}");
    let second = said(store.start());
    assert!(!second.contains("new: made"), "{second}");
    // the file is forgotten
    let missed = run(&["verify", "--data-dir", &node]);
    assert_eq!(missed.code, 2, "{missed:?}");
    for part in ["there is no store", &node, "no --config", "local_dev"] {
        assert!(missed.stderr.contains(part), "{part}: {missed:?}");
    }
    let built_in = || {
        let mut command = store.program();
        command.args(["serve", "--data-dir", &node, "--http", "127.0.0.1:0"]);
        said(Server::start_from(&mut command))
    };
    let other = built_in();
    assert!(other.contains("new: made the empty store local_dev (no --config"), "{other}");
    assert!(!built_in().contains("new: made"), "it is there by now");
    store.assert_clean();
}

#[test]
fn bench_runs_small() {
    let store = Store::new(&[]);
    let server = store.start();
    let small = ["bench", "--events", "2000", "--batch", "100", "--connections", "2", "--streams", "10"];
    let finished = server.client(&small);
    assert!(
        finished.code == 0 && finished.stdout.contains("events/s") && finished.stdout.contains("p99"),
        "{finished:?}"
    );
    assert_eq!(server.http().scan().len(), 2_000);
    let ways: [&[&str]; 2] = [&["--protocol", "http"], &["--batch", "1", "--callers", "16"]];
    for more in ways {
        let finished = server.client(&[&["bench", "--events", "500", "--connections", "1"], more].concat());
        assert!(finished.code == 0 && finished.stdout.starts_with("500 events"), "{finished:?}");
    }
    assert_eq!(server.http().scan().len(), 3_000);
    assert_eq!(server.client(&["bench", "--protocol", "http", "--callers", "2"]).code, 2);
}

#[test]
fn without_a_config_the_local_store_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    let server = Server::start_from(command.current_dir(folder.path()).args(["serve", "--http", "127.0.0.1:0"]));
    let appended = server.client(&[
        "append",
        "--stream-type",
        "Order",
        "--stream-id",
        "1",
        "--event-type",
        "Placed",
        "--data",
        "{}",
    ]);
    assert_eq!(appended.code, 0, "{appended:?}");
    assert_eq!(server.http().get("/v1/stores").expect(200)["stores"][0]["name"], "local_dev");
    assert_eq!(server.client(&["compact"]).code, 0);
    server.stop();
    assert!(folder.path().join("strandline-data").is_dir());
    let output = program().current_dir(folder.path()).arg("verify").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_demo_runs_to_its_end() {
    let finished = run_with_input(&["demo"], b"");
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("What to try next"));
}

#[test]
fn verify_is_for_a_store_that_no_node_has_open() {
    let store = Store::new(&[]);
    let server = store.start();
    let finished = store.verify();
    assert!(finished.code == 2 && finished.stderr.contains("a node runs on"), "{finished:?}");
    server.stop();
    store.assert_clean();
    assert_eq!(Store::new(&[]).verify().code, 2, "there is no store yet");
}

#[test]
fn status_watches_on_while_the_server_is_away() {
    let server = Store::new(&[]);
    let running = server.start();
    let mut command = program();
    command.args(["status", "--watch", "--url", running.url()]).stdout(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("store test at http://")), "a first page");
    running.stop();
    assert!(lines.any(|line| line == "as it was before:"), "the node is away, and what was seen last stays");
    let next = lines.find(|line| !line.is_empty()).unwrap();
    assert!(next.starts_with("store test at http://") && next.contains(", seen at 20"), "{next}");
    assert!(!next.contains('\u{1b}'), "a pipe is no terminal");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
