//! The rules of starting a cluster and joining it, by real nodes on loopback: each refusal, and what it leaves behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cluster/copies.rs"]
mod copies;
#[path = "cluster/mounted.rs"]
mod mounted;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::GroupId;
use strandline_consensus::join::{Folder, StartFlags};
use strandline_consensus::meta::{Addresses, Command, Erasable, Followers, NodeState, Roles};
use strandline_deql::{StoreConfig, parse_file};
use strandline_workers::cluster::{ClusterError, ClusterNode, ClusterOptions, start_cluster};
use strandline_workers::{NodeOptions, whose_folder};
use tokio::net::TcpListener;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The store with its durable.path in this folder, and more keys.
    fn store(&self, durable: &str, node: &str, keys: &str) -> StoreConfig {
        let text = format!(
            "CREATE EVENTSTORE orders WITH (durable.type='parquet', durable.path='{}', wal.enabled=true, wal.path='{}'{keys});",
            self.dir(durable).display(),
            self.dir(node).join("log").display(),
        );
        parse_file("t", &text).unwrap_or_else(|e| panic!("{}", e.render(false))).stores.remove(0).config
    }

    /// Starts node `name` over its folder.
    async fn start(
        &self,
        name: &str,
        flags: Flags<'_>,
        stores: &[StoreConfig],
    ) -> Result<Option<ClusterNode>, ClusterError> {
        let listener = TcpListener::bind(flags.at.unwrap_or("127.0.0.1:0")).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ClusterOptions {
            flags: StartFlags {
                node_id: flags.id,
                cluster: (!flags.alone).then(|| address.to_string()),
                join: flags.join.map(|at| at.to_string()),
            },
            addresses: addresses(&address),
            roles: flags.roles.map(|roles| Roles::parse(roles).unwrap()),
            replication: 3,
            certificates: None,
            check: Arc::new(|_| Ok(())),
        };
        let node = NodeOptions { subject_keys: flags.keys, ..NodeOptions::new(self.dir(name)) };
        start_cluster(&self.dir(name), stores, options, listener, &node).await
    }

    async fn refused(&self, name: &str, flags: Flags<'_>, stores: &[StoreConfig]) -> String {
        let error = self.start(name, flags, stores).await.err().unwrap();
        assert!(error.is_configuration(), "{error}");
        error.to_string()
    }

    /// Node 1 with its store.
    async fn first(&self) -> ClusterNode {
        self.start("one", Flags::default(), &[self.store("shared", "one", "")]).await.unwrap().unwrap()
    }

    async fn second(&self, first: &ClusterNode) -> ClusterNode {
        let flags = Flags { id: Some(2), join: Some(address(first)), ..Flags::default() };
        self.start("two", flags, &[]).await.unwrap().unwrap()
    }
}

#[derive(Default)]
struct Flags<'a> {
    id: Option<u64>,
    join: Option<SocketAddr>,
    at: Option<&'a str>,
    alone: bool,
    keys: Option<PathBuf>,
    roles: Option<&'static str>,
}

fn addresses(at: &SocketAddr) -> Addresses {
    Addresses { cluster: at.to_string(), http: at.to_string(), native: String::new() }
}

async fn address_of(seen_by: &ClusterNode, id: u64) -> String {
    until(|| seen_by.control.state().nodes().contains_key(&id)).await;
    seen_by.control.state().nodes()[&id].facts.addresses.cluster.clone()
}

fn address(node: &ClusterNode) -> SocketAddr {
    let state = node.control.state();
    state.nodes()[&node.node()].facts.addresses.cluster.parse().unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it does not come about in a minute");
}

