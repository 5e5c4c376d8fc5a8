//! `strandline files`: the exact live set of Parquet files.

use crate::cli::{Files, FilesFormat};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

pub(crate) fn run(options: &Files) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let json = client.get(&client.admin_path(&["files"])?)?.json();
    let files = json["files"].as_array().cloned().unwrap_or_default();
    match options.format {
        FilesFormat::Paths => files.iter().filter_map(|file| file["path"].as_str()).try_for_each(out::line),
        FilesFormat::Json => {
            out::line(&serde_json::to_string_pretty(&json).map_err(|e| Failure::Server(e.to_string()))?)
        }
        FilesFormat::Table => out::line(&out::json_table(&files)),
    }
}
