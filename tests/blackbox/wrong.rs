//! The program used wrongly, as people do: the exit code says whose turn it is, stderr says in a sentence what to do next, and nothing
//! panics.

use crate::harness::{Finished, Ports, Server, Store, program, run, run_command};
use crate::oracles::python;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// What every wrong use must be answered with.
fn told(line: &str, finished: &Finished, code: i32, said: &str) {
    let text = &finished.stderr;
    assert!(finished.code == code && text.contains(said), "{line}: wanted {code} and `{said}`: {finished:?}");
    let is_ours = |line: &str| line.starts_with("strandline: ") || line.starts_with("error: ");
    assert!(text.lines().any(is_ours), "{line}: {finished:?}");
    for trace in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!text.contains(trace), "{line}: {finished:?}");
    }
}

/// Words with blanks between them; `''` is an empty one.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| if word == "''" { String::new() } else { word.to_owned() }).collect()
}

const ALONE: &[(&str, i32, &str)] = &[
    // commands and options
    ("stauts", 2, "'status'"),
    ("manifest shwo", 2, "'show'"),
    ("cluster drian --node 1", 2, "'drain'"),
    ("check f.deql --format tabel", 2, "'table'"),
    ("status now", 2, "unexpected argument 'now'"),
    ("read --stream-type T", 2, "--stream-id"),
    ("serve orders.deql", 2, "--config FILE"),
    ("serve --port 8080", 2, "serve --http"),
    ("status --host db", 2, "--url http://HOST:PORT"),
    ("read --stream-type T --stream-id", 2, "a value is required"),
    ("read --stream-type T --stream-id s --frmat json", 2, "'--format'"),
    ("read --stream-type T --stream-id s --format xml", 2, "table, ndjson, json"),
    ("read --stream-type T --stream-id s --asc --desc", 2, "cannot be used with"),
    ("erase", 2, "--tenant-id"),
    ("erase --stream-id a --tenant-id b", 2, "cannot be used with"),
    ("completions powershel", 2, "'powershell'"),
    ("token new --name a --role owner", 2, "append, read, admin"),
    ("token new --role admin --name ''", 2, "1 to 128 bytes"),
    ("query SELECT 1", 2, "not served"),
    ("keys unwrap s3://b/x.parquet --config f.deql", 2, "copy it here"),
    // numbers
    ("read --stream-type T --stream-id s --limit -1", 2, "a whole number from 1 on"),
    ("read --stream-type T --stream-id s --limit many", 2, "a whole number from 1 on"),
    ("read --stream-type T --stream-id s --from-seq 1.5", 2, "a whole number from 0 on"),
    ("read --stream-type T --stream-id s --to-seq 99999999999999999999", 2, "a whole number from 0 on"),
    ("append --stream-type T --stream-id s --event-type E --event-version -1", 2, "from 0 to 4294967295"),
    ("append --stream-type T --stream-id s --event-type E --expected-seq -1 --url http://127.0.0.1:1", 2, "`empty` or"),
    ("subscribe --limit 0", 2, "a whole number from 1 on"),
    ("subscribe --idle 99999", 2, "from 0 to 3600"),
    ("bench --connections 0", 2, "from 1 to 1024"),
    ("serve --compaction-share 0", 2, "from 1 to 100"),
    ("serve --cluster 127.0.0.1:1 --node-id 0", 2, "a whole number from 1 on"),
    ("certs dev --dir d --nodes 101", 2, "from 0 to 100"),
    ("certs dev --dir d --hosts ''", 2, "db.example"),
    ("certs dev --dir d --hosts db.example,db:7070", 2, "without a port"),
    ("ready --wait 5", 2, "such as 90s"),
    // addresses
    ("serve --http 7070", 2, "127.0.0.1:7070"),
    ("serve --http localhost:7070", 2, "127.0.0.1:7070"),
    ("serve --native 127.0.0.1", 2, "127.0.0.1:7070"),
    ("serve --cluster here --node-id 1", 2, "127.0.0.1:7070"),
    ("serve --cluster 127.0.0.1:1 --node-id 2 --join http://127.0.0.1:7072", 2, "without http://"),
    ("serve --cluster 127.0.0.1:1 --node-id 2 --join 127.0.0.1", 2, "and its port"),
    ("status --url 127.0.0.1:7070", 2, "begins with http://"),
    ("status --url http://", 2, "the host is missing"),
    ("status --url http://127.0.0.1:99999", 2, "from 1 to 65535"),
    ("status --url http://me:secret@127.0.0.1:7070", 2, "--token"),
    ("status --url http://127.0.0.1:7070/admin/#/overview", 2, "`#`"),
    ("status --url http://no-such-host.invalid:7070", 3, "no such host is known"),
    ("status --url http://127.0.0.1:1", 3, "nobody listens there"),
    ("subscribe --store s --patience 1 --url http://127.0.0.1:1", 3, "; trying again"),
    ("status --url https://127.0.0.1:1", 2, "--tls-ca"),
    ("status --url https://127.0.0.1:1 --tls-ca /no/such/ca.pem", 2, "/no/such/ca.pem"),
    ("status --url http://127.0.0.1:1 --tls-ca ca.pem", 2, "give https://"),
    ("ready --url http://127.0.0.1:1 --tls-ca ca.pem", 2, "give https://"),
    ("serve --http 127.0.0.1:7071", 2, "--http and --native are both 127.0.0.1:7071"),
    ("serve --cluster 127.0.0.1:7070 --node-id 1", 2, "--http and --cluster are both 127.0.0.1:7070"),
    // files
    ("check /no/such.deql", 2, "/no/such.deql"),
    ("check .", 2, "directory"),
    ("serve --config /no/such.deql", 2, "/no/such.deql"),
    ("manifest show --config /no/such.deql", 2, "/no/such.deql"),
    ("verify --data-dir /no/such", 2, "--data-dir"),
    ("wal dump /no/such.wal", 2, "/no/such.wal"),
    ("wal dump .", 2, "name one of the segments"),
    ("keys init --file /no/such/key", 2, "there is no folder /no/such:"),
    ("keys rotate", 2, "--config"),
    ("token new --name a --role admin --token-file /no/such/tokens", 2, "/no/such/tokens"),
    ("token list --token-file /no/such/tokens", 2, "/no/such/tokens"),
    ("token revoke --file /no/such/tokens --name a", 2, "/no/such/tokens"),
    ("token revoke --token-file f", 2, "--name"),
];

