//! The first frames of a connection: the version, the one store, no token.

use crate::http::call::{App, ServedStore};
use crate::native::refusal::of_api;
use std::sync::Arc;
use strandline_client::Refused;
use strandline_client::wire::hello::{Hello, Welcome};
use strandline_deql::CommandScope;
use strandline_event::{ErrorKind, limits};

/// The largest body that is taken: a bulk body of HTTP, and the table before its archives.
pub(super) const BODY_BYTES_MAX: usize = limits::BULK_BYTES_MAX + (64 << 10);
/// Requests of one connection that are worked on at a time.
pub(super) const REQUESTS_MAX: usize = 256;

/// The store that a client asks for, and what it is answered.
pub(super) fn welcome(app: &App, hello: &Hello) -> Result<(Arc<ServedStore>, Welcome), Refused> {
    let Some(version) = hello.agreed_version() else {
        let text = format!(
            "frames of versions {} to {} are not spoken here; version 1 is",
            hello.version_min, hello.version_max
        );
        return Err(Refused::new(ErrorKind::NotSupported, text));
    };
    if !hello.token.is_empty() {
        let text = "tokens are not served yet: connect without one (the server listens on loopback addresses only)";
        return Err(Refused::new(ErrorKind::NotSupported, text));
    }
    let served = store(app, &hello.store)?;
    let welcome = Welcome {
        version,
        checks_commands: served.store.config().id.command_id_unique_scope != CommandScope::None,
        body_max: BODY_BYTES_MAX as u32,
        requests_max: REQUESTS_MAX as u32,
        store: served.store.name().to_owned(),
        program: concat!("strandline/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Ok((served, welcome))
}

fn store(app: &App, name: &str) -> Result<Arc<ServedStore>, Refused> {
    if !name.is_empty() {
        return app.store(name).map_err(|error| of_api(&error));
    }
    let mut stores = app.stores();
    match (stores.next(), stores.next()) {
        (Some(only), None) => Ok(Arc::clone(only)),
        _ => {
            let known: Vec<&str> = app.stores().map(|served| served.store.name()).collect();
            let text = format!("name a store: this node serves {}", known.join(", "));
            Err(Refused::new(ErrorKind::BadRequest, text))
        }
    }
}
