//! The first frames of a connection: the version, whose token it is, the one store.

use crate::access::audit::Asked;
use crate::access::{Caller, Principal};
use crate::http::call::{App, ServedStore};
use crate::native::refusal::of_api;
use crate::native::relay::Relay;
use std::net::SocketAddr;
use std::sync::Arc;
use strandline_client::wire::hello::{Hello, Welcome};
use strandline_client::{Refused, Stay};
use strandline_consensus::control::Control;
use strandline_deql::CommandScope;
use strandline_event::{ErrorKind, limits};

/// The largest body that is taken: a bulk body of HTTP, and the table before its archives.
pub(crate) const BODY_BYTES_MAX: usize = limits::BULK_BYTES_MAX + (64 << 10);
/// Requests of one connection that are worked on at a time.
pub(super) const REQUESTS_MAX: usize = 256;

/// What a connection is for.
pub(super) struct Session {
    pub(super) served: Arc<ServedStore>,
    pub(super) caller: Caller,
    /// What the client does not want to be sent on.
    pub(super) stay: Stay,
    /// The way to other nodes, where this one sends on.
    relay: Option<Arc<Relay>>,
}

/// A caller that is limited to tenants, for the audit log: whether it may do what it asks, the store finds out.
pub(super) struct Asker {
    caller: Caller,
    from: Option<SocketAddr>,
    method: &'static str,
    served: Arc<ServedStore>,
}

impl Asker {
    /// Tells the audit log why its request is refused, where that is for what it may not.
    pub(super) fn told(&self, refused: &Refused) {
        if refused.kind() == Some(ErrorKind::Forbidden) {
            let asked = Asked { from: self.from, method: self.method, path: self.served.store.name() };
            self.caller.refused(&asked, &refused.code, &refused.text);
        }
    }
}

impl Session {
    /// Who asks by a frame of this kind; `None`: whoever may ask for it at all may do all of it.
    pub(super) fn asker(&self, from: Option<SocketAddr>, method: &'static str) -> Option<Asker> {
        let (caller, served) = (&self.caller, &self.served);
        let asker = || Asker { caller: caller.clone(), from, method, served: Arc::clone(served) };
        served.store.is_limited().then(asker)
    }

    /// The way to the nodes that lead what this one does not, unless the client goes there by itself.
    pub(super) fn led_elsewhere(&self) -> Option<Arc<Relay>> {
        self.relay.as_ref().filter(|_| !self.stay.led).map(Arc::clone)
    }

    /// The same for a body of many streams, and whether its client goes to leaders by itself: it cannot be at several of them with one body. Who
    /// stays with its reads too is a node that has sent on what it does not lead: that makes one hop.
    pub(super) fn bodies_elsewhere(&self) -> (Option<Arc<Relay>>, bool) {
        let Stay { led, reads } = self.stay;
        (self.relay.as_ref().filter(|_| !(led && reads)).map(Arc::clone), led)
    }

    /// The way to the nodes that read, where this one does not.
    pub(super) fn read_elsewhere(&self) -> Option<Arc<Relay>> {
        self.relay.as_ref().filter(|relay| !self.stay.reads && relay.reads_elsewhere()).map(Arc::clone)
    }
}

/// The store that a client asks for, and what it is answered.
pub(super) fn welcome(app: &App, hello: &Hello, from: Option<SocketAddr>) -> Result<(Session, Welcome), Refused> {
    let Some(version) = hello.agreed_version() else {
        let text = format!(
            "frames of versions {} to {} are not spoken here; version 1 is",
            hello.version_min, hello.version_max
        );
        return Err(Refused::new(ErrorKind::NotSupported, text));
    };
    let shown = Some(hello.token.as_str()).filter(|token| !token.is_empty());
    let Some(who) = app.access.who(shown) else {
        let text = match shown {
            Some(_) => "this token is not known here: it was taken back, or belongs to another node",
            None => "show a token in the Hello (the commands take --token, or STRANDLINE_TOKEN)",
        };
        let asked = Asked { from, method: "Hello", path: &hello.store };
        app.access.audit.refused(&app.access.nobody(), &asked, ErrorKind::Unauthenticated.code(), text);
        return Err(Refused::new(ErrorKind::Unauthenticated, text));
    };
    let served = store(app, &who, &hello.store)?;
    let welcome = Welcome {
        version,
        checks_commands: served.store.config().id.command_id_unique_scope != CommandScope::None,
        body_max: BODY_BYTES_MAX as u32,
        requests_max: REQUESTS_MAX as u32,
        store: served.store.name().to_owned(),
        program: concat!("strandline/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let of = (served.store.name(), served.store.is_limited());
    let by = (hello.token.as_str(), hello.body_max);
    let to_others = |control: &Control| {
        let ways = (app.certificates.clone(), app.outgoing.clone());
        Arc::new(Relay::new(control.clone(), by, of, ways))
    };
    let relay = app.node.cluster().filter(|_| app.forwards).map(to_others);
    let caller = Caller::new(Arc::clone(&app.access), who);
    Ok((Session { served, caller, stay: Stay::default(), relay }, welcome))
}

fn store(app: &App, who: &Principal, name: &str) -> Result<Arc<ServedStore>, Refused> {
    if !name.is_empty() {
        return app.store_for(who, name).map_err(|error| of_api(&error));
    }
    let stores = app.stores_for(who);
    match stores.as_slice() {
        [only] => Ok(Arc::clone(only)),
        [] => Err(Refused::new(ErrorKind::NotFound, "this token is for stores that this node does not serve")),
        _ => {
            let known: Vec<&str> = stores.iter().map(|served| served.store.name()).collect();
            let text = format!("name a store: this node serves {}", known.join(", "));
            Err(Refused::new(ErrorKind::BadRequest, text))
        }
    }
}
