//! Keys of subjects: made for what is stored and for nothing else, and in step with appends that come at the same time.

use super::*;
use std::path::PathBuf;
use strandline_engine::tenants::TenantScope;
use strandline_keys::subject::ERASED;
use strandline_workers::{Erasure, StreamAppend, SubjectKind};

struct Rig {
    _keys: tempfile::TempDir,
    data: tempfile::TempDir,
    file: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let (keys, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = keys.path().join("subjects");
        Self { _keys: keys, data, file }
    }

    async fn start(&self) -> NodeHandle {
        let options = NodeOptions { subject_keys: Some(self.file.clone()), ..options(self.data.path()) };
        Node::start(declarations(self.data.path(), ""), options).await.unwrap()
    }

    /// Records of the key file.
    fn records(&self) -> usize {
        std::fs::read(&self.file).unwrap().chunks(8).filter(|chunk| chunk.starts_with(b"SLKR")).count()
    }
}

async fn register(store: &StoreHandle, name: &str, kind: SubjectKind) -> Result<(), NodeError> {
    let entry = StreamTypeEntry { name: Arc::from(name), buckets: 1 };
    store.register_erasable(entry, kind).await.map(drop)
}

fn one(stream_type: &str, stream_id: &str, tenant: &str, unit: BatchUnit) -> BatchBytes {
    let mut builder = BatchBuilder::new(stream_type, unit);
    let event =
        EventInput { stream_id, event_type: "E", data: "\"said\"", tenant_id: Some(tenant), ..EventInput::default() };
    builder.push(&event).unwrap();
    builder.finish().unwrap()
}

async fn put(
    (node, store): (&NodeHandle, &StoreHandle),
    (stream_type, stream_id, tenant): (&str, &str, &str),
    inspect: bool,
) -> Result<(), ErrorKind> {
    let batch = one(stream_type, stream_id, tenant, BatchUnit::Append);
    store.append_stream(batch, Expected::Any, inspect, permit(node)).await.map(drop).map_err(|error| error.kind())
}

async fn said(store: &StoreHandle, stream_type: &str, stream_id: &str) -> Vec<String> {
    let query = StreamQuery { stream_type: stream_type.to_owned(), ..whole(stream_id) };
    store.read_stream(query).await.unwrap().rows().map(|event| event.data.to_owned()).collect()
}

fn erasure(kind: SubjectKind, name: &str, stream_type: Option<&str>) -> Erasure {
    Erasure { kind, name: name.to_owned(), stream_type: stream_type.map(str::to_owned), who: "ops".to_owned() }
}

