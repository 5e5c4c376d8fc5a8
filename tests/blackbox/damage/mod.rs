//! Damage of every kind, planted into a store as bad disks, bad copies and careless hands make it: `verify` ends with 1 and
//! names the place. The cases are a table ([`cases`]); this is what decides them:
//!
//! | what is damaged | which check sees it | finding |
//! |---|---|---|
//! | data file: a byte of page, filter, page index, footer; cut, gone, swapped | length, checksum of the tail, of blocks, of the whole | the file, and the block |
//! | data file: has lost its own name; stands in no version under the name of a committed file | names in the folder against the newest version | the file |
//! | replaced file, file under a tombstone: damaged | as a live one, against the entry that it had | the file |
//! | replaced file: gone | none can tell it from one that was swept | a note |
//! | rows: missing | seqs of each stream; events that were ever compacted, less what is retired | stream and seq; the log |
//! | rows: twice, in one file or two | a second walk over all rows | stream and seq, all places, the fields that differ |
//! | rows: one event id, two events | ids of all rows | id, all places |
//! | rows: in a file of another bucket; one command id in two stream types (`verify_owners` of the testkit) | each row against the buckets of its type; commands of all rows, where they are unique in the store | file and row; id, a place in each stream |
//! | rows: out of order, in another partition | each row against `sorting_columns` and the folder | file and row |
//! | statistics, page index, bloom filter that leave a row out | each row against what the file claims | file and row |
//! | bounds, counts, paths in the manifest | each row; footer; the paths of the version | the file; the version |
//! | manifest: a byte; edited; gone; another version in its place; a state that goes back | envelope; chain of checksums; numbers; watermarks | the version, or the one behind it |
//! | manifest: the newest ones gone | committed files that no version names; the Delta log, which knows a later version | the files; `_delta_log` |
//! | manifest, the newest: a redaction, a tombstone, a number or an entry taken out or edited | the version before it: some of it is only ever added to, some never changes | the version |
//! | manifest: only the mark of a clean stop gone | none: the store is as one that was killed | a note |
//! | segment of entries, of the newest or of an older version: a byte, edited, gone | its checksum in each version that names it | the segment |
//! | checkpoint: damaged, of another chain, knows what is gone | envelope; checksum of the version before the first; its numbers | the checkpoint; the version |
//! | run: a byte, cut, gone | trailer and checksum | the run |
//! | run, whole in itself: wrong head, order, filter, command, retired range | each event against its head and command; order and filter of every record; seqs against ranges | the stream; the run; the command |
//! | log: a byte of a frame, cut, gone, swapped, of another log | recovery's table (crates/wal/FORMAT.md); the highest index that is known | log, segment and offset |
//! | log: the last group, nothing behind it | none can tell it from a torn write | a note: the next start cuts it |
//! | Delta log: a byte, a version gone, emptied or cut behind a line, another size, path, statistics or manifest version | every version against the manifest versions that it and the one before it name; the newest against the live files | its file |
//! | a link of the Delta log: gone, another file, a byte of a copy | names in the folder; the file that it must be, or the checksum of that | the link |
//! | the node's id | its form | the node |
//! | registered stream types: a line; those of another store | the checksum of each line; the manifest's numbers of buckets | the file, and the line |
//! | named subscriptions: a group that others follow; of an encrypted store, or of another one | checksums; the store's keys | the file, and the offset |
//! | named subscriptions, registered stream types: the end | none can tell it from a torn write | a note: the next start cuts it |
//! | a pause: what it says | its one line | the file |
//! | what is kept of subject keys; those themselves (`erasure`, `cluster/erasure`) | checksums; each against the other | the file |

mod cases;
mod flips;
mod log_and_delta;
mod manifest;
mod manifests;
mod node;
mod plant;
mod prepare;
mod rows;

use crate::harness::{Finished, Random, seed, setting};
use cases::Case;
use flips::Said;
use prepare::{Copy, Ready};

fn verified(copy: &Copy, what: &str) -> Finished {
    let finished = copy.store.verify();
    assert!(!finished.stderr.contains("panicked"), "{what}: {finished:?}");
    assert!((0..=1).contains(&finished.code), "{what}: {finished:?}");
    finished
}

