//! The moment of a kill: waited for on the disk, and proven there once the node is dead.
//!
//! ```text
//!             waited for                                      proof that the kill came into the middle of it
//!  rollover   a log has a new segment                         the segment before is not cut to its length yet
//!  job        a new `.parquet.tmp`, where nothing merges      it is still there: not published, not discarded
//!  merge      the same behind a run over one log by hand,     the same
//!             of which only merges are left: what the job
//!             of the run wrote has its name
//!  trim       of several segments to go, the first is gone    one is still there that the log says is purged
//! ```

use super::STREAM_TYPES;
use crate::harness::{Http, Store, run};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Length of a segment that was not cut to what it holds: `wal.rollover_mb` of the test.
const UNCUT_BYTES: u64 = 1 << 20;
/// Full segments of a log that wait until a round of this kind lets them be compacted and trimmed at once.
const SEGMENTS_TO_TRIM: usize = 4;
/// What a round waits for comes within seconds; a node that never does it is broken.
const NEVER: Duration = Duration::from_secs(60);

/// When a round kills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Any,
    Rollover,
    Job,
    Merge,
    Trim,
}

impl Kind {
    /// Of a round.
    pub(super) const fn of(round: u64) -> Self {
        match round % 5 {
            0 => Self::Any,
            1 => Self::Rollover,
            2 => Self::Job,
            3 => Self::Merge,
            _ => Self::Trim,
        }
    }

    /// Whether everything is compacted by hand again and again meanwhile. No merge follows a job that the size started.
    pub(super) const fn compacts_by_hand(self) -> bool {
        matches!(self, Self::Any | Self::Rollover)
    }
}

/// Segments of a log by number, which is the end of the name.
type Segments = BTreeMap<String, PathBuf>;

/// What is looked at in one round.
pub(super) struct Watch {
    kind: Kind,
    after: Duration,
    logs: Vec<PathBuf>,
    durable: PathBuf,
    /// Before the round: segments by log, and files that no kill of this round left.
    newest: Vec<Option<String>>,
    asides: BTreeSet<PathBuf>,
    /// Nothing ran but merges, and nothing else was to start.
    only_merges: Cell<bool>,
}

