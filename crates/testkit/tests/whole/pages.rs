//! What a page holds: bytes as well as rows bound it, and the order of a read that names none.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, compact_as, event, evict, load, local, request};
use std::sync::Arc;
use strandline_durable::HeadRecord;
use strandline_engine::append::Answer;
use strandline_engine::heads::tenant_hash;
use strandline_engine::read::{Filter, GlobalRead, Order, StreamPage, StreamRead};
use strandline_engine::tenants::TenantScope;
use strandline_event::hash::stream_hash;
use strandline_event::{BatchUnit, LogKey, Position, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

const MB: usize = 1 << 20;
const PAGE_BYTES: usize = 16 * MB;

/// JSON text of about `bytes` bytes that begins with a number.
fn large(number: usize, bytes: usize) -> String {
    format!("[{number}, \"{}\"]", "x".repeat(bytes))
}

fn number(data: &str) -> usize {
    data.trim_start_matches('[').split(',').next().unwrap().parse().unwrap()
}

/// Events of nearly a megabyte, four in an append.
fn load_large(store: &mut LocalStore, stream_type: &str, numbers: std::ops::Range<usize>) {
    for chunk in numbers.collect::<Vec<_>>().chunks(4) {
        let of = |n: &usize| Event { data: large(*n, MB - 100), ..event("s", *n) };
        let answer = store.append(&request(stream_type, BatchUnit::Rows, chunk.iter().map(of).collect()));
        assert!(matches!(answer, Answer::Done(_)));
        store.time.advance_us(13);
    }
}

fn bytes(page: &StreamPage) -> usize {
    page.rows().map(|e| e.data.len()).sum()
}

/// Reads a range of a stream page by page, as a client does: on where the page says.
fn walk(store: &LocalStore, order: Order, range: (Option<u64>, Option<u64>), limit: usize) -> Vec<u64> {
    let (mut from_seq, mut to_seq, mut seen) = (range.0.map(Seq), range.1.map(Seq), Vec::new());
    loop {
        let read = StreamRead { stream_type: "T", stream_id: "s", from_seq, to_seq, limit, order: Some(order) };
        let page = store.store().read_stream(&read).unwrap();
        assert!(page.verdict.contiguous && !page.is_empty(), "{page:?}");
        assert!(bytes(&page) <= PAGE_BYTES, "{} bytes", bytes(&page));
        seen.extend(page.rows().map(|e| e.seq.0));
        let Some(next) = page.next_seq else { return seen };
        assert!(
            page.full && (page.len() == limit || bytes(&page) > PAGE_BYTES / 2),
            "a page that goes on is well filled"
        );
        match order {
            Order::Asc => from_seq = Some(next),
            Order::Desc => to_seq = Some(next),
        }
    }
}

#[test]
fn a_page_of_a_stream_is_bounded_by_bytes_in_every_tier() {
    let mut store = local("inmemory.ttl_seconds = 3600");
    load_large(&mut store, "T", 0..20);
    store.compact(&LogKey::single("T")).unwrap();
    load_large(&mut store, "T", 20..40);
    evict(&store);
    load_large(&mut store, "T", 40..60);
    for (limit, (from, to)) in
        [(1000, (1, 60)), (20, (1, 60)), (1, (19, 22)), (15, (1, 15)), (15, (46, 60)), (60, (1, 60))]
    {
        let range = (Some(from).filter(|from| *from > 1), Some(to).filter(|to| *to < 60));
        assert_eq!(walk(&store, Order::Asc, range, limit), (from..=to).collect::<Vec<_>>());
        assert_eq!(walk(&store, Order::Desc, range, limit), (from..=to).rev().collect::<Vec<_>>());
    }
    let all = store.store().rows_of_append("T", "s", Seq(18), 4).unwrap();
    assert_eq!(all.len(), 4);
}

#[test]
fn a_page_of_the_global_order_is_bounded_by_bytes() {
    let mut store = local("inmemory.ttl_seconds = 3600");
    load_large(&mut store, "T", 0..20);
    store.compact(&LogKey::single("T")).unwrap();
    load_large(&mut store, "T", 20..40);
    let (mut after, mut seen) = (Position::START, Vec::new());
    loop {
        let read = GlobalRead { after, limit: 1000, filter: Filter::default() };
        let page = store.store().read_global(&read, store.time.now()).unwrap();
        assert!(page.rows().map(|e| e.data.len()).sum::<usize>() <= PAGE_BYTES);
        seen.extend(page.rows().map(|e| number(e.data)));
        after = page.next;
        if page.at_end {
            break;
        }
    }
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
}

#[test]
fn many_types_with_large_batches_still_fill_a_page() {
    let mut store = local("");
    for n in 0..18 {
        // batches of 4 MiB: together they are more than a page may load behind the first of each log
        let events = (0..400).map(|row| Event { data: large(row, 10_000), ..event("s", row) }).collect();
        store.append(&request(&format!("T{n:02}"), BatchUnit::Rows, events));
        store.time.advance_us(1000);
    }
    let read = GlobalRead { after: Position::START, limit: 1000, filter: Filter::default() };
    let page = store.store().read_global(&read, store.time.now()).unwrap();
    assert_eq!(page.len(), 1000);
}

/// Moments of events run ahead of the clock of who reads: behind a large batch, or where another node's clock assigned them.
#[test]
fn a_caller_that_is_limited_finds_its_own_events_behind_others_ahead_of_the_clock() {
    let mut store = local("");
    let now = store.time.now();
    for (stream, tenant) in [("others", "b"), ("own", "a")] {
        let of = Event { tenant_id: Some(tenant.to_owned()), ..event(stream, 7) };
        let answer = store.append(&request("T", BatchUnit::Rows, vec![of]));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }
    let scope = Arc::new(TenantScope::new(vec!["a".to_owned(), "c".to_owned()]));
    let read = GlobalRead { after: Position::START, limit: 1, filter: Filter::default() };
    let page = store.store().read_global_for(&scope, &read, now).unwrap();
    let rows: Vec<_> = page.rows().map(|e| (e.stream_id.to_owned(), e.ingested_at > now)).collect();
    assert_eq!(rows, [("own".to_owned(), true)]);
    // it is at its end, and goes on from there
    let read = GlobalRead { after: page.next, ..read };
    let end = store.store().read_global_for(&scope, &read, now).unwrap();
    assert!(end.is_empty() && end.next == page.next);
}

/// One call is bounded however much of others lies before what the caller sees, and tells nothing of it.
#[test]
fn a_caller_that_is_limited_looks_at_so_much_in_one_call_and_the_next_goes_on() {
    let mut store = local("");
    // a stream of another tenant, whose later events say one of the caller's: no filter tells them from its own
    for (stream, tenant, rounds, count) in [("others", "b", 1, 1), ("others", "a", 20, 1000), ("own", "a", 1, 1)] {
        for _ in 0..rounds {
            let of = |n| Event { tenant_id: Some(tenant.to_owned()), ..event(stream, n) };
            let answer = store.append(&request("T", BatchUnit::Rows, (0..count).map(of).collect()));
            assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            store.time.advance_us(2000);
        }
    }
    let scope = Arc::new(TenantScope::new(vec!["a".to_owned(), "c".to_owned()]));
    let read = GlobalRead { after: Position::START, limit: 10, filter: Filter::default() };
    let page = || store.store().read_global_for(&scope, &read, store.time.now()).unwrap();
    let first = page();
    assert!(first.is_empty() && first.looks_on, "{first:?}");
    assert_eq!(first.next, Position::START, "no place of another tenant's event");
    let second = page();
    let streams: Vec<_> = second.rows().map(|e| e.stream_id.to_owned()).collect();
    assert_eq!((streams, second.looks_on), (vec!["own".to_owned()], false));
    assert_eq!(second.next, second.rows().next().unwrap().position());
}

/// A head has the hash of a tenant, which is that of another name too: whose a stream is its events say.
#[test]
fn a_caller_that_is_limited_is_told_no_head_of_a_stream_whose_owner_only_looks_like_its_own() {
    let mut store = local("");
    for (stream, tenant) in [("others", "b"), ("own", "a")] {
        let of = |n| Event { tenant_id: Some(tenant.to_owned()), ..event(stream, n) };
        let answer = store.append(&request("T", BatchUnit::Append, (0..3).map(of).collect()));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }
    let scope = TenantScope::new(vec!["a".to_owned()]);
    let head = |store: &LocalStore, stream: &str| {
        let head = store.store().stream_head_for(&scope, "T", stream).unwrap();
        head.map_or(0, |head| head.last_seq.0)
    };
    let behind = |store: &LocalStore, stream: &str| {
        let (from_seq, to_seq) = (Some(Seq(4)), None);
        let read = StreamRead { stream_type: "T", stream_id: stream, from_seq, to_seq, limit: 6, order: None };
        let page = store.store().read_stream_for(&scope, &read).unwrap();
        assert!(page.is_empty());
        page.head.0
    };
    let pages = ["others", "own"].map(|stream| store.store().read_stream(&named_of(stream, None)).unwrap());
    let rows = pages.iter().flat_map(|page| page.rows()).collect();
    let heads = ["others", "own"].map(|stream| HeadRecord {
        stream: stream_hash(stream),
        last_seq: Seq(3),
        first_seq: Seq(1),
        owner_tenant: tenant_hash(Some("a")),
    });
    compact_as(&store, &LogKey::single("T"), rows, heads.to_vec());
    drop(pages);
    store.kill().unwrap();
    assert!(store.store().sees_stream(&scope, "T", "others").unwrap(), "by its owner alone");
    // what was told once is kept
    for _ in 0..2 {
        assert_eq!(["others", "own"].map(|stream| head(&store, stream)), [0, 3]);
        assert_eq!(["others", "own"].map(|stream| behind(&store, stream)), [0, 3]);
    }
}

/// JSON text of about `bytes` bytes of which a file keeps half, whatever packs it.
fn noise(number: usize, bytes: usize) -> String {
    let mut state = number as u64;
    let symbol = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 60) as u8)
    };
    format!("[\"{}\"]", (0..bytes).map(symbol).collect::<String>())
}

