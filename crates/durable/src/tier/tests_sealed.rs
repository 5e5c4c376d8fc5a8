//! The tier of an encrypted store: what it writes gives nothing away, what it reads is whole, and what was changed or exchanged is
//! named.

use crate::keyring::{rotate_keyring, sealed_places};
use crate::manifest::version_name;
use crate::read::{Counters, DataFile};
use crate::testing::{Owned, commit, config, folders, history, job, options, write};
use crate::{DurableTier, RowFilter};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::encryption::decrypt::FileDecryptionProperties;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_deql::StoreConfig;
use strandline_event::{ErrorKind, Field};
use strandline_keys::testing::TestKeys;
use strandline_keys::{KeyName, KeyProvider, Purpose};

pub(super) fn encrypted(keys: &str) -> StoreConfig {
    let mut config = config(keys);
    config.security.encrypt_at_rest = true;
    config
}

pub(super) fn open(root: &Path, config: &StoreConfig, random: u64) -> Result<DurableTier, crate::OpenError> {
    let provider = Arc::new(TestKeys::with_random(1, random));
    let (data, manifests) = sealed_places(folders(root), config, Some(provider), true)?;
    DurableTier::open_with(data, manifests, config, options(77 + u128::from(random)))
}

/// Two jobs, so two files at least.
fn filled(root: &Path, config: &StoreConfig) -> (DurableTier, Vec<Owned>) {
    let tier = open(root, config, 1).unwrap();
    let events = history(3000);
    for (n, part) in events.chunks(1500).enumerate() {
        let job = job(n as u128 + 1, n as u64 * 10, n as u64 * 10 + 10);
        let files = write(&tier, &job, &part.to_vec()).unwrap();
        tier.commit(&commit(&job, files, part)).unwrap();
    }
    (tier, events)
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        if entry.path().is_dir() { out.extend(files_below(&entry.path())) } else { out.push(entry.path()) }
    }
    out
}

fn rows(tier: &DurableTier) -> Result<Vec<(String, u64, String)>, crate::ReadError> {
    let mut out = Vec::new();
    for batch in tier.pin().scan(&RowFilter::default()) {
        let batch = batch?;
        out.extend(batch.iter().map(|row| (row.stream_id.to_owned(), row.seq.0, row.data.to_owned())));
    }
    out.sort();
    Ok(out)
}

fn wanted(events: &[Owned]) -> Vec<(String, u64, String)> {
    let mut out: Vec<_> = events.iter().map(|e| (e.stream_id.clone(), e.seq, e.data.clone())).collect();
    out.sort();
    out
}

const BY_TENANT: &str = ", partition.by = ('tenant_id','dt')";

#[test]
fn nothing_that_an_event_says_is_in_any_file_or_name() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, events) = filled(dir.path(), &encrypted(BY_TENANT));
    assert_eq!(rows(&tier).unwrap(), wanted(&events));
    drop(tier);
    let said = ["stream-0", "tenant/", "tenant%2F", "\"text\"", "Opened", "cmd-", "\"source\""];
    let files = files_below(dir.path());
    assert!(files.len() > 10);
    for file in files {
        let name = file.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap();
        for text in said {
            assert!(!name.contains(text), "{name}");
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{name} holds {text}");
        }
    }
    assert!(!dir.path().join("data/_delta_log").exists());
    let reopened = open(dir.path(), &encrypted(BY_TENANT), 2).unwrap();
    assert_eq!(rows(&reopened).unwrap(), wanted(&events));
}

#[test]
fn lookups_ask_sealed_filters_and_verify_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = encrypted(", row_group.max_rows = 200, stats.enabled = false");
    let (tier, events) = filled(dir.path(), &config);
    let snapshot = tier.pin();
    for file in snapshot.files() {
        assert_eq!(crate::verify_file(&tier, file), []);
        assert!(file.row_groups > 3);
    }
    assert_eq!(crate::verify_manifests(&tier), []);
    for event in events.iter().step_by(500) {
        assert_eq!(snapshot.find_event_id(event.event_id).unwrap().row(0).data, event.data);
    }
    let file = DataFile::open(tier.shared(), &snapshot.files()[0], &Arc::new(Counters::default())).unwrap();
    let asked = |value: &str| {
        (0..file.groups()).filter(|group| file.may_hold(*group, Field::StreamId, value.as_bytes()).unwrap()).count()
    };
    let no: usize = (0..100).map(|n| asked(&format!("nobody-{n}"))).sum();
    assert!(no < 100 * file.groups() / 20, "{no} of {}", 100 * file.groups());
    assert!((0..50).all(|n| asked(&format!("stream-{n:03}")) > 0));
}

