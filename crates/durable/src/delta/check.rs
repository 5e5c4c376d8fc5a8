//! The offline check of the Delta log: its newest version against the manifest version that it names, then every file of it.
//!
//! One that lags behind the manifest is no finding (the next open catches up), nor one that is missing (it is made anew).

use super::check_files::check_files;
use super::links;
use super::names::{self, LogFile};
use super::replay::{ReplayError, Replayed, replay};
use super::table::Table;
use crate::entry::FileEntry;
use crate::manifest;
use crate::objects::{ObjectError, Objects};
use crate::tier::DurableTier;
use crate::verify::Finding;
use std::collections::HashSet;

/// What was found of a Delta log.
#[derive(Debug, Default)]
pub struct DeltaReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// It shows other files than the newest manifest version: its newest version was not written, or is missing.
    pub lag: Option<String>,
}

/// Checks the Delta log of a tier. Empty: everything holds.
#[must_use]
pub fn verify_delta_log(tier: &DurableTier) -> Vec<Finding> {
    check_delta_log(tier).findings
}

/// As [`verify_delta_log`], and tells whether it lags behind, which is no fault.
#[must_use]
pub fn check_delta_log(tier: &DurableTier) -> DeltaReport {
    let mut lag = None;
    let findings = check(tier, &mut lag);
    DeltaReport { findings, lag }
}

/// Checkpoints that only another engine can have written.
fn strangers(objects: &dyn Objects, table: &Table) -> Result<Vec<Finding>, ObjectError> {
    let is_ours = |path: &str| match names::parse(path) {
        Some(LogFile::Json(version)) => table.linked && path == names::json_checkpoint(version, table.store_id),
        Some(LogFile::Parquet(_)) => !table.linked,
        Some(LogFile::Commit(_)) | None => false,
    };
    let listed = objects.list(names::FOLDER)?.into_iter().map(|info| info.path);
    let strange = listed.filter(|path| path.contains(".checkpoint.") && !is_ours(path));
    let what = "another engine has written this checkpoint, and readers of the table begin with it: remove it, or remove the \
                folder `_delta_log`, and the next start makes the log anew";
    Ok(strange.map(|path| Finding::new(&path, what)).collect())
}

fn check(tier: &DurableTier, lag: &mut Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (objects, snapshot) = (&*tier.shared().objects, tier.pin());
    let table = Table {
        store_id: snapshot.store_id(),
        store_name: snapshot.store_name().to_owned(),
        columns: tier.layout().names().clone(),
        linked: objects.stages(),
    };
    match strangers(objects, &table) {
        Ok(strange) => findings.extend(strange),
        Err(error) => findings.push(Finding::new(names::FOLDER, error.to_string())),
    }
    let mut find = |what: String| findings.push(Finding::new(names::FOLDER, what));
    let replayed = match replay(objects) {
        Ok(replayed) => replayed,
        Err(ReplayError::None) => return findings,
        Err(error) => {
            find(format!("{error}; the next start makes it anew"));
            return findings;
        }
    };
    let fits = replayed.protocol.as_ref().zip(replayed.meta_data.as_ref()).is_some_and(|(p, m)| table.fits(p, m));
    let shown = replayed.applications.get(&table.app_id()).and_then(|version| u64::try_from(*version).ok());
    let Some(shown) = shown.filter(|_| fits) else {
        find("it is not the log of this store; the next start makes it anew".to_owned());
        return findings;
    };
    findings.extend(check_files(tier, &table));
    if shown > snapshot.version() {
        let what = format!("it shows manifest version {shown}, which does not exist");
        findings.push(Finding::new(names::FOLDER, what));
        return findings;
    }
    findings.extend(check_newest(tier, &table, &replayed, shown, lag));
    findings
}

/// The files of the newest version, against those of the manifest version `shown` that it names.
fn check_newest(
    tier: &DurableTier,
    table: &Table,
    replayed: &Replayed,
    shown: u64,
    lag: &mut Option<String>,
) -> Vec<Finding> {
    let snapshot = tier.pin();
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(Finding::new(names::FOLDER, what));
    // one that was folded away is not there to compare with
    let Ok((manifest, _)) = manifest::read(&*tier.shared().manifests, shown) else { return findings };
    let newest: HashSet<String> = snapshot.files().iter().map(|file| table.name(file)).collect();
    let files: HashSet<String> = manifest.files().map(|file| table.name(file)).collect();
    if files != newest {
        let (shows, is) = (replayed.version, snapshot.version());
        *lag = Some(format!(
            "the Delta log ends with version {shows}, which shows manifest version {shown}, and the store is at {is} with other \
             files: its newest version was not written yet, or is missing; the next start catches up"
        ));
    }
    for file in manifest.files() {
        match replayed.live.get(&table.name(file)) {
            None => find(format!("version {} lacks `{}`", replayed.version, file.path)),
            Some(bytes) if *bytes != file.bytes.cast_signed() => {
                find(format!(
                    "version {} says {bytes} bytes of `{}`, it has {}",
                    replayed.version, file.path, file.bytes
                ));
            }
            Some(_) => {}
        }
    }
    for name in replayed.live.keys().filter(|name| !files.contains(*name)) {
        find(format!("version {} has `{name}`, manifest version {shown} has not", replayed.version));
    }
    findings.extend(check_links(tier, table, replayed));
    findings
}

/// The links of the newest version's files: each is there, and is its file.
fn check_links(tier: &DurableTier, table: &Table, replayed: &Replayed) -> Vec<Finding> {
    let (objects, snapshot) = (&*tier.shared().objects, tier.pin());
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(Finding::new(names::FOLDER, what));
    let fault = |file: &FileEntry| {
        links::fault(objects, file).map(|what| format!("{what}; remove it, and the next start links it again"))
    };
    for file in snapshot.files().iter().filter(|file| table.linked && replayed.live.contains_key(&table.name(file))) {
        let name = table.name(file);
        match objects.exists(&name) {
            Ok(true) => fault(file).into_iter().for_each(&mut find),
            Ok(false) if tier.local_path(file).is_none() => {}
            Ok(false) => find(format!("`{name}` is not there; the next start links it again")),
            Err(error) => find(error.to_string()),
        }
    }
    let buried = snapshot.manifest().tombstones.iter().filter(|_| table.linked);
    buried.filter_map(|tombstone| fault(&tombstone.entry)).for_each(find);
    findings
}
