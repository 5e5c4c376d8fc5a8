//! `strandline manifest show`: the current manifest and its history; also of a store whose node does not start.

use super::keys::{failed, provider};
use super::{offline, serve};
use crate::cli::{CheckFormat, ManifestShow, VERSIONS_DEFAULT};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strandline_deql::StoreConfig;
use strandline_durable::DurableTier;

pub(crate) fn show(options: &ManifestShow) -> Result<(), Failure> {
    let json = if options.config.is_none() && options.data_dir.is_none() {
        let client = Client::new(&options.on)?;
        client.get(&path(&client, options)?)?.json()
    } else {
        let data_dir = options.data_dir.clone().unwrap_or_else(|| PathBuf::from("strandline-data"));
        on_disk(options, &serve::absolute(&data_dir)?)?
    };
    match (options.format, json["stores"].as_array()) {
        (CheckFormat::Json, _) => {
            out::line(&serde_json::to_string_pretty(&json).map_err(|e| Failure::Server(e.to_string()))?)
        }
        (CheckFormat::Table, Some(stores)) => stores.iter().try_for_each(|store| out::line(&tables(store))),
        (CheckFormat::Table, None) => out::line(&tables(&json)),
    }
}

/// What nobody has asked for is not sent: an older node has one page only.
fn path(client: &Client, options: &ManifestShow) -> Result<String, Failure> {
    let limit = (options.limit != VERSIONS_DEFAULT).then(|| format!("limit={}", options.limit));
    let before = options.before.map(|version| format!("before={version}"));
    let asked: Vec<String> = before.into_iter().chain(limit).collect();
    let path = client.admin_path(&["manifest"])?;
    Ok(if asked.is_empty() { path } else { format!("{path}?{}", asked.join("&")) })
}

/// Its logs and its versions, the newest first. Of its files `strandline files` says more.
fn tables(manifest: &Value) -> String {
    let rows = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let logs =
        out::json_table(&rows("logs"), &["stream_type", "bucket", "compacted_through", "known_through", "events"]);
    let versions = ["version", "committed_at", "files", "rows", "bytes", "epoch", "job_id"];
    let head = match manifest["store"].as_str() {
        Some(name) => format!("store {}, version {}", out::escaped(name), manifest["version"]),
        None => format!("version {}", manifest["version"]),
    };
    let more = match manifest["next_before"].as_u64() {
        Some(next) => format!("\n\nolder ones: --before {next}"),
        None => String::new(),
    };
    format!("{head}\n\nlogs\n{logs}\n\nversions\n{}{more}", out::json_table(&rows("history"), &versions))
}

/// Reads only, and a manifest never changes once it is there: a running node does not mind.
fn on_disk(options: &ManifestShow, data_dir: &Path) -> Result<Value, Failure> {
    let known = offline::served(options.config.as_deref(), data_dir)?;
    let named = |config: &&StoreConfig| options.on.store.as_ref().is_none_or(|name| *name == config.name);
    let shown = known.iter().filter(named).map(|config| store(config, options));
    let stores: Vec<Value> = shown.collect::<Result<_, _>>()?;
    match stores.as_slice() {
        [] => {
            let names: Vec<&str> = known.iter().map(|config| config.name.as_str()).collect();
            let named = options.on.store.as_deref().unwrap_or_default();
            Err(Failure::Usage(format!("no store is called {named}; there is {}", names.join(", "))))
        }
        [one] => Ok(one.clone()),
        _ => Ok(json!({ "stores": stores })),
    }
}

fn store(config: &StoreConfig, options: &ManifestShow) -> Result<Value, Failure> {
    let tier = DurableTier::open_read_only(config, provider(config)?);
    let tier = tier.map_err(|error| failed(&config.name, &error, error.kind()))?;
    let pinned = tier.pin();
    let logs = pinned.logs().map(|(key, state)| {
        json!({"stream_type": &*key.stream_type, "bucket": key.bucket, "compacted_through": state.compacted_through.0,
            "known_through": state.known_through.0, "events": state.events})
    });
    let page = tier.history_page(options.before, options.limit);
    let (history, next_before) = page.map_err(|error| failed(&config.name, &error, error.kind()))?;
    let history = history.into_iter().map(|version| {
        json!({"version": version.version, "epoch": version.epoch, "job_id": format!("{:032x}", version.job_id),
            "committed_at": version.committed_at.to_string(), "files": version.files, "rows": version.rows, "bytes": version.bytes})
    });
    let files = pinned.files().iter().map(|file| json!({"path": file.path, "rows": file.rows, "bytes": file.bytes}));
    Ok(json!({
        "store": pinned.store_name(), "version": pinned.version(), "epoch": pinned.epoch(), "statement": pinned.config_text(),
        "committed_at": pinned.committed_at().to_string(), "rows": pinned.rows(), "bytes": pinned.bytes(),
        "logs": logs.collect::<Vec<_>>(), "files": files.collect::<Vec<_>>(), "history": history.collect::<Vec<_>>(),
        "next_before": next_before,
    }))
}
