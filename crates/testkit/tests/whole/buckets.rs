//! Stream types of several buckets: a log each, one store to every reader.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, assert_all, event, evict, follow, request};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_engine::append::{Answer, AppendError, AppendOutcome};
use strandline_engine::compact::{NoSteps, Progress, Trigger, plan_merge, plan_merges, run_merge};
use strandline_engine::read::{Filter, StreamRead};
use strandline_engine::store::SplitError;
use strandline_engine::tenants::TenantScope;
use strandline_engine::verify::verify;
use strandline_event::{BatchUnit, Chunk, ErrorKind, IdPrefix, LogKey, Micros, Position};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

/// So many that the few streams of a test are not all in one.
const BUCKETS: u32 = 64;
const STREAMS: usize = 4;

fn numbered(n: usize) -> Event {
    Event { command_id: Some(format!("c{n}")), ..event(&format!("s{}", n % STREAMS), n) }
}

fn body(numbers: std::ops::Range<usize>) -> Append {
    request("T", BatchUnit::Rows, numbers.map(numbered).collect())
}

/// A body as the edge stores it: each owner its part.
fn append(store: &mut LocalStore, body: &Append) -> Vec<AppendOutcome> {
    let parts = store.store().by_owner(body.request().unwrap().batch).unwrap();
    let mut outcomes = Vec::new();
    for part in parts {
        match store.append_batch(part.batch) {
            Answer::Done(outcome) => outcomes.push(*outcome),
            other => panic!("{other:?}"),
        }
    }
    store.time.advance_us(13);
    outcomes
}

fn load(store: &mut LocalStore, numbers: std::ops::Range<usize>) {
    for first in numbers.step_by(10) {
        append(store, &body(first..first + 10));
    }
}

fn logs(store: &LocalStore) -> BTreeSet<LogKey> {
    store.store().logs().iter().map(|log| log.key.clone()).collect()
}

fn check(store: &LocalStore, count: usize) {
    assert_all(store.store(), store.time.now(), count);
}

#[test]
fn every_stream_lies_in_the_log_of_its_bucket_and_every_read_sees_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("{TIERS}, id.command_id.unique_scope = 'stream'");
    let config = declared(&folder.path().to_string_lossy(), &settings);
    let mut store = LocalStore::new(config.clone()).unwrap();
    store.store().split("T", BUCKETS, store.time.now()).unwrap();
    load(&mut store, 0..100);
    let keys = logs(&store);
    let owners: BTreeSet<LogKey> = (0..STREAMS).map(|s| store.store().owner_of("T", &format!("s{s}"))).collect();
    assert!(keys.len() > 1, "{keys:?}");
    assert_eq!(keys, owners);
    assert_eq!(store.store().stream_types(), vec![Arc::<str>::from("T")]);
    check(&store, 100);
    let moved: u64 = keys.iter().map(|key| store.compact(key).unwrap()).sum();
    assert_eq!(moved, 100);
    let snapshot = store.store().durable().pin();
    let in_files: BTreeSet<u32> = snapshot.files().iter().map(|file| file.bucket).collect();
    assert_eq!(in_files, keys.iter().map(|key| key.bucket).collect());
    drop(snapshot);
    evict(&store);
    check(&store, 100);
    // what stands in files is known to its owner, by its command
    for outcome in append(&mut store, &body(0..20)) {
        assert!(outcome.duplicate && outcome.stamped.is_none(), "{outcome:?}");
    }
    load(&mut store, 100..140);
    check(&store, 140);
    store.restart().unwrap();
    assert_eq!((store.store().buckets_of("T"), logs(&store)), (BUCKETS, keys.clone()));
    check(&store, 140);
    store.kill().unwrap();
    check(&store, 140);
    for key in &keys {
        store.compact(key).unwrap();
    }
    load(&mut store, 140..160);
    check(&store, 160);
    store.stop();
    let found = verify(&config, &(store.disk().clone() as Arc<dyn strandline_wal::Disk>)).unwrap();
    assert_eq!(found.findings.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!((found.events, found.streams, found.logs), (160, STREAMS as u64, keys.len() as u64));
}

