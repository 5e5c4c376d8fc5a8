//! What a check finds in what a data folder keeps of the subject keys: in itself, and against the keys where they are named. Nothing of it changes.

use super::marker::{Marker, path_in, reached_in};
use super::shared::kept_in;
use crate::looked::Findings;
use std::path::Path;
use strandline_engine::subjects::{KnownKeys, LookedReached, look_whole_reached};
use strandline_event::hex::to_hex;
use strandline_keys::subject::reached::Slot;
use strandline_wal::Disk;

const BEHIND: &str = "--subject-keys is behind the data: it was cut, or is an older copy, and lacks keys that events are sealed with, or erasures. \
                      Put back the newest copy of it";

/// Of a store that a node alone serves. `folder`: its own in the data folder.
pub(crate) fn check_store(
    folder: &Path,
    store: &str,
    (disk, keys): (&dyn Disk, Option<&KnownKeys>),
    out: &mut Findings,
) {
    let (place, reached) = (path_in(folder), reached_in(folder));
    let (slot, is_damaged) = newest(disk, &reached, out);
    let marker = match Marker::read(&place) {
        Ok(marker) => marker,
        Err(error) => return out.wrong(&place, error.to_string()),
    };
    let Some(marker) = marker else {
        let is_known = keys.is_some_and(|keys| keys.knows(store));
        if is_known {
            let what = "it is gone, and --subject-keys knows erasable stream types of this store: a start without --subject-keys would store their \
                        events as they come. Put it back from a copy, or start the node once with --subject-keys";
            out.wrong(&place, what);
        } else if (slot.is_some() || is_damaged) && keys.is_none() {
            let what = "it is not there, though the file is that says how far the keys of subjects had come: name them with --subject-keys, to be told \
                        whether the store has erasable stream types";
            out.note(&place, what);
        }
        return;
    };
    if keys.is_some_and(|keys| to_hex(&keys.id()) != marker.id) {
        let what = "--subject-keys names another file than the one that the erasable stream types were sealed with, which was at";
        return out.wrong(&place, format!("{what} {}", marker.place));
    }
    match slot {
        None if marker.keeps_reached() => {
            let what = "it is gone or damaged: it says how far the file of --subject-keys had come, and without it no start takes that file. Put it \
                        back from a copy of the data folder of the same moment, or see that --subject-keys is the newest copy, and start once with \
                        --accept-lost-subject-keys";
            out.wrong(&reached, what);
        }
        Some(slot) if to_hex(&slot.file) != marker.id => {
            let what =
                "it is of another file of keys than the one that `subject-keys` names: put both back from one copy";
            out.wrong(&reached, what);
        }
        Some(slot) if keys.is_some_and(|keys| !keys.has_come_to(&slot)) => out.wrong(&reached, BEHIND),
        _ => {}
    }
}

/// Of a member of a cluster, whose folder of keys all nodes share.
pub(crate) fn check_member(data_dir: &Path, disk: &dyn Disk, keys: Option<&KnownKeys>, out: &mut Findings) {
    let reached = kept_in(data_dir);
    let (slot, is_damaged) = newest(disk, &reached, out);
    if is_damaged {
        let what = "it is damaged: it says how far the folder of --subject-keys had come, so that an older copy of it is refused. Put it back from a copy";
        out.wrong(&reached, what);
    }
    let Some(slot) = slot else { return };
    let Some(keys) = keys else { return };
    if keys.id() != slot.file {
        out.wrong(&reached, "--subject-keys names another folder than the one that this node was served with");
    } else if !keys.has_come_to(&slot) {
        out.wrong(&reached, BEHIND);
    }
}

/// The place that a file says, and whether it says none for damage. What else is wrong with it is told.
fn newest(disk: &dyn Disk, path: &Path, out: &mut Findings) -> (Option<Slot>, bool) {
    match look_whole_reached(disk, path) {
        Ok(Some(LookedReached { newest: None, broken })) => (None, broken > 0),
        Ok(Some(LookedReached { newest, broken })) => {
            if broken > 0 {
                out.note(path, "one of its two places is torn, or damaged: the other one counts");
            }
            (newest, false)
        }
        Ok(None) => (None, false),
        Err(error) => {
            out.wrong(path, format!("it cannot be read: {error}"));
            (None, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use strandline_engine::subjects::SubjectKeys;
    use strandline_keys::subject::record::SubjectKind;
    use strandline_wal::RealDisk;

    const ID: [u8; 16] = [7; 16];

    /// A store with an erasable stream type: its folder, and its keys.
    fn served(place: &Path) {
        let (disk, keys) = (RealDisk::new(), place.join("keys"));
        let subjects = SubjectKeys::open(&disk, &keys, ID).unwrap();
        let folder = place.join("store");
        fs::create_dir_all(&folder).unwrap();
        subjects.tell_store(&disk, "s", &reached_in(&folder)).unwrap();
        Marker::new(ID, &keys, vec![("Call".to_owned(), SubjectKind::Stream)]).write(&path_in(&folder)).unwrap();
        subjects.declare("s", "Call", SubjectKind::Stream).unwrap();
    }

    fn found(place: &Path, with_keys: bool) -> Vec<String> {
        let (disk, mut out) = (RealDisk::new(), Findings::default());
        let keys = with_keys.then(|| KnownKeys::look(&disk, &place.join("keys")).unwrap());
        check_store(&place.join("store"), "s", (&disk, keys.as_ref()), &mut out);
        let (wrong, notes): (Vec<_>, Vec<_>) = out.all.into_iter().partition(|finding| finding.is_wrong);
        assert!(notes.is_empty(), "{notes:?}");
        wrong.into_iter().map(|finding| format!("{}: {}", finding.place, finding.what)).collect()
    }

    #[test]
    fn what_a_data_folder_keeps_of_subject_keys_is_checked_in_itself_and_against_them() {
        let place = tempfile::tempdir().unwrap();
        served(place.path());
        let folder = place.path().join("store");
        for with_keys in [false, true] {
            assert_eq!(found(place.path(), with_keys), [] as [String; 0]);
        }
        let says = |with_keys: bool, text: &str| {
            let found = found(place.path(), with_keys);
            assert!(found.iter().any(|line| line.contains(text)), "{text}: {found:?}");
        };
        let (marker, reached) = (path_in(&folder), reached_in(&folder));
        let (named, place_of) = (fs::read(&marker).unwrap(), fs::read(&reached).unwrap());
        let mut bad = named.clone();
        bad[30] ^= 1;
        fs::write(&marker, bad).unwrap();
        says(false, "is damaged: it says which file holds the subject keys");
        fs::remove_file(&marker).unwrap();
        says(true, "a start without --subject-keys would store");
        fs::write(&marker, named).unwrap();
        fs::write(&reached, vec![1; place_of.len()]).unwrap();
        says(false, "gone or damaged");
        fs::remove_file(&reached).unwrap();
        says(false, "gone or damaged");
        fs::write(&reached, &place_of).unwrap();
        // an older copy of the keys
        let keys = fs::read(place.path().join("keys")).unwrap();
        fs::write(place.path().join("keys"), &keys[..4096]).unwrap();
        says(true, "is behind the data");
        assert_eq!(found(place.path(), false), [] as [String; 0], "who names no keys asks nothing of them");
    }
}
