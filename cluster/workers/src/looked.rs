//! What `strandline verify` finds in a node's own folder: in every file that a start reads there, and that belongs to no log and no data file.
//!
//! | file | what is looked at |
//! |---|---|
//! | `node-id`, `member`, `cluster/stores.deql` | the command itself reads them: without them it does not know what to look at |
//! | `stores/{store}/stream-types` | each line and its checksum; the numbers of buckets against the manifest |
//! | `stores/{store}/subscriptions` | each group and its checksum, what is sealed in it, its records |
//! | `stores/{store}/paused` | its one line |
//! | `stores/{store}/subject-keys`, `.reached`, `subject-keys.shared` | their checksums; against each other, and against the keys where they are named |
//! | `cluster/meta`, `cluster/meta.kept`, `cluster/must-not-vote` | the log of the meta group, the state beside it, and whether one fits the other |
//! | `stores/{store}/served-*`, `cluster/addresses`, `cluster/life`, `*.new`, locks | nothing: a hint, a count that goes on above a damaged one, what a crash left aside, files without a byte |
//!
//! It reads only, refuses to know what is in a store, and goes on after a finding. No node runs on the folder.

use crate::compaction::pause::PauseFile;
use crate::data_dir::store_folder_in;
use crate::member_file::MemberFile;
use crate::registry;
use crate::subjects::looked as subject_keys;
use crate::subscriptions::SubscriptionFile;
use std::path::Path;
use std::sync::Arc;
use strandline_engine::subjects::KnownKeys;
use strandline_engine::verify::{KnownStore, Owner};
use strandline_event::decode_path_text;
use strandline_wal::Disk;

/// Something in a node's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FolderFinding {
    /// The file.
    pub place: String,
    /// In a sentence.
    pub what: String,
    /// It is not as it should be. Else it is worth knowing.
    pub is_wrong: bool,
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<FolderFinding>,
}

impl Findings {
    pub(crate) fn wrong(&mut self, place: &Path, what: impl Into<String>) {
        self.add(place, what.into(), true);
    }

    pub(crate) fn note(&mut self, place: &Path, what: impl Into<String>) {
        self.add(place, what.into(), false);
    }

    fn add(&mut self, place: &Path, what: String, is_wrong: bool) {
        let place = place.display().to_string();
        // some errors name their file by themselves
        let what = match what.strip_prefix(&place) {
            Some(rest) => rest.trim_start_matches([':', ' ']).to_owned(),
            None => what,
        };
        self.all.push(FolderFinding { place, what, is_wrong });
    }
}

/// Checks what a node's folder keeps for one of its stores. `known`: what the store says; `keys`: those of subjects, where they are named.
#[must_use]
pub fn check_store_folder(
    data_dir: &Path,
    (store, known): (&str, &KnownStore),
    (disk, keys): (&dyn Disk, Option<&KnownKeys>),
) -> Vec<FolderFinding> {
    let (folder, mut out) = (store_folder_in(data_dir, store), Findings::default());
    // one that is damaged ends the command before
    let member = MemberFile::read(data_dir).ok().flatten();
    check_registry(&folder, known, member.is_some(), &mut out);
    check_subscriptions(&folder, known, &mut out);
    let paused = folder.join("paused");
    match PauseFile::of(&folder).is_damaged() {
        Ok(false) => {}
        Ok(true) => out.wrong(
            &paused,
            "it is damaged, which counts as paused: remove it, or let compaction go on with `strandline resume` when the node runs",
        ),
        Err(error) => out.wrong(&paused, error.to_string()),
    }
    match member {
        None => subject_keys::check_store(&folder, store, (disk, keys), &mut out),
        Some(member) => check_owner(data_dir, member.cluster, known.owner, &mut out),
    }
    out.all
}

/// Checks what a node's folder keeps for the node itself. `keys`: those of subjects, where they are named; `looked_at`: the stores that are looked at
/// besides, where that shall be all of them.
#[must_use]
pub fn check_node_folder(
    data_dir: &Path,
    (disk, keys): (&Arc<dyn Disk>, Option<&KnownKeys>),
    looked_at: Option<&[&str]>,
) -> Vec<FolderFinding> {
    let mut out = Findings::default();
    if let Some(looked_at) = looked_at {
        tell_passed_over(&data_dir.join("stores"), looked_at, &mut out);
    }
    if let Some(member) = MemberFile::read(data_dir).ok().flatten() {
        crate::cluster::looked::check(data_dir, disk, member.node, &mut out);
        subject_keys::check_member(data_dir, &**disk, keys, &mut out);
    }
    for fault in keys.into_iter().flat_map(KnownKeys::faults) {
        out.add(&fault.place, fault.what.clone(), fault.is_wrong);
    }
    out.all
}