#[test]
fn a_store_without_a_log_has_buckets_too() {
    let mut store = LocalStore::on_memory(declared("/durable", "")).unwrap();
    store.store().split("T", BUCKETS, store.time.now()).unwrap();
    load(&mut store, 0..40);
    assert!(logs(&store).len() > 1);
    check(&store, 40);
    store.restart().unwrap();
    load(&mut store, 40..60);
    check(&store, 60);
}

#[test]
fn an_event_id_that_two_owners_have_fails_no_read_of_both() {
    for in_one_moment in [false, true] {
        let settings = format!("{TIERS}, read.dedupe.key = 'event_id'");
        let mut store = LocalStore::on_memory(declared("/durable", &settings)).unwrap();
        store.store().split("T", BUCKETS, store.time.now()).unwrap();
        let streams = of_other_owners(&store, 2);
        let event_id = Some(IdPrefix::v7(Micros(5_000_000), 5).id(0));
        let mut moments = BTreeSet::new();
        for n in &streams {
            let twice = Event { event_id, ..event(&format!("s{n}"), *n) };
            let batch = request("T", BatchUnit::Rows, vec![twice]).request().unwrap().batch;
            match store.append_batch(batch) {
                Answer::Done(outcome) => moments.insert(outcome.stamped.unwrap().stamps().last_ingested_at()),
                other => panic!("{other:?}"),
            };
            if !in_one_moment {
                store.time.advance_us(13);
            }
        }
        store.time.advance_us(13);
        assert_eq!(moments.len(), if in_one_moment { 1 } else { 2 });
        let all = |store: &LocalStore| follow(store, Position::START, 10).0.into_iter().collect::<BTreeSet<_>>();
        let expected: BTreeSet<usize> = streams.into_iter().collect();
        assert_eq!(all(&store), expected);
        for key in logs(&store) {
            assert_eq!(store.compact(&key).unwrap(), 1);
        }
        evict(&store);
        assert_eq!(all(&store), expected);
    }
}

/// Numbers of so many streams, each of another owner.
fn of_other_owners(store: &LocalStore, count: usize) -> Vec<usize> {
    let mut owners = BTreeSet::new();
    let is_new = |n: &usize| owners.insert(store.store().owner_of("T", &format!("s{n}")));
    (0..1000).filter(is_new).take(count).collect()
}

/// What the only event of a stream says to a reader.
fn said(store: &LocalStore, n: usize) -> String {
    let (from_seq, to_seq, order) = (None, None, None);
    let stream_id = format!("s{n}");
    let read = StreamRead { stream_type: "T", stream_id: &stream_id, from_seq, to_seq, limit: 10, order };
    let page = store.store().read_stream(&read).unwrap();
    page.rows().next().unwrap().data.to_owned()
}

/// Rows of data files that still say something.
fn held(store: &LocalStore) -> usize {
    let scan = store.store().durable().pin().scan(&Filter::default());
    scan.map(|batch| batch.unwrap().iter().filter(|event| !event.says_nothing()).count()).sum()
}

