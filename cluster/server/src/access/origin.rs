//! Pages in a browser, where no token is asked for.
//!
//! Without tokens a node listens on loopback only, and whoever can connect may do everything. A browser on that machine can, for any page
//! that it shows: so a request that a page of another origin sends is refused unless it only reads (what it reads the browser keeps from
//! the page; what a consumer of a named subscription is given is taken from others), and so is one under a name that such a page may have
//! pointed here. Addresses and `localhost` are no such names. With tokens none of this is asked: a page has none.

use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use std::net::IpAddr;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not answered; `None`: it is.
pub(crate) fn refusal(headers: &HeaderMap, only_reads: bool) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST);
    if host.is_some_and(|host| !is_here(host)) {
        return Some(
            "without a token file this node answers requests to an address or to `localhost` only, not to another name: \
             use one of these, or start it with --token-file",
        );
    }
    let is_own = text(ORIGIN).is_none_or(|origin| host.is_some_and(|host| is_of(origin, host)));
    let is_same_site = text(FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    if only_reads || (is_own && is_same_site) {
        return None;
    }
    Some("a page of another origin changes nothing here: without a token file this node cannot tell who asks")
}

/// Whether a page of this origin came from this host.
fn is_of(origin: &str, host: &str) -> bool {
    let Some((_, rest)) = origin.split_once("://") else { return false };
    rest.eq_ignore_ascii_case(host)
}

/// Whether a `Host` is an address or names this machine for itself.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    /// Headers, whether such a request may read, whether it may change.
    type Case = (&'static [(&'static str, &'static str)], bool, bool);

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn pages_of_other_origins_change_nothing_and_other_names_are_not_answered() {
        let cases: [Case; 12] = [
            (&[], true, true),
            (&[("host", "127.0.0.1:7070")], true, true),
            (&[("host", "[::1]:7070")], true, true),
            (&[("host", "localhost:7070"), ("origin", "http://localhost:7070")], true, true),
            (
                &[("host", "LOCALHOST:7070"), ("origin", "http://localhost:7070"), ("sec-fetch-site", "same-origin")],
                true,
                true,
            ),
            (&[("host", "localhost:7070"), ("origin", "http://localhost:9999")], true, false),
            (&[("host", "127.0.0.1:7070"), ("origin", "https://evil.example")], true, false),
            (&[("host", "127.0.0.1:7070"), ("origin", "null")], true, false),
            (&[("host", "127.0.0.1:7070"), ("sec-fetch-site", "cross-site")], true, false),
            (&[("origin", "https://evil.example")], true, false),
            (&[("host", "evil.example:7070")], false, false),
            (&[("host", "127.0.0.1.evil.example")], false, false),
        ];
        for (given, may_read, may_change) in cases {
            let headers = headers(given);
            assert_eq!(refusal(&headers, true).is_none(), may_read, "reads {given:?}");
            assert_eq!(refusal(&headers, false).is_none(), may_change, "changes {given:?}");
        }
    }
}
