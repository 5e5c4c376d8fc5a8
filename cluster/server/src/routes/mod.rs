//! All routes, in one table: what the router serves, what `/openapi.json` describes, what an error lists.
//!
//! Each route says what it needs of its caller ([`Need`]): there is none without that word.
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
pub(crate) mod subscriptions_admin;

use crate::access::Need;
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::body;
use crate::http::call::{Call, ServedStore};
use crate::http::query::Query;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, ResponseError};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

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

impl Side {
    /// Which listener serves a path, where this side's routes are at another one: the name of its address in `/info`, and whose it is.
    fn other_listener(self, path: &str) -> Option<(&'static str, &'static str)> {
        let is_admin = path == "/admin" || path.starts_with("/admin/");
        let is_data = path.starts_with("/v1/") || path.starts_with("/api/");
        match self {
            Self::Admin if is_admin => {
                Some(("admin", "operators are served at an address of their own here (`serve --admin`), ask there"))
            }
            Self::Data if is_data => {
                Some(("http", "it is for operators; clients are served at that of `serve --http`, ask there"))
            }
            _ => None,
        }
    }
}

/// One line of the table, for the description and its test.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteInfo {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    /// `false`: answered with `not_supported`.
    pub(crate) served: bool,
}

macro_rules! table {
    ($($side:ident $path:literal { $($need:ident $method:ident => $handler:path),+ $(,)? })+) => {
        /// Every route.
        #[cfg(test)]
        pub(crate) const ROUTES: &[RouteInfo] = &[$($(RouteInfo {
            method: stringify!($method),
            path: $path,
            need: Need::$need,
            served: !is_refusal(stringify!($handler)),
        }),+),+];

        /// What each route needs of its caller, by method and by the pattern that the router matches.
        static NEEDS: LazyLock<HashMap<String, Vec<(&'static str, Need)>>> = LazyLock::new(|| {
            HashMap::from([$((matching($path), vec![$((stringify!($method), Need::$need)),+])),+])
        });

        /// Puts the routes of a listener into its router.
        pub(crate) fn configure(config: &mut ServiceConfig, wanted: impl Fn(Side) -> bool) {
            $(if wanted(Side::$side) {
                let resource = web::resource(matching($path))$(.route(web::method(Method::$method).to($handler)))+;
                config.service(with_methods(resource, $path, &[$(stringify!($method)),+]));
            })+
            let elsewhere = [Side::Data, Side::Admin].into_iter().find(|side| !wanted(*side));
            config.default_service(web::to(move |request: HttpRequest| async move { unknown(&request, elsewhere) }));
        }
    };
}

