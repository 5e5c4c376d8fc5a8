//! Files of windows that one process writes for another: that one commits them as if it had written them, or does it itself.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, assert_all, load, local};
use crate::two_owners::{World, key, lost};
use std::sync::Arc;
use strandline_durable::{FollowedOthers, HelpError, WindowReport};
use strandline_engine::compact::{self, CompactError, JobLimits, JobOutcome, NoSteps, Plan, Progress};
use strandline_engine::read::{Order, StreamRead};
use strandline_engine::store::Store;
use strandline_engine::verify::verify;
use strandline_testkit::local_store::LocalStore;

/// Events in files, and all.
const IN_FILES: usize = 8;
const EVENTS: usize = 30;

/// A store of several days. Its first owner is the one that helps; who takes it over has a copy of the log, and commits.
fn world() -> World {
    World::new(&format!("{TIERS}, partition.by = 'dt'"), |store| {
        load(store, "T", 0..IN_FILES, 4);
        store.compact(&key()).unwrap();
        load(store, "T", IN_FILES..EVENTS, 4);
    })
}

/// Everything that waits and that the one that helps has too.
fn planned(commits: &LocalStore, helps: &Store) -> Plan {
    let plan = compact::plan(commits.store(), &key()).unwrap().unwrap();
    let applied = helps.log(&key()).unwrap().published().committed();
    Plan { through: plan.through.min(applied), ..plan }
}

fn written(commits: &LocalStore, helps: &Store, plan: &Plan, job_id: u128) -> Result<WindowReport, CompactError> {
    let order = plan.order(commits.store(), job_id);
    compact::write_for_another(helps, &order, &Progress::default(), &NoSteps)
}

fn committed(
    commits: &mut LocalStore,
    plan: &Plan,
    report: WindowReport,
    job_id: u128,
) -> Result<JobOutcome, CompactError> {
    let (now, progress) = (commits.time.now(), Progress::default());
    let outcome = compact::commit_window(commits.store(), plan, report, job_id, now, &progress, &NoSteps)?;
    let settled = commits.store().settled(&key());
    let driver = commits.driver(&key()).unwrap();
    driver.compacted(outcome.through, settled);
    while driver.settle_step() {}
    commits.store().after_commit(&key(), &outcome.snapshot);
    Ok(outcome)
}

fn refused<T>(outcome: Result<T, CompactError>, says: &str) {
    let error = outcome.err().unwrap();
    assert!(matches!(&error, CompactError::Help(HelpError::Ordered(why)) if why.contains(says)), "{error}");
}

/// What the live files are, but for their names.
fn files(store: &LocalStore) -> Vec<String> {
    let snapshot = store.store().durable().pin();
    let files = snapshot.files().iter();
    let mut files: Vec<String> = files
        .map(|file| format!("{:?} {} {} {:08x} {:?}", file.partition, file.rows, file.bytes, file.crc32c, file.bounds))
        .collect();
    files.sort();
    files
}

#[test]
fn what_another_one_wrote_is_committed_as_if_it_had_been_written_here() {
    let (world, twin) = (world(), world());
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    let plan = planned(&commits, &helps);
    refused(written(&commits, &helps, &plan, 77), "is not known here yet");
    helps.follow_others(false).unwrap();
    let further = Plan { through: plan.through.next(), ..plan.clone() };
    refused(written(&commits, &helps, &further, 77), "the log is known here up to");
    let report = written(&commits, &helps, &plan, 77).unwrap();
    assert_eq!(commits.store().durable().pin().rows(), IN_FILES as u64, "nothing is true yet");
    let outcome = committed(&mut commits, &plan, report, 77).unwrap();
    assert_eq!((outcome.rows, outcome.through, outcome.more), ((EVENTS - IN_FILES) as u64, plan.through, false));
    assert_all(commits.store(), commits.time.now(), EVENTS);
    let mut alone = twin.others().rival();
    alone.compact(&key()).unwrap();
    assert_eq!(files(&commits), files(&alone), "byte for byte");
    // heads and commands are those of the log: appends go on
    load(&mut commits, "T", EVENTS..EVENTS + 8, 4);
    commits.compact(&key()).unwrap();
    commits.restart().unwrap();
    assert_all(commits.store(), commits.time.now(), EVENTS + 8);
    let disk: Arc<dyn strandline_wal::Disk> = Arc::clone(&world.others().log) as _;
    assert_eq!(verify(&world.others().config, &disk).unwrap().findings, []);
}

#[test]
fn who_holds_a_log_waits_for_what_was_taken_over_of_it_and_who_does_not_hold_it_does_not() {
    let world = world();
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    load(&mut commits, "T", EVENTS..EVENTS + 8, 4);
    commits.compact(&key()).unwrap();
    let before = helps.durable().pin().rows();
    assert!(matches!(helps.follow_others(false), Ok(FollowedOthers::NotReady)));
    assert_eq!(helps.durable().pin().rows(), before);
    assert!(matches!(helps.follow_held(&|log| *log != key()), Ok(FollowedOthers::Now(_))));
    assert_eq!(helps.durable().pin().rows(), (EVENTS + 8) as u64);
}

