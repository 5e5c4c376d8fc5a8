//! A folder with the statement of a store, and the nodes that run on it one after another.

use super::{Finished, Server, program, root, run_command};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A store in a temporary folder.
pub(crate) struct Store {
    folder: TempDir,
    log: bool,
    env: Vec<(&'static str, String)>,
}

impl Store {
    /// A store `test` with all tiers and these further keys, e.g. `"wal.rollover_mb = 1"`.
    pub(crate) fn new(keys: &[&str]) -> Self {
        let folder = TempDir::with_prefix("strandline-test-").unwrap();
        let store = Self { folder, log: true, env: Vec::new() };
        std::fs::write(store.config(), store.statement(keys)).unwrap();
        store
    }

    /// A store `test` that declares these keys and no tier but the durable one by itself.
    pub(crate) fn without_log(keys: &[&str]) -> Self {
        let folder = TempDir::with_prefix("strandline-test-").unwrap();
        let store = Self { folder, log: false, env: Vec::new() };
        std::fs::write(store.config(), store.statement(keys)).unwrap();
        store
    }

    /// What the environment of its nodes and of `verify` says besides.
    pub(crate) fn set_env(&mut self, env: Vec<(&'static str, String)>) {
        self.env = env;
    }

    /// The program with the store's environment.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// The statement with these further keys.
    pub(crate) fn statement(&self, keys: &[&str]) -> String {
        let at = self.folder.path().display();
        let mut lines = vec!["durable.type = 'parquet'".to_owned(), format!("durable.path = '{at}/durable'")];
        if self.log {
            lines.extend(["inmemory.enabled = true".to_owned(), "wal.enabled = true".to_owned()]);
            lines.push(format!("wal.path = '{at}/log'"));
        }
        let named = |line: &String| line.split(" =").next().unwrap_or_default().to_owned();
        lines.retain(|line| keys.iter().all(|key| named(&(*key).to_owned()) != named(line)));
        lines.extend(keys.iter().map(|key| (*key).to_owned()));
        format!("CREATE EVENTSTORE test WITH (\n  {}\n);\n", lines.join(",\n  "))
    }

    /// Replaces the keys for the next start.
    pub(crate) fn declare(&self, keys: &[&str]) {
        std::fs::write(self.config(), self.statement(keys)).unwrap();
    }

    /// Adds a statement to the file.
    pub(crate) fn also(&self, statement: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("{text}{statement}\n")).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("store.deql")
    }

    pub(crate) fn durable(&self) -> PathBuf {
        self.path().join("durable")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The arguments of a node on this folder.
    pub(crate) fn serve_arguments(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (config, data) = (text(self.config()), text(self.path().join("node")));
        ["serve", "--config", &config, "--data-dir", &data, "--http", "127.0.0.1:0"].map(str::to_owned).to_vec()
    }

    /// A [`shim`] in the store's folder.
    pub(crate) fn shim(&self, source: &str) -> PathBuf {
        shim(self.path(), source)
    }

    /// Starts a node; it serves when this returns.
    pub(crate) fn start(&self) -> Server {
        Server::start_from(self.program().args(self.serve_arguments()))
    }

    /// `strandline verify` over the folder (no node may run on it).
    pub(crate) fn verify(&self) -> Finished {
        let arguments = self.serve_arguments();
        let mut command = self.program();
        command.arg("verify").args(&arguments[1..5]);
        run_command(command, b"")
    }

    /// Fails with the findings if `verify` has any.
    pub(crate) fn assert_clean(&self) {
        let finished = self.verify();
        assert_eq!(finished.code, 0, "verify found:\n{}{}", finished.stdout, finished.stderr);
    }
}

/// A library of C to preload into a node, made in this folder. Linking this test took a C compiler, so there is one to make it with.
pub(crate) fn shim(folder: &Path, source: &str) -> PathBuf {
    let (library, source) = (folder.join("shim.so"), root().join("tests/blackbox").join(source));
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let compiled = compile.output().expect("a C compiler called `cc`");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}
