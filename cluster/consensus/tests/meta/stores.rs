//! Declared stores and their stream types, and what a statement must be before it is proposed.

use crate::cluster::{Cluster, STORE, group, register, remember};
use strandline_consensus::meta::{Command, Erasable, Outcome, cluster_statement, limits, refused_type};
use strandline_deql::{StoreConfig, changed_keys, parse_file};
use strandline_wal::LeaderId;

fn declare(replaces: u64, statement: &str) -> Command {
    Command::DeclareStore { replaces, name: STORE.into(), statement: statement.into() }
}

fn append(name: &str) -> Command {
    let (store, name) = (STORE.into(), name.into());
    Command::RegisterType { store, name, buckets: 1, erasable: Erasable::No, registered: false }
}

#[test]
fn a_statement_replaces_the_version_that_it_was_made_for() {
    let mut cluster = Cluster::of(1, 1);
    assert_eq!(cluster.tell(&declare(0, "a")), Ok(Outcome::AsBefore));
    let refused = cluster.refused(&declare(0, "b"));
    assert!(refused.contains("version 1") && refused.contains("version 0"), "{refused}");
    cluster.done(&declare(1, "b"));
    assert!(cluster.refused(&declare(1, "c")).contains("look at it again"));
    assert_eq!(cluster.state.stores()[STORE].version, 2);
}

#[test]
fn what_is_remembered_is_the_leaders_and_never_goes_back() {
    let mut cluster = Cluster::of(1, 1);
    let known = |cluster: &Cluster| {
        let all = &cluster.state.stores()[STORE].remembered;
        all.iter().map(|(name, value)| (name.clone(), value.to_vec())).collect::<Vec<_>>()
    };
    let holds = |name: &str, value: &[u8]| vec![(name.to_owned(), value.to_vec())];
    cluster.done(&remember(2, "a", b"1"));
    assert_eq!(cluster.tell(&remember(2, "a", b"2")), Ok(Outcome::AsBefore));
    assert_eq!(cluster.tell(&remember(1, "a", b"")), Ok(Outcome::AsBefore), "it was long under way");
    assert_eq!(known(&cluster), holds("a", b"1"));
    let Command::Remember { store, turn, entries, .. } = remember(9, "a", b"3") else { unreachable!() };
    let other = Command::Remember { store, owner: LeaderId { term: 1, node: 1 }, turn, entries };
    assert!(cluster.refused(&other).contains("another node's by now"));
    cluster.done(&remember(3, "a", b"3"));
    assert_eq!(known(&cluster), holds("a", b"3"));
    cluster.done(&remember(4, "b", &vec![7; limits::REMEMBERED_BYTES_MAX]));
    assert!(cluster.refused(&remember(5, "c", &vec![7; limits::REMEMBERED_BYTES_MAX + 1])).contains("one named"));
    assert!(cluster.refused(&remember(5, "", b"1")).contains("the name of a subscription"));
    let whole = limits::REMEMBERED_STORE_BYTES_MAX / limits::REMEMBERED_BYTES_MAX;
    for n in 1..whole as u64 - 1 {
        cluster.done(&remember(4 + n, &format!("many{n}"), &vec![7; limits::REMEMBERED_BYTES_MAX]));
    }
    assert!(cluster.refused(&remember(99, "more", &vec![7; limits::REMEMBERED_BYTES_MAX])).contains("of a store"));
    cluster.done(&remember(99, "b", b""));
    cluster.done(&remember(100, "more", &vec![7; limits::REMEMBERED_BYTES_MAX]));
    assert!(!known(&cluster).iter().any(|(name, _)| name == "b"));
}

#[test]
fn names_and_sizes_are_bounded() {
    let mut cluster = Cluster::of(1, 1);
    for name in ["", "1a", "a-b", "a b", &"x".repeat(129)] {
        let command = Command::DeclareStore { replaces: 0, name: name.into(), statement: "a".into() };
        assert!(cluster.refused(&command).contains("name of a store"), "{name}");
    }
    assert!(cluster.refused(&declare(1, &"x".repeat(limits::STATEMENT_BYTES_MAX + 1))).contains("64 KiB"));
    for name in [String::new(), "x".repeat(201), "/".repeat(67)] {
        assert!(cluster.refused(&register(&name, 1)).contains("stream type"), "{name}");
    }
    for buckets in [0, 257] {
        assert!(cluster.refused(&register("Order", buckets)).contains("from 1 to 256"));
    }
    for i in 1..limits::STORES_MAX {
        cluster.done(&Command::DeclareStore { replaces: 0, name: format!("s{i}"), statement: "a".into() });
    }
    let one_more = Command::DeclareStore { replaces: 0, name: "more".into(), statement: "a".into() };
    assert!(cluster.refused(&one_more).contains("256 stores"));
}

