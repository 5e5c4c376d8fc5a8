//! Damage in a bucket, planted as bad copies and careless hands make it: each kind is found and named, none is told as a store that gives
//! no answer, and no read shows a row of it.

use super::{moto, objects};
use crate::common::{TIERS, load};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::{DurableTier, RowFilter, SharedObjects, verify_file, verify_manifests};
use strandline_event::{ErrorKind, LogKey};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

/// A bucket that a store was written to.
struct Bucket {
    config: StoreConfig,
    data: SharedObjects,
    manifests: SharedObjects,
}

impl Bucket {
    /// Two jobs of events of several days, a file each day.
    fn new(prefix: &str) -> Self {
        let url = moto().url();
        let (data, manifests) = (objects(&url, prefix), objects(&url, &format!("{prefix}/_manifests")));
        let config = declared("/durable", &format!("{TIERS}, partition.by = 'dt'"));
        let places = (Arc::clone(&data), Arc::clone(&manifests));
        let mut store = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(places)).unwrap();
        for job in 0..2 {
            load(&mut store, "T", job * 40..(job + 1) * 40, 4);
            assert_eq!(store.compact(&log()).unwrap(), 40);
        }
        Self { config, data, manifests }
    }

    fn tier(&self) -> DurableTier {
        DurableTier::open_read_only_with(Arc::clone(&self.data), Arc::clone(&self.manifests), &self.config).unwrap()
    }

    /// What a check of everything says, and why a scan fails.
    fn told(&self) -> (Vec<String>, Option<ErrorKind>) {
        let tier = self.tier();
        let snapshot = tier.pin();
        let of_files = snapshot.files().iter().flat_map(|file| verify_file(&tier, file));
        let findings = verify_manifests(&tier).into_iter().chain(of_files).map(|finding| finding.to_string()).collect();
        let failed = snapshot.scan(&RowFilter::default()).find_map(Result::err).map(|error| error.kind());
        assert_eq!(tier.unanswered(), None, "each request was answered");
        (findings, failed)
    }

    /// Puts other bytes in the place of an object, or takes it away; what is told then. It is put back.
    fn with(&self, at: &SharedObjects, path: &str, bytes: Option<&[u8]>) -> (Vec<String>, Option<ErrorKind>) {
        let good = at.get(path).unwrap();
        match bytes {
            Some(bytes) => at.replace(path, bytes).unwrap(),
            None => at.delete(path).unwrap(),
        }
        let told = self.told();
        at.replace(path, &good).unwrap();
        for finding in &told.0 {
            assert!(!finding.contains("AWS_"), "the bucket is as it should be, the object is not: {finding}");
        }
        told
    }
}

fn log() -> LogKey {
    LogKey::single("T")
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let (mut bytes, middle) = (bytes.to_vec(), bytes.len() / 2);
    bytes[middle] ^= 1;
    bytes
}

#[test]
fn each_kind_of_damage_to_a_data_file_is_named() {
    let bucket = Bucket::new("damage/files");
    let paths: Vec<String> = bucket.tier().pin().files().iter().map(|file| file.path.clone()).collect();
    let (good, other) = (bucket.data.get(&paths[0]).unwrap(), bucket.data.get(&paths[1]).unwrap());
    let half = good.len() / 2;
    let kinds = [
        ("a bit", Some(flipped(&good))),
        ("cut in the middle", Some(good[..half].to_vec())),
        ("cut by a byte", Some(good[..good.len() - 1].to_vec())),
        ("a byte longer", Some([&good[..], b"\0"].concat())),
        ("emptied", Some(Vec::new())),
        ("another file", Some(other.to_vec())),
        ("gone", None),
    ];
    for (kind, bytes) in kinds {
        let (findings, failed) = bucket.with(&bucket.data, &paths[0], bytes.as_deref());
        assert!(findings.iter().any(|finding| finding.contains(&paths[0])), "{kind}: {findings:?}");
        assert!(findings.iter().all(|finding| !finding.contains(&paths[1])), "{kind}: {findings:?}");
        assert!(failed.is_none_or(|failed| failed == ErrorKind::Integrity), "{kind}: {failed:?}");
        // a bit may stand in a filter, which no scan asks, and what is behind the end nobody reads
        assert!(failed.is_some() || ["a bit", "a byte longer"].contains(&kind), "{kind}");
    }
    assert_eq!(bucket.told(), (Vec::new(), None));
}

#[test]
fn damage_to_manifests_and_runs_is_named() {
    let bucket = Bucket::new("damage/manifests");
    let mut versions: Vec<String> = bucket.manifests.list("").unwrap().into_iter().map(|info| info.path).collect();
    versions.retain(|path| path.starts_with('v'));
    assert!(versions.len() > 2, "{versions:?}");
    let [first, second] = [&versions[0], &versions[1]];
    let kinds = [
        ("a bit", Some(flipped(&bucket.manifests.get(second).unwrap())), second.as_str()),
        ("another version", Some(bucket.manifests.get(first).unwrap().to_vec()), second.as_str()),
        ("gone", None, "is missing before it"),
    ];
    for (kind, bytes, named) in kinds {
        let (findings, _) = bucket.with(&bucket.manifests, second, bytes.as_deref());
        assert!(findings.iter().any(|finding| finding.contains(named)), "{kind}: {findings:?}");
    }
    let heads = bucket.tier().pin().log(&log()).unwrap().heads.last().unwrap().path.clone();
    let good = bucket.data.get(&heads).unwrap();
    for (kind, bytes) in
        [("a bit", Some(flipped(&good))), ("cut", Some(good[..good.len() / 2].to_vec())), ("gone", None)]
    {
        let (findings, _) = bucket.with(&bucket.data, &heads, bytes.as_deref());
        assert!(findings.iter().any(|finding| finding.contains(&heads)), "{kind}: {findings:?}");
    }
    assert_eq!(bucket.told(), (Vec::new(), None));
}