#[test]
fn what_is_wrong_with_a_command_line_is_said() {
    for (line, code, said) in ALONE {
        told(line, &run(&words(line)), *code, said);
    }
    let blank = run(&["certs", "dev", "--dir", "d", "--hosts", "a b"]);
    told("a host with a blank", &blank, 2, "without blanks");
}

#[test]
fn a_shell_that_took_the_quotes_is_found_out() {
    let append = ["append", "--stream-type", "T", "--stream-id", "s", "--event-type", "E", "--data", "{a:1}"];
    // before anybody is asked
    told("--data {a:1}", &run(&[&append[..], &["--url", "http://127.0.0.1:1"]].concat()), 2, "single quotes");
    let nan = [&append[..8], &["{\"a\": NaN}", "--url", "http://127.0.0.1:1"]].concat();
    told("--data NaN", &run(&nan), 2, "JSON has no NaN");
}

/// What a command shows on a terminal, where somebody types this.
fn on_a_terminal(arguments: &[&str], no_color: &str, typed: &[u8]) -> String {
    let spawn = "import pty, sys; pty.spawn(sys.argv[1:])";
    let mut command = Command::new(python());
    command.args(["-c", spawn]).arg(program().get_program()).args(arguments).env("NO_COLOR", no_color);
    run_command(command, typed).stdout
}

#[test]
fn an_append_says_on_a_terminal_that_it_waits_for_events() {
    let store = Store::new(&[]);
    let server = store.start();
    let append = ["append", "--url", server.url(), "--stream-type", "T", "--stream-id", "s"];
    // the end of what is typed, as Ctrl-D gives it
    let waited = on_a_terminal(&append, "1", b"{\"event_type\":\"E\"}\n\x04");
    assert!(waited.contains("a JSON object a line; Ctrl-D") && waited.contains("\"last_seq\":1"), "{waited}");
    let one = on_a_terminal(&[&append[..], &["--data", "{}"]].concat(), "1", b"");
    assert!(one.contains("--event-type is missing"), "{one}");
    let whole = on_a_terminal(&[&append[..], &["--event-type", "E"]].concat(), "1", b"");
    assert!(whole.contains("\"last_seq\":2") && !whole.contains("Ctrl-D"), "{whole}");
    server.stop();
}

