//! `strandline manifest show`: the current manifest and its history.

use crate::cli::OnStore;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

pub(crate) fn show(on: &OnStore) -> Result<(), Failure> {
    let client = Client::new(on)?;
    let json = client.get(&client.admin_path(&["manifest"])?)?.json();
    out::line(&serde_json::to_string_pretty(&json).map_err(|e| Failure::Server(e.to_string()))?)
}
