//! A node whose operators are served at an address of their own (`serve --admin`), plain and with tokens and TLS: each command works with
//! the right `--url`, and says which one that is where it was given the other. And the health check, which needs neither token nor authority.

use crate::harness::{Finished, Server, Store, program, run, run_command};
use serde_json::Value;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

/// A node with listeners of both kinds, and how its commands are called.
struct Apart {
    store: Store,
    server: Server,
    scheme: &'static str,
    secured: Option<Secured>,
}

struct Secured {
    operator: String,
    reader: String,
    authority: PathBuf,
}

const APPEND: &[&str] = &["append", "--stream-type", "Call", "--stream-id", "s", "--event-type", "E"];
const READ: &[&str] = &["read", "--stream-type", "Call", "--stream-id", "s", "--format", "ndjson"];
const SUBSCRIBE: &[&str] = &["subscribe", "--limit", "1"];
/// Commands of operators.
const OPERATE: &[&[&str]] = &[
    &["status"],
    &["pause"],
    &["resume"],
    &["compact", "--plan", "--stream-type", "Call"],
    &["compact"],
    &["compact", "--stream-type", "Call"],
    &["files", "--format", "paths"],
    &["files", "--format", "json"],
    &["files"],
    &["manifest", "show"],
];

impl Apart {
    fn plain() -> Self {
        let store = Store::new(&[]);
        let server = Server::start_from(&mut Self::serve(&store));
        Self { store, server, scheme: "http", secured: None }
    }

    fn secured() -> Self {
        let store = Store::new(&["security.encrypt.in_transit = true"]);
        let at = |name: &str| store.path().join(name).to_string_lossy().into_owned();
        let made = run(&["certs", "dev", "--dir", &at("certs")]);
        assert_eq!(made.code, 0, "{made:?}");
        let [operator, reader] = ["admin", "read"].map(|role| {
            let made = run(&["token", "new", "--name", role, "--role", role, "--token-file", &at("tokens")]);
            assert_eq!(made.code, 0, "{made:?}");
            made.stdout.trim().to_owned()
        });
        let (certificate, key, tokens) = (at("certs/server.pem"), at("certs/server.key"), at("tokens"));
        let mut command = Self::serve(&store);
        command.args(["--tls-cert", &certificate, "--tls-key", &key, "--token-file", &tokens]);
        let server = Server::start_from(&mut command);
        let secured = Some(Secured { operator, reader, authority: PathBuf::from(at("certs/ca.pem")) });
        Self { store, server, scheme: "https", secured }
    }

    fn serve(store: &Store) -> Command {
        let mut command = program();
        command.args(store.serve_arguments()).args(["--admin", "127.0.0.1:0"]);
        command
    }

    fn data(&self) -> String {
        format!("{}://{}", self.scheme, self.server.url().trim_start_matches("http://"))
    }

    fn admin(&self) -> String {
        format!("{}://{}", self.scheme, self.server.admin())
    }

    fn asks(&self, url: &str, arguments: &[&str]) -> Finished {
        let mut command = program();
        command.args(arguments).args(["--url", url]);
        if let Some(secured) = &self.secured {
            command.env("STRANDLINE_TOKEN", &secured.operator).env("STRANDLINE_TLS_CA", &secured.authority);
        }
        run_command(command, b"")
    }

    fn works(&self, url: &str, arguments: &[&str]) -> String {
        let finished = self.asks(url, arguments);
        assert_eq!(finished.code, 0, "{arguments:?} at {url}: {finished:?}");
        finished.stdout
    }

    /// It is told where to ask; nothing is done.
    fn is_sent_to(&self, asked: &str, arguments: &[&str], right: &str) {
        let finished = self.asks(asked, arguments);
        let names = finished.stderr.contains(&format!("--url {right}"));
        assert!(finished.code == 1 && names, "{arguments:?} at {asked} does not name {right}: {finished:?}");
    }