#[test]
fn errors_are_coloured_on_a_terminal_only_and_not_where_somebody_wants_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.deql");
    std::fs::write(&file, "CREATE EVENTSTORE s WITH (wal.rolover = 'size');\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    let check = ["check", file.as_str()];
    let (coloured, plain, piped) =
        (on_a_terminal(&check, "", b""), on_a_terminal(&check, "1", b""), run(&check).stderr);
    for (shown, wanted) in [(&coloured, true), (&plain, false), (&piped, false)] {
        assert!(shown.contains("rolover"), "the error is shown: {shown:?}");
        assert_eq!(shown.contains('\u{1b}'), wanted, "{shown:?}");
    }
}

#[test]
fn a_token_that_is_none_is_not_sent() {
    for wrong in ["slt_a\nslt_b", "Bearer slt_a"] {
        let finished = run(&["status", "--url", "http://127.0.0.1:1", "--token", wrong]);
        told(wrong, &finished, 2, "--token");
        assert!(!finished.stderr.contains("slt_"), "{finished:?}");
    }
    // a variable that is set to nothing is no token
    let mut command = program();
    command.args(["status", "--url", "http://127.0.0.1:1"]).env("STRANDLINE_TOKEN", "");
    told("no token", &run_command(command, b""), 3, "nobody listens there");
}

/// What is asked of a node that has the stream `s` of type `T`, with one event.
const SERVED: &[(&str, i32, &str)] = &[
    ("read --stream-type T --stream-id nobody", 1, "there is no stream 'nobody'"),
    ("read --stream-type None --stream-id s", 1, "known are T (not_found)"),
    ("read --stream-type T --stream-id ''", 2, "--stream-id"),
    ("read --stream-type T --stream-id s --store ''", 2, "--store"),
    ("subscribe --durable '' --idle 0", 2, "--durable"),
    ("read --stream-type T --stream-id s --limit 0", 2, "from 1 on"),
    ("read --stream-type T --stream-id s --from-seq 5 --to-seq 2", 2, "seq"),
    ("read --stream-type T --stream-id s --as-of 9999", 1, "9999"),
    ("read --stream-type T --stream-id s --store nowhere", 1, "nowhere"),
    ("status --store nowhere", 1, "nowhere"),
    ("pause --store nowhere", 1, "nowhere"),
    ("subscribe --store nowhere --idle 0", 1, "nowhere"),
    ("subscribe --after behind --idle 0", 2, "behind"),
    // it may come yet
    ("subscribe --stream-type Nope --idle 0", 0, "nobody has registered a stream type 'Nope'"),
    ("append --stream-type T --stream-id s --event-type E --occurred-at yesterday", 1, "occurred_at"),
    ("append --stream-type T --stream-id s --event-type E --expected-seq 99", 1, "is at 1"),
    ("append --stream-type T --stream-id s", 2, "--event-type"),
    ("compact --stream-type Nope", 1, "known are T (not_found)"),
    ("compact --plan --stream-type Nope", 1, "known are T (not_found)"),
    ("erase --stream-id s", 1, "erasable"),
    ("redact --reason why", 2, "--event-id"),
    ("redact --stream-type T --seq 1", 2, "--stream-id"),
    ("redact --stream-type T --stream-id s", 2, "--seq"),
    ("redact --stream-id s --seq 1", 2, "--stream-type"),
    ("redact --stream-type T --stream-id s --seq 0", 2, "from 1 on"),
    ("redact --event-id a --stream-type T --stream-id s --seq 1", 2, "cannot be used with"),
    ("redact --stream-type T --stream-id s --seq 2", 1, "stream 's' has no event 2"),
    ("bench --events 10 --protocol http --callers 2", 2, "--callers"),
    ("ingest /no/such.ndjson", 2, "/no/such.ndjson"),
    ("ingest .", 2, "directory"),
];

