//! What a handler gets: the request, its payload, and the served stores.

use crate::encode::event::EventWriter;
use crate::error::{ApiError, ApiResult};
use crate::http::query::Query;
use actix_web::dev::Payload as RawPayload;
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest, HttpRequest};
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use strandline_event::FieldNames;
use strandline_workers::{NodeHandle, StoreHandle};

/// What all handlers share.
pub(crate) struct App {
    pub(crate) node: NodeHandle,
    stores: BTreeMap<String, Arc<ServedStore>>,
    pub(crate) started: strandline_event::Micros,
    /// Where the native protocol is served.
    pub(crate) native: Option<SocketAddr>,
    /// In a cluster: what another node leads is sent there.
    pub(crate) forwards: bool,
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
}

impl App {
    /// Over a node that runs.
    pub(crate) fn new(node: NodeHandle, native: Option<SocketAddr>, forwards: bool) -> Self {
        let served = |store: StoreHandle| {
            let names = store.config().envelope.clone();
            let writer = EventWriter::new(&names);
            (store.name().to_owned(), Arc::new(ServedStore { store, writer, names }))
        };
        let stores = node.stores().into_iter().map(served).collect();
        Self { node, stores, started: strandline_workers::clock::now(), native, forwards }
    }

    /// The store of this name.
    pub(crate) fn store(&self, name: &str) -> ApiResult<Arc<ServedStore>> {
        if let Some(store) = self.stores.get(name) {
            return Ok(Arc::clone(store));
        }
        let known: Vec<&str> = self.stores.keys().map(String::as_str).collect();
        let shown: String = name.chars().take(128).collect();
        Err(ApiError::not_found(format!("there is no store `{shown}`; this node serves {}", known.join(", ")))
            .with("stores", known))
    }

    /// All stores.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &Arc<ServedStore>> {
        self.stores.values()
    }
}

/// One request.
pub(crate) struct Call {
    pub(crate) request: HttpRequest,
    pub(crate) payload: Payload,
    pub(crate) app: Data<App>,
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
        self.app.store(&self.segment(index)?)
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
        let body = Payload::from_request(request, payload);
        let call = |payload| Self { request: request.clone(), payload, app: Data::clone(app) };
        ready(body.into_inner().map(call))
    }
}