    fn each_command_has_its_address(&self) {
        let (data, admin) = (self.data(), self.admin());
        assert_ne!(data, admin);
        let appended = self.works(&data, APPEND);
        assert_eq!(serde_json::from_str::<Value>(&appended).unwrap()["last_seq"], 1);
        assert_eq!(self.works(&data, READ).lines().count(), 1);
        assert_eq!(self.works(&data, SUBSCRIBE).lines().count(), 1);
        for arguments in OPERATE {
            self.is_sent_to(&data, arguments, &admin);
        }
        for arguments in OPERATE {
            self.works(&admin, arguments);
        }
        assert_eq!(self.works(&admin, &["files", "--format", "paths"]).lines().count(), 1);
        assert!(self.works(&admin, &["status"]).contains("last jobs"), "a run is shown");
        // also where the store is named, so that nothing is asked before
        self.works(&admin, &["status", "--store", "test"]);
        self.is_sent_to(&data, &["status", "--store", "test"], &admin);
        for arguments in [APPEND, READ, SUBSCRIBE, &["bench", "--events", "1"]] {
            self.is_sent_to(&admin, arguments, &data);
        }
        assert_eq!(self.works(&data, READ).lines().count(), 1, "what went to the wrong address was not appended");
    }
}

#[test]
fn commands_work_at_the_address_for_operators_and_find_it() {
    let apart = Apart::plain();
    apart.each_command_has_its_address();
    apart.server.stop();
    apart.store.assert_clean();
}

#[test]
fn with_tokens_and_tls_too() {
    let apart = Apart::secured();
    apart.each_command_has_its_address();
    // who may not operate is told that it is elsewhere, and not where
    let secured = apart.secured.as_ref().unwrap();
    let mut command = program();
    command.args(["status", "--url", &apart.data()]);
    command.env("STRANDLINE_TOKEN", &secured.reader).env("STRANDLINE_TLS_CA", &secured.authority);
    let refused = run_command(command, b"");
    assert!(refused.code == 1 && refused.stderr.contains("serve --admin"), "{refused:?}");
    assert!(!refused.stderr.contains(apart.server.admin()), "{refused:?}");
    apart.server.stop();
}

fn ready(arguments: &[&str]) -> Finished {
    run(&[&["ready"], arguments].concat())
}

#[test]
fn a_health_check_needs_neither_token_nor_authority() {
    for apart in [Apart::plain(), Apart::secured()] {
        let address = apart.server.url().trim_start_matches("http://").to_owned();
        for arguments in [["--http", &address], ["--url", &apart.data()], ["--url", &apart.admin()]] {
            let answered = ready(&arguments);
            assert_eq!((answered.code, answered.stdout.trim()), (0, "ready"), "{arguments:?}: {answered:?}");
        }
        // as a container has it: by the environment of `serve`
        let mut command = program();
        command.arg("ready").env("STRANDLINE_HTTP", &address).env("STRANDLINE_TOKEN", "slt_of_nobody");
        assert_eq!(run_command(command, b"").code, 0);
        if let Some(secured) = &apart.secured {
            let authority = secured.authority.to_string_lossy();
            assert_eq!(ready(&["--http", &address, "--tls-ca", &authority]).code, 0);
            let other = apart.store.path().join("others").to_string_lossy().into_owned();
            assert_eq!(run(&["certs", "dev", "--dir", &other]).code, 0);
            let refused = ready(&["--url", &apart.data(), "--tls-ca", &format!("{other}/ca.pem")]);
            assert_eq!(refused.code, 3, "an authority that is named is the only one: {refused:?}");
        }
        apart.server.stop();
        let gone = ready(&["--http", &address]);
        assert!(gone.code == 3 && gone.stderr.contains("nobody listens there"), "{gone:?}");
    }
}

#[test]
fn a_health_check_waits_for_a_node_that_starts() {
    let store = Store::new(&[]);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let waiting = {
        let address = address.clone();
        std::thread::spawn(move || ready(&["--http", &address, "--wait", "60s"]))
    };
    let mut arguments = store.serve_arguments();
    address.clone_into(arguments.last_mut().unwrap());
    let server = Server::start_from(program().args(arguments));
    let answered = waiting.join().unwrap();
    assert_eq!(answered.code, 0, "{answered:?}");
    server.stop();
}
