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
use strandline_consensus::control::{Control, Keep, KeptError, Life, older_copy, tell_lives};
use strandline_consensus::net::NetTransport;
use strandline_consensus::stop::told;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a start waits for the others: those that begin with it hear nobody yet. They are told again when it serves.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// How often the others are told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often it counts while they answer: an older copy than that is known.
const COUNT_EVERY: Duration = Duration::from_secs(60);

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster").join("life")
}

/// Counts on, durable on return. A folder without the file begins; one whose file is damaged goes on above all that it can have counted. `above`: what this start
/// has told, and the file says less of if somebody took it away meanwhile.
fn count(dir: &Path, above: u64) -> Result<u64, DataDirError> {
    let path = file(dir);
    let said = match fs::read(&path) {
        Ok(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Some(0),
        Err(e) => return Err(at(&path)(e)),
    };
    let next = said.map_or_else(|| clock::now().0.unsigned_abs(), |said| said.saturating_add(1));
    let number = next.max(above.saturating_add(1));
    make_own_folder(path.parent().unwrap_or(dir))?;
    write_whole(&path, format!("{number}\n").as_bytes())?;
    Ok(number)
}

/// A start counts, and tells those that are known, before any log is opened. Where one of them had heard as much the folder says from now on that it must not
/// be gone on with. `None`: it cannot count, its disk may be full.
pub(super) async fn begin(
    dir: &Path,
    transport: &NetTransport,
    known: &[(NodeId, String)],
    own: NodeId,
) -> Result<Option<Life>, ClusterError> {
    let number = match count(dir, 0) {
        Ok(number) => number,
        Err(error) => {
            tracing::warn!(
                "this start is not counted, so an older copy of this data directory would not be known yet: {error}"
            );
            return Ok(None);
        }
    };
    let life = Life { number, start: random::bits() };
    let others = known.iter().filter(|(node, _)| *node != own).cloned().collect();
    match tell_lives(transport, others, life, BEGINS_WITHIN).await {
        Some((heard, by)) if heard >= life.number => {
            let why = older_copy(life.number, heard, by);
            KeptFile::of(dir).forsake(&why).map_err(KeptError::from)?;
            Err(KeptError::Forsaken(why).into())
        }
        _ => Ok(Some(life)),
    }
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
    let (mut counted, mut is_heard) = (Instant::now(), false);
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
            is_heard |= control.tell_life(life).await;
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
        fs::remove_file(file(folder.path())).unwrap();
        assert_eq!(count(folder.path(), 7).unwrap(), 8, "never below what was told");
        assert_eq!(count(folder.path(), 7).unwrap(), 9);
    }
}
