//! The description of all served routes: a file kept by hand, which a test compares with the table.

use crate::error::ApiResult;
use crate::http::call::Call;
use crate::routes::no_query;
use actix_web::HttpResponse;

const DESCRIPTION: &str = include_str!("../../openapi.json");

/// GET /openapi.json
pub(crate) async fn openapi(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(DESCRIPTION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Need;
    use crate::routes::ROUTES;
    use std::collections::BTreeSet;

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
