//! Request bodies, bounded: bytes are counted against the node's account before they are kept, and nothing is
//! kept beyond the limit of the route.
//!
//! What is over a limit is read and thrown away for a while, so that a client that is still sending gets to
//! read the answer.

use crate::error::{ApiError, ApiResult};
use crate::http::call::{App, Call};
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use crate::stall::{Pace, Patience};
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use actix_web::web::{Data, Payload};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};
use strandline_event::ErrorKind;
use strandline_workers::permits::{BytePermit, BytePermits};

/// Bytes that are thrown away at most after a body is refused.
const DISCARD_BYTES_MAX: usize = 256 << 20;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Permits are taken in steps of this size, as bytes come.
const STEP_BYTES: usize = 256 << 10;

/// A whole body and the permit for its bytes.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) permit: BytePermit,
}

/// Reads a body of at most `limit_bytes`. `what` names it in errors.
pub(crate) async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    permits: &BytePermits,
    what: &str,
    limit_bytes: usize,
) -> ApiResult<Body> {
    let result = collect(request, &mut payload, permits, what, limit_bytes).await;
    if result.as_ref().is_err_and(|e| e.kind() != ErrorKind::BadRequest) {
        discard(payload).await;
    }
    result
}

/// Reads what a small JSON body says. `what` names it in errors, `says` stands in front of what is wrong with it.
pub(crate) async fn small_json<T: DeserializeOwned>(call: Call, what: &str, says: &str) -> ApiResult<T> {
    require_json_or_form(&call.request)?;
    let body = read(&call.request, call.payload, call.app.node.permits(), what, SMALL_BODY_BYTES_MAX).await?;
    parsed(&body.bytes, says)
}

/// What a body says that must be there.
pub(crate) fn parsed<T: DeserializeOwned>(bytes: &[u8], says: &str) -> ApiResult<T> {
    is_there(bytes, says)?;
    object(bytes, says)
}

fn is_there(bytes: &[u8], says: &str) -> ApiResult<()> {
    if bytes.trim_ascii().is_empty() {
        return Err(ApiError::bad_request(format!("{says}: the body is empty")));
    }
    Ok(())
}

/// Reads an object, and nothing else.
fn object<T: DeserializeOwned>(bytes: &[u8], says: &str) -> ApiResult<T> {
    begins_object(bytes, says)?;
    serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(format!("{says}: {e}")))
}

/// Reads an object; an empty body is one that leaves all out.
pub(crate) fn object_or_default<T: DeserializeOwned + Default>(bytes: &[u8], says: &str) -> ApiResult<T> {
    match bytes.trim_ascii() {
        [] => Ok(T::default()),
        bytes => object(bytes, says),
    }
}

/// Refuses what is no object: the reader by itself would take a list for one, `[]` for one that leaves all out.
fn begins_object(bytes: &[u8], says: &str) -> ApiResult<()> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{says}: the body is no JSON object (`{{...}}`)")))
}

/// As [`parsed`], of a body that may be anything, such as a file of secrets: where it is wrong is said, and none of its words.
pub(crate) fn parsed_unsaid<T: DeserializeOwned>(bytes: &[u8], says: &str) -> ApiResult<T> {
    is_there(bytes, says)?;
    begins_object(bytes, says)?;
    serde_json::from_slice(bytes).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        ApiError::bad_request(format!("{says}: the body is something else, from line {line}, column {column} on"))
    })
}