#[test]
fn what_a_node_refuses_is_said() {
    let store = Store::new(&[]);
    let server = store.start();
    let one = ["append", "--stream-type", "T", "--stream-id", "s", "--event-type", "E"];
    assert_eq!(server.client(&one).code, 0);
    for (line, code, said) in SERVED {
        let words = words(line);
        told(line, &server.client(&words.iter().map(String::as_str).collect::<Vec<_>>()), *code, said);
    }
    let known = server.client(&["subscribe", "--stream-type", "T", "--idle", "0"]);
    assert!(known.code == 0 && known.stderr.is_empty() && known.stdout.lines().count() == 1, "{known:?}");
    // a path behind the address, as it is copied from a browser or from a route
    for path in ["/v1/stores", "/admin/"] {
        let finished = run(&["status", "--url", &format!("{}{path}", server.url())]);
        told(path, &finished, 2, &format!("--url {} ", server.url()));
    }
    assert_eq!(run(&["status", "--url", &format!("{}/", server.url())]).code, 0);
    // the port of the other protocol
    let native = format!("http://{}", server.native());
    told("native", &run(&["status", "--url", &native]), 2, "native protocol; HTTP is served at port");
    let https = server.url().replace("http://", "https://");
    let authority = store.path().join("certs");
    let made = || run(&["certs", "dev", "--dir", &authority.to_string_lossy()]);
    assert_eq!(made().code, 0);
    told("certs dev, again", &made(), 2, "--dir");
    assert!(server.client(&["files"]).stdout.starts_with("no data files"));
    let authority = authority.join("ca.pem").to_string_lossy().into_owned();
    told("https", &run(&["status", "--url", &https, "--tls-ca", &authority]), 3, "no TLS");
    assert_eq!(server.http().scan().len(), 1, "nothing of it was done");
    server.stop();
    store.assert_clean();
}

#[test]
fn an_input_that_holds_no_events_is_named() {
    let store = Store::new(&[]);
    let server = store.start();
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let inputs: &[(&str, &[u8], i32, &str)] = &[
        ("text", b"hello\n", 1, "line 1"),
        ("array", b"[1, 2]\n", 1, "line 1"),
        ("events.json", b"[\n  {\"stream_type\": \"T\"}\n]\n", 2, "jq -c '.[]' "),
        ("event.json", b"{\n  \"stream_type\": \"T\"\n}\n", 2, "jq -c . "),
        ("windows", b"\xef\xbb\xbf{}\r\n", 2, "tail -c +4 "),
        ("table.csv", b"a,b\n1,2\n", 2, "looks like CSV"),
        ("names.tsv", b"a\tb\tc\n1\t2\t3\n", 2, "duckdb -c"),
        ("prose", b"a line, and no event\n{}\n", 1, "line 1"),
        (
            "nan",
            b"{\"stream_type\":\"T\",\"stream_id\":\"s\",\"event_type\":\"E\",\"data\":{\"a\":NaN}}\n",
            1,
            "no NaN",
        ),
        ("bytes", &[0xff, 0xfe, b'\n'], 1, "line 1"),
        ("nothing", b"", 2, "holds no line"),
        ("packed.gz", gzip, 2, "gunzip -c"),
        ("torn.zst", &[0x28, 0xb5, 0x2f, 0xfd, 1, 2], 2, "cannot read"),
        ("torn.parquet", b"PAR1abc", 2, "torn.parquet"),
        ("torn.arrow", b"ARROW1abc", 2, "torn.arrow"),
    ];
    let append = ["append", "--stream-type", "T", "--stream-id", "s"];
    for (name, bytes, code, said) in inputs {
        let path = store.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        told(name, &server.client(&["ingest", &path.to_string_lossy()]), *code, said);
    }
    told("packed stdin", &server.client_with_input(&["ingest", "-"], gzip), 2, "gunzip -c FILE |");
    let lines: [(&[u8], &str); 4] = [
        (b"hello\n", "line 1 of stdin"),
        (&[0xff, b'\n'], "UTF-8"),
        (b"[1]\n", "line 1 of stdin"),
        (b"", "--event-type"),
    ];
    for (bytes, said) in lines {
        told(said, &server.client_with_input(&append, bytes), 2, said);
    }
    assert_eq!(server.http().scan().len(), 0);
    server.stop();
}

