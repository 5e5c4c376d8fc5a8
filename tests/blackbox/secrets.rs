//! No secret stands in what a person or a program reads of a node: answers and errors of every route, metrics, the output of commands, help
//! texts with the secrets in the environment, and the log of a node that says all that it can.
//!
//! Planted: tokens and their hashes, the key of an encrypted store, keys of subjects, the credentials of the object store and of the key
//! service; files of secrets in the place of statements. Private keys of certificates: `security.rs`.

use crate::harness::{Finished, Server, Store, program, run, run_command, run_with_input};
use crate::rigs::{Act, Moto, Proxy};
use crate::s3::told_by_ready;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SESSION_TOKEN: &str = "the-session-token-that-nobody-may-print";
const SECRET_KEY: &str = "the-secret-that-nobody-may-print";
/// What is planted in files that are no statements.
const WORD: &str = "hunter2";

/// What was said, by the one who said it.
#[derive(Default)]
pub(crate) struct Said(Vec<(String, String)>);

impl Said {
    pub(crate) fn add(&mut self, by: impl Into<String>, text: impl Into<String>) {
        self.0.push((by.into(), text.into()));
    }

    pub(crate) fn finished(&mut self, by: &str, finished: &Finished) {
        self.add(by, format!("{}{}", finished.stdout, finished.stderr));
    }

    pub(crate) fn assert_without(&self, secrets: &BTreeSet<String>) {
        for (by, text) in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret.as_str()), "{by} says {secret}: {text}");
            }
        }
    }
}

/// A node of an encrypted store on S3 that asks for tokens.
struct Planted {
    store: Store,
    tokens: PathBuf,
    key: PathBuf,
    subjects: PathBuf,
    operator: String,
    reader: String,
}

impl Planted {
    fn new(proxy: &Proxy) -> Self {
        let mut store = Store::new(&[]);
        let (tokens, key) = (store.path().join("tokens"), store.path().join("key"));
        assert_eq!(run(&["keys", "init", "--file", &key.to_string_lossy()]).code, 0);
        let path = format!("durable.path = 's3://{}/secrets'", Moto::BUCKET);
        let key_id = format!("security.kms.key_id = '{}'", key.display());
        store.declare(&[&path, &key_id, "security.encrypt.at_rest = true", "security.kms.provider = 'local'"]);
        store.set_env(env(proxy));
        let token = |name: &str, role: &str| {
            let file = tokens.to_string_lossy();
            let made = run(&["token", "new", "--token-file", &file, "--name", name, "--role", role]);
            assert_eq!(made.code, 0, "{made:?}");
            made.stdout.trim().to_owned()
        };
        let (operator, reader) = (token("operator", "admin"), token("reader", "read"));
        let subjects = store.path().join("subjects");
        Self { store, tokens, key, subjects, operator, reader }
    }

    /// What nobody may say: tokens without their first letters, which say what they are, hashes, all that is long in the key file.
    fn secrets(&self) -> BTreeSet<String> {
        let words = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 32);
            words.flat_map(|word| forms(&from_hex(word))).collect::<Vec<_>>()
        };
        let mut secrets: BTreeSet<String> = words(&self.tokens).into_iter().chain(words(&self.key)).collect();
        assert!(secrets.len() >= 3 * FORMS, "two hashes and a key");
        secrets.extend([&self.operator, &self.reader].map(|token| token[4..].to_owned()));
        secrets.extend([SESSION_TOKEN, SECRET_KEY].map(str::to_owned));
        secrets
    }

    fn serve(&self) -> Command {
        let mut command = self.store.program();
        command.args(self.store.serve_arguments()).arg("--token-file").arg(&self.tokens);
        command.arg("--subject-keys").arg(&self.subjects);
        command
    }

    /// Keys of two subjects, in all their forms.
    fn make_subjects(&self, url: &str, said: &mut Said) -> Vec<String> {
        let kept = r#"{"events":[{"event_type":"E","data":{"says":"x"}}]}"#;
        let person = r#"{"name":"Person","erasable":"stream"}"#;
        for (route, body) in [("stream-types", person), ("streams/Person/anna", kept), ("streams/Person/bert", kept)] {
            let answer = ask(url, "POST", &format!("/v1/stores/test/{route}"), &self.operator, body);
            assert!(answer.starts_with("HTTP/1.1 201"), "{route}: {answer}");
            said.add(route, answer);
        }
        let keys = secrets_of_subjects(&self.subjects);
        assert_eq!(keys.len(), 2);
        keys.iter().flat_map(|key| forms(key)).collect()
    }

    /// A command with the environment of the store and a token.
    fn command(&self, url: &str, token: &str, arguments: &[&str], said: &mut Said) -> Finished {
        let mut command = self.store.program();
        command.args(arguments).env("STRANDLINE_TOKEN", token);
        if !url.is_empty() {
            command.args(["--url", url]);
        }
        let finished = run_command(command, b"");
        said.finished(&arguments.join(" "), &finished);
        finished
    }
}

