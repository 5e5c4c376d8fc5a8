use super::*;
use std::sync::atomic::AtomicBool;
use strandline_event::hash::stream_hash;
use strandline_event::{BatchBuilder, BatchUnit, EventInput, IdPrefix, Seq, StampsBuilder};

/// A batch of (stream, seq) rows, ingested at `at`.
fn batch(rows: &[(&str, u64)], at: i64) -> StampedBatch {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    let mut stamps = StampsBuilder::new(Micros(at), IdPrefix::v7(Micros(at), at as u64), rows.len());
    for (stream, seq) in rows {
        builder.push(&EventInput { stream_id: stream, event_type: "E", ..EventInput::default() }).unwrap();
        stamps.push(Seq(*seq), Micros(at));
    }
    StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap()
}

fn tier(max_bytes: u64, has_log: bool) -> HotTier {
    HotTier::new(HotOptions { max_bytes, ttl_us: Some(1_000), has_log })
}

fn key() -> LogKey {
    LogKey::single("T")
}

fn seqs(tier: &HotTier, stream: &str, wanted: &SeqRange) -> Vec<u64> {
    tier.stream(&key(), stream_hash(stream), wanted).rows.iter().map(|r| r.seq().0).collect()
}

#[test]
fn rows_of_a_stream_come_in_order_within_bounds() {
    let hot = tier(1 << 20, true);
    hot.open_log(&key(), LogIndex(4));
    hot.insert(&key(), LogIndex(5), batch(&[("a", 1), ("b", 1), ("a", 2), ("a", 3)], 10), Micros(0));
    hot.insert(&key(), LogIndex(8), batch(&[("a", 4), ("b", 2)], 20), Micros(0));
    hot.insert(&key(), LogIndex(8), batch(&[("a", 9)], 20), Micros(0));
    assert_eq!(hot.range(&key()), HotRange { after: LogIndex(4), through: LogIndex(8) });
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), [1, 2, 3, 4]);
    let down = SeqRange { from: Seq(2), to: Seq(4), limit: 2, descending: true };
    assert_eq!(seqs(&hot, "a", &down), [4, 3]);
    assert_eq!(seqs(&hot, "a", &SeqRange { to: Seq(2), ..SeqRange::ALL }), [1, 2]);
    assert_eq!(seqs(&hot, "none", &SeqRange::ALL), [0; 0]);
    assert_eq!(hot.batches(&key(), LogIndex(5), Micros::MIN, 9).batches.len(), 1);
    assert_eq!(hot.batches(&key(), LogIndex(0), Micros(10), 9).batches.len(), 1);
    assert_eq!(hot.batches(&key(), LogIndex(0), Micros(9), 1).batches[0].index, LogIndex(5));
    assert!(hot.batch(&key(), LogIndex(8)).is_some() && hot.batch(&key(), LogIndex(6)).is_none());
    assert_eq!(hot.stats().events, 6);
}

#[test]
fn rows_that_stand_together_are_all_there_whatever_streams_their_batch_has() {
    let hot = tier(1 << 20, true);
    let one: Vec<(&str, u64)> = (1..=100).map(|seq| ("a", seq)).collect();
    hot.insert(&key(), LogIndex(1), batch(&one, 10), Micros(0));
    let several = [("b", 1), ("a", 101), ("a", 102), ("b", 2), ("b", 3), ("b", 4), ("a", 103)];
    hot.insert(&key(), LogIndex(2), batch(&several, 20), Micros(0));
    hot.insert(&key(), LogIndex(3), batch(&[("b", 5), ("b", 6)], 30), Micros(0));
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), (1..=103).collect::<Vec<u64>>());
    assert_eq!(seqs(&hot, "b", &SeqRange::ALL), [1, 2, 3, 4, 5, 6]);
    assert_eq!(seqs(&hot, "a", &SeqRange { from: Seq(99), limit: 4, ..SeqRange::ALL }), [99, 100, 101, 102]);
}

