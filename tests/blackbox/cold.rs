//! What reads touch, as a node's metrics tell it: files, row groups and bytes of a cold read, and of one that memory answers.

use crate::harness::{Server, Store};
use crate::oracles::files;
use serde_json::json;

const STREAMS: u64 = 50;
const EVENTS: u64 = 100;

/// Files, row groups and bytes that reads have touched so far.
fn touched(server: &Server) -> [u64; 3] {
    let metrics = server.http().get("/metrics").text();
    ["files", "row_groups", "bytes"].map(|what| {
        let name = format!("strandline_read_{what}_total ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

#[test]
fn a_cold_read_of_a_stream_is_told_by_files_row_groups_and_bytes() {
    let store = Store::new(&["row_group.max_rows = 500", "partition.by = ('dt')"]);
    let server = store.start();
    for day in 1..=2 {
        // digits that compress no better than those of calls
        let text = |n: u64| {
            (1..=40)
                .map(|part| format!("{:08x}", (n + 7).wrapping_mul(part * 2_654_435_761) as u32))
                .collect::<String>()
        };
        let line = |n: u64| {
            json!({"stream_type": "Call", "stream_id": format!("s{:02}", n % STREAMS), "event_type": "Ended",
                   "occurred_at": format!("2026-11-{day:02}T12:00:00Z"), "data": {"n": n, "text": text(n)}})
        };
        let lines: Vec<_> = (0..STREAMS * EVENTS / 2).map(line).collect();
        lines.chunks(1000).for_each(|lines| drop(server.http().bulk(lines)));
        server.http().compact();
    }
    let paths = files(&server);
    assert_eq!(paths.len(), 2, "one a day");
    // what memory answers touches no file
    let before = touched(&server);
    assert_eq!(server.http().stream("Call", "s17").len() as u64, EVENTS);
    assert_eq!(touched(&server), before);
    server.stop();
    let server = store.start();
    let before = touched(&server);
    let answer = server.http().get("streams/Call/s17?limit=1000");
    assert_eq!(answer.expect(200)["events"].as_array().unwrap().len() as u64, EVENTS);
    assert_eq!(answer.header("x-strandline-tiers"), Some("durable"));
    let [files, groups, bytes] =
        touched(&server).iter().zip(before).map(|(now, then)| now - then).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    assert_eq!((files, groups), (2, 4), "a row group of each file, to choose the rows and to fetch them");
    assert!(bytes > 1000 && bytes < 2 << 20, "{bytes}");
    // a stream that nobody has: its head says so
    let before = touched(&server);
    server.http().get("streams/Call/s17x").expect_error(404, "not_found");
    assert_eq!(touched(&server), before);
    server.stop();
    store.assert_clean();
}