#[test]
fn a_long_range_is_handed_over_window_by_window_with_the_same_ends() {
    let world = world();
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    let mut moved = Vec::new();
    for job_id in 80.. {
        let limits = JobLimits { rows_max: 10, ..JobLimits::default() };
        let plan = Plan { limits, ..planned(&commits, &helps) };
        helps.follow_others(false).unwrap();
        let report = written(&commits, &helps, &plan, job_id).unwrap();
        let outcome = committed(&mut commits, &plan, report, job_id).unwrap();
        moved.push(outcome.rows);
        if !outcome.more {
            break;
        }
    }
    assert_eq!(moved, [7, 7, 8]);
    assert_all(commits.store(), commits.time.now(), EVENTS);
}

#[test]
fn a_job_says_of_how_many_segments_its_window_is() {
    let (mut store, mut read) = (local(""), Vec::new());
    load(&mut store, "T", 0..20, 2);
    store.seal(&key());
    load(&mut store, "T", 20..40, 2);
    while let Some(mut plan) = compact::plan(store.store(), &key()).unwrap() {
        plan.limits.rows_max = 14;
        let (job_id, now, progress) = (90 + read.len() as u128, store.time.now(), Progress::default());
        let outcome = compact::run_job(store.store(), &plan, job_id, now, &progress, &NoSteps).unwrap();
        read.push((outcome.rows, outcome.segments));
    }
    assert_eq!(read, [(14, 1), (13, 2), (13, 1)]);
}

#[test]
fn files_that_do_not_come_to_the_window_are_nobodys_and_the_job_is_done_alone() {
    let world = world();
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    helps.follow_others(false).unwrap();
    let plan = planned(&commits, &helps);
    let report = written(&commits, &helps, &plan, 77).unwrap();
    let (mut fewer, mut shorter) = (report.clone(), report.clone());
    fewer.files.pop();
    shorter.through = plan.through.prev();
    let none = WindowReport { files: Vec::new(), through: plan.through };
    for wrong in [fewer, shorter, none] {
        refused(committed(&mut commits, &plan, wrong, 77), "the files hold");
    }
    refused(committed(&mut commits, &plan, report.clone(), 78), "is not of this window");
    assert_eq!(commits.store().durable().pin().rows(), IN_FILES as u64);
    let (now, progress) = (commits.time.now(), Progress::default());
    let alone = compact::run_job(commits.store(), &plan, 77, now, &progress, &NoSteps).unwrap();
    assert_eq!(alone.rows, (EVENTS - IN_FILES) as u64);
    assert_all(commits.store(), commits.time.now(), EVENTS);
    // what comes too late
    let late = committed(&mut commits, &plan, report, 77).err().unwrap();
    assert!(matches!(late, CompactError::StalePlan), "{late}");
    helps.follow_others(false).unwrap();
    refused(written(&commits, &helps, &plan, 79), "the watermark here is");
    world.others().assert_swept(&commits, "what was written in vain");
}

#[test]
fn an_owner_that_was_replaced_commits_no_files_that_others_wrote_for_it() {
    let world = world();
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    helps.follow_others(false).unwrap();
    let plan = planned(&commits, &helps);
    let progress = Progress::default();
    progress.cancel();
    let order = plan.order(commits.store(), 76);
    let cancelled = compact::write_for_another(&helps, &order, &progress, &NoSteps);
    assert!(matches!(cancelled, Err(CompactError::Cancelled)), "{cancelled:?}");
    let report = written(&commits, &helps, &plan, 77).unwrap();
    let third = world.others().third();
    lost(&committed(&mut commits, &plan, report, 77).err().unwrap());
    assert_eq!(third.store().durable().pin().rows(), IN_FILES as u64);
    assert_all(third.store(), third.time.now(), EVENTS);
    world.others().assert_swept(&third, "what came too late");
}

#[test]
fn what_is_redacted_before_the_order_is_in_no_file_of_another_one() {
    let keys = format!("{TIERS}, partition.by = 'dt', strict.immutable_events = false");
    let world = || World::new(&keys, |store| load(store, "T", 0..EVENTS, 4));
    let (world, twin, plain) = (world(), world(), world());
    let (mut commits, helps) = (world.others().rival(), Arc::clone(world.first.store()));
    let (mut alone, mut clear) = (twin.others().rival(), plain.others().rival());
    helps.follow_others(false).unwrap();
    let plan = planned(&commits, &helps);
    let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
    let read = StreamRead { stream_type: "T", stream_id: "s1", from_seq, to_seq, limit: 1, order };
    let id = commits.store().read_stream(&read).unwrap().rows().next().unwrap().event_id;
    assert_eq!(commits.redact(id).unwrap().events.len(), 1);
    assert_eq!(alone.redact(id).unwrap().events.len(), 1);
    refused(written(&commits, &helps, &plan, 77), "is not known here yet");
    helps.follow_others(false).unwrap();
    let report = written(&commits, &helps, &plan, 77).unwrap();
    committed(&mut commits, &plan, report, 77).unwrap();
    alone.compact(&key()).unwrap();
    clear.compact(&key()).unwrap();
    assert_eq!(files(&commits), files(&alone), "byte for byte");
    assert_ne!(files(&commits), files(&clear), "the text is not in it");
}