#[test]
fn what_went_past_is_no_gap_that_is_counted_on() {
    let hot = tier(1 << 20, true);
    hot.insert(&key(), LogIndex(1), batch(&[("a", 1)], 10), Micros(0));
    hot.pass_over(&key(), LogIndex(1));
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), [1], "it is here");
    // entries 2 to 7 never came here: with the first one still there, 1 to 8 would count as whole
    hot.pass_over(&key(), LogIndex(7));
    hot.insert(&key(), LogIndex(6), batch(&[("a", 3)], 15), Micros(0));
    hot.insert(&key(), LogIndex(8), batch(&[("a", 4)], 20), Micros(0));
    assert_eq!(hot.range(&key()), HotRange { after: LogIndex(7), through: LogIndex(8) });
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), [4]);
    assert_eq!(hot.stats().events, 1);
}

#[test]
fn time_to_live_lets_the_oldest_go_across_logs() {
    let (hot, other) = (tier(1 << 20, true), LogKey::single("U"));
    hot.insert(&key(), LogIndex(1), batch(&[("a", 1)], 10), Micros(0));
    hot.insert(&other, LogIndex(1), batch(&[("a", 1)], 10), Micros(100));
    hot.insert(&key(), LogIndex(2), batch(&[("a", 2)], 20), Micros(200));
    assert_eq!(hot.evict(Micros(999)), 0);
    assert_eq!(hot.evict(Micros(1_100)), 2);
    assert_eq!(hot.range(&key()), HotRange { after: LogIndex(1), through: LogIndex(2) });
    assert_eq!(hot.range(&other), HotRange { after: LogIndex(1), through: LogIndex(1) });
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), [2]);
    assert_eq!(hot.evict(Micros(9_999)), 1);
    assert_eq!((hot.stats().bytes, hot.stats().events), (0, 0));
}

#[test]
fn the_bound_holds_with_the_index_counted() {
    let hot = tier(20_000, true);
    for i in 1..500 {
        let name = format!("stream-{i}");
        hot.insert(&key(), LogIndex(i), batch(&[(&name, 1), ("shared", i)], i as i64), Micros(0));
        assert!(hot.stats().bytes <= 20_000);
    }
    let range = hot.range(&key());
    assert!(range.through == LogIndex(499) && range.after > LogIndex(300));
    assert_eq!(seqs(&hot, "shared", &SeqRange::ALL), (range.after.0 + 1..=499).collect::<Vec<_>>());
    hot.insert(&key(), LogIndex(500), batch(&vec![("big", 1); 10_000], 900), Micros(0));
    assert_eq!(hot.range(&key()), HotRange { after: LogIndex(500), through: LogIndex(500) });
    assert_eq!(hot.stats().bytes, 0);
}

#[test]
fn entries_that_come_together_are_held_as_if_they_came_one_by_one() {
    let (apart, together) = (tier(60_000, true), tier(60_000, true));
    let entry = |i: u64| {
        let name = format!("stream-{}", i % 7);
        (LogIndex(i), batch(&[(&name, i), ("shared", i)], i as i64))
    };
    for (index, batch) in (1..500).map(entry) {
        apart.insert(&key(), index, batch, Micros(0));
    }
    together.insert_all(&key(), (1..500).map(entry), Micros(0));
    let range = together.range(&key());
    assert_eq!((range, range.through), (apart.range(&key()), LogIndex(499)));
    assert_eq!((together.stats().bytes, together.stats().events), (apart.stats().bytes, apart.stats().events));
    for stream in ["shared", "stream-3"] {
        assert_eq!(seqs(&together, stream, &SeqRange::ALL), seqs(&apart, stream, &SeqRange::ALL));
    }
}

#[test]
fn without_a_log_nothing_leaves_that_is_not_durable() {
    let hot = tier(2_000, false);
    for i in 1..50 {
        hot.insert(&key(), LogIndex(i), batch(&[("a", i)], i as i64), Micros(0));
    }
    hot.evict(Micros(1_000_000));
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL).len(), 49);
    hot.set_evictable_through(&key(), LogIndex(45));
    hot.evict(Micros(1_000_000));
    assert_eq!(seqs(&hot, "a", &SeqRange::ALL), [46, 47, 48, 49]);
}

