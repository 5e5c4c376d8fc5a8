//! A node as a process of its own, as the demo needs it: started, asked, killed, stopped.

use crate::cli::OnStore;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running `strandline serve`; killed when it is dropped.
pub(super) struct Node {
    process: Child,
    url: String,
}

impl Node {
    /// Starts a node on free ports and waits until it serves.
    pub(super) fn start(config: &Path, data_dir: &Path) -> Result<Self, Failure> {
        let mut command = own_program()?;
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--http", "127.0.0.1:0"]);
        let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|e| started(&e))?;
        let mut node = Self { process, url: String::new() };
        let mut line = String::new();
        if let Some(stdout) = node.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|e| started(&e))?;
        }
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("http="));
        let address = address.ok_or_else(|| Failure::Server("the node did not start".to_owned()))?;
        node.url = if address.starts_with("http://") { address.to_owned() } else { format!("http://{address}") };
        out::line(&format!("$ strandline serve --config demo.deql --data-dir node\n{}", line.trim_end()))?;
        Ok(node)
    }

    /// Runs a client command against this node; gives what it printed.
    pub(super) fn client(&self, arguments: &[&str]) -> Result<String, Failure> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--url", &self.url]).collect();
        run_self(&all)
    }

    /// The number of events of a full scan.
    pub(super) fn scan(&self) -> Result<u64, Failure> {
        let client = Client::new(&OnStore { url: self.url.clone(), store: None, token: None, tls_ca: None })?;
        let request =
            Request { path: client.store_path(&["scan"])?, accept: Some("application/x-ndjson"), ..Request::default() };
        let answer = client.send(&request)?.ok()?;
        Ok(answer.body.iter().filter(|b| **b == b'\n').count() as u64)
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.process.kill().and_then(|()| self.process.wait()).map(drop).map_err(|e| started(&e))
    }

    /// SIGTERM; the node must end with exit code 0.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|e| started(&e.into()))?;
        let status = self.process.wait().map_err(|e| started(&e))?;
        if status.success() { Ok(()) } else { Err(Failure::Server(format!("the node did not stop cleanly: {status}"))) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // already dead after kill or stop: then these do nothing
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs this program with arguments, shows the command and its output, and gives the output (stdout, then stderr).
pub(super) fn run_self(arguments: &[&str]) -> Result<String, Failure> {
    let shown: Vec<String> = arguments
        .iter()
        .map(|a| if a.contains([' ', '"', '{']) { format!("'{a}'") } else { (*a).to_owned() })
        .collect();
    out::line(&format!("$ strandline {}", shown.join(" ")))?;
    let output = own_program()?.args(arguments).stdin(Stdio::null()).output().map_err(|e| started(&e))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let short: Vec<&str> = text.lines().take(SHOWN_LINES).collect();
    out::line(&short.join("\n"))?;
    if !output.status.success() {
        return Err(Failure::Server(format!("this step failed with {}", output.status)));
    }
    Ok(text)
}

/// Lines of a command's output that are shown.
const SHOWN_LINES: usize = 24;

/// This program, free of the caller's STRANDLINE_ settings: the demo must not write into somebody's store.
fn own_program() -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|e| started(&e))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STRANDLINE_")) {
        command.env_remove(name);
    }
    Ok(command)
}

fn started(error: &std::io::Error) -> Failure {
    Failure::Server(format!("cannot run this program: {error}"))
}
