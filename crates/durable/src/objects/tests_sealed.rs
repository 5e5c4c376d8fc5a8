use super::*;
use crate::keyring::{rotate_keyring, sealed_places};
use crate::objects::{Fault, FlakyObjects, LocalObjects, StoreObjects, conformance};
use crate::testing::config;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_keys::testing::{Counting, TestKeys};
use strandline_keys::{KeyError, KeyFile, KeyInfo, KeyProvider, LocalKeys, Secret, Wrapped};

fn encrypted() -> strandline_deql::StoreConfig {
    let mut config = config("");
    config.security.encrypt_at_rest = true;
    config
}

fn memory() -> SharedObjects {
    Arc::new(StoreObjects::memory().unwrap())
}

fn keys(seed: u64) -> Arc<dyn KeyProvider> {
    Arc::new(TestKeys::new(seed))
}

fn sealed_over(inner: &SharedObjects, manifests: &SharedObjects) -> SharedObjects {
    sealed_places((Arc::clone(inner), Arc::clone(manifests)), &encrypted(), Some(keys(1)), true).unwrap().0
}

#[test]
fn sealed_objects_keep_what_objects_promise() {
    let folder = tempfile::tempdir().unwrap();
    let local: SharedObjects = Arc::new(LocalObjects::open(folder.path()).unwrap());
    conformance::check(&sealed_over(&local, &memory()));
    conformance::check(&sealed_over(&memory(), &memory()));
}

proptest! {
    #[test]
    fn what_was_written_is_read_in_any_part(
        bytes in proptest::collection::vec(any::<u8>(), 0..13_000), pieces in 1usize..5000, from in 0usize..13_000, length in 0usize..9000,
    ) {
        let inner = memory();
        let sealed = sealed_over(&inner, &memory());
        sealed.put_new("_runs/a", &bytes).unwrap();
        let mut aside = sealed.create("_runs/b").unwrap();
        for piece in bytes.chunks(pieces) {
            aside.write_all(piece).unwrap();
        }
        aside.finish().unwrap();
        for name in ["_runs/a", "_runs/b"] {
            prop_assert_eq!(&sealed.get(name).unwrap()[..], &bytes[..]);
            prop_assert_eq!(inner.get(name).unwrap().len() as u64, sealed_bytes(bytes.len() as u64));
            for object in [sealed.open(name).unwrap(), sealed.open_known(name, bytes.len() as u64).unwrap()] {
                prop_assert_eq!(object.len(), bytes.len() as u64);
                let (from, to) = (from.min(bytes.len()), (from + length).min(bytes.len()));
                prop_assert_eq!(&object.read_at(from as u64, to.saturating_sub(from)).unwrap()[..], &bytes[from..to.max(from)]);
            }
        }
    }
}

#[test]
fn nothing_of_an_object_is_where_it_lies_but_of_data_files() {
    let (inner, manifests) = (memory(), memory());
    let sealed = sealed_over(&inner, &manifests);
    let text = b"what nobody may find".repeat(300);
    for (name, is_clear) in
        [("_runs/x.run", false), ("p/part-1.parquet", true), ("p/part-1.parquet.tmp", true), (".cluster", true)]
    {
        sealed.put_new(name, &text).unwrap();
        let bytes = inner.get(name).unwrap();
        assert_eq!(bytes.windows(20).any(|part| part == &text[..20]), is_clear, "{name}");
        assert_eq!(sealed.seals(name), !is_clear);
    }
}

/// What is wrong with an object that was changed below.
fn fault_of(change: impl FnOnce(&SharedObjects, &SharedObjects)) -> String {
    let (inner, manifests) = (memory(), memory());
    let sealed = sealed_over(&inner, &manifests);
    for name in ["a", "b"] {
        sealed.put_new(name, &name.repeat(10_000).into_bytes()).unwrap();
    }
    change(&inner, &sealed);
    let whole = sealed.get("a").unwrap_err().to_string();
    let parts = sealed.open("a").map_err(|e| e.to_string());
    let all = parts.and_then(|object| object.read_at(0, object.len() as usize).map_err(|e| e.to_string()));
    assert!(all.is_err());
    whole
}

