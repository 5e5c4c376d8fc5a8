//! Old versions are folded away: what is left is a chain that is followed to its begin, whatever interrupted a fold.

use super::*;
use crate::manifest::checkpoint;
use crate::objects::{Fault, FlakyObjects, LocalObjects, Objects, Readable, StoreObjects, Wrapped};
use crate::testing::*;
use crate::{Replacement, verify_manifests};
use std::sync::atomic::AtomicUsize;
use strandline_event::LogIndex;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn day(n: u64) -> Micros {
    Micros(START_US + n as i64 * DAY_US)
}

/// One more version, of another statement.
fn commit_at(tier: &DurableTier, n: u64) {
    tier.update(&Update::Config(format!("CREATE EVENTSTORE t -- {n}")), u128::from(n) << 64, day(n)).unwrap();
}

fn versions(tier: &DurableTier) -> Vec<u64> {
    manifest::versions(&*tier.shared().manifests).unwrap()
}

fn findings(tier: &DurableTier) -> Vec<String> {
    verify_manifests(tier).into_iter().map(|finding| format!("{}: {}", finding.place, finding.what)).collect()
}

/// Version n + 1 is of day n.
fn thirty_days(tier: &DurableTier) {
    (1..=30).for_each(|n| commit_at(tier, n));
}

#[test]
fn old_versions_go_and_the_chain_begins_at_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    thirty_days(&tier);
    assert_eq!(tier.fold(day(0)).unwrap(), Folded::default(), "nothing is older");
    assert_eq!(checkpoint::marks(&*tier.shared().manifests).unwrap(), [], "few versions need no checkpoint");
    assert_eq!(tier.fold(day(20)).unwrap().versions, 20);
    assert_eq!(versions(&tier), (21..=31).collect::<Vec<_>>());
    assert_eq!(findings(&tier), [""; 0]);
    assert_eq!(tier.history(100).unwrap().len(), 11);
    assert_eq!(tier.past_version(20).unwrap(), None);
    assert_eq!(tier.past_version(32).unwrap(), None);
    assert_eq!(tier.past_version(21).unwrap().map(|past| past.committed_at), Some(day(20)));
    assert_eq!(tier.past_version(31).unwrap().map(|past| past.version), Some(31));
    assert_eq!(tier.fold(day(20)).unwrap(), Folded::default(), "there is nothing more to do");
    drop(tier);
    let tier = open(dir.path(), &config(""));
    assert_eq!((tier.pin().version(), tier.epoch()), (32, Some(2)));
    commit_at(&tier, 40);
    // the current one is kept, however old it is
    assert_eq!(tier.fold(day(1000)).unwrap().versions, 12);
    assert_eq!((versions(&tier), findings(&tier)), (vec![33], Vec::new()));
    assert_eq!(checkpoint::marks(&*tier.shared().manifests).unwrap().len(), 1);
    assert_eq!(open(dir.path(), &config("")).pin().version(), 34);
}

#[test]
fn a_version_is_found_by_a_moment_until_it_is_folded_away() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    thirty_days(&tier);
    // several of one moment: the newest of them
    for more in 1..=2_u32 {
        let text = Update::Config(format!("CREATE EVENTSTORE t -- {more} more"));
        tier.update(&text, u128::from(more), day(30)).unwrap();
    }
    let at = |moment: Micros| tier.version_at(moment).unwrap().map(|past| past.version);
    assert_eq!((at(day(0)), at(day(0).plus_us(-1))), (Ok(1), Err(day(0))));
    for n in 1..30 {
        assert_eq!((at(day(n)), at(day(n).plus_us(1)), at(day(n).plus_us(-1))), (Ok(n + 1), Ok(n + 1), Ok(n)), "{n}");
    }
    assert_eq!((at(day(30).plus_us(-1)), at(day(30)), at(Micros(i64::MAX))), (Ok(30), Ok(33), Ok(33)));
    tier.fold(day(20)).unwrap();
    assert_eq!((at(day(19)), at(day(20)), at(day(30))), (Err(day(20)), Ok(21), Ok(33)));
    let (data, manifests) = folders(dir.path());
    let reader = DurableTier::open_read_only_with(data, manifests, &config("")).unwrap();
    assert_eq!(reader.version_at(day(25)).unwrap().map(|past| past.version), Ok(26));
}

#[test]
fn all_versions_are_listed_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    thirty_days(&tier);
    let pages = |limit: usize| {
        let (mut listed, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let (page, next) = tier.history_page(before, limit).unwrap();
            assert!(page.len() <= limit);
            listed.extend(page.into_iter().map(|version| version.version));
            (before, pages) = (next, pages + 1);
            if before.is_none() {
                return (listed, pages);
            }
        }
    };
    let all = |from: u64| (from..=31).rev().collect::<Vec<_>>();
    for (limit, count) in [(1, 31), (10, 4), (30, 2), (31, 1), (100, 1)] {
        assert_eq!(pages(limit), (all(1), count), "{limit} a page");
    }
    assert_eq!(tier.history_page(Some(1), 10).unwrap(), (Vec::new(), None));
    assert_eq!(tier.history_page(Some(0), 10).unwrap(), (Vec::new(), None));
    assert_eq!(tier.history_page(Some(u64::MAX), 1).unwrap().1, Some(31));
    // it ends where versions were folded away
    tier.fold(day(20)).unwrap();
    assert_eq!(pages(5), (all(21), 3));
}

