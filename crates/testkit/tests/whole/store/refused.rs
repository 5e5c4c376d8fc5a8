//! Starts of a whole store that are refused: over a log that is lost, and by a declaration that does not fit what is on disk.

use super::{TIERS, assert_all, load, local};
use strandline_engine::store::OpenError;
use strandline_event::{ErrorKind, LogKey};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

#[test]
fn a_lost_log_is_refused_unless_all_of_it_is_durable_or_it_is_given_up() {
    let key = LogKey::single("T");
    let wipe = |store: &LocalStore| {
        let disk: &dyn strandline_wal::Disk = &**store.disk();
        let dir = std::path::Path::new("/wal/T");
        for name in disk.list(dir).unwrap() {
            disk.remove(&dir.join(name)).unwrap();
        }
        disk.sync_dir(dir).unwrap();
    };
    let mut store = local("");
    load(&mut store, "T", 0, 30, 3);
    store.compact(&key).unwrap();
    store.stop();
    wipe(&store);
    store.reopen(false).unwrap();
    assert_all(&store, 30, 3);
    load(&mut store, "T", 30, 10, 3);
    assert_all(&store, 40, 3);
    store.restart().unwrap();
    assert_all(&store, 40, 3);
    store.stop();
    wipe(&store);
    let error = store.reopen(false).unwrap_err();
    assert!(matches!(error, OpenError::LostLog { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains("--accept-lost-log"), "{error}");
    store.reopen(true).unwrap();
    assert!(matches!(&store.report.lost[..], [told] if told.ends_with("are given up")), "{}", store.report);
    assert_all(&store, 30, 3);
    load(&mut store, "T", 30, 12, 3);
    assert_all(&store, 42, 3);
    store.compact(&key).unwrap();
    store.restart().unwrap();
    assert_all(&store, 42, 3);
    // everything that the manifest knows of is durable; but whoever was killed may have written more
    let durable = store.store().durable().pin().watermark(&key);
    wipe(&store);
    let error = store.reopen(false).unwrap_err();
    assert!(matches!(error, OpenError::LogGone { .. }), "{error}");
    assert!(error.kind() == ErrorKind::Integrity && error.to_string().contains("--accept-lost-log"), "{error}");
    assert!(error.to_string().contains("or still runs: stop it first"), "{error}");
    store.reopen(true).unwrap();
    assert_eq!(store.report.lost.len(), 1, "{}", store.report);
    // it skips more positions than the log can have had: nobody shall take them for events
    let (told, first) = (&store.report.lost[0], durable.next());
    assert!(
        told.contains(&format!("position {first} and above is given up; how much that was, nobody knows")),
        "{told}"
    );
    assert!(told.contains("(if anything)") && told.ends_with("the gap counts no events"), "{told}");
    assert_all(&store, 42, 3);
    load(&mut store, "T", 42, 6, 3);
    assert!(
        store.store().log(&key).unwrap().published().committed() > strandline_event::LogIndex(durable.0 + (1 << 32))
    );
    store.compact(&key).unwrap();
    store.restart().unwrap();
    assert_all(&store, 48, 3);
}

#[test]
fn a_declaration_that_changes_what_is_on_disk_is_refused() {
    let mut store = local("");
    load(&mut store, "T", 0, 10, 2);
    store.declare(declared("/durable", &format!("{TIERS}, id.event_id.format = 'uuidv4'")));
    let error = store.reopen(false).unwrap_err();
    assert!(error.to_string().contains("id.event_id.format"), "{error}");
    store.declare(declared("/durable", &format!("{TIERS}, inmemory.max_mb = 7")));
    store.reopen(false).unwrap();
    assert_all(&store, 10, 2);
    assert!(store.store().durable().pin().config_text().contains("max_mb"));
}

#[test]
fn a_declaration_that_cannot_be_compared_is_refused() {
    let mut store = local("");
    load(&mut store, "T", 0, 10, 2);
    for text in ["CREATE EVENTSTORE test FROM tomorrow;", "CREATE AGGREGATE T;"] {
        let update = strandline_durable::Update::Config(text.to_owned());
        let snapshot =
            store.store().durable().update(&update, u128::from(text.len() as u64), store.time.now()).unwrap();
        let error = store.reopen(false).unwrap_err();
        assert!(error.to_string().contains(&format!("manifest version {}", snapshot.version())), "{error}");
        assert!(matches!(error, OpenError::DeclarationUnreadable { .. }));
    }
}