/// The environment of a node whose object store is behind a proxy.
fn env(proxy: &Proxy) -> Vec<(&'static str, String)> {
    let mut env = Moto::env(&proxy.url());
    env.extend([
        ("AWS_SESSION_TOKEN", SESSION_TOKEN.to_owned()),
        ("AWS_TIMEOUT", "3s".to_owned()),
        ("AWS_MAX_ATTEMPTS", "2".to_owned()),
        ("STRANDLINE_LOG", "trace".to_owned()),
    ]);
    env
}

const FORMS: usize = 4;

/// What 32 bytes look like where they are printed: hex digits, Base64, a list of numbers.
fn forms(key: &[u8]) -> [String; FORMS] {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = key[..8].iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [hex.to_uppercase(), hex, base64(key), list]
}

fn from_hex(word: &str) -> Vec<u8> {
    word.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// Of whole groups of three bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0, |bits, byte| (bits << 8) | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift) & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// The keys in a file of subject keys, as crates/keys/SUBJECTS.md says.
fn secrets_of_subjects(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let (mut found, mut at) = (Vec::new(), 4096);
    while bytes.get(at..at + 4).is_some_and(|title| title == b"SLKR") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        if bytes[at + 12] == 1 {
            found.push(bytes[at + 40..at + 72].to_vec());
        }
        at += length as usize;
    }
    found
}

/// An answer as it comes, head and body.
pub(crate) fn ask(url: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let shown = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{shown}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut told = Vec::new();
    let _ = socket.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

/// Every route of a node: its method, its path with names filled in, and what it needs of a token.
pub(crate) fn routes(url: &str) -> Vec<[String; 3]> {
    let openapi = ask(url, "GET", "/openapi.json", "", "");
    let body = openapi.split("\r\n\r\n").nth(1).unwrap();
    let described: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path
            .replace("{store}", "test")
            .replace("{stream_type}", "Call")
            .replace("{stream_id}", "s")
            .replace("{event_id}", "0190c42e-8f00-7000-8000-000000000001");
        let path = path.replace("{name}", "x").replace("{action}", "x").replace("{file}", "app.js");
        // what follows would not end by itself
        let follows = path.ends_with("/subscribe") || path.contains("/subscriptions/") && path.ends_with("/events");
        let path = if follows { format!("{path}?idle_s=0&limit=1") } else { path };
        for (method, route) in methods.as_object().unwrap() {
            let needs = route["x-strandline-needs"].as_str().unwrap();
            routes.push([method.to_uppercase(), path.clone(), needs.to_owned()]);
        }
    }
    routes
}

/// Every route, by whoever may and may not, with bodies that say something and such that say nothing.
fn ask_everything(planted: &Planted, url: &str, said: &mut Said) {
    let wrong = format!("slt_{}", "0".repeat(64));
    for [method, path, _] in routes(url) {
        for token in ["", wrong.as_str(), &planted.reader, &planted.operator] {
            for body in ["{}", "{\"broken"] {
                said.add(format!("{method} {path}"), ask(url, &method, &path, token, body));
            }
        }
    }
}

