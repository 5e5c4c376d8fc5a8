//! Three nodes of one cluster as processes on loopback, each with its own folder, files shared.

use super::links::Links;
use crate::harness::{Finished, Http, Ports, Server, program, run_command, shim};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing that is waited for takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that is asked what it knows when a test fails may stand still.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Starts a node. A port that somebody else on the machine has just now is waited for: the nodes of a cluster keep theirs.
fn up(command: &mut Command) -> Server {
    let began = Instant::now();
    loop {
        match Server::try_start(command) {
            Ok(server) => return server,
            Err(ended) if ended.stderr.contains("Address already in use") && began.elapsed() < PATIENCE => {
                let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
                eprintln!("{}{sockets}", ended.stderr);
            }
            Err(ended) => panic!("the node did not start: {ended:?}"),
        }
    }
}

/// A cluster. Nodes are numbered from 1.
pub(super) struct Nodes {
    folder: TempDir,
    ports: Vec<Ports>,
    running: Vec<Option<Server>>,
    /// Further options of every node.
    options: Vec<&'static str>,
    /// Further ones of each node.
    own: Vec<Vec<String>>,
    /// `--roles` of each node; empty: none is said.
    roles: Vec<&'static str>,
    /// Their ids.
    ids: Vec<u64>,
    /// Where the files lie.
    durable: String,
    /// What the environment of every node and command says besides.
    env: Vec<(&'static str, String)>,
    /// What stands between them, if anything does.
    links: Option<Links>,
}

impl Nodes {
    /// Starts the first node, then the others, which join it.
    pub(super) fn new(count: usize, keys: &str, options: &[&'static str]) -> Self {
        Self::begun(count, count, keys, options)
    }

    /// As [`new`](Self::new), of which the last ones do not run yet.
    pub(super) fn begun(count: usize, running: usize, keys: &str, options: &[&'static str]) -> Self {
        let mut nodes = Self::of(count, keys, options);
        (1..=running).for_each(|node| nodes.start(node));
        nodes.until("every node votes", |nodes| nodes.all_vote(None));
        nodes
    }

    /// Nodes that do not run yet.
    pub(super) fn of(count: usize, keys: &str, options: &[&'static str]) -> Self {
        let folder = TempDir::with_prefix("strandline-cluster-").unwrap();
        let ports = (0..count).map(|_| Ports::free()).collect();
        let running = (0..count).map(|_| None).collect();
        let (options, roles, ids) = (options.to_vec(), vec![""; count], (1..=count as u64).collect());
        let own = vec![Vec::new(); count];
        let (durable, env) = (format!("{}/shared", folder.path().display()), Vec::new());
        let nodes = Self { folder, ports, running, options, own, roles, ids, durable, env, links: None };
        nodes.write_statement(keys);
        nodes
    }

    /// A cluster whose files lie on an object store, which is found by this environment.
    pub(super) fn on_objects(count: usize, path: &str, env: Vec<(&'static str, String)>, keys: &str) -> Self {
        let mut nodes = Self::of(count, keys, &[]);
        (nodes.durable, nodes.env) = (path.to_owned(), env);
        nodes.write_statement(keys);
        (1..=count).for_each(|node| nodes.start(node));
        nodes.until("every node votes", |nodes| nodes.all_vote(None));
        nodes
    }

    /// A cluster in which the disk of one node is full as long as a file is there, which this gives. Its disk is its own folder: all nodes are told
    /// of that one, and the others write nothing there.
    pub(super) fn with_small_disk(count: usize, keys: &str, node: usize) -> (Self, PathBuf) {
        let mut nodes = Self::of(count, keys, &[]);
        let (library, folder) = (shim(nodes.path(), "disk_full/shim.c"), nodes.folder(node));
        let flag = nodes.path().join("is-full");
        let told = [("LD_PRELOAD", &library), ("FULL_FOLDER", &folder), ("FULL_FLAG", &flag)];
        nodes.env = told.map(|(name, path)| (name, path.display().to_string())).to_vec();
        (1..=count).for_each(|node| nodes.start(node));
        nodes.until("every node votes", |nodes| nodes.all_vote(None));
        (nodes, flag)
    }

    /// The program as everything of this cluster runs it.
    fn program(&self) -> Command {
        let mut command = program();
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// A cluster whose nodes have these roles; the first three vote.
    pub(super) fn with_roles(roles: &[&'static str], keys: &str) -> Self {
        let mut nodes = Self::of(roles.len(), keys, &[]);
        nodes.roles = roles.to_vec();
        (1..=roles.len()).for_each(|node| nodes.start(node));
        nodes.until("every node votes that shall", |nodes| nodes.all_vote(None));
        nodes
    }

    /// From its next start on a node is told these roles.
    pub(super) fn give(&mut self, node: usize, roles: &'static str) {
        self.roles[node - 1] = roles;
    }

    /// From its next start on a node is told these options.
    pub(super) fn tell(&mut self, node: usize, options: &[&str]) {
        self.own[node - 1] = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// Starts a node that does not come up, and says how it ended.
    pub(super) fn refused(&self, node: usize) -> Finished {
        match Server::try_start(&mut self.command(node)) {
            Ok(_) => panic!("node {node} came up"),
            Err(finished) => finished,
        }
    }

    /// Starts a node, waits until it says this on stderr, and kills it. `Err`: it ended before, and said that.
    pub(super) fn says(&self, node: usize, what: &str) -> Result<(), String> {
        let mut command = self.command(node);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut before = Vec::new();
        let is_said = lines.any(|line| {
            let is_it = line.contains(what);
            before.push(line);
            is_it
        });
        let _ = process.kill();
        process.wait().unwrap();
        if is_said { Ok(()) } else { Err(before.join("\n")) }
    }

    /// Nodes that speak to each other through links that a test can cut; all of them vote.
    pub(super) fn linked(count: usize, keys: &str, options: &[&'static str]) -> Self {
        let mut nodes = Self::of(count, keys, options);
        nodes.links = Some(Links::new(&nodes.ports.iter().map(|ports| ports.0[0]).collect::<Vec<_>>()));
        (1..=count).for_each(|node| nodes.start(node));
        nodes.until("every node votes", |nodes| nodes.all_vote(None));
        nodes
    }

    pub(super) fn links(&self) -> &Links {
        self.links.as_ref().unwrap()
    }

    fn all_vote(&self, stream_type: Option<&str>) -> bool {
        let shard = self.shard(self.running()[0], stream_type);
        shard["settled"] == true && shard["voters"].as_array().map(Vec::len) == Some(self.ports.len().min(3))
    }

    pub(super) fn pause(&self, node: usize) {
        self.running[node - 1].as_ref().unwrap().pause();
    }

    pub(super) fn go_on(&self, node: usize) {
        self.running[node - 1].as_ref().unwrap().go_on();
    }

    /// The first node as a node alone.
    pub(super) fn alone(&self) -> Server {
        let mut command = self.program();
        command.arg("serve").arg("--data-dir").arg(self.folder(1)).arg("--config").arg(self.statement());
        Server::start_from(command.args(["--http", "127.0.0.1:0"]))
    }

    /// A node has an id already.
    pub(super) fn name(&mut self, node: usize, id: u64) {
        self.ids[node - 1] = id;
    }

    /// Checks the files, and the log of the first node, which must not run.
    pub(super) fn verify(&self) -> Finished {
        let mut command = self.program();
        command.arg("verify").arg("--config").arg(self.statement()).arg("--data-dir").arg(self.folder(1));
        run_command(command, b"")
    }

    /// A command that looks at the folder of a node from outside.
    pub(super) fn looks_at(&self, node: usize, arguments: &[&str]) -> Finished {
        let mut command = self.program();
        command.args(arguments).arg("--data-dir").arg(self.folder(node));
        run_command(command, b"")
    }

    /// Where everything of all nodes lies.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn statement(&self) -> PathBuf {
        self.folder.path().join("store.deql")
    }

    /// The file of the first node says this from now on.
    pub(super) fn write_statement(&self, keys: &str) {
        std::fs::write(self.statement(), self.text(keys)).unwrap();
    }

    /// What the manifest says, of the files alone.
    pub(super) fn manifest(&self) -> Finished {
        let mut command = self.program();
        command.args(["manifest", "show", "--config"]).arg(self.statement());
        run_command(command, b"")
    }

    /// The statement of the first node, with these keys.
    pub(super) fn text(&self, keys: &str) -> String {
        let (at, durable) = (self.folder.path().display(), &self.durable);
        format!(
            "CREATE EVENTSTORE test WITH (\n  durable.type = 'parquet', durable.path = '{durable}', inmemory.enabled = true,\n  \
             wal.enabled = true, wal.path = '{at}/n1/log'{keys}\n);\n"
        )
    }

    pub(super) fn folder(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}"))
    }

    fn address(&self, node: usize, which: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node - 1].0[which])
    }

    /// The native addresses of all nodes.
    pub(super) fn natives(&self) -> Vec<String> {
        (1..=self.ports.len()).map(|node| self.address(node, 2)).collect()
    }

    pub(super) fn http_address(&self, node: usize) -> String {
        self.address(node, 1)
    }

    fn command(&self, node: usize) -> Command {
        let mut command = self.program();
        command.arg("serve");
        let [mut cluster, http, native] = [0, 1, 2].map(|which| self.address(node, which));
        let mut first = self.address(1, 0);
        if let Some(links) = &self.links {
            command.args(["--cluster-listen", &cluster]);
            (cluster, first) = (links.address(node), links.address(1));
        }
        command.arg("--data-dir").arg(self.folder(node));
        command.args([
            "--cluster",
            &cluster,
            "--node-id",
            &self.ids[node - 1].to_string(),
            "--http",
            &http,
            "--native",
            &native,
        ]);
        if node == 1 {
            command.arg("--config").arg(self.statement());
        } else {
            command.args(["--join", &first]);
        }
        if !self.roles[node - 1].is_empty() {
            command.args(["--roles", self.roles[node - 1]]);
        }
        command.args(&self.options).args(&self.own[node - 1]);
        command
    }

    pub(super) fn start(&mut self, node: usize) {
        self.running[node - 1] = Some(up(&mut self.command(node)));
    }

    /// Starts nodes that need each other to be ready.
    pub(super) fn start_all(&mut self) {
        let commands: Vec<Command> = (1..=self.ports.len()).map(|node| self.command(node)).collect();
        let starting = commands.into_iter().map(|mut command| std::thread::spawn(move || up(&mut command)));
        let started: Vec<_> = starting.collect();
        self.running = started.into_iter().map(|node| Some(node.join().unwrap())).collect();
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, node: usize) {
        self.running[node - 1].take().unwrap().kill();
    }

    /// SIGTERM.
    pub(super) fn stop(&mut self, node: usize) -> Finished {
        let ended = self.running[node - 1].take().unwrap().finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended
    }

    pub(super) fn stop_all(&mut self) {
        self.end_all();
    }

    /// The same; what each of them had said on stderr.
    pub(super) fn end_all(&mut self) -> Vec<String> {
        let stopping: Vec<_> = self.running.iter_mut().filter_map(Option::take).collect();
        for node in &stopping {
            node.signal_terminate();
        }
        let ended = stopping.into_iter().map(|node| {
            let ended = node.ended();
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            ended.stderr
        });
        ended.collect()
    }

    pub(super) fn running(&self) -> Vec<usize> {
        (1..=self.running.len()).filter(|node| self.running[node - 1].is_some()).collect()
    }

    /// How many sockets a node has open.
    pub(super) fn sockets(&self, node: usize) -> usize {
        self.running[node - 1].as_ref().map_or(0, |server| server.open_files("socket:"))
    }

    pub(super) fn http(&self, node: usize) -> Http {
        Http::new(&format!("http://{}", self.http_address(node)))
    }

    /// The addresses of all nodes, for clients that go on elsewhere.
    pub(super) fn urls(&self) -> Vec<String> {
        (1..=self.ports.len()).map(|node| format!("http://{}", self.http_address(node))).collect()
    }

    /// What a node says of the store: who compacts it, and as what.
    pub(super) fn compactor(&self, node: usize) -> (usize, String) {
        let Ok(answer) = self.http(node).try_get_as("/admin/v1/cluster", "application/json") else {
            return (0, String::new());
        };
        let store = answer.expect(200)["stores"][0].clone();
        let place = |id: u64| self.ids.iter().position(|known| *known == id).map_or(0, |at| at + 1);
        (store["compactor"].as_u64().map_or(0, place), store["compacts_as"].as_str().unwrap_or_default().to_owned())
    }

    /// A number that a node tells.
    pub(super) fn metric(&self, node: usize, series: &str) -> u64 {
        let text = self.http(node).get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("strandline_{series} ")));
        line.unwrap_or_else(|| panic!("node {node} tells no {series}")).parse().unwrap()
    }

    /// What a node says of a group: of a stream type, or the meta group.
    pub(super) fn shard(&self, node: usize, stream_type: Option<&str>) -> Value {
        let Ok(answer) = self.http(node).try_get_as("/admin/v1/cluster", "application/json") else {
            return Value::Null;
        };
        let shards = answer.expect(200)["shards"].as_array().unwrap().clone();
        let of = |shard: &&Value| shard["stream_type"].as_str() == stream_type;
        shards.iter().find(of).cloned().unwrap_or_default()
    }

    /// The node that leads a group, as one that runs sees it.
    pub(super) fn leader(&self, stream_type: Option<&str>) -> usize {
        let mut found = 0;
        self.until("somebody leads", |nodes| {
            let seen = nodes.running().into_iter().find_map(|node| nodes.shard(node, stream_type)["leader"].as_u64());
            let place = |id: u64| self.ids.iter().position(|known| *known == id).map_or(0, |at| at + 1);
            found = seen.map_or(0, place);
            found > 0 && nodes.running[found - 1].is_some()
        });
        found
    }

    pub(super) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "it does not come about: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Nodes {
    /// Where a test fails: what the nodes that live know of the cluster, before they are killed and say the rest.
    fn drop(&mut self) {
        let asked = if std::thread::panicking() { self.running() } else { Vec::new() };
        for node in asked {
            let http = Http::patient_for(&format!("http://{}", self.http_address(node)), TOLD_WITHIN);
            for path in ["/ready", "/admin/v1/cluster"] {
                match http.try_get_as(path, "application/json") {
                    Ok(answer) => eprintln!("node {node}: GET {path}: {} {}", answer.status, answer.text()),
                    Err(error) => eprintln!("node {node}: GET {path}: {error}"),
                }
            }
        }
    }
}
