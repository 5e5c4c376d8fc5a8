//! The commands and options that programs outside of this repository call by their names: more may come, none may go or change its name.

use super::command;

/// Commands, and the options and arguments (without dashes) that each must take.
const NAMES: &[(&str, &str)] = &[
    (
        "serve",
        "--config --data-dir --http --native --tls-cert --tls-key --tls-ca --token-file --admin --grace-tombstone \
         --grace-files --projection-timeout --accept-lost-log --node-id --cluster --join --replication --roles",
    ),
    ("check", "file --format"),
    (
        "append",
        "--stream-type --stream-id --event-type --data --event-version --command-id --correlation-id --tenant-id \
         --expected-seq",
    ),
    ("ingest", "file"),
    ("read", "--stream-type --stream-id --from-seq --limit --format"),
    ("query", ""),
    ("subscribe", "--stream-type --after"),
    ("status", "--watch"),
    ("compact", "--stream-type"),
    ("pause", ""),
    ("resume", ""),
    ("verify", "--data-dir --config"),
    ("wal dump", "file"),
    ("manifest show", ""),
    ("files", "--format"),
    ("demo", ""),
    ("keys init", "--file"),
    ("keys rotate", ""),
    ("certs dev", "--dir"),
    ("erase", "--stream-id"),
    ("bench", "--events --batch --connections --streams"),
];

/// Those that ask a node.
const CLIENTS: &[&str] =
    &["append", "ingest", "read", "subscribe", "status", "compact", "pause", "resume", "files", "erase", "bench"];

/// Values that options must take.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("check", "format", &["table", "json"]),
    ("read", "format", &["table", "ndjson", "json"]),
    ("files", "format", &["paths"]),
];

fn find(path: &str) -> clap::Command {
    let below = |of: clap::Command, name: &str| {
        let found = of.get_subcommands().find(|command| command.get_name() == name).cloned();
        found.unwrap_or_else(|| panic!("there is no `strandline {path}`"))
    };
    path.split(' ').fold(command(), below)
}

fn takes(command: &clap::Command, name: &str) -> bool {
    command.get_arguments().any(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.is_positional() && arg.get_id() == name,
    })
}

#[test]
fn the_names_of_the_interface_are_there() {
    for (path, names) in NAMES.iter().copied() {
        let command = find(path);
        for name in names.split_whitespace() {
            assert!(takes(&command, name), "`strandline {path}` takes no {name}");
        }
    }
    for &path in CLIENTS {
        let command = find(path);
        for name in ["--url", "--store", "--token"] {
            assert!(takes(&command, name), "`strandline {path}` takes no {name}");
        }
    }
    for (path, option, words) in VALUES.iter().copied() {
        let command = find(path);
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(option)).unwrap();
        let known = arg.get_possible_values();
        for &word in words {
            assert!(known.iter().any(|value| value.get_name() == word), "`strandline {path} --{option} {word}`");
        }
    }
}

#[test]
fn a_node_listens_where_programs_look_for_it_and_clients_ask_there() {
    let default = |path: &str, option: &str| {
        let command = find(path);
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(option)).cloned().unwrap();
        arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned())
    };
    assert_eq!(default("serve", "http").as_deref(), Some("127.0.0.1:7070"));
    assert_eq!(default("serve", "data-dir").as_deref(), Some("strandline-data"));
    for &path in CLIENTS {
        assert_eq!(default(path, "url").as_deref(), Some("http://127.0.0.1:7070"), "{path}");
    }
}