#[test]
fn no_secret_is_said_by_answers_commands_or_the_log() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.port);
    let planted = Planted::new(&proxy);
    let (secrets, mut said) = (planted.secrets(), Said::default());
    let server = Server::start_from(&mut planted.serve());
    let url = server.url().to_owned();
    let operator = planted.operator.clone();
    let subjects = planted.make_subjects(&url, &mut said);
    let append = ["append", "--stream-type", "Call", "--stream-id", "s", "--event-type", "E"];
    assert_eq!(planted.command(&url, &operator, &append, &mut said).code, 0);
    assert_eq!(planted.command(&url, &operator, &["compact"], &mut said).code, 0);
    assert_eq!(planted.command(&url, &operator, &["erase", "--stream-id", "anna"], &mut said).code, 0);
    ask_everything(&planted, &url, &mut said);

    // the object store refuses its credentials from here on
    proxy.rule("*", "", 0, usize::MAX, Act::Answer(403));
    planted.command(&url, &operator, &append, &mut said);
    planted.command(&url, &operator, &["compact"], &mut said);
    for path in ["/ready", "/metrics", "/admin/v1/stores/test/compaction", "/v1/stores/test/scan"] {
        said.add(path, ask(&url, "GET", path, &operator, ""));
    }
    proxy.clear();

    for arguments in [&["status"][..], &["read", "--stream-type", "Call", "--stream-id", "s"], &["pause"]] {
        planted.command(&url, &operator, arguments, &mut said);
        planted.command(&url, "slt_of-nobody", arguments, &mut said);
        planted.command("http://127.0.0.1:1", &operator, arguments, &mut said);
    }
    let config = planted.store.config().to_string_lossy().into_owned();
    let key = planted.key.to_string_lossy().into_owned();
    for arguments in [
        &["check", &config][..],
        &["check", &config, "--format", "json"],
        &["--help"],
        &["serve", "--help"],
        &["append", "--help"],
        &["token", "--help"],
        &["serve", "--no-such-option"],
        &["manifest", "show", "--config", &config],
        &["keys", "rotate", "--file", &key, "--config", &config],
    ] {
        planted.command("", &operator, arguments, &mut said);
    }
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("DEBUG"), "the log says more than usual");
    said.finished("the log", &ended);
    said.finished("verify", &planted.store.verify());

    // a start that fails says why, and not with what
    let rotated = planted.secrets();
    std::fs::remove_file(&planted.key).unwrap();
    assert_eq!(run(&["keys", "init", "--file", &key]).code, 0);
    said.finished("a start with another key", &Server::try_start(&mut planted.serve()).err().unwrap());
    let all: BTreeSet<String> = secrets.into_iter().chain(rotated).chain(planted.secrets()).chain(subjects).collect();
    assert!(said.0.len() > 200, "{}", said.0.len());
    said.assert_without(&all);
}

#[test]
fn a_token_on_the_command_line_is_not_repeated() {
    let token = "slt_planted-on-the-command-line";
    for arguments in [
        &["read", "--token", token, "--no-such-option"][..],
        &["status", "--token", token, "--url", "http://127.0.0.1:1"],
    ] {
        let mut command = program();
        command.args(arguments);
        let finished = run_command(command, b"");
        assert_ne!(finished.code, 0);
        assert!(!format!("{}{}", finished.stdout, finished.stderr).contains(&token[4..]), "{finished:?}");
    }
}

/// AWS repeats a request whose signature is wrong in its answer, and the session token with it.
#[test]
fn what_services_repeat_of_a_request_is_not_told() {
    let moto = Moto::start();
    moto.make_key("alias/planted");
    let (s3, kms) = (Proxy::start(moto.port), Proxy::start(moto.port));
    let path = format!("durable.path = 's3://{}/repeated'", Moto::BUCKET);
    let key_id = "security.kms.key_id = 'alias/planted'";
    let provider = "security.kms.provider = 'aws_kms'";
    let mut store = Store::new(&[&path, key_id, provider, "security.encrypt.at_rest = true"]);
    let mut env = env(&s3);
    env.push(("AWS_ENDPOINT_URL_KMS", kms.url()));
    store.set_env(env);
    let mut said = Said::default();
    let server = store.start();
    let append = ["append", "--stream-type", "Call", "--stream-id", "s", "--event-type", "E"];
    assert_eq!(server.client(&append).code, 0);
    kms.rule("POST", "/", 0, usize::MAX, Act::Repeat(400));
    let ready = told_by_ready(&server, true).to_string();
    assert!(ready.contains("InvalidSignatureException: the signature differs"), "{ready}");
    said.add("/ready", ready);
    s3.rule("*", "", 0, usize::MAX, Act::Repeat(403));
    said.finished("compact", &server.client(&["compact"]));
    for path in ["/ready", "/metrics", "/v1/stores/test/scan", "/admin/v1/stores/test/compaction"] {
        said.add(path, ask(server.url(), "GET", path, "", ""));
    }
    s3.clear();
    said.finished("the log", &server.finish());

    let mut refused = |what: &str, finished: &Finished, fault: &str| {
        assert!(finished.code != 0 && finished.stderr.contains(fault), "{what}: {finished:?}");
        said.finished(what, finished);
    };
    for asks in [["keys", "rotate", "--config"], ["manifest", "show", "--config"]] {
        let mut command = store.program();
        command.args(asks).arg(store.config());
        refused(&asks.join(" "), &run_command(command, b""), "InvalidSignatureException");
    }
    for (proxy, act, fault) in [(&kms, Act::Repeat(400), "InvalidSignatureException"), (&s3, Act::Repeat(403), "403")] {
        kms.clear();
        proxy.rule("*", "", 0, usize::MAX, act);
        let started = Server::try_start(store.program().args(store.serve_arguments()));
        refused("a start", &started.err().unwrap(), fault);
    }
    said.assert_without(&BTreeSet::from([SESSION_TOKEN, SECRET_KEY].map(str::to_owned)));
}

