//! Segments of a path, percent-decoded exactly once, from the bytes that the client sent.
//!
//! The router matches a path that it has partly decoded; names must not pass through that twice.

use crate::error::{ApiError, ApiResult};
use actix_web::HttpRequest;

/// The text of the segment at `index` (from 0, after the first slash).
pub(crate) fn segment(request: &HttpRequest, index: usize) -> ApiResult<String> {
    let raw = request.uri().path().split('/').nth(index + 1).unwrap_or("");
    decode(raw)
}

fn decode(raw: &str) -> ApiResult<String> {
    let shown: String = raw.chars().take(64).collect();
    match strandline_event::decode_path_text(raw) {
        Some(text) if text.is_empty() => Err(ApiError::bad_request("a name in the path is empty")),
        Some(text) => Ok(text),
        None => Err(ApiError::bad_request(format!("`{shown}` in the path is no percent-encoded UTF-8"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn names_are_decoded_once() {
        let request = TestRequest::with_uri("/v1/stores/s/streams/Call/a%2Fb%2541%00+%20%C3%BC").to_http_request();
        assert_eq!(segment(&request, 4).unwrap(), "Call");
        assert_eq!(segment(&request, 5).unwrap(), "a/b%41\0+ \u{fc}");
        for uri in ["/v1/stores/s/streams//x", "/v1/stores/s/streams/%ff/x", "/v1/stores/s/streams/%2/x"] {
            let request = TestRequest::with_uri(uri).to_http_request();
            assert!(segment(&request, 4).is_err(), "{uri}");
        }
    }
}
