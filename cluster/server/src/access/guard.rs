//! Before every route: whose token it is, whether it may, and what the audit log is told.
//!
//! What it lets through carries its caller in the request; a handler that finds none refuses. Requests of a path or a method that
//! is no route pass: their answer says nothing of a store.

use crate::access::Need;
use crate::access::audit::Asked;
use crate::access::origin;
use crate::access::principal::Principal;
use crate::access::unread::{self, Held, Unread};
use crate::connections::Connection;
use crate::error::ApiError;
use crate::http::call::App;
use crate::http::head;
use crate::routes::{need_of, only_reads};
use crate::trace;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use std::sync::Arc;
use strandline_event::ErrorKind;
use tracing::Instrument;

/// The caller of a request that was let through.
#[derive(Clone)]
pub(crate) struct Granted(pub(crate) Arc<Principal>);

/// Beside an answer that is no refusal: why a part of what was asked for is forbidden.
pub(crate) struct PartForbidden(pub(crate) String);

/// Lets a request through, or refuses it, in the span that a trace shows of it.
///
/// Who shows no token gets one answer a connection: the listener gives a later request's head no time, and a byte of it would keep a place
/// for ever; nor does anybody read a body of theirs, or what they sent behind it.
pub(crate) async fn guard(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Some(time) = request.conn_data::<Connection>().and_then(Connection::ends_after) {
        return Ok(unread::end(request, time).await);
    }
    let span = trace::request(&request);
    let is_head = head::is_asked_for(&mut request);
    let app = request.app_data::<Data<App>>().cloned();
    let found = app.as_ref().and_then(|app| app.access.who(bearer(&request)));
    let is_stranger = found.is_none() && app.is_some_and(|app| app.access.asks_for_tokens());
    let held = if is_stranger { Some(Held::alone(&mut request)) } else { Held::beside(&mut request) };
    let mut answered = guarded(request, next, found).instrument(span.clone()).await?;
    trace::answered(&span, &answered);
    if is_head {
        answered = head::without_body(answered);
    }
    if is_stranger {
        answered.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        if let Some(connection) = answered.request().conn_data::<Connection>() {
            connection.end(answered.response().body().size());
        }
    }
    let Some(held) = held else { return Ok(answered) };
    Ok(answered.map_body(|_, answer| BoxBody::new(Unread::new(answer, held))))
}

/// One of a connection too many is refused before anything else.
async fn guarded(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    found: Option<Arc<Principal>>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.conn_data::<Connection>().is_some_and(|connection| connection.is_over) {
        let text = "too many connections are open: close some, or try again";
        return Ok(request.into_response(closing(ApiError::new(ErrorKind::Overloaded, text))));
    }
    let app = request.app_data::<Data<App>>().cloned();
    let pattern = request.match_pattern();
    let need = pattern.as_deref().and_then(|pattern| need_of(request.method().as_str(), pattern));
    let (Some(app), Some(need)) = (app, need) else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let (from, method, path) = (request.peer_addr(), request.method().clone(), request.uri().path().to_owned());
    let asked = Asked { from, method: method.as_str(), path: &path };
    if need != Need::Open
        && !app.access.asks_for_tokens()
        && let Some(why) = origin::refusal(request.headers(), only_reads(&method, pattern.as_deref()))
    {
        let error = ApiError::new(ErrorKind::Forbidden, why);
        app.access.audit.refused(&app.access.nobody(), &asked, error.code(), error.message());
        return Ok(request.into_response(error.error_response()));
    }
    let refused = match &found {
        None if need == Need::Open => None,
        None => Some(unauthenticated(&request)),
        Some(who) => need.refusal(who).map(|why| ApiError::new(ErrorKind::Forbidden, why)),
    };
    let who = found.unwrap_or_else(|| app.access.nobody());
    if let Some(error) = refused {
        app.access.audit.refused(&who, &asked, error.code(), error.message());
        return Ok(request.into_response(error.error_response()));
    }
    // told when it goes, however this ends
    let mut administration = need.is_audited(&method).then(|| app.access.audit.begin(&who, asked));
    request.extensions_mut().insert(Granted(Arc::clone(&who)));
    let called = next.call(request).await;
    let status = called.as_ref().map_or_else(|error| error.as_response_error().status_code(), ServiceResponse::status);
    if let Some(administration) = &mut administration {
        administration.answered(status.as_u16());
    }
    let answered = without_others(called?.map_into_boxed_body(), &who);
    if let StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED = status {
        let error = answered.response().error().and_then(|error| error.as_error::<ApiError>());
        let (code, why) = error.map_or(("forbidden", ""), |error| (error.code(), error.message()));
        app.access.audit.refused(&who, &asked, code, why);
    } else if let Some(PartForbidden(why)) = answered.response().extensions().get::<PartForbidden>() {
        app.access.audit.refused(&who, &asked, ErrorKind::Forbidden.code(), why);
    }
    Ok(answered)
}

/// The answer, and the end of its connection.
fn closing(error: ApiError) -> HttpResponse {
    let mut answer = error.error_response();
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}

fn unauthenticated(request: &ServiceRequest) -> ApiError {
    let text = if request.headers().get_all(AUTHORIZATION).nth(1).is_some() {
        "this request has several `Authorization` headers: show one token, in one of them"
    } else if bearer(request).is_some() {
        "this token is not known here: it was taken back, or belongs to another node"
    } else {
        "show a token: `Authorization: Bearer slt_...` (the commands take --token, or STRANDLINE_TOKEN)"
    };
    ApiError::new(ErrorKind::Unauthenticated, text)
}

/// The token that a request shows. Of several headers none counts: what stands before this node may have judged by another one than the first.
fn bearer(request: &ServiceRequest) -> Option<&str> {
    let mut shown = request.headers().get_all(AUTHORIZATION);
    let (Some(only), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What goes wrong inside a node may name places, streams and numbers of any tenant: a caller that is limited to some is told only
/// that it went wrong.
fn without_others(answered: ServiceResponse<BoxBody>, who: &Principal) -> ServiceResponse<BoxBody> {
    if who.tenants().is_none() || !answered.status().is_server_error() {
        return answered;
    }
    let error = answered.response().error().and_then(|error| error.as_error::<ApiError>());
    let Some(told) = error.map(|error| error.for_tenants().error_response()) else { return answered };
    let (request, _) = answered.into_parts();
    ServiceResponse::new(request, told)
}
