//! A partition between real processes, one way and both ways, and connections that are late, break, or come twice and out of order: the side without a quorum acknowledges nothing, and after it has healed all replicas
//! agree: by what they show, and by the frames of their logs, which are read from the files of nodes that have stopped.

use super::nodes::Nodes;
use super::writer::Writer;
use super::{KEYS, goes_on, under_load};
use crate::harness::{Sse, seed};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_event::LogIndex;
use strandline_wal::frame::FLAG_GOES_ON;
use strandline_wal::{
    Disk, FrameKind, FrameView, LogConfig, RealDisk, SegmentPattern, log_folder_name, open_read_only,
};

/// A node without a quorum, which is asked directly and may not send the request on, refuses an append. `false`: it did not answer.
fn refuses(nodes: &Nodes, node: usize, stream: &str) -> bool {
    let body = json!({ "events": [{ "event_type": "E", "data": {} }] }).to_string();
    let answer = nodes.http(node).try_post(&format!("streams/Call/{stream}"), "application/json", body.as_bytes());
    answer.is_ok_and(|answer| {
        assert_eq!(answer.status, 503, "an append at a node without a quorum: {}", answer.text());
        // who leads no more does not send its callers to itself
        assert_ne!(answer.json()["details"]["leader"], node, "{}", answer.text());
        true
    })
}

/// The others follow another one than this node.
fn another_leads(nodes: &Nodes, than: usize) {
    nodes.until("another one leads", |nodes| {
        let leader = |node: usize| nodes.shard(node, Some("Call"))["leader"].as_u64();
        (1..=3).filter(|node| *node != than).all(|node| leader(node).is_some_and(|leader| leader != than as u64))
    });
}

#[test]
fn the_minority_of_a_partition_acknowledges_nothing_and_replicas_agree_after_it() {
    let seed = seed("partitions");
    let mut nodes = Nodes::linked(3, KEYS, &["--no-forward"]);
    // by a leader that is alone, and by one that is heard by nobody
    let mut refused = [0, 0];
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        // the leader is alone
        let leader = nodes.leader(Some("Call"));
        nodes.links().isolate(leader);
        goes_on(acknowledged, 30);
        another_leads(nodes, leader);
        for _ in 0..20 {
            refused[0] += u64::from(refuses(nodes, leader, "minority"));
        }
        let read = nodes.http(leader).get("streams/Call/minority");
        assert_eq!(read.status, 503, "a leader that no quorum confirms answers no read: {}", read.text());
        // what it has it gives to who asks for no more
        Sse::open(&nodes.http(leader), "subscribe?consistency=local&idle_s=60", None).event();
        nodes.links().heal();
        goes_on(acknowledged, 30);
        // one way only: the leader is heard by nobody, and hears everybody
        let leader = nodes.leader(Some("Call"));
        for other in (1..=3).filter(|other| *other != leader) {
            nodes.links().cut(leader, other);
        }
        goes_on(acknowledged, 30);
        another_leads(nodes, leader);
        for _ in 0..5 {
            refused[1] += u64::from(refuses(nodes, leader, "minority"));
        }
        nodes.links().heal();
        goes_on(acknowledged, 30);
        // late, and connections that break
        nodes.links().storm(Duration::from_millis(20), 50, seed);
        goes_on(acknowledged, 30);
        nodes.until("a connection breaks", |nodes| nodes.links().broken() > 0);
        // everything comes twice, and the second time after what was said later
        nodes.links().echo(Duration::from_millis(700));
        goes_on(acknowledged, 60);
        nodes.until("something comes twice", |nodes| nodes.links().repeated() > 0);
        nodes.links().heal();
        goes_on(acknowledged, 30);
    });
    assert!(refused.iter().all(|times| *times > 0), "a side without a quorum has answered nothing at all: {refused:?}");
    nodes.until("the minority's appends are nowhere or everywhere", |nodes| {
        let heads: BTreeSet<String> =
            (1..=3).map(|node| nodes.http(node).get("streams/Call/minority/head?consistency=local").text()).collect();
        heads.len() == 1
    });
    let leader = nodes.leader(Some("Call"));
    for writer in &writers {
        writer.compare(&nodes.http(leader));
        for node in 1..=3 {
            nodes.until("every replica has it", |nodes| writer.is_local(&nodes.http(node)));
            // ids, seqs and moments too
            assert_eq!(writer.local(&nodes.http(node)), writer.local(&nodes.http(leader)), "node {node}");
        }
    }
    writers.iter_mut().for_each(Writer::ask_again);
    let events: u64 = writers.iter().map(Writer::events).sum();
    logs_agree(nodes, events);
}

/// The index up to which every node has heard that a log is committed.
fn committed(nodes: &Nodes, stream_type: &str) -> LogIndex {
    let of_node = |node: usize| {
        let wal = nodes.http(node).get("/admin/v1/stores/test/wal").expect(200);
        let log = wal["logs"].as_array().unwrap().iter().find(|log| log["stream_type"] == stream_type).cloned();
        log.unwrap()["last_index"].as_u64().unwrap()
    };
    LogIndex((1..=3).map(of_node).min().unwrap())
}

/// The frames that a log has up to there.
fn frames(folder: &Path, through: LogIndex) -> Vec<FrameView> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let pattern = SegmentPattern::parse("events-{yyyy}{MM}{dd}-{HH}-{segment}.wal").unwrap();
    let opened = open_read_only(&disk, folder, &LogConfig::new(pattern)).unwrap();
    assert_eq!(opened.recovered.corrupt, [], "{}", folder.display());
    let view = opened.view.load();
    assert!(view.last_index() >= through, "{} ends at {}", folder.display(), view.last_index());
    view.frames(view.first_index(), through).unwrap().map(Result::unwrap).collect()
}

/// What must be the same on every replica: of frames that the group itself makes each one notes another moment.
fn said(frame: &FrameView) -> impl PartialEq + std::fmt::Debug + '_ {
    let header = &frame.header;
    let time = (header.kind == FrameKind::Entry).then_some(header.time);
    let names = (header.index, header.leader, header.kind, header.has(FLAG_GOES_ON));
    (names, header.schema, header.count, time, &frame.payload[..])
}

/// The logs of all three nodes are the same byte for byte, up to what each knew as committed when it was stopped. `events`: those that were
/// acknowledged, at least.
fn logs_agree(mut nodes: Nodes, events: u64) {
    let logs = ["Call", "Order"].map(|stream_type| (stream_type, committed(&nodes, stream_type)));
    nodes.stop_all();
    let mut found = 0;
    for (stream_type, through) in logs {
        let folder = |node: usize| -> PathBuf {
            let log = if node == 1 { "log" } else { "stores/test/log" };
            nodes.folder(node).join(log).join(log_folder_name(stream_type, 0))
        };
        let first = frames(&folder(1), through);
        found += first.iter().map(|frame| u64::from(frame.header.count)).sum::<u64>();
        for node in [2, 3] {
            let other = frames(&folder(node), through);
            for (one, two) in first.iter().zip(&other) {
                assert_eq!(said(one), said(two), "{stream_type} of node {node}");
            }
            assert_eq!(first.len(), other.len(), "{stream_type} of node {node} up to {through}");
        }
    }
    assert!(found >= events, "the logs hold {found} events of {events}");
}
