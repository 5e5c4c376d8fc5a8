//! Spans of requests, and the traces that other programs and other nodes carry on with them (W3C trace context).
//!
//! The spans are there in every build, and cost a look at an atomic where nobody traces. Headers of traces are read and written by the
//! feature `otel` alone; without it a node passes on what came.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use strandline_workers::spans::TARGET;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// A request, from its head to the head of its answer. Named by the route, never by the path: that holds what clients call their streams.
pub(crate) fn request(request: &ServiceRequest) -> Span {
    let span = info_span!(
        target: TARGET,
        "http.request",
        otel.kind = "server",
        otel.name = Empty,
        otel.status_code = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    if !span.is_disabled() {
        let (method, route) = (request.method().as_str(), request.match_pattern());
        // as the table of routes has it: without the pattern of a segment
        let route = route.map_or_else(|| "unknown route".to_owned(), |route| route.replace(":[^/]*}", "}"));
        span.record("otel.name", format!("{method} {route}"));
        span.record("http.request.method", method);
        span.record("http.route", route);
        context::take_up(&span, request.headers());
    }
    span
}

/// The head of the answer is there.
pub(crate) fn answered(span: &Span, answered: &ServiceResponse<BoxBody>) {
    if span.is_disabled() {
        return;
    }
    let status = answered.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// A request of the native protocol that is served.
pub(crate) fn native(kind: &'static str) -> Span {
    info_span!(target: TARGET, "native.request", otel.kind = "server", kind)
}

/// The bytes of an append become batches.
pub(crate) fn decode(bytes: usize) -> Span {
    info_span!(target: TARGET, "append.decode", bytes)
}

/// A request is sent to the node that leads, and answered there.
pub(crate) fn forward(node: u64, address: &str) -> Span {
    info_span!(target: TARGET, "http.forward", otel.kind = "client", node, server.address = address)
}

pub(crate) use context::headers;

/// Headers of a trace: a node that writes its own ([`headers`]) passes none of these on.
pub(crate) const HEADERS: [&str; 2] = ["traceparent", "tracestate"];

#[cfg(feature = "otel")]
mod context {
    use actix_web::http::header::{HeaderMap, HeaderName};
    use opentelemetry::global::get_text_map_propagator;
    use opentelemetry::propagation::{Extractor, Injector};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    struct Came<'a>(&'a HeaderMap);

    impl Extractor for Came<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(HeaderName::as_str).collect()
        }
    }

    #[derive(Default)]
    struct Goes(Vec<(String, String)>);

    impl Injector for Goes {
        fn set(&mut self, key: &str, value: String) {
            self.0.push((key.to_owned(), value));
        }
    }

    /// The span is a part of the trace that the request came with, if it came with one.
    pub(super) fn take_up(span: &Span, came: &HeaderMap) {
        if came.contains_key("traceparent") {
            // refused where the span is no trace's: then there is nothing to be part of
            let _ = span.set_parent(get_text_map_propagator(|all| all.extract(&Came(came))));
        }
    }

    /// What a request to another node says of the trace of now; nothing where there is none.
    pub(crate) fn headers() -> Vec<(String, String)> {
        let span = Span::current();
        let mut goes = Goes::default();
        if !span.is_disabled() {
            get_text_map_propagator(|all| all.inject_context(&span.context(), &mut goes));
        }
        goes.0
    }
}

#[cfg(not(feature = "otel"))]
mod context {
    use actix_web::http::header::HeaderMap;
    use tracing::Span;

    pub(super) const fn take_up(_: &Span, _: &HeaderMap) {}

    /// Nothing: what came is passed on as it is.
    pub(crate) const fn headers() -> Vec<(String, String)> {
        Vec::new()
    }
}