#[test]
fn what_is_redacted_are_the_events_that_had_the_id_then_and_no_file_keeps_one_of_them() {
    let settings = format!("{TIERS}, strict.immutable_events = false");
    let mut store = LocalStore::on_memory(declared("/durable", &settings)).unwrap();
    store.store().split("T", BUCKETS, store.time.now()).unwrap();
    let streams = of_other_owners(&store, 3);
    let id = IdPrefix::v7(Micros(5_000_000), 5).id(0);
    let put = |store: &mut LocalStore, n: usize| {
        let with_id = Event { event_id: Some(id), ..event(&format!("s{n}"), n) };
        append(store, &request("T", BatchUnit::Rows, vec![with_id]));
    };
    put(&mut store, streams[0]);
    put(&mut store, streams[1]);
    for key in logs(&store) {
        assert_eq!(store.compact(&key).unwrap(), 1);
    }
    assert_eq!(store.redact(id).unwrap().events.len(), 2);
    let now = store.time.now();
    let plans = plan_merges(store.store(), None, Trigger::Redaction, now).unwrap();
    assert_eq!((plans.len(), held(&store)), (2, 2));
    // each is planned anew when its turn comes
    for (n, due) in plans.iter().enumerate() {
        let plan = plan_merge(store.store(), &due.partition, Trigger::Redaction, now).unwrap().unwrap();
        run_merge(store.store(), &plan, n as u128 + 1, now, &Progress::default(), &NoSteps).unwrap();
        assert_eq!(held(&store), 1 - n);
    }
    // what comes later, to an owner that never heard of the id, says what it says
    put(&mut store, streams[2]);
    let key = store.store().owner_of("T", &format!("s{}", streams[2]));
    for step in 0..2 {
        assert_eq!(said(&store, streams[2]), streams[2].to_string(), "{step}");
        assert!(said(&store, streams[0]).contains("redacted"));
        if step == 0 {
            assert_eq!(store.compact(&key).unwrap(), 1);
            evict(&store);
        }
    }
    let again = store.redact(id).unwrap();
    assert!(!again.already && again.events.len() == 3);
    assert!(said(&store, streams[2]).contains("redacted"));
}

#[test]
fn an_id_that_two_tenants_have_is_found_for_each_of_them() {
    let mut store = LocalStore::on_memory(declared("/durable", TIERS)).unwrap();
    store.store().split("T", BUCKETS, store.time.now()).unwrap();
    let streams = of_other_owners(&store, 2);
    let id = IdPrefix::v7(Micros(5_000_000), 5).id(0);
    let tenants = ["acme", "zeta"];
    for (tenant, n) in tenants.iter().zip(&streams) {
        let tenant_id = Some((*tenant).to_owned());
        let its_own = Event { event_id: Some(id), tenant_id, ..event(&format!("s{n}"), *n) };
        append(&mut store, &request("T", BatchUnit::Rows, vec![its_own]));
    }
    for is_in_files in [false, true] {
        if is_in_files {
            for key in logs(&store) {
                assert_eq!(store.compact(&key).unwrap(), 1);
            }
            evict(&store);
        }
        let look_up = |tenant: &str| {
            let scope = Arc::new(TenantScope::new(vec![tenant.to_owned()]));
            store.store().look_up_event_for(&scope, id).unwrap().0
        };
        for (tenant, n) in tenants.iter().zip(&streams) {
            let found = look_up(tenant).unwrap();
            assert!(found.event().data == n.to_string() && found.warnings.is_empty(), "{found:?}");
        }
        assert!(look_up("other").is_none());
    }
}

#[test]
fn a_row_of_another_tenant_is_told_by_who_does_not_lead_its_log() {
    let mut store = LocalStore::on_memory(declared("/durable", TIERS)).unwrap();
    let (acme, zeta) = (Some("acme"), Some("zeta"));
    let of = |stream: &str, tenant: Option<&str>| Event { tenant_id: tenant.map(str::to_owned), ..event(stream, 1) };
    for (stream, tenant) in [("a", acme), ("z", zeta), ("none", None), ("both", acme), ("both", zeta)] {
        append(&mut store, &request("T", BatchUnit::Rows, vec![of(stream, tenant)]));
    }
    let no_tenant = || Some(AppendError::OtherTenant);
    let no_owner = |stream: &str| Some(AppendError::OtherOwner { stream_id: stream.to_owned() });
    for is_in_files in [false, true] {
        if is_in_files {
            store.compact(&LogKey::single("T")).unwrap();
            evict(&store);
        }
        // what is refused stands last
        let told = |tenants: &[&str], rows: &[(&str, Option<&str>)]| {
            let scope = TenantScope::new(tenants.iter().map(|tenant| (*tenant).to_owned()).collect());
            let rows: Vec<Event> = rows.iter().map(|(stream, tenant)| of(stream, *tenant)).collect();
            let last = rows.len() as u32 - 1;
            let batch = request("T", BatchUnit::Rows, rows).request().unwrap().batch;
            let refusal = store.store().row_of_others(&scope, batch.view()).unwrap()?;
            assert_eq!(refusal.row, Some(last));
            Some(refusal.error)
        };
        assert_eq!(told(&["acme"], &[("a", acme), ("new", acme), ("a", acme)]), None);
        for stream in ["z", "none", "both"] {
            assert_eq!(told(&["acme"], &[("a", acme), (stream, acme)]), no_owner(stream));
        }
        for tenant in [None, zeta] {
            assert_eq!(told(&["acme"], &[("a", acme), ("new", tenant)]), no_tenant());
        }
        // of two tenants, each of its own streams
        assert_eq!(told(&["acme", "zeta"], &[("a", acme), ("z", zeta), ("z", acme)]), no_owner("z"));
        assert_eq!(told(&["acme", "zeta"], &[("new", acme), ("new", zeta)]), no_owner("new"));
    }
}

