use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const NOW: Micros = Micros(1_000);

#[test]
fn moments_rise_and_stay_above_what_was_closed() {
    let clocks = ClosedClocks::new(Micros(50));
    let log = clocks.open_log();
    assert_eq!(log.assign(Micros(10), 3, LogIndex(1)), Micros(51));
    assert_eq!(clocks.close(), Micros(50));
    assert_eq!(log.assign(Micros(10), 0, LogIndex(2)), Micros(55));
    log.visible(LogIndex(1));
    assert_eq!(clocks.close(), Micros(54));
    log.visible(LogIndex(2));
    assert_eq!((clocks.close(), log.close(NOW)), (Micros(55), NOW));
    assert_eq!(log.assign(Micros(10), 0, LogIndex(3)), Micros(1_001));
}

#[test]
fn how_far_moments_are_ahead_is_told_where_batches_took_them() {
    let clocks = ClosedClocks::new(Micros::MIN);
    let (calls, orders) = (clocks.open_log(), clocks.open_log());
    let now = Micros(10_000_000);
    let ahead = |now: Micros| (calls.ahead_us(now), orders.ahead_us(now));
    assert_eq!(ahead(now), (None, None));
    calls.assign(now, 999, LogIndex(1));
    assert_eq!(ahead(now), (None, None), "a thousand");
    calls.assign(now, 499_999, LogIndex(2));
    assert_eq!(ahead(now), (Some(501_000), None));
    calls.all_visible([1, 2].map(LogIndex).into_iter());
    clocks.close();
    assert_eq!(ahead(now), (Some(501_000), Some(501_000)), "what was read is closed in every log");
    assert_eq!(ahead(now.plus_us(499_000)), (Some(2_000), Some(2_000)));
    assert_eq!(ahead(now.plus_us(500_000)), (None, None), "the clock has caught up");
    assert_eq!(ahead(now.plus_us(-60_000_000)), (None, None), "it was set back");
    // another node's clock is ahead, and what is assigned here goes on from there
    clocks.heard_of(now.plus_us(30_000_000));
    let later = now.plus_us(1_000_000);
    for index in 3..2_003 {
        calls.assign(later.plus_us(index as i64), 0, LogIndex(index));
    }
    assert_eq!(ahead(later.plus_us(2_003)), (None, None));
}

#[test]
fn one_log_in_flight_holds_the_store_back_and_idle_ones_do_not() {
    let clocks = ClosedClocks::new(Micros::MIN);
    let (a, b) = (clocks.open_log(), clocks.open_log());
    a.assign(NOW, 0, LogIndex(1));
    assert_eq!(clocks.close(), Micros::MIN, "nothing is visible");
    assert_eq!(b.assign(Micros(900), 10_000, LogIndex(1)), Micros(900));
    b.visible(LogIndex(1));
    assert_eq!(clocks.close(), Micros(999));
    a.visible(LogIndex(1));
    // far ahead of the clock, but acknowledged: closed
    assert_eq!(clocks.close(), Micros(10_900));
    let late = clocks.open_log();
    assert_eq!((a.peek(NOW), late.peek(NOW)), (Micros(10_901), Micros(10_901)));
}

#[test]
fn who_begins_at_the_end_misses_nothing_that_another_log_has_in_flight() {
    let clocks = ClosedClocks::new(Micros(50));
    let (a, b) = (clocks.open_log(), clocks.open_log());
    assert_eq!(clocks.end(), Micros(50), "no moment of a clock: nothing stands there after a restart");
    let in_flight = a.assign(Micros(2_000), 0, LogIndex(1));
    b.assign(Micros(3_000), 0, LogIndex(1));
    b.visible(LogIndex(1));
    assert_eq!(clocks.end(), in_flight.plus_us(-1), "it comes below the newest one of the other log");
    a.visible(LogIndex(1));
    assert_eq!(clocks.end(), Micros(3_000), "behind what was acknowledged");
    // a moment of the clock, above which a log begins that is new
    assert_eq!(clocks.mark(Micros(10_000_000)), Some(Micros(9_000_000)));
    let late = clocks.open_log();
    assert_eq!((clocks.end(), late.peek(NOW)), (Micros(3_000), Micros(9_000_001)));
}

