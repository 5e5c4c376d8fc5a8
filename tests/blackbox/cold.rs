//! What reads touch, as a node's metrics tell it over HTTP: files, row groups, bytes and filters of a cold read, of one that memory answers,
//! and of streams that are not there.

use crate::harness::{Server, Store};
use crate::oracles::files;
use serde_json::{Value, json};

const STREAMS: u64 = 50;
/// Events of each stream, half of them a day.
const EVENTS: u64 = 100;
const LINES: usize = 1000;

/// Files, row groups and bytes that reads have touched so far, filters that were asked, and those that said no.
fn touched(server: &Server) -> [u64; 5] {
    let metrics = server.http().get("/metrics").text();
    ["files", "row_groups", "bytes", "filters", "filters_no"].map(|what| {
        let name = format!("strandline_read_{what}_total ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

/// What a request touches.
fn by(server: &Server, request: impl FnOnce()) -> [u64; 5] {
    let before = touched(server);
    request();
    let after = touched(server);
    std::array::from_fn(|n| after[n] - before[n])
}

/// A day's events: some 4 MB, 50 of each stream.
fn day(day: u64) -> Vec<Value> {
    let text = |n: u64| (1..=200).map(move |part| format!("{:08x}", (n + 7).wrapping_mul(part * 2_654_435_761) as u32));
    let line = |n: u64| {
        json!({"stream_type": "Call", "stream_id": format!("s{:02}", n % STREAMS), "event_type": "Ended",
               "occurred_at": format!("2026-11-{day:02}T12:00:00Z"),
               "data": {"n": n, "text": text(n).collect::<String>()}})
    };
    (0..STREAMS * EVENTS / 2).map(line).collect()
}

/// Streams between the others, each of one small event of the first day.
fn of_one_day() -> Vec<Value> {
    let line = |n: u64| {
        json!({"stream_type": "Call", "stream_id": format!("s{n:02}x"), "event_type": "Ended",
               "occurred_at": "2026-11-01T12:00:00Z", "data": {"n": n}})
    };
    (0..STREAMS - 1).map(line).collect()
}

/// One file a day, of five row groups and a few rows.
fn loaded(server: &Server) -> u64 {
    server.http().bulk(&of_one_day());
    for number in 1..=2 {
        day(number).chunks(LINES).for_each(|lines| drop(server.http().bulk(lines)));
        server.http().compact();
    }
    let paths = files(server);
    assert_eq!(paths.len(), 2, "{paths:?}");
    paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn a_cold_read_is_told_by_files_row_groups_and_bytes() {
    let store = Store::new(&[
        "compaction.trigger = 'time'",
        "compaction.schedule = '0 0 1 1 *'",
        "partition.by = ('dt')",
        "row_group.max_rows = 500",
        "durable.compression = 'none'",
    ]);
    let server = store.start();
    let all = loaded(&server);
    let memory = by(&server, || assert_eq!(server.http().stream("Call", "s17").len() as u64, EVENTS));
    assert_eq!(memory, [0; 5], "what memory answers touches no file");
    server.stop();
    let server = store.start();
    let cold = by(&server, || {
        let answer = server.http().get("streams/Call/s17?limit=1000");
        assert_eq!(answer.expect(200)["events"].as_array().unwrap().len() as u64, EVENTS);
        assert_eq!(answer.header("x-strandline-tiers"), Some("durable"));
    });
    let [files, groups, bytes, filters, no] = cold;
    // ten streams stand in a row group: it alone can hold this one
    assert_eq!((files, groups, filters, no), (2, 2, 2, 0), "{cold:?}");
    // fifty events of a file, and what stands in the same pages
    assert!((50 * 1600 * 2..all / 4).contains(&bytes), "{bytes} of {all}");
    // again, with footers known
    let warm = by(&server, || assert_eq!(server.http().get("streams/Call/s17?limit=1000").status, 200));
    assert!(warm[..2] == cold[..2] && warm[2] < bytes, "{warm:?} after {cold:?}");
    // streams of one day, between those of both: in the other day's file the filter of one row group says no
    let mut passed = 0;
    for n in 0..STREAMS - 1 {
        let path = format!("streams/Call/s{n:02}x?limit=10");
        let [files, groups, _, filters, no] = by(&server, || {
            assert_eq!(server.http().get(&path).expect(200)["events"].as_array().unwrap().len(), 1, "{path}");
        });
        assert!(files == 2 && (1..=2).contains(&filters), "{path}: {files} files, {filters} filters");
        // what a filter lets through is looked up in the group, and it alone
        assert_eq!(groups, filters - no, "{path}");
        passed += groups - 1;
    }
    // by bloom.fpp one of a hundred
    assert!(passed <= STREAMS / 10, "{passed} row groups were read for nothing");
    // of streams that nobody has: the heads know it, whether their ids lie between others or outside of all
    for id in ["s17y", "s305", "s49x", "a", "t"] {
        let path = format!("streams/Call/{id}");
        let nothing = by(&server, || drop(server.http().get(&path).expect_error(404, "not_found")));
        assert_eq!(nothing, [0; 5], "{path}");
    }
    server.stop();
    store.assert_clean();
}