#[test]
fn a_node_says_why_it_does_not_start() {
    let store = Store::new(&[]);
    let at = |name: &str| store.path().join(name).to_string_lossy().into_owned();
    let file = at("file");
    std::fs::write(&file, "hello\n").unwrap();
    let statement = std::fs::read_to_string(store.config()).unwrap();
    let (durable, below) = (store.durable().to_string_lossy().into_owned(), format!("{file}/durable"));
    let changed = [
        ("wal.enabled", "wal.enabeld", "wal.enabled"),
        ("CREATE", "CRATE", "CREATE"),
        (");", "", "is not valid"),
        ("= true", "= yes", "is not valid"),
        (durable.as_str(), "durable", "absolute"),
        (durable.as_str(), below.as_str(), "file/durable"),
        ("CREATE EVENTSTORE test", "-- CREATE EVENTSTORE test", "is not valid"),
    ];
    let config = at("changed.deql");
    for (old, new, said) in changed {
        std::fs::write(&config, statement.replace(old, new)).unwrap();
        let node = ["serve", "--config", &config, "--data-dir", &at("other"), "--http", "127.0.0.1:0"];
        told(new, &run(&node), 2, said);
    }
    std::fs::write(&config, "-- nothing yet\n").unwrap();
    let node = ["serve", "--config", &config, "--data-dir", &at("other"), "--http", "127.0.0.1:0"];
    told("nothing", &run(&node), 2, "changed.deql declares no store: it needs a CREATE EVENTSTORE");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let node = ["serve", "--data-dir", &at("other"), "--http", "127.0.0.1:0", "--cluster", &taken];
    told("--cluster", &run(&node), 2, "stop what listens there");
    for (more, said) in [
        (["--data-dir", file.as_str()], "file"),
        (["--data-dir", &format!("{file}/node")], "file/node"),
        (["--http", "0.0.0.0:0"], "--token-file"),
        (["--http", "192.0.2.1:7070"], "--token-file"),
        (["--native", "0.0.0.0:0"], "--token-file"),
        (["--native", "[::]:0"], "--token-file"),
        (["--admin", "192.0.2.1:7072"], "--token-file"),
        (["--cluster", "0.0.0.0:7075"], "--tls-cert"),
        (["--http", taken.as_str()], "stop what listens there"),
        (["--native", taken.as_str()], "stop what listens there"),
        (["--admin", taken.as_str()], "stop what listens there"),
        (["--http", "127.0.0.1:7070x"], "127.0.0.1:7070"),
        (["--token-file", "/no/such/tokens"], "strandline token new --token-file"),
        (["--token-file", file.as_str()], "file"),
        (["--admin", "7070"], "127.0.0.1:7070"),
        (["--traces-ca", file.as_str()], "--traces"),
        (["--tls-cert", file.as_str()], "--tls-key"),
        (["--tls-ca", file.as_str()], "STRANDLINE_TLS_CA"),
    ] {
        let mut arguments = words("serve --config");
        arguments.push(store.config().to_string_lossy().into_owned());
        arguments.extend(more.map(str::to_owned));
        for (option, value) in [("--data-dir", at("node")), ("--http", "127.0.0.1:0".to_owned())] {
            if more[0] != option {
                arguments.extend([option.to_owned(), value]);
            }
        }
        told(&more.join(" "), &run(&arguments), 2, said);
    }
    assert!(!store.durable().exists(), "nothing is made");
}

/// A server that is no node: the same answer to every request. It ends with the test.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if !stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
                continue;
            }
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn an_answer_of_something_else_is_not_taken_for_that_of_a_node() {
    let append = "append --stream-type T --stream-id s --event-type E --store s";
    for (status, body) in [("404 Not Found", "<html>"), ("200 OK", "<html>"), ("200 OK", "\"hello\""), ("200 OK", "{}")]
    {
        let url = answering(status, body);
        for line in ["status", append, "read --stream-type T --stream-id s", "ingest -"] {
            let mut arguments = words(line);
            arguments.extend(["--url".to_owned(), url.clone()]);
            told(&format!("{line}: {body}"), &run(&arguments), 3, "not as a node does");
        }
    }
}

