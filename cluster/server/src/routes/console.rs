//! The web console: one page, its style and its scripts, which lie in `src/console/` as they are served and are part of the program.
//!
//! The files are the same for everybody and say nothing of a store: what the page shows, it asks the other routes for. Served is
//! what stands in the table below, by its name: no path reaches a disk. The page may load from, and speak to, this listener alone;
//! it may make no markup from a text (stream ids are whatever clients wrote), which the browser itself holds it to.

use crate::error::{ApiError, ApiResult};
use crate::http::call::Call;
use crate::routes::no_query;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, ETAG, LOCATION};

/// A file of the console.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $content_type:ident)+) => {
        const FILES: &[File] = &[$(File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("../console/", $name)),
        }),+];
    };
}

files! {
    "index.html" HTML
    "icon.svg" PICTURE
    "style.css" STYLE
    "charts.css" STYLE
    "cluster.css" STYLE
    "app.js" SCRIPT
    "api.js" SCRIPT
    "chart-bars.js" SCRIPT
    "chart-heat.js" SCRIPT
    "chart-lines.js" SCRIPT
    "days.js" SCRIPT
    "dialogs.js" SCRIPT
    "dom.js" SCRIPT
    "format.js" SCRIPT
    "metrics.js" SCRIPT
    "raw-json.js" SCRIPT
    "sampler.js" SCRIPT
    "tables.js" SCRIPT
    "types.js" SCRIPT
    "view-cluster.js" SCRIPT
    "view-compaction.js" SCRIPT
    "view-files.js" SCRIPT
    "view-overview.js" SCRIPT
    "view-partitions.js" SCRIPT
    "view-streams.js" SCRIPT
    "view-subscriptions.js" SCRIPT
}

/// What each answer carries. Nothing inline, nothing from elsewhere, no frame around the page.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// GET /admin/
pub(crate) async fn page(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    file_answer(&call, "index.html")
}

/// GET /admin/{file}
pub(crate) async fn file(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    file_answer(&call, &call.segment(1)?)
}

/// GET /admin: the addresses in the page count from the folder.
pub(crate) async fn without_slash(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, "/admin/")).finish())
}

/// A browser asks each time whether what it has is the newest, so that the scripts of two versions never meet; by the hash of the
/// content the answer is mostly that it is.
fn file_answer(call: &Call, name: &str) -> ApiResult<HttpResponse> {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        let shown: String = name.chars().take(64).collect();
        return Err(ApiError::not_found(format!("the console has no file `{shown}`: open /admin/")));
    };
    let tag = format!("\"{:032x}\"", strandline_event::hash::bytes_hash(file.text.as_bytes()));
    let known = call.header("if-none-match").is_some_and(|tags| holds(tags, &tag));
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    for header in HEADERS {
        answer.insert_header(*header);
    }
    answer.insert_header((CACHE_CONTROL, "no-cache")).insert_header((ETAG, tag));
    Ok(if known { answer.finish() } else { answer.content_type(file.content_type).body(file.text) })
}

/// Whether a list of tags has this one; proxies that compress make weak ones of them.
fn holds(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_exactly_the_files_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<String> = entries.collect();
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn tags_are_found_in_a_list() {
        let tag = "\"a\"";
        for known in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(holds(known, tag), "{known}");
        }
        assert!(!holds("\"b\"", tag) && !holds("", tag));
    }
}