#[test]
fn a_mark_is_a_moment_of_the_clock_alone_and_only_where_all_logs_are_closed() {
    let (quiet, busy) = (ClosedClocks::new(Micros::MIN), ClosedClocks::new(Micros::MIN));
    let (_, log) = (quiet.open_log(), busy.open_log());
    let now = Micros(10_000_000);
    log.assign(now.plus_us(-1_500_000), 0, LogIndex(1));
    assert_eq!(busy.mark(now), None, "what is in flight there would be missed");
    log.visible(LogIndex(1));
    log.assign(now.plus_us(-10), 30_000_000, LogIndex(2));
    assert_eq!((quiet.mark(now), busy.mark(now)), (Some(Micros(9_000_000)), Some(Micros(9_000_000))));
    log.visible(LogIndex(2));
    assert_eq!(busy.mark(now), quiet.mark(now), "the newest event is ahead of the clock");
}

#[test]
fn batches_become_visible_in_order_whatever_the_order_of_the_calls() {
    let clocks = ClosedClocks::new(Micros::MIN);
    let log = clocks.open_log();
    for i in 1..=3 {
        log.assign(Micros(100 * i), 0, LogIndex(i as u64));
    }
    log.visible(LogIndex(2));
    assert_eq!((log.close(NOW), clocks.close()), (Micros(99), Micros::MIN));
    log.visible(LogIndex(1));
    assert_eq!((log.close(NOW), clocks.close()), (Micros(299), Micros(200)));
    log.visible(LogIndex(3));
    assert_eq!((clocks.close(), log.close(NOW)), (Micros(300), NOW));
}

#[test]
fn batches_of_one_group_become_visible_together_and_ring_once() {
    let clocks = ClosedClocks::new(Micros::MIN);
    let log = clocks.open_log();
    let rung = Arc::new(AtomicI64::new(0));
    let ring = Arc::clone(&rung);
    let ring = move || {
        ring.fetch_add(1, Ordering::SeqCst);
    };
    assert!(clocks.hang_bell(Box::new(ring)));
    for i in 1..=4 {
        log.assign(Micros(100 * i), 0, LogIndex(i as u64));
    }
    log.all_visible([2, 1].into_iter().map(LogIndex));
    assert_eq!((clocks.close(), rung.load(Ordering::SeqCst)), (Micros(200), 1));
    log.all_visible(std::iter::empty());
    assert_eq!(rung.load(Ordering::SeqCst), 1, "nothing became visible");
    log.all_visible([3, 4, 9].into_iter().map(LogIndex));
    assert_eq!((clocks.close(), rung.load(Ordering::SeqCst)), (Micros(400), 2));
}

#[test]
fn nothing_is_assigned_at_or_below_a_closed_moment() {
    let clocks = ClosedClocks::new(Micros(5));
    let (time, stop) = (Arc::new(AtomicI64::new(10)), Arc::new(AtomicBool::new(false)));
    let highest_closed = Arc::new(AtomicI64::new(i64::MIN));
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let (clocks, time, closed) = (Arc::clone(&clocks), Arc::clone(&time), Arc::clone(&highest_closed));
            std::thread::spawn(move || {
                for round in 0..40u64 {
                    let log = clocks.open_log();
                    for i in 1..200u64 {
                        let before = closed.load(Ordering::SeqCst);
                        let now = Micros(time.fetch_add(1, Ordering::SeqCst) - 20);
                        let base = log.assign(now, ((i * 7 + round + n) % 5) as u32, LogIndex(i));
                        assert!(base.0 > before, "{base:?} was closed at {before}");
                        if i % 3 != 0 {
                            log.visible(LogIndex(i));
                        } else {
                            log.visible(LogIndex(i.saturating_sub(1)));
                            log.visible(LogIndex(i));
                        }
                    }
                }
            })
        })
        .collect();
    let closer = {
        let (clocks, stop) = (Arc::clone(&clocks), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut last = Micros::MIN;
            while !stop.load(Ordering::Relaxed) {
                let closed = clocks.close();
                assert!(closed >= last);
                last = closed;
                highest_closed.fetch_max(closed.0, Ordering::SeqCst);
            }
        })
    };
    writers.into_iter().for_each(|w| w.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    closer.join().unwrap();
}

#[test]
fn a_leader_assigns_above_what_came_from_other_nodes_in_other_logs() {
    let clocks = ClosedClocks::new(Micros(0));
    let (calls, orders) = (clocks.open_log(), clocks.open_log());
    calls.set_leads(false);
    orders.set_leads(false);
    calls.observe(Micros(100));
    orders.set_leads(true);
    assert_eq!(orders.peek(Micros(50)), Micros(101), "its clock is behind the one that led the other log");
    assert_eq!(orders.assign(Micros(50), 0, LogIndex(1)), Micros(101));
    // of a log that is not here it was told
    clocks.heard_of(Micros(300));
    clocks.heard_of(Micros(200));
    assert_eq!(orders.assign(Micros(50), 0, LogIndex(2)), Micros(301));
    // a node alone reads its own log: that is no reason to wait for anything
    let alone = ClosedClocks::new(Micros(0));
    let (calls, orders) = (alone.open_log(), alone.open_log());
    calls.observe(Micros(100));
    assert_eq!(orders.assign(Micros(50), 0, LogIndex(1)), Micros(50));
}

