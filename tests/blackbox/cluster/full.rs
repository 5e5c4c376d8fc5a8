//! The disk of one node gets full: the others go on while they are a quorum, that node says what to do, and it has everything once there is room.

use super::moves::{done, is_led_by};
use super::nodes::Nodes;
use super::{KEYS, NOT_MOVED, large};

/// The node with the small disk.
const FULL: usize = 2;

/// Much more than a log of segments of 1 MiB has blocks for ahead.
const APPENDS: u64 = 120;

/// Stores the next event; a node may be asked again, since the command is the same.
fn store(nodes: &Nodes, at: usize, stored: &mut u64) {
    nodes.until("it is stored", |nodes| nodes.http(at).post("streams/Call/a", &large(*stored)).status < 300);
    *stored += 1;
}

/// How many of the events a node has by itself.
fn has(nodes: &Nodes, node: usize) -> u64 {
    let page = nodes.http(node).get("streams/Call/a?consistency=local&limit=1");
    if page.status == 200 { page.json()["last_seq"].as_u64().unwrap() } else { 0 }
}

fn lead(nodes: &Nodes, leader: usize) {
    done(nodes, 1, &format!("cluster lead --stream-type Call --bucket 0 --node {leader}"));
    nodes.until("it leads", |nodes| is_led_by(nodes, 0, leader));
}

#[test]
fn the_others_go_on_without_a_node_whose_disk_is_full_until_there_is_room() {
    let (mut nodes, full) = Nodes::with_small_disk(3, &format!("{KEYS}{NOT_MOVED}"), FULL);
    let mut stored = 0;
    (0..5).for_each(|_| store(&nodes, 1, &mut stored));
    // one that follows: nobody is refused anything
    lead(&nodes, 1);
    nodes.until("it follows", |nodes| has(nodes, FULL) == stored);
    std::fs::write(&full, "").unwrap();
    (0..APPENDS).for_each(|_| store(&nodes, 1, &mut stored));
    assert!(has(&nodes, FULL) < stored, "it has no room for all of it");
    assert_eq!(nodes.http(1).stream("Call", "a").len() as u64, stored);
    std::fs::remove_file(&full).unwrap();
    nodes.until("it has what came meanwhile", |nodes| has(nodes, FULL) == stored);
    nodes.until("it is ready", |nodes| nodes.http(FULL).get("/ready").status == 200);
    // one that leads: it refuses before it counts on room that is not there, and is read
    lead(&nodes, FULL);
    std::fs::write(&full, "").unwrap();
    let mut refused = None;
    nodes.until("it says that there is no room", |nodes| {
        let answer = nodes.http(FULL).post("streams/Call/a", &large(stored));
        match answer.status {
            507 => refused = Some(answer),
            status => stored += u64::from(status < 300),
        }
        refused.is_some()
    });
    let told = refused.unwrap().expect_error(507, "disk_full");
    assert!(told["error"].as_str().unwrap().contains("make room"), "{told}");
    for node in [1, FULL] {
        assert_eq!(nodes.http(node).stream("Call", "a").len() as u64, stored, "node {node}");
    }
    std::fs::remove_file(&full).unwrap();
    store(&nodes, FULL, &mut stored);
    for node in 1..=3 {
        nodes.until("every node has all of it", |nodes| has(nodes, node) == stored);
        let numbers =
            nodes.http(node).stream("Call", "a").into_iter().map(|event| event["data"]["n"].as_u64().unwrap());
        assert!(numbers.eq(0..stored), "node {node}: each once, in order");
    }
    // what a client was not told while it followed, its operator was: once, and not at each try
    let said = nodes.end_all().swap_remove(FULL - 1);
    let of_it = |words: &str| said.lines().filter(|line| line.contains(words) && line.contains("log/Call")).count();
    assert!(matches!(of_it("make room on that disk"), 1..=9), "{said}");
    assert_eq!(of_it("make room on that disk"), of_it("the log goes on"), "{said}");
}