#[test]
fn what_was_changed_cut_or_exchanged_is_never_given() {
    let put = |inner: &SharedObjects, bytes: &[u8]| inner.replace("a", bytes).unwrap();
    for at in [50, 5000, 10_047] {
        let flipped = fault_of(|inner, _| {
            let mut bytes = inner.get("a").unwrap().to_vec();
            bytes[at] ^= 1;
            put(inner, &bytes);
        });
        assert!(flipped.contains("`a`") && flipped.contains("not what was sealed"), "{flipped}");
    }
    for chunks in [1, 2] {
        let cut = fault_of(|inner, _| {
            let bytes = inner.get("a").unwrap();
            put(inner, &bytes[..HEADER_BYTES + chunks * SEALED_CHUNK_BYTES]);
        });
        assert!(cut.contains("not what was sealed"), "{cut}");
    }
    let exchanged = fault_of(|inner, _| put(inner, &inner.get("b").unwrap()));
    assert!(exchanged.contains("comes from another place"), "{exchanged}");
    let plain = fault_of(|inner, _| put(inner, &b"forged".repeat(100)));
    assert!(plain.contains("it is not sealed"), "{plain}");
    let short = fault_of(|inner, _| put(inner, b"x"));
    assert!(short.contains("cut"), "{short}");
    let version = fault_of(|inner, _| {
        let mut bytes = inner.get("a").unwrap().to_vec();
        bytes[4] = 9;
        put(inner, &bytes);
    });
    assert!(version.contains("version"), "{version}");
}

#[test]
fn another_key_and_none_are_told() {
    let (inner, manifests) = (memory(), memory());
    sealed_over(&inner, &manifests);
    let places = || (Arc::clone(&inner), Arc::clone(&manifests));
    let other = sealed_places(places(), &encrypted(), Some(keys(2)), true).err().unwrap().to_string();
    assert!(other.contains("not the key that wrapped it"), "{other}");
    let none = sealed_places(places(), &encrypted(), None, true).err().unwrap().to_string();
    assert!(none.contains("security.kms.provider"), "{none}");
    let away = TestKeys::new(1);
    away.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let away = sealed_places(places(), &encrypted(), Some(Arc::new(away)), true).err().unwrap();
    assert_eq!(away.kind(), strandline_event::ErrorKind::Unavailable);
}

#[test]
fn a_provider_that_is_away_stops_nothing_that_is_open_and_is_told() {
    let (inner, manifests) = (memory(), memory());
    let provider = Arc::new(TestKeys::new(1));
    let shared: Arc<dyn KeyProvider> = Arc::clone(&provider) as _;
    let places = (Arc::clone(&inner), Arc::clone(&manifests));
    let sealed = sealed_places(places, &encrypted(), Some(shared), true).unwrap().0;
    sealed.look_at_keys(KeyLook::All);
    for (failures, at) in [(1, KeyLook::All), (2, KeyLook::Current)] {
        provider.away.store(true, std::sync::atomic::Ordering::Relaxed);
        sealed.look_at_keys(at);
        assert!(sealed.key_trouble().unwrap().contains("cannot be asked"));
        assert_eq!(sealed.trouble(), None, "the objects answer");
        assert_eq!(sealed.key_looks(), (failures, true));
        let name = format!("a{failures}");
        sealed.put_new(&name, b"goes on").unwrap();
        assert_eq!(&sealed.get(&name).unwrap()[..], b"goes on");
        provider.away.store(false, std::sync::atomic::Ordering::Relaxed);
        sealed.look_at_keys(at);
        assert_eq!((sealed.key_trouble(), sealed.key_looks()), (None, (failures, false)));
    }
}

#[test]
fn a_keyring_that_is_damaged_or_gone_is_told_while_the_store_is_open() {
    let (inner, manifests) = (memory(), memory());
    let sealed = sealed_over(&inner, &manifests);
    let path = manifests.list(KEYRING_FOLDER).unwrap().remove(0).path;
    let whole = manifests.get(&path).unwrap();
    let looked = || {
        sealed.look_at_keys(KeyLook::All);
        sealed.key_trouble()
    };
    assert_eq!(looked(), None);
    manifests.replace(&path, &whole[..whole.len() / 2]).unwrap();
    let damaged = looked().unwrap();
    assert!(damaged.contains(&path) && damaged.contains("from a copy"), "{damaged}");
    manifests.delete(&path).unwrap();
    let gone = looked().unwrap();
    assert!(gone.contains("the keyring is gone"), "{gone}");
    sealed.put_new("a", b"goes on").unwrap();
    manifests.put_new(&path, &whole).unwrap();
    assert_eq!(looked(), None);
}