/// Rows of files are collected by windows, of fewer rows where those of a file are large.
#[test]
fn how_full_a_page_of_a_caller_that_is_limited_is_does_not_say_how_large_others_rows_are() {
    let mut store = local("");
    for (stream, tenant, bytes, rounds, count) in [("others", "b", MB - 100, 8, 4), ("own", "a", 10, 1, 200)] {
        for round in 0..rounds {
            let of = |n| Event { tenant_id: Some(tenant.to_owned()), data: noise(n, bytes), ..event(stream, 7) };
            let events = (round * count..(round + 1) * count).map(of).collect();
            let answer = store.append(&request("T", BatchUnit::Rows, events));
            assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            store.time.advance_us(2000);
        }
    }
    store.compact(&LogKey::single("T")).unwrap();
    let filter = Filter { tenant_id: Some("a".to_owned()), ..Filter::default() };
    let read = GlobalRead { after: Position::START, limit: 200, filter };
    assert!(store.store().read_global(&read, store.time.now()).unwrap().len() < 200, "a window ends before");
    for tenant_id in [None, Some("a".to_owned())] {
        for names in [vec!["a".to_owned()], vec!["a".to_owned(), "c".to_owned()]] {
            let filter = Filter { tenant_id: tenant_id.clone(), ..Filter::default() };
            let read = GlobalRead { after: Position::START, limit: 200, filter };
            let scope = Arc::new(TenantScope::new(names));
            let page = store.store().read_global_for(&scope, &read, store.time.now()).unwrap();
            assert_eq!(page.len(), 200, "{scope:?}, {tenant_id:?}");
        }
    }
}