/// Files with secrets that somebody may give for a statement, by name.
fn files_of_secrets(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let path = |name: &str| folder.join(name);
    let text = |name: &str| path(name).to_string_lossy().into_owned();
    let made = run(&["token", "new", "--token-file", &text("tokens"), "--name", "planted", "--role", "read"]);
    for done in
        [&made, &run(&["keys", "init", "--file", &text("key")]), &run(&["certs", "dev", "--dir", &text("certs")])]
    {
        assert_eq!(done.code, 0, "{done:?}");
    }
    let statement = "CREATE EVENTSTORE s WITH (\n durable.type = 'orc', durable.path = '/d', -- hunter2\n durable.pasword = 'hunter2',\n \
                     s3.secret = hunter2,\n \"token\" = 'hunter2'\n);\nhunter2 'hunter2'\n";
    let binary = b"\x7fELF\x02\x01hunter2\xff\xfe\x00hunter2 CREATE EVENTSTORE hunter2";
    let written: [(&str, &[u8]); 5] = [
        ("token", made.stdout.as_bytes()),
        (
            "env",
            b"# of the node\nAWS_SECRET_ACCESS_KEY=hunter2/x\nexport STRANDLINE_TOKEN='hunter2'\nexport A=hunter2\n",
        ),
        (
            "key.json",
            br#"{"type": "service_account", "private_key": "hunter2", "client_email": "hunter2@example.org"}"#,
        ),
        ("binary", binary),
        ("statement", statement.as_bytes()),
    ];
    for (name, bytes) in written {
        std::fs::write(path(name), bytes).unwrap();
    }
    let made = ["tokens", "key", "certs/server.key"].into_iter();
    made.chain(written.map(|(name, _)| name)).map(|name| (name, path(name))).collect()
}

#[test]
fn of_a_file_that_is_no_statement_nothing_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_of_secrets(folder.path());
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let (mut said, mut secrets) = (Said::default(), BTreeSet::from([WORD.to_owned()]));
    for (name, path) in &files {
        let bytes = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 24);
        secrets.extend(words.map(str::to_owned));
        let file = path.to_string_lossy();
        for arguments in [
            &["check", &file][..],
            &["check", &file, "--format", "json"],
            &["serve", "--config", &file, "--data-dir", &data, "--http", "127.0.0.1:0"],
            &["manifest", "show", "--config", &file, "--data-dir", &data],
        ] {
            let mut command = program();
            command.args(arguments).env("STRANDLINE_LOG", "trace");
            let finished = run_command(command, b"");
            assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
            let place = format!(" --> {file}:");
            let told = finished.stderr.contains(&place) || finished.stdout.contains("\"line\"");
            assert!(told, "{arguments:?}: the place is told: {finished:?}");
            said.finished(&format!("{name}: {arguments:?}"), &finished);
        }
        let piped = run_with_input(&["check", "-"], &bytes);
        assert!(piped.code == 2 && piped.stderr.contains(" --> <stdin>:"), "{name}: {piped:?}");
        said.finished(name, &piped);
    }
    assert!(secrets.len() >= 5, "a token, its hash, two keys");
    said.assert_without(&secrets);
}
