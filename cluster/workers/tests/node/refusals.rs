//! What a node refuses, and what it leaves alone when it does.

use super::*;
use strandline_durable::{DurableTier, OpenOptions};
use strandline_engine::append::AppendError;
use strandline_engine::store::{OpenError, Witness};
use strandline_workers::subscriptions::Followed;
use strandline_workers::{DataDirError, StoreLock, clock, random};

fn log_folders(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("wal")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap());
    // the folder of the logs bears a mark
    folders.filter(|name| !name.starts_with('~')).collect()
}

fn body(types: usize) -> Vec<BatchBytes> {
    (0..types).map(|i| batch(&format!("Type{i}"), "s", 1, BatchUnit::Rows)).collect()
}

#[test]
fn a_body_of_many_new_stream_types_is_refused_whole() {
    in_folder(async |dir| {
        // room for a hundred logs or so, whatever other tests have open
        let open = std::fs::read_dir("/proc/self/fd").map_or(100, Iterator::count) as u64;
        let options = NodeOptions { descriptors_max: Some(open + 700), ..options(dir) };
        let node = Node::start(declarations(dir, ""), options).await.unwrap();
        let store = node.store("calls").unwrap();
        let refused = store.append_bulk(body(250), OnError::Skip, permit(&node)).await.err().unwrap();
        assert!(matches!(refused, NodeError::NoDescriptors { .. }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        let refused = store.append_bulk(body(257), OnError::Abort, permit(&node)).await.err().unwrap();
        assert_eq!((refused.kind(), log_folders(dir).len()), (ErrorKind::TooLarge, 0), "{refused}");
        let stored = store.append_bulk(body(3), OnError::Abort, permit(&node)).await.unwrap();
        assert!(stored.iter().all(Result::is_ok));
        drop(store);
        stop(node).await;
        let few = NodeOptions { descriptors_max: Some(70), ..super::options(dir) };
        let error = Node::start(declarations(dir, ""), few).await.err().unwrap();
        assert!(matches!(error, StartError::Descriptors { logs: 3, .. }) && error.is_configuration(), "{error}");
    });
}

#[test]
fn a_second_node_on_the_same_store_is_refused_and_the_first_goes_on() {
    on_node(async |dir, node, store| {
        append(&node, &store, "c", 3).await.unwrap();
        let other = NodeOptions::new(dir.join("other"));
        let error = Node::start(declarations(dir, ""), other.clone()).await.err().unwrap();
        assert!(matches!(error, StartError::DataDir(DataDirError::StoreInUse { .. })), "{error}");
        assert!(error.is_configuration());
        let config = (*store.config()).clone();
        assert!(matches!(StoreLock::to_look(&config, false), Err(DataDirError::StoreInUse { .. })));
        for job in store.compact(None).await.unwrap() {
            assert_eq!(job.ended().await.error, None, "the first node is not fenced");
        }
        append(&node, &store, "c", 1).await.unwrap();
        drop(store);
        stop(node).await;
        let looking = StoreLock::to_look(&config, false).unwrap();
        assert!(Node::start(declarations(dir, ""), options(dir)).await.is_err(), "it is being looked at");
        drop(looking);
        stop(start(dir, "").await).await;
    });
}

/// Another owner takes the store over.
fn claimed(store: &StoreHandle) -> DurableTier {
    let claim = OpenOptions {
        writer: "another".to_owned(),
        config_text: strandline_deql::print(&store.config()),
        entropy: random::bits(),
        secret: random::bits(),
        now: clock::now(),
        cache_bytes: 1 << 20,
        scratch: None,
    };
    DurableTier::open(&store.config(), claim).unwrap()
}

#[test]
fn a_store_that_another_owner_claimed_is_not_served_any_more() {
    // by its next commit, or by a look
    for (look_every, commits) in [(Duration::from_secs(3600), true), (Duration::from_millis(5), false)] {
        let folder = tempfile::tempdir().unwrap();
        runtime::run(async {
            let options = NodeOptions { owner_look_every: look_every, ..options(folder.path()) };
            let node = Node::start(declarations(folder.path(), ""), options).await.unwrap();
            let store = node.store("calls").unwrap();
            append(&node, &store, "c", 3).await.unwrap();
            let mut follower = store.follow(Filter::default(), Some(Position::START)).await.unwrap();
            let _other = claimed(&store);
            if commits {
                assert!(node.fenced().is_empty());
                for job in store.compact(None).await.unwrap() {
                    assert!(job.ended().await.error.is_some());
                }
            }
            while node.fenced().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(node.fenced(), ["calls"]);
            let refused = append(&node, &store, "c", 1).await.err().unwrap();
            assert!(matches!(refused, NodeError::Fenced { .. }), "{refused}");
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
            let unread = store.confirm(Some("Call")).await.err().unwrap();
            assert!(matches!(unread, NodeError::Fenced { .. }), "{unread}");
            assert!(matches!(store.follow(Filter::default(), None).await, Err(NodeError::Fenced { .. })));
            assert!(store.check_whole(Some("Call")).is_ok(), "consistency=local");
            assert_eq!(count(&store, "c").await, 3, "what it has can be read");
            if !commits {
                // what was there is given, then the end: it must not wait for events that come elsewhere
                while !matches!(follower.next(Duration::from_secs(60)).await.unwrap(), Followed::End) {}
            }
            drop((follower, store));
            stop(node).await;
        })
        .unwrap();
    }
}

#[test]
fn what_stores_nothing_makes_no_log() {
    on_node(async |dir, node, store| {
        let one = || batch("Call", "c", 2, BatchUnit::Append);
        let send = |expected, inspect| store.append_stream(one(), expected, inspect, permit(&node));
        let looked = send(Expected::Any, true).await.unwrap();
        assert_eq!(looked.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [Seq(1), Seq(2)]);
        let refused = send(Expected::At(Seq(5)), false).await.err().unwrap();
        let NodeError::Refused(refusal) = &refused else { panic!("{refused}") };
        assert!(matches!(refusal.error, AppendError::WrongExpectedSeq { actual: Seq::ZERO, .. }));
        assert!(log_folders(dir).is_empty() && store.engine().stream_types().is_empty());
        send(Expected::Empty, false).await.unwrap();
        assert_eq!(log_folders(dir).len(), 1);
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_command_that_is_known_is_judged_before_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let part = |stream_type: &str, command: &str, tenant: Option<&str>| {
        let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
        let event = EventInput { stream_id: "s", event_type: "E", command_id: Some(command), ..EventInput::default() };
        builder.push(&EventInput { tenant_id: tenant, ..event }).unwrap();
        builder.finish().unwrap()
    };
    runtime::run(async {
        let more = ", id.command_id.unique_scope = 'stream', strict.tenant_required = true";
        let node = start(folder.path(), more).await;
        let store = node.store("calls").unwrap();
        let send = |parts| store.append_bulk(parts, OnError::Abort, permit(&node));
        send(vec![part("A", "k", Some("t"))]).await.unwrap();
        // the same command with other events: that is what the client must hear, not that they break a rule as well
        let refused = send(vec![part("B", "k", Some("t")), part("A", "k", None)]).await.err().unwrap();
        assert!(matches!(refused, NodeError::RefusedPart { batch: 1, .. }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::CommandConflict);
        let refused = send(vec![part("B", "k", Some("t")), part("A", "new", None)]).await.err().unwrap();
        assert!(matches!(refused, NodeError::Strict { batch: 1, row: 0, .. }), "{refused}");
        assert_eq!(store.engine().stream_types().len(), 1, "nothing of either body is stored");
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn runs_that_are_asked_for_again_and_again_wait_once() {
    on_node(async |_, node, store| {
        append(&node, &store, "c", 100).await.unwrap();
        let mut jobs = Vec::new();
        for _ in 0..1000 {
            jobs.extend(store.compact(None).await.unwrap());
            assert!(store.jobs().running().len() <= 2);
        }
        for job in &jobs {
            assert_eq!(job.ended().await.error, None);
        }
        drop((store, jobs));
        stop(node).await;
    });
}

// of a test's folder, which no power loss threatens
#[allow(clippy::disallowed_methods)]
fn move_away(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

#[test]
fn a_start_that_fails_at_one_store_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let shown = dir.display();
    let second = format!(
        "CREATE EVENTSTORE second WITH (durable.type = 'parquet', durable.path = '{shown}/durable-2', wal.enabled = true,
         wal.path = '{shown}/wal-2');"
    );
    let both = || {
        let mut both = declarations(dir, "");
        both.stores.extend(parse_file("second.deql", &second).unwrap().stores);
        both
    };
    let version = |store: &StoreHandle| store.engine().durable().pin().version();
    runtime::run(async {
        let node = Node::start(both(), options(dir)).await.unwrap();
        let (first, second) = (node.store("calls").unwrap(), node.store("second").unwrap());
        append(&node, &first, "c", 1).await.unwrap();
        append(&node, &second, "c", 1).await.unwrap();
        let config = (*first.config()).clone();
        drop((first, second));
        stop(node).await;
        let before = DurableTier::open_read_only(&config, None).unwrap().pin().version();
        move_away(&dir.join("wal-2"), &dir.join("elsewhere"));
        let error = Node::start(both(), options(dir)).await.err().unwrap();
        assert!(error.to_string().contains("--accept-lost-log") && error.is_configuration(), "{error}");
        assert_eq!(
            DurableTier::open_read_only(&config, None).unwrap().pin().version(),
            before,
            "the first one is not claimed"
        );
        std::fs::remove_dir_all(dir.join("wal-2")).unwrap();
        move_away(&dir.join("elsewhere"), &dir.join("wal-2"));
        let node = Node::start(both(), options(dir)).await.unwrap();
        assert!(version(&node.store("calls").unwrap()) > before);
        stop(node).await;
    })
    .unwrap();
}

fn without_log(dir: &Path) -> Declarations {
    let path = dir.join("durable");
    let text = format!(
        "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '{}', wal.enabled = false);",
        path.display()
    );
    parse_file("test.deql", &text).unwrap()
}

#[test]
fn a_store_whose_files_are_away_does_not_begin_anew_and_nothing_is_made_where_they_were() {
    runtime::run(async {
        for has_log in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            let declared = || if has_log { declarations(dir, "") } else { without_log(dir) };
            let (files, away) = (dir.join("durable"), dir.join("away"));
            let node = Node::start(declared(), options(dir)).await.unwrap();
            let store = node.store("calls").unwrap();
            append(&node, &store, "c", 3).await.unwrap();
            drop(store);
            stop(node).await;
            move_away(&files, &away);
            for is_bare in [false, true] {
                if is_bare {
                    std::fs::create_dir(&files).unwrap();
                }
                let refused = Node::start(declared(), options(dir)).await.err().unwrap();
                assert!(refused.to_string().contains("mounted") && refused.is_configuration(), "{refused}");
                let StartError::Store { error, .. } = refused else { panic!("another refusal") };
                assert!(matches!(*error, OpenError::FilesGone { .. }), "{error}");
                let holds = std::fs::read_dir(&files).map(Iterator::count).ok();
                assert_eq!(holds, is_bare.then_some(0), "with a log: {has_log}");
            }
            std::fs::remove_dir(&files).unwrap();
            move_away(&away, &files);
            let node = Node::start(declared(), options(dir)).await.unwrap();
            let store = node.store("calls").unwrap();
            assert_eq!(count(&store, "c").await, 3);
            drop(store);
            stop(node).await;
        }
    })
    .unwrap();
}

async fn gone(declared: Declarations, options: NodeOptions) -> (Witness, std::path::PathBuf) {
    let Some(StartError::Store { error, .. }) = Node::start(declared, options).await.err() else {
        panic!("not refused")
    };
    let OpenError::FilesGone { witness, dir, mark, .. } = *error else { panic!("refused for another reason") };
    (witness, dir.join(mark))
}

#[test]
fn logs_are_taken_for_a_new_store_when_their_mark_is_removed_and_the_node_knows_where_they_are_away_too() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let remove = |name: &str| std::fs::remove_dir_all(dir.join(name)).unwrap();
    runtime::run(async {
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 3).await.unwrap();
        drop(store);
        stop(node).await;
        remove("durable");
        let (witness, mark) = gone(declarations(dir, ""), options(dir)).await;
        assert_eq!(witness, Witness::Logs);
        std::fs::remove_file(mark).unwrap();
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c").await, 3);
        drop(store);
        stop(node).await;
        // on one disk, which is not mounted
        remove("durable");
        remove("wal");
        let (witness, mark) = gone(declarations(dir, ""), options(dir)).await;
        assert_eq!(witness, Witness::Node);
        assert!(!dir.join("durable").exists() && !dir.join("wal").exists());
        std::fs::remove_file(mark).unwrap();
        let node = start(dir, "").await;
        assert_eq!(node.made().stores, ["calls"]);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn only_a_node_that_has_served_a_store_misses_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let node = Node::start(without_log(dir), options(dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        drop(store);
        stop(node).await;
        // from the durable tier alone: a new data folder is no obstacle
        let new = || NodeOptions::new(dir.join("new"));
        let node = Node::start(without_log(dir), new()).await.unwrap();
        let store = node.store("calls").unwrap();
        assert_eq!((count(&store, "c").await, node.made().stores.len()), (1, 0));
        drop(store);
        stop(node).await;
        std::fs::remove_dir_all(dir.join("durable")).unwrap();
        let (witness, mark) = gone(without_log(dir), new()).await;
        assert_eq!(witness, Witness::Node);
        let node = Node::start(without_log(dir), NodeOptions::new(dir.join("newer"))).await.unwrap();
        assert_eq!(node.made().stores, ["calls"], "it has never seen the store");
        stop(node).await;
        std::fs::remove_dir_all(dir.join("durable")).unwrap();
        // whoever wants a new one says so, as the text has it
        std::fs::remove_file(mark).unwrap();
        let node = Node::start(without_log(dir), new()).await.unwrap();
        assert_eq!(node.made().stores, ["calls"]);
        stop(node).await;
    })
    .unwrap();
}
