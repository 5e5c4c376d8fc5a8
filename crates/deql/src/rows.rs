//! What `check`, DESCRIBE and the server show of a store: one row a key, and JSON.

use crate::config::StoreConfig;
use crate::config::key::{Replace, keys};
use crate::declarations::Declarations;
use crate::value::Value;
use crate::{notes, pending};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::json;

/// A key of a store: its effective value and where it comes from.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CheckRow {
    /// The key.
    pub key: &'static str,
    /// The effective value; `None`: not set and without a default.
    pub value: Option<Value>,
    /// Whether the statement sets it; else it is the default.
    pub set: bool,
    /// What to know about it in this store.
    pub note: Option<String>,
    /// What the key does.
    pub doc: &'static str,
}

impl CheckRow {
    /// The value as the statement writes it, or `-`.
    #[must_use]
    pub fn value_text(&self) -> String {
        self.value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string)
    }

    /// `set` or `default`
    #[must_use]
    pub const fn source(&self) -> &'static str {
        if self.set { "set" } else { "default" }
    }
}

/// All 84 keys of a store, in the order of the reference.
#[must_use]
pub fn check_rows(config: &StoreConfig) -> Vec<CheckRow> {
    let row = |key: &'static crate::config::key::Key| CheckRow {
        key: key.name,
        value: key.value(config),
        set: config.is_set(key.name),
        note: notes::note(config, key),
        doc: key.sentence(),
    };
    keys().map(row).collect()
}

/// The answer of `check --format json`:
/// `{"stores": [{"name", "keys": [{"key", "value", "source", "note"}], "not_active_yet", "refused_by_serve", "warnings"}], "aggregates"}`
#[must_use]
pub fn check_json(declarations: &Declarations) -> serde_json::Value {
    let store = |config: &StoreConfig| {
        let keys: Vec<_> = check_rows(config)
            .into_iter()
            .map(|row| json!({"key": row.key, "value": row.value, "source": row.source(), "note": row.note}))
            .collect();
        json!({
            "name": config.name,
            "keys": keys,
            "not_active_yet": reasons(&pending::not_active_yet(config)),
            "refused_by_serve": reasons(&pending::serve_refusals(config)),
            "warnings": reasons(&notes::warnings(config)),
        })
    };
    let stores: Vec<_> = declarations.stores.iter().map(|declared| store(&declared.config)).collect();
    let aggregates: Vec<_> = declarations.aggregates.iter().map(|a| &a.value).collect();
    json!({"stores": stores, "aggregates": aggregates})
}

/// One store as the server shows it: `{"name", "config": {key: value}, "set": [key], "not_active_yet", "warnings"}`
#[must_use]
pub fn store_json(config: &StoreConfig) -> serde_json::Value {
    let set: Vec<_> = keys().map(|key| key.name).filter(|name| config.is_set(name)).collect();
    json!({
        "name": config.name,
        "config": config,
        "set": set,
        "not_active_yet": reasons(&pending::not_active_yet(config)),
        "warnings": reasons(&notes::warnings(config)),
    })
}

/// The reference of all keys as Markdown, made from the table.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# The keys of CREATE EVENTSTORE\n\nMade from the table in `src/config`; a test keeps it true.\n\n\
         OR REPLACE: whether CREATE OR REPLACE of a running store (`POST /api/deql/create`) and a restart with an edited file may change \
         the key. New files follow the new value, old files stay readable. A key that is left out takes its default. A start follows its \
         file: a statement that was replaced while the node ran is gone with the next start unless the file has it too.\n\n\
         | key | values | default | OR REPLACE | effect |\n|---|---|---|---|---|\n",
    );
    for key in keys() {
        let replace = match key.replace {
            Replace::Free => "yes",
            Replace::Fixed => "no",
            Replace::Node => "the node's own",
        };
        let row = [key.expects(), key.default_text(), replace.to_owned(), key.sentence().to_owned()];
        out.push_str(&format!("| {} | {} |\n", key.name, row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    out
}

fn reasons(list: &[(&str, &str)]) -> Vec<serde_json::Value> {
    list.iter().map(|(key, reason)| json!({"key": key, "reason": reason})).collect()
}

/// A flat map of all 84 keys to their effective values; null where there is none.
impl Serialize for StoreConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(crate::config::key::KEY_COUNT))?;
        for key in keys() {
            map.serialize_entry(key.name, &key.value(self))?;
        }
        map.end()
    }
}
