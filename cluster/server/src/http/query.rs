//! Query parameters: each is known, given once, and used; an unknown one is refused by name.

use crate::error::{ApiError, ApiResult};
use percent_encoding::percent_decode_str;
use std::cell::RefCell;
use std::str::FromStr;
use strandline_event::Micros;

/// Parameters of one request, some more than any route knows: each is held against the others.
const PARAMETERS_MAX: usize = 32;

/// The parameters of a request.
pub(crate) struct Query {
    given: Vec<(String, String)>,
    asked: RefCell<Vec<&'static str>>,
}

impl Query {
    /// Reads a query string.
    pub(crate) fn parse(text: &str) -> ApiResult<Self> {
        let mut given: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if given.len() == PARAMETERS_MAX {
                return Err(ApiError::bad_request(format!("the query has more than {PARAMETERS_MAX} parameters")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if given.iter().any(|(known, _)| *known == name) {
                return Err(ApiError::bad_request(format!("`{name}` is given twice in the query")));
            }
            given.push((name, value));
        }
        Ok(Self { given, asked: RefCell::default() })
    }

    /// A text; an empty one counts as not given.
    pub(crate) fn text(&self, name: &'static str) -> Option<&str> {
        self.given(name).filter(|v| !v.is_empty())
    }

    /// A text as it was given, an empty one too: for what would ask for more where it is left out.
    pub(crate) fn given(&self, name: &'static str) -> Option<&str> {
        self.asked.borrow_mut().push(name);
        self.given.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number.
    pub(crate) fn number<N: FromStr>(&self, name: &'static str) -> ApiResult<Option<N>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("`{name}={text}` is no whole number")))
    }

    /// `true` or `false`; the name alone is `true`.
    pub(crate) fn flag(&self, name: &'static str) -> ApiResult<bool> {
        self.asked.borrow_mut().push(name);
        match self.given.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!("`{name}={other}`: write true or false"))),
        }
    }

    /// A moment; an empty one is none.
    pub(crate) fn moment(&self, name: &'static str) -> ApiResult<Option<Micros>> {
        let Some(text) = self.given(name) else { return Ok(None) };
        strandline_event::time::parse_rfc3339(text).map(Some).ok_or_else(|| {
            let hint = "write it like 2026-11-23T10:15:00Z, with + as %2B";
            ApiError::bad_request(format!("`{name}={text}` is no RFC 3339 timestamp; {hint}"))
        })
    }

    /// One of a list.
    pub(crate) fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> ApiResult<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, choice)) = choices.iter().find(|(known, _)| *known == text) {
            return Ok(Some(*choice));
        }
        let list: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
        Err(ApiError::bad_request(format!("`{name}={text}`: write one of {}", list.join(", "))))
    }

    /// Refuses what nobody asked for. Call it when all parameters are read.
    pub(crate) fn finish(&self) -> ApiResult<()> {
        let asked = self.asked.borrow();
        match self.given.iter().find(|(name, _)| !asked.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let known = if asked.is_empty() { "none".to_owned() } else { asked.join(", ") };
                Err(ApiError::bad_request(format!("unknown query parameter `{name}`; this route knows {known}")))
            }
        }
    }
}

fn decode(text: &str) -> ApiResult<String> {
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(ApiError::bad_request("the query is no percent-encoded UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_and_typed() {
        let query = Query::parse("limit=5&order=asc&wait&name=a%2Fb+c&at=2013-01-01T00:00:00Z").unwrap();
        assert_eq!(query.number::<usize>("limit").unwrap(), Some(5));
        assert_eq!(query.choice("order", &[("asc", 1), ("desc", 2)]).unwrap(), Some(1));
        assert!(query.flag("wait").unwrap() && !query.flag("inspect").unwrap());
        assert_eq!(query.text("name"), Some("a/b c"));
        assert!(query.finish().is_err());
        assert!(query.moment("at").unwrap().is_some());
        query.finish().unwrap();
    }

    #[test]
    fn nonsense_is_named() {
        assert!(Query::parse("a=1&a=2").is_err());
        assert!(Query::parse("a=%ff").is_err());
        let query = Query::parse("limit=x&order=up").unwrap();
        assert!(query.number::<u64>("limit").unwrap_err().message().contains("limit=x"));
        assert!(query.choice("order", &[("asc", 1)]).is_err());
    }

    #[test]
    fn one_parameter_too_many_is_refused_before_it_is_read() {
        let of = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>().join("&");
        assert!(Query::parse(&of(PARAMETERS_MAX)).is_ok());
        let refused = Query::parse(&format!("{}&%ff", of(PARAMETERS_MAX))).err().unwrap();
        assert!(refused.message().contains("more than 32"), "{}", refused.message());
    }

    #[test]
    fn what_is_given_empty_is_told_from_what_is_not_given() {
        let query = Query::parse("tenant_id=&at=&limit=&bare").unwrap();
        assert_eq!((query.text("tenant_id"), query.given("tenant_id"), query.given("none")), (None, Some(""), None));
        assert_eq!((query.given("bare"), query.number::<u64>("limit").unwrap()), (Some(""), None));
        assert!(query.moment("at").unwrap_err().message().contains("RFC 3339"));
        query.finish().unwrap();
    }
}
