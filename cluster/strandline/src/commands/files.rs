//! `strandline files`: the exact live set of Parquet files.

use crate::cli::{Files, FilesFormat};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;
use serde_json::Value;

const COLUMNS: &[&str] =
    &["path", "stream_type", "partition", "rows", "row_groups", "bytes", "from_exclusive", "through"];

pub(crate) fn run(options: &Files) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let json = client.get(&client.admin_path(&["files"])?)?.json();
    let files = json["files"].as_array().cloned().unwrap_or_default();
    match options.format {
        FilesFormat::Paths => files.iter().filter_map(path).try_for_each(out::line),
        FilesFormat::Json => {
            out::line(&serde_json::to_string_pretty(&json).map_err(|e| Failure::Server(e.to_string()))?)
        }
        FilesFormat::Table if files.is_empty() => {
            out::line("no data files: nothing was compacted yet, or nothing is left")
        }
        FilesFormat::Table => out::line(&out::json_table(&files, COLUMNS)),
    }
}

/// As any reader opens it: on local disks the path in the file system, on object stores the URL, else the object's name.
fn path(file: &Value) -> Option<&str> {
    file["local_path"].as_str().or(file["url"].as_str()).or(file["path"].as_str())
}
