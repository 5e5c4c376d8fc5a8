//! Histories of clients against a cluster under faults, by seed: what was acknowledged is there once, in an order that every
//! client's own clock agrees with, and all replicas hold the same (`clients`). One log, which every node holds.

use super::clients::{Held, Seen, Served, agreed, answered, check, client, in_still_time, seeds, told};
use super::wire::Weather;
use super::world::{Owner, World};
use crate::Group;
use crate::control::{Steered, steer};
use crate::meta::Placement;
use crate::transport::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_event::LogKey;
use tokio::time::Instant;

const STREAMS: u64 = 3;
const NODES: u64 = 3;

impl Served for World {
    fn some_node(&self) -> NodeId {
        self.any()
    }

    fn owner(&self, node: NodeId, _: &LogKey) -> Option<Arc<Owner>> {
        self.owner_of(node)
    }

    fn group(&self, node: NodeId, _: &LogKey) -> Option<Arc<Group>> {
        self.group_of(node)
    }

    fn stream(&self) -> (String, LogKey) {
        (format!("s{}", self.luck.below(STREAMS)), LogKey::single("T"))
    }

    fn confirms(&self) -> bool {
        self.confirms.load(Ordering::SeqCst)
    }
}

/// What is wrong with a world, and must be found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Disks lose what they acknowledged.
    Disks,
    /// Whoever is asked shows what it has, without asking a quorum.
    Reads,
}

/// Kills, cuts, lets disks fail and heals until then; at the end everything is whole again.
async fn trouble(world: &Arc<World>, until: Instant) {
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(500 + world.luck.below(4_000))).await;
        let node = 1 + world.luck.below(NODES);
        let other = 1 + (node + world.luck.below(NODES - 1)) % NODES;
        match world.luck.below(9) {
            0 => {
                let power = !world.luck.one_in(3);
                world.kill(node, power).await;
                tokio::time::sleep(Duration::from_millis(world.luck.below(5_000))).await;
                world.start(node).await;
            }
            1 => {
                // all at once: the power of the room
                for node in 1..=NODES {
                    world.kill(node, true).await;
                }
                for node in 1..=NODES {
                    world.start(node).await;
                }
            }
            2 => {
                let mut weather = world.weather.lock();
                for peer in (1..=NODES).filter(|peer| *peer != node) {
                    weather.cut.extend([(node, peer), (peer, node)]);
                }
            }
            // one way only
            3 => drop(world.weather.lock().cut.insert((node, other))),
            4 => {
                let mut weather = world.weather.lock();
                (weather.loses_one_in, weather.repeats_one_in) = (4 + world.luck.below(20), 8);
                weather.delay_ms_max = world.luck.below(120);
            }
            5 => {
                // a process whose log cannot be written or synced has ended by then, or ends now
                world.spoil(node);
                tokio::time::sleep(Duration::from_millis(world.luck.below(4_000))).await;
                world.kill(node, !world.luck.one_in(3)).await;
                world.mend(node);
                world.start(node).await;
            }
            // until the next time that everything is healed; it may be killed and started meanwhile
            6 => world.fill(node),
            _ => heal(world),
        }
    }
    heal(world);
    for node in 1..=NODES {
        if world.owner_of(node).is_none() {
            world.kill(node, false).await;
            world.start(node).await;
        }
    }
}

/// Everything gets through again, and disks have room.
fn heal(world: &World) {
    *world.weather.lock() = Weather::fair();
    for node in 1..=NODES {
        world.mend(node);
    }
}

