use super::run::RunError;
use super::*;
use crate::manifest::ChunkMark;
use crate::objects::{LocalObjects, Objects, StoreObjects};
use std::collections::BTreeMap;
use strandline_event::{Micros, Seq, hash::stream_hash};

fn head(n: u64, last: u64) -> HeadRecord {
    HeadRecord { stream: stream_hash(&n.to_string()), last_seq: Seq(last), first_seq: Seq(1), owner_tenant: n }
}

fn sorted(mut records: Vec<HeadRecord>) -> Vec<HeadRecord> {
    records.sort_unstable_by_key(Record::key);
    records
}

fn write(objects: &dyn Objects, path: &str, records: &[HeadRecord]) -> RunRef {
    write_run(objects, path, records.iter().copied(), records.len() as u64, 7).unwrap()
}

fn open(objects: &dyn Objects, run: &RunRef) -> Result<Run, RunError> {
    Run::open(objects, run, RunKind::Heads, HeadRecord::BYTES)
}

#[test]
fn every_record_is_found_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalObjects::open(dir.path()).unwrap();
    let memory = StoreObjects::memory().unwrap();
    let copied = StoreObjects::memory().unwrap().with_scratch(&dir.path().join("scratch")).unwrap();
    for (i, objects) in [&local as &dyn Objects, &memory, &copied].into_iter().enumerate() {
        for count in [0, 1, 2, 63, 64, 65, 1000, 30_000] {
            let records = sorted((0..count).map(|n| head(n, n + 5)).collect());
            let run = open(objects, &write(objects, &format!("r/{i}-{count}"), &records)).unwrap();
            assert_eq!(run.len() as u64, count);
            assert!(records.iter().all(|r| run.find(r.stream) == Some(*r)));
            assert!((count..count + 3000).all(|n| run.find::<HeadRecord>(head(n, 0).stream).is_none()));
            // what a search begins with
            assert!(records.iter().all(|r| run.filter_byte(r.stream).is_some() && run.record_byte(r.stream).is_some()));
            let looked_at = (count..count + 3000).filter(|n| run.record_byte(head(*n, 0).stream).is_some()).count();
            assert!(looked_at < 60, "{looked_at} of 3,000 that are not there");
            assert!(run.iter::<HeadRecord>().eq(records.iter().copied()));
            for edge in [0, u128::MAX] {
                assert!(run.find::<HeadRecord>(edge).is_none());
            }
        }
    }
}

#[test]
fn any_flipped_byte_is_noticed() {
    let memory = StoreObjects::memory().unwrap();
    let run = write(&memory, "good", &sorted((0..3).map(|n| head(n, 1)).collect()));
    let good = memory.get("good").unwrap();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x40;
        let path = format!("bad/{at}");
        memory.put_new(&path, &bad).unwrap();
        assert!(open(&memory, &RunRef { path, ..run.clone() }).is_err(), "byte {at}");
    }
    memory.put_new("short", &good[..good.len() - 1]).unwrap();
    assert!(open(&memory, &RunRef { path: "short".to_owned(), ..run.clone() }).is_err());
    assert!(Run::open(&memory, &run, RunKind::Commands, CommandRecord::BYTES).is_err());
}

#[test]
fn records_keep_their_bytes_for_ever() {
    let mut out = Vec::new();
    let record = CommandRecord { key: 1, digest: 2, first_seq: Seq(3), count: 4, ingested_at: Micros(-5), stream: 6 };
    record.encode(&mut out);
    assert_eq!(CommandRecord::decode(&out), Some(record));
    assert_eq!((out.len(), out[15], out[31], out[32], out[40], out[48], out[71]), (72, 1, 2, 3, 4, 251, 6));
    assert_eq!(CommandRecord::decode(&out[..71]), None);
    out.clear();
    let range = RetiredRange { stream: 1 << 120, first: Seq(2), last: Seq(3) };
    range.encode(&mut out);
    assert_eq!(RetiredRange::decode(&out), Some(range));
    assert_eq!((out.len(), out[0], out[16], out[24]), (32, 1, 2, 3));
    out.clear();
    let mark = ChunkMark { digest: [7; 16], number: 8, at: Micros(-9) };
    mark.encode(&mut out);
    assert_eq!(ChunkMark::decode(&out), Some(mark));
    assert_eq!((out.len(), out[15], out[16], out[24], out[31]), (32, 7, 8, 247, 255));
}

