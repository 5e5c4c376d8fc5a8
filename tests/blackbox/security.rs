//! Tokens, TLS and the audit log of the real program, by its own commands: what an operator sets up, and who is refused.

mod audit;

use crate::harness::{Finished, Ports, Server, Store, program, run, run_command};
use crate::secrets::{Said, ask};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use strandline_client::wire::header::Kind;
use strandline_client::{
    AllWanted, BatchBuilder, BatchUnit, Client, EventInput, Expected, Filter, OnError, Options, Position, StreamWanted,
    SubscribeWanted,
};
use tempfile::TempDir;

pub(crate) use audit::audited;

/// What is read again when a file changes is looked at every two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it does not come about: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes a token in a file.
pub(crate) fn token(file: &Path, more: &[&str]) -> String {
    let file = file.to_string_lossy();
    let made = run(&[&["token", "new", "--token-file", &file], more].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    made.stdout.trim().to_owned()
}

/// A client command as the owner of a token.
pub(crate) fn client(url: &str, token: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = program();
    command.args(arguments).args(["--url", url]).env("STRANDLINE_TOKEN", token);
    run_command(command, input.as_bytes())
}

const APPEND: [&str; 7] = ["append", "--stream-type", "Call", "--stream-id", "s", "--event-type", "E"];
pub(crate) const READ: [&str; 7] = ["read", "--stream-type", "Call", "--stream-id", "s", "--format", "ndjson"];
const LINE: &str = "{\"stream_type\":\"Call\",\"stream_id\":\"loaded\",\"event_type\":\"E\",\"data\":{}}\n";

pub(crate) fn serve(store: &Store, more: &[&str]) -> Command {
    let mut command = program();
    command.args(store.serve_arguments()).args(more);
    command
}

/// A store, and the file for the tokens of who may ask for it.
fn with_tokens() -> (Store, PathBuf) {
    let store = Store::new(&[]);
    let file = store.path().join("tokens");
    (store, file)
}

/// The program that asks for the tokens of a file.
fn serve_for(store: &Store, file: &Path) -> Command {
    serve(store, &["--token-file", &file.to_string_lossy()])
}

/// The same, once it serves.
fn start_for(store: &Store, file: &Path) -> Server {
    Server::start_from(&mut serve_for(store, file))
}

#[test]
fn who_deletes_a_named_subscription_stands_in_the_audit_log() {
    let (store, file) = with_tokens();
    let reader = token(&file, &["--name", "reader", "--role", "read"]);
    let server = start_for(&store, &file);
    let made = client(server.url(), &reader, &["subscribe", "--durable", "bills", "--idle", "0"], "");
    assert_eq!(made.code, 0, "{made:?}");
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = format!(
        "DELETE /v1/stores/test/subscriptions/bills HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {reader}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let log = server.finish().stderr;
    let words = ["administration", "who=reader", "method=DELETE", "/subscriptions/bills", "status=200"];
    assert_eq!(audited(&log, &words), 1, "{log}");
}

#[test]
fn a_token_file_that_can_not_be_taken_any_more_is_told_and_the_one_before_stays_in_force() {
    let (store, file) = with_tokens();
    let operator = token(&file, &["--name", "operator", "--role", "admin"]);
    let server = start_for(&store, &file);
    let address = server.url().trim_start_matches("http://").to_owned();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {operator}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    };
    let told = |what: &str| {
        let (metrics, name) = (ask("/metrics"), format!("strandline_reload_{what}{{what=\"tokens\"}} "));
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((told("failing"), told("failures_total")), (0, 0));
    assert!(!ask("/ready").contains("not_reloaded"));
    let good = std::fs::read_to_string(&file).unwrap();
    for bad in ["nobody can read this\n", ""] {
        let before = told("failures_total");
        std::fs::write(&file, bad).unwrap();
        until("it is told", || told("failing") == 1);
        assert!(told("failures_total") > before);
        let ready = ask("/ready");
        assert!(ready.contains("\"not_reloaded\"") && ready.contains("\"what\":\"tokens\""), "{ready}");
        std::fs::write(&file, &good).unwrap();
        until("all is well again", || told("failing") == 0);
        assert!(!ask("/ready").contains("not_reloaded"));
    }
    server.stop();
}

#[test]
fn every_kind_of_frame_that_is_refused_stands_in_the_audit_log() {
    let (store, file) = with_tokens();
    let [reader, appender] = ["read", "append"].map(|role| token(&file, &["--name", role, "--role", role]));
    let server = start_for(&store, &file);
    let connect = |token: &str| {
        let (token, store) = (token.to_owned(), "test".to_owned());
        Client::connect(Options { token, store, ..Options::new(server.native()) })
    };
    let batch = |unit| {
        let mut batch = BatchBuilder::new("Call", unit);
        batch.push(&EventInput { stream_id: "s", event_type: "E", data: "{}", ..EventInput::default() }).unwrap();
        batch.finish().unwrap()
    };
    let (after, filter) = (Position::START, Filter::default());
    let all = AllWanted { after, limit: 1, filter: filter.clone() };
    let follow = SubscribeWanted { after: Some(after), window_bytes: 1, filter: filter.clone(), stream_id: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(connect("slt_of-nobody").await.is_err());
        let client = connect(&reader).await.unwrap();
        assert!(client.append_many(&[(batch(BatchUnit::Append), Expected::Any)], false).await.is_err());
        // all together, or two that wait for the first one
        let three = (0..3).map(|_| client.append(batch(BatchUnit::Append), Expected::Any));
        assert!(join_all(three).await.iter().all(Result::is_err));
        assert!(client.append_bulk(&[batch(BatchUnit::Rows)], OnError::Abort).await.is_err());
        let client = connect(&appender).await.unwrap();
        assert!(client.head("Call", "s").await.is_err());
        assert!(client.read_stream(&StreamWanted::all("Call", "s")).await.is_err());
        assert!(client.read_all(&all).await.is_err());
        assert!(client.scan(filter, 1).next().await.is_err());
        assert!(client.subscribe(follow).next().await.is_err());
    });
    drop(runtime);
    let log = server.finish().stderr;
    let of = |who: &'static str, code: &'static str, methods: &[&'static str]| {
        methods.iter().map(|method| (format!("who={who} "), format!("method={method} "), code)).collect::<Vec<_>>()
    };
    let wanted = [
        of("?", "unauthenticated", &["Hello"]),
        of("read", "forbidden", &["Append", "AppendRows", "AppendBulk"]),
        of("append", "forbidden", &["Head", "ReadStream", "ReadAll", "Scan", "Subscribe"]),
    ];
    // a new kind of frame stands here, or is refused above
    let refused_to_nobody = ["Ping", "Stay", "ScanMore", "ScanCancel"];
    let by_the_server =
        ["Welcome", "Error", "Pong", "Appended", "BulkAppended", "HeadIs", "StreamPage", "GlobalPage", "ScanPart"];
    let others = refused_to_nobody.into_iter().chain(by_the_server).chain(["SubscribePart"]).map(str::to_owned);
    let asked = wanted.iter().flatten().filter_map(|(_, method, _)| method.split(['=', ' ']).nth(1)).map(str::to_owned);
    let kinds: BTreeSet<String> = Kind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    assert_eq!(asked.chain(others).collect::<BTreeSet<_>>(), kinds);
    for (who, method, code) in wanted.concat() {
        let words = ["refused", &who, &method, code];
        let most = if method == "method=Append " { 2 } else { 1 };
        assert!((1..=most).contains(&audited(&log, &words)), "{words:?}: {log}");
    }
}

/// What the audit log of a node says after what three holders of tokens and others have asked of it.
fn tells_who_was_let_in_and_who_was_not(log: &str) {
    let is_told = |words: &[&str]| audited(log, words) > 0;
    assert!(is_told(&["administration", "who=operator", "/compaction/run", "status=200"]), "{log}");
    assert!(is_told(&["refused", "who=reader", "method=POST", "forbidden"]), "{log}");
    let of_tenant = |method: &str| audited(log, &["refused", "who=tenant", method, "forbidden"]);
    assert_eq!((of_tenant("method=AppendBulk"), of_tenant("method=POST")), (2, 1), "{log}");
    assert!(is_told(&["refused", "unauthenticated"]), "{log}");
    assert!(is_told(&["reloaded"]), "{log}");
}

#[test]
fn tokens_are_made_shown_taken_back_and_stand_in_no_log() {
    let (store, file) = with_tokens();
    let operator = token(&file, &["--name", "operator", "--role", "admin"]);
    let reader = token(&file, &["--name", "reader", "--role", "read", "--stores", "test"]);
    let tenant = token(&file, &["--name", "tenant", "--role", "append,read", "--tenant-id", "acme"]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let server = start_for(&store, &file);
    let url = server.url().to_owned();

    let wrong = "slt_planted0000000000000000000000000000000000000000000000000000000000";
    for (token, said) in [("", "unauthenticated"), (wrong, "unauthenticated"), (reader.as_str(), "forbidden")] {
        let refused = client(&url, token, &APPEND, "");
        assert!(refused.code == 2 && refused.stderr.contains(said), "{refused:?}");
        assert!(!refused.stderr.contains("slt_p"), "{}", refused.stderr);
    }
    assert_eq!(client(&url, &operator, &APPEND, "").code, 0);
    assert_eq!(client(&url, &reader, &READ, "").stdout.lines().count(), 1);
    // over the native protocol
    assert_eq!(client(&url, &operator, &["ingest", "-"], LINE).code, 0);
    assert_eq!(client(&url, &reader, &["ingest", "-"], LINE).code, 2);
    // no event of its own, as a whole and line by line
    let ways: [(&[&str], i32); 3] =
        [(&[], 2), (&["--on-error", "skip"], 1), (&["--on-error", "skip", "--protocol", "http"], 1)];
    for (more, code) in ways {
        assert_eq!(client(&url, &tenant, &[&["ingest", "-"][..], more].concat(), LINE).code, code, "{more:?}");
    }
    assert_eq!(client(&url, &operator, &["compact"], "").code, 0);
    assert_eq!(client(&url, &reader, &["compact"], "").code, 2);

    // who comes later is known without a restart, who is taken out is not
    let later = token(&file, &["--name", "later", "--role", "read"]);
    until("the file is read again", || client(&url, &later, &READ, "").code == 0);
    let lines = std::fs::read_to_string(&file).unwrap();
    let on_file = |command: &str, more: &[&str]| {
        run(&[&["token", command, "--token-file", &file.to_string_lossy()], more].concat())
    };
    let listed = on_file("list", &[]);
    let row = |words: &[&str]| listed.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(listed.code == 0 && row(&["operator", "admin", "all"]) && row(&["reader", "read", "test"]), "{listed:?}");
    assert!(row(&["tenant", "append, read", "acme"]), "{listed:?}");
    let unknown = on_file("revoke", &["--name", "nobody"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("token list"), "{unknown:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), lines);
    let revoked = on_file("revoke", &["--name", "reader"]);
    assert!(revoked.code == 0 && revoked.stderr.contains("reads it again"), "{revoked:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let json = on_file("list", &["--format", "json"]);
    assert!(json.code == 0 && json.stdout.contains("\"operator\"") && !json.stdout.contains("\"reader\""), "{json:?}");
    let hung_up = Command::new("kill").args(["-HUP", &server.id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    until("the token is taken back", || client(&url, &reader, &READ, "").code == 2);

    let metrics = ["status"];
    let shown = client(&url, &operator, &metrics, "");
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let log = &ended.stderr;
    tells_who_was_let_in_and_who_was_not(log);
    for secret in [&operator, &reader, &later, wrong].map(|token| &token[4..]) {
        assert!(!log.contains(secret) && !shown.stdout.contains(secret), "a token stands in a log");
        assert!(!listed.stdout.contains(secret) && !json.stdout.contains(secret), "a token stands in a list");
    }
    for hash in lines.lines().filter_map(|line| line.split("\"sha256\":\"").nth(1)?.get(..64)) {
        assert!(!log.contains(hash), "the hash of a token stands in a log");
        assert!(!listed.stdout.contains(hash) && !json.stdout.contains(hash), "the hash of a token stands in a list");
    }
}

/// Load balancers ask without a token: they are told whether, and not why.
#[test]
fn what_is_wrong_with_a_node_is_told_to_those_alone_who_read_all_of_it() {
    let (store, file) = with_tokens();
    let reader = token(&file, &["--name", "reader", "--role", "read"]);
    let others = [
        String::new(),
        "slt_of-nobody".to_owned(),
        token(&file, &["--name", "appender", "--role", "append"]),
        token(&file, &["--name", "of-one-store", "--role", "admin", "--stores", "test"]),
        token(&file, &["--name", "of-a-tenant", "--role", "append,read", "--tenant-id", "acme"]),
    ];
    let server = start_for(&store, &file);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let hung_up = Command::new("kill").args(["-HUP", &server.id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    let ready = |token: &str| ask(server.url(), "GET", "/ready", token, "");
    until("it is told", || ready(&reader).contains("\"not_reloaded\""));
    for token in &others {
        let answer = ready(token);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("{\"status\":\"ready\"}"), "{answer}");
    }
    server.stop();
}

#[test]
fn a_token_file_that_is_wrong_is_refused_and_not_shown() {
    let (store, file) = with_tokens();
    std::fs::write(&file, "slt_planted").unwrap();
    for (mode, said) in [(0o644, "chmod 600"), (0o600, "line 1")] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let ended = Server::try_start(&mut serve_for(&store, &file)).err().unwrap();
        assert!(ended.code == 2 && ended.stderr.contains(said), "{ended:?}");
        assert!(!ended.stderr.contains("planted"), "{}", ended.stderr);
    }
    std::fs::write(&file, "# nobody\n").unwrap();
    let ended = Server::try_start(&mut serve_for(&store, &file)).err().unwrap();
    assert!(ended.code == 2 && ended.stderr.contains("it holds no token"), "{ended:?}");
    let mut command = serve(&store, &["--admin", "0.0.0.0:0"]);
    let ended = Server::try_start(&mut command).err().unwrap();
    assert!(ended.code == 2 && ended.stderr.contains("--token-file"), "{ended:?}");
}

/// Development certificates in a folder.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("strandline-certs-").unwrap();
        let made = run(&["certs", "dev", "--dir", &folder.path().to_string_lossy()]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Puts the certificates of another authority in the place of these, which may be in use.
    fn replace_by(&self, others: &Self) {
        for entry in std::fs::read_dir(others.0.path()).unwrap().flatten() {
            std::fs::copy(entry.path(), self.0.path().join(entry.file_name())).unwrap();
        }
    }

    fn options(&self, name: &str) -> [String; 4] {
        let (certificate, key) = (self.text(&format!("{name}.pem")), self.text(&format!("{name}.key")));
        ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
    }
}

fn secured(url: &str, ca: &str, arguments: &[&str], input: &str) -> Finished {
    client(url, "", &[arguments, &["--tls-ca", ca]].concat(), input)
}

/// What a listener says to plain text.
fn says_to_plain_text(address: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut told = Vec::new();
    // a reset is an answer too
    let _ = socket.read_to_end(&mut told);
    told
}

#[test]
fn with_encryption_in_transit_nothing_is_served_in_plain_text() {
    let store = Store::new(&["security.encrypt.in_transit = true"]);
    let ended = Server::try_start(&mut serve(&store, &[])).err().unwrap();
    assert!(ended.code == 2 && ended.stderr.contains("security.encrypt.in_transit"), "{ended:?}");
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let again = run(&["certs", "dev", "--dir", &certificates.0.path().to_string_lossy()]);
    assert_eq!(again.code, 2, "certificates that are there are not replaced: {again:?}");
    let mut command = serve(&store, &["--admin", "127.0.0.1:0"]);
    let server = Server::start_from(command.args(certificates.options("server")));
    let (url, ca) = (server.url().replace("http://", "https://"), certificates.text("ca.pem"));
    for listener in [server.url().trim_start_matches("http://"), server.native(), server.admin()] {
        let told = says_to_plain_text(listener);
        assert!(told.is_empty() || told[0] == 0x15, "{listener}: an alert of TLS at most: {told:?}");
    }
    let admin = format!("https://{}", server.admin());
    assert_eq!(secured(&admin, &ca, &["compact"], "").code, 0, "over TLS it is served there");
    assert_eq!(secured(&url, &ca, &APPEND, "").code, 0);
    assert_eq!(secured(&url, &ca, &["ingest", "-"], LINE).code, 0, "over the native protocol");
    let read = secured(&url, &ca, &READ, "");
    assert!(read.code == 0 && read.stdout.lines().count() == 1, "{read:?}");
    let other = secured(&url, &others.text("ca.pem"), &READ, "");
    assert_eq!(other.code, 3, "another authority is not trusted: {other:?}");
    assert!(other.stderr.contains("another authority than that of --tls-ca has signed"), "{other:?}");
    let untrusting = client(&url, "", &READ, "");
    assert!(untrusting.code == 2 && untrusting.stderr.contains("--tls-ca"), "{untrusting:?}");
    assert_eq!(client(server.url(), "", &READ, "").code, 3, "plain text");

    // another certificate, without a restart
    for file in ["server.pem", "server.key"] {
        std::fs::copy(others.path(file), certificates.path(file)).unwrap();
    }
    until("the certificate is read again", || secured(&url, &others.text("ca.pem"), &READ, "").code == 0);
    assert_eq!((secured(&url, &ca, &READ, "").code, secured(&admin, &ca, &["compact"], "").code), (3, 3));
    assert_eq!(secured(&url, &others.text("ca.pem"), &["ingest", "-"], &LINE.replace("loaded", "again")).code, 0);
    assert_eq!(secured(&admin, &others.text("ca.pem"), &["compact"], "").code, 0);
    server.stop();
}

/// Neither by a node that has it, nor by one that was given it for something else, or a part of it.
#[test]
fn the_private_keys_of_certificates_are_said_nowhere() {
    let (store, certificates, others) = (Store::new(&[]), Certificates::new(), Certificates::new());
    let (tls, mut said) = (certificates.options("server"), Said::default());
    let command = |more: &[&str]| {
        let mut command = serve(&store, more);
        command.env("STRANDLINE_LOG", "trace");
        command
    };
    let server = Server::start_from(command(&[]).args(&tls));
    let (url, ca) = (server.url().replace("http://", "https://"), certificates.text("ca.pem"));
    for arguments in [&APPEND[..], &READ, &["compact"], &["status"], &["files"]] {
        let done = secured(&url, &ca, arguments, "");
        assert_eq!(done.code, 0, "{done:?}");
        said.finished(&arguments.join(" "), &done);
        said.finished("untrusted", &secured(&url, &others.text("ca.pem"), arguments, ""));
    }
    for path in ["/metrics", "/ready", "/admin/v1/stores/test/compaction"] {
        said.add(path, ask(server.url(), "GET", path, "", ""));
    }
    said.add("plain text", String::from_utf8_lossy(&says_to_plain_text(server.native())));
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    said.finished("the log", &ended);

    // cut, without its line breaks, of another certificate; each in the place of everything that is a file
    let key = std::fs::read_to_string(certificates.path("server.key")).unwrap();
    let other = std::fs::read_to_string(others.path("server.key")).unwrap();
    let given = certificates.path("given");
    let (file, certificate) = (given.to_string_lossy().into_owned(), certificates.text("server.pem"));
    for text in [key.as_str(), &other, &key[..key.len() / 2], &key.replace('\n', ""), &key.replace('\n', " ")] {
        std::fs::write(&given, text).unwrap();
        std::fs::set_permissions(&given, std::fs::Permissions::from_mode(0o600)).unwrap();
        for arguments in [
            &["--tls-cert", &file, "--tls-key", &file][..],
            &["--tls-cert", &certificate, "--tls-key", &file, "--tls-ca", &file],
            &["--token-file", &file],
            &["--subject-keys", &file],
        ] {
            let refused = Server::try_start(&mut command(arguments)).err().unwrap();
            assert_ne!(refused.code, 0, "{arguments:?}");
            said.finished(&arguments.join(" "), &refused);
        }
        assert_eq!(std::fs::read_to_string(&given).unwrap(), text, "it is left as it is");
        for arguments in [&["keys", "rotate", "--file", &file][..], &["check", &file]] {
            said.finished(&arguments.join(" "), &run(arguments));
        }
        said.finished("--tls-ca", &secured("https://127.0.0.1:1", &file, &READ, ""));
    }
    let body = |text: &str| {
        text.lines().filter(|line| line.len() >= 32 && !line.starts_with('-')).collect::<Vec<_>>().join("\n")
    };
    let mut secrets = BTreeSet::new();
    for line in [body(&key), body(&other)].iter().flat_map(|body| body.lines()) {
        // bytes that are printed as a list of numbers are found too
        let list = line.bytes().take(16).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        secrets.extend([line[..32].to_owned(), list]);
    }
    assert!(secrets.len() >= 6, "{}", secrets.len());
    said.assert_without(&secrets);
}

/// Whoever connects and says nothing that a handshake goes on by is let go, on every listener.
#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let (store, certificates) = (Store::new(&[]), Certificates::new());
    let mut command = serve(&store, &["--admin", "127.0.0.1:0"]);
    let server = Server::start_from(command.args(certificates.options("server")));
    let listeners = [server.url().trim_start_matches("http://"), server.native(), server.admin()];
    let stays_open = |listener: &str, begin: &[u8]| {
        let mut socket = TcpStream::connect(listener).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(begin).unwrap();
        // a reset is an end too
        let ended = socket.read_to_end(&mut Vec::new());
        ended.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    std::thread::scope(|scope| {
        for listener in listeners {
            // nothing, and the beginning of a record
            for begin in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
                scope.spawn(move || assert!(!stays_open(listener, begin), "{listener} after {begin:?}"));
            }
        }
    });
    let (url, ca) = (server.url().replace("http://", "https://"), certificates.text("ca.pem"));
    assert_eq!(secured(&url, &ca, &APPEND, "").code, 0);
    server.stop();
}

#[test]
fn three_nodes_show_certificates_to_each_other() {
    let certificates = Certificates::new();
    let folder = TempDir::with_prefix("strandline-cluster-").unwrap();
    let at = folder.path().display();
    let statement = folder.path().join("store.deql");
    let text = format!(
        "CREATE EVENTSTORE test WITH (durable.type = 'parquet', durable.path = '{at}/shared', inmemory.enabled = true,
         security.encrypt.in_transit = true, wal.enabled = true, wal.path = '{at}/n1/log');"
    );
    std::fs::write(&statement, text).unwrap();
    let ports: Vec<[u16; 3]> = (0..3).map(|_| Ports::free().0).collect();
    let ca = certificates.text("ca.pem");
    let command = |node: usize, shows: &str| {
        let [cluster, http, native] = ports[node - 1].map(|port| format!("127.0.0.1:{port}"));
        let mut command = program();
        command.args(["serve", "--data-dir", &format!("{at}/n{node}"), "--node-id", &node.to_string()]);
        command.args(["--cluster", &cluster, "--http", &http, "--native", &native]);
        if node == 1 {
            command.arg("--config").arg(&statement);
        } else {
            command.args(["--join", &format!("127.0.0.1:{}", ports[0][0])]);
        }
        command.args(certificates.options(shows)).args(["--tls-ca", &ca]);
        command
    };
    for (shows, said) in [("node-2", "does not speak for node 1"), ("server", "node-1.strandline.internal")] {
        let ended = Server::try_start(&mut command(1, shows)).err().unwrap();
        assert!(ended.code == 2 && ended.stderr.contains(said), "{ended:?}");
    }
    let mut nodes: Vec<Server> =
        (1..=3).map(|node| Server::start_from(&mut command(node, &format!("node-{node}")))).collect();
    let urls: Vec<String> = nodes.iter().map(|node| node.url().replace("http://", "https://")).collect();
    until("three nodes vote", || {
        let shown = secured(&urls[0], &ca, &["status"], "");
        shown.code == 0 && secured(&urls[2], &ca, &APPEND, "").code == 0
    });
    // whoever is asked sends on, over TLS, what another node leads
    for url in &urls {
        assert_eq!(secured(url, &ca, &APPEND, "").code, 0, "{url}");
    }
    for url in &urls {
        let read = secured(url, &ca, &READ, "");
        assert!(read.code == 0 && read.stdout.lines().count() >= 4, "{read:?}");
    }
    let loaded = secured(&urls[1], &ca, &["ingest", "-", "--protocol", "http"], LINE);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    // so it does what comes over the native protocol
    for (node, url) in urls.iter().enumerate() {
        let line = LINE.replace("loaded", &format!("native-{node}"));
        let loaded = secured(url, &ca, &["ingest", "-", "--patience", "10"], &line);
        assert_eq!(loaded.code, 0, "{url}: {loaded:?}");
    }
    for ports in &ports {
        let told = says_to_plain_text(&format!("127.0.0.1:{}", ports[0]));
        assert!(told.is_empty() || told[0] == 0x15, "between nodes: {told:?}");
    }
    // another authority without a restart, and a node that comes back with it
    nodes.pop().unwrap().stop();
    certificates.replace_by(&Certificates::new());
    for url in &urls[..2] {
        until("it shows and trusts what was read again", || secured(url, &ca, &READ, "").code == 0);
    }
    nodes.push(Server::start_from(&mut command(3, "node-3")));
    for url in &urls {
        until("all show and trust what was read again", || secured(url, &ca, &APPEND, "").code == 0);
    }
    for node in nodes {
        node.stop();
    }
}