#[test]
fn a_store_has_so_many_logs_and_who_would_propose_one_more_is_told() {
    let mut cluster = Cluster::of(1, 1);
    let done = |cluster: &mut Cluster, name: &str, buckets| {
        let index = cluster.state.applied() + 1;
        assert_eq!(cluster.state.apply(index, &register(name, buckets)), Ok(Outcome::Changed));
    };
    (0..39).for_each(|n| done(&mut cluster, &format!("Type{n}"), 256));
    let has_place = |cluster: &Cluster, name: &str, buckets| cluster.state.has_place(STORE, name, buckets);
    assert!(has_place(&cluster, "New", 16) && !has_place(&cluster, "New", 17));
    done(&mut cluster, "Last", 16);
    assert!(!has_place(&cluster, "New", 1));
    assert!(has_place(&cluster, "Last", 16) && has_place(&cluster, "Type7", 256), "they are there");
    assert!(cluster.state.has_place("other", "New", 1), "it has none yet");
}

#[test]
fn a_stream_type_is_registered_once() {
    let mut cluster = Cluster::of(1, 1);
    let other = Command::RegisterType {
        store: "other".into(),
        name: "Order".into(),
        buckets: 1,
        erasable: Erasable::No,
        registered: true,
    };
    assert!(cluster.refused(&other).contains("no store `other`"));
    cluster.done(&append("Order"));
    assert_eq!(cluster.tell(&append("Order")), Ok(Outcome::AsBefore));
    // what an append made can still be registered as it is
    assert!(cluster.refused(&register("Order", 2)).contains("has 1 buckets"));
    cluster.done(&register("Order", 1));
    assert_eq!(cluster.tell(&append("Order")), Ok(Outcome::AsBefore));
    assert!(cluster.state.stores()[STORE].types["Order"].registered);
    cluster.done(&register("Call", 3));
    assert_eq!(cluster.tell(&append("Call")), Ok(Outcome::AsBefore));
    assert_eq!(cluster.voters(&group("Call", 2)), [1]);
}

fn parsed(keys: &str) -> StoreConfig {
    let text =
        format!("CREATE EVENTSTORE orders WITH (durable.type='parquet', durable.path='/shared/orders', {keys});");
    let declared = parse_file("t", &text).unwrap_or_else(|e| panic!("{}", e.render(false)));
    declared.stores.into_iter().next().unwrap().config
}

#[test]
fn the_log_is_what_is_replicated_and_it_is_synced() {
    for (keys, named) in [
        ("wal.enabled=false", "wal.enabled: a store without a log"),
        ("wal.enabled=true, wal.path='/l', wal.fsync=false", "wal.fsync: false is refused on a cluster"),
    ] {
        let refused = cluster_statement(&parsed(keys)).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    let text = "CREATE EVENTSTORE m WITH (durable.type='parquet', durable.path='memory://', wal.enabled=true, wal.path='/l', wal.fsync=false);";
    let config = parse_file("t", text).unwrap().stores.remove(0).config;
    let refused = cluster_statement(&config).unwrap_err().to_string();
    assert!(refused.contains("durable.path") && refused.contains("wal.fsync"), "all at once: {refused}");
}

#[test]
fn the_folder_of_the_log_belongs_to_each_node() {
    let (a, b) = (parsed("wal.enabled=true, wal.path='/a'"), parsed("wal.enabled=true, wal.path='/b'"));
    let statement = cluster_statement(&a).unwrap();
    assert_eq!(statement, cluster_statement(&b).unwrap());
    let back = parse_file("t", &statement).unwrap().stores.remove(0).config;
    assert!(changed_keys(&a, &back).is_empty());
}

#[test]
fn one_owner_checks_commands_of_a_stream_type() {
    let keys = "wal.enabled=true, wal.path='/a', id.command_id.unique_scope=";
    let scope = |scope: &str| parsed(&format!("{keys}'{scope}'"));
    assert!(refused_type(&scope("stream_type"), 2).unwrap().contains("1 bucket"));
    assert_eq!(refused_type(&scope("stream_type"), 1), None);
    assert_eq!(refused_type(&scope("stream"), 8), None);
}

#[test]
fn a_cluster_keeps_commands_of_every_scope() {
    for scope in ["none", "stream", "stream_type", "store"] {
        let keys = format!("wal.enabled=true, wal.path='/a', id.command_id.unique_scope='{scope}'");
        let kept = cluster_statement(&parsed(&keys)).unwrap();
        let again = parse_file("kept.deql", &kept).unwrap();
        assert_eq!(again.stores[0].config.id.command_id_unique_scope, parsed(&keys).id.command_id_unique_scope);
    }
}