#[test]
fn who_is_open_while_keys_are_rotated_goes_on_and_reads_what_others_seal_then() {
    let (inner, manifests) = (memory(), memory());
    let provider = TestKeys::new(1);
    let before = sealed_over(&inner, &manifests);
    before.put_new("old", b"old").unwrap();
    let mut told = Vec::new();
    let done = rotate_keyring(&*manifests, &provider, &mut |number| told.push(number)).unwrap().unwrap();
    assert_eq!((done.revision, done.wrapped, done.current, told), (2, 1, 2, vec![1]));
    let after = sealed_over(&inner, &manifests);
    after.put_new("new", b"new").unwrap();
    assert_eq!((before.keys().unwrap().current(), after.keys().unwrap().current()), (1, 2));
    assert_eq!(&before.get("new").unwrap()[..], b"new");
    assert_eq!(&after.get("old").unwrap()[..], b"old");
    assert_eq!(before.keys().unwrap().current(), 2);
    assert_eq!(manifests.list(KEYRING_FOLDER).unwrap().len(), 1, "older revisions go");
    assert_eq!(rotate_keyring(&*memory(), &provider, &mut |_| {}).unwrap(), None);
}

#[test]
fn what_others_seal_under_a_newer_key_waits_for_the_provider_and_is_not_called_damaged() {
    let (inner, manifests) = (memory(), memory());
    let provider = Arc::new(TestKeys::new(1));
    let shared: Arc<dyn KeyProvider> = Arc::clone(&provider) as _;
    let places = (Arc::clone(&inner), Arc::clone(&manifests));
    let before = sealed_places(places, &encrypted(), Some(shared), true).unwrap().0;
    before.put_new("old", b"old").unwrap();
    rotate_keyring(&*manifests, &TestKeys::with_random(1, 7), &mut |_| {}).unwrap();
    sealed_over(&inner, &manifests).put_new("new", b"new").unwrap();
    assert_eq!(before.unanswered(), None);
    for (fate, words) in [(&provider.away, "cannot be asked"), (&provider.refuses, "enable the key")] {
        fate.store(true, Ordering::Relaxed);
        let away = before.get("new").unwrap_err();
        assert_eq!(away.kind(), strandline_event::ErrorKind::Unavailable, "{away}");
        let said = away.to_string();
        assert!(said.contains("`new`") && said.contains(words), "{said}");
        assert!(before.key_trouble().unwrap().contains(words), "it is told at once");
        assert_eq!(&before.get("old").unwrap()[..], b"old");
        fate.store(false, Ordering::Relaxed);
    }
    assert_eq!(&before.get("new").unwrap()[..], b"new");
    // who checks the store concludes nothing from what was read meanwhile
    assert!(before.unanswered().unwrap().contains("cannot be asked"));
}

#[test]
fn what_others_seal_under_a_newer_key_waits_for_the_key_file_and_a_wrong_one_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    KeyFile::create(&path, &Counting::new(1)).unwrap();
    let provider =
        |random| -> Arc<dyn KeyProvider> { Arc::new(LocalKeys::open(&path, Arc::new(Counting::new(random))).unwrap()) };
    let (inner, manifests) = (memory(), memory());
    let opened = |random| {
        let places = (Arc::clone(&inner), Arc::clone(&manifests));
        sealed_places(places, &encrypted(), Some(provider(random)), true).unwrap().0
    };
    let before = opened(2);
    rotate_keyring(&*manifests, &*provider(3), &mut |_| {}).unwrap();
    opened(4).put_new("new", b"new").unwrap();
    let right = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let told = |words: &str| {
        let error = before.get("new").unwrap_err();
        assert!(error.to_string().contains("`new`") && error.to_string().contains(words), "{error}");
        assert!(before.key_trouble().unwrap().contains(words));
        matches!(error, ObjectError::KeyAway { .. })
    };
    assert!(told("put the one back that the store was made with"));
    KeyFile::create(&path, &Counting::new(9)).unwrap();
    assert!(!told("it is not the key that wrapped it"), "a key was tried");
    std::fs::write(&path, "no key").unwrap();
    assert!(told("put it back from a copy"));
    std::fs::write(&path, right).unwrap();
    assert_eq!(&before.get("new").unwrap()[..], b"new");
}