// the router asks one pattern after the other: what is called most stands first. One path fits two patterns: `/admin/` stands before `/admin/{file}`
table! {
    Data "/v1/stores/{store}/streams/{stream_type}/{stream_id}" { Read GET => streams::read, Append POST => streams::append }
    Both "/" { Open GET => meta::root }
    Both "/health" { Open GET => meta::health, Open HEAD => meta::health }
    Both "/ready" { Open GET => meta::ready, Open HEAD => meta::ready }
    Both "/info" { Token GET => meta::info }
    Both "/metrics" { ReadNode GET => metrics::metrics }
    Both "/openapi.json" { Open GET => openapi::openapi }
    Data "/v1/stores" { Token GET => stores::list }
    Data "/v1/stores/{store}" { Token GET => stores::one }
    Data "/v1/stores/{store}/stream-types" { Token GET => stores::stream_types, Admin POST => stores::register }
    Data "/v1/stores/{store}/streams/{stream_type}/{stream_id}/head" { Read GET => streams::head }
    Data "/v1/stores/{store}/events" { Read GET => events::read_global, Append POST => bulk::append }
    Data "/v1/stores/{store}/events/{event_id}" { Read GET => events::by_id }
    Data "/v1/stores/{store}/scan" { Read GET => scan::scan }
    Data "/v1/stores/{store}/subscribe" { Read GET => subscribe::subscribe }
    Data "/v1/stores/{store}/subscriptions" { ReadStore GET => subscriptions::list }
    Data "/v1/stores/{store}/subscriptions/{name}" {
        ReadStore GET => subscriptions::one, ReadStore POST => subscriptions::create, ReadStore DELETE => subscriptions::delete,
    }
    Data "/v1/stores/{store}/subscriptions/{name}/events" { ReadStore GET => subscriptions::events }
    Data "/v1/stores/{store}/subscriptions/{name}/ack" { ReadStore POST => subscriptions::ack }
    Data "/v1/stores/{store}/subscriptions/{name}/retry" { ReadStore POST => subscriptions::retry }
    Data "/v1/stores/{store}/subscriptions/{name}/park" { ReadStore POST => subscriptions::park }
    Data "/v1/stores/{store}/subscriptions/{name}/replay" { ReadStore POST => subscriptions::replay }
    Data "/v1/stores/{store}/query" { ReadStore POST => not_served::query }
    Data "/api/dereg/eventstores" { Token GET => deql::eventstores }
    Data "/api/dereg/eventstores/{name}" { Token GET => deql::eventstore }
    Data "/api/deql/create" { AdminNode POST => deql::create }
    Data "/api/deql/export" { ReadNode GET => deql::export }
    Data "/api/query" { ReadStore POST => not_served::query }
    Admin "/admin/v1/stores/{store}/compaction" { Admin GET => compaction::status }
    Admin "/admin/v1/stores/{store}/compaction/run" { Admin POST => compaction::run }
    Admin "/admin/v1/stores/{store}/compaction/pause" { Admin POST => compaction::pause }
    Admin "/admin/v1/stores/{store}/compaction/resume" { Admin POST => compaction::resume }
    Admin "/admin/v1/stores/{store}/compaction/cancel" { Admin POST => compaction::cancel }
    Admin "/admin/v1/stores/{store}/compaction/plan" { Admin GET => compaction::plan }
    Admin "/admin/v1/stores/{store}/tiers" { Admin GET => admin::tiers }
    Admin "/admin/v1/stores/{store}/wal" { Admin GET => admin::wal }
    Admin "/admin/v1/stores/{store}/manifest" { Admin GET => admin::manifest }
    Admin "/admin/v1/stores/{store}/files" { Admin GET => admin::files }
    Admin "/admin/v1/stores/{store}/retention" { Admin GET => retention::status }
    Admin "/admin/v1/stores/{store}/retention/run" { Admin POST => retention::run }
    Admin "/admin/v1/stores/{store}/retention/restore" { Admin POST => retention::restore }
    Admin "/admin/v1/stores/{store}/restore" { Admin POST => retention::restore }
    Admin "/admin/v1/stores/{store}/subscriptions" { Admin GET => subscriptions_admin::list }
    Admin "/admin/v1/stores/{store}/subscriptions/{name}" { Admin GET => subscriptions_admin::one }
    Admin "/admin/v1/stores/{store}/subscriptions/{name}/replay" { Admin POST => subscriptions_admin::replay }
    Admin "/admin/v1/stores/{store}/erase" { Admin POST => erase::erase }
    Admin "/admin/v1/stores/{store}/redact" { Admin GET => redact::list, Admin POST => redact::redact }
    Admin "/admin/v1/cluster" { AdminNode GET => cluster::status }
    Admin "/admin/v1/cluster/{action}" { AdminNode POST => cluster::change }
    Admin "/admin" { Open GET => console::without_slash }
    Admin "/admin/" { Open GET => console::page }
    Admin "/admin/{file}" { Open GET => console::file }
}

/// What a route needs of its caller; `None`: there is no such route, or not with this method.
pub(crate) fn need_of(method: &str, pattern: &str) -> Option<Need> {
    NEEDS.get(pattern)?.iter().find(|(of, _)| *of == method).map(|(_, need)| *need)
}

/// Names may be empty here, so that the handler says which one is.
fn matching(path: &str) -> String {
    path.replace('}', ":[^/]*}")
}

/// Where a consumer takes events.
const TAKEN_FROM: &str = "/v1/stores/{store}/subscriptions/{name}/events";
/// Routes that are followed: they have no head to ask for.
const FOLLOWED: [&str; 2] = ["/v1/stores/{store}/subscribe", TAKEN_FROM];

/// Whether a request of this pattern changes nothing. What a consumer takes nobody else is given meanwhile, and its silence counts against the events.
pub(crate) fn only_reads(method: &Method, pattern: Option<&str>) -> bool {
    method.is_safe() && pattern.is_none_or(|pattern| pattern != matching(TAKEN_FROM))
}