/// Stores that the node has served, and that nobody declares now: of those nothing is looked at.
fn tell_passed_over(stores: &Path, looked_at: &[&str], out: &mut Findings) {
    // that there is none says that nothing was ever kept
    let Ok(folders) = std::fs::read_dir(stores) else { return };
    for path in folders.flatten().map(|folder| folder.path()).filter(|path| path.is_dir()) {
        let name = path.file_name().and_then(|name| decode_path_text(name.to_str()?));
        if let Some(name) = name.filter(|name| !looked_at.contains(&name.as_str())) {
            out.note(
                &path,
                format!("no statement that is looked at declares store `{name}`: nothing of it was checked"),
            );
        }
    }
}

fn check_registry(folder: &Path, known: &KnownStore, is_member: bool, out: &mut Findings) {
    let place = folder.join("stream-types");
    // of a cluster's store the cluster says how many buckets there are
    let buckets = Some(&known.buckets).filter(|_| known.is_read && !is_member);
    match registry::look(folder, buckets) {
        Err(error) => out.wrong(&place, error.to_string()),
        Ok(looked) => {
            looked.faults.into_iter().for_each(|fault| out.wrong(&place, fault));
            if looked.is_torn {
                out.note(&place, "its last line is torn, or damaged: the next start cuts it");
            }
            if !looked.missing.is_empty() {
                let names = looked.missing.join("`, `");
                out.note(&place, format!("stream types of several buckets are not registered in it: `{names}`"));
            }
        }
    }
}

fn check_subscriptions(folder: &Path, known: &KnownStore, out: &mut Findings) {
    let place = folder.join("subscriptions");
    let keys = known.is_read.then_some(known.keys.as_deref());
    match SubscriptionFile::check(folder, keys) {
        Ok(false) => {}
        Ok(true) => out.note(&place, "its end is torn, or damaged: the next start cuts it"),
        Err(error) => out.wrong(&place, error.to_string()),
    }
}

/// All stores of a cluster are marked before it serves them.
fn check_owner(data_dir: &Path, cluster: u128, owner: Owner, out: &mut Findings) {
    let what = match owner {
        Owner::Alone => "durable.path has no `.cluster`, which says to which cluster the store belongs: put it back",
        Owner::Cluster(other) if other != cluster => {
            "`.cluster` at durable.path says that the store belongs to another cluster than this node: name the right durable.path"
        }
        Owner::Cluster(_) | Owner::Unknown => return,
    };
    out.wrong(&data_dir.join("member"), what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_consensus::meta::Roles;
    use strandline_wal::RealDisk;

    fn found(dir: &Path, known: &KnownStore) -> Vec<(String, bool)> {
        let findings = check_store_folder(dir, ("s", known), (&RealDisk::new(), None));
        findings.into_iter().map(|of| (format!("{}: {}", of.place, of.what), of.is_wrong)).collect()
    }

    #[test]
    fn each_file_of_a_store_is_looked_at() {
        let data = tempfile::tempdir().unwrap();
        let folder = store_folder_in(data.path(), "s");
        let known = KnownStore { is_read: true, ..KnownStore::default() };
        assert!(found(data.path(), &known).is_empty());
        std::fs::create_dir_all(&folder).unwrap();
        let begins = [
            ("stream-types", "strandline stream-types 1\n"),
            ("subscriptions", "SLSB\u{1}\0\0\0\0\0\0\0\0\0\0\0"),
            ("paused", "strandline paused 1\n"),
        ];
        begins.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
        assert!(found(data.path(), &known).is_empty());
        for (name, text) in begins {
            std::fs::write(folder.join(name), text.replacen('s', "S", 1).replacen("SLSB", "slsb", 1)).unwrap();
            let found = found(data.path(), &known);
            let [(line, true)] = &found[..] else { panic!("{name}: {found:?}") };
            let place = folder.join(name).display().to_string();
            assert!(line.starts_with(&place) && line.matches(&place).count() == 1, "{line}");
            std::fs::write(folder.join(name), text).unwrap();
        }
        std::fs::write(folder.join("stream-types"), "strandline stream-types 1\n0000").unwrap();
        assert!(matches!(&found(data.path(), &known)[..], [(_, false)]));
    }

    #[test]
    fn a_store_that_nobody_declares_is_told() {
        let data = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let notes = |looked_at: Option<&[&str]>| check_node_folder(data.path(), (&disk, None), looked_at).len();
        assert_eq!(notes(Some(&[])), 0);
        std::fs::create_dir_all(store_folder_in(data.path(), "a/b")).unwrap();
        assert_eq!([notes(Some(&["a/b"])), notes(None), notes(Some(&["other"]))], [0, 0, 1]);
    }

    #[test]
    fn a_store_of_a_member_must_be_that_of_its_cluster() {
        let data = tempfile::tempdir().unwrap();
        let member = MemberFile { cluster: 5, node: 1, instance: 7, founds: true, roles: Roles::ALL };
        member.write(data.path()).unwrap();
        let of = |owner| KnownStore { is_read: true, owner, ..KnownStore::default() };
        let wrong = |owner| found(data.path(), &of(owner)).len();
        assert_eq!([Owner::Cluster(5), Owner::Unknown, Owner::Cluster(6), Owner::Alone].map(wrong), [0, 0, 1, 1]);
    }
}