#[test]
fn what_others_seal_under_a_newer_key_waits_for_the_keyring_too_but_not_for_a_key_that_it_has_not() {
    let (inner, manifests) = (memory(), memory());
    drop(sealed_over(&inner, &manifests));
    let flaky: SharedObjects = Arc::new(FlakyObjects::new(Arc::clone(&manifests), 1, Fault::CrashBefore));
    let before = sealed_over(&inner, &flaky);
    rotate_keyring(&*manifests, &TestKeys::with_random(1, 7), &mut |_| {}).unwrap();
    let after = sealed_over(&inner, &manifests);
    after.put_new("new", b"new").unwrap();
    // from here on it answers nobody
    flaky.put_new("none", b"").unwrap_err();
    let error = before.get("new").unwrap_err();
    assert!(matches!(error, ObjectError::KeyAway { .. }) && error.to_string().contains("injected fault"), "{error}");
    // a key of a rotation that this keyring does not know
    let mut bytes = inner.get("new").unwrap().to_vec();
    bytes[HEADER_BYTES - KEY_NAME_BYTES] = 3;
    inner.put_new("forged", &bytes).unwrap();
    let error = after.get("forged").unwrap_err();
    assert!(!matches!(error, ObjectError::KeyAway { .. }) && error.to_string().contains("no key 3"), "{error}");
}

/// A provider that goes away when it has answered so often.
struct Leaving(TestKeys, AtomicUsize);

impl Leaving {
    fn after(answers: usize) -> Self {
        Self(TestKeys::with_random(1, 7), AtomicUsize::new(answers))
    }

    fn keys(&self) -> &TestKeys {
        let left = self.1.load(Ordering::Relaxed);
        self.1.store(left.saturating_sub(1), Ordering::Relaxed);
        self.0.away.store(left == 0, Ordering::Relaxed);
        &self.0
    }
}

impl KeyProvider for Leaving {
    fn describe(&self) -> Result<KeyInfo, KeyError> {
        self.keys().describe()
    }

    fn generate(&self) -> Secret {
        self.0.generate()
    }

    fn wrap(&self, key: &Secret, context: &str) -> Result<Wrapped, KeyError> {
        self.keys().wrap(key, context)
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &str) -> Result<Secret, KeyError> {
        self.keys().unwrap(wrapped, context)
    }
}

#[test]
fn a_provider_that_goes_away_at_any_moment_of_a_rotation_leaves_the_keyring_as_it_was() {
    let (inner, manifests) = (memory(), memory());
    let sealed = sealed_over(&inner, &manifests);
    sealed.put_new("a", b"before").unwrap();
    let rings = || {
        let listed = manifests.list(KEYRING_FOLDER).unwrap();
        listed.into_iter().map(|info| manifests.get(&info.path).unwrap()).collect::<Vec<_>>()
    };
    let before = rings();
    let mut answers = 0;
    let rotated = loop {
        match rotate_keyring(&*manifests, &Leaving::after(answers), &mut |_| {}) {
            Ok(rotated) => break rotated.unwrap(),
            Err(error) => assert_eq!(error.kind(), strandline_event::ErrorKind::Unavailable, "{error}"),
        }
        assert_eq!(rings(), before, "after {answers} answers");
        answers += 1;
    };
    // one key is opened and wrapped again, and one is new
    assert_eq!((answers, rotated.revision, rotated.current), (3, 2, 2));
    assert_eq!(&sealed.get("a").unwrap()[..], b"before");
    assert_eq!(&sealed_over(&inner, &manifests).get("a").unwrap()[..], b"before");
}

#[test]
fn of_two_rotations_at_once_the_second_goes_on_from_the_first() {
    let (inner, manifests) = (memory(), memory());
    let sealed = sealed_over(&inner, &manifests);
    sealed.put_new("a", b"before").unwrap();
    let (provider, mut first) = (TestKeys::with_random(1, 7), None);
    let second = rotate_keyring(&*manifests, &provider, &mut |_| {
        first.get_or_insert_with(|| rotate_keyring(&*manifests, &provider, &mut |_| {}).unwrap().unwrap());
    });
    let (first, second) = (first.unwrap(), second.unwrap().unwrap());
    assert_eq!((first.revision, first.current, second.revision, second.current), (2, 2, 3, 3));
    assert_eq!(manifests.list(KEYRING_FOLDER).unwrap().len(), 1);
    let after = sealed_over(&inner, &manifests);
    after.put_new("b", b"after").unwrap();
    assert_eq!((&after.get("a").unwrap()[..], &sealed.get("b").unwrap()[..]), (&b"before"[..], &b"after"[..]));
}