async fn settle(world: &Arc<World>, about: &str) {
    let members = world.members.lock().clone();
    for _ in 0..600 {
        let last: BTreeSet<_> = members
            .iter()
            .map(|node| {
                let running = world.running.lock();
                let status = running[node].group.status();
                (status.leader.map(|(leader, _)| leader), status.last, status.applied == status.last)
            })
            .collect();
        if last.len() == 1 && last.iter().all(|(leader, _, all)| leader.is_some() && *all) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{about}: the cluster does not come to rest after everything was healed");
}

async fn run(seed: u64, seconds: u64, wrong: Wrong) -> String {
    let about = format!("seed {seed}");
    let world = World::new(seed, NODES, wrong != Wrong::Disks).await;
    world.confirms.store(wrong != Wrong::Reads, Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..4).map(|name| tokio::spawn(client(Arc::clone(&world), name, until))).collect();
    trouble(&world, until).await;
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    let told = compare(&world, history, &about).await;
    for node in 1..=NODES {
        world.kill(node, false).await;
    }
    told
}

/// After everything was healed: a client is answered, all members hold the same, and the history is linearizable.
async fn compare(world: &Arc<World>, mut history: Vec<Seen>, about: &str) -> String {
    settle(world, about).await;
    history.extend(answered(world, 8, about).await);
    settle(world, about).await;
    let members = world.members.lock().clone();
    let held = |node: &NodeId| Held {
        node: *node,
        owner: world.owner_of(*node).unwrap(),
        group: world.group_of(*node).unwrap(),
    };
    let replicas: Vec<Held> = members.iter().map(held).collect();
    let stored = agreed(&replicas, &history, about);
    check(&history, &stored, about);
    format!("{about}: {}, {stored:?}", told(&history))
}

/// A member is gone for ever; a new one with an empty disk takes its place while clients go on.
async fn replace(world: &Arc<World>, lost: u64, new: u64) {
    let mut voters: BTreeSet<u64> = world.members.lock().iter().copied().filter(|node| *node != lost).collect();
    voters.insert(new);
    *world.members.lock() = voters.iter().copied().collect();
    world.start(new).await;
    for step in 0.. {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(step < 200, "nobody can be made a member");
        let leader = voters.iter().find_map(|node| {
            let group = world.group_of(*node)?;
            (group.leadership() == crate::Leadership::Leads).then_some(group)
        });
        let Some(leader) = leader else { continue };
        if leader.add_learner(new, super::world::member(new), true).await.is_ok()
            && leader.set_voters(voters.clone()).await.is_ok()
        {
            return;
        }
    }
}

/// `rots`: the log of each of two members is damaged while they are down; else one loses its disk.
async fn run_replacing(seed: u64, rots: bool) -> String {
    let about = format!("seed {seed}");
    let world = World::new(seed, NODES, true).await;
    let until = Instant::now() + Duration::from_secs(30);
    let clients: Vec<_> = (0..4).map(|name| tokio::spawn(client(Arc::clone(&world), name, until))).collect();
    for new in NODES + 1..=NODES + 1 + u64::from(rots) {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let lost = world.any();
        if rots {
            world.damage(lost).await
        } else {
            world.kill(lost, true).await
        }
        replace(&world, lost, new).await;
    }
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    compare(&world, history, &about).await
}

/// Two nodes that only follow.
const LEARNERS: [u64; 2] = [NODES + 1, NODES + 2];

/// Learners end, lose power, are cut off and ask to lead, beside everything that befalls voters.
async fn trouble_of_learners(world: &Arc<World>, until: Instant) {
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(300 + world.luck.below(2_000))).await;
        let learner = LEARNERS[usize::try_from(world.luck.below(2)).unwrap()];
        match world.luck.below(3) {
            0 => {
                world.kill(learner, !world.luck.one_in(3)).await;
                tokio::time::sleep(Duration::from_millis(world.luck.below(6_000))).await;
                world.start(learner).await;
            }
            1 => {
                let mut weather = world.weather.lock();
                for peer in 1..=NODES {
                    weather.cut.extend([(learner, peer), (peer, learner)]);
                }
            }
            _ => world.group_of(learner).unwrap().elect().await.unwrap(),
        }
        for node in 1..=NODES + 2 {
            let leader = world.group_of(node).and_then(|group| group.status().leader);
            assert!(leader.is_none_or(|(leader, _)| leader <= NODES), "a learner leads");
        }
    }
}

async fn run_with_learners(seed: u64) -> String {
    let about = format!("seed {seed}");
    let world = World::new(seed, NODES, true).await;
    world.add_learners(&LEARNERS).await;
    let until = Instant::now() + Duration::from_secs(30);
    let clients: Vec<_> = (0..4).map(|name| tokio::spawn(client(Arc::clone(&world), name, until))).collect();
    tokio::join!(trouble(&world, until), trouble_of_learners(&world, until));
    // whichever was last
    heal(&world);
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    // both are gone: whatever is asked is answered
    for learner in LEARNERS {
        world.kill(learner, true).await;
    }
    settle(&world, &about).await;
    history.extend(answered(&world, 9, &about).await);
    for learner in LEARNERS {
        world.start(learner).await;
    }
    *world.members.lock() = (1..=NODES + 2).collect();
    let told = compare(&world, history, &about).await;
    let asked = world.asked_for_votes.lock().clone();
    assert!(asked.iter().all(|node| *node <= NODES), "{about}: a learner was asked for a vote, or asked: {asked:?}");
    told
}

/// The node that follows at first: of it and the voters each may follow, and each other one may lead.
const FOURTH: u64 = NODES + 1;

/// Another node follows from now on, and another one shall lead.
fn move_on(world: &World, wished: &mut Placement) {
    let follows = 1 + world.luck.below(FOURTH);
    wished.voters = (1..=FOURTH).filter(|node| *node != follows).collect();
    wished.learners = [follows].into();
    let leads = usize::try_from(world.luck.below(NODES)).unwrap();
    wished.leads = wished.voters.iter().copied().nth(leads);
    wished.epoch += 1;
}