#[test]
fn a_type_is_split_before_its_first_event_or_never() {
    let mut store = LocalStore::on_memory(declared("/durable", TIERS)).unwrap();
    append(&mut store, &body(0..4));
    assert_eq!(logs(&store).into_iter().collect::<Vec<_>>(), [LogKey::single("T")]);
    let (engine, now) = (Arc::clone(store.store()), store.time.now());
    let refused = |stream_type: &str, buckets: u32| {
        let error = engine.split(stream_type, buckets, now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StrictViolation);
        match error {
            SplitError::Other { buckets, .. } => buckets,
            SplitError::Commit(error) => panic!("{error}"),
        }
    };
    assert_eq!(refused("T", 4), 1);
    engine.split("T", 1, now).unwrap();
    let version = engine.durable().pin().version();
    engine.split("U", 4, now).unwrap();
    engine.split("U", 4, now).unwrap();
    assert_eq!(engine.durable().pin().version(), version + 1, "it is said once");
    assert_eq!((refused("U", 5), refused("U", 1)), (4, 4));
    engine.split("V", 256, now).unwrap();
    drop(engine);
    store.kill().unwrap();
    let known = ["T", "U", "V", "W"].map(|name| store.store().buckets_of(name));
    assert_eq!(known, [1, 4, 256, 1]);
}

#[test]
fn a_body_is_cut_so_that_each_part_has_one_owner() {
    let store = LocalStore::on_memory(declared("/durable", TIERS)).unwrap();
    store.store().split("T", BUCKETS, store.time.now()).unwrap();
    let chunk = Chunk { digest: [7; 16], number: 3 };
    let whole = Append { chunk: Some(chunk), ..body(0..20) }.request().unwrap().batch;
    assert_eq!(store.store().owner_of_batch(whole.view()), None);
    let parts = store.store().by_owner(whole.clone()).unwrap();
    let mut rows = Vec::new();
    let mut owners = BTreeSet::new();
    for part in &parts {
        let view = part.batch.view();
        let owner = store.store().owner_of_batch(view).unwrap();
        assert_eq!((owner.bucket, view.chunk()), (store.store().bucket_of("T", view.stream(0)), Some(chunk)));
        assert_eq!(part.log, owner);
        assert!(owners.insert(owner), "one part each");
        for row in 0..view.rows() {
            let of = part.row(row as u32);
            assert_eq!(view.data(row), whole.view().data(of as usize));
            rows.push(of);
        }
        assert!(rows.ends_with(&(0..view.rows() as u32).map(|row| part.row(row)).collect::<Vec<_>>()));
    }
    rows.sort_unstable();
    assert_eq!(rows, (0..20).collect::<Vec<_>>());
    // a type of one bucket stays as it came
    let other = request("U", BatchUnit::Rows, (0..20).map(numbered).collect()).request().unwrap().batch;
    let parts = store.store().by_owner(other.clone()).unwrap();
    assert!(parts.len() == 1 && parts[0].batch.bytes()[..] == other.bytes()[..] && parts[0].row(9) == 9);
    assert_eq!(store.store().owner_of_batch(other.view()), Some(LogKey::single("U")));
    assert_eq!(parts[0].log, LogKey::single("U"));
}
