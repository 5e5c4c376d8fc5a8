//! A server of the comparison: a process with its own folder and ports of the loopback address, ended by its id.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strandline_load::client::Failure;

/// How long a server may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A process that is ended when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    end_with: Signal,
    log: PathBuf,
}

impl Server {
    /// Starts a program; what it says goes to `folder/NAME.log`.
    pub(crate) fn start(command: &mut Command, folder: &Path, name: &str) -> Result<Self, Failure> {
        let log = folder.join(format!("{name}.log"));
        let (out, err) = (File::create(&log)?, File::options().append(true).open(&log)?);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.map_err(|e| format!("{} does not start: {e}", command.get_program().display()))?;
        Ok(Self { child, end_with: Signal::TERM, log })
    }

    /// Ends it with another signal than TERM.
    pub(crate) fn ended_with(mut self, signal: Signal) -> Self {
        self.end_with = signal;
        self
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something is there, or the server has ended.
    pub(crate) fn until<T>(&mut self, mut look: impl FnMut(&str) -> Option<T>) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            let said = self.said();
            if let Some(found) = look(&said) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended ({status}): {said}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the server is not ready after {PATIENCE:?}: {said}").into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until it listens.
    pub(crate) fn until_it_listens(&mut self, address: SocketAddrV4) -> Result<(), Failure> {
        self.until(|_| TcpStream::connect(address).ok().map(drop))
    }

    /// Memory of the process that is resident now.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.ok_or("the process does not say its memory")? << 10)
    }

    /// Asks it to end and waits for that.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        self.end_by(self.end_with)
    }

    /// Ends it by SIGKILL, without a word.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.end_by(Signal::KILL)
    }

    fn end_by(&mut self, signal: Signal) -> Result<(), Failure> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err(format!("the server did not end within {PATIENCE:?}").into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.end().is_err() {
            // it is ours, and nothing else can be done about it
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port of the loopback address that was free just now.
pub(crate) fn free_address() -> Result<SocketAddrV4, Failure> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{} does not start: {e}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let program = command.get_program().display().to_string();
    Err(format!("{program} failed ({}): {said}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// A program in one of some folders, or in those of PATH.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path);
    folders.iter().cloned().chain(others).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a command as another user, where this is root and the user is there: some servers refuse to be root.
pub(crate) fn as_user(command: &mut Command, user: Option<User>) -> &mut Command {
    match user {
        Some(user) => command.uid(user.uid).gid(user.gid),
        None => command,
    }
}

/// A user of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Somebody who is not root, if this is root: the first of the names that the machine knows.
    pub(crate) fn below_root(names: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        names.iter().find_map(|name| Self::named(name, &users))
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some(Self { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
    }
}

/// Bytes of all files below a folder whose name passes; those of a file that has several names there once.
pub(crate) fn bytes_below(folder: &Path, counts: &dyn Fn(&Path) -> bool) -> Result<u64, Failure> {
    bytes_of(folder, counts, &mut HashSet::new())
}

fn bytes_of(folder: &Path, counts: &dyn Fn(&Path) -> bool, seen: &mut HashSet<(u64, u64)>) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // a server may take a file away while we look
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_of(&path, counts, seen)?,
            Ok(metadata) if metadata.is_file() && counts(&path) && seen.insert((metadata.dev(), metadata.ino())) => {
                bytes += metadata.len();
            }
            _ => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgres:x:104:110::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(User::named("postgres", users), Some(User { uid: 104, gid: 110 }));
        assert_eq!(User::named("post", users), None);
    }

    #[test]
    fn bytes_of_a_folder_are_those_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/x.parquet"), [0; 70]).unwrap();
        std::fs::write(folder.path().join("y.log"), [0; 30]).unwrap();
        // another name for the same bytes
        std::fs::hard_link(folder.path().join("a/x.parquet"), folder.path().join("x.link")).unwrap();
        assert_eq!(bytes_below(folder.path(), &|_| true).unwrap(), 100);
        let parquet = |path: &Path| path.extension().is_some_and(|e| e == "parquet");
        assert_eq!(bytes_below(folder.path(), &parquet).unwrap(), 70);
    }

    #[test]
    fn a_server_that_ends_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let mut server = Server::start(command.args(["-c", "echo no port; exit 3"]), folder.path(), "sh").unwrap();
        let failure = server.until(|_| None::<()>).unwrap_err().to_string();
        assert!(failure.contains("no port"), "{failure}");
    }

    #[test]
    fn a_server_is_ended_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let mut server = Server::start(command.args(["-c", "echo here; exec sleep 600"]), folder.path(), "sh").unwrap();
        server.until(|said| said.contains("here").then_some(())).unwrap();
        assert!(server.memory_bytes().unwrap() > 0);
        server.end().unwrap();
        assert!(server.child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_server_that_ends_by_no_wish_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // it takes no notice of TERM
        let command = command.args(["-c", "trap '' TERM; echo here; exec sleep 600"]);
        let mut server = Server::start(command, folder.path(), "sh").unwrap();
        server.until(|said| said.contains("here").then_some(())).unwrap();
        server.kill().unwrap();
        assert_eq!(server.child.try_wait().unwrap().unwrap().signal(), Some(9));
    }
}