#[test]
fn readers_beside_the_writer_lose_nothing_and_see_nothing_twice() {
    let hot = Arc::new(tier(6_000, true));
    hot.open_log(&key(), LogIndex::ZERO);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let (hot, stop) = (Arc::clone(&hot), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) || reads == 0 {
                    let limit = if n == 0 { usize::MAX } else { 3 };
                    // entry i holds seq i of stream "a": what the range promises can be computed
                    let got = hot.stream(&key(), stream_hash("a"), &SeqRange { limit, ..SeqRange::ALL });
                    let want = (got.range.after.0 + 1..=got.range.through.0).take(limit);
                    assert!(got.rows.iter().map(|r| r.seq().0).eq(want), "{:?}", got.range);
                    let got = hot.batches(&key(), LogIndex::ZERO, Micros::MIN, limit);
                    let want = (got.range.after.0 + 1..=got.range.through.0).take(limit);
                    assert!(got.batches.iter().map(|b| b.index.0).eq(want), "{:?}", got.range);
                    reads += 1;
                }
            })
        })
        .collect();
    for i in 1..20_000 {
        hot.insert(&key(), LogIndex(i), batch(&[("a", i), ("b", i)], i as i64), Micros(0));
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|r| r.join().unwrap());
}

#[test]
fn other_bounds_hold_from_now_on() {
    let hot = tier(1 << 20, true);
    for n in 1..=8 {
        hot.insert(&key(), LogIndex(n), batch(&[("a", n)], 10), Micros(0));
    }
    let bytes = hot.stats().bytes;
    hot.set_options(HotOptions { max_bytes: bytes / 2, ttl_us: Some(5_000), has_log: true });
    let stats = hot.stats();
    assert!(stats.bytes <= bytes / 2 && stats.events > 0, "{stats:?}");
    assert_eq!((stats.max_bytes, hot.range(&key()).through), (bytes / 2, LogIndex(8)));
    assert_eq!(hot.evict(Micros(1_100)), 0, "they live longer now");
    hot.set_options(HotOptions { max_bytes: 1 << 20, ttl_us: None, has_log: true });
    assert_eq!(hot.evict(Micros(i64::MAX)), 0, "for ever");
    hot.set_options(HotOptions { max_bytes: 1 << 20, ttl_us: Some(0), has_log: true });
    assert_eq!(hot.evict(Micros(0)) as u64, stats.events);
}

#[test]
fn room_is_made_ahead_so_that_no_insert_has_to() {
    let hot = tier(64 << 10, true);
    let mut index = 0;
    let mut put = |hot: &HotTier| {
        index += 1;
        hot.insert(&key(), LogIndex(index), batch(&[("a", index), ("b", index)], 10), Micros(0));
    };
    while !hot.is_nearly_full() {
        put(&hot);
    }
    let (full, newest) = (hot.stats(), hot.range(&key()).through);
    assert!(full.bytes > (64 << 10) * 7 / 8 && full.bytes <= 64 << 10 && full.batches > 3 * STEP_BATCHES as u64);
    assert!(hot.make_room_ahead() > STEP_BATCHES, "in more than one step");
    let after = hot.stats();
    assert!(after.bytes <= (64 << 10) * 3 / 4 && !hot.is_nearly_full());
    assert_eq!(hot.range(&key()).through, newest, "the oldest go");
    put(&hot);
    assert_eq!(hot.stats().batches, after.batches + 1, "nothing had to leave for it");
    assert_eq!(hot.make_room_ahead(), 1);
    assert_eq!(hot.make_room_ahead(), 0, "there is room");
}

#[test]
fn what_is_in_no_lower_tier_stays_however_full_it_is() {
    let hot = tier(8 << 10, false);
    for index in 1..=60 {
        hot.insert(&key(), LogIndex(index), batch(&[("a", index), ("b", index)], 10), Micros(0));
    }
    assert!(hot.is_nearly_full());
    assert_eq!((hot.make_room_ahead(), hot.stats().batches), (0, 60));
    hot.set_evictable_through(&key(), LogIndex(5));
    assert_eq!(hot.range(&key()).after, LogIndex(5));
}
