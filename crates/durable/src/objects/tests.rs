//! One suite, run on the folder and on the object store.

use super::*;
use std::io::Write as _;

fn conformance(objects: &dyn Objects) {
    objects.put_new("a/b/one.json", b"first").unwrap();
    assert!(matches!(objects.put_new("a/b/one.json", b"second"), Err(ObjectError::AlreadyExists { .. })));
    assert_eq!(&objects.get("a/b/one.json").unwrap()[..], b"first");
    assert!(matches!(objects.get("a/none"), Err(ObjectError::NotFound { .. })));
    let mut aside = objects.create("a/two").unwrap();
    aside.write_all(b"0123456789").unwrap();
    aside.finish().unwrap();
    assert!(matches!(objects.create("a/two"), Err(ObjectError::AlreadyExists { .. })));
    let two = objects.open("a/two").unwrap();
    assert_eq!((two.len(), &two.read_at(3, 4).unwrap()[..]), (10, &b"3456"[..]));
    assert!(two.read_at(8, 3).is_err() && two.read_at(u64::MAX, 3).is_err());
    let names: Vec<_> = objects.list("a").unwrap().into_iter().map(|i| (i.path, i.bytes)).collect();
    assert_eq!(names, [("a/b/one.json".to_owned(), 5), ("a/two".to_owned(), 10)]);
    objects.delete("a/two").unwrap();
    assert!(!objects.exists("a/two").unwrap() && objects.exists("a/b/one.json").unwrap());
    assert_eq!(objects.list("nothing").unwrap(), []);
    for bytes in [&b"hint"[..], b"a longer hint", b"h"] {
        objects.replace("c/hint", bytes).unwrap();
        assert_eq!(objects.get("c/hint").unwrap(), bytes);
    }
    assert_eq!(objects.list("c").unwrap().len(), 1);
}

#[test]
fn a_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let objects = LocalObjects::open(&dir.path().join("deep/er")).unwrap();
    conformance(&objects);
    objects.rename("a/b/one.json", "a/b/other.json").unwrap();
    assert!(objects.exists("a/b/other.json").unwrap());
    objects.link("a/b/other.json", "a/b/second").unwrap();
    assert!(matches!(objects.link("a/b/other.json", "a/b/second"), Err(ObjectError::AlreadyExists { .. })));
    assert!(matches!(objects.link("a/b/none", "a/b/third"), Err(ObjectError::NotFound { .. })));
    objects.delete("a/b/other.json").unwrap();
    assert_eq!(objects.get("a/b/second").unwrap(), &b"first"[..]);
    assert!(objects.put_new("../out", b"").is_err() && objects.open("/etc/passwd").is_err());
}

#[test]
fn an_object_store_keeps_the_contract() {
    conformance(&StoreObjects::memory().unwrap());
    conformance(&StoreObjects::new(Arc::new(object_store::memory::InMemory::new()), "some/prefix").unwrap());
}

#[test]
fn racing_creates_have_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let objects: Arc<dyn Objects> = Arc::new(LocalObjects::open(dir.path()).unwrap());
    for round in 0..20 {
        let name = format!("v{round}");
        let threads: Vec<_> = (0..4_u8)
            .map(|n| {
                let (objects, name) = (Arc::clone(&objects), name.clone());
                std::thread::spawn(move || objects.put_new(&name, &[n; 100]).is_ok())
            })
            .collect();
        let wins = threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|won| *won).count();
        assert_eq!(wins, 1);
        let got = objects.get(&name).unwrap();
        assert!(got.len() == 100 && got.iter().all(|b| *b == got[0]));
    }
    assert_eq!(objects.list("").unwrap().len(), 20, "no aside file stays");
}

#[test]
fn a_crash_stops_everything_after_it() {
    let memory: SharedObjects = Arc::new(StoreObjects::memory().unwrap());
    let flaky = FlakyObjects::new(Arc::clone(&memory), 2, Fault::CrashAfter);
    flaky.put_new("1", b"").unwrap();
    assert!(flaky.put_new("2", b"").is_err() && flaky.put_new("3", b"").is_err() && flaky.get("1").is_err());
    assert_eq!(memory.list("").unwrap().len(), 2);
}