fn named(order: Option<Order>) -> StreamRead<'static> {
    named_of("s", order)
}

fn named_of(stream_id: &str, order: Option<Order>) -> StreamRead<'_> {
    StreamRead { stream_type: "T", stream_id, from_seq: None, to_seq: None, limit: 6, order }
}

fn seqs(store: &LocalStore, order: Option<Order>) -> Vec<u64> {
    store.store().read_stream(&named(order)).unwrap().rows().map(|e| e.seq.0).collect()
}

#[test]
fn a_read_that_names_no_order_gives_its_page_by_the_default_order() {
    let fill = |setting: &str| {
        let mut store = local(setting);
        for (n, minute) in [5, 1, 4, 1, 3, 9, 0].into_iter().enumerate() {
            let mut e = event("s", n);
            e.occurred_at = Some(strandline_event::Micros(1_795_000_000_000_000 + minute * 60_000_000));
            e.event_type = if n % 2 == 0 { "B" } else { "A" }.to_owned();
            store.append(&request("T", BatchUnit::Append, vec![e]));
        }
        store
    };
    let cases: [(&str, [u64; 6]); 6] = [
        ("", [1, 2, 3, 4, 5, 6]),
        ("read.default_order = ('seq')", [1, 2, 3, 4, 5, 6]),
        ("read.default_order = ('stream_type', 'stream_id')", [1, 2, 3, 4, 5, 6]),
        ("read.default_order = ('ingested_at')", [1, 2, 3, 4, 5, 6]),
        // the page is chosen by seq: 7, which is the earliest, is on the next one
        ("read.default_order = ('occurred_at')", [2, 4, 5, 3, 1, 6]),
        ("read.default_order = ('stream_id', 'event_type', 'occurred_at')", [2, 4, 6, 5, 3, 1]),
    ];
    for (setting, expected) in cases {
        let mut store = fill(setting);
        for _ in 0..2 {
            assert_eq!(seqs(&store, None), expected, "{setting}");
            assert_eq!(seqs(&store, Some(Order::Asc)), [1, 2, 3, 4, 5, 6], "{setting}");
            assert_eq!(seqs(&store, Some(Order::Desc)), [7, 6, 5, 4, 3, 2], "{setting}");
            let page = store.store().read_stream(&named(None)).unwrap();
            assert!(page.full && page.verdict.contiguous);
            assert_eq!((page.verdict.from_seq, page.verdict.to_seq), (Seq(1), Seq(6)));
            store.compact(&LogKey::single("T")).unwrap();
        }
    }
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn rows_of_the_open_segment_hold_little_more_than_themselves() {
    if std::env::var_os("STRANDLINE_ALONE").is_none() {
        // memory is the process's: alone in one of its own
        let me = std::env::current_exe().unwrap();
        let name = "pages::rows_of_the_open_segment_hold_little_more_than_themselves";
        let run = std::process::Command::new(me).args([name, "--exact"]).env("STRANDLINE_ALONE", "1").output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        // one that does not find itself runs nothing, and well
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let settings = TIERS.replace("inmemory.enabled = true", "inmemory.enabled = false");
    let mut store = LocalStore::on_memory(declared("/durable", &settings)).unwrap();
    for n in 0..1000 {
        load(&mut store, "T", n..n + 1, 1);
    }
    let read = StreamRead { stream_id: "s0", limit: 1000, ..named(Some(Order::Asc)) };
    let head = StreamRead { limit: 1, ..read };
    store.store().read_stream(&head).unwrap();
    let before = resident_bytes();
    let page = store.store().read_stream(&read).unwrap();
    let held = resident_bytes().saturating_sub(before);
    assert_eq!(page.len(), 1000);
    assert!(held < 32 * MB, "{held} bytes for 1000 small rows");
}
