//! `strandline check`: what it says of statements, and what to do next.

use crate::harness::{Server, Store, root, run, run_command, run_with_input};
use serde_json::Value;

#[test]
fn check_prints_every_key_and_all_errors() {
    let store = Store::new(&["wal.rollover_mb = 7", "read.tiers = ('durable')"]);
    let path = store.config().to_string_lossy().into_owned();
    let table = run(&["check", &path]);
    assert_eq!((table.code, table.stdout.contains("wal.rollover_mb")), (0, true), "{table:?}");
    assert!(table.stdout.contains("hint: wal.rollover_mb: "), "7 MB are seldom meant: {table:?}");
    assert!(table.stdout.contains("hint: read.tiers: "), "the log is not read: {table:?}");
    assert!(table.stderr.contains(&format!("strandline serve --config {path}")), "what to do next: {table:?}");
    let json = run(&["check", &path, "--format", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.to_string().contains("compaction.schedule"));

    std::fs::write(store.config(), "CREATE EVENTSTORE s WITH (\n  durable.type = 'orc',\n  wal.rolover = 'size'\n);\n")
        .unwrap();
    let bad = run(&["check", &path]);
    assert_eq!(bad.code, 2, "{bad:?}");
    for part in ["'orc'", "wal.rolover", "wal.rollover", ":2:", ":3:", "durable.path"] {
        assert!(bad.stderr.contains(part), "{part} is not in\n{}", bad.stderr);
    }
    assert!(!bad.stderr.contains("strandline serve"), "{bad:?}");
}

/// What it says to do next is what works.
#[test]
fn check_names_a_certificate_where_nothing_is_served_without_one() {
    let store = Store::new(&["security.encrypt.in_transit = true"]);
    let path = store.config().to_string_lossy().into_owned();
    let here = |arguments: &[&str]| {
        let mut command = store.program();
        command.current_dir(store.path()).args(arguments);
        command
    };
    let checked = run_command(here(&["check", &path]), b"");
    let next = checked.stderr.split_once("run it: strandline ").unwrap_or_else(|| panic!("{checked:?}")).1;
    let (serve, certs) = next.split_once(" (").unwrap();
    assert!(certs.contains("`strandline certs dev --dir certs`") && certs.contains("https://"), "{checked:?}");
    assert_eq!(run_command(here(&["certs", "dev", "--dir", "certs"]), b"").code, 0);
    let serve: Vec<&str> = serve.split(' ').collect();
    let server = Server::start_from(here(&serve).args(["--data-dir", "node", "--http", "127.0.0.1:0"]));
    let url = server.url().replace("http://", "https://");
    let asked = run_command(here(&["status", "--url", &url, "--tls-ca", "certs/ca.pem"]), b"");
    assert_eq!(asked.code, 0, "{asked:?}");
    server.stop();
    let plain = run(&["check", &Store::new(&[]).config().to_string_lossy()]);
    assert!(!plain.stderr.contains("--tls-cert"), "{plain:?}");
    let piped = run_with_input(&["check", "-"], &std::fs::read(store.config()).unwrap());
    assert!(piped.stderr.contains("serve --config FILE --tls-cert"), "{piped:?}");
}

#[test]
fn check_answers_the_statements_that_ask() {
    let store = Store::new(&[]);
    let statement = std::fs::read_to_string(store.config()).unwrap();
    std::fs::write(
        store.config(),
        format!("{statement}\nDESCRIBE EVENTSTORE test; DESCRIBE EVENTSTORES; EXPORT DEREG;"),
    )
    .unwrap();
    let path = store.config().to_string_lossy().into_owned();
    let asked = run(&["check", &path]);
    assert_eq!(asked.code, 0, "{asked:?}");
    for part in ["eventstores: test", "\"name\": \"test\"", "CREATE EVENTSTORE test WITH ("] {
        assert!(asked.stdout.contains(part), "{part} is not in\n{}", asked.stdout);
    }
    std::fs::write(store.config(), format!("{statement}\nDESCRIBE EVENTSTORE nope;")).unwrap();
    let unknown = run(&["check", &path]);
    assert!(unknown.code == 2 && unknown.stderr.contains("nope"), "{unknown:?}");
}

#[test]
fn the_examples_are_valid() {
    for entry in std::fs::read_dir(root().join("stores")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "deql") {
            let checked = run(&["check", &path.to_string_lossy()]);
            assert_eq!(checked.code, 0, "{}: {}", path.display(), checked.stderr);
        }
    }
}
