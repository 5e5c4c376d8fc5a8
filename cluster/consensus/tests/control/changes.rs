//! Commands while the cluster runs, and when parts of it do not.

use crate::node::{CLUSTER, Folders, Node, settled, until};
use strandline_consensus::control::{AWAY, ControlError};
use strandline_consensus::meta::{Command, Erasable, Followers, NodeState, Outcome};
use strandline_consensus::{GroupId, Leadership};

fn register(name: &str, buckets: u32) -> Command {
    Command::RegisterType {
        store: crate::node::STORE.into(),
        name: name.into(),
        buckets,
        erasable: Erasable::No,
        registered: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_reaches_the_leader_from_any_node() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    for (i, node) in nodes.iter().enumerate() {
        let command = register(&format!("Type{i}"), 2);
        assert_eq!(node.control.propose(&command).await, Ok(Outcome::Changed));
        assert_eq!(node.control.propose(&command).await, Ok(Outcome::AsBefore));
        let refused = node.control.propose(&register(&format!("Type{i}"), 3)).await.unwrap_err();
        assert!(matches!(&refused, ControlError::Refused { text, .. } if text.contains("2 buckets")), "{refused}");
    }
    // all at once, from everywhere
    let many = (0..30).map(|i| {
        let control = nodes[i % 3].control.clone();
        tokio::spawn(async move { control.propose(&register(&format!("Many{i}"), 1)).await })
    });
    for one in many.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), Ok(Outcome::Changed));
    }
    until(|| nodes.iter().all(|node| node.control.state().stores()["orders"].types.len() == 33)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_gone_is_followed_by_another_and_nothing_is_forgotten() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    nodes[1].control.propose(&register("Before", 1)).await.unwrap();
    let leader = leader_of(&nodes).await;
    let gone = nodes.remove(leader);
    let (id, address) = (gone.control.node(), gone.address);
    gone.stop().await;
    assert_eq!(nodes[0].control.propose(&register("During", 1)).await, Ok(Outcome::Changed));
    // it comes back over its own folder, at the same address, and hears what it has missed
    let back = Node::run(&folders, id, CLUSTER, &address.to_string(), false).await;
    until(|| back.control.state().stores().get("orders").is_some_and(|store| store.types.len() == 2)).await;
    let bytes = nodes[0].control.state().encode();
    until(|| back.control.state().encode() == bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_logs_is_said_by_any_node_and_known_after_a_restart() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let rule = Command::Follow(Followers::Needed);
    assert_eq!(nodes[1].control.propose(&rule).await, Ok(Outcome::Changed));
    assert_eq!(nodes[2].control.propose(&rule).await, Ok(Outcome::AsBefore));
    let knows = |node: &Node| node.control.state().cluster().is_some_and(|facts| facts.followers == Followers::Needed);
    until(|| nodes.iter().all(knows)).await;
    let gone = nodes.remove(2);
    let (id, address) = (gone.control.node(), gone.address);
    gone.stop().await;
    assert_eq!(nodes[0].control.propose(&register("After", 1)).await, Ok(Outcome::Changed));
    let back = Node::run(&folders, id, CLUSTER, &address.to_string(), false).await;
    until(|| knows(&back) && back.control.state().encode() == nodes[0].control.state().encode()).await;
    // nodes that do everything hold every log
    assert!(nodes.iter().all(|node| node.control.holds_more(crate::node::STORE).is_none()));
}

/// Where a keeper of command ids begins, on who leads by then.
async fn keeper_begins(nodes: &[Node]) -> u64 {
    loop {
        until(|| nodes.iter().any(|node| node.control.leads())).await;
        for node in nodes.iter().filter(|node| node.control.leads()) {
            if let Ok(from) = node.control.keeper_begins(crate::node::STORE).await {
                return from;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_keeper_of_command_ids_begins_behind_the_one_before_and_changes_nothing() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let (first, second) = (keeper_begins(&nodes).await, keeper_begins(&nodes).await);
    assert!(first < second);
    let leader = leader_of(&nodes).await;
    nodes.remove(leader).stop().await;
    let third = keeper_begins(&nodes).await;
    assert!(second < third);
    let follower = nodes.iter().find(|node| !node.control.leads()).unwrap();
    let refused = follower.control.keeper_begins(crate::node::STORE).await.unwrap_err();
    assert!(refused.contains("does not lead"), "{refused}");
    let is_empty = |node: &Node| node.control.state().stores()[crate::node::STORE].remembered.is_empty();
    assert!(nodes.iter().all(is_empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_changes_nothing_and_says_what_it_needs() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let alone = nodes.remove(0);
    for node in nodes {
        node.stop().await;
    }
    let before = alone.control.state().encode();
    let error = alone.control.propose(&register("Never", 1)).await.unwrap_err();
    assert!(matches!(error, ControlError::NoLeader(_) | ControlError::Unknown(_)), "{error}");
    assert_eq!(alone.control.state().encode(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_by_a_new_one() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let lost = nodes.pop().unwrap();
    lost.stop().await;
    let fourth = Node::fresh(&folders, 4).await;
    fourth.joins_at_last(&nodes[0], &folders.shared()).await.unwrap();
    nodes[1].control.propose(&Command::Replace { lost: 3, with: 4 }).await.unwrap();
    until(|| settled(&fourth, &[1, 2, 4]) && settled(&nodes[0], &[1, 2, 4])).await;
    let status = nodes[0].group.status();
    assert_eq!(status.voters.into_iter().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(fourth.control.state().nodes()[&3].state, NodeState::Removed);
    // it is not heard any more, with its old folder
    let back = Node::run(&folders, 3, CLUSTER, "127.0.0.1:0", false).await;
    let refused = back.joins(&nodes[0], &folders.shared()).await.unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_itself_can_be_drained() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    let leader = leader_of(&nodes).await;
    let (id, other) = (nodes[leader].control.node(), &nodes[(leader + 1) % 3]);
    other.control.propose(&Command::Drain(id)).await.unwrap();
    let left: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != id).collect();
    until(|| settled(other, &left)).await;
    // it hears no more of what is read
    let reads = |of: u64| nodes.iter().any(|node| node.control.node() == of && node.control.reads_here());
    assert!(!reads(id) && left.iter().all(|node| reads(*node)));
    other.control.propose(&Command::Remove(id)).await.unwrap();
    let placement = other.control.state().groups()[&GroupId::Meta].clone();
    assert!(placement.leaving.is_empty() && !placement.holds(id));
}

/// So many commands that the log of the meta group has filled segments.
async fn fill(node: &Node, name: &str) {
    for n in 0..40 {
        node.control.propose(&register(&format!("{name}{n}"), 1)).await.unwrap();
    }
}

fn is_cut_off(node: &Node) -> bool {
    node.group.status().purged.is_some_and(|purged| purged > 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_the_meta_group_is_cut_off_and_nothing_is_forgotten() {
    let folders = Folders::of_small_segments();
    let mut nodes = Node::three(&folders).await;
    // one is away, and is behind what the others keep of the log
    let away = nodes.pop().unwrap();
    let (id, address) = (away.control.node(), away.address.to_string());
    let behind = away.group.status().last.unwrap();
    away.stop().await;
    fill(&nodes[1], "A").await;
    until(|| nodes.iter().all(|node| node.group.status().purged > Some(behind))).await;
    let bytes = |node: &Node| node.control.state().encode();
    let back = Node::run(&folders, id, CLUSTER, &address, false).await;
    until(|| bytes(&back) == bytes(&nodes[0])).await;
    // it goes on from the pointer after a start too, with the members that it was told
    let held = bytes(&back);
    back.stop().await;
    let back = Node::run(&folders, id, CLUSTER, &address, false).await;
    until(|| back.group.status().voters.iter().eq(&[1, 2, 3])).await;
    until(|| bytes(&back) == held).await;
    // one that joins now never sees the beginning
    let fourth = Node::fresh(&folders, 4).await;
    fourth.joins_at_last(&nodes[0], &folders.shared()).await.unwrap();
    until(|| bytes(&fourth) == bytes(&nodes[0])).await;
    nodes.extend([back, fourth]);
    fill(&nodes[3], "B").await;
    // all at once, over what each has kept and the rest of its log
    let held = bytes(&nodes[0]);
    let places: Vec<_> = nodes.iter().map(|node| (node.control.node(), node.address.to_string())).collect();
    for node in nodes {
        node.stop().await;
    }
    let mut nodes = Vec::new();
    for (id, address) in places {
        nodes.push(Node::run(&folders, id, CLUSTER, &address, false).await);
    }
    until(|| nodes.iter().all(|node| bytes(node) == held)).await;
    assert_eq!(nodes[2].control.propose(&register("A3", 1)).await, Ok(Outcome::AsBefore));
    assert_eq!(nodes[0].control.propose(&register("C", 1)).await, Ok(Outcome::Changed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_kept_state_is_gone_or_damaged_does_not_vote() {
    let folders = Folders::of_small_segments();
    let node = Node::first(&folders).await;
    fill(&node, "A").await;
    until(|| is_cut_off(&node)).await;
    node.stop().await;
    let file = folders.path("node1.kept");
    let mut bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let refused = Node::opened(&folders, 1).await.unwrap_err();
    assert!(refused.contains("the state that was kept then is not there") && refused.contains("replace"), "{refused}");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let refused = Node::opened(&folders, 1).await.unwrap_err();
    assert!(refused.contains("checksum") && refused.contains("must not vote"), "{refused}");
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let back = Node::run(&folders, 1, CLUSTER, "127.0.0.1:0", false).await;
    until(|| back.control.state().stores()[crate::node::STORE].types.len() == 40).await;
}

/// Three voters and a fourth node that follows.
async fn four(folders: &Folders) -> Vec<Node> {
    let mut nodes = Node::three(folders).await;
    let fourth = Node::fresh(folders, 4).await;
    fourth.joins_at_last(&nodes[0], &folders.shared()).await.unwrap();
    nodes.push(fourth);
    until(|| nodes[..3].iter().all(|node| node.group.status().learners.contains(&4))).await;
    nodes
}

fn leads(node: &Node) -> bool {
    node.group.leadership() == Leadership::Leads
}

/// Which of the nodes leads, once one does.
async fn leader_of(nodes: &[Node]) -> usize {
    let mut leader = None;
    until(|| {
        leader = nodes.iter().position(leads);
        leader.is_some()
    })
    .await;
    leader.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_node_that_is_away_and_says_so() {
    let folders = Folders::new();
    let mut nodes = four(&folders).await;
    let fourth = nodes.pop().unwrap();
    let address = fourth.address.to_string();
    fourth.stop().await;
    let leader = leader_of(&nodes).await;
    let drained = if leader == 2 { 2 } else { 3 };
    nodes[leader].control.propose(&Command::Drain(drained)).await.unwrap();
    until(|| nodes.iter().filter_map(|node| node.control.waits_for(&GroupId::Meta)).any(|waits| waits.node == 4)).await;
    // the live node still votes, and nobody can take it away
    let status = nodes[leader].group.status();
    assert!(status.voters.contains(&drained) && !status.voters.contains(&4), "{status:?}");
    assert!(!nodes[leader].control.state().groups()[&GroupId::Meta].is_settled());
    let refused = nodes[leader].control.remove(drained).await.unwrap_err();
    assert!(refused.to_string().contains("replicas that count"), "{refused}");
    until(|| nodes[leader].control.silent_here().get(&4).is_some_and(|time| *time > AWAY)).await;
    // the others ask the leader, who answers in whole milliseconds
    let asked = nodes[(leader + 1) % 3].control.silent().await;
    assert!(asked.get(&4).is_some_and(|time| *time >= AWAY), "{asked:?}");
    let back = Node::run(&folders, 4, CLUSTER, &address, false).await;
    let left: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|node| *node != drained).collect();
    until(|| settled(&back, &left)).await;
    assert_eq!(nodes[leader].control.waits_for(&GroupId::Meta), None);
    nodes[leader].control.remove(drained).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_votes_nowhere_is_removed_at_once_and_learns_it() {
    let folders = Folders::new();
    let nodes = four(&folders).await;
    assert_eq!(nodes[1].control.remove(4).await, Ok(Outcome::Changed));
    assert_eq!(nodes[1].control.remove(4).await, Ok(Outcome::AsBefore));
    let refused = nodes[1].control.remove(3).await.unwrap_err();
    assert!(refused.to_string().contains("drain it first"), "{refused}");
    until(|| nodes[3].control.troubles().removed).await;
    assert!(nodes[..3].iter().all(|node| node.control.troubles().not_ready().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_removed_before_it_hears_of_any_other_learns_it_where_it_joined() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    let fourth = Node::fresh(&folders, 4).await;
    let offer = fourth.enters(&nodes[0], &folders.shared()).await.unwrap();
    assert_eq!(nodes[1].control.remove(4).await, Ok(Outcome::Changed));
    fourth.control.joined(offer.cluster, &nodes[0].address.to_string());
    until(|| fourth.control.troubles().removed).await;
    assert!(fourth.control.state().nodes().is_empty(), "nobody told it anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_first() {
    let folders = Folders::new();
    let nodes = Node::three(&folders).await;
    for _ in 0..3 {
        until(|| nodes.iter().any(|node| leads(node) && node.control.leads())).await;
        let leader = leader_of(&nodes).await;
        nodes[leader].control.hand_over_all().await;
        let knows = |node: &Node| node.group.status().leader.is_some_and(|(id, _)| id == node.control.node());
        let next = nodes.iter().enumerate().any(|(at, node)| at != leader && knows(node));
        assert!(next, "nobody leads after {leader}");
    }
    nodes[0].control.propose(&register("After", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_drained_while_a_node_joins() {
    let folders = Folders::new();
    let mut nodes = four(&folders).await;
    for id in 5..8 {
        let leader = leader_of(&nodes).await;
        let (drained, other) = (nodes[leader].control.node(), (leader + 1) % nodes.len());
        nodes[other].control.propose(&Command::Drain(drained)).await.unwrap();
        let next = Node::fresh(&folders, id).await;
        next.joins_at_last(&nodes[other], &folders.shared()).await.unwrap();
        nodes.push(next);
        until(|| {
            let state = nodes[other].control.state();
            let placement = &state.groups()[&GroupId::Meta];
            placement.is_settled() && !placement.holds(drained)
        })
        .await;
        assert!(nodes.iter().all(|node| node.group.ended().is_none()));
        nodes[other].control.remove(drained).await.unwrap();
        nodes.remove(leader).stop().await;
        until(|| nodes.iter().any(leads)).await;
    }
}

/// These nodes follow the one that shall lead the meta group, and its move is done.
fn led_by(nodes: &[Node], leader: u64) -> bool {
    nodes.iter().all(|node| {
        let state = node.control.state();
        let Some(placement) = state.groups().get(&GroupId::Meta) else { return false };
        let leads = node.group.status().leader.map(|(id, _)| id);
        placement.leads == Some(leader) && placement.is_settled() && leads == Some(leader)
    })
}

/// As `four`, and nothing is under way.
async fn four_settled(folders: &Folders) -> Vec<Node> {
    let nodes = four(folders).await;
    let follows = |node: &Node| {
        let state = node.control.state();
        state.groups().get(&GroupId::Meta).is_some_and(|placement| placement.learners.contains(&4))
    };
    until(|| nodes.iter().all(|node| follows(node) && settled(node, &[1, 2, 3]))).await;
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_voter_leads_that_shall_and_a_replica_moves_with_that() {
    let folders = Folders::new();
    let nodes = four_settled(&folders).await;
    for id in [3, 1, 2] {
        nodes[3].control.propose(&Command::Lead { group: GroupId::Meta, node: Some(id) }).await.unwrap();
        until(|| led_by(&nodes, id)).await;
    }
    // the leader gives its place to one that followed until now, which leads in its place
    nodes[0].control.propose(&Command::MoveLead { group: GroupId::Meta, from: 2, to: 4 }).await.unwrap();
    until(|| led_by(&nodes, 4)).await;
    assert!(nodes.iter().all(|node| settled(node, &[1, 3, 4])));
    until(|| nodes.iter().all(|node| node.group.status().learners.contains(&2))).await;
    assert!(nodes.iter().all(|node| node.group.ended().is_none()));
    // drained: another one leads, whichever
    nodes[1].control.propose(&Command::Drain(4)).await.unwrap();
    until(|| settled(&nodes[0], &[1, 2, 3])).await;
    assert_eq!(nodes[0].control.state().groups()[&GroupId::Meta].leads, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_waits_is_taken_up_by_the_next_leader() {
    let folders = Folders::new();
    let mut nodes = four_settled(&folders).await;
    let fourth = nodes.pop().unwrap();
    let address = fourth.address.to_string();
    fourth.stop().await;
    let leader = leader_of(&nodes).await;
    let from = nodes[leader].control.node();
    nodes[leader].control.propose(&Command::MoveLead { group: GroupId::Meta, from, to: 4 }).await.unwrap();
    until(|| nodes.iter().filter_map(|node| node.control.waits_for(&GroupId::Meta)).any(|waits| waits.node == 4)).await;
    nodes.remove(leader).stop().await;
    nodes.push(Node::run(&folders, 4, CLUSTER, &address, false).await);
    until(|| led_by(&nodes, 4)).await;
    let left: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|node| *node != from).collect();
    assert!(nodes.iter().all(|node| settled(node, &left)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_does_not_wait_for_a_leader_that_is_away() {
    let folders = Folders::new();
    let mut nodes = Node::three(&folders).await;
    let leader = leader_of(&nodes).await;
    let away = nodes.remove((leader + 1) % 3);
    let id = away.control.node();
    away.stop().await;
    nodes[0].control.propose(&Command::Lead { group: GroupId::Meta, node: Some(id) }).await.unwrap();
    let wanted = |node: &Node| node.control.state().groups()[&GroupId::Meta].leads == Some(id);
    until(|| nodes.iter().all(|node| wanted(node) && settled(node, &[1, 2, 3]))).await;
    until(|| nodes.iter().any(leads)).await;
    nodes[0].control.propose(&Command::Lead { group: GroupId::Meta, node: None }).await.unwrap();
}