impl Watch {
    /// Before the load of a round.
    pub(super) fn new(store: &Store, kind: Kind, after: Duration) -> Self {
        let logs: Vec<PathBuf> = STREAM_TYPES.iter().map(|name| store.log().join(name)).collect();
        let newest = logs.iter().map(|log| segments(log).into_keys().next_back()).collect();
        let (durable, mut asides) = (store.durable(), BTreeSet::new());
        find_asides(&durable, &mut asides);
        Self { kind, after, logs, durable, newest, asides, only_merges: Cell::new(false) }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns at the moment; says what it was, or that it never came.
    pub(super) fn wait(&self, http: &Http) -> Result<String, String> {
        // a node that died while it was paused is still
        steer(http, "resume")?;
        match self.kind {
            Kind::Any => {
                std::thread::sleep(self.after);
                Ok(format!("killed after {:?}", self.after))
            }
            Kind::Rollover => self.until("a rollover", || (0..self.logs.len()).any(|log| self.rolled(log))),
            Kind::Job => {
                let seen = self.until("a running job", || !self.new_asides().is_empty())?;
                self.go_on_a_little();
                Ok(seen)
            }
            Kind::Merge => self.wait_for_merge(http),
            Kind::Trim => self.wait_for_trim(http),
        }
    }

    /// Now at once, now somewhere later in it.
    fn go_on_a_little(&self) {
        std::thread::sleep(Duration::from_millis(u64::from(self.after.subsec_millis() % 4 * 2)));
    }

    /// Runs over one log, by hand, until a merge behind one of them writes.
    fn wait_for_merge(&self, http: &Http) -> Result<String, String> {
        steer(http, "pause")?;
        self.until("the end of what ran", || running(http).is_empty())?;
        let mut run: Option<JoinHandle<_>> = None;
        let seen = self.until("a running merge", || {
            if run.as_ref().is_none_or(JoinHandle::is_finished) {
                let (http, what) = (http.clone(), format!("run?wait=true&stream_type={}", STREAM_TYPES[0]));
                run = Some(std::thread::spawn(move || steer(&http, &what)));
            }
            let running = running(http);
            self.only_merges.set(!running.is_empty() && running.iter().all(|kind| kind == "merge"));
            self.only_merges.get() && !self.new_asides().is_empty()
        })?;
        self.go_on_a_little();
        Ok(seen)
    }

    fn wait_for_trim(&self, http: &Http) -> Result<String, String> {
        steer(http, "pause")?;
        let waiting = || self.logs.iter().any(|log| segments(log).len() > SEGMENTS_TO_TRIM);
        self.until("segments to trim", waiting)?;
        let before: Vec<Segments> = self.logs.iter().map(|log| segments(log)).collect();
        steer(http, "run")?;
        self.until("a trim", || {
            let now = self.logs.iter().map(|log| segments(log));
            before.iter().zip(now).any(|(before, now)| before.len() > 2 && before.keys().next() != now.keys().next())
        })
    }

    fn until(&self, what: &str, mut seen: impl FnMut() -> bool) -> Result<String, String> {
        let began = Instant::now();
        while !seen() {
            if began.elapsed() > NEVER {
                return Err(format!("{what} never came"));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(format!("killed at {what}, {:?}", began.elapsed()))
    }

    /// Whether a segment of this round has one of this round after it (the first one begins with the start, not by a rollover).
    fn rolled(&self, log: usize) -> bool {
        let is_new = |number: &&String| self.newest[log].as_ref().is_none_or(|newest| *number > newest);
        segments(&self.logs[log]).keys().filter(is_new).count() > 1
    }

    fn new_asides(&self) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        find_asides(&self.durable, &mut found);
        found.difference(&self.asides).cloned().collect()
    }

    /// The node is dead: a log ends in the middle of a rollover.
    fn in_rollover(&self) -> bool {
        (0..self.logs.len()).any(|log| {
            let segments = segments(&self.logs[log]);
            let before = segments.values().rev().nth(1);
            self.rolled(log) && before.is_some_and(|path| fs::metadata(path).unwrap().len() == UNCUT_BYTES)
        })
    }

    /// The node is dead: a log ends in the middle of a trim.
    fn in_trim(&self) -> bool {
        self.logs.iter().any(|log| {
            let segments = segments(log);
            let Some((oldest, newest)) = segments.values().next().zip(segments.values().next_back()) else {
                return false;
            };
            let purged = numbers(&dump(newest), "purged: Some(", "index: ").last().copied();
            let last = numbers(&dump(oldest), "Entry ", "index ").last().copied();
            oldest != newest && purged.zip(last).is_some_and(|(purged, last)| last <= purged)
        })
    }
}

/// How many kills came into the middle of what.
#[derive(Default)]
pub(super) struct Met {
    rollovers: u32,
    jobs: u32,
    merges: u32,
    trims: u32,
}

impl Met {
    /// Looks at what a kill left behind.
    pub(super) fn examine(&mut self, watch: &Watch) {
        self.rollovers += u32::from(watch.in_rollover());
        let in_job = |kind| watch.kind == kind && !watch.new_asides().is_empty();
        self.jobs += u32::from(in_job(Kind::Job));
        self.merges += u32::from(in_job(Kind::Merge) && watch.only_merges.get());
        self.trims += u32::from(watch.in_trim());
    }

    /// What no kill has met so far.
    pub(super) const fn unmet(&self) -> Option<Kind> {
        match (self.rollovers, self.jobs, self.merges, self.trims) {
            (0, _, _, _) => Some(Kind::Rollover),
            (_, 0, _, _) => Some(Kind::Job),
            (_, _, 0, _) => Some(Kind::Merge),
            (_, _, _, 0) => Some(Kind::Trim),
            _ => None,
        }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rollovers, jobs, merges, trims } = self;
        write!(f, "in the middle of {rollovers} rollovers, {jobs} jobs, {merges} merges, {trims} trims so far")
    }
}

fn steer(http: &Http, what: &str) -> Result<(), String> {
    let answer = http.try_post(&format!("/admin/v1/stores/test/compaction/{what}"), "application/json", b"");
    answer.ok().filter(|a| a.status < 300).map(drop).ok_or_else(|| format!("the node does not {what}"))
}

/// The kinds of the jobs that run.
fn running(http: &Http) -> Vec<String> {
    let status = http.get("/admin/v1/stores/test/compaction").expect(200);
    status["running"].as_array().unwrap().iter().map(|job| job["kind"].as_str().unwrap().to_owned()).collect()
}

fn segments(log: &Path) -> Segments {
    let entries = fs::read_dir(log).into_iter().flatten().flatten();
    let number = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(".wal")?.rsplit('-').next()?.to_owned());
    entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect()
}

/// Data files that are written aside. What vanishes while it is listed is not there.
fn find_asides(folder: &Path, out: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_asides(&path, out);
        } else if path.to_string_lossy().ends_with(".parquet.tmp") {
            out.insert(path);
        }
    }
}

fn dump(segment: &Path) -> String {
    let dumped = run(&["wal", "dump", &segment.to_string_lossy()]);
    assert_eq!(dumped.code, 0, "{dumped:?}");
    dumped.stdout
}

/// The number behind `name`, behind `mark`, of each line that has both.
fn numbers(dump: &str, mark: &str, name: &str) -> Vec<u64> {
    let number = |line: &str| {
        let (_, rest) = line.split_once(mark)?.1.split_once(name)?;
        let digits: String =
            rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    dump.lines().filter_map(number).collect()
}