#[test]
fn what_a_leader_closed_is_closed_where_others_follow_and_stays_so_when_they_lead() {
    let (there, here) = (ClosedClocks::new(Micros(0)), ClosedClocks::new(Micros(0)));
    let (leader, follower) = (there.open_log(), here.open_log());
    follower.set_leads(false);
    assert_eq!(here.close(), Micros(0), "what comes is not known here");
    leader.assign(Micros(100), 0, LogIndex(1));
    assert_eq!(leader.close(Micros(200)), Micros(99), "below what is in flight");
    leader.visible(LogIndex(1));
    let closed = leader.close(Micros(200));
    assert_eq!((closed, leader.peek(Micros(150))), (Micros(200), Micros(201)));
    follower.observe(Micros(100));
    follower.closed_elsewhere(closed);
    assert_eq!(
        (follower.close(NOW), here.close()),
        (Micros(200), Micros(100)),
        "no reader wants more than the newest event"
    );
    follower.set_leads(true);
    assert_eq!(follower.peek(Micros(150)), Micros(201), "a clock that is behind assigns above it");
}

#[test]
fn who_leads_with_a_clock_that_is_behind_assigns_above_everything_that_readers_elsewhere_have_passed() {
    // one node leads both logs with a clock that is ahead; the other has what the first log holds
    let (ahead, behind) = (ClosedClocks::new(Micros(0)), ClosedClocks::new(Micros(0)));
    let (calls, orders) = (ahead.open_log(), ahead.open_log());
    let (calls_there, orders_there) = (behind.open_log(), behind.open_log());
    calls_there.set_leads(false);
    orders_there.set_leads(false);
    let newest = calls.assign(Micros(5_000), 0, LogIndex(1));
    calls.visible(LogIndex(1));
    calls_there.observe(newest);
    // what a reader elsewhere is told of the quiet log, and what it takes of that
    let told = orders.close(Micros(9_000));
    assert_eq!((told, ahead.wanted(Micros(9_000))), (Micros(9_000), newest));
    assert_eq!(ahead.close(), newest, "a reader here");
    // the quiet log is led there from now on
    orders.set_leads(false);
    orders_there.set_leads(true);
    let late = orders_there.assign(Micros(2_000), 0, LogIndex(1));
    assert!(late > ahead.close());
    // nor does what the first log goes on with close the other one here
    calls.assign(Micros(8_000), 0, LogIndex(2));
    calls.visible(LogIndex(2));
    assert!(late > ahead.close(), "it is passed before it has come");
    orders.observe(late);
    assert_eq!(ahead.close(), late);
}

#[test]
fn what_readers_may_have_passed_is_the_newest_event_or_what_was_closed() {
    let clocks = ClosedClocks::new(Micros(50));
    assert_eq!(clocks.passed(), Micros(50));
    let log = clocks.open_log();
    log.assign(Micros(100), 0, LogIndex(1));
    assert_eq!(clocks.passed(), Micros(50), "nobody sees it yet");
    log.visible(LogIndex(1));
    assert_eq!(clocks.passed(), Micros(100), "it may be read as soon as it is visible");
    assert!(clocks.mark(Micros(10_000_000)).is_some());
    assert_eq!((clocks.passed(), clocks.newest()), (Micros(9_000_000), Micros(100)), "who begins there has no event");
}

#[test]
fn a_late_answer_of_a_leader_closes_nothing_above_what_was_there_when_it_was_asked() {
    // the first node leads both logs with a clock that is ahead, and the second follows both
    let (ahead, here) = (ClosedClocks::new(Micros(0)), ClosedClocks::new(Micros(0)));
    let (calls, orders) = (ahead.open_log(), ahead.open_log());
    let (calls_here, orders_here) = (here.open_log(), here.open_log());
    calls_here.set_leads(false);
    orders_here.set_leads(false);
    let wanted = here.wanted(Micros(0));
    let answer = ahead.close_for_others(&orders, Micros(9_000));
    // before it comes a third node leads orders, and has heard that nothing is committed; then the other log goes on
    let late = calls.assign(Micros(8_000), 0, LogIndex(1));
    calls_here.observe(late);
    orders_here.closed_elsewhere(answer.min(wanted));
    let first = Micros(1_000);
    assert!(here.close() < first, "which the third node may assign, whose clock is behind");
    orders_here.observe(first);
    assert_eq!(here.close(), first);
}

