//! What memory holds whole, it answers alone.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{load, local};
use strandline_deql::Tier;
use strandline_engine::read::{Order, StreamRead};
use strandline_event::{LogIndex, LogKey, Seq};
use strandline_testkit::local_store::LocalStore;

fn whole() -> StreamRead<'static> {
    StreamRead {
        stream_type: "T",
        stream_id: "s1",
        from_seq: None,
        to_seq: None,
        limit: usize::MAX,
        order: Some(Order::Asc),
    }
}

#[test]
fn memory_answers_alone_for_a_stream_that_it_holds_whole_also_when_it_was_compacted() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0..30, 3);
    store.compact(&key).unwrap();
    load(&mut store, "T", 30..39, 3);
    let read = |store: &LocalStore, read: StreamRead<'_>| {
        let page = store.store().read_stream(&read).unwrap();
        assert!(page.verdict.contiguous && page.head == Seq(13));
        let seqs: Vec<u64> = page.rows().map(|e| e.seq.0).collect();
        (seqs, page.tiers.iter().collect::<Vec<_>>(), page.stats.files)
    };
    assert_eq!(read(&store, whole()), ((1..=13).collect(), vec![Tier::Inmemory], 0));
    // the first batches leave: the rest is not all that is asked for, but all of what is asked for last
    let hot = store.store().hot().unwrap();
    hot.evict(store.time.now().plus_us(60_000_000 - 26));
    let kept = hot.range(&key);
    assert!(kept.after > LogIndex::ZERO && kept.after < kept.through, "{kept:?}");
    let (seqs, tiers, files) = read(&store, whole());
    assert!(seqs == (1..=13).collect::<Vec<_>>() && tiers.contains(&Tier::Durable) && files > 0, "{tiers:?}");
    let last = StreamRead { limit: 1, order: Some(Order::Desc), ..whole() };
    assert_eq!(read(&store, last), (vec![13], vec![Tier::Inmemory], 0));
    // a replica that went on elsewhere counts on nothing that it held before
    store.compact(&key).unwrap();
    store.store().has_jumped(&key, LogIndex(kept.through.0 + 1));
    assert_eq!(read(&store, last).1, [Tier::Durable]);
}
