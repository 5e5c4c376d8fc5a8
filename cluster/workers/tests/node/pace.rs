//! Compaction stands behind ingestion: pauses by its share, threads of a lower priority.

use super::*;
use strandline_workers::Share;

/// Appends, compacts and merges under a share; gives the pauses that were asked for, and their microseconds.
async fn pauses(dir: &Path, percent: u8) -> (u64, u64) {
    let options = NodeOptions { compaction_share: Share::new(percent).unwrap(), ..options(dir) };
    let node = Node::start(declarations(dir, ", compaction.schedule = '0 0 1 1 *'"), options).await.unwrap();
    let store = node.store("calls").unwrap();
    assert_eq!(node.compaction_share().percent(), percent);
    for _ in 0..2 {
        for n in 0..20 {
            append(&node, &store, &format!("c{n}"), 500).await.unwrap();
        }
        let jobs = store.compact(None).await.unwrap();
        let end = jobs[0].ended().await;
        assert_eq!((end.error, end.rows), (None, 10_000));
        jobs[0].merges().await;
        // a version is of the moment of its commit: what it names was written before
        let (version, files) = (store.manifest(None, 1).await.unwrap(), store.files().await.unwrap());
        let written = files.iter().map(|file| {
            let modified = std::fs::metadata(file.local_path.as_ref().unwrap()).unwrap().modified().unwrap();
            modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()
        });
        assert!(u128::try_from(version.committed_at.0).unwrap() >= written.max().unwrap(), "{version:?}");
    }
    let metrics = node.metrics();
    let counts = (metrics.compaction_pauses.get(), metrics.compaction_paused_us.get());
    drop(store);
    stop(node).await;
    counts
}

#[test]
fn a_share_asks_for_pauses_and_the_whole_for_none() {
    let (whole, half) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let counts = runtime::run(async { (pauses(whole.path(), 100).await, pauses(half.path(), 50).await) }).unwrap();
    assert_eq!(counts.0, (0, 0));
    let (asked, us) = counts.1;
    assert!(asked > 0 && us >= 1000 * asked, "{counts:?}");
}

#[test]
fn a_pause_ends_when_its_job_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let dir = folder.path();
        let options = NodeOptions { compaction_share: Share::new(1).unwrap(), ..options(dir) };
        let node = Node::start(declarations(dir, ", compaction.schedule = '0 0 1 1 *'"), options).await.unwrap();
        let store = node.store("calls").unwrap();
        for n in 0..60 {
            append(&node, &store, &format!("c{n}"), 500).await.unwrap();
        }
        let jobs = store.compact(None).await.unwrap();
        control::until("a pause", || node.metrics().compaction_pauses.get() > 0).await;
        // what is left of a step is told by its own rate, so the time before it does not count
        control::until("the begin of a step", || jobs[0].progress.step_began() >= Some(jobs[0].asked_at)).await;
        assert_eq!(store.cancel().await.unwrap(), 1);
        assert!(jobs[0].ended().await.cancelled);
        drop((store, jobs));
        stop(node).await;
    })
    .unwrap();
}

/// Niceness of each thread of this process, by its number.
#[cfg(target_os = "linux")]
fn niceness() -> std::collections::BTreeMap<u32, i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nice = |number: u32| {
        let line = std::fs::read_to_string(format!("/proc/self/task/{number}/stat")).ok()?;
        // the name may hold anything, in parentheses; niceness is the 17th word behind it
        line.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()
    };
    tasks
        .filter_map(|task| task.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(|n| Some((n, nice(n)?)))
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_threads_of_jobs_have_a_lower_priority_and_no_other_has() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let own = rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let options = NodeOptions { compaction_threads: 2, ..options(folder.path()) };
        let node = Node::start(declarations(folder.path(), ""), options).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c1", 20_000).await.unwrap();
        let jobs = store.compact(None).await.unwrap();
        assert_eq!(jobs[0].ended().await.rows, 20_000);
        let nicer =
            || niceness().iter().filter(|(n, nice)| !before.contains_key(n) && **nice == (own + 10).min(19)).count();
        // other tests of this process start nodes too
        control::until("threads that step back", || nicer() >= 4).await;
        assert!(niceness().len() - nicer() > 8);
        drop((store, jobs));
        stop(node).await;
    })
    .unwrap();
}