fn voters(node: &ClusterNode) -> Vec<u64> {
    let state = node.control.state();
    let placement = state.groups().get(&GroupId::Meta).cloned().unwrap_or_default();
    if placement.is_settled() { placement.voters.into_iter().collect() } else { Vec::new() }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_options_is_alone_and_nothing_is_made() {
    let place = Place::new();
    let alone = place.start("one", Flags { alone: true, ..Flags::default() }, &[]).await.unwrap();
    assert!(alone.is_none() && !place.dir("one").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_node_makes_the_cluster_and_others_join_it() {
    let place = Place::new();
    let first = place.first().await;
    assert_eq!(first.control.state().stores()["orders"].version, 1);
    assert_eq!(first.control.state().cluster().unwrap().followers, Followers::Fewest, "a new cluster");
    let second = place.second(&first).await;
    // what the cluster has, with a log of its own
    let store = &second.stores[0];
    assert_eq!(store.durable.path, first.stores[0].durable.path);
    assert!(store.wal.path.as_ref().unwrap().to_string().contains("/two/stores/orders/log"), "{:?}", store.wal.path);
    until(|| voters(&second) == [1, 2]).await;
    let cluster = first.control.cluster();
    assert_eq!(whose_folder(&place.dir("two")).unwrap(), Folder::Member { node: 2, cluster });
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_folder_wins() {
    let place = Place::new();
    let first = place.first().await;
    let at = address(&first);
    let second = place.second(&first).await;
    let second_at = address_of(&first, 2).await;
    until(|| voters(&second) == [1, 2]).await;
    // twice at a time
    let flags = Flags { id: Some(2), join: Some(at), ..Flags::default() };
    assert!(place.refused("two", flags, &[]).await.contains("another node runs on"));
    second.stop().await;
    let flags = Flags { id: Some(3), join: Some(at), ..Flags::default() };
    assert!(place.refused("two", flags, &[]).await.contains("belongs to node 2"));
    assert!(
        place.refused("two", Flags { alone: true, ..Flags::default() }, &[]).await.contains("must not write to it")
    );
    // --join is a no-op, also where nobody listens; and the node is where it is now
    let nobody = Some("127.0.0.1:9".parse().unwrap());
    let again = place.start("two", Flags { join: nobody, ..Flags::default() }, &[]).await.unwrap().unwrap();
    let moved = again.node();
    assert_eq!(moved, 2);
    until(|| again.control.state().nodes().len() == 2).await;
    let before = first.control.state().nodes()[&2].facts.instance;
    until(|| first.control.state().nodes()[&2].facts.addresses.cluster != second_at).await;
    assert_eq!(first.control.state().nodes()[&2].facts.instance, before);
    again.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_shared_is_refused_and_may_be_mended() {
    let place = Place::new();
    let first = place.first().await;
    // the statement names one path; on another machine another folder is there. Here: the mark is taken away for a moment
    let mark = place.dir("shared").join(".cluster");
    let bytes = std::fs::read(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    let flags = || Flags { id: Some(2), join: Some(address(&first)), ..Flags::default() };
    let refused = place.refused("two", flags(), &[]).await;
    assert!(refused.contains("mount the same folder"), "{refused}");
    assert_eq!(whose_folder(&place.dir("two")).unwrap(), Folder::Joining { node: 2 });
    assert_eq!(first.control.state().nodes()[&2].state, NodeState::Joining);
    std::fs::write(&mark, bytes).unwrap();
    // the same node, with the bits that it had
    let second = place.start("two", flags(), &[]).await.unwrap().unwrap();
    until(|| voters(&second) == [1, 2]).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_no_cluster_keeps_are_refused_before_anything_is_written() {
    let place = Place::new();
    let refused = place.refused("one", Flags::default(), &[place.store("shared", "one", ", wal.fsync=false")]).await;
    assert!(refused.contains("wal.fsync"), "{refused}");
    let text = format!(
        "CREATE EVENTSTORE orders WITH (durable.type='parquet', durable.path='{}');",
        place.dir("shared").display()
    );
    let without_log = parse_file("t", &text).unwrap().stores.remove(0).config;
    let refused = place.refused("one", Flags::default(), &[without_log]).await;
    assert!(refused.contains("wal.enabled") && refused.contains("a node alone"), "{refused}");
    assert_eq!((files(&place.dir("one")), files(&place.dir("shared"))), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_takes_no_store_from_anybody() {
    let place = Place::new();
    let first = place.first().await;
    let refused = place.refused("other", Flags::default(), &[place.store("shared", "other", "")]).await;
    assert!(refused.contains("belongs to store `orders` of cluster"), "{refused}");
    first.stop().await;
    // files of a node alone whose data directory is not this one
    std::fs::create_dir_all(place.dir("files")).unwrap();
    std::fs::write(place.dir("files").join("part-1.parquet"), b"x").unwrap();
    let refused = place.refused("third", Flags::default(), &[place.store("files", "third", "")]).await;
    assert!(refused.contains("needs an empty durable.path"), "{refused}");
    assert!(!place.dir("third").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_node_takes_on_no_further_store_of_anybody() {
    let place = Place::new();
    let others = place.start("other", Flags::default(), &[place.store("others", "other", "")]).await.unwrap().unwrap();
    place.first().await.stop().await;
    std::fs::create_dir_all(place.dir("files")).unwrap();
    std::fs::write(place.dir("files").join("part-1.parquet"), b"x").unwrap();
    let with = |durable: &str| {
        let further = StoreConfig { name: "invoices".to_owned(), ..place.store(durable, "invoices", "") };
        [place.store("shared", "one", ""), further]
    };
    for (durable, said) in
        [("others", "belongs to store `orders` of cluster"), ("files", "needs an empty durable.path")]
    {
        let refused = place.refused("one", Flags::default(), &with(durable)).await;
        assert!(refused.contains("`invoices`") && refused.contains(said), "{refused}");
    }
    assert_eq!(files(&place.dir("files")), 1, "no mark is made");
    // one of nobody is taken on, and is its own from then on
    for _ in 0..2 {
        let first = place.start("one", Flags::default(), &with("new")).await.unwrap().unwrap();
        assert!(first.control.state().stores().keys().eq(["invoices", "orders"]));
        first.stop().await;
    }
    others.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statement_of_a_node_must_be_the_clusters() {
    let place = Place::new();
    let first = place.first().await;
    let flags = || Flags { id: Some(2), join: Some(address(&first)), ..Flags::default() };
    let other = place.store("shared", "two", ", strict.tenant_required=true");
    let refused = place.refused("two", flags(), &[other]).await;
    assert!(refused.contains("strict.tenant_required"), "{refused}");
    let mut unknown = place.store("shared", "two", "");
    unknown.name = "invoices".to_owned();
    let refused = place.refused("two", flags(), &[unknown]).await;
    assert!(refused.contains("`invoices` is not declared"), "{refused}");
    // its own wal.path is its own matter
    let second = place.start("two", flags(), &[place.store("shared", "two", "")]).await.unwrap().unwrap();
    assert!(second.stores[0].wal.path.as_ref().unwrap().to_string().ends_with("/two/log"));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_of_a_node_alone_becomes_the_first_member_and_joins_no_other_cluster() {
    let place = Place::new();
    std::fs::create_dir_all(place.dir("one")).unwrap();
    std::fs::write(place.dir("one").join("node-id"), "00000000000000ff\n").unwrap();
    let other = Flags { id: Some(7), ..Flags::default() };
    let refused = place.refused("one", other, &[place.store("shared", "one", "")]).await;
    assert!(refused.contains("belongs to node 255"), "{refused}");
    let first = place.first().await;
    assert_eq!(first.node(), 255);
    std::fs::create_dir_all(place.dir("two")).unwrap();
    std::fs::write(place.dir("two").join("node-id"), "00000000000000fe\n").unwrap();
    let joins = Flags { join: Some(address(&first)), ..Flags::default() };
    assert!(place.refused("two", joins, &[]).await.contains("empty --data-dir"));
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_stop_and_come_back_to_what_they_knew() {
    let place = Place::new();
    let first = place.first().await;
    let at = address(&first).to_string();
    let second = place.second(&first).await;
    until(|| voters(&first) == [1, 2]).await;
    let second_at = address(&second).to_string();
    first.control.propose(&Command::SetReplication(5)).await.unwrap();
    let (cluster, before) = (first.control.cluster(), first.control.state());
    second.stop().await;
    first.stop().await;
    let flags = |at| Flags { at: Some(at), ..Flags::default() };
    let store = [place.store("shared", "one", "")];
    let (first, second) =
        tokio::join!(place.start("one", flags(&at), &store), place.start("two", flags(&second_at), &[]));
    let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
    assert_eq!(first.control.cluster(), cluster);
    let knows = |node: &ClusterNode| {
        let now = node.control.state();
        (now.cluster(), now.nodes(), now.stores(), now.groups())
            == (before.cluster(), before.nodes(), before.stores(), before.groups())
    };
    until(|| knows(&first) && knows(&second)).await;
    second.stop().await;
    first.stop().await;
}

/// With it what it had acknowledged is gone: it does not vote as if it had just joined, nor is it a cluster of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_log_of_the_meta_group_is_gone_does_not_come_back() {
    let place = Place::new();
    let first = place.first().await;
    let second = place.second(&first).await;
    until(|| voters(&first) == [1, 2] && voters(&second) == [1, 2]).await;
    let folder = |name: &str| place.dir(name).join("cluster");
    let knows = |name: &str, other: &str| {
        let text = std::fs::read_to_string(folder(name).join("addresses")).unwrap_or_default();
        text.lines().any(|line| line.starts_with(other))
    };
    // the file follows the state as that changes
    let told = async {
        let mut replicas = 3;
        while !(knows("one", "2 ") && knows("two", "1 ")) {
            replicas = 8 - replicas;
            first.control.propose(&Command::SetReplication(replicas)).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("they do not keep where the other one is");
    second.stop().await;
    first.stop().await;
    for (name, stores) in [("one", vec![place.store("shared", "one", "")]), ("two", Vec::new())] {
        std::fs::remove_dir_all(folder(name).join("meta")).unwrap();
        let error = place.start(name, Flags::default(), &stores).await.err().unwrap().to_string();
        assert!(error.contains("it is gone") && error.contains("must not vote"), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_all_come_back_elsewhere_find_each_other_where_one_is_named() {
    let place = Place::new();
    let first = place.first().await;
    let second = place.second(&first).await;
    let joins = Flags { id: Some(3), join: Some(address(&first)), roles: Some("read"), ..Flags::default() };
    let third = place.start("three", joins, &[]).await.unwrap().unwrap();
    until(|| voters(&first) == [1, 2]).await;
    let before: Vec<String> =
        first.control.state().nodes().values().map(|e| e.facts.addresses.cluster.clone()).collect();
    for node in [third, second, first] {
        node.stop().await;
    }
    // ports that were free a moment ago, and none of them an old one
    let at: SocketAddr = loop {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        if !before.contains(&free.to_string()) {
            break free;
        }
    };
    let (one, store) = (at.to_string(), [place.store("shared", "one", "")]);
    let first = place.start("one", Flags { at: Some(&one), ..Flags::default() }, &store);
    let elsewhere = || Flags { join: Some(at), ..Flags::default() };
    let (first, second, third) =
        tokio::join!(first, place.start("two", elsewhere(), &[]), place.start("three", elsewhere(), &[]));
    let nodes = [first, second, third].map(|node| node.unwrap().unwrap());
    for node in &nodes {
        until(|| node.control.state().nodes().values().all(|e| !before.contains(&e.facts.addresses.cluster))).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_cannot_serve_is_found_before_it_is_a_member() {
    let place = Place::new();
    let first = place.first().await;
    let flags = || Flags { id: Some(8), join: Some(address(&first)), ..Flags::default() };
    // nothing at all is said to the cluster
    let keys = Some(place.dir("keys"));
    std::fs::write(place.dir("keys"), b"").unwrap();
    let refused = place.refused("eight", Flags { keys, ..flags() }, &[]).await;
    assert!(refused.contains("--subject-keys"), "{refused}");
    assert!(!first.control.state().nodes().contains_key(&8) && !place.dir("eight").exists());
    // its log is in the folder of another process
    let taken = place.store("shared", "elsewhere", "");
    std::fs::create_dir_all(place.dir("elsewhere").join("log")).unwrap();
    let lock = std::fs::File::create(place.dir("elsewhere").join("log/.lock")).unwrap();
    lock.lock().unwrap();
    let refused = place.refused("eight", flags(), std::slice::from_ref(&taken)).await;
    assert!(refused.contains("in use by another process"), "{refused}");
    assert_eq!(first.control.state().nodes()[&8].state, NodeState::Joining);
    assert_eq!(voters(&first), [1], "nobody counts on it");
    // it was mended, and is let in
    drop(lock);
    let eighth = place.start("eight", flags(), &[taken]).await.unwrap().unwrap();
    until(|| voters(&eighth) == [1, 8]).await;
    eighth.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_stay_with_a_folder_and_others_need_the_word_of_the_cluster() {
    let place = Place::new();
    let first = place.first().await;
    let joins = |id, roles| Flags { id: Some(id), join: Some(address(&first)), roles: Some(roles), ..Flags::default() };
    let second = place.start("two", joins(2, "compact"), &[]).await.unwrap().unwrap();
    let third = place.start("three", joins(3, "read"), &[]).await.unwrap().unwrap();
    let roles_of = |id: u64| first.control.state().nodes()[&id].facts.roles.to_string();
    assert_eq!([1, 2, 3].map(roles_of), ["ingest,compact,read", "compact", "read"]);
    // who does not ingest has no vote anywhere
    until(|| {
        let meta = first.control.meta_status();
        meta.voters == [1].into() && meta.learners == [2, 3].into()
    })
    .await;
    until(|| voters(&first) == [1]).await;
    let again = |roles| Flags { roles, ..Flags::default() };
    // nothing is said: what it was
    second.stop().await;
    let second = place.start("two", again(None), &[]).await.unwrap().unwrap();
    assert_eq!(roles_of(2), "compact");
    second.stop().await;
    let second = place.start("two", again(Some("ingest")), &[]).await.unwrap().unwrap();
    assert_eq!(roles_of(2), "ingest");
    until(|| voters(&first) == [1, 2]).await;
    // its vote is needed from now on
    let (store, name) = ("orders".to_owned(), "Order".to_owned());
    let register = Command::RegisterType { store, name, buckets: 1, erasable: Erasable::No, registered: true };
    first.control.propose(&register).await.unwrap();
    second.stop().await;
    let refused = place.refused("two", again(Some("read")), &[]).await;
    for said in ["--roles read", "1 voters instead of 2", "this node has had ingest"] {
        assert!(refused.contains(said), "{refused}");
    }
    let second = place.start("two", again(None), &[]).await.unwrap().unwrap();
    assert_eq!(roles_of(2), "ingest");
    for node in [third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_keys_of_erasable_types_may_join_and_starts_without_them_no_more() {
    let place = Place::new();
    let first = place.first().await;
    let (store, name) = ("orders".to_owned(), "Person".to_owned());
    let register = Command::RegisterType { store, name, buckets: 1, erasable: Erasable::Stream, registered: true };
    first.control.propose(&register).await.unwrap();
    // from here on its vote is needed
    let second = place.second(&first).await;
    until(|| voters(&second) == [1, 2]).await;
    second.stop().await;
    let refused = place.refused("two", Flags::default(), &[]).await;
    assert!(refused.contains("has erasable stream types") && refused.contains("--subject-keys FOLDER"), "{refused}");
    let keys = Some(place.dir("keys"));
    let second = place.start("two", Flags { keys, ..Flags::default() }, &[]).await.unwrap().unwrap();
    second.stop().await;
    first.stop().await;
}
