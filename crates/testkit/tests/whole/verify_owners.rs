//! `verify` finds what no owner of a log can find by itself: rows of another bucket, and one command id in two stream types.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, compact_as, event, request};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{ClusterMark, Purpose, Settings, mark_for_cluster, open_location};
use strandline_engine::append::Answer;
use strandline_engine::read::{Order, StreamPage, StreamRead};
use strandline_engine::verify::verify;
use strandline_event::{BatchUnit, EventRef, LogKey};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

fn findings(store: &LocalStore, config: &StoreConfig) -> Vec<String> {
    let disk: Arc<dyn strandline_wal::Disk> = store.disk().clone();
    verify(config, &disk).unwrap().findings.iter().map(ToString::to_string).collect()
}

fn append(store: &mut LocalStore, stream_type: &str, events: Vec<Event>) {
    let answer = store.append(&request(stream_type, BatchUnit::Append, events));
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    store.time.advance_us(13);
}

fn read(store: &LocalStore, stream_type: &str, stream_id: &str) -> StreamPage {
    let order = Some(Order::Asc);
    let read = StreamRead { stream_type, stream_id, from_seq: None, to_seq: None, limit: 1000, order };
    store.store().read_stream(&read).unwrap()
}

#[test]
fn rows_in_a_file_of_another_bucket_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let config = declared(&dir.path().to_string_lossy(), TIERS);
    let mut store = LocalStore::new(config.clone()).unwrap();
    store.store().split("T", 2, store.time.now()).unwrap();
    let [first, second] = [0, 1].map(|bucket| {
        let mut streams = (0..).map(|n| format!("s{n}"));
        streams.find(|stream| store.store().bucket_of("T", stream) == bucket).unwrap()
    });
    for stream in [&first, &second] {
        append(&mut store, "T", (0..3).map(|n| event(stream, n)).collect());
    }
    assert_eq!(findings(&store, &config), Vec::<String>::new());
    let page = read(&store, "T", &second);
    compact_as(&store, &LogKey { bucket: 0, ..LogKey::single("T") }, page.rows().collect(), vec![]);
    let found = findings(&store, &config);
    let wanted = format!("its stream `{second}` belongs to bucket 1, the file to bucket 0");
    assert_eq!(found.iter().filter(|finding| finding.ends_with(&wanted)).count(), 3, "{found:?}");
}

#[test]
fn one_command_in_two_stream_types_is_found_where_it_is_unique_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let settings = format!("{TIERS}, id.command_id.unique_scope = 'store'");
    let config = declared(&dir.path().to_string_lossy(), &settings);
    let mut store = LocalStore::new(config.clone()).unwrap();
    let command = |stream: &str, id: &str, n| Event { command_id: Some(id.to_owned()), ..event(stream, n) };
    append(&mut store, "T", vec![command("t", "a", 1), command("t", "a", 2)]);
    append(&mut store, "U", vec![command("u", "b", 3)]);
    // the events of one append have one command
    assert_eq!(findings(&store, &config), Vec::<String>::new());
    let page = read(&store, "U", "u");
    let rows = page.rows().map(|row| EventRef { command_id: Some("a"), ..row }).collect();
    compact_as(&store, &LogKey::single("U"), rows, vec![]);
    let found = findings(&store, &config);
    let is_told = |finding: &String| {
        finding.starts_with("command_id a: more than one stream has it")
            && finding.contains("(seq 1 of stream `t` of `T`)")
            && finding.contains("(seq 1 of stream `u` of `U`)")
    };
    assert_eq!(found.iter().filter(|finding| is_told(finding)).count(), 1, "{found:?}");
    // of a replica's log nobody knows here whether its group has kept the end
    let objects = open_location(&config.durable.path, Purpose::Own { scratch: None }, &Settings::from_env()).unwrap();
    mark_for_cluster(&*objects, &ClusterMark { cluster: 7, store: config.name.clone() }).unwrap();
    let found = findings(&store, &config);
    assert!(!found.iter().any(is_told), "{found:?}");
}
