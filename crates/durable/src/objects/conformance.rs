//! What every implementation of [`Objects`] must keep: one suite, run on the folder, on memory and on a real S3 server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{ObjectError, ObjectInfo, Objects, SharedObjects};
use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

/// Objects that are larger than one part of an upload.
const LARGE_BYTES: usize = 2 * (8 << 20) + 12_345;

/// The whole suite, on objects that hold nothing yet.
///
/// # Panics
/// Where the contract is broken.
pub fn check(objects: &SharedObjects) {
    names(&**objects);
    pieces(&**objects);
    listings(&**objects);
    racing_creates(objects);
}

fn names(objects: &dyn Objects) {
    objects.put_new("a/b/one.json", b"first").unwrap();
    assert!(matches!(objects.put_new("a/b/one.json", b"second"), Err(ObjectError::AlreadyExists { .. })));
    assert_eq!(&objects.get("a/b/one.json").unwrap()[..], b"first");
    assert!(matches!(objects.get("a/none"), Err(ObjectError::NotFound { .. })));
    assert!(matches!(objects.open("a/none").map(|_| ()), Err(ObjectError::NotFound { .. })));
    objects.put_new("a/empty", b"").unwrap();
    assert!(objects.open("a/empty").unwrap().is_empty());
    objects.put_new("dt=2026-11-23/tenant=a%2Fb/zoë %25.parquet", b"x").unwrap();
    assert_eq!(&objects.get("dt=2026-11-23/tenant=a%2Fb/zoë %25.parquet").unwrap()[..], b"x");
    objects.delete("dt=2026-11-23/tenant=a%2Fb/zoë %25.parquet").unwrap();
    for bytes in [&b"hint"[..], b"a longer hint", b"h"] {
        objects.replace("c/hint", bytes).unwrap();
        assert_eq!(objects.get("c/hint").unwrap(), bytes);
    }
    assert_eq!(objects.list("c").unwrap().len(), 1);
    objects.delete("c/hint").unwrap();
    objects.delete("a/empty").unwrap();
}

fn pieces(objects: &dyn Objects) {
    let mut aside = objects.create("a/two").unwrap();
    aside.write_all(b"0123456789").unwrap();
    aside.finish().unwrap();
    assert!(matches!(objects.create("a/two").map(|_| ()), Err(ObjectError::AlreadyExists { .. })));
    let two = objects.open("a/two").unwrap();
    assert_eq!((two.len(), &two.read_at(3, 4).unwrap()[..]), (10, &b"3456"[..]));
    assert!(two.read_at(8, 3).is_err() && two.read_at(u64::MAX, 3).is_err());
    // one that is shorter than is remembered: that it ends is told, and nothing else
    let remembered = objects.open_known("a/two", 20).unwrap();
    for (start, length) in [(8, 5), (12, 3)] {
        let error = ObjectError::from_io("a/two", remembered.read_at(start, length).unwrap_err());
        let ends = matches!(&error, ObjectError::Io { source, .. } if source.kind() == ErrorKind::UnexpectedEof);
        assert!(ends && objects.unanswered().is_none() && objects.trouble().is_none(), "from {start}: {error}");
    }
    let large: Vec<u8> = (0..LARGE_BYTES).map(|i| (i / 7 % 251) as u8).collect();
    let mut aside = objects.create("large/one").unwrap();
    for piece in large.chunks(1 << 20) {
        aside.write_all(piece).unwrap();
    }
    aside.finish().unwrap();
    assert!(objects.get("large/one").unwrap()[..] == large[..], "what was written in pieces is there as it was");
    objects.delete("large/one").unwrap();
    if !objects.stages() {
        let mut dropped = objects.create("large/dropped").unwrap();
        dropped.write_all(&large).unwrap();
        drop(dropped);
        assert!(!objects.exists("large/dropped").unwrap(), "what was not finished never was");
    }
}

fn listings(objects: &dyn Objects) {
    let names: Vec<_> = objects.list("a").unwrap().into_iter().map(|i| (i.path, i.bytes)).collect();
    assert_eq!(names, [("a/b/one.json".to_owned(), 5), ("a/two".to_owned(), 10)]);
    assert_eq!(objects.list("nothing").unwrap(), []);
    for name in ["v1", "v2", "v3", "w/v2", "x"] {
        objects.put_new(name, b"").unwrap();
        objects.put_new(&format!("in/{name}"), b"").unwrap();
    }
    let listed = |infos: Vec<ObjectInfo>| infos.into_iter().map(|info| info.path).collect::<Vec<_>>();
    let after = |name: &str, limit| {
        let found = objects.list_after(name, limit).unwrap();
        let complete = found.complete;
        let direct = listed(found.objects).into_iter().filter(|path| !path.contains('/'));
        (direct.collect::<Vec<_>>(), complete)
    };
    assert_eq!(after("v1", 10), (["v2", "v3", "x"].map(str::to_owned).to_vec(), true));
    assert_eq!(after("x", 10), (vec![], true));
    let (some, complete) = after("v1", 1);
    assert!(some[0] == "v2" && (complete == (some.len() == 3)));
    assert_eq!(listed(objects.list_range("", "v2", "w").unwrap()), ["v2", "v3"]);
    assert_eq!(listed(objects.list_range("in", "v1", "v3").unwrap()), ["in/v1", "in/v2"]);
    assert_eq!(listed(objects.list_range("nothing", "a", "z").unwrap()), [""; 0]);
    let beside = listed(objects.list_beside("in").unwrap());
    assert_eq!(beside, ["a/b/one.json", "a/two", "v1", "v2", "v3", "w/v2", "x"]);
    objects.delete_all(&["v1", "none", "w/v2", "v3", "v2", "x"].map(str::to_owned)).unwrap();
    objects.delete_all(&["v1", "v2", "v3", "w/v2", "x"].map(|name| format!("in/{name}"))).unwrap();
    objects.delete("a/two").unwrap();
    assert!(!objects.exists("a/two").unwrap() && objects.exists("a/b/one.json").unwrap());
    objects.delete("a/b/one.json").unwrap();
    assert_eq!(objects.list("").unwrap(), []);
}

/// Several threads create one name again and again: one of them wins each time, and what is there is its own, whole.
fn racing_creates(objects: &SharedObjects) {
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let name = format!("race/v{round:02}");
        let threads: Vec<_> = (0..4_u8)
            .map(|n| {
                let (objects, name) = (Arc::clone(objects), name.clone());
                std::thread::spawn(move || {
                    loop {
                        match objects.put_new(&name, &[n; 100]) {
                            Ok(()) => return Some(n),
                            Err(ObjectError::AlreadyExists { .. }) => return None,
                            Err(ObjectError::Conflict { .. }) => objects.pause(1),
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let winners: Vec<u8> =
            threads.into_iter().filter_map(|thread| thread.join().expect("no thread panics")).collect();
        assert_eq!(winners.len(), 1, "{name}");
        assert!(objects.get(&name).unwrap()[..] == [winners[0]; 100]);
    }
    assert_eq!(objects.list("race").unwrap().len(), ROUNDS, "no aside file stays");
    for round in 0..ROUNDS {
        objects.delete(&format!("race/v{round:02}")).unwrap();
    }
}