#[test]
fn every_file_has_a_key_of_its_own_and_says_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _) = filled(dir.path(), &encrypted(BY_TENANT));
    let snapshot = tier.pin();
    let mut names: Vec<_> = snapshot.files().iter().map(|file| file.key.clone().unwrap()).collect();
    for file in snapshot.files() {
        let said = crate::key_metadata(&tier.local_path(file).unwrap()).unwrap();
        assert_eq!(said.map(|name| name.to_hex()), file.key);
    }
    names.sort();
    let files = names.len();
    names.dedup();
    assert!(files > 3 && names.len() == files);
}

#[test]
fn a_file_that_was_changed_or_exchanged_is_named_and_gives_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _) = filled(dir.path(), &encrypted(""));
    let snapshot = tier.pin();
    let paths: Vec<_> = snapshot.files().iter().map(|file| tier.local_path(file).unwrap()).collect();
    let (one, other) = (std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    drop((snapshot, tier));
    let mut flipped = one.clone();
    flipped[one.len() / 3] ^= 1;
    for bytes in [flipped, other, one[..one.len() - 1].to_vec()] {
        std::fs::write(&paths[0], bytes).unwrap();
        let tier = open(dir.path(), &encrypted(""), 3).unwrap();
        let error = rows(&tier).unwrap_err().to_string();
        assert!(error.contains(paths[0].file_name().unwrap().to_str().unwrap()), "{error}");
        std::fs::write(&paths[0], &one).unwrap();
    }
}

/// Rows that a reader of Parquet gets with the file's key; it knows no checksum of ours.
fn rows_by_key(bytes: &[u8], tier: &DurableTier, entry: &crate::FileEntry) -> Result<usize, String> {
    let name = KeyName::from_hex(entry.key.as_deref().unwrap()).unwrap();
    let secret = tier.keys().unwrap().secret(&name, Purpose::DataFile).unwrap();
    let decryption = FileDecryptionProperties::builder(secret.expose().to_vec()).build().unwrap();
    let options = ArrowReaderOptions::new().with_file_decryption_properties(decryption);
    let bytes = Bytes::copy_from_slice(bytes);
    let opened = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
    let reader = opened.and_then(ParquetRecordBatchReaderBuilder::build).map_err(|error| error.to_string())?;
    reader.map(|batch| batch.map(|rows| rows.num_rows()).map_err(|error| error.to_string())).sum()
}

/// Of row groups of equal rows the ids are equally long: they can be exchanged without a trace but for what is in them.
#[test]
fn row_groups_that_were_exchanged_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ", row_group.max_rows = 200, durable.compression = 'none', durable.dictionary.enabled = false";
    let (tier, _) = filled(dir.path(), &encrypted(keys));
    let (snapshot, counters) = (tier.pin(), Arc::new(Counters::default()));
    let entry = &snapshot.files()[0];
    let file = DataFile::open(tier.shared(), entry, &counters).unwrap();
    let ids = |group: usize| {
        let (start, length) = file.meta.parquet().row_groups()[group].columns()[Field::EventId as usize].byte_range();
        start as usize..(start + length) as usize
    };
    let (one, other) = (ids(0), (1..file.groups()).map(ids).find(|other| other.len() == ids(0).len()).unwrap());
    let path = tier.local_path(entry).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut exchanged = whole.clone();
    exchanged[one.clone()].copy_from_slice(&whole[other.clone()]);
    exchanged[other].copy_from_slice(&whole[one]);
    assert_eq!(rows_by_key(&whole, &tier, entry), Ok(entry.rows as usize));
    assert!(rows_by_key(&exchanged, &tier, entry).is_err(), "each page is sealed for its place");
    std::fs::write(&path, &exchanged).unwrap();
    let error = rows(&tier).unwrap_err().to_string();
    assert!(error.contains(&entry.path), "{error}");
    assert_ne!(crate::verify_file(&tier, entry), []);
}

#[test]
fn an_older_manifest_is_not_taken_for_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, events) = filled(dir.path(), &encrypted(""));
    let version = tier.pin().version();
    drop(tier);
    let place = |version: u64| dir.path().join("manifests").join(version_name(version));
    let newest = std::fs::read(place(version)).unwrap();
    // in the place of the newest, and as one that never was
    for forged in [version, version + 1] {
        std::fs::copy(place(version - 1), place(forged)).unwrap();
        let error = open(dir.path(), &encrypted(""), 3).err().unwrap().to_string();
        assert!(error.contains(&version_name(forged)) && error.contains("another place"), "{error}");
        std::fs::remove_file(place(forged)).unwrap();
        std::fs::write(place(version), &newest).unwrap();
    }
    let reopened = open(dir.path(), &encrypted(""), 4).unwrap();
    assert_eq!(rows(&reopened).unwrap(), wanted(&events));
}

