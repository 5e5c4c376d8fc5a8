//! Which format an answer has, from the `Accept` header.

use crate::error::{ApiError, ApiResult};
use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT;
use strandline_event::ErrorKind;

/// Formats of events in answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`.
    Ndjson,
    /// `application/vnd.apache.arrow.stream`.
    Arrow,
}

impl Format {
    /// The content type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    fn of(media: &str, default: Self) -> Option<Self> {
        match media {
            "*/*" | "application/*" => Some(default),
            "application/json" => Some(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// The format that a request asks for among the `served` ones; the first of them is the default.
pub(crate) fn wanted(request: &HttpRequest, served: &[Format]) -> ApiResult<Format> {
    let default = served.first().copied().unwrap_or(Format::Json);
    let accept = request.headers().get(ACCEPT).map(|value| value.to_str().unwrap_or("?"));
    let Some(accept) = accept else { return Ok(default) };
    choose(accept, default, served).ok_or_else(|| {
        let list: Vec<_> = served.iter().map(|f| f.content_type()).collect();
        let sentence = format!("`Accept: {accept}` is not served here; ask for one of {}", list.join(", "));
        ApiError::new(ErrorKind::UnsupportedMedia, sentence).with("served", list)
    })
}

/// The best of the list by quality, then by order.
fn choose(accept: &str, default: Format, served: &[Format]) -> Option<Format> {
    let mut best: Option<(u32, Format)> = None;
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let quality = parts.find_map(|p| p.strip_prefix("q=")).map_or(1000, quality_permille);
        let Some(format) = Format::of(&media, default).filter(|f| served.contains(f)) else { continue };
        if quality > 0 && best.is_none_or(|(q, _)| quality > q) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format)
}

fn quality_permille(text: &str) -> u32 {
    let quality: f32 = text.parse().unwrap_or(0.0);
    (quality.clamp(0.0, 1.0) * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_choose() {
        let all = [Format::Json, Format::Ndjson, Format::Arrow];
        let cases = [
            ("*/*", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            ("text/html, application/json;q=0.5, application/vnd.apache.arrow.stream; q=0.9", Some(Format::Arrow)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("", None),
        ];
        for (accept, format) in cases {
            assert_eq!(choose(accept, Format::Json, &all), format, "{accept}");
        }
    }
}