/// Whether HEAD is answered by the pattern's GET.
pub(crate) fn answers_head(pattern: &str) -> bool {
    need_of("GET", pattern).is_some() && !FOLLOWED.iter().any(|path| matching(path) == pattern)
}

fn with_methods(resource: Resource, path: &str, methods: &[&'static str]) -> Resource {
    let mut all = methods.to_vec();
    if answers_head(&matching(path)) && !all.contains(&"HEAD") {
        all.push("HEAD");
    }
    let all: Arc<[&'static str]> = all.into();
    resource.default_service(web::to(move |request: HttpRequest| {
        let methods = Arc::clone(&all);
        async move { not_by_this_method(&request, &methods) }
    }))
}

fn not_by_this_method(request: &HttpRequest, methods: &[&'static str]) -> HttpResponse {
    let (method, path, list) = (request.method().as_str(), request.path(), methods.join(", "));
    let error = ApiError::method_not_allowed(format!("{method} {path}: this route takes {list}"));
    let mut answer = error.with("methods", methods.to_vec()).error_response();
    // RFC 9110 wants it beside every 405
    if let Ok(list) = HeaderValue::from_str(&list) {
        answer.headers_mut().insert(ALLOW, list);
    }
    answer
}

/// `elsewhere`: the routes that another listener of this node serves.
fn unknown(request: &HttpRequest, elsewhere: Option<Side>) -> Result<HttpResponse, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    let text = format!("there is no route {} {path}", request.method());
    let Some((listener, whose)) = elsewhere.and_then(|side| side.other_listener(&path)) else {
        return Err(ApiError::not_found(format!("{text}; GET /openapi.json lists them")).with("path", path));
    };
    Err(ApiError::not_found(format!("{text} at this address: {whose}")).with("listener", listener))
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

/// The same for a read across streams, of one stream type or of all. Where the order of the whole store ends every log says; what this node has of
/// one type says nobody else.
pub(crate) async fn confirm_order(served: &ServedStore, confirms: bool, stream_type: Option<&str>) -> ApiResult<()> {
    confirm(served, confirms, stream_type.filter(|_| !confirms)).await
}

/// The same of one stream.
pub(crate) async fn confirm_stream(
    served: &ServedStore,
    confirms: bool,
    (stream_type, stream_id): (&str, &str),
) -> ApiResult<()> {
    let confirmed = match confirms {
        true => served.store.confirm_stream(stream_type, stream_id).await,
        false => served.store.check_whole_stream(stream_type, stream_id),
    };
    confirmed.map_err(|error| failure::answer(&error, served.names()))
}

/// Reads to the end what comes with a request that says nothing by its body, and refuses it where it says something: it would be taken for a wish
/// that is kept.
pub(crate) async fn no_body(call: Call) -> Result<(), ApiError> {
    let permits = call.app.node.permits();
    let body = body::read(&call.request, call.payload, permits, "this request", stores::SMALL_BODY_BYTES_MAX).await?;
    match body.bytes.trim_ascii() {
        [] | b"{}" => Ok(()),
        _ => {
            Err(ApiError::bad_request("this route takes no body, and does nothing else than its path says: send none"))
        }
    }
}

/// Refuses query parameters on routes that have none.
pub(crate) fn no_query(call: &Call) -> Result<(), ApiError> {
    call.query()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::dev::ResourceDef;
    use std::collections::BTreeSet;

    #[test]
    fn no_path_fits_two_patterns_but_that_of_the_console() {
        let paths: BTreeSet<&'static str> = ROUTES.iter().map(|route| route.path).collect();
        let patterns: Vec<ResourceDef> = paths.iter().map(|path| ResourceDef::new(matching(path))).collect();
        for name in ["", "x", "events", "run"] {
            let named = |part: &'static str| if part.starts_with('{') { name } else { part };
            for path in &paths {
                let asked = path.split('/').map(named).collect::<Vec<_>>().join("/");
                let fit = patterns.iter().filter(|pattern| pattern.is_match(&asked)).count();
                assert_eq!(fit, if asked == "/admin/" { 2 } else { 1 }, "{asked}");
            }
        }
        let at = |path: &str| ROUTES.iter().position(|route| route.path == path);
        assert!(at("/admin/") < at("/admin/{file}"));
    }
}