#[test]
fn all_ranges_of_a_stream_are_found() {
    let memory = StoreObjects::memory().unwrap();
    let ranges: Vec<_> = (0..90_u64)
        .map(|n| RetiredRange {
            stream: stream_hash(&(n / 3).to_string()),
            first: Seq(n % 3 * 10 + 1),
            last: Seq(n % 3 * 10 + 5),
        })
        .collect();
    let mut sorted = ranges.clone();
    sorted.sort_unstable();
    let run = write_run(&memory, "r", sorted.into_iter(), 90, 7).unwrap();
    let run = Run::open(&memory, &run, RetiredRange::KIND, RetiredRange::BYTES).unwrap();
    for three in ranges.chunks(3) {
        assert_eq!(run.all_of::<RetiredRange>(three[0].stream), three);
    }
    assert!(
        run.all_of::<RetiredRange>(stream_hash("30")).is_empty() && run.all_of::<RetiredRange>(u128::MAX).is_empty()
    );
}

#[test]
fn merging_keeps_the_number_of_runs_small_and_the_newest_record() {
    let memory = StoreObjects::memory().unwrap();
    let mut runs: Vec<(RunRef, Run)> = Vec::new();
    let mut model = BTreeMap::new();
    for round in 0..200_u64 {
        let new = sorted((round * 3..round * 3 + 10).map(|n| head(n, round + 1)).collect());
        model.extend(new.iter().map(|r| (r.stream, *r)));
        let refs: Vec<_> = runs.iter().map(|(r, _)| r.clone()).collect();
        let keep = runs.len() - tiers_to_merge(&refs, new.len() as u64);
        let old = runs.split_off(keep);
        let max = new.len() + old.iter().map(|(_, r)| r.len()).sum::<usize>();
        let mut sources: Vec<Box<dyn Iterator<Item = HeadRecord> + '_>> = vec![Box::new(new.iter().copied())];
        sources.extend(old.iter().rev().map(|(_, r)| Box::new(r.iter()) as Box<dyn Iterator<Item = _>>));
        let run = write_run(&memory, &format!("m/{round}"), merged(sources), max as u64, 1).unwrap();
        let opened = open(&memory, &run).unwrap();
        runs.push((run, opened));
        assert!(runs.len() <= 6, "{} runs after round {round}", runs.len());
    }
    for (stream, expected) in model {
        let found = runs.iter().rev().find_map(|(_, r)| r.find::<HeadRecord>(stream));
        assert_eq!(found, Some(expected));
    }
}

/// `STRANDLINE_GOLDEN=write` writes the fixtures anew: only for a version that nobody has written yet.
#[test]
fn runs_of_version_1_stay_readable() {
    let heads = sorted((0..3).map(|n| head(n, n + 9)).collect());
    let commands: Vec<_> = (1..4_u32)
        .map(|n| CommandRecord {
            key: u128::from(n) << 100,
            digest: u128::from(n),
            first_seq: Seq(u64::from(n)),
            count: n,
            ingested_at: Micros(-i64::from(n)),
            stream: u128::MAX - u128::from(n),
        })
        .collect();
    let chunks: Vec<_> = (1..4).map(|n| ChunkMark { digest: [n; 16], number: u64::from(n), at: Micros(5) }).collect();
    golden("heads", include_bytes!("../../fixtures/run-heads-v1.run"), &heads);
    golden("commands", include_bytes!("../../fixtures/run-commands-v1.run"), &commands);
    let retired: Vec<_> =
        (1..4).map(|n| RetiredRange { stream: u128::from(n) << 90, first: Seq(n), last: Seq(n * 100) }).collect();
    golden("retired", include_bytes!("../../fixtures/run-retired-v1.run"), &retired);
    golden("chunks", include_bytes!("../../fixtures/run-chunks-v1.run"), &chunks);
}

fn golden<R: Record + PartialEq + std::fmt::Debug>(word: &str, fixture: &[u8], records: &[R]) {
    let memory = StoreObjects::memory().unwrap();
    let run = write_run(&memory, "new", records.iter().copied(), records.len() as u64, 7).unwrap();
    if std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
        let path = format!("{}/fixtures/run-{word}-v1.run", env!("CARGO_MANIFEST_DIR"));
        return std::fs::write(path, memory.get("new").unwrap()).unwrap();
    }
    memory.put_new("old", fixture).unwrap();
    let old = Run::open(&memory, &RunRef { path: "old".to_owned(), ..run }, R::KIND, R::BYTES).unwrap();
    assert!(old.iter::<R>().eq(records.iter().copied()));
    assert!(records.iter().all(|r| old.find(r.key()) == Some(*r)));
}
