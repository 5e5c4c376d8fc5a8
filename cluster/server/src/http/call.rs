//! What a handler gets: the request, its payload, and the served stores.

use crate::access::guard::Granted;
use crate::access::{Access, Caller, Principal};
use crate::connections::{self, OUTGOING_PART};
use crate::encode::event::EventWriter;
use crate::error::{ApiError, ApiResult};
use crate::forward::Readers;
use crate::http::query::Query;
use crate::outgoing::Outgoing;
use crate::security::Security;
use crate::stall::Patience;
use actix_web::dev::Payload as RawPayload;
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use strandline_event::FieldNames;
use strandline_tls::Certificates;
use strandline_workers::{NodeHandle, StoreHandle};

/// What all handlers share.
pub(crate) struct App {
    pub(crate) node: NodeHandle,
    stores: BTreeMap<String, Arc<ServedStore>>,
    pub(crate) started: strandline_event::Micros,
    /// Where it is served.
    pub(crate) addresses: Listening,
    /// In a cluster: what another node leads is sent there.
    pub(crate) forwards: bool,
    /// The nodes that read for this one, where it has not the role.
    pub(crate) readers: Readers,
    /// Connections to other nodes.
    pub(crate) outgoing: Outgoing,
    /// Who may do what.
    pub(crate) access: Arc<Access>,
    /// How other nodes are spoken to, where they speak TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// What a slow client is given.
    pub(crate) patience: Patience,
}

/// The addresses of a node's listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    /// For clients.
    pub(crate) http: SocketAddr,
    /// For the native protocol.
    pub(crate) native: Option<SocketAddr>,
    /// For operators, where they are served at an address of their own: here and so, as is supposed, at other nodes.
    pub(crate) admin: Option<SocketAddr>,
}

/// A store with what its answers need.
pub(crate) struct ServedStore {
    pub(crate) store: StoreHandle,
    pub(crate) writer: EventWriter,
    /// No statement that is replaced changes them.
    names: FieldNames,
}

impl ServedStore {
    /// The store's field names.
    pub(crate) fn names(&self) -> &FieldNames {
        &self.names
    }

    /// The store as it is for a caller.
    fn of(self: &Arc<Self>, who: &Principal) -> Arc<Self> {
        let Some(tenants) = who.tenants() else { return Arc::clone(self) };
        let (store, writer) = (self.store.limited_to(tenants), self.writer.clone());
        Arc::new(Self { store, writer, names: self.names.clone() })
    }
}

impl App {
    /// Over a node that runs.
    pub(crate) fn new(
        node: NodeHandle,
        addresses: Listening,
        (forwards, patience): (bool, Patience),
        security: Security,
    ) -> Self {
        let served = |store: StoreHandle| {
            let names = store.config().envelope.clone();
            let writer = EventWriter::new(&names);
            (store.name().to_owned(), Arc::new(ServedStore { store, writer, names }))
        };
        let stores = node.stores().into_iter().map(served).collect();
        let Security { access, certificates } = security;
        let started = strandline_workers::clock::now();
        let readers = Readers::default();
        let outgoing = Outgoing::new(connections::share(node.descriptors_max(), OUTGOING_PART, connections::MOST));
        Self { node, stores, started, addresses, forwards, readers, outgoing, access, certificates, patience }
    }

    /// The store of this name.
    pub(crate) fn store(&self, name: &str) -> ApiResult<Arc<ServedStore>> {
        self.stores.get(name).map(Arc::clone).ok_or_else(|| unknown_store(name, self.stores.keys()))
    }

    /// The store of this name as it is for a caller.
    pub(crate) fn store_for(&self, who: &Principal, name: &str) -> ApiResult<Arc<ServedStore>> {
        match self.stores.get(name).filter(|_| who.knows_store(name)) {
            Some(served) => Ok(served.of(who)),
            None => Err(unknown_store(name, self.stores.keys().filter(|name| who.knows_store(name)))),
        }
    }

    /// The stores that exist for a caller.
    pub(crate) fn stores_for(&self, who: &Principal) -> Vec<Arc<ServedStore>> {
        let known = self.stores.iter().filter(|(name, _)| who.knows_store(name));
        known.map(|(_, served)| served.of(who)).collect()
    }

    /// All stores.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &Arc<ServedStore>> {
        self.stores.values()
    }
}

fn unknown_store<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> ApiError {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let shown: String = name.chars().take(128).collect();
    let text = match known.as_slice() {
        [] => format!("there is no store `{shown}`; this token is for stores that this node does not serve"),
        known => format!("there is no store `{shown}`; this node serves {}", known.join(", ")),
    };
    ApiError::not_found(text).with("stores", known)
}

/// One request.
pub(crate) struct Call {
    pub(crate) request: HttpRequest,
    pub(crate) payload: Payload,
    pub(crate) app: Data<App>,
    /// Who asks.
    pub(crate) who: Arc<Principal>,
}

impl Call {
    /// The text of a path segment, counted from 0.
    pub(crate) fn segment(&self, index: usize) -> ApiResult<String> {
        super::path::segment(&self.request, index)
    }

    /// The query parameters.
    pub(crate) fn query(&self) -> ApiResult<Query> {
        Query::parse(self.request.query_string())
    }

    /// The store that the path names at `index`.
    pub(crate) fn store_at(&self, index: usize) -> ApiResult<Arc<ServedStore>> {
        self.app.store_for(&self.who, &self.segment(index)?)
    }

    /// Who asks, for a request that goes on.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(Arc::clone(&self.app.access), Arc::clone(&self.who))
    }

    /// Who asks, as what is kept for ever names it: the token's name, where there are tokens.
    pub(crate) fn asker(&self) -> String {
        match self.app.access.token_file() {
            Some(_) => self.who.name.clone(),
            None => "an operator without a token".to_owned(),
        }
    }

    /// The store of `/v1/stores/{store}/...`.
    pub(crate) fn store(&self) -> ApiResult<Arc<ServedStore>> {
        self.store_at(2)
    }

    /// The store of `/admin/v1/stores/{store}/...`.
    pub(crate) fn admin_store(&self) -> ApiResult<Arc<ServedStore>> {
        self.store_at(3)
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).map(|value| value.to_str().unwrap_or("?"))
    }
}

impl FromRequest for Call {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut RawPayload) -> Self::Future {
        let Some(app) = request.app_data::<Data<App>>() else {
            return ready(
                Err(ApiError::new(strandline_event::ErrorKind::Unavailable, "the server is starting").into()),
            );
        };
        // nobody but the guard lets a request through
        let Some(Granted(who)) = request.extensions().get::<Granted>().cloned() else {
            let text = "the request passed no guard: this is a defect of the program";
            return ready(Err(ApiError::new(strandline_event::ErrorKind::Unauthenticated, text).into()));
        };
        let body = Payload::from_request(request, payload);
        let call = |payload| Self { request: request.clone(), payload, app: Data::clone(app), who };
        ready(body.into_inner().map(call))
    }
}