#[test]
fn what_was_in_flight_and_is_lost_closes_nothing_where_another_node_leads() {
    let clocks = ClosedClocks::new(Micros(0));
    let (log, other) = (clocks.open_log(), clocks.open_log());
    log.assign(Micros(100), 0, LogIndex(1));
    log.visible(LogIndex(1));
    log.assign(Micros(5_000), 0, LogIndex(2));
    assert_eq!(clocks.close(), Micros(100), "the other moment is one of this node's clock alone");
    log.set_leads(false);
    other.assign(Micros(200), 0, LogIndex(1));
    other.visible(LogIndex(1));
    assert_eq!(clocks.close(), Micros(100), "nor is it known yet what became of that");
    log.all_gone(std::iter::once(LogIndex(2)));
    assert_eq!((clocks.close(), clocks.newest()), (Micros(100), Micros(5_001)));
    // who leads now has a clock that is behind
    log.observe(Micros(101));
    assert_eq!((clocks.close(), log.peek(Micros(0))), (Micros(101), Micros(5_001)));
}

#[test]
fn a_leader_whose_clock_is_behind_the_events_of_other_logs_closes_its_own_up_to_them() {
    let clocks = ClosedClocks::new(Micros(0));
    let (calls, orders) = (clocks.open_log(), clocks.open_log());
    calls.set_leads(false);
    calls.observe(Micros(9_000));
    assert_eq!(orders.close(NOW), NOW, "who follows both elsewhere would wait until the clock here has come so far");
    assert_eq!(clocks.close_for_others(&orders, NOW), Micros(9_000));
    assert!(orders.assign(NOW, 0, LogIndex(1)) > Micros(9_000));
    orders.visible(LogIndex(1));
    // nor for what is in logs that are not here
    clocks.heard_of(Micros(12_000));
    assert_eq!(clocks.close_for_others(&orders, NOW), Micros(12_000));
    assert!(orders.assign(NOW, 0, LogIndex(2)) > Micros(12_000));
}

#[test]
fn after_a_start_nothing_is_closed_of_a_replica_above_what_has_come_of_it() {
    // the newest event of all files, which is another log's
    let clocks = ClosedClocks::new(Micros(1_000));
    let (calls, orders) = (clocks.open_replica(), clocks.open_replica());
    assert_eq!(clocks.close(), Micros::MIN, "what its leader has is not known here");
    calls.observe(Micros(1_000));
    orders.observe(Micros(500));
    assert_eq!(clocks.close(), Micros(500));
    // what was committed while this node was away
    orders.observe(Micros(800));
    assert_eq!(clocks.close(), Micros(800));
    orders.closed_elsewhere(Micros(2_000));
    assert_eq!((clocks.close(), clocks.newest()), (Micros(1_000), Micros(1_000)));
    orders.set_leads(true);
    assert_eq!(orders.peek(Micros(10)), Micros(2_001));
}

#[test]
fn a_log_that_takes_nothing_yet_is_closed_by_who_would_assign_first() {
    let clocks = ClosedClocks::new(Micros(0));
    let (calls, new) = (clocks.open_log(), clocks.open_replica());
    calls.assign(Micros(9_000), 0, LogIndex(1));
    calls.visible(LogIndex(1));
    assert_eq!(clocks.close(), Micros::MIN, "nobody leads it");
    assert_eq!(clocks.close_for_others(&new, NOW), Micros::MIN, "as of one in which another node may have assigned");
    let moment = clocks.close_new_for_others(&new, NOW);
    assert_eq!(moment, Micros(9_000));
    new.closed_elsewhere(moment.min(clocks.wanted(NOW)));
    assert_eq!(clocks.close(), Micros(9_000));
    new.set_leads(true);
    assert!(new.assign(NOW, 0, LogIndex(1)) > Micros(9_000));
}

/// A node with a clock that is off.
struct Node {
    clocks: Arc<ClosedClocks>,
    logs: Vec<Arc<LogClock>>,
    /// Entries of each log that it has.
    applied: Vec<usize>,
    off_us: i64,
    /// Up to here its readers have come.
    closed: Micros,
}

/// What the leader of a log has said to a node whose readers wanted it closed so far, and that has not come there yet.
struct Answer {
    node: usize,
    log: usize,
    through: usize,
    closed: Micros,
    wanted: Micros,
}

/// Two logs on three nodes: moments of what is committed, and who leads.
struct Cluster {
    nodes: Vec<Node>,
    logs: Vec<(Vec<Micros>, usize)>,
    answers: Vec<Answer>,
    time: i64,
}

