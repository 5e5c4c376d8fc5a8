//! The program as a process: a node that serves, or a command that ends.

use super::Http;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A node that must be up by then, on a machine that is busy with other tests.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The program under test: the one that was built with the tests, or what `STRANDLINE_TEST_PROGRAM` names (a release build); without the
/// caller's settings.
pub(crate) fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_strandline").into();
    let mut command = Command::new(std::env::var_os("STRANDLINE_TEST_PROGRAM").unwrap_or_else(built));
    let settings = |name: &str| name.starts_with("STRANDLINE_") || name.starts_with("AWS_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| settings(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<str>>(arguments: &[S]) -> Finished {
    run_with_input(arguments, b"")
}

/// Runs a command to its end with bytes on stdin.
pub(crate) fn run_with_input<S: AsRef<str>>(arguments: &[S], input: &[u8]) -> Finished {
    let mut command = program();
    command.args(arguments.iter().map(AsRef::as_ref));
    run_command(command, input)
}

/// Runs a prepared command to its end with bytes on stdin.
pub(crate) fn run_command(mut command: Command, input: &[u8]) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // the program may end without reading all of it
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// A running node; killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    url: String,
    native: String,
    admin: String,
    data_dir: String,
    /// What it says on stderr, once it has ended.
    said: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts a node by a prepared command and waits for its `ready` line.
    pub(crate) fn start_from(command: &mut Command) -> Self {
        match Self::try_start(command) {
            Ok(server) => server,
            Err(finished) => panic!("the node did not start: {finished:?}"),
        }
    }

    /// Starts a node, or tells how it ended instead.
    pub(crate) fn try_start(command: &mut Command) -> Result<Self, Finished> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut stderr = process.stderr.take().unwrap();
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            if std::env::var_os("STRANDLINE_TEST_SHOW").is_some() {
                eprintln!("{text}");
            }
            text
        });
        let line = ready.recv_timeout(START_TIMEOUT).unwrap_or_default();
        let word = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let Some(address) = word("http=") else {
            let _ = process.kill();
            let code = process.wait().unwrap().code().unwrap_or(-1);
            return Err(Finished { code, stdout: line, stderr: said.join().unwrap() });
        };
        let url = if address.starts_with("http://") { address.to_owned() } else { format!("http://{address}") };
        let native = word("native=").unwrap_or_default().to_owned();
        let admin = word("admin=").unwrap_or_default().to_owned();
        let data_dir =
            line.trim_end().split_once(" data-dir=").map(|(_, folder)| folder.to_owned()).unwrap_or_default();
        Ok(Self { process, url, native, admin, data_dir, said: Some(said) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Address of the native protocol.
    pub(crate) fn native(&self) -> &str {
        &self.native
    }

    /// Its folder, as its `ready` line names it.
    pub(crate) fn data_dir(&self) -> &str {
        &self.data_dir
    }

    /// Address for operators, where `--admin` is given.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Requests to the store `test` of this node.
    pub(crate) fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// Runs a client command against this node.
    pub(crate) fn client(&self, arguments: &[&str]) -> Finished {
        run(&self.client_arguments(arguments))
    }

    /// Runs a client command with bytes on stdin.
    pub(crate) fn client_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        run_with_input(&self.client_arguments(arguments), input)
    }

    fn client_arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        arguments.iter().copied().chain(["--url", &self.url]).collect()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; gives the exit code.
    pub(crate) fn terminate(self) -> i32 {
        self.finish().code
    }

    /// SIGTERM; gives how it ended, without its stdout.
    pub(crate) fn finish(self) -> Finished {
        self.signal_terminate();
        self.ended()
    }

    /// Waits for its end after a signal; gives how it ended, without its stdout.
    pub(crate) fn ended(mut self) -> Finished {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < STOP_TIMEOUT, "the node does not end after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        };
        let stderr = self.said.take().map(|said| said.join().unwrap()).unwrap_or_default();
        Finished { code: status.code().unwrap_or(-1), stdout: String::new(), stderr }
    }

    /// What the system says of the process under a name; `None`: it does not say that.
    pub(crate) fn status(&self, name: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn signal_terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Sends SIGTERM and SIGINT at once, as whoever ends a process and its group, and does not wait.
    pub(crate) fn signal_twice(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
            rustix::process::kill_process(pid, signal).unwrap();
        }
    }

    /// SIGSTOP: it does nothing, and knows nothing of the time, until it goes [on](Self::go_on).
    pub(crate) fn pause(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }

    /// Stops the node cleanly.
    pub(crate) fn stop(self) {
        assert_eq!(self.terminate(), 0, "a node that gets SIGTERM ends with 0");
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many files whose names hold this part the process has open.
    pub(crate) fn open_files(&self, part: &str) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        let links = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|target| target.to_string_lossy().contains(part)).count()
    }

    /// What it holds resident.
    pub(crate) fn memory_mb(&self) -> u64 {
        let kb = self.status("VmRSS").unwrap_or_default();
        kb.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() >> 10
    }

    /// Whether the process still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

/// What a node said last, of which a test that fails shows so much.
const SHOWN_BYTES: usize = 64 << 10;

impl Drop for Server {
    /// Of a node that lives until a test fails, or has ended by itself before, nobody would see what it said.
    fn drop(&mut self) {
        let ended = self.process.try_wait().ok().flatten();
        // already dead after kill or terminate: then these do nothing
        let _ = self.process.kill();
        let _ = self.process.wait();
        let said = self.said.take().filter(|_| std::thread::panicking()).and_then(|said| said.join().ok());
        if let Some(said) = said {
            let until = ended.map_or_else(|| "it ran until now".to_owned(), |status| format!("it had ended, {status}"));
            eprintln!("node {} at {}: {until}; it said:\n{}", self.process.id(), self.url, end_of(&said, SHOWN_BYTES));
        }
    }
}

/// The last bytes of a text, or a few less.
fn end_of(text: &str, bytes: usize) -> &str {
    let from = (text.len().saturating_sub(bytes)..).find(|at| text.is_char_boundary(*at));
    from.map_or(text, |from| &text[from..])
}
