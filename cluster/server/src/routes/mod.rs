//! All routes, in one table: what the router serves, what `/openapi.json` describes, what an error lists.
//!
//! Handlers translate: path, query and body in, one call of the node, bytes out. Rules live below.

pub(crate) mod admin;
pub(crate) mod bulk;
pub(crate) mod cluster;
pub(crate) mod compaction;
pub(crate) mod console;
pub(crate) mod deql;
pub(crate) mod erase;
pub(crate) mod events;
pub(crate) mod meta;
pub(crate) mod metrics;
pub(crate) mod not_served;
pub(crate) mod openapi;
pub(crate) mod redact;
pub(crate) mod retention;
pub(crate) mod scan;
pub(crate) mod stores;
pub(crate) mod streams;
pub(crate) mod subscribe;
pub(crate) mod subscriptions;

use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::query::Query;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, ResponseError};

/// Which listener serves a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// The one for clients.
    Data,
    /// The one for operators, where it is separate.
    Admin,
    /// Both.
    Both,
}

/// One line of the table, for the description and its test.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteInfo {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// `false`: answered with `not_supported`.
    pub(crate) served: bool,
}

macro_rules! table {
    ($($side:ident $path:literal { $($method:ident => $handler:path),+ $(,)? })+) => {
        /// Every route.
        #[cfg(test)]
        pub(crate) const ROUTES: &[RouteInfo] = &[$($(RouteInfo {
            method: stringify!($method),
            path: $path,
            served: !is_refusal(stringify!($handler)),
        }),+),+];

        /// Puts the routes of a listener into its router.
        pub(crate) fn configure(config: &mut ServiceConfig, wanted: impl Fn(Side) -> bool) {
            $(if wanted(Side::$side) {
                let resource = web::resource(matching($path))$(.route(web::method(Method::$method).to($handler)))+;
                config.service(with_methods(resource, &[$(stringify!($method)),+]));
            })+
            config.default_service(web::to(unknown));
        }
    };
}

table! {
    Both "/health" { GET => meta::health, HEAD => meta::health }
    Both "/ready" { GET => meta::ready, HEAD => meta::ready }
    Both "/info" { GET => meta::info }
    Both "/metrics" { GET => metrics::metrics }
    Both "/openapi.json" { GET => openapi::openapi }
    Data "/v1/stores" { GET => stores::list }
    Data "/v1/stores/{store}" { GET => stores::one }
    Data "/v1/stores/{store}/stream-types" { GET => stores::stream_types, POST => stores::register }
    Data "/v1/stores/{store}/streams/{stream_type}/{stream_id}" { GET => streams::read, POST => streams::append }
    Data "/v1/stores/{store}/streams/{stream_type}/{stream_id}/head" { GET => streams::head }
    Data "/v1/stores/{store}/events" { GET => events::read_global, POST => bulk::append }
    Data "/v1/stores/{store}/events/{event_id}" { GET => events::by_id }
    Data "/v1/stores/{store}/scan" { GET => scan::scan }
    Data "/v1/stores/{store}/subscribe" { GET => subscribe::subscribe }
    Data "/v1/stores/{store}/subscriptions" { GET => subscriptions::list }
    Data "/v1/stores/{store}/subscriptions/{name}" {
        GET => subscriptions::one, POST => subscriptions::create, DELETE => subscriptions::delete,
    }
    Data "/v1/stores/{store}/subscriptions/{name}/events" { GET => subscriptions::events }
    Data "/v1/stores/{store}/subscriptions/{name}/ack" { POST => subscriptions::ack }
    Data "/v1/stores/{store}/subscriptions/{name}/retry" { POST => subscriptions::retry }
    Data "/v1/stores/{store}/subscriptions/{name}/park" { POST => subscriptions::park }
    Data "/v1/stores/{store}/subscriptions/{name}/replay" { POST => subscriptions::replay }
    Data "/v1/stores/{store}/query" { POST => not_served::query }
    Data "/api/dereg/eventstores" { GET => deql::eventstores }
    Data "/api/dereg/eventstores/{name}" { GET => deql::eventstore }
    Data "/api/deql/create" { POST => deql::create }
    Data "/api/deql/export" { GET => deql::export }
    Data "/api/query" { POST => not_served::query }
    Admin "/admin/v1/stores/{store}/compaction" { GET => compaction::status }
    Admin "/admin/v1/stores/{store}/compaction/run" { POST => compaction::run }
    Admin "/admin/v1/stores/{store}/compaction/pause" { POST => compaction::pause }
    Admin "/admin/v1/stores/{store}/compaction/resume" { POST => compaction::resume }
    Admin "/admin/v1/stores/{store}/compaction/cancel" { POST => compaction::cancel }
    Admin "/admin/v1/stores/{store}/compaction/plan" { GET => compaction::plan }
    Admin "/admin/v1/stores/{store}/tiers" { GET => admin::tiers }
    Admin "/admin/v1/stores/{store}/wal" { GET => admin::wal }
    Admin "/admin/v1/stores/{store}/manifest" { GET => admin::manifest }
    Admin "/admin/v1/stores/{store}/files" { GET => admin::files }
    Admin "/admin/v1/stores/{store}/retention" { GET => retention::status }
    Admin "/admin/v1/stores/{store}/retention/run" { POST => retention::run }
    Admin "/admin/v1/stores/{store}/retention/restore" { POST => retention::restore }
    Admin "/admin/v1/stores/{store}/restore" { POST => retention::restore }
    Admin "/admin/v1/stores/{store}/erase" { POST => erase::erase }
    Admin "/admin/v1/stores/{store}/redact" { GET => redact::list, POST => redact::redact }
    Admin "/admin/v1/cluster" { GET => cluster::status }
    Admin "/admin/v1/cluster/{action}" { POST => cluster::change }
    Admin "/admin" { GET => console::without_slash }
    Admin "/admin/" { GET => console::page }
    Admin "/admin/{file}" { GET => console::file }
}