#[test]
fn who_is_not_the_owner_folds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), &config(""));
    thirty_days(&first);
    let (data, manifests) = folders(dir.path());
    let reader = DurableTier::open_read_only_with(data, manifests, &config("")).unwrap();
    let second = open(dir.path(), &config(""));
    assert_eq!(first.fold(day(20)).unwrap(), Folded::default());
    assert_eq!(reader.fold(day(20)).unwrap(), Folded::default());
    assert_eq!(versions(&second).len(), 32);
}

/// An entry of a file that nobody wrote.
fn entry(n: u64) -> FileEntry {
    let event = owned(n);
    FileEntry {
        path: format!("part-n1-{n:010}.parquet"),
        bytes: 1000,
        crc32c: 7,
        tail_bytes: 300,
        tail_crc32c: 8,
        tail: None,
        key: None,
        full: None,
        redacted_in: None,
        rows: 1,
        row_groups: 1,
        stream_type: "Call".to_owned(),
        bucket: 0,
        partition: Vec::new(),
        bounds: crate::Bounds::of(&event.row()),
        from_exclusive: LogIndex(0),
        through: LogIndex(1),
        job_id: 1,
    }
}

#[test]
fn segments_go_with_the_versions_that_named_them() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let commit_files = |job_id: u64, at: u64, files: Vec<FileEntry>| {
        let mut commit = commit(&job(u128::from(job_id), job_id - 1, job_id), files, &[]);
        commit.at = day(at);
        tier.commit(&commit).unwrap()
    };
    let segments = || {
        let listed = tier.shared().manifests.list(manifest::SEGMENT_FOLDER).unwrap();
        listed.into_iter().filter_map(|info| manifest::maker_of(&info.path)).collect::<Vec<_>>()
    };
    commit_files(1, 1, (1..=600).map(entry).collect());
    let kept = commit_files(2, 2, (1001..=1600).map(entry).collect());
    assert_eq!(segments(), [2, 3]);
    // what a commit that failed has left
    for version in [3, 9] {
        let orphan = format!("{}/s{version:020}-9-0-0.json.zst", manifest::SEGMENT_FOLDER);
        tier.shared().manifests.put_new(&orphan, b"of nobody").unwrap();
    }
    let remove: Vec<_> = kept.files().iter().filter(|f| f.path < entry(700).path).cloned().collect();
    let replacement = Replacement { job_id: 77, at: day(3), log: log(), remove, add: Vec::new(), doubles: 600 };
    tier.replace(&replacement).unwrap();
    let of_replaced = segments().into_iter().filter(|maker| *maker == 4).count();
    assert_eq!(tier.fold(day(1)).unwrap().segments, 0, "the versions that name the first are kept");
    for n in 4..6 {
        commit_at(&tier, n);
    }
    let folded = tier.fold(day(3)).unwrap();
    assert_eq!((folded.versions, folded.segments), (2, 2), "the first segment and the old orphan are gone");
    assert_eq!(segments(), [vec![3], vec![4; of_replaced], vec![9]].concat());
    assert_eq!(findings(&tier), [""; 0]);
    drop(tier);
    assert_eq!(open(dir.path(), &config("")).pin().files().len(), 600);
}

/// Manifests that count how many segments are read.
struct Counting {
    inner: LocalObjects,
    segments: AtomicUsize,
}

impl Wrapped for Counting {
    fn inner(&self) -> &dyn Objects {
        &self.inner
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.segments.fetch_add(usize::from(path.starts_with(manifest::SEGMENT_FOLDER)), Ordering::SeqCst);
        self.inner.open(path)
    }
}

#[test]
fn a_history_reads_each_segment_once_and_those_that_are_current_never() {
    let dir = tempfile::tempdir().unwrap();
    let (data, _) = folders(dir.path());
    let inner = LocalObjects::open(&dir.path().join("manifests")).unwrap();
    let manifests = Arc::new(Counting { inner, segments: AtomicUsize::new(0) });
    let counting: SharedObjects = manifests.clone();
    let tier = DurableTier::open_with(data, counting, &config(""), options(5)).unwrap();
    for (job_id, first) in [(1, 1), (2, 1001)] {
        let files = (first..first + 600).map(entry).collect();
        tier.commit(&commit(&job(u128::from(job_id), job_id - 1, job_id), files, &[])).unwrap();
    }
    (3..20).for_each(|n| commit_at(&tier, n));
    let before = tier.history(100).unwrap();
    let sums: Vec<_> = before.iter().rev().map(|of| (of.files, of.rows, of.bytes)).collect();
    assert_eq!(sums[..3], [(0, 0, 0), (600, 600, 600_000), (1200, 1200, 1_200_000)]);
    assert_eq!((sums.len(), sums[19], manifests.segments.load(Ordering::SeqCst)), (20, sums[2], 0));
    // from here on nineteen versions name a segment that the current one does not
    let remove: Vec<_> = tier.pin().files().iter().filter(|f| f.path < entry(10).path).cloned().collect();
    assert_eq!(remove.len(), 9);
    tier.replace(&Replacement { job_id: 77, at: day(20), log: log(), remove, add: Vec::new(), doubles: 9 }).unwrap();
    let after = tier.history(100).unwrap();
    assert_eq!((after[0].files, &after[1..]), (1191, &before[..]));
    assert_eq!(manifests.segments.load(Ordering::SeqCst), 1);
}

