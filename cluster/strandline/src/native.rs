//! The native protocol for commands: where the server of `--url` speaks it, and a runtime that hides from them.

use crate::cli::OnStore;
use crate::client::{Client as Http, reached};
use crate::exit::Failure;
use std::time::Duration;
use strandline_client::{Client, ClientError, Options, Tls};
use tokio::runtime::Runtime;

/// Threads that a client's connections share.
const THREADS: usize = 2;

/// A runtime for clients of one command.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    built.map_err(|e| Failure::Server(format!("the runtime does not start: {e}")))
}

/// How to connect to the store that the options name. The server says over HTTP where it speaks the native protocol.
pub(crate) fn options(http: &Http, on: &OnStore, patience: Duration) -> Result<Options, Failure> {
    let info = http.get("/info")?.json();
    let Some(address) = info["native"].as_str() else {
        return Err(Failure::Usage(format!("{} serves no native protocol: add --protocol http", http.url())));
    };
    let mut options = Options::new(reached(address, http.url()));
    if let (Some(authorities), true) = (&on.tls_ca, http.url().starts_with("https://")) {
        options.tls = Some(Tls::trusting(authorities).map_err(|error| Failure::Usage(format!("--tls-ca: {error}")))?);
    }
    options.store = http.store()?.to_owned();
    options.token = on.token.clone().unwrap_or_default();
    options.program = concat!("strandline/", env!("CARGO_PKG_VERSION")).to_owned();
    options.patience = patience;
    Ok(options)
}

/// Connects.
pub(crate) async fn connect(options: Options) -> Result<Client, Failure> {
    Client::connect(options).await.map_err(|error| failure(&error))
}

/// What an error means to the one who called the command.
pub(crate) fn failure(error: &ClientError) -> Failure {
    let text = error.to_string();
    let ClientError::Refused(refused) = error else { return Failure::Server(text) };
    match strandline_server::ndjson::status_of_code(&refused.code) {
        404 | 409 | 413 | 422 => Failure::No(text),
        400..=428 | 501 => Failure::Usage(text),
        _ => Failure::Server(text),
    }
}
