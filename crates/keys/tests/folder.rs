//! The folder of subject keys under several processes at once: they share nothing but its files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use strandline_keys::Secret;
use strandline_keys::subject::folder::KeyFolder;
use strandline_keys::subject::record::{Stored, Subject, Tombstone};

/// Says to a process of the test which one it is, and where the folder is.
const WHO: &str = "STRANDLINE_FOLDER_WHO";
const PLACE: &str = "STRANDLINE_FOLDER_PLACE";
const PROCESSES: u8 = 4;
const SUBJECTS: u8 = 40;

#[test]
fn processes_that_meet_new_subjects_at_once_have_one_key_of_each_and_one_order_of_erasures() {
    if let Some(place) = std::env::var_os(PLACE) {
        let who: u8 = std::env::var(WHO).unwrap().parse().unwrap();
        let mut go = String::new();
        std::io::stdin().read_line(&mut go).unwrap();
        let folder = KeyFolder::open(place.as_ref(), [who; 16]).unwrap();
        for n in 0..SUBJECTS {
            let (subject, mut aside) = (subject(n), [who; 16]);
            aside[0] = n;
            let secret = Secret::new([who; Secret::BYTES]);
            let is_mine = folder.make(&subject, ([who; 16], &secret), aside).unwrap();
            let id = match folder.find(&subject).unwrap() {
                Some((id, Stored::Whole(found))) => {
                    assert_eq!(id[..], found.expose()[..16], "a key is whole from its first moment on");
                    id
                }
                // by a process that is ahead of this one, and may be in the midst of it
                Some((id, Stored::Destroyed | Stored::Broken)) => id,
                None => panic!("no key of {n}"),
            };
            println!("\nKEY {n} {} {is_mine}", id[0]);
        }
        // each erases subjects of its own
        for n in (0..SUBJECTS).filter(|n| n % PROCESSES == who % PROCESSES) {
            let (subject, mut aside) = (subject(n), [who; 16]);
            aside[1] = n;
            let (id, _) = folder.find(&subject).unwrap().unwrap();
            let tombstone = Tombstone { at_us: 1, who: who.to_string(), events: u64::from(n) };
            let number = (1..).find(|number| folder.add_erased(*number, (id, &subject, &tombstone), aside).unwrap());
            folder.destroy(&subject).unwrap();
            assert!(number.is_some() && matches!(folder.find(&subject), Ok(Some((_, Stored::Destroyed)))));
        }
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> = (1..=PROCESSES).map(|who| child(who, place.path())).collect();
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let said: Vec<Vec<(u8, u8, bool)>> = children.into_iter().map(heard).collect();
    for n in 0..usize::from(SUBJECTS) {
        let of: Vec<(u8, u8, bool)> = said.iter().map(|said| said[n]).collect();
        assert_eq!(of.iter().filter(|of| of.2).count(), 1, "one has made it: {of:?}");
        assert!(of.iter().all(|one| (one.0, one.1) == (of[0].0, of[0].1)), "all have found the same: {of:?}");
    }
    let folder = KeyFolder::open(place.path(), [99; 16]).unwrap();
    assert!((1..=PROCESSES).any(|who| folder.id() == [who; 16]), "it was made once");
    let erased = (1..=u64::from(SUBJECTS)).map(|number| folder.erased(number).unwrap().unwrap());
    let subjects: BTreeSet<Subject> = erased.map(|erased| erased.subject).collect();
    assert_eq!(subjects, (0..SUBJECTS).map(subject).collect());
    assert_eq!(folder.erased(u64::from(SUBJECTS) + 1).unwrap(), None);
}

fn subject(n: u8) -> Subject {
    Subject { store: "s".into(), stream_type: "Call".into(), name: n.to_string() }
}

/// This test once more, as one of the processes.
fn child(who: u8, place: &std::path::Path) -> Child {
    let test = "processes_that_meet_new_subjects_at_once_have_one_key_of_each_and_one_order_of_erasures";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(WHO, who.to_string()).env(PLACE, place);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Of each subject: which it is, whose key it has, whether this process made it.
fn heard(child: Child) -> Vec<(u8, u8, bool)> {
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let text = String::from_utf8(ended.stdout).unwrap();
    let keys = text.lines().filter_map(|line| line.strip_prefix("KEY "));
    let key = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2] == "true")
    };
    keys.map(key).collect()
}