/// What leaders do about it, as `control` does.
async fn steer_all(world: &Arc<World>, wished: &mut Placement) {
    for node in 1..=FOURTH {
        let Some(group) = world.group_of(node) else { continue };
        let place = |node| Some(super::world::member(node));
        let steered = tokio::time::timeout(Duration::from_secs(5), steer(&group, wished, &place)).await;
        match steered {
            Ok(Ok(Steered::Reached)) => wished.settled_epoch = wished.epoch,
            Ok(Ok(Steered::Leaves { to })) => {
                for other in wished.voters.iter().filter(|other| ![node, to].contains(*other)) {
                    if let Some(group) = world.group_of(*other) {
                        let _ = group.elect().await;
                    }
                }
                hand_over(world, (node, to)).await;
            }
            Ok(Ok(Steered::Yields { to })) => hand_over(world, (node, to)).await,
            _ => {}
        }
    }
}

/// As `control/leading.rs`: one that has everything asks for votes, and then until it leads.
async fn hand_over(world: &World, (from, to): (u64, u64)) {
    let Some(leader) = world.group_of(from) else { return };
    let Some(_quiet) = leader.quiet_before(to, Duration::from_secs(1)).await else { return };
    if let Some(group) = world.group_of(to)
        && group.elect().await.is_ok()
        && group.wins(Duration::from_secs(1)).await
    {
        return;
    }
    for _ in 0..20 {
        let Some(group) = world.group_of(to) else { return };
        if group.elect().await.is_err() || group.wins(Duration::from_millis(100)).await {
            return;
        }
    }
}

/// After everything was healed: the last move is done too, and every member knows it.
async fn arrive(world: &Arc<World>, wished: &mut Placement, about: &str) {
    for _ in 0..600 {
        let is_there = |node: u64| {
            let status = world.group_of(node).map(|group| group.status());
            status.is_some_and(|now| {
                now.voters == wished.voters && !now.is_joint && now.leader.map(|(leader, _)| leader) == wished.leads
            })
        };
        if (1..=FOURTH).all(is_there) {
            return;
        }
        steer_all(world, wished).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("{about}: the group is not where it shall be: {wished:?}");
}

/// The group moves from node to node, also while its nodes end and are cut off.
async fn run_moving(seed: u64) -> String {
    let about = format!("seed {seed}");
    let world = World::new(seed, NODES, true).await;
    world.add_learners(&[FOURTH]).await;
    *world.members.lock() = (1..=FOURTH).collect();
    let until = Instant::now() + Duration::from_secs(40);
    let clients: Vec<_> = (0..4).map(|name| tokio::spawn(client(Arc::clone(&world), name, until))).collect();
    let mut wished = Placement { epoch: 1, settled_epoch: 1, ..Placement::default() };
    let moving = async {
        while Instant::now() < until {
            if wished.is_settled() {
                move_on(&world, &mut wished);
            }
            steer_all(&world, &mut wished).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::join!(trouble(&world, until), moving);
    arrive(&world, &mut wished, &about).await;
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    format!("{}, {} moves", compare(&world, history, &about).await, wished.epoch - 1)
}

/// One history.
fn simulate(seed: u64, seconds: u64) -> String {
    simulate_with(seed, seconds, Wrong::Nothing)
}

fn simulate_with(seed: u64, seconds: u64, wrong: Wrong) -> String {
    in_still_time(run(seed, seconds, wrong))
}

#[test]
fn histories_under_faults_are_linearizable() {
    for seed in seeds(8) {
        println!("{}", simulate(seed, 40));
    }
}

#[test]
fn a_lost_member_is_replaced_by_a_new_one_while_clients_go_on() {
    for seed in seeds(6) {
        println!("{}", in_still_time(run_replacing(seed, false)));
    }
}

#[test]
fn a_member_whose_log_rots_does_not_start_and_is_replaced_while_clients_go_on() {
    for seed in seeds(4) {
        println!("{}", in_still_time(run_replacing(seed, true)));
    }
}

#[test]
fn learners_never_vote_or_lead_and_hold_what_voters_hold() {
    for seed in seeds(6) {
        println!("{}", in_still_time(run_with_learners(seed)));
    }
}

#[test]
fn a_group_moves_and_is_led_by_who_shall_while_clients_go_on() {
    for seed in seeds(6) {
        println!("{}", in_still_time(run_moving(seed)));
    }
}

#[test]
fn the_check_finds_disks_that_lose_what_they_acknowledged() {
    let found = |seed| std::panic::catch_unwind(|| simulate_with(seed, 40, Wrong::Disks)).is_err();
    assert!((0..10).any(found), "ten histories on such disks, and nothing was missed");
}

#[test]
fn the_check_finds_reads_that_ask_no_quorum() {
    let found = |seed| {
        let panic = std::panic::catch_unwind(|| simulate_with(seed, 40, Wrong::Reads)).err()?;
        panic.downcast_ref::<String>().cloned()
    };
    let said = (0..10).find_map(found).expect("ten histories of such reads, and each showed the newest head");
    assert!(said.contains("was judged by an old head") || said.contains("knows less than"), "{said}");
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(simulate(77, 30), simulate(77, 30));
}
