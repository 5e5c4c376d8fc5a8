//! A store without a log that another process takes over: at every operation of an append's commit, or of a merge, the other one appends
//! or merges.
//!
//! What must hold whatever they do: the loser finds out and leaves orphans only; what was acknowledged is there once, by whomever, and what
//! was refused is not; `verify` finds nothing, the sweep takes the orphans away.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{event, follow, load, request};
use crate::two_owners::{On, Others, World};
use std::cell::Cell;
use std::collections::BTreeSet;
use strandline_engine::append::Answer;
use strandline_engine::compact::{CompactError, Trigger};
use strandline_event::{BatchUnit, ErrorKind, Position};
use strandline_testkit::local_store::LocalStore;

/// Events that are there before.
const IN_FILES: usize = 24;
const STREAMS: usize = 4;
/// The number of what the first one appends, and of what its rival does.
const OURS: usize = IN_FILES;
const THEIRS: usize = IN_FILES + 1;

#[derive(Clone, Copy, Debug)]
enum Work {
    Append(usize),
    Merge,
}

impl Work {
    fn run(self, store: &mut LocalStore) -> Result<u64, CompactError> {
        let Self::Append(number) = self else { return store.merge(Trigger::Hand) };
        let sent = event(&format!("s{}", number % STREAMS), number);
        let answer = store.append(&request("T", BatchUnit::Rows, vec![sent]));
        store.time.advance_us(13);
        match answer {
            Answer::Done(_) => Ok(1),
            Answer::Refused(refusal) => {
                assert_eq!(refusal.error.kind(), ErrorKind::Unavailable, "{:?}", refusal.error);
                // who appends is told the same as who compacts: it was too late
                Err(CompactError::StalePlan)
            }
            Answer::Again(again) => panic!("{again:?}"),
        }
    }

    const fn appends(self) -> bool {
        matches!(self, Self::Append(_))
    }
}

/// A store of four commits, of several small files in three partitions.
fn stored(on: On) -> World {
    World::on(on, "partition.by = 'dt'", |store| load(store, "T", 0..IN_FILES, STREAMS))
}

fn expected(ours: bool, theirs: bool) -> BTreeSet<usize> {
    (0..IN_FILES).chain(ours.then_some(OURS)).chain(theirs.then_some(THEIRS)).collect()
}

/// The numbers of all events, each there once.
fn seen(store: &LocalStore) -> BTreeSet<usize> {
    let (numbers, _) = follow(store, Position::START, 1000);
    let found: BTreeSet<usize> = numbers.iter().copied().collect();
    assert_eq!(found.len(), numbers.len(), "{numbers:?}");
    found
}

/// Another process takes the store over and works: it finds what was there, and the first one's event or not.
fn takes_over(others: &Others, work: Work) -> Result<u64, CompactError> {
    let mut store = others.rival();
    let done = work.run(&mut store)?;
    let found = seen(&store);
    assert!([true, false].map(|ours| expected(ours, work.appends())).contains(&found), "{work:?}: {found:?}");
    Ok(done)
}

/// What is left when both are done, seen by a third.
fn assert_settled(world: &World, wanted: &BTreeSet<usize>, what: &str) {
    let others = world.others();
    others.verified(what);
    let mut third = others.third();
    assert_eq!(seen(&third), *wanted, "{what}: what was acknowledged, and nothing else");
    others.assert_swept(&third, what);
    third.merge(Trigger::Hand).unwrap();
    third.restart().unwrap();
    assert_eq!(seen(&third), *wanted, "{what}");
    assert_eq!(third.store().durable().pin().rows(), wanted.len() as u64, "{what}");
    assert_eq!(others.verified(what), wanted.len() as u64, "{what}");
}

fn walk(work: Work, rival_s: Work) {
    On::BOTH.into_iter().for_each(|on| walk_on(on, work, rival_s));
}

fn walk_on(on: On, work: Work, rival_s: Work) {
    let acknowledged = Cell::new(false);
    let world = || {
        acknowledged.set(false);
        stored(on)
    };
    let run = |store: &mut LocalStore| {
        let done = work.run(store);
        acknowledged.set(acknowledged.get() || work.appends() && done.is_ok());
        done
    };
    let rival = move |others: &Others| takes_over(others, rival_s);
    let whole = |store: &LocalStore| assert_eq!(seen(store), expected(acknowledged.get(), false));
    let settled = |world: &World, what: &str| {
        assert_settled(world, &expected(acknowledged.get(), rival_s.appends()), what);
    };
    let works = format!("{on:?}: {work:?}, {rival_s:?} of the rival");
    crate::two_owners::walk(&works, world, run, rival, (whole, settled));
}

#[test]
fn a_rival_s_append_at_every_operation_of_an_append() {
    walk(Work::Append(OURS), Work::Append(THEIRS));
}

#[test]
fn a_rival_s_merges_at_every_operation_of_an_append() {
    walk(Work::Append(OURS), Work::Merge);
}

#[test]
fn a_rival_s_append_at_every_operation_of_a_merge() {
    walk(Work::Merge, Work::Append(THEIRS));
}

#[test]
fn a_rival_s_merges_at_every_operation_of_a_merge() {
    walk(Work::Merge, Work::Merge);
}