async fn collect(
    request: &HttpRequest,
    payload: &mut Payload,
    permits: &BytePermits,
    what: &str,
    limit_bytes: usize,
) -> ApiResult<Body> {
    refuse_encoding(request)?;
    refuse_charset(request)?;
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|len| len > limit_bytes) {
        return Err(ApiError::too_large(what, limit_bytes));
    }
    // what is declared is not held before it comes: a client that sends nothing keeps nobody out
    if !permits.could_take(declared.unwrap_or(0)) {
        return Err(overloaded());
    }
    let (mut permit, mut bytes) = (BytePermit::default(), Vec::new());
    let mut pace = Pace::begin(Instant::now(), patience(request));
    loop {
        let chunk = match tokio::time::timeout(pace.patience(Instant::now()), payload.next()).await {
            Ok(None) => return Ok(Body { bytes, permit }),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(e))) => return Err(ApiError::bad_request(format!("the body ended early: {e}"))),
            Err(_) => {
                let text = "the body did not arrive: 30 seconds without a byte, or less than 4 KiB a second";
                return Err(ApiError::bad_request(text));
            }
        };
        pace.took(chunk.len());
        let len = bytes.len() + chunk.len();
        if len > limit_bytes {
            return Err(ApiError::too_large(what, limit_bytes));
        }
        if len > permit.bytes() {
            let step = declared.map_or(STEP_BYTES, |declared| declared.saturating_sub(bytes.len()).min(STEP_BYTES));
            if !permits.grow(&mut permit, chunk.len().max(step)) {
                return Err(overloaded());
            }
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// What a client is given, by the listener that it came to.
fn patience(request: &HttpRequest) -> Patience {
    request.app_data::<Data<App>>().map_or_else(Patience::default, |app| app.patience)
}

pub(crate) fn overloaded() -> ApiError {
    ApiError::new(ErrorKind::Overloaded, "too many bytes are in flight on this node: try again after a moment")
}

fn refuse_encoding(request: &HttpRequest) -> ApiResult<()> {
    match request.headers().get(CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?")) {
        None | Some("identity") => Ok(()),
        Some(other) => {
            let sentence = format!("`Content-Encoding: {other}` is not served: send the body as it is");
            Err(ApiError::new(ErrorKind::UnsupportedMedia, sentence))
        }
    }
}

/// Texts are UTF-8, and read as that: one that says it is of another character set would become something else.
fn refuse_charset(request: &HttpRequest) -> ApiResult<()> {
    let value = request.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let is_other = |(name, charset): &(&str, &str)| {
        let charset = charset.trim().trim_matches('"');
        let is_read = ["utf-8", "utf8", "us-ascii"].iter().any(|read| charset.eq_ignore_ascii_case(read));
        name.trim().eq_ignore_ascii_case("charset") && !is_read
    };
    match parameters.find(is_other) {
        None => Ok(()),
        Some((_, charset)) => {
            let shown: String = charset.trim().chars().take(64).collect();
            let sentence = format!("`charset={shown}` is not read: send UTF-8");
            Err(ApiError::new(ErrorKind::UnsupportedMedia, sentence).with("served", vec!["utf-8"]))
        }
    }
}

async fn discard(mut payload: Payload) {
    let discarding = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            bytes += chunk.len();
            if bytes > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // late or not, the answer goes out
    let _ = tokio::time::timeout(DISCARD_TIME, discarding).await;
}

/// What a body holds, by its content type without parameters; `None` where the client says nothing.
pub(crate) fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}

/// The answer for a content type that the route does not take.
pub(crate) fn unsupported(media: &str, served: &[&str]) -> ApiError {
    let list = served.join(", ");
    ApiError::new(ErrorKind::UnsupportedMedia, format!("`Content-Type: {media}` is not taken here; send one of {list}"))
        .with("served", served.to_vec())
}

/// The same, and what `curl -d` says where nobody told it better is taken for JSON. Not from a page in a browser: it may send
/// such a form anywhere without asking.
pub(crate) fn require_json_or_form(request: &HttpRequest) -> ApiResult<()> {
    let is_form = media_type(request).is_some_and(|media| media == "application/x-www-form-urlencoded");
    if is_form && !request.headers().contains_key(ORIGIN) { Ok(()) } else { require_json(request) }
}

/// Refuses a body that says it is something else than JSON.
pub(crate) fn require_json(request: &HttpRequest) -> ApiResult<()> {
    match media_type(request).as_deref() {
        None | Some("application/json") => Ok(()),
        Some(other) => Err(unsupported(other, &["application/json"])),
    }
}
