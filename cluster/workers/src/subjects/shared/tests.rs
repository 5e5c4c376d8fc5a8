//! One member of a cluster, whose keys lie in a folder: what an append does that looked at its stream type before this was registered.

use super::*;
use crate::cluster::{ClusterNode, ClusterOptions, start_cluster};
use crate::permits::BytePermit;
use crate::subjects::Erasure;
use crate::{Node, NodeHandle, StreamTypeEntry, runtime};
use strandline_consensus::join::StartFlags;
use strandline_consensus::meta::Addresses;
use strandline_engine::append::{Expected, OnError};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput, Seq};
use tokio::net::TcpListener;

const SECRET: &str = "planted-0816-secret";

async fn start(place: &Path) -> (ClusterNode, NodeHandle) {
    let (dir, shown) = (place.join("one"), place.display());
    let text = format!(
        "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{shown}/durable', wal.enabled = true,
         wal.path = '{shown}/wal');"
    );
    let declarations = strandline_deql::parse_file("t", &text).unwrap_or_else(|e| panic!("{e}"));
    let stores: Vec<_> = declarations.stores.iter().map(|declared| declared.config.clone()).collect();
    let options = NodeOptions { subject_keys: Some(place.join("keys")), ..NodeOptions::new(dir.clone()) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let joining = ClusterOptions {
        flags: StartFlags { node_id: None, cluster: Some(at.clone()), join: None },
        addresses: Addresses { cluster: at.clone(), http: at, native: String::new() },
        roles: None,
        replication: 3,
        certificates: None,
        check: Arc::new(|_| Ok(())),
    };
    let mut cluster = start_cluster(&dir, &stores, joining, listener, &options).await.unwrap().unwrap();
    let node = Node::start_member(declarations, options, &mut cluster).await.unwrap();
    (cluster, node)
}

fn batch(data: &str) -> BatchBytes {
    let mut builder = BatchBuilder::new("Person", BatchUnit::Append);
    builder.push(&EventInput { stream_id: "a", event_type: "E", data, ..EventInput::default() }).unwrap();
    builder.finish().unwrap()
}

/// A file below a folder has these bytes.
fn is_in(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return is_in(&path, text);
        }
        std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
    })
}

#[test]
fn what_was_not_sealed_reaches_no_log_once_its_type_is_erasable() {
    let place = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (cluster, node) = start(place.path()).await;
        let store = node.store("s").unwrap();
        let permit: Arc<BytePermit> = Arc::new(node.permits().take(1).unwrap());
        let plain = batch(&format!("\"{SECRET}\""));
        assert!(store.erasable("Person").is_none(), "an append that looks now seals nothing");
        let person = StreamTypeEntry { name: Arc::from("Person"), buckets: 1 };
        store.register_erasable(person, SubjectKind::Stream).await.unwrap();
        let is_refused = |error: &NodeError| matches!(error, NodeError::Erasure { kind: ErrorKind::Unavailable, .. });
        // it finds the log that is being made, and later the one that is there
        for _ in 0..2 {
            let sent = store.submit(plain.clone(), Expected::Any, OnError::Abort, false, Arc::clone(&permit)).await;
            assert!(sent.as_ref().is_err_and(is_refused), "{sent:?}");
        }
        assert!(store.serving_owner(plain.view()).as_ref().is_err_and(is_refused), "no way goes by it");
        // sent again it is stored, sealed, as the first event
        let stored = store.append_stream(plain, Expected::Any, false, Arc::clone(&permit)).await.unwrap();
        assert_eq!(stored.events[0].seq, Seq(1));
        assert!(!is_in(place.path(), SECRET), "it is in no byte of logs, files and keys");
        let wish =
            Erasure { kind: SubjectKind::Stream, name: "a".to_owned(), stream_type: None, who: "ops".to_owned() };
        let receipts = store.erase(wish).await.unwrap();
        assert_eq!((receipts.len(), receipts[0].tombstone.events, receipts[0].already), (1, 1, false));
        let again = store.append_stream(batch("2"), Expected::Any, false, permit).await;
        assert_eq!(again.err().unwrap().kind(), ErrorKind::StrictViolation);
        drop(store);
        let _ = node.stop().await;
        cluster.stop().await;
    })
    .unwrap();
}
