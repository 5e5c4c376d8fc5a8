//! One suite, run on the folder and on the object store.

use super::*;

#[test]
fn a_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(LocalObjects::open(&dir.path().join("deep/er")).unwrap());
    conformance::check(&(Arc::clone(&objects) as SharedObjects));
    objects.put_new("a/b/one.json", b"first").unwrap();
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
    conformance::check(&(Arc::new(StoreObjects::memory().unwrap()) as SharedObjects));
    let memory = Arc::new(object_store::memory::InMemory::new());
    conformance::check(&(Arc::new(StoreObjects::new(memory, "some/prefix").unwrap()) as SharedObjects));
}

#[test]
fn a_crash_stops_everything_after_it() {
    let memory: SharedObjects = Arc::new(StoreObjects::memory().unwrap());
    let flaky = FlakyObjects::new(Arc::clone(&memory), 2, Fault::CrashAfter);
    flaky.put_new("1", b"").unwrap();
    assert!(flaky.put_new("2", b"").is_err() && flaky.put_new("3", b"").is_err() && flaky.get("1").is_err());
    assert_eq!(memory.list("").unwrap().len(), 2);
}

#[test]
fn a_local_copy_is_whole_and_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("scratch");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("copy-1-0"), b"of a process that was killed").unwrap();
    let objects = StoreObjects::memory().unwrap().with_scratch(&folder).unwrap();
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    objects.put_new("run", &bytes).unwrap();
    let mut file = objects.local_copy("run").unwrap().unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut read).unwrap();
    assert!(read == bytes);
    assert!(matches!(objects.local_copy("none"), Err(ObjectError::NotFound { .. })));
    assert!(StoreObjects::memory().unwrap().local_copy("run").unwrap().is_none(), "no folder, no copy");
}

#[test]
fn a_probe_leaves_nothing_and_finds_stores_that_overwrite() {
    let memory = StoreObjects::memory().unwrap();
    probe(&memory, "memory://", 1).unwrap();
    assert_eq!(memory.list("").unwrap(), []);
    memory.put_new(&format!(".probe-{:032x}", 2), b"who").unwrap();
    assert!(matches!(probe(&memory, "memory://", 2), Err(ObjectError::NoConditionalCreate { .. })));
}

/// The default build serves `s3://`; `scripts/clouds` builds the others.
#[cfg(not(any(feature = "gs", feature = "az")))]
#[test]
fn a_kind_that_the_build_leaves_out_is_refused_with_the_feature_s_name() {
    let (bucket, prefix) = ("b".to_owned(), "p".to_owned());
    let gs = strandline_deql::Location::Gs { bucket, prefix: prefix.clone() };
    let az = strandline_deql::Location::Azure { container: "c".to_owned(), prefix };
    for (location, feature) in [(gs, "gs"), (az, "az")] {
        let refused = open_location(&location, Purpose::Read, &Settings::new(&[])).map(drop).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, ObjectError::NotSupported { .. }), "{text}");
        assert!(text.contains(&format!("`{location}`")) && text.contains(&format!("feature `{feature}`")), "{text}");
    }
}