#[test]
fn a_file_of_another_key_is_refused_even_where_all_checksums_agree() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _) = filled(dir.path(), &encrypted(""));
    let snapshot = tier.pin();
    let (one, other) = (&snapshot.files()[0], &snapshot.files()[1]);
    let exchanged = Arc::new(crate::FileEntry { key: other.key.clone(), ..crate::FileEntry::clone(one) });
    let plain = Arc::new(crate::FileEntry { key: None, ..crate::FileEntry::clone(one) });
    for (entry, said) in [(exchanged, ""), (plain, "not encrypted")] {
        let error = snapshot.scan_file(&entry).find_map(Result::err).unwrap().to_string();
        assert!(error.contains(&one.path) && error.contains(said), "{error}");
    }
}

/// Length and checksums are no secret: a file in clear can be made that has those of the manifest.
#[test]
fn a_file_in_clear_is_refused_even_where_all_checksums_agree() {
    let (sealed, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tier, events) = filled(sealed.path(), &encrypted(""));
    let other = crate::testing::open(plain.path(), &config(""));
    let job = job(1, 0, 10);
    let forged = write(&other, &job, &events[..1500].to_vec()).unwrap().remove(0);
    other.commit(&commit(&job, vec![forged.clone()], &events[..1500])).unwrap();
    let (snapshot, bytes) = (tier.pin(), std::fs::read(other.local_path(&forged).unwrap()).unwrap());
    let genuine = &snapshot.files()[0];
    std::fs::write(tier.local_path(genuine).unwrap(), bytes).unwrap();
    let entry = Arc::new(crate::FileEntry { key: genuine.key.clone(), path: genuine.path.clone(), ..forged });
    let error = snapshot.scan_file(&entry).find_map(Result::err).unwrap().to_string();
    assert!(error.contains(&entry.path) && error.contains("not encrypted"), "{error}");
    let found = crate::verify_file(&tier, &entry);
    assert!(found.iter().any(|finding| finding.what.contains("not encrypted")), "{found:?}");
}

/// Of two that write files for one store the one may have taken a newer key before the one that commits.
#[test]
fn a_file_under_a_key_that_another_made_is_read_as_soon_as_the_key_is_to_be_had() {
    let (dir, config) = (tempfile::tempdir().unwrap(), encrypted(""));
    let provider = Arc::new(TestKeys::with_random(1, 1));
    let shared: Arc<dyn KeyProvider> = Arc::clone(&provider) as _;
    let (data, manifests) = sealed_places(folders(dir.path()), &config, Some(shared), true).unwrap();
    let tier = DurableTier::open_with(data, manifests, &config, options(80)).unwrap();
    rotate_keyring(&*folders(dir.path()).1, &TestKeys::with_random(1, 7), &mut |_| {}).unwrap();
    let (other, events) = filled(dir.path(), &config);
    let entry = Arc::clone(&other.pin().files()[0]);
    assert!(KeyName::from_hex(entry.key.as_ref().unwrap()).is_some_and(|name| name.number() == 2));
    let read = || -> Result<usize, crate::ReadError> {
        let snapshot = tier.pin();
        let mut count = 0;
        for batch in snapshot.scan_file(&entry) {
            count += batch?.iter().count();
        }
        Ok(count)
    };
    for (fate, words) in [(&provider.away, "cannot be asked"), (&provider.refuses, "enable the key")] {
        fate.store(true, Ordering::Relaxed);
        let away = read().unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Unavailable, "{away}");
        assert!(away.to_string().contains(&entry.path) && away.to_string().contains(words), "{away}");
        assert!(!away.to_string().contains("damaged"), "{away}");
        fate.store(false, Ordering::Relaxed);
    }
    assert_eq!(read().unwrap() as u64, entry.rows);
    assert!(rows(&other).unwrap() == wanted(&events));
}

#[test]
fn a_store_is_of_one_kind_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &encrypted("")));
    let (data, manifests) = folders(dir.path());
    let plain = DurableTier::open_read_only_with(data, manifests, &config("")).err().unwrap().to_string();
    assert!(plain.contains("security.encrypt.at_rest = true"), "{plain}");
    let plain = tempfile::tempdir().unwrap();
    drop(crate::testing::open(plain.path(), &config("")));
    let made_without = open(plain.path(), &encrypted(""), 5).err().unwrap().to_string();
    assert!(made_without.contains("made without encryption"), "{made_without}");
    std::fs::remove_dir_all(dir.path().join("manifests/keyring")).unwrap();
    let lost = open(dir.path(), &encrypted(""), 4).err().unwrap().to_string();
    assert!(lost.contains("its keyring is gone"), "{lost}");
}
