//! How far a member's folder counts: `{data-dir}/cluster/life`, a number in a line, written whole and synced before anybody is told. What it is for the
//! consensus crate says (`control/lives.rs`).

use super::ClusterError;
use super::kept_state::KeptFile;
use crate::data_dir::{DataDirError, at, make_own_folder, write_whole};
use crate::{clock, random};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strandline_consensus::NodeId;
use strandline_consensus::control::{
    Control, Keep, KeptError, Life, Running, Said, count_is_gone, heard_running, most_heard, older_copy, tell_lives,
};
use strandline_consensus::net::NetTransport;
use strandline_consensus::stop::told;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a start waits for the others: those that begin with it hear nobody yet. They are told again when it serves.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// Between questions of a start whether another process still runs.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often the others are told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often it counts while they answer: an older copy than that is known.
const COUNT_EVERY: Duration = Duration::from_secs(60);

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster").join("life")
}

/// What a folder counts next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Next {
    number: u64,
    /// The file is not there.
    is_gone: bool,
}

/// A folder without the file begins; one whose file is damaged goes on above all that it can have counted. `above`: what this start has told, and the file says
/// less of if somebody took it away meanwhile.
fn next(dir: &Path, above: u64) -> Result<Next, DataDirError> {
    let path = file(dir);
    let (said, is_gone) = match fs::read(&path) {
        Ok(bytes) => {
            (std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok()), false)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => (Some(0), true),
        Err(e) => return Err(at(&path)(e)),
    };
    let next = said.map_or_else(|| clock::now().0.unsigned_abs(), |said| said.saturating_add(1));
    Ok(Next { number: next.max(above.saturating_add(1)), is_gone })
}

/// Counts on, durable on return.
fn count(dir: &Path, above: u64) -> Result<u64, DataDirError> {
    let (path, Next { number, .. }) = (file(dir), next(dir, above)?);
    make_own_folder(path.parent().unwrap_or(dir))?;
    write_whole(&path, format!("{number}\n").as_bytes())?;
    Ok(number)
}

/// A start asks those that are known, counts, and tells those that answer, before any log is opened. Where one of them had heard as much the folder says from now
/// on that it must not be gone on with. `None`: it cannot count, its disk may be full.
pub(super) async fn begin(
    dir: &Path,
    transport: &NetTransport,
    known: &[(NodeId, String)],
    own: NodeId,
) -> Result<Option<Life>, ClusterError> {
    let start = random::bits();
    let others: Vec<_> = known.iter().filter(|(node, _)| *node != own).cloned().collect();
    let counted = match next(dir, 0) {
        Ok(next) => {
            let answered = ask(dir, transport, &others, next, start, own).await?;
            count(dir, 0).map(|number| (number, answered))
        }
        Err(error) => Err(error),
    };
    let (number, answered) = match counted {
        Ok(counted) => counted,
        Err(error) => {
            tracing::warn!(
                "this start is not counted, so an older copy of this data directory would not be known yet: {error}"
            );
            return Ok(None);
        }
    };
    let life = Life { number, start };
    let told = tell_lives(transport, answered, life, BEGINS_WITHIN).await;
    refuse_older(dir, Next { number, is_gone: false }, &told)?;
    match heard_running(&told) {
        Some(heard) => Err(runs(own, heard)),
        None => Ok(Some(life)),
    }
}

/// Waits until nobody hears another process over a copy of the folder: one that was killed is not heard again. Nothing is written, so that a copy that is started
/// again and again does not come above the folder from which it was made. Gives who answers.
async fn ask(
    dir: &Path,
    transport: &NetTransport,
    others: &[(NodeId, String)],
    next: Next,
    start: u128,
    own: NodeId,
) -> Result<Vec<(NodeId, String)>, ClusterError> {
    let (begun, mut is_said) = (Instant::now(), false);
    loop {
        let asked = Instant::now();
        let told = tell_lives(transport, others.to_vec(), Life { number: 0, start }, BEGINS_WITHIN).await;
        refuse_older(dir, next, &told)?;
        let Some(heard) = heard_running(&told) else {
            let has_answered = |node: NodeId| told.iter().any(|(answered, _)| *answered == node);
            return Ok(others.iter().filter(|(node, _)| has_answered(*node)).cloned().collect());
        };
        if heard.1.was_heard_since(begun, asked) {
            return Err(runs(own, heard));
        }
        if !is_said {
            is_said = true;
            tracing::info!(target: "strandline_start", "waiting until it is sure that no other process runs: {}", runs(own, heard));
        }
        sleep(ASK_EVERY).await;
    }
}

fn runs(own: NodeId, (by, heard): (NodeId, Running)) -> ClusterError {
    ClusterError::Runs { own, by, ago: heard.last }
}

fn refuse_older(dir: &Path, next: Next, told: &[(NodeId, Said)]) -> Result<(), ClusterError> {
    let Some((heard, by)) = most_heard(told).filter(|(heard, _)| *heard >= next.number) else { return Ok(()) };
    let why = if next.is_gone { count_is_gone(heard, by) } else { older_copy(next.number, heard, by) };
    KeptFile::of(dir).forsake(&why).map_err(KeptError::from)?;
    Err(KeptError::Forsaken(why).into())
}

/// Counts on and tells the others. `began`: what this start has counted; none: nothing yet, it does as soon as it can.
pub(super) async fn keep(control: Control, dir: PathBuf, began: Option<Life>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = keep_counting(&control, &dir, began) => {}
        () = told(&mut stopped) => {}
    }
}

/// Ends where the node does for good.
async fn keep_counting(control: &Control, dir: &Path, began: Option<Life>) {
    let mut life = began.unwrap_or_else(|| Life { number: 0, start: random::bits() });
    let begun = Instant::now();
    let (mut counted, mut is_heard) = (begun, false);
    while control.lost().is_none() {
        if life.number == 0 || is_heard && counted.elapsed() >= COUNT_EVERY {
            let (dir, above) = (dir.to_owned(), life.number);
            match tokio::task::spawn_blocking(move || count(&dir, above)).await {
                Ok(Ok(number)) => {
                    life.number = number;
                    (counted, is_heard) = (Instant::now(), false);
                }
                // a copy of this time is known no more, and nothing else is wrong
                Ok(Err(error)) => tracing::debug!("it is not counted on: {error}"),
                Err(_) => return,
            }
        }
        if life.number > 0 {
            is_heard |= control.tell_life(life, begun).await;
        }
        sleep(TELL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_from_one_and_a_damaged_file_goes_on_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!([1, 2, 3].map(|_| count(folder.path(), 0).unwrap()), [1, 2, 3]);
        assert_eq!(fs::read(file(folder.path())).unwrap(), b"3\n");
        for damaged in [&b""[..], b"4", b"4\n4\n", b"\xff\n", b"-1\n"] {
            fs::write(file(folder.path()), damaged).unwrap();
            let number = count(folder.path(), 0).unwrap();
            assert!(number > 1_000_000_000, "{damaged:?}: {number}");
            assert_eq!(count(folder.path(), 0).unwrap(), number + 1);
        }
        assert!(!next(folder.path(), 0).unwrap().is_gone);
        fs::remove_file(file(folder.path())).unwrap();
        assert_eq!(next(folder.path(), 0).unwrap(), Next { number: 1, is_gone: true }, "nothing is written yet");
        assert!(!file(folder.path()).exists());
        assert_eq!(count(folder.path(), 7).unwrap(), 8, "never below what was told");
        assert_eq!(count(folder.path(), 7).unwrap(), 9);
    }
}
