//! The description of all served routes: a file kept by hand, which a test compares with the table.

use crate::error::ApiResult;
use crate::http::call::Call;
use crate::http::paced::paced;
use crate::routes::no_query;
use crate::stall::Patience;
use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use bytes::Bytes;
use futures_util::stream;
use std::io;

const DESCRIPTION: &str = include_str!("../../openapi.json");
/// Bytes that are handed to the connection at once.
const PIECE_BYTES: usize = 16 << 10;

/// GET /openapi.json
pub(crate) async fn openapi(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(description(call.app.patience))
}

/// The largest answer that anybody gets: who takes it too slowly is given no more of it.
fn description(patience: Patience) -> HttpResponse {
    let pieces = DESCRIPTION.as_bytes().chunks(PIECE_BYTES).map(|piece| Ok::<_, io::Error>(Bytes::from_static(piece)));
    let pieces = Box::pin(paced(stream::iter(pieces), patience));
    HttpResponse::Ok().content_type("application/json").body(SizedStream::new(DESCRIPTION.len() as u64, pieces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Need;
    use crate::routes::{ROUTES, RouteInfo};
    use actix_web::body::MessageBody;
    use std::collections::BTreeSet;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::sleep;

    #[test]
    fn who_takes_it_too_slowly_is_given_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let hurry = Patience { stall: Duration::from_millis(1), bytes_a_second: u64::MAX };
            let mut body = description(hurry).into_body();
            loop {
                match poll_fn(|context| body.as_pin_mut().poll_next(context)).await {
                    Some(Ok(_)) => sleep(Duration::from_millis(20)).await,
                    Some(Err(_)) => break,
                    None => panic!("all of it was given"),
                }
            }
        });
    }

    #[test]
    fn the_description_has_exactly_the_served_routes() {
        let tree: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in tree["paths"].as_object().unwrap() {
            for (method, route) in methods.as_object().unwrap() {
                assert!(route["summary"].is_string() && route["responses"].is_object(), "{method} {path}");
                let named: BTreeSet<_> = route["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|p| p["in"] == "path")
                    .collect::<Vec<_>>()
                    .iter()
                    .filter_map(|p| p["name"].as_str().map(str::to_owned))
                    .collect();
                let in_path: BTreeSet<_> =
                    path.split('{').skip(1).filter_map(|p| p.split('}').next().map(str::to_owned)).collect();
                assert_eq!(named, in_path, "{method} {path}");
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let served: BTreeSet<_> =
            ROUTES.iter().filter(|r| r.served).map(|r| format!("{} {}", r.method, r.path)).collect();
        assert_eq!(described, served);
    }

    /// Whoever asks a store stands in queues that may be full or end, and may be sent on to a node that does not answer.
    #[test]
    fn what_asks_a_store_is_described_as_busy_and_away_too() {
        let tree: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        let of_a_store = |path: &str| path.starts_with("/v1/stores/{store}/") || path.starts_with("/admin/v1/stores/");
        // what is registered stands in memory
        let asks = |r: &&RouteInfo| r.served && of_a_store(r.path) && (r.method, r.path) != ("GET", STREAM_TYPES);
        let asking: Vec<_> = ROUTES.iter().filter(asks).collect();
        assert!(asking.len() > 30, "{asking:?}");
        for route in asking {
            let answers = &tree["paths"][route.path][route.method.to_lowercase()]["responses"];
            for status in ["429", "503"] {
                assert!(answers[status].is_object(), "{} {} does not say {status}", route.method, route.path);
            }
        }
    }

    const STREAM_TYPES: &str = "/v1/stores/{store}/stream-types";

    /// Routes that programs outside of this repository are written against: more may come, none may go or change its name.
    const CONTRACT: &[&str] = &[
        "GET /health",
        "GET /ready",
        "GET /info",
        "GET /metrics",
        "GET /openapi.json",
        "GET /v1/stores",
        "GET /v1/stores/{store}",
        "GET /v1/stores/{store}/stream-types",
        "POST /v1/stores/{store}/stream-types",
        "GET /v1/stores/{store}/streams/{stream_type}/{stream_id}",
        "POST /v1/stores/{store}/streams/{stream_type}/{stream_id}",
        "GET /v1/stores/{store}/streams/{stream_type}/{stream_id}/head",
        "GET /v1/stores/{store}/events",
        "POST /v1/stores/{store}/events",
        "GET /v1/stores/{store}/events/{event_id}",
        "GET /v1/stores/{store}/scan",
        "GET /v1/stores/{store}/subscribe",
        "GET /v1/stores/{store}/subscriptions/{name}",
        "POST /v1/stores/{store}/subscriptions/{name}",
        "DELETE /v1/stores/{store}/subscriptions/{name}",
        "GET /v1/stores/{store}/subscriptions/{name}/events",
        "POST /v1/stores/{store}/subscriptions/{name}/ack",
        "POST /v1/stores/{store}/subscriptions/{name}/park",
        "POST /v1/stores/{store}/subscriptions/{name}/replay",
        "POST /v1/stores/{store}/query",
        "GET /admin/v1/stores/{store}/compaction",
        "POST /admin/v1/stores/{store}/compaction/run",
        "POST /admin/v1/stores/{store}/compaction/pause",
        "POST /admin/v1/stores/{store}/compaction/resume",
        "POST /admin/v1/stores/{store}/compaction/cancel",
        "GET /admin/v1/stores/{store}/compaction/plan",
        "GET /admin/v1/stores/{store}/tiers",
        "GET /admin/v1/stores/{store}/wal",
        "GET /admin/v1/stores/{store}/manifest",
        "GET /admin/v1/stores/{store}/files",
        "POST /admin/v1/stores/{store}/retention/run",
        "POST /admin/v1/stores/{store}/restore",
        "POST /admin/v1/stores/{store}/redact",
        "GET /admin/v1/cluster",
        "POST /admin/v1/cluster/{action}",
        "GET /admin/",
        "GET /api/dereg/eventstores",
        "GET /api/dereg/eventstores/{name}",
        "POST /api/deql/create",
        "GET /api/deql/export",
        "POST /api/query",
    ];

    #[test]
    fn the_routes_of_the_interface_are_there() {
        let served: BTreeSet<_> = ROUTES.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
        let gone: Vec<_> = CONTRACT.iter().filter(|route| !served.contains(**route)).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }

    /// A new one stands here, or asks for a token.
    #[test]
    fn open_routes_are_these_and_no_others() {
        let open = ROUTES.iter().filter(|route| route.need == Need::Open).map(|route| route.path);
        let wanted = ["/", "/health", "/ready", "/openapi.json", "/admin", "/admin/", "/admin/{file}"];
        assert_eq!(open.collect::<BTreeSet<_>>(), BTreeSet::from(wanted));
        let of_no_tenant = ROUTES.iter().filter(|route| !route.served).all(|route| route.need == Need::ReadStore);
        assert!(of_no_tenant, "what will be served of queries is for tokens of whole stores");
    }

    #[test]
    fn each_route_says_what_it_needs_of_a_token() {
        let tree: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        for route in ROUTES.iter().filter(|route| route.served) {
            let described = &tree["paths"][route.path][route.method.to_lowercase()];
            assert_eq!(described["x-strandline-needs"], route.need.word(), "{} {}", route.method, route.path);
            let is_open = described["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(is_open, route.need == Need::Open, "{} {}", route.method, route.path);
            assert_eq!(described["responses"]["401"].is_null(), is_open, "{} {}", route.method, route.path);
        }
    }
}