#[test]
fn a_node_that_has_no_such_route_says_nothing_of_what_was_asked_for() {
    let body = r#"{"error":"there is no route GET /x","code":"not_found","details":{"path":"/x"}}"#;
    let url = answering("404 Not Found", body);
    for line in ["status", "read --store s --stream-type T --stream-id s", "files --store s", "pause --store s"] {
        let mut arguments = words(line);
        arguments.extend(["--url".to_owned(), url.clone()]);
        told(line, &run(&arguments), 2, "there is no route GET /x (not_found)");
    }
}

/// Runs it with a stdout that nobody reads.
fn unread(command: &mut Command) -> Finished {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Finished { code: output.status.code().unwrap_or(-1), stdout: String::new(), stderr }
}

#[test]
fn a_reader_that_goes_away_ends_what_only_prints_and_hides_nothing() {
    let store = Store::new(&[]);
    let server = store.start();
    let line = br#"{"stream_type":"T","stream_id":"s","event_type":"E","data":{"text":"some payload"}}"#;
    assert_eq!(server.client_with_input(&["ingest", "-"], line).code, 0);
    server.http().compact();
    let path = server.client(&["files", "--format", "paths"]).stdout.lines().next().unwrap().to_owned();
    let client = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).args(["--url", server.url()]);
        unread(&mut command)
    };
    for quiet in [&["status"][..], &["read", "--stream-type", "T", "--stream-id", "s", "--format", "json"], &["files"]]
    {
        let finished = client(quiet);
        assert!(finished.code == 0 && finished.stderr.is_empty(), "{quiet:?}: {finished:?}");
    }
    let help = unread(program().arg("--help"));
    assert!(help.code == 0 && help.stderr.is_empty(), "{help:?}");
    // lines were refused, whoever reads how many
    let bad = store.path().join("bad.ndjson").to_string_lossy().into_owned();
    std::fs::write(&bad, "{}\n").unwrap();
    told("ingest", &client(&["ingest", &bad, "--on-error", "skip"]), 1, "1 lines were refused");
    told("ingest", &client(&["ingest", &bad]), 1, "line 1");
    server.stop();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, bytes).unwrap();
    let mut verify = program();
    verify.arg("verify").args(&store.serve_arguments()[1..5]);
    told("verify", &unread(&mut verify), 1, "findings");
}

#[test]
fn a_node_serves_whether_or_not_somebody_reads_that_it_does() {
    let store = Store::new(&[]);
    let Ports([_, http, _]) = Ports::free();
    let address = format!("127.0.0.1:{http}");
    let mut arguments = store.serve_arguments();
    address.clone_into(arguments.last_mut().unwrap());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = store.program();
    command.args(arguments).args(["--native", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(writer);
    let mut node = command.stderr(Stdio::null()).spawn().unwrap();
    let ready = run(&["ready", "--http", &address, "--wait", "60s"]);
    assert_eq!(ready.code, 0, "{ready:?}");
    let pid = rustix::process::Pid::from_child(&node);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0));
    store.assert_clean();
}

#[test]
fn what_a_token_file_refuses_says_which_option_is_missing() {
    let store = Store::new(&[]);
    let tokens = store.path().join("tokens").to_string_lossy().into_owned();
    let made = run(&["token", "new", "--name", "r", "--role", "read", "--token-file", &tokens]);
    let reader = made.stdout.trim();
    let server = Server::start_from(program().args(store.serve_arguments()).args(["--token-file", &tokens]));
    told("no token", &server.client(&["status"]), 2, "STRANDLINE_TOKEN");
    told("unknown token", &server.client(&["status", "--token", "slt_nobody"]), 2, "not known here");
    let append = ["append", "--stream-type", "T", "--stream-id", "s", "--event-type", "E", "--token", reader];
    told("a reader appends", &server.client(&append), 2, "append");
    told("a reader operates", &server.client(&["pause", "--token", reader]), 2, "admin");
    server.stop();
}