impl Cluster {
    fn new(off_us: &[i64]) -> Self {
        let node = |(number, off_us): (usize, &i64)| {
            let clocks = ClosedClocks::new(Micros(0));
            let logs: Vec<_> = (0..2).map(|_| clocks.open_log()).collect();
            logs.iter().for_each(|log| log.set_leads(false));
            if number == 0 {
                logs.iter().for_each(|log| log.set_leads(true));
            }
            Node { clocks, logs, applied: vec![0; 2], off_us: *off_us, closed: Micros(0) }
        };
        let nodes = off_us.iter().enumerate().map(node).collect();
        Self { nodes, logs: vec![(Vec::new(), 0); 2], answers: Vec::new(), time: 10_000_000 }
    }

    fn now(&self, node: usize) -> Micros {
        Micros(self.time + self.nodes[node].off_us)
    }

    fn append(&mut self, log: usize) {
        let leader = self.logs[log].1;
        let (now, node) = (self.now(leader), &mut self.nodes[leader]);
        let index = LogIndex(self.logs[log].0.len() as u64 + 1);
        let moment = node.logs[log].assign(now, 0, index);
        assert!(moment > node.closed, "who leads assigns above what its own readers have passed");
        node.logs[log].visible(index);
        node.applied[log] += 1;
        self.logs[log].0.push(moment);
    }

    /// One entry more reaches a node; `false`: it has all.
    fn apply(&mut self, node: usize, log: usize) -> bool {
        let node = &mut self.nodes[node];
        let Some(moment) = self.logs[log].0.get(node.applied[log]) else { return false };
        assert!(*moment > node.closed, "readers have passed an event before it has come");
        node.logs[log].observe(*moment);
        node.applied[log] += 1;
        true
    }

    fn lead(&mut self, node: usize, log: usize) {
        let before = self.logs[log].1;
        if before == node {
            return;
        }
        // of the other log too: it asks for all that is committed before it assigns
        (0..2).for_each(|log| while self.apply(node, log) {});
        self.nodes[before].logs[log].set_leads(false);
        self.nodes[node].logs[log].set_leads(true);
        self.logs[log].1 = node;
    }

    fn ask(&mut self, node: usize, log: usize) {
        let leader = self.logs[log].1;
        if leader == node {
            return;
        }
        let wanted = self.nodes[node].clocks.wanted(self.now(node));
        let at = &self.nodes[leader];
        let closed = at.clocks.close_for_others(&at.logs[log], self.now(leader));
        self.answers.push(Answer { node, log, through: self.logs[log].0.len(), closed, wanted });
    }

    /// One of the answers arrives, whoever leads by now.
    fn hear(&mut self, which: usize) {
        if self.answers.is_empty() {
            return;
        }
        let Answer { node, log, through, closed, wanted } = self.answers.remove(which % self.answers.len());
        while self.nodes[node].applied[log] < through {
            assert!(self.apply(node, log));
        }
        self.nodes[node].logs[log].closed_elsewhere(closed.min(wanted));
    }

    fn read(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let closed = node.clocks.close();
        assert!(closed >= node.closed);
        node.closed = closed;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Clocks are off by up to 400 milliseconds; whoever begins to lead has all that is committed; answers of leaders come late.
    #[test]
    fn no_event_comes_below_what_readers_have_passed_whoever_leads_and_whatever_the_clocks_say(
        off_us in proptest::collection::vec(-200_000i64..200_000, 3),
        steps in proptest::collection::vec((0u8..10, 0usize..3, 0usize..2, 0i64..100_000), 1..120),
    ) {
        let mut cluster = Cluster::new(&off_us);
        for (step, node, log, passes_us) in steps {
            cluster.time += passes_us;
            match step {
                0 | 1 => cluster.append(log),
                2 => {
                    cluster.apply(node, log);
                }
                3 => cluster.lead(node, log),
                4 | 5 => cluster.ask(node, log),
                6 | 7 => cluster.hear(node),
                _ => cluster.read(node),
            }
        }
        // and nobody waits for ever: once all is known everywhere, all of it is closed
        for (node, log) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            while cluster.apply(node, log) {}
        }
        cluster.answers.clear();
        for node in 0..3 {
            for log in 0..2 {
                cluster.ask(node, log);
                cluster.hear(0);
            }
            cluster.read(node);
            let newest = cluster.logs.iter().filter_map(|(moments, _)| moments.last()).max();
            assert!(newest.is_none_or(|newest| cluster.nodes[node].closed >= *newest));
        }
    }
}
