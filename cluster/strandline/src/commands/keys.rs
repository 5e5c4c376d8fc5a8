//! `strandline keys`: key files, rotation, and the key of one encrypted data file for other engines.

use super::serve;
use crate::cli::{Keys, KeysRotate, KeysUnwrap};
use crate::exit::Failure;
use crate::out;
use std::path::{Path, PathBuf};
use strandline_deql::{Declared, KmsProvider, StoreConfig};
use strandline_durable::objects::{Purpose, Settings, open_location};
use strandline_durable::{DurableTier, Provider, rotate_keyring};
use strandline_event::ErrorKind;
use strandline_keys::{KeyError, KeyFile, LockedKeyFile};
use strandline_workers::keys::SystemEntropy;

pub(crate) fn run(command: &Keys) -> Result<(), Failure> {
    match command {
        Keys::Init { file } => init(file),
        Keys::Rotate(options) => rotate(options),
        Keys::Unwrap(options) => unwrap(options),
    }
}

/// Who wraps the keys of a store.
pub(crate) fn provider(config: &StoreConfig) -> Result<Provider, Failure> {
    strandline_workers::keys::provider(config).map_err(|error| usage(&config.name, &error))
}

fn usage(store: &str, error: &KeyError) -> Failure {
    Failure::Usage(format!("store {store}: {error}"))
}

/// Who wraps the keys, or where they lie, may be out of reach: that is no answer.
pub(crate) fn failed(store: &str, error: &dyn std::fmt::Display, kind: ErrorKind) -> Failure {
    let text = format!("store {store}: {error}");
    if kind == ErrorKind::Unavailable { Failure::Server(text) } else { Failure::No(text) }
}

fn init(file: &Path) -> Result<(), Failure> {
    let file = serve::absolute(file)?;
    KeyFile::create(&file, &SystemEntropy).map_err(|error| Failure::Usage(error.to_string()))?;
    let path = file.display().to_string().replace('\'', "''");
    out::line(&format!(
        "made {} with key 1; keep a copy where the store is not: without it nothing can be read",
        file.display()
    ))?;
    out::line("declare it:")?;
    out::line(&format!(
        "  security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '{path}'"
    ))
}

/// The file first, then the keyrings: a keyring that was not reached still opens with the older versions in the file. The file is locked until all of
/// it is done.
fn rotate(options: &KeysRotate) -> Result<(), Failure> {
    let locked = options.file.as_deref().map(LockedKeyFile::open).transpose();
    let mut locked = locked.map_err(|error| Failure::Usage(error.to_string()))?;
    let declarations = options.config.as_deref().map(|config| serve::declarations(Some(config), &PathBuf::from(".")));
    let declarations = declarations.transpose()?;
    if let (Some(file), Some(declarations)) = (&options.file, &declarations) {
        check_is_of(file, &declarations.stores)?;
    }
    if let Some(file) = &mut locked {
        let version = file.rotate(&SystemEntropy).map_err(|error| Failure::Usage(error.to_string()))?;
        out::line(&format!("the key file has version {version} now; it wraps from here on, the older ones stay"))?;
    }
    let Some(declarations) = declarations else {
        return match options.file {
            Some(_) => out::line("give --config FILE too, to wrap the keys of its stores again"),
            None => Err(Failure::Usage(
                "give --file (a key file), --config (stores whose keys are wrapped again), or both".to_owned(),
            )),
        };
    };
    for declared in &declarations.stores {
        rotate_store(&declared.config)?;
    }
    Ok(())
}

/// Another key file would get a version that wraps nothing, and the stores would stay under the one that was to be rotated.
fn check_is_of(file: &Path, stores: &[Declared]) -> Result<(), Failure> {
    let real = |path: &Path| path.canonicalize().ok();
    let is_its_own = |declared: &Declared| {
        let security = &declared.config.security;
        let is_local = security.encrypt_at_rest && security.kms_provider == Some(KmsProvider::Local);
        let named = security.kms_key_id.as_deref().filter(|_| is_local).map(Path::new);
        named.is_some_and(|named| real(named).is_some_and(|named| Some(named) == real(file)))
    };
    if stores.iter().any(is_its_own) {
        return Ok(());
    }
    let file = file.display();
    Err(Failure::Usage(format!(
        "no store of --config has its keys from {file}: name the file of security.kms.key_id, or leave --file out, as for keys of a service"
    )))
}

fn rotate_store(config: &StoreConfig) -> Result<(), Failure> {
    let name = &config.name;
    let Some(provider) = provider(config)? else {
        return out::line(&format!("store {name}: not encrypted"));
    };
    let location = &config.durable.manifest_path;
    let manifests = open_location(location, Purpose::Read, &Settings::from_env());
    let manifests = manifests.map_err(|error| failed(name, &error, error.kind()))?;
    let mut on_key = |number| {
        // progress is for who watches; a reader that went away does not end a rotation
        let _ = out::line(&format!("store {name}: key {number} is wrapped again"));
    };
    let rotated = rotate_keyring(&*manifests, &*provider, &mut on_key);
    match rotated.map_err(|error| failed(name, &error, error.kind()))? {
        Some(done) => out::line(&format!(
            "store {name}: {} keys wrapped again, key {} is new: what is written from here on takes it, the next segments of logs and the \
             next files of a node that runs too; nothing is written again (keyring revision {})",
            done.wrapped, done.current, done.revision
        )),
        None => out::line(&format!("store {name}: there is no keyring yet; its first start makes one")),
    }
}

/// The key of a data file, for engines that read encrypted Parquet.
fn unwrap(options: &KeysUnwrap) -> Result<(), Failure> {
    if options.file.to_string_lossy().contains("://") {
        let file = options.file.display();
        return Err(Failure::Usage(format!("{file} is no file of this machine: copy it here, and name the copy")));
    }
    let declarations = serve::declarations(Some(&options.config), &PathBuf::from("."))?;
    let metadata = strandline_durable::key_metadata(&options.file)
        .map_err(|error| Failure::file("read", &options.file, &error))?;
    let Some(name) = metadata else {
        return Err(Failure::No(format!("{} is no data file of an encrypted store", options.file.display())));
    };
    for declared in &declarations.stores {
        let config = &declared.config;
        if options.store.as_ref().is_some_and(|named| *named != config.name) {
            continue;
        }
        let Some(provider) = provider(config)? else { continue };
        let failed = |error: &dyn std::fmt::Display, kind| failed(&config.name, error, kind);
        let tier = DurableTier::open_read_only(config, Some(provider));
        let tier = tier.map_err(|error| failed(&error, error.kind()))?;
        if tier.pin().files().iter().any(|file| file.key.as_deref() == Some(&*name.to_hex())) || options.store.is_some()
        {
            let keys = tier.keys().ok_or_else(|| failed(&"it is not encrypted", ErrorKind::BadRequest))?;
            let secret = keys.secret(&name, strandline_keys::Purpose::DataFile);
            let secret = secret.map_err(|error| failed(&error, error.kind()))?;
            return out::line(&strandline_event::hex::to_hex(secret.expose()));
        }
    }
    Err(Failure::No(format!("no store of {} names {}", options.config.display(), options.file.display())))
}
