//! No secret stands in what a person or a program reads of a node: answers and errors of every route, metrics, the output of commands, help
//! texts with the secrets in the environment, and the log of a node that says more than usual.
//!
//! Planted: tokens and their hashes, the key of an encrypted store, the credentials of the object store.

use crate::harness::{Finished, Server, Store, program, run, run_command};
use crate::rigs::{Act, Moto, Proxy};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SESSION_TOKEN: &str = "the-session-token-that-nobody-may-print";

/// What was said, by the one who said it.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, by: impl Into<String>, text: impl Into<String>) {
        self.0.push((by.into(), text.into()));
    }

    fn finished(&mut self, by: &str, finished: &Finished) {
        self.add(by, format!("{}{}", finished.stdout, finished.stderr));
    }

    fn assert_without(&self, secrets: &BTreeSet<String>) {
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
        let mut env = Moto::env(&proxy.url());
        env.extend([
            ("AWS_SESSION_TOKEN", SESSION_TOKEN.to_owned()),
            ("AWS_TIMEOUT", "3s".to_owned()),
            ("AWS_MAX_ATTEMPTS", "2".to_owned()),
            ("STRANDLINE_LOG", "debug".to_owned()),
        ]);
        store.set_env(env);
        let token = |name: &str, role: &str| {
            let file = tokens.to_string_lossy();
            let made = run(&["token", "new", "--token-file", &file, "--name", name, "--role", role]);
            assert_eq!(made.code, 0, "{made:?}");
            made.stdout.trim().to_owned()
        };
        let (operator, reader) = (token("operator", "admin"), token("reader", "read"));
        Self { store, tokens, key, operator, reader }
    }

    /// What nobody may say: tokens without their first letters, which say what they are, hashes, all that is long in the key file.
    fn secrets(&self) -> BTreeSet<String> {
        let words = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 32);
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut secrets: BTreeSet<String> = words(&self.tokens).into_iter().chain(words(&self.key)).collect();
        assert!(secrets.len() >= 3, "two hashes and a key");
        secrets.extend([&self.operator, &self.reader].map(|token| token[4..].to_owned()));
        secrets.extend([SESSION_TOKEN.to_owned(), "the-secret-that-nobody-may-print".to_owned()]);
        secrets
    }

    fn serve(&self) -> Server {
        let mut command = self.store.program();
        command.args(self.store.serve_arguments()).arg("--token-file").arg(&self.tokens);
        Server::start_from(&mut command)
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
    let server = planted.serve();
    let url = server.url().to_owned();
    let operator = planted.operator.clone();
    let append = ["append", "--stream-type", "Call", "--stream-id", "s", "--event-type", "E"];
    assert_eq!(planted.command(&url, &operator, &append, &mut said).code, 0);
    assert_eq!(planted.command(&url, &operator, &["compact"], &mut said).code, 0);
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
    let mut command = planted.store.program();
    command.args(planted.store.serve_arguments()).arg("--token-file").arg(&planted.tokens);
    said.finished("a start with another key", &Server::try_start(&mut command).err().unwrap());
    let all: BTreeSet<String> = secrets.into_iter().chain(rotated).chain(planted.secrets()).collect();
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
