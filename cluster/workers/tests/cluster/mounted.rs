//! A member whose shared folder is not mounted when it starts.

use crate::{Flags, Place, address, until, voters};
use std::path::{Path, PathBuf};
use strandline_deql::{StoreConfig, parse_file};
use strandline_workers::cluster::ClusterNode;
use strandline_workers::{Node, NodeHandle, NodeOptions, runtime};

/// A node that serves the stores of its cluster; why it does not.
async fn serve(
    place: &Place,
    name: &str,
    flags: Flags<'_>,
    own: &[StoreConfig],
) -> Result<(ClusterNode, NodeHandle), String> {
    let mut cluster = match place.start(name, flags, own).await {
        Ok(cluster) => cluster.unwrap(),
        Err(error) => {
            assert!(error.is_configuration(), "{error}");
            return Err(error.to_string());
        }
    };
    let statements: String = cluster.stores.iter().map(strandline_deql::print).collect();
    let declared = parse_file("t", &statements).unwrap();
    match Node::start_member(declared, NodeOptions::new(place.dir(name)), &mut cluster).await {
        Ok(node) => Ok((cluster, node)),
        Err(error) => {
            cluster.stop().await;
            assert!(error.is_configuration(), "{error}");
            Err(error.to_string())
        }
    }
}

async fn stop((cluster, node): (ClusterNode, NodeHandle)) {
    let _ = node.stop().await;
    cluster.stop().await;
}

#[expect(clippy::disallowed_methods, reason = "of a test's folder, which no power loss threatens")]
fn move_away(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

/// What is said where nothing of a store is there, and where its manifests are, without its files.
const SERVED: &str = "this node has served a store";
const APART: &str = "`.store-";

/// Nothing is made in the place of the folder, be that bare or not there.
async fn refused(place: &Place, name: &str, own: &[StoreConfig], why: &str) {
    let (shared, away) = (place.dir("shared"), place.dir("away"));
    move_away(&shared, &away);
    for is_bare in [false, true] {
        if is_bare {
            std::fs::create_dir(&shared).unwrap();
        }
        let said = serve(place, name, Flags::default(), own).await.err().unwrap();
        assert!(said.contains(why) && said.contains("mounted"), "{name}: {said}");
        assert_eq!(std::fs::read_dir(&shared).map(Iterator::count).ok(), is_bare.then_some(0), "{name}");
    }
    std::fs::remove_dir(&shared).unwrap();
    move_away(&away, &shared);
}

/// A node does not know any more that it has served the store; gives what told it.
fn forget(place: &Place, name: &str) -> PathBuf {
    let kept = place.dir(name).join("stores/orders");
    let is_mark = |path: &Path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("served-"));
    let mut kept = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path());
    let mark = kept.find(|path| is_mark(path)).unwrap();
    std::fs::remove_file(&mark).unwrap();
    mark
}

/// The same of a node that does not know that it has served the store, and where another cluster's folder is mounted.
async fn forgotten(place: &Place, name: &str) {
    let (shared, away, other) = (place.dir("shared"), place.dir("away"), place.dir("other"));
    let mark = forget(place, name);
    move_away(&shared, &away);
    std::fs::create_dir(&shared).unwrap();
    let said = serve(place, name, Flags::default(), &[]).await.err().unwrap();
    assert!(said.contains("mount the same folder"), "{said}");
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
    assert!(!mark.exists(), "it has served nothing");
    std::fs::write(shared.join(".cluster"), std::fs::read(other.join(".cluster")).unwrap()).unwrap();
    let said = serve(place, name, Flags::default(), &[]).await.err().unwrap();
    assert!(said.contains("belongs to store `orders` of cluster"), "{said}");
    std::fs::remove_dir_all(&shared).unwrap();
    move_away(&away, &shared);
    stop(serve(place, name, Flags::default(), &[]).await.unwrap()).await;
    assert!(mark.exists());
}

#[test]
fn a_member_whose_shared_folder_is_not_mounted_bears_no_store_in_its_place() {
    let place = Place::new();
    let own = |name: &str| [place.store("shared", name, "")];
    runtime::run(async {
        let another = [place.store("other", "another", "")];
        stop(serve(&place, "another", Flags::default(), &another).await.unwrap()).await;
        let first = serve(&place, "one", Flags::default(), &own("one")).await.unwrap();
        let joins = Flags { id: Some(2), join: Some(address(&first.0)), ..Flags::default() };
        let second = serve(&place, "two", joins, &[]).await.unwrap();
        until(|| voters(&first.0) == [1, 2] && voters(&second.0) == [1, 2]).await;
        stop(second).await;
        forgotten(&place, "two").await;
        // by the cluster's statement, and by its own
        refused(&place, "two", &[], SERVED).await;
        refused(&place, "two", &own("two"), SERVED).await;
        stop(serve(&place, "two", Flags::default(), &[]).await.unwrap()).await;
        stop(first).await;
        refused(&place, "one", &own("one"), SERVED).await;
    })
    .unwrap();
}

#[test]
fn a_first_node_that_is_alone_marks_only_what_is_its_own_or_new() {
    let place = Place::new();
    let own = [place.store("shared", "one", "")];
    runtime::run(async {
        stop(serve(&place, "one", Flags::default(), &own).await.unwrap()).await;
        let (shared, away) = (place.dir("shared"), place.dir("away"));
        forget(&place, "one");
        move_away(&shared, &away);
        std::fs::create_dir(&shared).unwrap();
        let said = serve(&place, "one", Flags::default(), &own).await.err().unwrap();
        assert!(said.contains("mount the same folder"), "{said}");
        assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
        std::fs::remove_dir(&shared).unwrap();
        move_away(&away, &shared);
        // files that were put back without it get it again
        let mark = shared.join(".cluster");
        std::fs::remove_file(&mark).unwrap();
        stop(serve(&place, "one", Flags::default(), &own).await.unwrap()).await;
        assert!(mark.exists());
    })
    .unwrap();
}

#[test]
fn a_member_whose_manifests_are_mounted_and_whose_files_are_not_makes_nothing_in_their_place() {
    let place = Place::new();
    let keys = format!(", durable.commit.manifest_path='{}'", place.dir("manifests").display());
    let own = |name: &str| [place.store("shared", name, &keys)];
    runtime::run(async {
        let first = serve(&place, "one", Flags::default(), &own("one")).await.unwrap();
        let joins = Flags { id: Some(2), join: Some(address(&first.0)), ..Flags::default() };
        let second = serve(&place, "two", joins, &[]).await.unwrap();
        until(|| voters(&first.0) == [1, 2] && voters(&second.0) == [1, 2]).await;
        stop(second).await;
        // by the cluster's statement, and by its own
        refused(&place, "two", &[], APART).await;
        refused(&place, "two", &own("two"), APART).await;
        stop(serve(&place, "two", Flags::default(), &[]).await.unwrap()).await;
        stop(first).await;
        refused(&place, "one", &own("one"), APART).await;
    })
    .unwrap();
}