#[test]
fn a_fold_that_is_interrupted_anywhere_is_gone_on_with() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::FailOnce, Fault::LostAnswer] {
        for at in 1.. {
            let dir = tempfile::tempdir().unwrap();
            thirty_days(&open(dir.path(), &config("")));
            let (data, manifests) = folders(dir.path());
            let flaky = FlakyObjects::new(manifests, at + 1, fault);
            // opening is one operation
            let tier = DurableTier::open_with(data, Arc::new(flaky.clone()), &config(""), options(5)).unwrap();
            let folded = tier.fold(day(20));
            if flaky.operations() <= at {
                assert_eq!(folded.unwrap().versions, 20);
                assert!(at > 20, "{at}");
                break;
            }
            drop(tier);
            let tier = open(dir.path(), &config(""));
            assert_eq!(tier.pin().version(), 33);
            assert_eq!(findings(&tier), [""; 0], "{fault:?} at {at}");
            tier.fold(day(20)).unwrap();
            assert_eq!((versions(&tier), findings(&tier)), ((21..=33).collect(), Vec::new()), "{fault:?} at {at}");
            assert_eq!(checkpoint::marks(&*tier.shared().manifests).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_start_looks_at_few_names_however_many_versions_there_are() {
    let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let (data, manifests) = (memory(), memory());
    let open = || DurableTier::open_with(Arc::clone(&data), Arc::clone(&manifests), &config(""), options(6)).unwrap();
    let tier = open();
    (1..1100).for_each(|n| commit_at(&tier, n));
    tier.fold(day(0)).unwrap();
    let marks = checkpoint::marks(&*manifests).unwrap();
    assert_eq!(marks, [checkpoint::Mark { version: 1100, first: 1 }]);
    (1100..1200).for_each(|n| commit_at(&tier, n));
    // what lies before the checkpoint is not asked for
    manifests.delete(&manifest::version_name(7)).unwrap();
    assert_eq!(open().pin().version(), 1201);
    assert!(findings(&tier).iter().any(|f| f.contains("version 7 is missing")), "{:?}", findings(&tier));
}

#[test]
fn damage_of_checkpoints_is_named_and_a_lost_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    thirty_days(&tier);
    tier.fold(day(20)).unwrap();
    let root = dir.path().join("manifests");
    let mark = checkpoint::marks(&*tier.shared().manifests).unwrap()[0];
    let path = root.join(mark.path());
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(findings(&tier).iter().any(|f| f.starts_with("checkpoints/") && f.contains("checksum")));
    // it is a help for starts, not what they depend on
    assert_eq!(open(dir.path(), &config("")).pin().version(), 32);
    std::fs::write(&path, &whole).unwrap();
    let first = root.join(manifest::version_name(21));
    let kept = std::fs::read(&first).unwrap();
    std::fs::remove_file(&first).unwrap();
    assert!(findings(&tier).iter().any(|f| f.contains("the first version that is there is 22")));
    std::fs::write(&first, kept).unwrap();
    assert_eq!(findings(&tier), [""; 0]);
    for version in 31..=32 {
        std::fs::remove_file(root.join(manifest::version_name(version))).unwrap();
    }
    assert!(findings(&tier).iter().any(|f| f.contains("it knows version 31")), "{:?}", findings(&tier));
    for version in 21..31 {
        std::fs::remove_file(root.join(manifest::version_name(version))).unwrap();
    }
    let (data, manifests) = folders(dir.path());
    let refused = DurableTier::open_with(data, manifests, &config(""), options(8)).err().unwrap();
    assert!(refused.to_string().contains("version 31 is not there"), "{refused}");
}

#[test]
fn what_a_crash_left_beside_the_versions_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let root = LocalObjects::read_only(&dir.path().join("manifests"));
    for name in [".aside-7-1", "segments/.aside-7-2"] {
        root.put_new(name, b"half a version").unwrap();
    }
    tier.fold(Micros(0)).unwrap();
    assert_eq!(root.list("").unwrap().len(), 3);
    // (it was written now, by the clock of the disk)
    commit_at(&tier, 1);
    tier.fold(Micros(i64::MAX)).unwrap();
    assert!(root.list("").unwrap().iter().all(|info| !info.path.contains(".aside-")));
}