/// Names may be empty here, so that the handler says which one is.
fn matching(path: &str) -> String {
    path.replace('}', ":[^/]*}")
}

fn with_methods(resource: Resource, methods: &'static [&'static str]) -> Resource {
    resource.default_service(web::to(move |request: HttpRequest| async move {
        let (method, path, list) = (request.method().as_str(), request.path(), methods.join(", "));
        let error = ApiError::method_not_allowed(format!("{method} {path}: this route takes {list}"));
        let mut answer = error.with("methods", methods.to_vec()).error_response();
        // RFC 9110 wants it beside every 405
        if let Ok(list) = HeaderValue::from_str(&list) {
            answer.headers_mut().insert(ALLOW, list);
        }
        answer
    }))
}

async fn unknown(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    Err(ApiError::not_found(format!("there is no route {} {path}; GET /openapi.json lists them", request.method())))
}

#[cfg(test)]
const fn is_refusal(handler: &str) -> bool {
    let (prefix, name) = (b"not_served", handler.as_bytes());
    let mut i = 0;
    while i < prefix.len() {
        if i >= name.len() || name[i] != prefix[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// What a read may be answered from: `consistency=leader` (where nothing is said), so that everything that was acknowledged before is seen,
/// or `local`, what this node has.
pub(crate) fn confirms(query: &Query) -> ApiResult<bool> {
    Ok(query.choice("consistency", &[("leader", true), ("local", false)])?.unwrap_or(true))
}

/// Makes a read see everything that was acknowledged before, of one stream type or of all; a node of a cluster that cannot says who can.
pub(crate) async fn confirm(served: &ServedStore, confirms: bool, stream_type: Option<&str>) -> ApiResult<()> {
    let confirmed = match confirms {
        true => served.store.confirm(stream_type).await,
        false => served.store.check_whole(stream_type),
    };
    confirmed.map_err(|error| failure::answer(&error, served.names()))
}

/// Refuses query parameters on routes that have none.
pub(crate) fn no_query(call: &Call) -> Result<(), ApiError> {
    call.query()?.finish()
}