/// What is wrong with the answer of `verify` to a case; `None`: nothing.
fn judged(ready: &Ready, case: &Case) -> Option<String> {
    let copy = ready.copy();
    let wanted = (case.plant)(&copy);
    let found = verified(&copy, case.name);
    let there = |parts: &Vec<String>| found.stdout.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    let missing: Vec<&Vec<String>> = wanted.iter().filter(|parts| !there(parts)).collect();
    let good = found.code == 1 && missing.is_empty();
    let said =
        || format!("{}: exit {}, no line with {missing:?} in\n{}{}", case.name, found.code, found.stdout, found.stderr);
    (!good).then(said)
}

/// Two processes at a time.
fn in_two_threads<T: Sync>(all: &[T], judge: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (first, second) = all.split_at(all.len() / 2);
    let half = |part: &[T]| part.iter().filter_map(&judge).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(second));
        [half(first), other.join().unwrap()].concat()
    })
}

#[test]
fn every_kind_of_damage_is_found() {
    let ready = Ready::new();
    let tables = [
        cases::BYTES,
        rows::ROWS,
        manifests::MANIFESTS,
        log_and_delta::RUNS,
        log_and_delta::LOG,
        log_and_delta::DELTA,
        node::NODE,
    ];
    let all: Vec<&Case> = tables.into_iter().flatten().collect();
    let wrong = in_two_threads(&all, |case| judged(&ready, case));
    assert!(wrong.is_empty(), "{} of {} are not found:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// What is said of a store, and is no fault.
#[test]
fn what_is_no_damage_is_a_note_at_most() {
    let ready = Ready::new();
    let copy = ready.copy();
    let name = cases::replaced(&copy);
    copy.remove(&copy.durable().join(format!("{name}.old")));
    std::fs::write(copy.durable().join("part-n1-e9-0000000999.parquet.tmp"), b"half a file").unwrap();
    // the version that says that the store was stopped: without it the store is one that was killed
    std::fs::remove_file(manifest::path(&copy.store, manifest::newest(&copy.store).0)).unwrap();
    for (name, end) in [("subscriptions", "torn"), ("stream-types", "0000")] {
        let path = node::kept(&copy, name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], end.as_bytes()].concat()).unwrap();
    }
    let found = verified(&copy, "notes");
    assert_eq!(found.code, 0, "{found:?}");
    for part in [
        "replaced files are not there",
        "part-n1-e9-0000000999.parquet.tmp",
        "does not say so: the stop was interrupted",
        "subscriptions: its end is torn",
        "stream-types: its last line is torn",
    ] {
        assert!(found.stderr.contains(part), "{part} is not in {found:?}");
    }
    let folded = ready.copy();
    manifests::fold(&folded, |_| {});
    folded.store.assert_clean();
}

/// Flips of each kind of file.
const FLIPS: u64 = 5;

#[test]
fn a_flipped_bit_is_found_or_has_no_meaning() {
    let ready = Ready::new();
    let mut random = Random(seed("damage"));
    let all = flips::flips(&ready, &mut random, setting("STRANDLINE_TEST_FLIPS", FLIPS));
    assert!(all.iter().filter(|(_, flip)| flip.said == Said::Finding).count() > all.len() / 2);
    let wrong = in_two_threads(&all, |(kind, flip)| {
        let copy = ready.copy();
        copy.flip_bits(&copy.store.path().join(&flip.path), flip.at, flip.bits);
        let what = format!("{kind}: bits {:02x} of byte {} of {}", flip.bits, flip.at, flip.path.display());
        let found = verified(&copy, &what);
        let good = match flip.said {
            Said::Finding => found.code == 1,
            Said::Note => found.code == 1 || found.stderr.contains("torn end"),
            Said::Nothing => true,
        };
        (!good).then(|| format!("{what}: {:?} is wanted, but {found:?}", flip.said))
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// A live file without its name is there for the store, and for nobody who reads the folder.
#[test]
fn a_live_file_that_no_glob_sees_is_told() {
    let ready = Ready::new();
    for suffix in ["tmp", "old"] {
        let copy = ready.copy();
        let (name, path) = copy.file("Call");
        let other = copy.durable().join(format!("{name}.{suffix}"));
        std::fs::hard_link(&path, other).unwrap();
        std::fs::remove_file(path).unwrap();
        let found = verified(&copy, suffix);
        assert!(found.code == 0 && found.stderr.contains("1 live files do not have their name"), "{found:?}");
    }
}