#[test]
fn what_is_refused_or_only_looked_at_leaves_no_key_and_tells_nothing_of_what_was_erased() {
    let rig = Rig::new();
    runtime::run(async {
        let node = rig.start().await;
        let store = node.store("calls").unwrap();
        register(&store, "P", SubjectKind::Stream).await.unwrap();
        register(&store, "T", SubjectKind::Tenant).await.unwrap();
        let limited = |tenant: &str| store.limited_to(&Arc::new(TenantScope::new(vec![tenant.to_owned()])));
        let (acme, zeta) = (limited("acme"), limited("zeta"));
        put((&node, &zeta), ("P", "s1", "zeta"), false).await.unwrap();
        put((&node, &zeta), ("T", "x", "zeta"), false).await.unwrap();
        let before = rig.records();
        let forbidden = Err(ErrorKind::Forbidden);
        for at in [("P", "new", "nobody"), ("P", "s1", "acme"), ("T", "y", "zeta"), ("T", "z", "nobody")] {
            assert_eq!(put((&node, &acme), at, false).await, forbidden, "{at:?}");
        }
        let many = ["n1", "n2"]
            .map(|id| StreamAppend { batch: one("P", id, "nobody", BatchUnit::Append), expected: Expected::Any });
        for outcome in acme.append_many(&many, false, &permit(&node)).await {
            assert_eq!(outcome.err().map(|error| error.kind()), Some(ErrorKind::Forbidden));
        }
        for rule in [OnError::Abort, OnError::Skip] {
            let body = vec![one("P", "bulk", "nobody", BatchUnit::Rows), one("T", "bulk", "zeta", BatchUnit::Rows)];
            match acme.append_bulk(body, rule, permit(&node)).await {
                Err(error) => assert_eq!((rule, error.kind()), (OnError::Abort, ErrorKind::Forbidden)),
                Ok(parts) => parts.into_iter().for_each(|part| assert!(part.unwrap().stamped.is_none())),
            }
        }
        // told alike, whether the subject has a key or none
        for tenant in ["zeta", "nobody"] {
            let body = vec![one("T", "bulk", tenant, BatchUnit::Rows)];
            let refused = acme.append_bulk(body, OnError::Abort, permit(&node)).await.err().unwrap();
            assert!(matches!(refused, NodeError::RefusedPart { batch: 0, .. }), "{tenant}: {refused}");
        }
        put((&node, &acme), ("P", "looked-at", "acme"), true).await.unwrap();
        assert_eq!(rig.records(), before, "no key was made");
        store.erase(erasure(SubjectKind::Stream, "s1", None)).await.unwrap();
        store.erase(erasure(SubjectKind::Tenant, "zeta", None)).await.unwrap();
        for at in [("P", "s1", "acme"), ("T", "y", "zeta")] {
            assert_eq!(put((&node, &acme), at, false).await, forbidden, "{at:?}");
        }
        // a tenant's subject, and a stream that is another tenant's
        for (stream_type, stream_id, tenant) in [("T", "b", "zeta"), ("P", "s1", "acme")] {
            let body = vec![one(stream_type, stream_id, tenant, BatchUnit::Rows)];
            let skipped = acme.append_bulk(body, OnError::Skip, permit(&node)).await;
            assert_eq!(skipped.unwrap().remove(0).unwrap().rejected.len(), 1, "{stream_type}");
        }
        assert_eq!(put((&node, &zeta), ("P", "s1", "zeta"), false).await, Err(ErrorKind::StrictViolation));
        drop((store, acme, zeta));
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_stream_type_that_finds_no_place_in_the_store_is_not_made_erasable() {
    let rig = Rig::new();
    runtime::run(async {
        let node = rig.start().await;
        let store = node.store("calls").unwrap();
        // each bucket counts
        for (n, buckets) in (0..39).map(|_| 256).chain([16]).enumerate() {
            store.register(StreamTypeEntry { name: Arc::from(format!("Type{n}")), buckets }).await.unwrap();
        }
        let refused = register(&store, "Late", SubjectKind::Stream).await.unwrap_err();
        assert!(matches!(refused, NodeError::TooManyStreamTypes { .. }), "{refused}");
        assert_eq!(store.erasable("Late"), None);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn appends_to_a_new_subject_that_come_together_are_stored_in_their_order() {
    let rig = Rig::new();
    runtime::run(async {
        let node = rig.start().await;
        let store = node.store("calls").unwrap();
        register(&store, "P", SubjectKind::Stream).await.unwrap();
        let at = |id: &str, expected| StreamAppend { batch: one("P", id, "t", BatchUnit::Append), expected };
        let many = [
            at("a", Expected::Empty),
            at("b", Expected::At(Seq(9))),
            at("a", Expected::At(Seq(1))),
            at("b", Expected::Empty),
            at("a", Expected::At(Seq(2))),
        ];
        let outcomes = store.append_many(&many, false, &permit(&node)).await;
        let stored: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(stored, [true, false, true, true, true], "{outcomes:?}");
        let body = vec![one("P", "a", "t", BatchUnit::Rows), one("P2", "c", "t", BatchUnit::Rows)];
        assert!(store.append_bulk(body, OnError::Abort, permit(&node)).await.unwrap().iter().all(Result::is_ok));
        assert_eq!(said(&store, "P", "a").await, ["\"said\""; 4]);
        assert_eq!(said(&store, "P", "b").await.len(), 1);
        store.erase(erasure(SubjectKind::Stream, "a", None)).await.unwrap();
        assert_eq!(said(&store, "P", "a").await, [ERASED; 4], "all of it was sealed");
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

/// A type that holds an event as it came is not erasable, and what is acknowledged after an erasure is of no erased subject.
#[test]
fn an_append_comes_before_a_registration_or_an_erasure_or_after_it() {
    let rig = Rig::new();
    runtime::run(async {
        let node = rig.start().await;
        let store = node.store("calls").unwrap();
        for n in 0..40 {
            let name = format!("R{n}");
            let (registered, stored) = tokio::join!(
                register(&store, &name, SubjectKind::Stream),
                put((&node, &store), (&name, "a", "t"), false)
            );
            stored.unwrap();
            if registered.is_err() {
                assert_eq!(said(&store, &name, "a").await, ["\"said\""]);
                continue;
            }
            let wish = erasure(SubjectKind::Stream, "a", Some(&name));
            let (erased, stored) = tokio::join!(store.erase(wish), put((&node, &store), (&name, "a", "t"), false));
            let receipt = erased.unwrap().remove(0);
            let events = said(&store, &name, "a").await;
            assert!(events.iter().all(|data| data == ERASED), "{events:?}");
            assert_eq!(events.len(), 1 + usize::from(stored.is_ok()));
            assert_eq!(receipt.tombstone.events, events.len() as u64, "what is acknowledged is counted");
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

/// A request that is given up, as one whose connection was reset, leaves behind what it has begun.
#[test]
fn a_registration_that_nobody_waits_for_lets_no_append_pass() {
    let rig = Rig::new();
    runtime::run(async {
        let node = rig.start().await;
        let store = node.store("calls").unwrap();
        for n in 0..20 {
            let name = format!("G{n}");
            tokio::select! {
                biased;
                _ = register(&store, &name, SubjectKind::Stream) => {}
                () = std::future::ready(()) => {}
            }
            put((&node, &store), (&name, "a", "t"), false).await.unwrap();
            assert!(store.erasable(&name).is_some(), "{name}");
            store.erase(erasure(SubjectKind::Stream, "a", Some(&name))).await.unwrap();
            assert_eq!(said(&store, &name, "a").await, [ERASED], "{name}");
        }
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_line_of_an_erased_subject_whose_command_is_known_is_told_so_where_others_are_stored() {
    let rig = Rig::new();
    runtime::run(async {
        let options = NodeOptions { subject_keys: Some(rig.file.clone()), ..options(rig.data.path()) };
        let more = ", id.command_id.unique_scope = 'stream', strict.event_version_required = true";
        let node = Node::start(declarations(rig.data.path(), more), options).await.unwrap();
        let store = node.store("calls").unwrap();
        register(&store, "P", SubjectKind::Stream).await.unwrap();
        let body = |versions: &[(&str, Option<u32>)]| {
            let mut builder = BatchBuilder::new("P", BatchUnit::Rows);
            for (stream_id, event_version) in versions {
                let (stream_id, event_version) = (*stream_id, *event_version);
                let command_id = Some("c1");
                let event = EventInput {
                    stream_id,
                    event_type: "E",
                    data: "1",
                    event_version,
                    command_id,
                    ..EventInput::default()
                };
                builder.push(&event).unwrap();
            }
            vec![builder.finish().unwrap()]
        };
        let stored = store.append_bulk(body(&[("anna", Some(1))]), OnError::Skip, permit(&node)).await.unwrap();
        assert!(stored[0].as_ref().unwrap().rejected.is_empty());
        store.erase(erasure(SubjectKind::Stream, "anna", None)).await.unwrap();
        // a line that breaks a rule is judged by its command first
        let lines = [("anna", None), ("bert", Some(1)), ("carl", None)];
        let mut parts = store.append_bulk(body(&lines), OnError::Skip, permit(&node)).await.unwrap();
        let outcome = parts.remove(0).unwrap();
        assert_eq!(outcome.stamped.as_ref().map(|batch| batch.rows()), Some(1), "bert's");
        let told: Vec<_> = outcome.rejected.iter().map(|row| (row.row, row.error.kind())).collect();
        assert_eq!(told, [(0, ErrorKind::StrictViolation), (2, ErrorKind::StrictViolation)]);
        let names = strandline_event::FieldNames::default();
        let said: Vec<_> = outcome.rejected.iter().map(|row| row.error.text(&names).contains("was erased")).collect();
        assert_eq!(said, [true, false], "of carl nothing was erased");
        drop((store, outcome));
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_file_of_keys_that_others_may_read_is_refused_and_left_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    runtime::run(async {
        stop(rig.start().await).await;
        let mode = || std::fs::metadata(&rig.file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600, "it was made so");
        let allow = |mode| std::fs::set_permissions(&rig.file, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o644);
        let options = NodeOptions { subject_keys: Some(rig.file.clone()), ..options(rig.data.path()) };
        let refused = Node::start(declarations(rig.data.path(), ""), options).await.err().unwrap().to_string();
        assert!(refused.contains("0644") && refused.contains("chmod 600"), "{refused}");
        assert_eq!(mode(), 0o644, "whoever reads the answer decides");
        allow(0o600);
        stop(rig.start().await).await;
    })
    .unwrap();
}
