//! A start where the manifests are there and the disk of the files is not mounted.

use super::*;
use std::path::PathBuf;
use strandline_durable::{FilesAway, OpenError as DurableError};
use strandline_engine::store::OpenError;

/// A store whose manifests lie elsewhere than its files.
fn apart(dir: &Path) -> Declarations {
    declarations(dir, &format!(", durable.commit.manifest_path = '{}/manifests'", dir.display()))
}

#[expect(clippy::disallowed_methods, reason = "of a test's folder, which no power loss threatens")]
fn move_away(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

/// What says in a folder, by its name, that files are there.
fn mark(folder: PathBuf, prefix: &str) -> Option<PathBuf> {
    let mut paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
}

fn marks(dir: &Path) -> [Option<PathBuf>; 2] {
    [mark(dir.join("durable"), ".store-"), mark(dir.join("manifests"), ".files-")]
}

async fn refused(dir: &Path) -> FilesAway {
    let refused = Node::start(apart(dir), options(dir)).await.err().unwrap();
    assert!(refused.to_string().contains("mounted") && refused.is_configuration(), "{refused}");
    let StartError::Store { error, .. } = refused else { panic!("another refusal") };
    let OpenError::Durable(DurableError::FilesAway(away)) = *error else { panic!("refused for another reason") };
    away
}

/// Three events in a data file.
async fn store_events(node: &NodeHandle) {
    let store = node.store("calls").unwrap();
    append(node, &store, "c", 3).await.unwrap();
    for job in store.compact(None).await.unwrap() {
        assert_eq!(job.ended().await.error, None);
    }
}

#[test]
fn a_store_does_not_open_where_its_manifests_are_and_its_files_are_not() {
    runtime::run(async {
        for has_files in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            let (files, away) = (dir.join("durable"), dir.join("away"));
            let node = Node::start(apart(dir), options(dir)).await.unwrap();
            if has_files {
                store_events(&node).await;
            }
            stop(node).await;
            move_away(&files, &away);
            for is_bare in [false, true] {
                if is_bare {
                    std::fs::create_dir(&files).unwrap();
                }
                refused(dir).await;
                let holds = std::fs::read_dir(&files).map(Iterator::count).ok();
                assert_eq!(holds, is_bare.then_some(0), "with files: {has_files}");
            }
            // what is in the way of a look at the bare folder does not make a store of it
            std::fs::write(files.join("note.txt"), "mount it").unwrap();
            let missed = refused(dir).await;
            assert_eq!(missed.named > 0, has_files);
            if !has_files {
                // whoever knows that nothing is lost says so, as the text has it
                std::fs::write(files.join(missed.mark), "").unwrap();
                stop(Node::start(apart(dir), options(dir)).await.unwrap()).await;
            }
            std::fs::remove_dir_all(&files).unwrap();
            move_away(&away, &files);
            let node = Node::start(apart(dir), options(dir)).await.unwrap();
            if has_files {
                assert_eq!(count(&node.store("calls").unwrap(), "c").await, 3);
            }
            stop(node).await;
        }
    })
    .unwrap();
}

#[test]
fn a_store_of_an_older_program_is_opened_with_its_files_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (files, away) = (dir.join("durable"), dir.join("away"));
    runtime::run(async {
        let node = Node::start(apart(dir), options(dir)).await.unwrap();
        store_events(&node).await;
        stop(node).await;
        let forget = || marks(dir).into_iter().for_each(|mark| std::fs::remove_file(mark.unwrap()).unwrap());
        forget();
        let node = Node::start(apart(dir), options(dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c").await, 3);
        assert!(marks(dir).iter().all(Option::is_some));
        drop(store);
        stop(node).await;
        // not marked, it is told by the files that are named
        forget();
        move_away(&files, &away);
        std::fs::create_dir(&files).unwrap();
        assert!(refused(dir).await.named > 0);
        assert!(marks(dir).iter().all(Option::is_none), "nothing is marked by a start that is refused");
        std::fs::remove_dir_all(&files).unwrap();
        move_away(&away, &files);
        stop(Node::start(apart(dir), options(dir)).await.unwrap()).await;
        assert!(marks(dir).iter().all(Option::is_some));
    })
    .unwrap();
}
